"""The program's edge: every way a run can end becomes an exit code, and every failure one line on standard error.

Nothing heavy is imported before the handlers stand, so not even an early Ctrl-C shows a traceback.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from vaultpy.errors import Interrupted, VaultpyError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `argv` (the process's own arguments without one) and returns the exit code; raises nothing.

    0 done, 1 failed, 2 usage, 3 something could not be read, 4 damage, 10 no store, 11 locked, 12 no identity,
    130 interrupted, 143 terminated.
    """
    previous = signal.signal(signal.SIGTERM, _terminate)
    threading.excepthook = _thread_failed
    try:
        return _guarded(sys.argv[1:] if argv is None else argv)
    finally:
        threading.excepthook = threading.__excepthook__
        signal.signal(signal.SIGTERM, previous)


def _guarded(arguments: Sequence[str]) -> int:
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        from vaultpy.cli.app import run

        return run(arguments)
    except VaultpyError as error:
        _complain(error.message, error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except BrokenPipeError:
        return 1  # whoever read along has gone: there is no one to tell
    except Exception as error:  # noqa: BLE001  the edge: what gets here is a mistake of ours, and no traceback may show
        _internal_error(error)
        return 1
    finally:
        _let_go_of_stdout()


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends the clean-up, too
    raise Interrupted("terminated", exit_code=143)


def _complain(message: str, hint: str | None = None) -> None:
    from vaultpy.cli.text import printable

    advice = f"  {printable(hint)}\n" if hint else ""
    try:
        sys.stderr.write(f"vaultpy: {printable(message)}\n{advice}")
        sys.stderr.flush()
    except OSError:
        _to_nowhere(sys.stderr.fileno())  # no one is listening: the exit code has to say it


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
        _internal_error(arguments.exc_value)


def _let_go_of_stdout() -> None:
    """Flushes; where that fails, Python would try again at its end, and complain in its own words."""
    try:
        sys.stdout.flush()
    except OSError:
        _to_nowhere(sys.stdout.fileno())


def _to_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
