"""How sure a volume is of where it sees a joint."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

FINEST = 6.0
"""What a cube can tell apart: this part of the distance between voxels."""


def spread_3d(
    volumes: Float[Tensor, "B J S S S"], grid_mm: Float[Tensor, "B S S S 3"], multiplier: float = 1.0
) -> Float[Tensor, "B J 6"]:
    """How sure `soft_argmax_3d` is: second moments of the softmax, in a cube along the axes of the world.

    To say a place between voxels, weight must lie on several of them: that share of the moments, f (1 - f) of the
    distance squared at a fraction f between two, tells nothing of the joint and is taken off, axis by axis. What is
    below a part of that distance (`FINEST`) nobody knows, and it is added.

    Args:
        volumes: Logits.
        grid_mm: Centres of the voxels.
        multiplier: Of the logits.

    Returns:
        Covariance in mm2: xx xy xz yy yz zz.
    """
    heat = (volumes.flatten(2) * multiplier).softmax(dim=-1)
    step = (grid_mm[:, -1, -1, -1, :1] - grid_mm[:, 0, 0, 0, :1])[:, None] / (grid_mm.shape[1] - 1)
    middle = (grid_mm[:, :1, 0, 0] + grid_mm[:, -1:, -1, -1]) / 2
    # In voxels from the middle, so that float32 squares no large numbers.
    x, y, z = ((grid_mm.flatten(1, 3) - middle) / step).unbind(dim=-1)
    moments = torch.matmul(heat, torch.stack([x, y, z, x * x, x * y, x * z, y * y, y * z, z * z], dim=-1))
    mean, (xx, xy, xz, yy, yz, zz) = moments[..., :3], moments[..., 3:].unbind(dim=-1)
    x, y, z = mean.unbind(dim=-1)
    variance = (torch.stack([xx, yy, zz], dim=-1) - mean * mean).clamp(min=1e-6)
    between = mean + (grid_mm.shape[1] - 1) / 2
    between = between - between.floor()
    # A factor on each axis, not a difference: what is left stays a covariance.
    kept = ((variance - between * (1 - between)).clamp(min=0.0) / variance).sqrt()
    a, b, c = kept.unbind(dim=-1)
    xx, yy, zz = (variance * kept * kept + 1 / FINEST**2).unbind(dim=-1)
    xy, xz, yz = (xy - x * y) * a * b, (xz - x * z) * a * c, (yz - y * z) * b * c
    return torch.stack([xx, xy, xz, yy, yz, zz], dim=-1) * (step * step)
