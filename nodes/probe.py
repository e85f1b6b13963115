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
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return {"driver": None, "devices": [], "problem": "no NVIDIA driver"}
    error = driver.cuInit(0)
    if error != 0:
        return {"driver": None, "devices": [], "problem": f"the NVIDIA driver does not start (error {error})"}
    version, count = ctypes.c_int(), ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))
    driver.cuDeviceGetCount(ctypes.byref(count))
    devices = []
    for index in range(count.value):
        handle, text, total = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
        driver.cuDeviceGet(ctypes.byref(handle), index)
        driver.cuDeviceGetName(text, len(text), handle)
        driver.cuDeviceTotalMem_v2(ctypes.byref(total), handle)
        devices.append({"name": text.value.decode(errors="replace"), "memory_bytes": total.value})
    cuda_version = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return {"driver": cuda_version, "devices": devices, "problem": "" if devices else "a driver, but no GPU"}


def probe() -> dict[str, Any]:
    """Everything that is tried."""
    return {
        "modules": {module: problem_of_import(module) for module in CORE_MODULES.values()},
        "libraries": {library: loads(library) for library in LIBRARIES} if sys.platform == "linux" else {},
        "cuda": cuda(),
    }


if __name__ == "__main__":
    print(json.dumps(probe()))
