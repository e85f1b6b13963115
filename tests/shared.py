"""What takes long to make and is the same for several tests: made once in a run, whichever worker comes first."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

folder: Path | None = None
"""Of all workers of this run; `tests.conftest` says where it is."""


def once(name: str, make: Callable[[], bytes]) -> bytes:
    """What ``make`` gives, or gave another worker of this run.

    Args:
        name: A file name that tells all that it depends on, but for the code.
        make: Makes it; others that ask for it wait.
    """
    assert folder is not None
    file = folder / name
    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.is_file():
            partial = folder / f"{name}.part"
            partial.write_bytes(make())
            os.replace(partial, file)
    return file.read_bytes()
