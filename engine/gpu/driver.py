"""NVIDIA's driver, asked for without any CUDA package.

TensorRT without a driver gives objects that end the process when they are used, so nothing of it is imported before
this has answered. ``cuInit`` makes no context and takes no memory.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

NAME = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
NO_DRIVER = "no NVIDIA driver"
REMEDY = "a machine with an NVIDIA GPU and its driver has it"
_COMPUTE_MAJOR, _COMPUTE_MINOR, _CLOCK_KHZ, _MEMORY_KHZ = 75, 76, 13, 36


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU.

    Attributes:
        name: As its maker calls it.
        memory_bytes: That it has.
        compute: Compute capability, (9, 0) for sm_90.
        clock_khz: Highest clock of its processors; 0 = not told.
        memory_khz: Highest clock of its memory; 0 = not told.
    """

    name: str
    memory_bytes: int
    compute: tuple[int, int]
    clock_khz: int = 0
    memory_khz: int = 0

    @property
    def arch(self) -> str:
        """As nvcc names it."""
        return f"sm_{self.compute[0]}{self.compute[1]}"


@dataclass(frozen=True, slots=True)
class Driver:
    """What the driver says.

    Attributes:
        version: Newest CUDA that it runs, ``13.0``; ``None`` = there is none.
        gpus: That it shows to this process.
        problem: Why there is no GPU; empty where there is one.
    """

    version: str | None
    gpus: tuple[Gpu, ...]
    problem: str


@cache
def driver() -> Driver:
    """What this machine has; asked once a process."""
    try:
        library = ctypes.CDLL(NAME)
    except OSError:
        return Driver(None, (), NO_DRIVER)
    return ask(library)


def ask(library: Any) -> Driver:
    """The same of a library that is loaded."""
    error = library.cuInit(0)
    if error != 0:
        return Driver(None, (), f"the NVIDIA driver does not start (error {error})")
    version, count = ctypes.c_int(), ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    if library.cuDeviceGetCount(ctypes.byref(count)) != 0:
        count.value = 0
    gpus = tuple(_gpu(library, index) for index in range(count.value))
    number = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return Driver(number, gpus, "" if gpus else "a driver, but no GPU")


def _gpu(library: Any, index: int) -> Gpu:
    handle, text, total = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
    library.cuDeviceGet(ctypes.byref(handle), index)
    library.cuDeviceGetName(text, len(text), handle)
    library.cuDeviceTotalMem_v2(ctypes.byref(total), handle)

    def attribute(which: int) -> int:
        value = ctypes.c_int()
        return value.value if library.cuDeviceGetAttribute(ctypes.byref(value), which, handle) == 0 else 0

    compute = attribute(_COMPUTE_MAJOR), attribute(_COMPUTE_MINOR)
    name = text.value.decode(errors="replace")
    return Gpu(name, total.value, compute, attribute(_CLOCK_KHZ), attribute(_MEMORY_KHZ))
