"""The optional parts of rigpose: which extra brings which module, and the error for one that is not there."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rigpose.errors import MissingError


@dataclass(frozen=True, slots=True)
class Extra:
    """One extra of the distribution.

    Attributes:
        name: As in ``pip install rigpose[NAME]``.
        purpose: What it is for, in a few words.
        modules: Top-level modules and the distributions that may bring each.
    """

    name: str
    purpose: str
    modules: Mapping[str, tuple[str, ...]]

    @property
    def install(self) -> str:
        """The command that installs it."""
        return f'pip install "rigpose[{self.name}]"'


EXTRAS: tuple[Extra, ...] = (
    Extra("viewer", "3D window", MappingProxyType({"open3d": ("open3d-cpu", "open3d")})),
    Extra("web", "3D view in a browser", MappingProxyType({"viser": ("viser",)})),
    Extra(
        "calibrate",
        "reports of calibrations, boards as PDF, MATLAB 7.3 files",
        MappingProxyType({"plotly": ("plotly",), "reportlab": ("reportlab",), "h5py": ("h5py",)}),
    ),
    Extra(
        "train",
        "training of networks",
        MappingProxyType({"torch": ("torch",), "onnxscript": ("onnxscript",), "tensorboard": ("tensorboard",)}),
    ),
    Extra("labels", "keypoints labelled in SLEAP", MappingProxyType({"sleap_io": ("sleap-io",), "h5py": ("h5py",)})),
    Extra("openvino", "faster on Intel CPUs", MappingProxyType({"openvino": ("openvino",)})),
    Extra("tensorrt", "NVIDIA TensorRT engines", MappingProxyType({"tensorrt": ("tensorrt",)})),
    Extra("cuda", "frames on the GPU", MappingProxyType({"pycuda": ("pycuda",), "torch": ("torch",)})),
)


def is_there(module: str) -> bool:
    """Whether a module can be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def missing(module: str) -> MissingError | None:
    """The error for an optional module that is not there; ``None`` for one that no extra brings.

    Args:
        module: The module that could not be imported, dotted or not.
    """
    top = module.partition(".")[0]
    for extra in EXTRAS:
        if top in extra.modules:
            return MissingError(top, f"is not installed; it belongs to the extra {extra.name}", extra.install)
    return None
