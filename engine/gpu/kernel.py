"""The preprocessing kernel: compiled by nvcc once for each GPU architecture, and kept.

Its source is package data; the cache is keyed by that source, the architecture and the compiler's version, so that an
update of any of them compiles again.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from engine.gpu.plan import write_bytes
from engine.precision import state_folder
from rigpose.errors import MissingError, RigposeError

NAME = "rigpose_crop"
BLOCK = (32, 8, 1)
_SOURCES = ("crop.h", "crop.cu")
_COMMON_ROOTS = ("/usr/local/cuda", "/opt/cuda")
_TIMEOUT_S = 120


def sources() -> dict[str, str]:
    """The texts of the kernel."""
    folder = importlib.resources.files("engine").joinpath("gpu", "kernels")
    return {name: folder.joinpath(name).read_text(encoding="utf-8") for name in _SOURCES}


def find_nvcc() -> Path | None:
    """NVIDIA's compiler: that of ``CUDA_HOME``, of the usual places, or on PATH."""
    roots = [os.environ.get("CUDA_HOME", ""), os.environ.get("CUDA_PATH", ""), *_COMMON_ROOTS]
    for root in filter(None, roots):
        candidate = Path(root) / "bin" / "nvcc"
        if candidate.is_file():
            return candidate
    found = shutil.which("nvcc")
    return Path(found) if found else None


def cubin(arch: str) -> bytes:
    """The kernel for an architecture (``sm_90``), from the cache or compiled now.

    Raises:
        MissingError: It is not in the cache and there is no nvcc.
        RigposeError: It does not compile.
    """
    nvcc = find_nvcc()
    path = _path(arch, nvcc)
    try:
        return path.read_bytes()
    except OSError:
        pass
    if nvcc is None:
        raise MissingError(
            "the preprocessing kernel", "needs nvcc once, to be compiled for this GPU", "install the CUDA toolkit"
        )
    data = compile_cubin(arch, nvcc)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_bytes(path, data)
    return data


def compile_cubin(arch: str, nvcc: Path) -> bytes:
    """The kernel for an architecture.

    Raises:
        RigposeError: It does not compile.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, text in sources().items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        target = Path(folder) / "crop.cubin"
        # No fused multiply-add: the host's arithmetic, which is tested, is the kernel's.
        command = [str(nvcc), f"-arch={arch}", "-cubin", "-O3", "--fmad=false", "-o", str(target), "crop.cu"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RigposeError("the preprocessing kernel", f"{nvcc} does not run: {error}", "check CUDA_HOME") from None
        if done.returncode != 0 or not target.is_file():
            said = (done.stderr or done.stdout).strip().splitlines() or [f"code {done.returncode}"]
            raise RigposeError("the preprocessing kernel", f"{nvcc} fails for {arch}: {said[-1]}", "update CUDA")
        return target.read_bytes()


def _path(arch: str, nvcc: Path | None) -> Path:
    text = "\0".join(sources().values())
    key = hashlib.sha256(f"{text}\0{arch}\0{_version(nvcc)}".encode()).hexdigest()[:16]
    return state_folder() / "kernels" / f"{NAME}-{arch}-{key}.cubin"


def _version(nvcc: Path | None) -> str:
    if nvcc is None:
        return "none"
    try:
        said = subprocess.run([str(nvcc), "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return said.stdout.strip().splitlines()[-1] if said.stdout.strip() else "unknown"
