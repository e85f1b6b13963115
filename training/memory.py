"""Memory that a step frees and the next one needs again stays with the process.

Where glibc gives large blocks back to the system at once, every step faults them in again, which on a CPU is a large
part of a training step's time.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_ALL = 2**31 - 1


def keep_freed_memory() -> bool:
    """Ask glibc's allocator to keep what is freed, for the rest of this process.

    Returns:
        Whether it could be asked: elsewhere nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all([mallopt(_MMAP_THRESHOLD, _ALL), mallopt(_TRIM_THRESHOLD, _ALL), mallopt(_TOP_PAD, 2**27)])
