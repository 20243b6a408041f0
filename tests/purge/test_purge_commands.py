"""`snapshot purge`, `snapshot remove` and `store prune` as people run them: output, JSON, exit codes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sites import DAY, HOUR, KEY, STRANGER, Site, folder_site

from vaultpy.cli.main import main
from vaultpy.model import SnapshotState
from vaultpy.signature import fingerprint
from vaultpy.store import names
from vaultpy.store.local import LocalStore

SIGNER = fingerprint(KEY.public_text())


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Snapshots of today and the five days before, in a folder in the present."""
    (tmp_path / "store").mkdir()
    made = folder_site(tmp_path / "store")
    made.time[0] = time.time_ns() - 5 * DAY - HOUR
    for _ in range(6):
        made.snapshot([made.blob(1000)])
        made.pass_time(DAY)
    return made


@pytest.fixture
def vaultpy(site: Site, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    for name in ("VAULTPY_CONFIG", "VAULTPY_IDENTITY"):
        monkeypatch.delenv(name, raising=False)

    def run(line: str, *, signer: str | None = SIGNER) -> Ran:
        words = [*line.split(), "--store", site.store.url, *(["--signer", signer] if signer else [])]
        code = main(words)
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return run


def manifests(site: Site) -> int:
    return sum(names.parse_manifest_name(name) is not None for name in site.listed(names.METADATA))


def test_a_dry_run_shows_every_snapshot_with_its_reason_and_removes_nothing(site: Site, vaultpy: Any) -> None:
    ran = vaultpy("snapshot purge --keep-last 4 --dry-run")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0].endswith("2 of 6 snapshots go")
    assert [line.split()[0] for line in lines[2:]] == ["remove"] * 2 + ["keep"] * 4
    assert lines[2].endswith("no rule keeps it")
    assert lines[-1].endswith("newest of its source, last")
    assert manifests(site) == 6


def test_a_purge_removes_and_records(site: Site, vaultpy: Any) -> None:
    ran = vaultpy("snapshot purge --keep-daily 4 --json")
    assert (ran.code, ran.err) == (0, "")
    document = ran.document
    assert document["dry_run"] is False
    assert len(document["removed"]) == 2
    assert document["refused"] == []
    assert document["record"] is not None
    assert (document["recorded"]["blobs"], document["recorded"]["exports"]) == (2, 2)
    assert document["stopped"] is None
    (source,) = document["sources"]
    assert [one["keep"] for one in source["snapshots"]] == [False] * 2 + [True] * 4
    assert source["snapshots"][0]["reasons"] == ["no rule keeps it"]
    assert manifests(site) == 4


def test_more_than_half_is_exit_2_and_nothing_goes(site: Site, vaultpy: Any) -> None:
    ran = vaultpy("snapshot purge --keep-latest")
    assert ran.code == 2
    assert "5 of 6 snapshots" in ran.err
    assert manifests(site) == 6
    assert "--force is needed" in vaultpy("snapshot purge --keep-latest --dry-run").out
    assert vaultpy("snapshot purge --keep-latest --force").code == 0
    assert manifests(site) == 1


@pytest.mark.parametrize("rule", ["--older-than 30d", "--keep-within 30d"])
def test_a_store_whose_clock_runs_ahead_makes_nothing_old(
    site: Site, vaultpy: Any, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    monkeypatch.setattr(LocalStore, "clock", lambda store: time.time_ns() + 3650 * DAY)
    assert vaultpy(f"snapshot purge {rule} --force").code == 0
    assert manifests(site) == 6


@pytest.mark.parametrize("rule", ["--older-than 30d", "--keep-within 30d"])
def test_a_machine_whose_clock_runs_ahead_makes_nothing_old(
    site: Site, vaultpy: Any, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 3650 * DAY)
    assert vaultpy(f"snapshot purge {rule} --force").code == 0
    assert manifests(site) == 6


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("snapshot purge", "no rule was given"),
        ("snapshot purge --keep-last 3 --source home", "source names cannot be told"),
        ("snapshot purge --keep-tag home", "tags cannot be told"),
        ("snapshot purge --keep-within 3x", "not a duration"),
        ("snapshot remove latest", "is the newest of"),
        ("store prune --retire 00000000-0000-0000-0000-000000000009", "the store has nothing of it"),
    ],
)
def test_what_makes_no_sense_is_exit_2(site: Site, vaultpy: Any, line: str, says: str) -> None:
    ran = vaultpy(line)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert manifests(site) == 6


@pytest.mark.parametrize("line", ["snapshot purge --keep-last 3", "snapshot remove latest", "store prune"])
def test_without_a_signer_nothing_goes_and_the_fingerprint_is_shown(site: Site, vaultpy: Any, line: str) -> None:
    ran = vaultpy(line, signer=None)
    assert ran.code == 4
    assert SIGNER in ran.err
    assert "--signer" in ran.err
    assert manifests(site) == 6


@pytest.mark.parametrize(("line", "left"), [("--older-than 3d", 3), ("--keep-within 36h --older-than 4d", 4)])
def test_durations_are_read(site: Site, vaultpy: Any, line: str, left: int) -> None:
    assert vaultpy(f"snapshot purge {line}").code == 0
    assert manifests(site) == left


def test_a_stranger_beside_is_a_warning_of_a_purge(site: Site, vaultpy: Any) -> None:
    site.snapshot(key=STRANGER)
    ran = vaultpy("snapshot purge --keep-last 4")
    assert ran.code == 0
    assert "warning: nothing was recorded for a prune" in ran.err
    assert ran.err.endswith("one snapshot alone: --trust UUID to believe it, --retire UUID to give it up)\n")
    assert manifests(site) == 5


def test_damage_beside_is_exit_4_of_a_purge_that_went_through(site: Site, vaultpy: Any) -> None:
    broken = site.snapshot()
    site.store.delete(names.signature_name(broken.snapshot))
    ran = vaultpy("snapshot purge --keep-last 4 --json")
    assert ran.code == 4
    assert len(ran.document["removed"]) == 2
    assert "no signature" in ran.document["stopped"]


def test_remove_takes_ids_and_says_what_went(site: Site, vaultpy: Any) -> None:
    ids = [
        one["id"]
        for one in vaultpy("snapshot purge --keep-last 1 --dry-run --json").document["sources"][0]["snapshots"]
    ]
    assert vaultpy(f"snapshot remove {ids[0]} --dry-run").out.startswith(f"would remove {ids[0]}")
    assert manifests(site) == 6
    ran = vaultpy(f"snapshot remove {ids[0]}")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"removed {ids[0]}")
    document = vaultpy(f"snapshot remove {' '.join(ids[1:])} --force --json").document
    assert document["removed"] == document["snapshots"]
    assert len(document["retired_sources"]) == 1
    assert manifests(site) == 0


def test_prune_records_then_deletes(site: Site, vaultpy: Any) -> None:
    lost = site.blob(5000)
    age_all(site, 2 * DAY)
    shown = vaultpy("store prune --dry-run --json").document
    assert (shown["dry_run"], shown["snapshots"], shown["recorded"]["bytes"]) == (True, 6, 5000)
    assert site.listed(names.PURGES) == set()
    ran = vaultpy("store prune")
    assert (ran.code, ran.err) == (0, "")
    assert "recorded for a later prune: 1 blob, 0 exports, 4.9 KiB" in ran.out
    assert "recorded earlier, not due yet: 1 blob," in vaultpy("store prune").out
    age_all(site, DAY + HOUR)
    document = vaultpy("store prune --json").document
    assert document["deleted"] == {"blobs": 1, "exports": 0, "bytes": 5000}
    assert document["records"] == []
    assert site.has(lost) == [False]


def test_prune_removes_partial_snapshots_that_are_superfluous(site: Site, vaultpy: Any) -> None:
    partial = site.snapshot(state=SnapshotState.PARTIAL, sequence=1)
    assert vaultpy("store prune --json").document["retired"] == [str(partial.snapshot)]


def test_prune_that_stops_is_exit_4_and_says_how_to_go_on(site: Site, vaultpy: Any) -> None:
    broken = site.snapshot()
    site.store.delete(names.manifest_name(broken.snapshot))
    ran = vaultpy("store prune")
    assert (ran.code, ran.out) == (4, "")
    assert f"prune stops: snapshot {broken.snapshot}: it has a signature and no manifest" in ran.err
    assert vaultpy(f"store prune --retire {broken.snapshot}").code == 0
    theirs = site.snapshot(key=STRANGER)
    assert vaultpy("store prune").code == 4
    assert vaultpy(f"store prune --trust {theirs.snapshot}").code == 0
    assert vaultpy("store prune", signer="any").code == 0


def age_all(site: Site, nanoseconds: int) -> None:
    """A command reads the folder's real clock, so what lies in it becomes older instead."""
    root = Path(site.store.url.removeprefix("file://"))
    for info in list(site.store.list("")):
        os.utime(root / info.name, ns=(info.modified - nanoseconds,) * 2)
