"""How sure a volume is of where it sees a joint."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

FINEST = 6.0
"""What a cube can tell apart: this part of the distance between voxels."""
_LEAST = 1e-6
"""Variance in voxels: nothing is divided by less, and no root is taken of 0, where it has no slope."""


def spread_3d(
    volumes: Float[Tensor, "B J S S S"], grid_mm: Float[Tensor, "B S S S 3"], multiplier: float = 1.0
) -> Float[Tensor, "B J 6"]:
    """The covariance of `moments_3d`."""
    return moments_3d(volumes, grid_mm, multiplier)[1]


def moments_3d(
    volumes: Float[Tensor, "B J S S S"], grid_mm: Float[Tensor, "B S S S 3"], multiplier: float = 1.0
) -> tuple[Float[Tensor, "B J 3"], Float[Tensor, "B J 6"]]:
    """What `soft_argmax_3d` says, and how sure it is: second moments of the softmax, in a cube however it is turned.

    To say a place between voxels, weight must lie on several of them: that share of the moments, f (1 - f) of the
    distance squared at a fraction f between two, tells nothing of the joint and is taken off, axis by axis. What is
    below a part of that distance (`FINEST`) nobody knows, and it is added.

    Args:
        volumes: Logits.
        grid_mm: Centres of the voxels.
        multiplier: Of the logits.

    Returns:
        mm in the world, and the covariance in mm2: xx xy xz yy yz zz.
    """
    heat = (volumes.flatten(2) * multiplier).softmax(dim=-1)
    corner = grid_mm[:, 0, 0, 0]
    ends = torch.stack([grid_mm[:, -1, 0, 0], grid_mm[:, 0, -1, 0], grid_mm[:, 0, 0, -1]], dim=1)
    edges = (ends - corner[:, None]) / (grid_mm.shape[1] - 1)
    step = (edges * edges).sum(dim=-1).mean(dim=-1).sqrt()[:, None, None]
    axes = edges / step
    middle = (grid_mm[:, :1, 0, 0] + grid_mm[:, -1:, -1, -1]) / 2
    # In voxels from the middle along the cube's own axes, so that float32 squares no large numbers.
    x, y, z = torch.matmul((grid_mm.flatten(1, 3) - middle) / step, axes.transpose(1, 2)).unbind(dim=-1)
    moments = torch.matmul(heat, torch.stack([x, y, z, x * x, x * y, x * z, y * y, y * z, z * z], dim=-1))
    mean, (xx, xy, xz, yy, yz, zz) = moments[..., :3], moments[..., 3:].unbind(dim=-1)
    x, y, z = mean.unbind(dim=-1)
    variance = (torch.stack([xx, yy, zz], dim=-1) - mean * mean).clamp(min=_LEAST)
    between = mean + (grid_mm.shape[1] - 1) / 2
    between = between - between.floor()
    # A factor on each axis, not a difference: what is left stays a covariance.
    kept = ((variance - between * (1 - between)).clamp(min=_LEAST) / variance).sqrt()
    a, b, c = kept.unbind(dim=-1)
    xx, yy, zz = (variance * kept * kept + 1 / FINEST**2).unbind(dim=-1)
    xy, xz, yz = (xy - x * y) * a * b, (xz - x * z) * a * c, (yz - y * z) * b * c
    own = torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], dim=-1).unflatten(-1, (3, 3))
    turned = torch.matmul(axes.transpose(1, 2)[:, None], torch.matmul(own, axes[:, None])).flatten(-2)
    upper = torch.tensor([0, 1, 2, 4, 5, 8], device=turned.device)
    return torch.matmul(mean, axes) * step + middle, turned.index_select(-1, upper) * (step * step)
