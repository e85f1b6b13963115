"""How a lifter looks at keypoints: by a virtual camera that is turned to the subject.

Where in a picture a subject stands, how the camera zooms and what its lens bends then hardly matter any more, so that
one network serves many cameras. What is left of the distance is the angle that the subject spans, the spread.

All functions are torch, without data-dependent control flow, and part of the exported graph.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

LEAST_SEEN = 3
"""Joints of the newest frame below which a view says nothing."""
_TINY = 1e-12
_CLOSEST = 1e-3


class Gaze(NamedTuple):
    """Keypoints as the virtual camera sees them.

    Attributes:
        points: (N, T, J, 2) about the seen joints' mean, in units of their spread; 0 where not seen.
        spread: (N,) root mean square distance of the seen points from their mean: tangent of an angle in mode
            ``perspective``, px in mode ``weak``.
        seen: (N, T, J) whether there is a point.
        turn: (N, 3, 3) from the camera's axes to the virtual camera's.
        enough: (N,) whether at least three joints of the newest frame are seen.
    """

    points: Float[Tensor, "N T J 2"]
    spread: Float[Tensor, " N"]
    seen: Bool[Tensor, "N T J"]
    turn: Float[Tensor, "N 3 3"]
    enough: Bool[Tensor, " N"]


def look(points: Float[Tensor, "N T J 2"], confidence: Float[Tensor, "N T J"], weak: bool) -> Gaze:
    """Turn a virtual camera to the seen points of a window and see them from there.

    Args:
        points: Of the normalised plane (mode ``perspective``) or raw px (``weak``); NaN = not seen.
        confidence: 0 = not seen.
        weak: Take them as they are, for a scaled parallel projection.
    """
    seen = torch.isfinite(points).all(dim=-1) & (confidence > 0)
    points = torch.where(seen[..., None], points, 0.0)
    if weak:
        turn = torch.eye(3, dtype=points.dtype, device=points.device).expand(points.shape[0], 3, 3)
        turned = points
    else:
        turn = facing(points, seen)
        rays = torch.matmul(torch.nn.functional.pad(points, (0, 1), value=1.0), turn.mT[:, None])
        turned = rays[..., :2] / rays[..., 2:].clamp(min=_CLOSEST)
    weight = seen.to(points.dtype)
    share = weight / weight.sum(dim=(1, 2), keepdim=True).clamp(min=1.0)
    middle = (turned * share[..., None]).sum(dim=(1, 2), keepdim=True)
    offset = (turned - middle) * weight[..., None]
    spread = ((offset * offset).sum(dim=-1) * share).sum(dim=(1, 2)).clamp(min=_TINY).sqrt()
    enough = weight[:, -1].sum(dim=-1) > LEAST_SEEN - 0.5
    return Gaze(offset / spread[:, None, None, None], spread, seen, turn, enough)


def facing(points: Float[Tensor, "N T J 2"], seen: Bool[Tensor, "N T J"]) -> Float[Tensor, "N 3 3"]:
    """The rotation of a camera to the mean direction of the seen points; its x axis stays in the x z plane.

    Args:
        points: Of the normalised plane, finite.
        seen: Which of them count; the axis itself where none does.
    """
    rays = torch.nn.functional.pad(points, (0, 1), value=1.0)
    rays = rays / rays.norm(dim=-1, keepdim=True)
    z = (rays * seen[..., None]).sum(dim=(1, 2))
    none = ~seen.flatten(1).any(dim=1)
    z = z + none[:, None] * torch.tensor([0.0, 0.0, 1.0], dtype=points.dtype, device=points.device)
    z = z / z.norm(dim=-1, keepdim=True)
    # y x z with y = (0, 1, 0): no camera sees along its own y axis.
    x = torch.stack([z[:, 2], torch.zeros_like(z[:, 0]), -z[:, 0]], dim=-1)
    x = x / x.norm(dim=-1, keepdim=True)
    y = torch.linalg.cross(z, x)
    return torch.stack([x, y, z], dim=1)
