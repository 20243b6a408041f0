"""The benchmark itself: its arithmetic, what it reads and writes, and one run of it that is as small as can be."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import os
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench import BROKEN_OFF, verdict_of
from chart import draw
from figures import Goal, Results, Verdict, best_peer, did_it, judge, medians, ratio
from flame import draw_flame, read_stacks, shares
from keeping import load_results, merge, save_results
from lines import open_line, share_busy
from meter import Command, CommandFailed, Cost, must
from recipes import choose_programs
from rounds import STEPS, Course, Sample, rotated, run_rounds
from s3server import free_port
from sameness import compare_trees
from tables import all_tables, fill, markdown
from trees import EXCLUDED, build_tree, change_tree, is_excluded, look_at, one_file


def sample(program: str, wall: float, *, step: str = "first", code: int = 0, **more: object) -> Sample:
    return Sample("small", step, program, 0, Cost(wall, wall * 2, int(wall * 1e6), code), int(wall * 1e3), more)


def test_a_median_is_that_of_each_measure() -> None:
    figure = medians([sample("restic", wall) for wall in (9.0, 1.0, 2.0)])["small", "first", "restic"]
    assert (figure.wall, figure.cpu, figure.stored, figure.runs, figure.failed) == (2.0, 4.0, 2000, 3, 0)


def test_a_sample_that_failed_does_not_count_and_is_told() -> None:
    figure = medians([sample("restic", 0.1, code=1), sample("restic", 3.0)])["small", "first", "restic"]
    assert (figure.wall, figure.failed) == (3.0, 1)


def test_a_ratio_is_to_the_best_peer_that_did_not_fail() -> None:
    figures = medians(
        [sample("vaultpy", 2.0), sample("restic", 5.0), sample("borg", 4.0), sample("kopia", 1.0, code=1)]
    )
    assert best_peer(figures, "small", "first", "wall") == ("borg", 4.0)
    assert ratio(figures, "small", "first", "wall") == 0.5


def test_a_row_without_peers_has_no_ratio() -> None:
    figures = medians([sample("vaultpy", 2.0)])
    assert ratio(figures, "small", "first", "wall") is None
    assert ratio(figures, "small", "verify", "wall") is None


@pytest.mark.parametrize(("kind", "did"), [("content", False), ("missing", False), ("time", True), ("mode", True)])
def test_lost_content_is_a_failure_and_lost_metadata_is_told(kind: str, did: bool) -> None:
    assert did_it(sample("borg", 1.0, step="restore", differences={kind: 1})) is did


def test_one_file_that_does_not_come_back_is_a_failure() -> None:
    assert not did_it(sample("borg", 1.0, step="one file", content=False))


def test_a_goal_is_reached_at_its_bound_and_not_past_it() -> None:
    def verdicts(value: float | None, is_floor: bool) -> Verdict:
        return judge(Results(()), [Goal("row", 0.5, " s", lambda results, figures: value, is_floor)])[0]

    assert [verdicts(value, False).reached for value in (0.49, 0.5, 0.51, None)] == [True, True, False, None]
    assert [verdicts(value, True).reached for value in (0.49, 0.5, 0.51, None)] == [False, True, True, None]
    assert verdicts(0.51, False) == Verdict("row", "≤ 0.50 s", "0.51 s", False)


def test_programs_take_turns_in_going_first() -> None:
    [ours, *_], _ = choose_programs(())
    programs = [ours] * 3
    assert [len(rotated(programs, turn)) for turn in range(4)] == [3] * 4
    names = ["a", "b", "c"]
    assert [rotated(names, turn)[0] for turn in range(4)] == ["a", "b", "c", "a"]  # type: ignore[arg-type,comparison-overlap]


def test_results_that_are_kept_are_read_back_and_a_section_is_replaced(tmp_path: Path) -> None:
    old = Results([sample("vaultpy", 2.0, differences={"time": 3})], {"small": (7, 9)}, {"vaultpy": "1.0"}, {"a": "b"})
    save_results(tmp_path / "kept" / "results.json", old)
    found = load_results(tmp_path / "kept" / "results.json")
    assert (list(found.samples), found.trees, found.versions, found.machine) == (
        list(old.samples), old.trees, old.versions, old.machine,
    )  # fmt: skip
    new = merge(found, "small", Results([sample("vaultpy", 1.0)], skipped=(("small", "borg", "not on PATH"),)))
    assert [one.cost.wall for one in new.samples] == [1.0]
    assert merge(new, "big", Results(())).skipped == (("small", "borg", "not on PATH"),)
    assert load_results(tmp_path / "nothing.json").samples == ()


def test_a_document_is_filled_between_its_markers_only() -> None:
    document = (
        "before\n<!-- bench:one -->\nold\nolder\n<!-- /bench -->\nbetween\n<!-- bench:two -->\n<!-- /bench -->\nafter\n"
    )
    filled = fill(document, {"one": "new", "two": "more"})
    expected = (
        "before\n<!-- bench:one -->\nnew\n<!-- /bench -->\nbetween\n<!-- bench:two -->\nmore\n<!-- /bench -->\nafter\n"
    )
    assert filled == expected
    assert fill(filled, {"one": "new", "two": "more"}) == filled
    with pytest.raises(KeyError):
        fill(document, {"one": "new"})


def test_a_section_that_was_broken_off_is_a_failure() -> None:
    assert verdict_of(Results([sample("vaultpy", 1.0)])) == 0
    assert verdict_of(Results((), skipped=(("small", "borg", "not on PATH"),))) == 0
    assert verdict_of(Results((), skipped=(("small", BROKEN_OFF, "exit code 1"),))) == 1
    assert verdict_of(Results([sample("vaultpy", 1.0, differences={"time": 1})])) == 1
    assert verdict_of(Results([sample("borg", 1.0, code=1)])) == 0


def test_a_table_is_markdown() -> None:
    assert markdown(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_the_document_asks_for_tables_that_there_are() -> None:
    document = (Path(__file__).parents[2] / "docs" / "performance.md").read_text()
    assert fill(document, all_tables(Results(()))).startswith("# Performance")


def test_tables_and_chart_show_every_program_and_mark_what_failed() -> None:
    samples = [sample("vaultpy", 2.0), sample("restic", 4.0), sample("borg", 3.0, code=1)]
    results = Results(samples, {"small": (7, 9)}, {"restic": "0.1"})
    table = all_tables(results)["small"]
    assert "| first snapshot | s | 2.00 | 4.00 | failed | 0.50 (restic) |" in table
    chart = draw(results)
    assert chart.startswith("<svg")
    assert "restic 0.1" in chart
    assert ">2.0 s<" in chart
    assert ">2.0<" in chart


@pytest.mark.parametrize(
    ("busy", "share"), [([], 0.0), ([(0.0, 4.0)], 1.0), ([(0.0, 1.5), (2.5, 9.0)], 0.5), ([(3.0, 4.0)], 0.0)]
)
def test_a_share_counts_what_lies_within(busy: list[tuple[float, float]], share: float) -> None:
    assert share_busy(busy, (1.0, 3.0)) == share


def test_a_share_of_no_time_is_none_of_it() -> None:
    assert share_busy([(0.0, 1.0)], (1.0, 1.0)) == 0.0


class Answering(http.server.BaseHTTPRequestHandler):
    """Takes any body, and answers with ten bytes."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "10")
        self.end_headers()
        self.wfile.write(b"0123456789")

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def answering() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("rate", "round_trip"), [(None, 0.0), (50e6, 0.01)])
def test_a_line_passes_everything_on_and_counts_it(rate: float | None, round_trip: float) -> None:
    with answering() as target, open_line(free_port(), target, rate=rate, round_trip=round_trip) as line:
        client = http.client.HTTPConnection("127.0.0.1", line.port)
        for body in (b"x" * 100, b"y" * (3 << 20)):
            client.request("PUT", "/object", body)
            assert client.getresponse().read() == b"0123456789"
        client.request("GET", "/object?part=1")
        assert client.getresponse().read() == b"0123456789"
        client.close()
        traffic = line.traffic
    assert traffic.requests == Counter(PUT=2, GET=1)
    assert traffic.paths[-1] == ("GET", "/object?part=1")
    assert 0 < traffic.up - (100 + (3 << 20)) < 1000
    assert 30 < traffic.down < 1000
    assert traffic.content is not None  # of the large one alone
    assert 0 <= (traffic.fullness() or 0) <= 1


def test_a_line_that_carried_no_content_has_no_fullness() -> None:
    with answering() as target, open_line(free_port(), target) as line:
        client = http.client.HTTPConnection("127.0.0.1", line.port)
        client.request("PUT", "/object", b"small")
        client.getresponse().read()
        client.close()
        assert line.traffic.fullness() is None


def test_samples_of_all_processes_become_one_graph_without_places_of_the_machine() -> None:
    raw = [
        'process 1:"vaultpy";main (vaultpy/cli/main.py);run (/a/b/site-packages/click/core.py:7) 3',
        'process 2:"worker";main (vaultpy/cli/main.py);read (vaultpy/source/read.py) 1',
    ]
    stacks = read_stacks(raw)
    assert stacks["main (vaultpy/cli/main.py)", "run (click/core.py)"] == 3
    assert shares(stacks) == {"click/core.py": 0.75, "vaultpy/source/read.py": 0.25}
    graph = draw_flame(stacks)
    assert "<title>main (vaultpy/cli/main.py): 100.0 %</title>" in graph
    assert "/a/b" not in graph


def test_a_graph_shows_no_command_line() -> None:
    stacks = read_stacks(["process 7:python -c import sys; sys.path[:] = ['/a/b'];run();run (worker.py:9) 2"])
    assert stacks == {("run (worker.py)",): 2}


def test_a_graph_leaves_the_import_system_out() -> None:
    graph = draw_flame(read_stacks(["<module> (a.py);_load (<frozen importlib._bootstrap>);<module> (b.py) 1"]))
    assert "importlib" not in graph
    assert "(b.py)" in graph


def make_tree(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    for number in range(120):
        (folder / "sub" / f"file{number}").write_bytes(b"%d" % number * 1000)
    (folder / "link").symlink_to("sub/file1")
    return folder


def copy(tree: Path, to: Path) -> Path:
    return Path(shutil.copytree(tree, to, symlinks=True))


def test_equal_trees_have_no_differences(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    found = compare_trees(tree, copy(tree, tmp_path / "copy"))
    assert not found.kinds
    assert found.compared == 123


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("content", lambda top: _keeping_times(top / "sub" / "file7", b"8" * 1000)),
        ("content", lambda top: _keeping_times(top / "sub" / "file7", b"7" * 999)),
        ("missing", lambda top: (top / "sub" / "file7").unlink()),
        ("unexpected", lambda top: (top / "sub" / "more").touch()),
        ("mode", lambda top: (top / "sub" / "file7").chmod(0o600)),
        ("time", lambda top: os.utime(top / "sub" / "file7", ns=(0, 1))),
        ("time", lambda top: os.utime(top / "sub", ns=(0, 1))),
        ("target", lambda top: ((top / "link").unlink(), (top / "link").symlink_to("sub/file2"))),
        ("kind", lambda top: ((top / "link").unlink(), (top / "link").mkdir())),
    ],
)
def test_every_difference_is_seen(tmp_path: Path, kind: str, change: object) -> None:
    tree = make_tree(tmp_path / "tree")
    other = copy(tree, tmp_path / "copy")
    change(other)  # type: ignore[operator]
    assert kind in compare_trees(tree, other).kinds


def _keeping_times(file: Path, content: bytes) -> None:
    status = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_change_appends_to_one_file_in_a_hundred_and_adds_one(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "tree")
    before = {path: path.stat().st_size for path in (tree / "sub").iterdir()}
    change_tree(tree, 1)
    after = {path: path.stat().st_size for path in (tree / "sub").iterdir()}
    assert [after[path] - before[path] for path in before if after[path] != before[path]] == [100]
    assert (tree / "added.bin").stat().st_size == (sum(before.values()) + 100) // 100


def test_a_tree_of_tiny_files_is_always_the_same(tmp_path: Path) -> None:
    one, other = (build_tree("tiny", tmp_path / name, 0.0006) for name in ("one", "other"))
    assert (one.files, one.bytes) == (other.files, other.bytes) == (600, look_at("tiny", one.path).bytes)
    assert set(compare_trees(one.path, other.path).kinds) <= {"time"}
    assert all(50 <= path.stat().st_size <= 500 for path in one.path.rglob("*.txt"))


def test_there_are_twenty_patterns_and_they_fit_what_they_say() -> None:
    assert len(EXCLUDED) == len(set(EXCLUDED)) == 20
    for part in (".cache", "x.tmp", "core.7", "kept~"):
        assert is_excluded(("usr", part, "file"))
    assert not is_excluded(("usr", "cache", "x.tmp.gz"))


def test_a_command_that_fails_says_what_it_said(tmp_path: Path) -> None:
    failing = Command((sys.executable, "-c", "import sys; sys.exit('no luck')"), {})
    with pytest.raises(CommandFailed, match="no luck"):
        must(failing, tmp_path / "log")


HOLD_TWICE = """
import subprocess, sys, time
hold = "import time; held = b'x' * 80_000_000; time.sleep(1)"
other = subprocess.Popen([sys.executable, "-c", hold])
exec(hold)
other.wait()
"""


def test_memory_counts_every_process_of_a_program(tmp_path: Path) -> None:
    cost = must(Command((sys.executable, "-c", HOLD_TWICE), {}), tmp_path / "log")
    assert 160_000_000 < cost.peak < 260_000_000


def test_a_round_measures_every_step_of_every_program_that_is_here(tmp_path: Path) -> None:
    """vaultpy, and restic where it is; times mean nothing here, what came back does."""
    programs, missing = choose_programs(("restic",))
    tree = look_at("given", make_tree(tmp_path / "tree"))
    said: list[str] = []
    samples = list(run_rounds(Course(tmp_path, programs, 1, said.append, settle=0), tree))
    assert [one.step for one in samples] == [step for step in STEPS for _ in programs], said
    for one in samples:
        assert did_it(one), said
        assert one.stored > 0
    restored = [one for one in samples if one.step == "restore" and one.program == "vaultpy"]
    assert [one.more["differences"] for one in restored] == [{}]
    assert one_file(tree.path).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]
    if missing:
        pytest.skip("restic is not on PATH: only vaultpy was run")
