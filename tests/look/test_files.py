"""`snapshot ls` and `show`, and `store info`."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from looking import Host


def paths_in(document: list[dict[str, Any]]) -> list[str]:
    return [one["path"] for one in document]


def below(host: Host, document: list[dict[str, Any]]) -> list[str]:
    """Paths below the tree, from it on."""
    return [path.removeprefix(f"{host.tree}/") for path in paths_in(document) if path.startswith(f"{host.tree}/")]


def test_files_come_folder_by_folder_and_by_name(host: Host) -> None:
    for path in ("inner.txt", "inner/b", "inner/B", "inner/deeper/x", "a/x"):
        (host.tree / path).parent.mkdir(exist_ok=True)
        (host.tree / path).write_bytes(b"")
    host.create()
    listed = host.run("snapshot", "ls", "latest", "--json").document
    assert paths_in(listed)[0] == "/"
    assert below(host, listed) == [
        *("a", "inner", "inner.txt", "zero", "a/x"),
        *("inner/B", "inner/a file", "inner/b", "inner/deeper", "inner/link", "inner/deeper/x"),
    ]


def test_a_line_says_what_ls_says(host: Host) -> None:
    path = host.tree / "inner" / "a file"
    path.chmod(0o4751)
    os.utime(path, (0, 86_400))
    host.create()
    line, link = host.run("snapshot", "ls", "latest", f"{host.tree}/inner/*").out.splitlines()
    owner, group = path.owner(), path.group()
    assert line == f"-rwsr-x--x {f'{owner} {group}':<17}         1234 1970-01-02 00:00:00 {path}"
    assert re.fullmatch(rf"lrwxrwxrwx .* {host.tree}/inner/link -> a file", link)


def test_json_says_everything_about_a_file(host: Host) -> None:
    path = host.tree / "inner" / "a file"
    os.utime(path, ns=(0, 1_234_567_890_123_456_789))
    host.create()
    (listed,) = host.run("snapshot", "ls", "latest", path, "--json").document
    assert listed == {
        "path": str(path),
        "kind": "file",
        "size": 1234,
        "mtime": "2009-02-13T23:31:30.123456789Z",
        "mode": stat.S_IMODE(path.stat().st_mode),
        "uid": os.getuid(),
        "gid": os.getgid(),
        "user": path.owner(),
        "group": path.group(),
        "target": None,
    }
    (link,) = host.run("snapshot", "ls", "latest", f"{host.tree}/inner/li*", "--json").document
    assert (link["kind"], link["target"]) == ("symlink", "a file")


def test_a_path_stands_for_itself_and_all_below_it_and_not_for_what_leads_there(host: Host) -> None:
    host.create()
    listed = host.run("snapshot", "ls", "latest", f"{host.tree}/inner/", "--json").document
    assert below(host, listed) == ["inner", "inner/a file", "inner/link"]
    assert len(listed) == 3
    listed = host.run("snapshot", "ls", "latest", f"{host.tree}/z?ro", "--json").document
    assert paths_in(listed) == [f"{host.tree}/zero"]


@pytest.mark.parametrize(("path", "says"), [("relative", "not absolute"), ("/no/such/thing", "nothing of that name")])
def test_a_path_that_names_nothing_is_exit_2(host: Host, path: str, says: str) -> None:
    host.create()
    ran = host.vaultpy("snapshot", "ls", "latest", path)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err


def test_names_are_exact_in_json_and_harmless_on_a_terminal(host: Host) -> None:
    for name in (b"new\nline", b"\xff\xfe", b"\x1b[2J"):
        (Path(os.fsdecode(os.fsencode(host.tree) + b"/" + name))).write_bytes(b"")
    host.create()
    listed = host.run("snapshot", "ls", "latest", f"{host.tree}/*", "--json").document
    assert f"{host.tree}/new\nline" in paths_in(listed)
    assert sum(isinstance(path, dict) and set(path) == {"base64"} for path in paths_in(listed)) == 1
    lines = host.run("snapshot", "ls", "latest", f"{host.tree}/*").out
    assert "\x1b" not in lines
    for shown in (r"new\x0aline", r"\xff\xfe", r"\x1b[2J"):
        assert f"{host.tree}/{shown}\n" in lines


def test_an_older_snapshot_shows_what_was_then(host: Host) -> None:
    first = host.create()
    (host.tree / "zero").unlink()
    (host.tree / "new").mkdir()
    host.create()
    assert "zero" in below(host, host.run("snapshot", "ls", first, "--json").document)
    listed = below(host, host.run("snapshot", "ls", "latest", "--json").document)
    assert "zero" not in listed and "new" in listed


def test_the_index_an_identity_and_the_hosts_own_key_show_the_same(host: Host) -> None:
    host.create()
    (host.tree / "new").write_bytes(b"y")
    host.create()
    by_index = host.run("snapshot", "ls", "latest", "--json").document
    (state,) = (host.home / "here" / "state" / "vaultpy").iterdir()
    (state / "index.sqlite").rename(state / "lost")
    assert host.run("snapshot", "ls", "latest", "--json").document == by_index
    host.as_machine("elsewhere")
    there = ("--store", host.url, "--identity", host.identity, "--json")
    assert host.run("snapshot", "ls", "latest", *there).document == by_index


def test_a_host_lists_old_snapshots_though_their_chunks_were_stored_anew_since(host: Host) -> None:
    first = host.create()
    listed = host.run("snapshot", "ls", first, "--json").document
    shutil.rmtree(host.store / "blobs")
    host.create()
    assert host.run("snapshot", "ls", first, "--json").document == listed


def test_without_index_and_identity_files_cannot_be_listed(host: Host) -> None:
    host.create()
    host.as_machine("elsewhere")
    ran = host.vaultpy("snapshot", "ls", "latest", "--store", host.url)
    assert (ran.code, ran.out) == (12, "")
    assert "no identity was given" in ran.err


def test_a_snapshot_of_an_unknown_signer_is_not_listed(host: Host) -> None:
    host.create()
    host.as_machine("elsewhere")
    another = "SHA256:" + "A" * 43
    identity = host.home / "plain.txt"
    identity.write_text(host.identity.read_text().split("\n", 1)[1])
    there = ("--store", host.url, "--identity", identity)
    ran = host.vaultpy("snapshot", "ls", "latest", *there, "--signer", another)
    assert (ran.code, ran.out) == (4, "")
    assert host.run("snapshot", "ls", "latest", *there).out  # whoever made the store key vouches
    shown = host.run("snapshot", "show", "latest", *there, "--signer", another, "--json").document
    assert (shown["trusted"], shown["problem_list"]) == (False, None)


def test_show_says_what_a_snapshot_is_and_stands_on(host: Host) -> None:
    first = host.create("--tag", "one")
    (host.tree / "new").write_bytes(b"y" * 10)
    second = host.create()
    shown = host.run("snapshot", "show", second, "--json").document
    assert (shown["id"], shown["parent"], shown["paths"]) == (second, first, [str(host.tree)])
    assert [one["id"] for one in shown["exports"]] == [first, second]
    sizes = {str(path.parent.name): path.stat().st_size for path in host.store.rglob("db.zst.age")}
    assert {one["id"]: one["size"] for one in shown["exports"]} == sizes
    blobs = [path for path in (host.store / "blobs").rglob("*") if path.is_file()]
    assert (shown["blobs"], shown["blob_bytes"]) == (len(blobs), sum(path.stat().st_size for path in blobs))
    assert (shown["trusted"], shown["recipients"], shown["problem_list"]) == (True, 1, [])
    lines = host.run("snapshot", "show", first).out
    assert re.search(r"^tags: +one$", lines, re.M)
    assert re.search(rf"^signer: +{re.escape(shown['signer'])} \(known\)$", lines, re.M)


def test_problems_are_shown_by_the_index_and_by_the_export(host: Host) -> None:
    missing = host.home / "missing"
    create = ("snapshot", "create", "--path", host.tree, "--path", missing, "--name", "home")
    assert host.vaultpy(*create).code == 3
    here = host.run("snapshot", "show", "latest", "--json").document
    assert [(one["path"], one["kind"]) for one in here["problem_list"]] == [(str(missing), "missing")]
    assert here["problems"] == 1
    host.as_machine("elsewhere")
    there = ("--store", host.url, "--json")
    shown = host.run("snapshot", "show", "latest", *there, "--identity", host.identity).document
    assert shown["problem_list"] == here["problem_list"]
    assert host.run("snapshot", "show", "latest", *there).document["problem_list"] is None
    assert str(missing) in host.run("snapshot", "show", "latest", *there[:2], "--identity", host.identity).out


def test_store_info_counts_every_object(host: Host) -> None:
    host.create()
    shown = host.run("store", "info", "--json").document
    files = [path for path in host.store.rglob("*") if path.is_file()]
    assert (shown["objects"], shown["bytes"]) == (len(files), sum(path.stat().st_size for path in files))
    assert shown["url"] == host.url
    assert shown["id"] == json.loads((host.store / "vaultpy.json").read_text())["id"]
    kinds = {kind: one["objects"] for kind, one in shown["kinds"].items()}
    assert kinds == {"settings": 1, "blobs": 1, "metadata": 3, "keys": 1, "purges": 0, "other": 0}
    assert (shown["manifests"], shown["unfinished"], shown["broken"]) == (1, 0, 0)


def test_store_info_names_what_is_unfinished_broken_or_none_of_ours(host: Host) -> None:
    unfinished, broken, _ = host.create(), host.create(), host.create()
    for name in ("manifest.json.zst", "manifest.json.zst.sig"):
        (host.store / "metadata" / unfinished / name).unlink()
    (host.store / "metadata" / broken / "manifest.json.zst").unlink()
    (host.store / "blobs" / "README").write_text("hello")
    host.as_machine("elsewhere")
    shown = host.run("store", "info", "--store", host.url, "--json").document
    assert (shown["manifests"], shown["unfinished"], shown["broken"]) == (1, 1, 1)
    assert shown["kinds"]["other"] == {"objects": 1, "bytes": 5}


def test_store_info_of_no_store_is_exit_10(host: Host) -> None:
    shutil.rmtree(host.store)
    assert host.vaultpy("store", "info").code == 10
    host.store.mkdir()
    assert host.vaultpy("store", "info").code == 10
