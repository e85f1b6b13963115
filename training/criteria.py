"""What the published networks learn by ("Learnable Triangulation of Human Pose", Iskakov et al. 2019).

All that they minimise is the error of the 3D points, in one of three forms, and for volumes besides the cross entropy
of the voxel that a joint is in. Joints that are not known have no part in it, nor have those that the network gave no
place: both may be NaN, and no gradient is.

Coordinates come in the units that the threshold is meant in: the published experiments multiply mm by 0.1.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from training.losses import Mean, alone
from training.voxels import cells_of, nearest

_SMOOTH = 0.1
"""Power of a squared error above the threshold."""
_LEAST_HEAT = 1e-6
_AXES = 3


def mse(
    answer: Float[Tensor, "B J 3"], truth: Float[Tensor, "B J 3"], known: Bool[Tensor, "B J"], mean: Mean = alone
) -> Float[Tensor, ""]:
    """Mean of the squared errors along each axis.

    Args:
        answer: Of the network.
        truth: Where the joints are.
        known: Which of them count.
        mean: Over the processes that share the batch: the mean of their answers is that of the whole batch.

    Returns:
        0 where nothing counts.
    """
    return _per_axis(_offset(answer, truth, known).square(), known, mean)


def mse_smooth(
    answer: Float[Tensor, "B J 3"],
    truth: Float[Tensor, "B J 3"],
    known: Bool[Tensor, "B J"],
    threshold: float = 400.0,
    mean: Mean = alone,
) -> Float[Tensor, ""]:
    """As `mse`, but a squared error s above the threshold t counts only s ** 0.1 * t ** 0.9."""
    squared = _offset(answer, truth, known).square()
    # Clamped, or the power has no finite slope at 0 where it is not even used.
    bent = squared.clamp(min=threshold).pow(_SMOOTH) * threshold ** (1 - _SMOOTH)
    return _per_axis(torch.where(squared > threshold, bent, squared), known, mean)


def mae(
    answer: Float[Tensor, "B J 3"], truth: Float[Tensor, "B J 3"], known: Bool[Tensor, "B J"], mean: Mean = alone
) -> Float[Tensor, ""]:
    """Mean of the absolute errors along each axis; else as `mse`."""
    return _per_axis(_offset(answer, truth, known).abs(), known, mean)


def volumetric_ce(
    heat: Float[Tensor, "B J S S S"],
    grid_mm: Float[Tensor, "B S S S 3"],
    truth_mm: Float[Tensor, "B J 3"],
    known: Bool[Tensor, "B J"],
) -> Float[Tensor, ""]:
    """Cross entropy of the voxel nearest to each joint, over the number of all joints, known or not.

    Args:
        heat: How much of each joint is in each voxel.
        grid_mm: Centres of the voxels.
        truth_mm: Where the joints are.
        known: Which of them count.
    """
    index = nearest(cells_of(truth_mm, grid_mm), grid_mm.shape[1])
    there = heat.flatten(2).gather(2, index[..., None])[..., 0]
    return torch.where(known, -torch.log(there + _LEAST_HEAT), 0.0).mean()


def reroot(points: Float[Tensor, "B J 3"], root: tuple[int, ...]) -> Float[Tensor, "B J 3"]:
    """All joints relative to the root, which stays where it is: what a single view is judged by."""
    middle = points[:, list(root)].mean(dim=1, keepdim=True)
    is_root = torch.zeros(points.shape[1], dtype=torch.bool, device=points.device)
    is_root[list(root)] = True
    return torch.where(is_root[:, None], points, points - middle)


def _offset(answer: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    # Before anything is computed: a gradient of 0 times NaN is NaN.
    counts = known[..., None]
    return torch.where(counts, answer, 0.0) - torch.where(counts, truth, 0.0)


def _per_axis(errors: Float[Tensor, "B J 3"], known: Bool[Tensor, "B J"], mean: Mean) -> Tensor:
    # Of a shared batch less than one joint may fall to each process; where none does, the sum is 0 too.
    count = mean(known.sum().to(errors.dtype)).clamp(min=1e-6)
    return errors.sum() / (_AXES * count)
