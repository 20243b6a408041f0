"""Capturing a SQLite database that is in use: one moment's state, nothing left behind, nobody kept waiting."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from busy import Busy, busy, save, transactions_in

from vaultpy.errors import ReplacedError
from vaultpy.source import programs, sqlite, sqlite_child, still
from vaultpy.source.read import open_regular
from vaultpy.source.sqlite import NotCaptured, Place, Waits, capture

NOBODY = 65534
MODES = ("wal", "delete", "truncate", "persist")
QUICK = Waits(short=0.3, long=0.5)


def check_captures(writer: Busy, folder_fd: int, scratch: Path, times: int) -> int:
    """Captures beside plain copies; how many of the plain ones were no state that the database ever had."""
    torn = 0
    copy = scratch.parent.parent / "copy"
    for _ in range(times):
        names, before = set(writer.beside()), writer.committed
        fd = capture(writer.place(folder_fd), scratch)
        after = writer.committed
        assert before <= transactions_in(save(fd, copy)) <= after + 1
        assert set(writer.beside()) <= names | {f"{writer.path.name}-journal"}, "only its own writer makes files"
        assert not list(scratch.iterdir())
        torn += not is_sound_plain_copy(writer, copy)
    return torn


def is_sound_plain_copy(writer: Busy, copy: Path) -> bool:
    """A copy as `cp` makes it, that takes as long as two transactions."""
    before = writer.committed
    with open(writer.path, "rb", buffering=0) as file, open(copy, "wb") as out:
        out.write(file.read(100_000))
        while writer.committed < before + 2:
            time.sleep(0.001)
        out.write(file.readall())
    with suppress(AssertionError, sqlite3.Error):
        return transactions_in(copy) >= before
    return False


@pytest.mark.parametrize("mode", MODES)
def test_a_capture_under_load_is_the_state_of_one_moment(
    mode: str, folder: Path, folder_fd: int, scratch: Path
) -> None:
    with busy(folder / "app.db", mode) as writer:
        assert check_captures(writer, folder_fd, scratch, 5) > 0


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
def test_fifty_captures_under_load_are_states_of_one_moment(
    mode: str, folder: Path, folder_fd: int, scratch: Path
) -> None:
    with busy(folder / "app.db", mode, pause=0) as writer:
        assert check_captures(writer, folder_fd, scratch, 50) > 0


def test_commits_while_a_wal_database_is_copied_do_not_begin_the_copy_anew(
    folder: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it is of the moment in which the copy began, however long it takes."""
    target = make_empty(scratch)
    with busy(folder / "app.db", "wal", pause=-1) as writer:
        writer.step()
        calls: list[int] = []

        def commit(status: int, remaining: int, total: int) -> None:
            calls.append(remaining)
            assert len(calls) < 20
            writer.step()

        monkeypatch.setattr(sqlite_child, "HELD_PAGES", 50)
        monkeypatch.setattr(sqlite_child, "_Watch", lambda: commit)
        inode = (writer.path.stat().st_dev, writer.path.stat().st_ino)
        with closing(sqlite3.connect(target)) as copy:
            sqlite_child._copy(os.fsencode(writer.path), inode, copy, 1.0, time.monotonic())
        assert len(calls) > 2
        assert transactions_in(target) == 1


@pytest.mark.parametrize("name", ["a b?c=d#e%41&mode=rw.db", "näme\n.db", "app.db"])
def test_any_name_is_captured(name: str, folder: Path, folder_fd: int, scratch: Path, tmp_path: Path) -> None:
    with busy(folder / name, "wal", pause=-1) as writer:
        writer.step()
        assert transactions_in(save(capture(writer.place(folder_fd), scratch), tmp_path / "copy")) == 1


def test_names_that_are_not_utf8_are_captured(folder: Path, folder_fd: int, scratch: Path, tmp_path: Path) -> None:
    path = os.fsencode(folder) + b"/\xff\xfe.db"
    with closing(sqlite3.connect(os.fsdecode(folder / "made"))) as database:
        database.execute("CREATE TABLE t (x)")
    os.rename(folder / "made", path)
    copy = save(capture(Place(folder_fd, b"\xff\xfe.db", path, os.stat(path)), scratch), tmp_path / "copy")
    assert copy.read_bytes() == Path(os.fsdecode(path)).read_bytes()[: copy.stat().st_size]


def test_a_path_too_long_for_sqlite_is_captured(folder: Path, scratch: Path, tmp_path: Path) -> None:
    here = os.open(folder, os.O_RDONLY)
    path = os.fsencode(folder)
    for _ in range(3):
        name = b"d" * 240
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here, path = below, path + b"/" + name
    with busy(folder / "app.db", "wal", pause=-1) as writer:
        writer.step()
        for suffix in ("", "-wal"):  # as a crash would leave it
            data = Path(f"{writer.path}{suffix}").read_bytes()
            fd = os.open(f"app.db{suffix}", os.O_CREAT | os.O_WRONLY, dir_fd=here)
            os.write(fd, data)
            os.close(fd)
    place = Place(here, b"app.db", path + b"/app.db", os.stat("app.db", dir_fd=here))
    assert transactions_in(save(capture(place, scratch), tmp_path / "copy")) == 1
    os.close(here)


@pytest.mark.parametrize("mode", MODES)
def test_a_database_of_another_user_stays_theirs(mode: str, foreign: Path, scratch: Path, tmp_path: Path) -> None:
    fd = os.open(foreign, os.O_RDONLY)
    with busy(foreign / "app.db", mode, uid=NOBODY, pause=-1) as writer:
        for count in (1, 2, 3):
            writer.step()
            before = writer.beside()
            assert transactions_in(save(capture(writer.place(fd), scratch), tmp_path / "copy")) == count
            assert writer.beside() == before
        writer.step()
    os.close(fd)
    assert {uid for uid, _, _ in writer.beside().values()} == {NOBODY}


def test_root_reads_another_users_database_as_that_user(foreign: Path, scratch: Path) -> None:
    """What they put in its place is read with their rights: a link to what only root may read leads nowhere."""
    secret = foreign.parent / "secret.db"
    with closing(sqlite3.connect(secret)) as database:
        database.execute("CREATE TABLE t (x)")
    secret.chmod(0o600)
    os.chown(secret, 0, 0)
    (foreign / "app.db").symlink_to(secret)
    fd = os.open(foreign, os.O_RDONLY)
    listed = os.stat_result((*secret.stat()[:4], NOBODY, NOBODY, *secret.stat()[6:]))
    failure = sqlite._copy_online(
        Place(fd, b"app.db", os.fsencode(secret), listed), str(make_empty(scratch)), hold=1, wait=0.1
    )
    os.close(fd)
    assert failure is not None and "denied" in failure.detail


def make_empty(scratch: Path) -> Path:
    scratch.mkdir(parents=True)
    (scratch / "target").touch()
    return scratch / "target"


def test_a_link_in_its_place_is_not_followed(folder: Path, folder_fd: int, scratch: Path) -> None:
    other = folder.parent / "other.db"
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE t (x)")
    (folder / "app.db").symlink_to(other)
    with pytest.raises(NotCaptured):
        capture(Place(folder_fd, b"app.db", os.fsencode(folder / "app.db"), other.stat()), scratch, QUICK)


def test_another_database_in_its_place_is_noticed(folder: Path, folder_fd: int, scratch: Path) -> None:
    with busy(folder / "app.db", "wal", pause=-1) as writer:
        place = writer.place(folder_fd)
        os.rename(writer.path, folder / "away")
        writer.path.write_bytes((folder / "away").read_bytes())
        with pytest.raises(ReplacedError):
            capture(place, scratch)


def test_a_pipe_in_its_place_is_noticed_and_not_waited_for(folder: Path, folder_fd: int, scratch: Path) -> None:
    with busy(folder / "app.db", "wal", pause=-1) as writer:
        place = writer.place(folder_fd)
        writer.path.unlink()
        os.mkfifo(writer.path)
        with pytest.raises(ReplacedError):
            capture(place, scratch)


def test_another_database_that_sqlite_opens_in_its_place_is_noticed(
    folder: Path, folder_fd: int, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite opens by path, after we looked: what it has open must be what we looked at."""
    other = folder.parent / "other.db"
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE t (x)")
    original = sqlite_child.connect
    with (
        busy(folder / "app.db", "delete", pause=-1) as writer,
        closing(sqlite3.connect(make_empty(scratch))) as target,
    ):
        inode = (writer.path.stat().st_dev, writer.path.stat().st_ino)
        monkeypatch.setattr(sqlite_child, "connect", lambda path, mode: original(os.fsencode(other), mode))
        with pytest.raises(sqlite_child.Failed, match="another file") as caught:
            sqlite_child._copy(os.fsencode(writer.path), inode, target, 1.0, time.monotonic())
    assert caught.value.reason == "replaced"


@pytest.mark.parametrize("mode", MODES)
def test_what_a_crash_left_is_brought_in_and_the_source_is_left_alone(
    mode: str, folder: Path, folder_fd: int, scratch: Path, tmp_path: Path
) -> None:
    with busy(folder / "app.db", mode, pause=-1) as writer:
        writer.step()
        writer.step()
        writer.crash(midway=True)
    for name in ("app.db-shm", None):  # as the crash left it, and after somebody tidied the -shm away
        before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
        assert len(before) >= 2
        assert transactions_in(save(capture(writer.place(folder_fd), scratch), tmp_path / "copy")) == 2
        assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before
        if name:
            (folder / name).unlink(missing_ok=True)
    if mode != "wal":
        with pytest.raises(AssertionError):
            copy = tmp_path / "plain"
            copy.write_bytes((folder / "app.db").read_bytes())
            transactions_in(copy)


@pytest.mark.parametrize("mode", MODES)
def test_a_program_that_locks_everybody_out_is_captured_in_a_pause(
    mode: str, folder: Path, folder_fd: int, scratch: Path, tmp_path: Path
) -> None:
    with busy(folder / "app.db", mode, exclusive=True, pause=-1) as writer:
        writer.step()
        writer.step()
        assert transactions_in(save(capture(writer.place(folder_fd), scratch, QUICK), tmp_path / "copy")) == 2


def test_one_that_locks_everybody_out_and_never_pauses_is_not_captured(
    folder: Path, folder_fd: int, scratch: Path
) -> None:
    with busy(folder / "app.db", "wal", exclusive=True, pause=0) as writer:
        with pytest.raises(NotCaptured, match="locked"):
            capture(writer.place(folder_fd), scratch, QUICK)
        assert not list(scratch.iterdir())


def test_a_reader_that_never_ends_keeps_no_capture_waiting(
    folder: Path, folder_fd: int, scratch: Path, tmp_path: Path
) -> None:
    with busy(folder / "app.db", "delete", pause=-1) as writer, closing(sqlite3.connect(writer.path)) as reader:
        writer.step()
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM log").fetchall()
        assert transactions_in(save(capture(writer.place(folder_fd), scratch, QUICK), tmp_path / "copy")) == 1


def test_a_transaction_that_never_ends_is_not_in_the_copy(
    folder: Path, folder_fd: int, scratch: Path, tmp_path: Path
) -> None:
    """RESERVED by a writer that has changed nothing on the disk yet lets readers in; EXCLUSIVE keeps them out."""
    with busy(folder / "app.db", "delete", pause=-1) as writer:
        writer.step()
        for begin in ("BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"):
            with closing(sqlite3.connect(writer.path, isolation_level=None)) as other:
                other.execute("PRAGMA cache_size=2")
                other.execute(begin)
                other.execute("UPDATE cells SET n = -1")
                copy = save(capture(writer.place(folder_fd), scratch, QUICK), tmp_path / "copy")
                assert transactions_in(copy) == 1
                other.execute("ROLLBACK")


def test_a_large_database_in_journal_mode_is_captured_piece_by_piece(
    folder: Path, folder_fd: int, scratch: Path, tmp_path: Path
) -> None:
    """No hold at all is allowed, so the first way through always ends too early."""
    with busy(folder / "app.db", "delete", pause=-1, cells=2000) as writer:
        writer.step()
        fd = capture(writer.place(folder_fd), scratch, Waits(hold=0.0))
        assert transactions_in(save(fd, tmp_path / "copy")) == 1


def test_without_a_pause_long_enough_there_is_no_copy(folder: Path, folder_fd: int, scratch: Path) -> None:
    with busy(folder / "app.db", "delete", pause=0, cells=2000) as writer, pytest.raises(NotCaptured):
        capture(writer.place(folder_fd), scratch, Waits(hold=0.0, short=0.2, long=0.4))


def test_a_wal_database_that_nobody_has_open_is_captured_without_making_files(
    folder: Path, folder_fd: int, scratch: Path, tmp_path: Path
) -> None:
    with busy(folder / "app.db", "wal", pause=-1) as writer:
        writer.step()
        writer.process.stdin.close()  # type: ignore[union-attr]
        writer.process.wait()
    before = writer.beside()
    assert list(before) == ["app.db"]
    assert transactions_in(save(capture(writer.place(folder_fd), scratch), tmp_path / "copy")) == 1
    assert writer.beside() == before


def test_a_copy_keeps_the_journal_mode_and_needs_no_other_file(
    folder: Path, folder_fd: int, scratch: Path, tmp_path: Path
) -> None:
    with busy(folder / "app.db", "wal", pause=-1) as writer:
        writer.step()
        copy = save(capture(writer.place(folder_fd), scratch), tmp_path / "copy")
    with closing(sqlite3.connect(copy)) as database:
        assert database.execute("PRAGMA journal_mode").fetchall() == [("wal",)]


def test_what_is_no_database_is_not_captured(folder: Path, folder_fd: int, scratch: Path) -> None:
    path = folder / "app.db"
    path.write_bytes(sqlite.HEADER + os.urandom(8000))
    with pytest.raises(NotCaptured, match="not a database"):
        capture(Place(folder_fd, b"app.db", os.fsencode(path), path.stat()), scratch, QUICK)


def test_a_database_larger_than_the_room_is_not_captured(
    folder: Path, folder_fd: int, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with busy(folder / "app.db", "wal", pause=-1) as writer:
        room = os.statvfs(folder)
        monkeypatch.setattr(sqlite, "MARGIN", room.f_bavail * room.f_frsize)
        with pytest.raises(NotCaptured, match="free"):
            capture(writer.place(folder_fd), scratch)


def test_a_scratch_folder_that_others_can_write_to_is_not_used(folder: Path, folder_fd: int, scratch: Path) -> None:
    scratch.mkdir(parents=True)
    scratch.chmod(0o777)
    with busy(folder / "app.db", "wal", pause=-1) as writer, pytest.raises(NotCaptured, match="others can write"):
        capture(writer.place(folder_fd), scratch)


def test_a_scratch_folder_that_fills_up_is_told(
    folder: Path, folder_fd: int, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "MARGIN", -(1 << 30))  # somebody else fills it after we looked
    with busy(folder / "app.db", "wal", pause=-1, cells=2000) as writer:
        writer.step()
        with pytest.raises(NotCaptured, match=r"full|space"):
            capture(writer.place(folder_fd), small_disk, QUICK)
    assert not list(small_disk.iterdir())


def test_a_copy_that_gets_stuck_and_cannot_be_killed_is_given_up(
    folder: Path, folder_fd: int, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that waits for a network file system whose server is gone."""
    stuck = tmp_path / "stuck.py"
    stuck.write_text("import time; time.sleep(1000)")
    started: list[Unkillable] = []

    class Unkillable(subprocess.Popen[bytes]):
        def kill(self) -> None:
            started.append(self)

    monkeypatch.setattr(sqlite_child, "__file__", str(stuck))
    monkeypatch.setattr(sqlite, "SILENCE_SECONDS", 0.2)
    monkeypatch.setattr(programs, "GRACE_SECONDS", 0.1)
    with busy(folder / "app.db", "wal", pause=-1) as writer, monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", Unkillable)
        with pytest.raises(NotCaptured, match="no progress"):
            capture(writer.place(folder_fd), scratch, QUICK)
    for process in started:
        assert process.poll() is None
        super(Unkillable, process).kill()
        process.wait()
    assert started


def test_only_a_capture_that_looked_long_enough_trusts_the_times(
    folder: Path, folder_fd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write between the looks is seen even where it restores size and mtime, as cp -p would."""
    path = folder / "app.db"
    path.write_bytes(b"before")
    original = still.open_regular

    def open_regular_and_write(dir_fd: int, name: bytes, expected: os.stat_result) -> int:
        path.write_bytes(b"behind")
        os.utime(path, ns=(expected.st_atime_ns, expected.st_mtime_ns))
        return original(dir_fd, name, expected)

    monkeypatch.setattr(still, "open_regular", open_regular_and_write)
    assert not still.copy_still(folder_fd, b"app.db", (), str(tmp_path / "copy"))
    monkeypatch.setattr(still, "open_regular", open_regular)
    assert still.copy_still(folder_fd, b"app.db", (), str(tmp_path / "copy"))


def test_what_changes_within_a_tick_of_the_look_is_in_the_copy(
    folder: Path, folder_fd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times tell nothing about a write in the same tick, so reading begins a tick later."""
    path = folder / "app.db"
    path.write_bytes(b"before")
    monkeypatch.setattr(still, "same", lambda one, other: True)
    monkeypatch.setattr(still.time, "sleep", lambda seconds: path.write_bytes(b"behind"))
    assert still.copy_still(folder_fd, b"app.db", (), str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == b"behind"


def test_what_an_earlier_try_copied_is_not_taken_for_a_journal_of_the_next(
    folder: Path, folder_fd: int, tmp_path: Path
) -> None:
    (folder / "app.db").write_bytes(b"x")
    (tmp_path / "copy-journal").write_bytes(b"of an earlier try")
    assert still.copy_still(folder_fd, b"app.db", (b"-journal",), str(tmp_path / "copy"))
    assert not (tmp_path / "copy-journal").exists()


@pytest.mark.parametrize("there", [True, False])
def test_a_hostile_journal_deletes_nothing(
    there: bool, folder: Path, folder_fd: int, scratch: Path, tmp_path: Path
) -> None:
    """SQLite deletes the super-journal that a hot journal names, once no journal belongs to it: here, any file."""
    victim = tmp_path / "victim"
    if there:
        victim.write_bytes(b"dear to somebody")
    with busy(folder / "app.db", "delete", pause=-1) as writer:
        writer.step()
        writer.crash(midway=True)
    name = os.fsencode(victim)
    checksum = sum(byte - 256 if byte > 127 else byte for byte in name)
    with open(f"{writer.path}-journal", "ab") as journal:
        journal.write(bytes(4) + name + len(name).to_bytes(4, "big") + checksum.to_bytes(4, "big"))
        journal.write(bytes.fromhex("d9d505f920a163d7"))
    copy = save(capture(writer.place(folder_fd), scratch), tmp_path / "copy")
    assert victim.exists() == there
    if there:
        assert transactions_in(copy) == 1
    else:
        with pytest.raises(
            AssertionError
        ):  # such a journal counts for nothing: its transaction was committed elsewhere
            transactions_in(copy)
