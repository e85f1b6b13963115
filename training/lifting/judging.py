"""A lifter on poses that it was not trained on: what it answers, how honest it is, and how good."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from engine.lifter_document import root_of
from engine.models.lifter import Lifter
from training.lifting.losses import squared_mahalanobis
from training.lifting.samples import Sample, Sampler
from training.lifting.statistics import see
from training.metrics.distances import extents_mm
from training.metrics.lifted import WITHIN_ONE, WITHIN_TWO, lifted_figures

_CHUNK = 4096
_SMALLEST_MM = 1e-4


@dataclass(frozen=True)
class Judged:
    """Answers and truth, in the cameras' axes, relative to each joint's root.

    Attributes:
        answer_mm: (N, J, 3).
        truth_mm: (N, J, 3).
        covariance_mm2: (N, J, 6).
        row: (N,) of the bank.
        camera: (N,) of the rig, or -1.
    """

    answer_mm: Float[np.ndarray, "N J 3"]
    truth_mm: Float[np.ndarray, "N J 3"]
    covariance_mm2: Float[np.ndarray, "N J 6"]
    row: Int[np.ndarray, " N"]
    camera: Int[np.ndarray, " N"]


def samples(sampler: Sampler, draws: int, seed: int) -> Iterator[tuple[Sample, torch.Tensor]]:
    """The same samples of every pose each time: by every camera of the rig, or by ``draws`` cameras from anywhere.

    Yields:
        Samples, and the rows of the bank that they show.
    """
    bank = sampler.bank
    generator = torch.Generator(bank.device).manual_seed(seed)
    rows = torch.arange(len(bank), device=bank.device)
    for number in range(max(1, sampler.cameras) * draws):
        for part in rows.split(_CHUNK):
            which = torch.full_like(part, number % sampler.cameras) if sampler.cameras else None
            yield sampler.sample(part, generator, which), part


@torch.no_grad()
def judged(lifter: Lifter, sampler: Sampler, draws: int = 1, seed: int = 1) -> Judged:
    """What a lifter answers to samples that are the same each time."""
    lifter = lifter.eval()
    roots = torch.tensor(root_of(lifter.spec.roots, lifter.spec.joints), device=sampler.bank.device)
    parts: list[list[np.ndarray]] = []
    for sample, rows in samples(sampler, draws, seed):
        seen = lifter.look(sample.points, sample.confidence)
        answer, covariance = lifter.in_camera(lifter.lift(seen, sample.confidence), seen)
        truth = sample.target_mm - sample.target_mm[:, roots]
        parts.append([part.cpu().numpy() for part in (answer, truth, covariance, rows, sample.camera)])
    return Judged(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def error_mm(found: Judged, lifted: Int[np.ndarray, " L"]) -> float:
    """Mean distance over joints that are no roots: what chooses the best weights."""
    errors = np.linalg.norm(found.answer_mm[:, lifted] - found.truth_mm[:, lifted], axis=-1)
    known = errors[np.isfinite(errors)]
    return float(known.mean()) if known.size else float("nan")


def figures(lifter: Lifter, sampler: Sampler, found: Judged) -> dict[str, Any]:
    """All figures, see `training.metrics.lifted.lifted_figures`."""
    poses = sampler.bank.poses
    # A pose is there once for each camera and draw: what follows each other does so within one of these.
    turn = np.zeros(len(found.row), dtype=np.int64)
    times: dict[int, int] = {}
    for place, row in enumerate(found.row.tolist()):
        turn[place] = times[row] = times.get(row, -1) + 1
    follow = sampler.cameras > 0
    return lifted_figures(
        found.answer_mm,
        found.truth_mm,
        found.covariance_mm2,
        joints=lifter_joints(sampler),
        root_of=root_of(lifter.spec.roots, lifter.spec.joints),
        body_mm=float(np.nanmedian(extents_mm(poses.position_mm))),
        tracks=list(zip(poses.subject[found.row].tolist(), turn.tolist(), strict=True)) if follow else None,
        frames=poses.frame[found.row].tolist() if follow else None,
    )


def lifter_joints(sampler: Sampler) -> tuple[str, ...]:
    """Names of the joints."""
    return sampler.bank.skeleton.joints


@torch.no_grad()
def calibrate(lifter: Lifter, sampler: Sampler, draws: int = 1, seed: int = 2) -> None:
    """Make a lifter's covariances honest on a part that it was not trained on.

    ``liftpose`` gets its joints' covariances from its errors there; the others' own are scaled by one factor, between
    what brings 68 and what brings 95 of a hundred below their bounds.
    """
    lifter.eval()
    lifter.sigma_scale.fill_(1.0)
    residuals, factors, known = [], [], []
    for sample, _ in samples(sampler, draws, seed):
        seen = see(lifter, sample)
        answer = lifter.lift(seen.gaze, sample.confidence)
        residuals.append(torch.where(seen.known[..., None], answer.position_mm - seen.target_mm, torch.nan))
        factors.append(answer.factor_mm.expand(*seen.known.shape, 3, 3))
        known.append(seen.known)
    residual, factor, ok = (torch.cat(parts) for parts in (residuals, factors, known))
    if lifter.spec.needs_all:
        r = torch.where(ok[..., None], residual, 0.0).double()
        count = ok.sum(dim=0).clamp(min=1)[:, None, None]
        matrix = torch.einsum("nli,nlj->lij", r, r) / count + _SMALLEST_MM**2 * torch.eye(3, device=r.device)
        lifter.constant.copy_(torch.linalg.cholesky(matrix))
        factor = lifter.constant.expand_as(factor)
    distance = squared_mahalanobis(residual, factor)[ok].double()
    if not len(distance):
        return
    # torch.quantile takes no more than 16 million values, numpy does.
    one, two = np.quantile(distance.cpu().numpy(), (0.683, 0.954))
    lifter.sigma_scale.fill_(float(np.sqrt(0.5 * (one / WITHIN_ONE + two / WITHIN_TWO))))
