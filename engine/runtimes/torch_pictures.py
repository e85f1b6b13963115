"""ONNX's operators on pictures and volumes in torch: convolutions, pooling, resizing, sampling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine.runtimes.torch_site import Site
from rigpose.errors import ConfigError

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_BACK = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
_MAX = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


def _refuse(what: str) -> ConfigError:
    return ConfigError("runtime torch", f"knows no {what}", "use the runtime onnx, which runs every graph")


def _window(site: Site, kernel: Sequence[int]) -> tuple[list[int], list[int], list[int], list[int]]:
    """Strides, dilations and what is added before and behind each axis."""
    n = len(kernel)
    strides = list(site.get("strides") or [1] * n)
    dilations = list(site.get("dilations") or [1] * n)
    way = site.get("auto_pad", b"NOTSET").decode()
    if way in ("NOTSET", ""):
        pads = list(site.get("pads") or [0] * (2 * n))
        return strides, dilations, pads[:n], pads[n:]
    if way == "VALID":
        return strides, dilations, [0] * n, [0] * n
    before, after = [], []
    for side, size, stride, dilation in zip(site.shapes[0][2:], kernel, strides, dilations, strict=True):
        total = max(0, (math.ceil(side / stride) - 1) * stride + (size - 1) * dilation + 1 - side)
        less, more = total // 2, total - total // 2
        before.append(more if way == "SAME_LOWER" else less)
        after.append(less if way == "SAME_LOWER" else more)
    return strides, dilations, before, after


def _around(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """As ``functional.pad`` wants them: the last axis first."""
    return [n for pair in zip(reversed(before), reversed(after), strict=True) for n in pair]


def convolve(site: Site) -> Callable[..., Any]:
    """Conv."""
    kernel = site.shapes[1][2:]
    strides, dilations, before, after = _window(site, kernel)
    function, groups = _CONVOLUTIONS[len(kernel)], site.get("group", 1)
    if before == after:
        return lambda x, w, b=None: function(x, w, b, strides, before, dilations, groups)
    pads = _around(before, after)
    return lambda x, w, b=None: function(functional.pad(x, pads), w, b, strides, 0, dilations, groups)


def convolve_back(site: Site) -> Callable[..., Any]:
    """ConvTranspose."""
    kernel = site.shapes[1][2:]
    if site.get("output_shape") is not None or site.get("auto_pad", b"NOTSET") not in (b"NOTSET", b""):
        raise _refuse("ConvTranspose that chooses its size")
    strides, dilations, before, after = _window(site, kernel)
    more = list(site.get("output_padding") or [0] * len(kernel))
    # What is cut off less behind than before is output that is added there.
    more = [extra + first - last for extra, first, last in zip(more, before, after, strict=True)]
    if any(extra < 0 or extra >= max(s, d) for extra, s, d in zip(more, strides, dilations, strict=True)):
        raise _refuse("ConvTranspose with these pads")
    function, groups = _BACK[len(kernel)], site.get("group", 1)
    return lambda x, w, b=None: function(x, w, b, strides, before, more, groups, dilations)


def max_pool(site: Site) -> Callable[..., Any]:
    """MaxPool."""
    kernel = list(site.get("kernel_shape"))
    strides, dilations, before, after = _window(site, kernel)
    if site.outputs > 1:
        raise _refuse("MaxPool that says where")
    function, ceil = _MAX[len(kernel)], bool(site.get("ceil_mode", 0))
    if before == after and all(2 * pad <= size for pad, size in zip(before, kernel, strict=True)):
        return lambda x: function(x, kernel, strides, before, dilations, ceil)
    pads = _around(before, after)

    def call(x: Tensor) -> Tensor:
        lowest = -math.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
        return function(functional.pad(x, pads, value=lowest), kernel, strides, 0, dilations, ceil)

    return call


def average_pool(site: Site) -> Callable[..., Any]:
    """AveragePool."""
    kernel = list(site.get("kernel_shape"))
    strides, dilations, before, after = _window(site, kernel)
    if len(kernel) != 2 or any(step != 1 for step in dilations):
        raise _refuse("AveragePool of this kind")
    ceil, counts = bool(site.get("ceil_mode", 0)), bool(site.get("count_include_pad", 0))
    if before == after:
        return lambda x: functional.avg_pool2d(x, kernel, strides, before, ceil, counts)
    if ceil:
        raise _refuse("AveragePool of this kind")
    pads = _around(before, after)
    share: Tensor | None = None
    if not counts:
        ones = functional.pad(torch.ones(1, 1, *site.shapes[0][2:]), pads)
        share = site.tensor(functional.avg_pool2d(ones, kernel, strides).numpy())

    def call(x: Tensor) -> Tensor:
        mean = functional.avg_pool2d(functional.pad(x, pads), kernel, strides)
        return mean if share is None else mean / share.to(mean.dtype)

    return call


def grid_sample(site: Site) -> Callable[..., Any]:
    """GridSample."""
    ways = {b"linear": "bilinear", b"bilinear": "bilinear", b"nearest": "nearest", b"cubic": "bicubic"}
    way = ways[site.get("mode", b"linear")]
    border = site.get("padding_mode", b"zeros").decode()
    corners = bool(site.get("align_corners", 0))
    return lambda x, grid: functional.grid_sample(x, grid, mode=way, padding_mode=border, align_corners=corners)


def resize(site: Site) -> Callable[..., Any]:
    """Resize by nearest or linear sampling, an axis at a time: indices and weights are computed once."""
    shape = site.shapes[0]
    rank = len(shape)
    axes = [int(axis) % rank for axis in site.get("axes") or range(rank)]
    scales, sizes = site.known(2), site.known(3)
    if sizes is not None and sizes.size:
        if site.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
            raise _refuse("Resize that keeps an aspect")
        out = {axis: int(side) for axis, side in zip(axes, sizes, strict=True)}
        scale = {axis: out[axis] / shape[axis] for axis in axes}
    else:
        assert scales is not None
        scale = {axis: float(factor) for axis, factor in zip(axes, scales, strict=True)}
        out = {axis: int(math.floor(shape[axis] * scale[axis])) for axis in axes}
    mode = site.get("mode", b"nearest").decode()
    if mode not in ("nearest", "linear") or site.get("antialias", 0):
        raise _refuse(f"Resize of mode {mode}")
    changed = [axis for axis in axes if out[axis] != shape[axis]]
    steps = [_axis_step(site, axis, shape[axis], out[axis], scale[axis], mode) for axis in changed]

    def call(x: Tensor, *_: Any) -> Tensor:
        for step in steps:
            x = step(x)
        return x

    return call


def _axis_step(site: Site, axis: int, side: int, wanted: int, scale: float, mode: str) -> Callable[[Tensor], Tensor]:
    places = _places(site.get("coordinate_transformation_mode", b"half_pixel").decode(), side, wanted, scale)
    if mode == "nearest":
        how = site.get("nearest_mode", b"round_prefer_floor").decode()
        rounded = {
            "round_prefer_floor": np.ceil(places - 0.5), "round_prefer_ceil": np.floor(places + 0.5),
            "floor": np.floor(places), "ceil": np.ceil(places),
        }[how]  # fmt: skip
        index = np.clip(rounded, 0, side - 1).astype(np.int64)
        if wanted % side == 0 and (index == np.arange(wanted) // (wanted // side)).all():
            times = wanted // side
            return lambda x: x.repeat_interleave(times, dim=axis, output_size=wanted)
        chosen = site.tensor(index)
        return lambda x: x.index_select(axis, chosen)
    places = np.clip(places, 0, side - 1)
    low = np.minimum(np.floor(places).astype(np.int64), side - 1)
    first, second = site.tensor(low), site.tensor(np.minimum(low + 1, side - 1))
    sides = [-1 if place == axis else 1 for place in range(len(site.shapes[0]))]
    weight = site.tensor((places - low).astype(np.float32).reshape(sides))
    return lambda x: torch.lerp(x.index_select(axis, first), x.index_select(axis, second), weight.to(x.dtype))


def _places(way: str, side: int, wanted: int, scale: float) -> np.ndarray:
    """Where each output cell lies in the input, in cells."""
    index = np.arange(wanted, dtype=np.float64)
    if way == "asymmetric":
        return index / scale
    if way == "align_corners":
        return index * (side - 1) / max(1, wanted - 1)
    if way == "half_pixel" or (way == "pytorch_half_pixel" and wanted > 1):
        return (index + 0.5) / scale - 0.5
    if way == "pytorch_half_pixel":
        return np.zeros(1)
    raise _refuse(f"Resize by {way}")
