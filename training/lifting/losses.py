"""What a lifter learns by.

``liftpose`` learns by the published loss, the mean squared error of z-scores. The others learn their poses by the
distance from the truth, which is what they are judged by, and, once the poses are about right, their covariances by the
Gaussian likelihood of what the poses miss (Nix and Weigend 1994; its gradient does not reach the poses, for it would
let hard joints be forgotten).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from engine.models.lift_bodies import triangle
from engine.models.lifter import DEVIATIONS, Lifter
from training.lifting.statistics import Seen

_ROUND = 1e-3
"""Below this part of a joint's deviation the distance is smooth."""


class Loss(NamedTuple):
    """The sum that is learned by, the mean distance in mm, and minus the logarithm of the likelihood (a joint's)."""

    total: Tensor
    distance_mm: Tensor
    likelihood: Tensor


def loss_of(lifter: Lifter, seen: Seen, covariance: float, autocast: torch.dtype | None = None) -> Loss:
    """The loss of a batch.

    Args:
        lifter: In training mode.
        seen: The batch.
        covariance: Weight of the likelihood; 0 = it is not computed.
        autocast: What the layers compute in.
    """
    features = lifter.features(seen.gaze, seen.confidence)
    with torch.autocast(features.device.type, autocast, enabled=autocast is not None):
        scores, raw = lifter.scores(features)
    scores = scores.float()
    weight = seen.known.to(scores.dtype)
    count = weight.sum().clamp(min=1.0)
    d = lifter.spec.out_dim
    std, mean = lifter.std3d[:, -d:], lifter.mean3d[:, -d:]
    if raw is None:
        wanted = (seen.target_mm[..., -d:] - mean) / std
        squared = ((scores - wanted) ** 2).mean(dim=-1)
        with torch.no_grad():
            off = ((scores - wanted) * std).norm(dim=-1)
        distance = (off * weight).sum() / count
        return Loss((squared * weight).sum() / count, distance, torch.zeros_like(distance))
    position = scores * std + mean
    residual = position - seen.target_mm
    if lifter.spec.out == "depth":
        # X and y are the picture's wherever they can be.
        residual = torch.cat([torch.zeros_like(residual[..., :2]), residual[..., 2:]], dim=-1)
    unit = lifter.unit_mm.mean()
    squared = ((residual / unit) ** 2).sum(dim=-1)
    distance = (((squared + _ROUND**2).sqrt() - _ROUND) * weight).sum() / count
    if not covariance:
        return Loss(distance, distance.detach() * unit, torch.zeros_like(distance))
    factor = triangle(raw.float(), DEVIATIONS) * lifter.unit_mm[:, None, None]
    likelihood = (minus_log_likelihood(residual.detach(), factor) * weight).sum() / count
    return Loss(distance + covariance * likelihood, distance.detach() * unit, likelihood.detach())


def minus_log_likelihood(residual: Float[Tensor, "*n 3"], factor: Float[Tensor, "*n 3 3"]) -> Float[Tensor, "*n"]:
    """Of a Gaussian with that lower Cholesky factor, without the constant: half the squared distance and the volume."""
    return 0.5 * squared_mahalanobis(residual, factor) + factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)


def squared_mahalanobis(residual: Float[Tensor, "*n 3"], factor: Float[Tensor, "*n 3 3"]) -> Float[Tensor, "*n"]:
    """By forward substitution: three divisions instead of a solver for each joint."""
    x, y, z = residual.unbind(dim=-1)
    a = x / factor[..., 0, 0]
    b = (y - factor[..., 1, 0] * a) / factor[..., 1, 1]
    c = (z - factor[..., 2, 0] * a - factor[..., 2, 1] * b) / factor[..., 2, 2]
    return a * a + b * b + c * c
