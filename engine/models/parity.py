"""The linear triangulation of the published networks: in millimetres and crop px, nothing normalised.

Which point least squares find depends on the units of their equations, so that a network that learned with
these (Iskakov et al. 2019) is repeated to the last hundredth of a millimetre only with them. They are badly
conditioned, hence float64 and a null vector from the adjugate, squared until the other eigenvectors are
gone: no SVD, so that it can be exported, and no differences of singular values in its gradient.
"""

from __future__ import annotations

import torch
from array_api_compat import array_namespace
from jaxtyping import Float
from torch import Tensor

from calib import lens
from calib.rig import RigArrays
from calib.triangulate import adjugate

LEAST_CONFIDENCE = 1e-5
"""Added to each confidence after the views' confidences were divided by their sum."""
_SQUARINGS = 12
_RIDGE = 1e-15
_FARTHEST_MM = 1e9
_LEAST_SUM = 1e-12


def share(confidence: Float[Tensor, "B V J"], view_weight: Float[Tensor, "B V"]) -> Float[Tensor, "B V J"]:
    """Confidences as parts of the sum over the views that are present, none of them zero; 0 of those that are not."""
    present = (view_weight > 0)[..., None]
    confidence = torch.where(present, confidence, 0.0)
    total = confidence.sum(dim=1, keepdim=True).clamp(min=_LEAST_SUM)
    return torch.where(present, confidence / total + LEAST_CONFIDENCE, 0.0)


def projections(crop_to_image: Float[Tensor, "B V 2 3"], rig: RigArrays) -> Float[Tensor, "B V 3 4"]:
    """From homogeneous mm to homogeneous crop px, for pictures without distortion, in float64.

    Args:
        crop_to_image: From crop px to raw px.
        rig: One rig for all, or one for each sample (an axis B in front of each array).
    """
    to_crop = inverse(crop_to_image.double())
    K, Rt, world = rig.K.double(), rig.Rt.double(), rig.world.double()
    R, unit = Rt[..., :3], world[..., None, 3:]
    # In mm: x_camera = unit (R (X - origin) / unit + t).
    t = unit * Rt[..., 3] - torch.matmul(R, world[..., None, :3, None])[..., 0]
    return torch.matmul(to_crop, torch.matmul(K, torch.cat([R, t[..., None]], dim=-1)))


def inverse(affine: Float[Tensor, "*n 2 3"]) -> Float[Tensor, "*n 3 3"]:
    """The way back, with the row that makes it square; finite for a matrix of zeros."""
    a, b, c, d = (affine[..., row, column] for row in (0, 1) for column in (0, 1))
    determinant = a * d - b * c
    # An absent camera may bring a matrix of zeros.
    determinant = torch.where(determinant.abs() > 0, determinant, 1.0)
    linear = torch.stack([d, -b, -c, a], dim=-1).unflatten(-1, (2, 2)) / determinant[..., None, None]
    shift = -torch.matmul(linear, affine[..., 2:])
    last = torch.tensor([[0.0, 0.0, 1.0]], dtype=affine.dtype, device=affine.device).expand(*affine.shape[:-2], 1, 3)
    return torch.cat([torch.cat([linear, shift], dim=-1), last], dim=-2)


def without_lens(points: Float[Tensor, "B V J 2"], rig: RigArrays) -> Float[Tensor, "B V J 2"]:
    """Raw px as they would be in undistorted pictures of the same K; in float64."""
    K, dist, fisheye = rig.K.double(), rig.dist.double(), rig.fisheye.double()
    points = points.double()
    if K.ndim == 3:
        flat = lens.undistort(points, K, dist, fisheye)
    else:
        # The lens functions know one axis of cameras: every sample's cameras stand in it.
        cameras = (K.flatten(0, 1), dist.flatten(0, 1), fisheye.flatten())
        flat = lens.undistort(points.flatten(0, 1), *cameras).unflatten(0, points.shape[:2])
    focal = torch.stack([K[..., 0, 0], K[..., 1, 1]], dim=-1)[..., None, :]
    return flat * focal + K[..., None, :2, 2]


def linear_mm(
    points: Float[Tensor, "B V J 2"],
    weight: Float[Tensor, "B V J"],
    matrices: Float[Tensor, "B V 3 4"],
) -> Float[Tensor, "B J 3"]:
    """The direct linear transform (Hartley and Zisserman 2004, 12.2).

    Args:
        points: Crop px; NaN = not seen.
        weight: Of each view's equations; 0 = not seen.
        matrices: From mm to crop px.

    Returns:
        mm in float64; NaN with fewer than two views and for points further than a thousand kilometres.
    """
    points, weight = points.double(), weight.double()
    seen = points.isfinite().all(dim=-1) & (weight > 0)
    points = torch.where(seen[..., None], points, 0.0)
    weight = torch.where(seen, weight, 0.0)
    rows = points[..., None] * matrices[:, :, None, 2:] - matrices[:, :, None, :2]
    rows = (rows * weight[..., None, None]).transpose(1, 2).flatten(2, 3)
    enough = (seen.to(rows.dtype).sum(dim=1) > 1.5)[..., None]
    gram = torch.matmul(rows.transpose(-1, -2), rows)
    eye = torch.eye(4, dtype=rows.dtype, device=rows.device)
    gram = torch.where(enough[..., None], gram, eye)
    trace = (gram * eye).sum(dim=(-1, -2))[..., None, None]
    power = adjugate(array_namespace(gram), gram / trace + _RIDGE * eye)
    for _ in range(_SQUARINGS):
        power = power / power.abs().amax(dim=(-1, -2), keepdim=True)
        power = torch.matmul(power, power)
    power = power / power.abs().amax(dim=(-1, -2), keepdim=True)
    vector = torch.matmul(power, power[..., 3:])[..., 0]
    vector = vector / vector.abs().amax(dim=-1, keepdim=True).clamp(min=1e-300)
    nearer = vector[..., 3:].abs() > 1 / _FARTHEST_MM
    position = vector[..., :3] / torch.where(nearer, vector[..., 3:], 1.0)
    return torch.where(enough & nearer, position, torch.nan)
