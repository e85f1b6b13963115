"""What a lifter knows before it learns: means and deviations of its inputs and answers, and what is linear.

All of it is measured on samples as training draws them (LiftPose3D calls that bootstrapping), so that it holds for what
the network sees.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine.models.gaze import Gaze
from engine.models.lifter import Lifter
from training.lifting.samples import Sample, Sampler

_FLATTEST = 1e-3
"""A coordinate that varies less than this part of the others' is taken to vary so much, for it divides."""
_RIDGE = 1e-3
_CHUNK = 8192


class Seen(NamedTuple):
    """A sample as a lifter sees it.

    Attributes:
        gaze: What goes in.
        confidence: (B, T, J).
        target_mm: (B, L, 3) what should come out: joints relative to their roots in the virtual camera's axes.
        known: (B, L) whether that is known; the others are 0.
    """

    gaze: Gaze
    confidence: Float[Tensor, "B T J"]
    target_mm: Float[Tensor, "B L 3"]
    known: Bool[Tensor, "B L"]


def see(lifter: Lifter, sample: Sample) -> Seen:
    """A sample as a lifter sees it."""
    gaze = lifter.look(sample.points, sample.confidence)
    relative = sample.target_mm[:, lifter.lifted] - sample.target_mm[:, lifter.root]
    known = torch.isfinite(relative).all(dim=-1) & gaze.enough[:, None]
    relative = torch.where(known[..., None], relative, 0.0)
    return Seen(gaze, sample.confidence, torch.matmul(relative, gaze.turn.mT), known)


def _moments(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation over the first axis of what counts."""
    weight = weight.to(values.dtype)
    total = weight.sum(dim=0).clamp(min=1.0)
    mean = (values * weight).sum(dim=0) / total
    spread = (((values - mean) ** 2 * weight).sum(dim=0) / total).sqrt()
    return mean, spread.clamp(min=max(float(spread.mean()) * _FLATTEST, 1e-9))


@torch.no_grad()
def measure(lifter: Lifter, sampler: Sampler, generator: torch.Generator, least: int = 20_000) -> None:
    """Set a lifter's statistics and its linear part.

    Args:
        lifter: Whose buffers are set.
        sampler: Of the training part.
        generator: On its device.
        least: Samples that are looked at, at least; every pose is.
    """
    n = len(sampler.bank)
    order = torch.randperm(n, generator=generator, device=sampler.bank.device)
    rows = order.repeat(-(-least // n))
    seen = [see(lifter, sampler.sample(part, generator)) for part in rows.split(_CHUNK)]
    gaze = Gaze(*(torch.cat([getattr(one.gaze, key) for one in seen]) for key in Gaze._fields))
    confidence, target, known = (
        torch.cat([getattr(one, key) for one in seen]) for key in ("confidence", "target_mm", "known")
    )
    points = lifter.seen_points(gaze)
    there = (gaze.seen[:, :, lifter.lifted] if lifter.spec.needs_all else gaze.seen) & gaze.enough[:, None, None]
    mean, spread = _moments(points.flatten(0, 1), there.flatten(0, 1)[..., None])
    lifter.mean2d.copy_(mean)
    lifter.std2d.copy_(spread)
    mean, spread = _moments(target, known[..., None])
    lifter.mean3d.copy_(mean)
    lifter.std3d.copy_(spread)
    lifter.unit_mm.copy_(spread.mean(dim=-1))
    log = gaze.spread[gaze.enough].log()
    lifter.log_spread.copy_(torch.stack([log.mean(), log.std().clamp(min=0.02)]))
    flat = gaze.points[:, -1]
    if not lifter.spec.by_spread:
        flat = flat * gaze.spread[:, None, None]
    both = gaze.seen[:, -1, lifter.lifted] & gaze.seen[:, -1, lifter.root] & known
    across = (flat[:, lifter.lifted] - flat[:, lifter.root]) * both[..., None]
    lifter.mm_per_unit.copy_((across * target[..., :2]).sum() / (across * across).sum().clamp(min=1e-12))
    if lifter.linear is not None:
        _begin_linear(lifter, gaze, confidence, target, known)


def _begin_linear(lifter: Lifter, gaze: Gaze, confidence: Tensor, target: Tensor, known: Tensor) -> None:
    """Ridge regression of the z-scores: what the linear map begins with."""
    assert lifter.linear is not None
    x = lifter.features(gaze, confidence)[:, -1].double()
    y = ((target - lifter.mean3d) / lifter.std3d * known[..., None]).flatten(1).double()
    x, y = x[gaze.enough], y[gaze.enough]
    one = torch.nn.functional.pad(x, (0, 1), value=1.0)
    gram = one.mT @ one / len(one) + _RIDGE * torch.eye(one.shape[1], dtype=one.dtype, device=one.device)
    weight = torch.linalg.solve(gram, one.mT @ y / len(one))
    lifter.linear.weight.copy_(weight[:-1].mT)
    lifter.linear.bias.copy_(weight[-1])
