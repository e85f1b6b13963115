"""How every rigpose process ends: an exit code, and one line for whoever reads the screen.

``python -m engine.serve``, ``python -m nodes.camera`` and the ``rigpose`` command all go through here, so
that bad input looks the same everywhere: ``rigpose: error: FILE: what is wrong (what to do)``.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from rigpose.errors import ExitCode, RigposeError
from rigpose.extras import missing

DEBUG_VARIABLE = "RIGPOSE_DEBUG"

log = logging.getLogger(__name__)


def _tell(line: str) -> None:
    try:
        print(f"rigpose: error: {line}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        pass  # Nobody reads; the exit code still says it.


def _log_files() -> list[logging.FileHandler]:
    return [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.FileHandler) and handler.baseFilename != os.devnull
    ]


def _keep_traceback(error: BaseException) -> str:
    """Write the traceback into this process's log files; where it can be read."""
    files = _log_files()
    record = log.makeRecord(
        log.name,
        logging.ERROR,
        __file__,
        0,
        "ended by an unexpected error",
        (),
        (type(error), error, error.__traceback__),
    )
    for handler in files:
        handler.handle(record)
    if files:
        return f"the traceback is in {files[0].baseFilename}"
    return f"{DEBUG_VARIABLE}=1 shows the traceback"


def _report(error: Exception) -> int:
    """Say what ended the program in one line, and the exit code for it."""
    if isinstance(error, ModuleNotFoundError) and (known := missing(error.name or "")) is not None:
        error = known.with_traceback(error.__traceback__)
    if os.environ.get(DEBUG_VARIABLE, "") not in ("", "0"):
        traceback.print_exception(error)
    if isinstance(error, RigposeError):
        _tell(str(error))
        return int(error.exit_code)
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        denied = isinstance(error, PermissionError)
        remedy = " (you may not use it: check who owns it and its folders)" if denied else ""
        _tell(f"{error.filename}: {error.strerror[:1].lower()}{error.strerror[1:]}{remedy}")
        _keep_traceback(error)
        return int(ExitCode.USAGE if denied else ExitCode.FAILED)
    name = type(error).__name__
    _tell(f"unexpected {name}: {text or 'it says no more'} ({_keep_traceback(error)})")
    return int(ExitCode.FAILED)


@contextmanager
def _interrupted_by_all() -> Iterator[None]:
    """Let a polite kill and a lost terminal end a program as Ctrl-C does: files closed, sockets taken away.

    What is ignored (``nohup``) or handled already stays so.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            sign = getattr(signal, name, None)
            if sign is not None and signal.getsignal(sign) is signal.SIG_DFL:
                before[sign] = signal.signal(sign, interrupt)
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


def guarded(main: Callable[[], int | None]) -> int:
    """Run a program's main function and turn every way that it can end into an exit code.

    A ``RigposeError`` is one line on stderr and its exit code; Ctrl-C, a polite kill and a lost terminal are
    130; a reader that went away (``| head``) ends quietly; anything unexpected is one line that says where
    the traceback is.
    ``SystemExit`` passes.

    Args:
        main: Does the work; its answer is the exit code, ``None`` is 0.
    """
    try:
        with _interrupted_by_all():
            code = main()
        sys.stdout.flush()
        return int(code or ExitCode.OK)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # What is still buffered must not fail once more when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.FAILED)
    except Exception as error:
        return _report(error)


def run(main: Callable[[], int | None]) -> NoReturn:
    """``guarded``, and the process ends with its answer; the last line of every ``python -m`` form."""
    sys.exit(guarded(main))
