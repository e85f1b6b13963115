"""The stand-in for NVIDIA's driver: built by gcc from stub_cuda.c for a PyCUDA, and seen from Python."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path

SONAME = "libcuda.so.1"


def build(binding: Path, headers: Path, folder: Path) -> Path:
    """The library, made in ``folder``: what stub_cuda.c holds, and what else ``binding`` wants, which succeeds.

    Args:
        binding: PyCUDA's extension.
        headers: Where cuda.h is; the stub's functions have its signatures, else they do not compile.
        folder: Where to build.
    """
    listing = subprocess.run(["nm", "-D", "--undefined-only", str(binding)], capture_output=True, text=True, check=True)
    wanted = re.findall(r" U (cu[A-Z]\w*)", listing.stdout)
    rest, target = folder / "rest.c", folder / SONAME
    # Weak ones give way to those of stub_cuda.c.
    rest.write_text("".join(f"__attribute__((weak)) int {name}(void) {{ return 0; }}\n" for name in wanted))
    source = Path(__file__).with_name("stub_cuda.c")
    flags = ["-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-I{headers}", f"-Wl,-soname,{SONAME}"]
    subprocess.run(["gcc", *flags, str(source), str(rest), "-o", str(target), "-pthread"], check=True)
    return target


class Copy(ctypes.Structure):
    """An upload."""

    _fields_ = [
        ("count", ctypes.c_long), ("target", ctypes.c_uint64), ("source", ctypes.c_uint64), ("bytes", ctypes.c_size_t),
        ("stream", ctypes.c_uint64),
    ]  # fmt: skip


class Launch(ctypes.Structure):
    """A launch of the kernel."""

    _fields_ = [
        ("count", ctypes.c_long), ("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("shared", ctypes.c_uint),
        ("stream", ctypes.c_uint64), ("bytes", ctypes.c_size_t), ("arguments", ctypes.c_ubyte * 256),
    ]  # fmt: skip


class Seen(ctypes.Structure):
    """``seen`` of stub_cuda.c."""

    _fields_ = [
        ("retains", ctypes.c_long), ("releases", ctypes.c_long), ("detaches", ctypes.c_long), ("locked", ctypes.c_long),
        ("streams", ctypes.c_long), ("modules", ctypes.c_long), ("stream_flags", ctypes.c_uint),
        ("image", ctypes.c_char * 32), ("function", ctypes.c_char * 64), ("copy", Copy), ("launch", Launch),
    ]  # fmt: skip


class Stub:
    """The library in this process, from now on its driver.

    Args:
        path: Of `build`.
    """

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        self._library.stub_depth.restype = ctypes.c_long
        self.seen = Seen.in_dll(self._library, "seen")
        self._kernel: object = None

    @property
    def depth(self) -> int:
        """Of this thread's stack of contexts."""
        return int(self._library.stub_depth())

    def use(self) -> None:
        """Make the primary context current in this thread, as torch does."""
        self._library.stub_set_current()

    def report_to(self, path: Path) -> None:
        """Write a JSON object at the process's very end: how often the context was retained and let go."""
        self._library.stub_report_to(str(path).encode())

    def run_as_kernel(self, kernel) -> None:
        """Call ``kernel`` with the address of the packed arguments and the grid's depth when something is launched."""
        self._kernel = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint)(kernel)
        self._library.stub_set_kernel(self._kernel)
