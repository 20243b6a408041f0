"""`snapshot create --dry-run -v` says of every path whether it is in or out, and why, to people and to programs."""

from __future__ import annotations

import time
from pathlib import Path

from hosts import Host


def test_every_path_is_told_with_its_reason(tmp_path: Path, host: Host) -> None:
    tree = tmp_path / "tree"
    for name in ("letter", "old/diary", "build/x.o", "scratch/.no", "scratch/x"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    (tree / ".vaultignore").write_text("old/*\n")
    settings = (
        f'paths = ["{tree}"]\nexclude = ["*.o"]\nexclude_files = [".vaultignore"]\nexclude_if_present = [".no"]\n'
    )
    with host.config.open("a") as file:
        file.write(f"\n[sources.tree]\n{settings}")
    lines = host.must("snapshot", "create", "tree", "--dry-run", "-v").out.splitlines()
    assert "in  / (new)" in lines
    below = {line.replace(f"{tree}/", "") for line in lines if f" {tree}/" in line}
    assert below == {
        "in  letter (new)",
        "in  .vaultignore (new)",
        "in  old (new)",
        "out old/diary (old/* in .vaultignore)",
        "in  build (new)",
        "out build/x.o (*.o)",
        "in  scratch (new)",
        "in  scratch/.no (new)",
        "out scratch/x (.no is there)",
    }
    [document] = host.must("--json", "snapshot", "create", "tree", "--dry-run", "--verbose").json
    assert {"path": f"{tree}/build/x.o", "in": False, "reason": "*.o"} in document["paths"]
    assert document["files"] == sum(one["in"] for one in document["paths"])
    time.sleep(2.1)  # what is younger than two seconds is read again by the next run
    host.must("snapshot", "create", "tree")
    lines = host.must("snapshot", "create", "tree", "--dry-run", "-v").out.splitlines()
    assert f"in  {tree}/letter (unchanged)" in lines
    assert "paths" not in host.must("--json", "snapshot", "create", "tree", "--dry-run").json[0]


def test_a_path_that_is_not_there_is_named_and_exit_3(tmp_path: Path, host: Host) -> None:
    (tmp_path / "tree").mkdir()
    ran = host.must(
        "snapshot", "create", "--path", tmp_path / "tree", "--path", "/nonexistent", "--name", "x", "--dry-run", code=3
    )
    assert "/nonexistent: missing" in ran.err
