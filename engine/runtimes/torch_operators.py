"""ONNX operators in torch, for `engine.runtimes.torch_program`: one function makes each ready for given shapes.

An operator's function gets a `Site` (attributes, what of its inputs is constant, the shapes of the rest) and returns
what computes it from tensors. Everything that can be known beforehand, indices and weights of a resize among it, is
computed once; nothing that is returned looks at values, so that all of it can be captured in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine.runtimes.torch_pictures import average_pool, convolve, convolve_back, grid_sample, max_pool, resize
from engine.runtimes.torch_site import Site
from rigpose.errors import ConfigError

Call = Callable[..., Any]
TYPES: dict[int, torch.dtype] = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 6: torch.int32, 7: torch.int64, 9: torch.bool,
    10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
}  # fmt: skip
"""By ONNX's numbers."""


PARAMETERS: dict[str, tuple[int, ...]] = {
    "Reshape": (1,), "Slice": (1, 2, 3, 4), "Unsqueeze": (1,), "Squeeze": (1,), "Expand": (1,), "Split": (1,),
    "Clip": (1, 2), "Resize": (1, 2, 3), "Pad": (1, 2, 3), "Tile": (1,), "ReduceSum": (1,), "ReduceMax": (1,),
    "ReduceMin": (1,), "ReduceMean": (1,), "ReduceSumSquare": (1,), "ReduceL1": (1,), "ReduceL2": (1,),
    "ReduceProd": (1,), "TopK": (1,),
}  # fmt: skip
"""Inputs that say what is done, not with what: they must be constant, and are no tensors."""


def _plain(function: Call) -> Callable[[Site], Call]:
    return lambda site: function


def _cast(site: Site) -> Call:
    dtype = TYPES[site.get("to")]
    return lambda x: x.to(dtype)


def _reshape(site: Site) -> Call:
    wanted = [int(side) for side in site.known(1)]  # type: ignore[union-attr]
    if not site.get("allowzero", 0):
        wanted = [site.shapes[0][i] if side == 0 else side for i, side in enumerate(wanted)]
    return lambda x: x.reshape(wanted)


def _transpose(site: Site) -> Call:
    order = site.get("perm") or list(range(len(site.shapes[0])))[::-1]
    return lambda x: x.permute(order)


def _unsqueeze(site: Site) -> Call:
    axes = site.axes() or ()
    rank = len(site.shapes[0]) + len(axes)
    places = {axis % rank for axis in axes}
    sides = iter(site.shapes[0])
    shape = [1 if axis in places else next(sides) for axis in range(rank)]
    return lambda x: x.reshape(shape)


def _squeeze(site: Site) -> Call:
    shape, axes = site.shapes[0], site.axes()
    gone = {i for i, side in enumerate(shape) if side == 1} if axes is None else {axis % len(shape) for axis in axes}
    kept = [side for i, side in enumerate(shape) if i not in gone]
    return lambda x: x.reshape(kept)


def _flatten(site: Site) -> Call:
    axis = site.get("axis", 1)
    first = int(np.prod(site.shapes[0][:axis], dtype=np.int64))
    return lambda x: x.reshape(first, -1)


def _concat(site: Site) -> Call:
    axis = site.get("axis")
    return lambda *x: torch.cat(x, dim=axis)


def _split(site: Site) -> Call:
    axis = site.get("axis", 0)
    given = site.get("split")
    sizes = site.known(1) if given is None else np.asarray(given)
    if sizes is None:
        side = site.shapes[0][axis]
        step = -(-side // (site.get("num_outputs") or site.outputs))
        sizes = np.diff([*range(0, side, step), side])
    parts = [int(size) for size in sizes]
    return lambda x: torch.split(x, parts, dim=axis)


def _slice(site: Site) -> Call:
    starts, ends = site.known(1), site.known(2)
    assert starts is not None and ends is not None
    axes, steps = site.known(3), site.known(4)
    axes = np.arange(len(starts)) if axes is None else axes
    steps = np.ones(len(starts), np.int64) if steps is None else steps
    shape = site.shapes[0]
    cuts = [slice(None)] * len(shape)
    backwards: dict[int, list[int]] = {}
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes.tolist(), steps.tolist(), strict=True):
        axis %= len(shape)
        if step > 0:
            cuts[axis] = slice(start, end, step)
        else:
            low = -shape[axis] - 1
            backwards[axis] = list(range(shape[axis]))[slice(start, None if end < low + 1 else end, step)]
    index = {axis: site.tensor(np.array(places, np.int64)) for axis, places in backwards.items()}

    def call(x: Tensor) -> Tensor:
        x = x[tuple(cuts)]
        for axis, places in index.items():
            x = x.index_select(axis, places)
        return x

    return call


def _expand(site: Site) -> Call:
    shape = np.broadcast_shapes(tuple(site.known(1).tolist()), site.shapes[0])  # type: ignore[union-attr]
    return lambda x: x.expand(shape)


def _tile(site: Site) -> Call:
    times = site.known(1).tolist()  # type: ignore[union-attr]
    return lambda x: x.repeat(times)


def _pad(site: Site) -> Call:
    pads = site.get("pads") if site.opset < 11 else site.known(1)
    fill, axes = site.known(2) if 2 < len(site.shapes) else None, site.known(3) if 3 < len(site.shapes) else None
    rank = len(site.shapes[0])
    places = list(range(rank)) if axes is None else [int(axis) % rank for axis in axes]
    before, after = np.zeros(rank, int), np.zeros(rank, int)
    before[places], after[places] = np.split(np.asarray(pads), 2)
    both = [int(n) for pair in zip(before[::-1], after[::-1], strict=True) for n in pair]
    mode = site.get("mode", b"constant").decode()
    value = 0.0 if fill is None or fill.size == 0 else float(fill.reshape(-1)[0])
    if mode == "constant":
        return lambda x: functional.pad(x, both, value=value)
    if mode not in ("reflect", "edge") or rank < 3:
        raise ConfigError("runtime torch", f"Pad of mode {mode}", "use the runtime onnx")
    both = both[: 2 * (rank - 2)]
    return lambda x: functional.pad(x, both, mode="replicate" if mode == "edge" else mode)


def _gather(site: Site) -> Call:
    axis = site.get("axis", 0) % len(site.shapes[0])
    side = site.shapes[0][axis]
    if 1 not in site.constants:
        return lambda x, index: _at(x, torch.where(index < 0, index + side, index), axis)
    index = site.constants[1] % side
    if index.ndim == 0:
        place = int(index)
        return lambda x, _: x.select(axis, place)
    places = site.tensor(index.astype(np.int64))
    return lambda x, _: _at(x, places, axis)


def _at(x: Tensor, index: Tensor, axis: int) -> Tensor:
    found = x.index_select(axis, index.reshape(-1))
    return found.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


def _gather_elements(site: Site) -> Call:
    axis = site.get("axis", 0)
    return lambda x, index: torch.gather(x, axis, index.to(torch.int64))


def _gather_nd(site: Site) -> Call:
    if site.get("batch_dims", 0):
        raise ConfigError("runtime torch", "GatherND with batch_dims", "use the runtime onnx")
    return lambda x, index: x[tuple(index.to(torch.int64).unbind(-1))]


def _clip(site: Site) -> Call:
    low, high = (site.get("min"), site.get("max")) if site.opset < 11 else (site.known(1), site.known(2))
    low, high = (None if bound is None or np.size(bound) == 0 else np.asarray(bound).item() for bound in (low, high))
    if low is None and high is None:
        return lambda x: x
    return lambda x: x.clamp(low, high)


def _reduce(function: Callable[..., Any]) -> Callable[[Site], Call]:
    def make(site: Site) -> Call:
        axes, keep = site.axes(), bool(site.get("keepdims", 1))
        if axes is None or len(axes) == 0:
            if site.get("noop_with_empty_axes", 0):
                return lambda x: x
            axes = tuple(range(len(site.shapes[0])))
        return lambda x: function(x, axes, keep)

    return make


def _product(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.prod(dim=axis, keepdim=keep)
    return x


def _arg(function: Callable[..., Tensor]) -> Callable[[Site], Call]:
    def make(site: Site) -> Call:
        axis, keep = site.get("axis", 0), bool(site.get("keepdims", 1))
        if site.get("select_last_index", 0):
            raise ConfigError("runtime torch", f"{site.op} of the last index", "use the runtime onnx")
        return lambda x: function(x, dim=axis, keepdim=keep)

    return make


def _top_k(site: Site) -> Call:
    count, axis = int(site.known(1).item()), site.get("axis", -1)  # type: ignore[union-attr]
    largest, ordered = bool(site.get("largest", 1)), bool(site.get("sorted", 1))
    return lambda x: tuple(torch.topk(x, count, dim=axis, largest=largest, sorted=ordered))


def _softmax(function: Callable[..., Tensor]) -> Callable[[Site], Call]:
    def make(site: Site) -> Call:
        if site.opset < 13:
            raise ConfigError("runtime torch", f"{site.op} of opset {site.opset}", "export it for opset 13 or newer")
        axis = site.get("axis", -1)
        return lambda x: function(x, dim=axis)

    return make


def _normalise(site: Site) -> Call:
    epsilon = site.get("epsilon", 1e-5)
    return lambda x, scale, bias, mean, variance: functional.batch_norm(x, mean, variance, scale, bias, eps=epsilon)


def _layer_norm(site: Site) -> Call:
    first = site.get("axis", -1) % len(site.shapes[0])
    shape, epsilon = site.shapes[0][first:], site.get("epsilon", 1e-5)
    return lambda x, scale, bias=None: functional.layer_norm(x, shape, scale, bias, epsilon)


def _gemm(site: Site) -> Call:
    alpha, beta = site.get("alpha", 1.0), site.get("beta", 1.0)
    turn_a, turn_b = bool(site.get("transA", 0)), bool(site.get("transB", 0))

    def call(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        product = torch.matmul(a.T if turn_a else a, b.T if turn_b else b)
        product = product if alpha == 1.0 else product * alpha
        return product if c is None else product + (c if beta == 1.0 else c * beta)

    return call


def _leaky(site: Site) -> Call:
    slope = site.get("alpha", 0.01)
    return lambda x: functional.leaky_relu(x, slope)


def _elu(site: Site) -> Call:
    alpha = site.get("alpha", 1.0)
    return lambda x: functional.elu(x, alpha)


def _hard_sigmoid(site: Site) -> Call:
    alpha, beta = site.get("alpha", 0.2), site.get("beta", 0.5)
    return lambda x: (x * alpha + beta).clamp(0.0, 1.0)


def _gelu(site: Site) -> Call:
    way = site.get("approximate", b"none").decode()
    return lambda x: functional.gelu(x, approximate=way)


def _is_inf(site: Site) -> Call:
    low, high = bool(site.get("detect_negative", 1)), bool(site.get("detect_positive", 1))
    return torch.isinf if low and high else (torch.isposinf if high else torch.isneginf)


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _several(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Site], Call]:
    def call(*x: Tensor) -> Tensor:
        result = x[0]
        for other in x[1:]:
            result = function(result, other)
        return result

    return _plain(call)


def _channels(site: Site, place: int) -> tuple[int, ...]:
    """Shape in which a scale of one number or one for each channel meets the data."""
    if len(site.shapes[place]) == 0 or site.shapes[place] == (1,):
        return ()
    axis, rank = site.get("axis", 1), len(site.shapes[0])
    return tuple(-1 if index == axis % rank else 1 for index in range(rank))


def _quantise(site: Site) -> Call:
    shape = _channels(site, 1)

    def call(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        kind = torch.uint8 if zero is None else zero.dtype
        bounds = torch.iinfo(kind)
        shift = 0 if zero is None else zero.reshape(shape).to(scale.dtype)
        return (torch.round(x / scale.reshape(shape)) + shift).clamp(bounds.min, bounds.max).to(kind)

    return call


def _dequantise(site: Site) -> Call:
    shape = _channels(site, 1)

    def call(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        value = x.to(scale.dtype)
        return (value if zero is None else value - zero.reshape(shape).to(scale.dtype)) * scale.reshape(shape)

    return call


OPERATORS: dict[str, Callable[[Site], Call]] = {
    **{name: _plain(getattr(torch, name.lower())) for name in ("Exp", "Sqrt", "Log", "Sigmoid", "Cos", "Sin", "Tan",
        "Atan", "Acos", "Asin", "Abs", "Floor", "Ceil", "Round", "Tanh", "Neg", "Erf", "Sign", "Where", "IsNaN",
        "Reciprocal", "MatMul", "Less", "Greater", "Pow")},
    "Add": _plain(torch.add), "Sub": _plain(torch.sub), "Mul": _plain(torch.mul), "Div": _plain(_divide),
    "Equal": _plain(torch.eq), "GreaterOrEqual": _plain(torch.ge), "LessOrEqual": _plain(torch.le),
    "And": _plain(torch.logical_and), "Or": _plain(torch.logical_or), "Not": _plain(torch.logical_not),
    "Xor": _plain(torch.logical_xor), "Max": _several(torch.maximum), "Min": _several(torch.minimum),
    "Sum": _several(torch.add), "Identity": _plain(lambda x: x), "Dropout": _plain(lambda x, *_: x),
    "IsInf": _is_inf, "Relu": _plain(functional.relu), "LeakyRelu": _leaky, "Elu": _elu,
    "HardSigmoid": _hard_sigmoid, "HardSwish": _plain(functional.hardswish), "Gelu": _gelu,
    "Mish": _plain(functional.mish), "PRelu": _plain(lambda x, slope: torch.where(x < 0, x * slope, x)),
    "Softplus": _plain(functional.softplus), "Clip": _clip, "Cast": _cast,
    "Reshape": _reshape, "Transpose": _transpose, "Unsqueeze": _unsqueeze, "Squeeze": _squeeze, "Flatten": _flatten,
    "Concat": _concat, "Split": _split, "Slice": _slice, "Expand": _expand, "Tile": _tile, "Pad": _pad,
    "Gather": _gather, "GatherElements": _gather_elements, "GatherND": _gather_nd, "TopK": _top_k,
    "ReduceSum": _reduce(lambda x, axes, keep: x.sum(dim=axes, keepdim=keep)),
    "ReduceMean": _reduce(lambda x, axes, keep: x.mean(dim=axes, keepdim=keep)),
    "ReduceMax": _reduce(lambda x, axes, keep: x.amax(dim=axes, keepdim=keep)),
    "ReduceMin": _reduce(lambda x, axes, keep: x.amin(dim=axes, keepdim=keep)),
    "ReduceSumSquare": _reduce(lambda x, axes, keep: (x * x).sum(dim=axes, keepdim=keep)),
    "ReduceL1": _reduce(lambda x, axes, keep: x.abs().sum(dim=axes, keepdim=keep)),
    "ReduceL2": _reduce(lambda x, axes, keep: (x * x).sum(dim=axes, keepdim=keep).sqrt()),
    "ReduceProd": _reduce(_product), "ArgMax": _arg(torch.argmax), "ArgMin": _arg(torch.argmin),
    "Softmax": _softmax(torch.softmax), "LogSoftmax": _softmax(torch.log_softmax),
    "BatchNormalization": _normalise, "LayerNormalization": _layer_norm, "Gemm": _gemm,
    "Conv": convolve, "ConvTranspose": convolve_back, "MaxPool": max_pool, "AveragePool": average_pool,
    "GlobalAveragePool": _plain(lambda x: x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)),
    "GlobalMaxPool": _plain(lambda x: x.amax(dim=tuple(range(2, x.ndim)), keepdim=True)),
    "Resize": resize, "GridSample": grid_sample, "QuantizeLinear": _quantise, "DequantizeLinear": _dequantise,
}  # fmt: skip
"""What makes each operator ready."""
