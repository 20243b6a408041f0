"""`snapshot list`: what it shows with and without what opens names, and the keeper's check."""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from looking import Host

from vaultpy.cli.text import shorten
from vaultpy.store import names
from vaultpy.store.base import ObjectInfo
from vaultpy.store.local import LocalStore
from vaultpy.vault import open_vault

FIELDS = {
    *("id", "host", "source", "host_id", "source_id", "started", "completed", "state", "tags", "files", "bytes"),
    *("new_bytes", "stored_bytes", "problems", "signed", "flag"),
}


HOUR_NS = 3600 * 10**9


def travel(monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    """From now on it is so many hours later, for runs and for lists; not for the store."""
    now = time.time_ns() + hours * HOUR_NS
    monkeypatch.setattr(time, "time_ns", lambda: now)
    monkeypatch.setitem(open_vault.__kwdefaults__, "clock", lambda: now)


def manifest_of(host: Host, snapshot: str) -> Path:
    return host.store / "metadata" / snapshot / "manifest.json.zst"


def test_every_snapshot_is_listed_oldest_first_with_what_the_index_knows(host: Host) -> None:
    first = host.create("--tag", "one", "--tag", "two")
    (host.tree / "new").write_bytes(b"y" * 100)
    second = host.create()
    listed = host.run("snapshot", "list", "--json").document
    assert [one["id"] for one in listed] == [first, second]
    assert all(set(one) == FIELDS for one in listed)
    assert [(one["host"], one["source"]) for one in listed] == [(socket.gethostname(), "home")] * 2
    assert listed[0]["tags"] == ["one", "two"]
    assert (listed[0]["bytes"], listed[1]["bytes"], listed[1]["new_bytes"]) == (1234, 1334, 100)
    assert listed[0]["state"] == "complete"
    assert listed[0]["problems"] == 0
    shown = host.run("snapshot", "list").out.splitlines()
    assert shown[0].split() == ["id", "host", "source", "started", "paths", "size", "stored", "tags"]  # no problems
    assert [first.startswith(shown[1].split()[0]), second.startswith(shown[2].split()[0])] == [True, True]
    assert "one two" in shown[1]


def test_what_is_encrypted_is_not_told_without_what_opens_it(host: Host) -> None:
    snapshot = host.create("--tag", "secret")
    host.as_machine("elsewhere")
    ran = host.run("snapshot", "list", "--store", host.url)
    assert "secret" not in ran.out and "home" not in ran.out
    assert "names, tags and counts (?) are encrypted" in ran.err
    assert "signatures were not checked" in ran.err
    (listed,) = host.run("snapshot", "list", "--store", host.url, "--json").document
    assert listed["id"] == snapshot
    assert {name for name in FIELDS if listed[name] is None} == FIELDS - {
        *("id", "host_id", "source_id", "started", "completed", "state"),
    }


def test_an_identity_opens_the_names_anywhere(host: Host) -> None:
    host.create("--tag", "secret")
    here = host.run("snapshot", "list", "--json").document
    host.as_machine("elsewhere")
    ran = host.run("snapshot", "list", "--store", host.url, "--identity", host.identity, "--json")
    assert ran.err == ""
    (listed,) = ran.document
    assert listed["signed"] is True  # the identity file names the signer
    for name in ("host", "source", "tags", "files", "bytes", "new_bytes", "stored_bytes", "problems"):
        assert listed[name] == here[0][name]


def test_only_the_named_source_is_listed(host: Host) -> None:
    host.create()
    other = host.create(name="other", path=host.tree / "inner")
    assert [one["id"] for one in host.run("snapshot", "list", "--source", "other", "--json").document] == [other]
    ran = host.vaultpy("snapshot", "list", "--source", "nothing")
    assert (ran.code, ran.err.splitlines()[0]) == (2, "vaultpy: source 'nothing' has no snapshots")
    ran = host.vaultpy("snapshot", "list", "--source", "home", "--store", host.url)
    assert ran.code == 2
    assert "cannot be told" in ran.err


def test_sources_of_other_hosts_whose_names_are_not_known_are_not_taken_for_the_named_one(host: Host) -> None:
    own = host.create()
    host.as_machine("second")
    host.run("init", "--store", host.url, "--new-identity", host.home / "second.txt")
    host.create()
    host.as_machine("here")
    ran = host.run("snapshot", "list", "--source", "home", "--json")
    assert [one["id"] for one in ran.document] == [own]
    assert "are encrypted" in ran.err


def test_an_empty_store_has_an_empty_list(host: Host) -> None:
    assert host.run("snapshot", "list", "--json").document == []


def test_a_broken_snapshot_is_listed_and_warned_of(host: Host) -> None:
    broken = host.create()
    path = manifest_of(host, broken)
    path.chmod(0o600)
    path.write_bytes(b"anything")
    host.as_machine("elsewhere")
    ran = host.run("snapshot", "list", "--store", host.url, "--json")
    (listed,) = ran.document
    assert set(listed) == FIELDS
    assert (listed["id"], listed["state"], listed["started"]) == (broken, "broken", None)
    assert f"warning: snapshot {broken} is broken" in ran.err
    assert "broken: " in host.run("snapshot", "list", "--store", host.url).out


def test_a_snapshot_that_only_the_index_knows_is_warned_of(host: Host) -> None:
    gone = host.create()
    host.create()
    for name in ("manifest.json.zst", "manifest.json.zst.sig"):
        (host.store / "metadata" / gone / name).unlink()
    ran = host.run("snapshot", "list", "--json", "--quiet")
    assert len(ran.document) == 1
    assert f"snapshot {gone} is in the index and not in the store" in ran.err


def test_a_snapshot_that_is_made_while_the_store_is_listed_is_not_missed(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = host.create()
    listing, made = LocalStore.list, list[str]()

    def slow(store: LocalStore, prefix: str) -> Iterator[ObjectInfo]:
        found = list(listing(store, prefix))
        if prefix == names.METADATA and not made:
            made.append("begun")
            host.create()
        return iter(found)

    monkeypatch.setattr(LocalStore, "list", slow)
    ran = host.run("snapshot", "list", "--json")
    assert made
    assert [one["id"] for one in ran.document] == [first]
    assert ran.err == ""


def test_an_identity_that_opens_nothing_is_said_to(host: Host, tmp_path: Path) -> None:
    host.create("--tag", "secret")
    host.as_machine("second")
    host.run("init", "--store", f"file://{tmp_path / 'other'}", "--new-identity", host.home / "second.txt")
    host.as_machine("elsewhere")
    ran = host.run("snapshot", "list", "--store", host.url, "--identity", host.home / "second.txt")
    assert "vaultpy: warning: the identity does not open 1 of 1 snapshots: their names stay (?)" in ran.err
    assert "--identity FILE shows" not in ran.err


def test_sources_that_are_recent_enough_are_exit_0_and_quiet(host: Host) -> None:
    host.create()
    ran = host.vaultpy("snapshot", "list", "--max-age", "1h", "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert "home" in host.run("snapshot", "list", "--max-age", "1h").out


def test_each_source_that_has_nothing_recent_is_named_and_exit_1(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.create()
    host.create(name="other", path=host.tree / "inner")
    travel(monkeypatch, 2)
    host.create()
    ran = host.vaultpy("snapshot", "list", "--max-age", "1h", "--quiet")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines() == [f"vaultpy: warning: {socket.gethostname()}:other: the newest snapshot is 2 h old"]
    assert host.vaultpy("snapshot", "list", "--max-age", "1h", "--source", "home").code == 0
    ran = host.vaultpy("snapshot", "list", "--max-age", "1h", "--json")
    assert (ran.code, len(json.loads(ran.out))) == (1, 3)


def test_a_keeper_checks_without_a_key(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.create()
    signer = host.identity.read_text().splitlines()[0].removeprefix("# signer: ")
    host.as_machine("keeper")
    host.run("init", "--store", host.url, "--keeper", "--signer", signer)
    assert host.vaultpy("snapshot", "list", "--max-age", "1h", "--quiet").code == 0
    travel(monkeypatch, 2)
    ran = host.vaultpy("snapshot", "list", "--max-age", "1h", "--quiet")
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)


def test_an_empty_store_is_never_recent_enough(host: Host) -> None:
    ran = host.vaultpy("snapshot", "list", "--max-age", "1y", "--quiet")
    assert ran.code == 1
    assert "no snapshots" in ran.err


def test_a_configured_source_that_never_had_a_snapshot_is_named(host: Host) -> None:
    host.create()
    config = host.home / "here" / "config" / "vaultpy" / "config.toml"
    config.write_text(config.read_text() + f'\n[sources.later]\npaths = ["{host.tree}"]\n')
    ran = host.vaultpy("snapshot", "list", "--max-age", "1h", "--quiet")
    assert (ran.code, ran.err) == (1, "vaultpy: warning: later: no snapshot\n")
    assert host.vaultpy("snapshot", "list", "--max-age", "1h", "--quiet", "--source", "home").code == 0


def test_a_time_from_the_future_does_not_count_as_recent(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.create()
    travel(monkeypatch, 72)
    host.create()
    travel(monkeypatch, -70)
    ran = host.vaultpy("snapshot", "list", "--max-age", "1h")
    assert ran.code == 1
    assert "signed more than a day later than the store's clock says" in ran.out


def test_ids_are_shortened_alike_and_no_further_than_they_differ() -> None:
    one, other = uuid.UUID("01a1fdb9-a64e-7151-b6d5-f0c944440397"), uuid.UUID("01a1fdb9-a96e-7122-84d1-f841f688a28e")
    assert shorten([one]) == {one: "01a1fdb9"}
    assert shorten([one, other]) == {one: "01a1fdb9-a6", other: "01a1fdb9-a9"}
    assert shorten([]) == {}
    assert shorten([one, one]) == {one: "01a1fdb9"}


def test_a_short_id_names_its_snapshot(host: Host) -> None:
    snapshots = {host.create(), host.create()}
    shown = host.run("snapshot", "list").out.splitlines()[1:]
    assert {host.run("snapshot", "show", line.split()[0], "--json").document["id"] for line in shown} == snapshots


@pytest.mark.parametrize(
    "line",
    ["snapshot list", "snapshot ls latest", "snapshot show latest", "snapshot verify --all", "store info"],
)
def test_looking_changes_nothing_here_or_in_the_store(host: Host, line: str) -> None:
    host.create()
    before = host.everything(), sorted(os.walk(host.home))
    host.run(*line.split())
    host.run(
        *line.split(),
        "--json",
        "--identity" if "snapshot" in line else "--quiet",
        *([host.identity] if "snapshot" in line else []),
    )
    assert (host.everything(), sorted(os.walk(host.home))) == before
