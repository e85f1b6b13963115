"""Looking voxels up on a CPU: a sparse product, piece by piece, that never holds what each view says of all voxels.

What a view says of a voxel is the mean of four cells of its maps: a product with a matrix of four entries a row, whose
transpose is the way back. Voxels are taken a few thousand at a time, so that what the views say of them is aggregated
while the processor's cache still holds it, and it is computed again on the way back instead of being kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

Together = Literal["sum", "max", "softmax"]
VOXELS = 8192
"""That are taken at a time."""
_FRAME = 3
_NEVER = -1e9


def fits(features: Tensor, cells: Tensor) -> bool:
    """Whether it can be done so: on a CPU, without a gradient to the places, and not in a graph that is exported."""
    return (
        features.device.type == "cpu"
        and features.dtype in (torch.float32, torch.float64)
        and not cells.requires_grad
        and not torch.compiler.is_compiling()
        and not torch.compiler.is_exporting()
    )


def together(
    features: Float[Tensor, "B V C h w"],
    cells: Float[Tensor, "B V P 2"],
    seen: Bool[Tensor, "B V P"],
    kind: Together,
    channels: int,
) -> Float[Tensor, "B C P"]:
    """What all views say of each voxel; gradients go to the maps alone.

    Args:
        features: Maps of each view.
        cells: Where each voxel is in them, (0, 0) the centre of the first cell; there is nothing about the maps.
        seen: Who has a say, where it is ``max`` or ``softmax``.
        kind: How the first channels are aggregated.
        channels: So many; the others are summed.
    """
    answer: Tensor = _Together.apply(features, cells, seen, kind, channels)  # type: ignore[no-untyped-call]
    return answer


class _Together(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, cells: Tensor, seen: Tensor, kind: Together, channels: int) -> Tensor:
        found = features.new_empty((features.shape[0], features.shape[2], cells.shape[2]))
        views, matrices = features.shape[1], []
        for b, maps in enumerate(features):
            table = _table(maps)
            for piece in _pieces(cells.shape[2]):
                matrix = _matrix(cells[b, :, piece], *maps.shape[2:])
                values = _values(matrix, table, views)
                found[b, :channels, piece] = _aggregated(values[..., :channels], seen[b, :, piece], kind).T
                if channels < values.shape[2]:
                    found[b, channels:, piece] = values[..., channels:].sum(dim=0).T
                matrices.append(matrix)
        ctx.save_for_backward(features, seen)
        ctx.how = kind, channels, matrices if features.requires_grad else []
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:  # type: ignore[override]
        features, seen = ctx.saved_tensors
        kind, channels, matrices = ctx.how
        views, count, height, width = features.shape[1:]
        back = torch.empty_like(features)
        left = iter(matrices)
        for b, maps in enumerate(features):
            table = _table(maps)
            total = np.zeros_like(table)
            for piece in _pieces(grad.shape[2]):
                matrix = next(left)
                change = grad[b, :, piece].T.expand(views, -1, -1).contiguous()
                if kind != "sum":
                    values = _values(matrix, table, views)
                    change[..., :channels] *= _shares(values[..., :channels], seen[b, :, piece], kind)
                total += matrix.T @ change.flatten(0, 1).numpy()
            framed = torch.from_numpy(total).reshape(views, height + _FRAME, width + _FRAME, count)
            back[b] = framed[:, 1 : height + 1, 1 : width + 1].permute(0, 3, 1, 2)
        return back, None, None, None, None


def _pieces(count: int) -> Iterator[slice]:
    return (slice(first, first + VOXELS) for first in range(0, count, VOXELS))


def _table(maps: Float[Tensor, "V C h w"]) -> Float[np.ndarray, "N C"]:
    """The cells of all views, with a frame of zeros about each map: one cell before it and two behind."""
    framed = torch.nn.functional.pad(maps.permute(0, 2, 3, 1), (0, 0, 1, 2, 1, 2))
    found: np.ndarray = framed.reshape(-1, maps.shape[1]).numpy()
    return found


def _values(matrix: Any, table: np.ndarray, views: int) -> Float[Tensor, "V n C"]:
    return torch.from_numpy(matrix @ table).unflatten(0, (views, -1))


def _matrix(cells: Float[Tensor, "V n 2"], height: int, width: int) -> Any:
    """(V n, N): from the cells of `_table` to the places between them, bilinearly."""
    from scipy.sparse import csr_array  # here, for where there is a GPU nothing needs it

    views, count = cells.shape[:2]
    across, down = width + _FRAME, height + _FRAME
    x, y = cells[..., 0].clamp(-1, width) + 1, cells[..., 1].clamp(-1, height) + 1
    left, top = x.floor(), y.floor()
    x, y = x - left, y - top
    first = top.to(torch.int32) * across + left.to(torch.int32)
    first += (torch.arange(views, dtype=torch.int32) * (across * down))[:, None]
    column = first[..., None] + torch.tensor([0, 1, across, across + 1], dtype=torch.int32)
    both = x * y
    weight = torch.stack([1 - x - y + both, x - both, y - both, both], dim=-1)
    rows = np.arange(0, 4 * views * count + 1, 4, dtype=np.int32)
    shape = (views * count, views * down * across)
    return csr_array((weight.flatten().numpy(), column.flatten().numpy(), rows), shape=shape)


def _scores(values: Tensor, seen: Tensor) -> Tensor:
    return values + torch.where(seen, 0.0, _NEVER).to(values.dtype)[..., None]


def _aggregated(values: Float[Tensor, "V n C"], seen: Bool[Tensor, "V n"], kind: Together) -> Float[Tensor, "n C"]:
    if kind == "sum":
        return values.sum(dim=0)
    scores = _scores(values, seen)
    if kind == "max":
        return torch.where(seen.any(dim=0)[:, None], scores.amax(dim=0), 0.0)
    return (scores.softmax(dim=0) * values).sum(dim=0)


def _shares(values: Tensor, seen: Tensor, kind: Together) -> Tensor:
    """What the aggregate changes with each view's value."""
    scores = _scores(values, seen)
    if kind == "max":
        highest = scores == scores.amax(dim=0)
        # As torch: several that are equal share it.
        return torch.where(seen.any(dim=0)[:, None], highest / highest.sum(dim=0), 0.0).to(values.dtype)
    share = scores.softmax(dim=0)
    return share * (1 + values - (share * values).sum(dim=0))
