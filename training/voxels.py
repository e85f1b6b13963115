"""Where in a cube of voxels points lie, however the cube is turned."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def cells_of(points_mm: Float[Tensor, "B J 3"], grid_mm: Float[Tensor, "B S S S 3"]) -> Float[Tensor, "B J 3"]:
    """Points in voxels along the cube's own axes: the first voxel is at 0, the last at S - 1.

    Args:
        points_mm: Anywhere; NaN stays NaN.
        grid_mm: Centres of the voxels; the sides are equal, each at right angles to the others.
    """
    size = grid_mm.shape[1]
    corner = grid_mm[:, 0, 0, 0]
    ends = torch.stack([grid_mm[:, -1, 0, 0], grid_mm[:, 0, -1, 0], grid_mm[:, 0, 0, -1]], dim=1)
    edges = ends - corner[:, None]
    side = torch.linalg.vector_norm(edges[:, 0], dim=-1)[:, None, None]
    return torch.matmul(points_mm - corner[:, None], (edges / side).transpose(1, 2)) / side * (size - 1)


def nearest(cells: Float[Tensor, "B J 3"], size: int) -> Int[Tensor, "B J"]:
    """Number of the voxel that is nearest to a point, in a volume laid out in a row; of the first, where it is NaN.

    Args:
        cells: Of `cells_of`; outside of the cube, a voxel on its surface is nearest.
        size: S, voxels along a side.
    """
    index = torch.nan_to_num(cells, nan=0.0).round().clamp(0, size - 1).long()
    return (index[..., 0] * size + index[..., 1]) * size + index[..., 2]
