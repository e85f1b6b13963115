"""Triangulation and unprojection one after the other, as the public code of Iskakov et al. (2019) does them.

A Python loop over samples and joints solves each joint's linear equations by an SVD; a loop over samples and views
brings each view's maps into the volume. Written from the description of that code, to be measured against; where two
ways are open, the quicker one is taken. Nothing here is used but by the benchmark.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def triangulated(
    points: Float[Tensor, "B V J 2"], weight: Float[Tensor, "B V J"], matrices: Float[Tensor, "B V 3 4"]
) -> Float[Tensor, "B J 3"]:
    """The direct linear transform (Hartley and Zisserman 2004, 12.2), an SVD for each sample and joint.

    Args:
        points: Undistorted px.
        weight: Of each view's equations.
        matrices: From homogeneous mm to homogeneous px.

    Returns:
        mm.
    """
    batch, _, joints = weight.shape
    found = [_one_joint(points[b, :, j], weight[b, :, j], matrices[b]) for b in range(batch) for j in range(joints)]
    return torch.stack(found).unflatten(0, (batch, joints))


def _one_joint(
    points: Float[Tensor, "V 2"], weight: Float[Tensor, " V"], matrices: Float[Tensor, "V 3 4"]
) -> Float[Tensor, " 3"]:
    equations = (points[:, :, None] * matrices[:, 2:] - matrices[:, :2]) * weight[:, None, None]
    solution = torch.linalg.svd(equations.flatten(0, 1), full_matrices=False).Vh[3]
    return solution[:3] / solution[3]


def unprojected(
    features: Float[Tensor, "B V C h w"], grid_mm: Float[Tensor, "B S S S 3"], matrices: Float[Tensor, "B V 3 4"]
) -> Float[Tensor, "B C S S S"]:
    """What all views say of each voxel, weighed by the softmax of what they say.

    Args:
        features: Maps of each view.
        grid_mm: Centres of the voxels.
        matrices: From homogeneous mm to homogeneous map cells.

    Returns:
        The mean of the views; one that does not see a voxel says 0 and takes part.
    """
    volumes = []
    for maps, grid, to_maps in zip(features, grid_mm, matrices, strict=True):
        points = grid.flatten(0, 2)
        homogeneous = torch.cat([points, torch.ones_like(points[:, :1])], dim=1)
        said = torch.stack([_one_view(maps[v], homogeneous, to_maps[v], grid.shape[:3]) for v in range(len(maps))])
        volumes.append((said * said.softmax(dim=0)).sum(dim=0))
    return torch.stack(volumes)


def _one_view(
    maps: Float[Tensor, "C h w"], homogeneous: Float[Tensor, "P 4"], to_map: Float[Tensor, "3 4"], sides: torch.Size
) -> Float[Tensor, "C S S S"]:
    seen = homogeneous @ to_map.T
    behind = seen[:, 2] <= 0
    cells = seen[:, :2] / torch.where(behind, 1.0, seen[:, 2])[:, None]
    last = torch.tensor([maps.shape[2] - 1, maps.shape[1] - 1], dtype=cells.dtype, device=cells.device)
    where = (2 * cells / last - 1)[None, :, None]
    found = torch.nn.functional.grid_sample(maps[None], where, align_corners=True)[0, :, :, 0]
    return torch.where(behind, 0.0, found).unflatten(1, sides)
