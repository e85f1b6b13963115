"""The preprocessing kernel, built by a host compiler: what the GPU runs, called by `ctypes`."""

from __future__ import annotations

import ctypes
import importlib.resources
import shutil
import subprocess

import numpy as np


class HostKernel:
    """The kernel's loop on the CPU.

    Args:
        folder: Where the library is built.
    """

    def __init__(self, folder):
        compiler = shutil.which("g++") or shutil.which("c++")
        assert compiler, "a C++ compiler builds the kernel's arithmetic for its tests"
        source = importlib.resources.files("engine").joinpath("gpu", "kernels", "crop_host.cpp")
        target = folder / "libcrop.so"
        flags = ["-O1", "-shared", "-fPIC", "-std=c++14", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off"]
        subprocess.run([compiler, *flags, str(source), "-o", str(target)], check=True)
        self.library = ctypes.CDLL(str(target))
        self.sizes = self.library.rigpose_view_bytes(), self.library.rigpose_norm_bytes()

    def run(self, views, norm, planes):
        """Write ``planes`` (V, C, h, w) of described views."""
        count, _, height, width = planes.shape
        pointer = ctypes.c_void_p
        self.library.rigpose_crop_host(
            views.ctypes.data_as(pointer), count, norm.ctypes.data_as(pointer), height, width,
            planes.ctypes.data_as(pointer),
        )  # fmt: skip
        return planes

    def crop(self, views, norm, planes):
        """As `engine.gpu.pycuda.PyCuda.crop`: tensors, the descriptions as bytes."""
        self.run(np.ascontiguousarray(views.numpy()), norm, planes.numpy())
