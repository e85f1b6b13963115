"""What each runtime needs, whether it is here, and how to get what is missing. Asking never ends the process.

Nothing heavy is imported: PyTorch is looked up, OpenVINO and ONNX Runtime too; the driver is asked through `ctypes`
before anything of TensorRT is touched, and TensorRT itself is tried in a process of its own.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from engine.gpu.driver import REMEDY, driver

PROBE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Capability:
    """What a runtime can do here.

    Attributes:
        name: The runtime's.
        present: Whether it can run a graph.
        device: Where it would: ``cpu`` or ``cuda``.
        detail: Its version where it is present, what is missing where not.
        remedy: How to get what is missing.
        precisions: In which it can compute a network.
        suggested: Whether ``auto`` may take it.
    """

    name: str
    present: bool
    device: str
    detail: str
    remedy: str = ""
    precisions: tuple[str, ...] = ("fp32",)
    suggested: bool = True


@cache
def capability(name: str) -> Capability:
    """What a built-in runtime can do here; asked once a process."""
    return _PROBES[name]()


def capabilities() -> tuple[Capability, ...]:
    """Of all built-in runtimes."""
    return tuple(capability(name) for name in _PROBES)


def _version(distribution: str, module: str) -> str | None:
    """The installed version of a module; ``None`` = it is not there."""
    try:
        if importlib.util.find_spec(module) is None:
            return None
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"
    except (ImportError, ValueError):
        return None


def _onnx() -> Capability:
    version = _version("onnxruntime", "onnxruntime")
    if version is None:
        return Capability("onnx", False, "cpu", "onnxruntime is not installed", "pip install onnxruntime")
    return Capability("onnx", True, "cpu", f"ONNX Runtime {version}", precisions=("fp32", "int8"))


def _openvino() -> Capability:
    version = _version("openvino", "openvino")
    if version is None:
        remedy = 'pip install "rigpose[openvino]"'
        return Capability("openvino", False, "cpu", "openvino is not installed", remedy)
    return Capability("openvino", True, "cpu", f"OpenVINO {version}", precisions=("fp32", "bf16", "int8"))


def _torch() -> Capability:
    version = _version("torch", "torch")
    precisions = ("fp32", "fp16", "bf16")
    if version is None:
        return Capability("torch", False, "cpu", "torch is not installed", 'pip install "rigpose[train]"')
    without = "+cpu" in version
    if driver().gpus and not without:
        return Capability("torch", True, "cuda", f"torch {version}, one CUDA graph", precisions=precisions)
    why = driver().problem or "a torch without CUDA"
    # On a CPU it is there for comparison: it is slower than the others, and the engine does not load it unasked.
    return Capability("torch", True, "cpu", f"torch {version} on the CPU ({why})", "", precisions, suggested=False)


def _tensorrt() -> Capability:
    if not driver().gpus:
        return Capability("tensorrt", False, "cuda", driver().problem, REMEDY)
    if _version("tensorrt", "tensorrt") is None:
        return Capability("tensorrt", False, "cuda", "tensorrt is not installed", TENSORRT_REMEDY)
    torch = capability("torch")
    if not torch.present or torch.device != "cuda":
        what = f"it needs torch for its memory and streams: {torch.detail}"
        return Capability("tensorrt", False, "cuda", what, 'pip install "rigpose[cuda]"')
    problem, version = probe_tensorrt()
    if problem:
        return Capability("tensorrt", False, "cuda", problem, "see rigpose doctor, and docs/runtimes.md")
    return Capability("tensorrt", True, "cuda", f"TensorRT {version}", precisions=("fp32", "fp16", "int8"))


TENSORRT_REMEDY = 'pip install "rigpose[tensorrt]" --extra-index-url of its vendor: its libraries are not on PyPI'


def probe_tensorrt(timeout_s: float = PROBE_TIMEOUT_S) -> tuple[str, str]:
    """What is wrong with TensorRT, empty where nothing is, and its version; tried in a process of its own."""
    command = [sys.executable, "-m", "engine.gpu.trial"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return f"TensorRT does not load within {timeout_s:g} s", ""
    except OSError as error:
        return f"no process could be started to try TensorRT: {error.strerror}", ""
    try:
        said = json.loads(answer.stdout.splitlines()[-1])
        return str(said["problem"]), str(said["version"])
    except (ValueError, IndexError, KeyError, TypeError):
        return f"TensorRT ended the process that tried it (code {answer.returncode})", ""


_PROBES: dict[str, Callable[[], Capability]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "torch": _torch,
    "tensorrt": _tensorrt,
}
KNOWN = tuple(_PROBES)
"""Runtimes of which something is known before they are loaded."""
