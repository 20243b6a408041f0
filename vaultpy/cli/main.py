"""The program's edge: every way a run can end becomes an exit code, and every failure one line on standard error.

Nothing heavy is imported before the handlers stand, so not even an early Ctrl-C shows a traceback.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
import threading
from collections.abc import Sequence

from vaultpy.cli.nowhere import let_go, stand_in
from vaultpy.cli.stopping import Stopped, stoppable
from vaultpy.errors import VaultpyError

GARBAGE_THRESHOLD = 50_000
"""New objects at which the garbage collector looks for cycles."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `argv` (the process's own arguments without one) and returns the exit code; raises nothing.

    0 done, 1 failed, 2 usage, 3 something could not be read, 4 damage, 10 no store, 11 locked, 12 no identity,
    129 hung up, 130 interrupted, 143 terminated.
    """
    # A million rows pass through in tuples that never form cycles: looking for some every 700 of them costs a tenth.
    gc.set_threshold(GARBAGE_THRESHOLD, 20, 50)
    threading.excepthook = _thread_failed
    try:
        with stoppable():
            return _guarded(sys.argv[1:] if argv is None else argv)
    except Stopped as stop:  # before anything could be said, or while the last of it was
        return stop.exit_code
    finally:
        threading.excepthook = threading.__excepthook__


def _guarded(arguments: Sequence[str]) -> int:
    try:
        stand_in()
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        from vaultpy.cli.app import run

        return run(arguments)
    except VaultpyError as error:
        _complain(error.message, error.hint)
        return error.exit_code
    except Stopped as stop:
        _complain(stop.what, stop.kept)
        return stop.exit_code
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except BrokenPipeError:
        return 1  # whoever read along has gone: there is no one to tell
    except Exception as error:  # noqa: BLE001  the edge: no traceback may show
        _failed(error)
        return 1
    finally:
        _let_go_of_stdout()


def _complain(message: str, hint: str | None = None) -> None:
    from vaultpy.cli.text import printable

    advice = f"  {printable(hint)}\n" if hint else ""
    try:
        sys.stderr.write(f"vaultpy: {printable(message)}\n{advice}")
        sys.stderr.flush()
    except OSError:
        let_go(sys.stderr)  # no one is listening: the exit code has to say it


def _failed(error: BaseException) -> None:
    """Say what the system said, where the machine is at fault: a disk may fail at a call that nobody expects to, the reading
    of a module of ours for one.  Any other error is a mistake of ours."""
    if isinstance(error, OSError) and error.errno in _MACHINE:
        place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        _complain(f"{place}{os.strerror(error.errno).lower()}", "look at the disk, its log, and this system's limits")
    elif isinstance(error, MemoryError):
        _complain("out of memory", _LIMITS)
    elif (
        isinstance(error, RuntimeError) and str(error) == "can't start new thread"
    ):  # Python has no type of its own for it
        _complain("no thread can be started", _LIMITS)
    else:
        _internal_error(error)


_LIMITS = "look at this system's memory, and at the limits that are set (ulimit -a)"


_MACHINE = frozenset(
    {
        *(errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.EREMOTEIO),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS),
    }
)


def _internal_error(error: BaseException) -> None:
    import traceback

    what = f"{type(error).__name__}: {error}".rstrip(": ")
    try:
        whole = "".join(traceback.format_exception(error))
        if os.environ.get("VAULTPY_DEBUG") == "1":
            sys.stderr.write(whole)
            _complain(f"internal error: {what}")
        else:
            _complain(f"internal error: {what}", f"please report it with {_write_report(whole)}")
    except (OSError, MemoryError):
        _complain(f"internal error: {what}", "no report could be written; VAULTPY_DEBUG=1 shows more")


def _write_report(whole: str) -> str:
    """A private file with the traceback, and neither arguments nor environment: they may hold what is no one's business."""
    import platform
    import tempfile

    from vaultpy import __version__

    with tempfile.NamedTemporaryFile("w", prefix="vaultpy-report-", suffix=".txt", delete=False) as file:
        file.write(f"vaultpy {__version__}, Python {platform.python_version()}, {platform.platform()}\n\n{whole}")
    return file.name


def _thread_failed(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None:
        _failed(arguments.exc_value)


def _let_go_of_stdout() -> None:
    """Flushes; where that fails, Python would try again at its end, and complain in its own words."""
    try:
        sys.stdout.flush()
    except OSError:
        let_go(sys.stdout)
