"""What can be loaded here, tried in a process of its own: a library that crashes takes nobody with it.

``python -m nodes.probe`` prints one JSON object; `rigpose doctor` reads it. TensorRT, PyCUDA and Open3D are
never imported, since a broken installation of theirs can end a process; their files are looked up instead.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import sys
from typing import Any

from engine.gpu.driver import driver

CORE_MODULES = {
    "array-api-compat": "array_api_compat",
    "av": "av",
    "jaxtyping": "jaxtyping",
    "mcap": "mcap.reader",
    "msgpack": "msgpack",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "opencv-python": "cv2",
    "platformdirs": "platformdirs",
    "psutil": "psutil",
    "pydantic": "pydantic",
    "PyYAML": "yaml",
    "pyzmq": "zmq",
    "rich": "rich",
    "scipy": "scipy.optimize",
    "tomli-w": "tomli_w",
    "typer": "typer",
}
"""Core dependencies and a module of each that proves that it loads."""

LIBRARIES = {
    "libGL.so.1": ("libgl1", "OpenCV and the 3D window"),
    "libgthread-2.0.so.0": ("libglib2.0-0", "OpenCV"),
    "libusb-1.0.so.0": ("libusb-1.0-0", "the 3D window"),
    "libEGL.so.1": ("libegl1", "drawing without a display"),
    "libX11.so.6": ("libx11-6", "the 3D window"),
}
"""System libraries: Debian's package and what needs it."""


def problem_of_import(module: str) -> str:
    """Why a module cannot be imported; empty when it can."""
    try:
        importlib.import_module(module)
    except Exception as error:
        return " ".join(f"{type(error).__name__}: {error}".split())
    return ""


def loads(library: str) -> bool:
    """Whether the dynamic linker finds a shared library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def cuda() -> dict[str, Any]:
    """NVIDIA's driver and its devices, asked for without any CUDA package."""
    found = driver()
    devices = [{"name": gpu.name, "memory_bytes": gpu.memory_bytes} for gpu in found.gpus]
    return {"driver": found.version, "devices": devices, "problem": found.problem}


def probe() -> dict[str, Any]:
    """Everything that is tried."""
    return {
        "modules": {module: problem_of_import(module) for module in CORE_MODULES.values()},
        "libraries": {library: loads(library) for library in LIBRARIES} if sys.platform == "linux" else {},
        "cuda": cuda(),
    }


if __name__ == "__main__":
    print(json.dumps(probe()))
