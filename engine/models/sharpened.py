"""A volume's answer, made sharper by the points of the views.

Voxels are coarse, and a network on them knows bodies better than it knows pixels. What it says of a joint is taken as a
normal distribution, and each view's point as a measurement of it: one step of Gauss and Newton from the volume's mean
to the most likely place. A point counts as far as it is believed: the chance that it is one, given where the volume has
the joint, against its being anywhere in the picture (`engine.models.algebraic` learns confidences as such chances).
A joint that several views see well is thus triangulated, one that a single view sees lies on its ray, and one that none
sees stays where bodies have it. A confidence also says how exact a point is: its deviation grows as that falls.

All of it is differentiable, so that the network on volumes learns how sure it may be, and there is no loop, no
decomposition and nothing that is NaN where a camera is absent.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from calib import lens
from calib.rig import RigArrays
from engine.models import implicit

_NEAREST = 1e-3
"""Least depth, in units of the rig."""
_SURE, _NEVER = 0.98, 1e-4
"""No point is believed more than this before it is held against the volume, and none quite ignored."""
_FAINTEST = 0.02
"""Confidence below which a point gets no less exact."""
_LEAST_UNITS = 1e-4
"""Least standard deviation of a volume, in units of the rig: 0.4 mm in a room."""


_LOG_TWO_PI = 1.8378770664093453


class Sharpened(NamedTuple):
    """The most likely places.

    Attributes:
        position_mm: (B, J, 3).
        covariance_mm2: (B, J, 6) xx xy xz yy yz zz.
    """

    position_mm: Float[Tensor, "B J 3"]
    covariance_mm2: Float[Tensor, "B J 6"]


def sharpened(
    position_mm: Float[Tensor, "B J 3"],
    covariance_mm2: Float[Tensor, "B J 6"],
    points: Float[Tensor, "B V J 2"],
    confidence: Float[Tensor, "B V J"],
    crop_to_image: Float[Tensor, "B V 2 3"],
    sigma_px: Float[Tensor, " J"],
    power: Float[Tensor, " J"],
    size_px: int,
    rig: RigArrays,
) -> Sharpened:
    """What volume and views say together.

    Args:
        position_mm: What the volume says; finite.
        covariance_mm2: How sure it is; positive definite.
        points: Raw px; NaN = not seen.
        confidence: Chance that a point is one; 0 = the camera is absent.
        crop_to_image: From crop px to raw px.
        sigma_px: Standard deviation of a point that is one and has confidence 1, in crop px along an axis.
        power: It is divided by the confidence to this power.
        size_px: Side of the crops.
        rig: One for all, or one for each sample (an axis B in front of each array).
    """
    world = rig.world.reshape(-1, 1, 4)
    unit = world[..., 3:]
    start = (position_mm - world[..., :3]) / unit
    variance = _with_least(covariance_mm2 / unit**2)

    rays = _rays(points, rig)
    known = torch.isfinite(rays).all(dim=-1)
    rays = torch.where(known[..., None], rays, 0.0)
    Rt = rig.Rt
    seen_from = torch.matmul(start[:, None], Rt[..., :3].transpose(-1, -2)) + Rt[..., None, :, 3]
    depth = seen_from[..., 2]
    sees = known & (depth > _NEAREST) & (confidence > 0)
    depth = torch.where(sees, depth, 1.0)
    # Of a direction in crop px of its standard deviation: the lens' own stretching aside.
    focal = (rig.K[..., 0, 0] * rig.K[..., 1, 1]).sqrt()
    a, b, c, d = (crop_to_image[..., row, column] for row in (0, 1) for column in (0, 1))
    stretch = (a * d - b * c).abs()
    # An absent camera may bring a matrix of zeros.
    stretch = torch.where(stretch > 0, stretch, 1.0).sqrt()
    deviation = sigma_px * torch.exp(-power * confidence.clamp(min=_FAINTEST).log())
    scale = (focal / stretch)[..., None] / (deviation * depth)
    turn = Rt[..., None, :, :3]
    # (B, V, J, 3): how the point moves with the joint, in standard deviations, and how far off it is.
    along_x = (turn[..., 0, :] - rays[..., :1] * turn[..., 2, :]) * scale[..., None]
    along_y = (turn[..., 1, :] - rays[..., 1:] * turn[..., 2, :]) * scale[..., None]
    off_x = (rays[..., 0] * seen_from[..., 2] - seen_from[..., 0]) * scale
    off_y = (rays[..., 1] * seen_from[..., 2] - seen_from[..., 1]) * scale

    belief = torch.where(sees, _belief(variance, along_x, along_y, off_x, off_y, confidence, deviation, size_px), 0.0)
    normal = _inverse(variance) + (belief[..., None] * (_outer(along_x) + _outer(along_y))).sum(dim=1)
    pull = (belief[..., None] * (along_x * off_x[..., None] + along_y * off_y[..., None])).sum(dim=1)
    found = _inverse(normal)
    position = start + _times(found, pull)
    return Sharpened(position * unit + world[..., :3], found * unit**2)


def _rays(points: Float[Tensor, "B V J 2"], rig: RigArrays) -> Float[Tensor, "B V J 2"]:
    learns = torch.is_grad_enabled() and points.requires_grad and not torch.compiler.is_exporting()
    if rig.K.ndim == 3 and not learns:
        return lens.undistort(points, rig.K, rig.dist, rig.fisheye)  # type: ignore[no-any-return]
    batch = points.shape[0]
    each = (rig.K, rig.dist, rig.fisheye)
    if rig.K.ndim == 3:
        each = tuple(array.expand(batch, *array.shape) for array in each)
    # The lens functions know one axis of cameras: every sample's cameras stand in it.
    return implicit.rays(points.flatten(0, 1), *(array.flatten(0, 1) for array in each)).unflatten(0, points.shape[:2])


def _belief(
    variance: Tensor,
    along_x: Tensor,
    along_y: Tensor,
    off_x: Tensor,
    off_y: Tensor,
    confidence: Tensor,
    deviation: Tensor,
    size_px: int,
) -> Float[Tensor, "B V J"]:
    """The chance that a point is one, given where the volume has the joint; else it may be anywhere in the crop."""
    moved_x, moved_y = _times(variance[:, None], along_x), _times(variance[:, None], along_y)
    xx = 1 + (along_x * moved_x).sum(dim=-1)
    yy = 1 + (along_y * moved_y).sum(dim=-1)
    xy = (along_x * moved_y).sum(dim=-1)
    determinant = (xx * yy - xy * xy).clamp(min=1.0)
    distance = (yy * off_x * off_x - 2 * xy * off_x * off_y + xx * off_y * off_y) / determinant
    chance = confidence.clamp(_NEVER, _SURE)
    inlier = chance.log() - 0.5 * distance - 0.5 * determinant.log() - _LOG_TWO_PI
    stray = (1 - chance).log() - 2 * (math.log(size_px) - deviation.log())
    return torch.sigmoid(inlier - stray)


def _with_least(six: Float[Tensor, "*n 6"]) -> Float[Tensor, "*n 6"]:
    eye = torch.tensor([1.0, 0, 0, 1, 0, 1], dtype=six.dtype, device=six.device)
    return six + eye * _LEAST_UNITS**2


def _outer(vector: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 6"]:
    x, y, z = vector.unbind(dim=-1)
    return torch.stack([x * x, x * y, x * z, y * y, y * z, z * z], dim=-1)


def _times(six: Float[Tensor, "*n 6"], vector: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    xx, xy, xz, yy, yz, zz = six.unbind(dim=-1)
    x, y, z = vector.unbind(dim=-1)
    return torch.stack([xx * x + xy * y + xz * z, xy * x + yy * y + yz * z, xz * x + yz * y + zz * z], dim=-1)


def _inverse(six: Float[Tensor, "*n 6"]) -> Float[Tensor, "*n 6"]:
    """Of positive definite 3x3 matrices, in closed form; scaled first, so that float32 squares no extremes."""
    largest = torch.maximum(torch.maximum(six[..., :1], six[..., 3:4]), six[..., 5:])
    xx, xy, xz, yy, yz, zz = (six / largest).unbind(dim=-1)
    adjugate = torch.stack(
        [
            yy * zz - yz * yz,
            xz * yz - xy * zz,
            xy * yz - xz * yy,
            xx * zz - xz * xz,
            xy * xz - xx * yz,
            xx * yy - xy * xy,
        ],
        dim=-1,
    )
    determinant = (xx * adjugate[..., 0] + xy * adjugate[..., 1] + xz * adjugate[..., 2]).clamp(min=1e-20)
    return adjugate / (determinant[..., None] * largest)
