"""How the published networks learn and answer; what they are is in `engine.models.published`.

Their criteria know only 3D points (`training.criteria`). A volumetric network is told where its cuboid stands, see
`training.sources.Base`.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from engine.models.algebraic import to_image
from engine.models.published import PublishedAlgebraic, PublishedRansac, PublishedVolumetric
from training.chances import Chances
from training.config import CriterionSection
from training.criteria import mae, mse, mse_smooth, reroot, volumetric_ce
from training.losses import Batch, Mean, alone
from training.predict import Prediction

Learner: TypeAlias = PublishedAlgebraic | PublishedVolumetric
Published: TypeAlias = Learner | PublishedRansac


class AlgebraicLosses(NamedTuple):
    """Scalars: what is minimised; to read, the median 3D error and the mean 2D error as a share of the crop's side."""

    total: Tensor
    error_mm: Tensor
    error_share: Tensor


class VolumetricLosses(NamedTuple):
    """Scalars: what is minimised, and its two parts; to read, the median 3D error, and how far the cuboid is off."""

    total: Tensor
    points: Tensor
    volume: Tensor
    error_mm: Tensor
    base_mm: Tensor


class PublishedObjective(nn.Module):
    """A published network with its criterion as one module, which is what DistributedDataParallel wraps.

    Args:
        model: What is trained.
        config: The criterion.
        mean: Over the processes that share a batch.
    """

    def __init__(self, model: Learner, config: CriterionSection, mean: Mean = alone) -> None:
        super().__init__()
        self.model = model
        self._config, self._mean = config, mean

    def forward(
        self, batch: Batch, position_share: float, chances: Chances, autocast: torch.dtype | None
    ) -> AlgebraicLosses | VolumetricLosses:
        """The losses of this process's part of a batch.

        Args:
            batch: Samples with their truth.
            position_share: Not used: the 3D error is all that there is, from the first step on.
            chances: Views that are left out, and how the cuboid lies.
            autocast: Lower precision of the network.
        """
        weight = _weight(batch) if chances.view_weight is None else chances.view_weight
        if isinstance(self.model, PublishedVolumetric):
            return self._volumetric(self.model, batch, weight, chances, autocast)
        return self._algebraic(self.model, batch, weight, autocast)

    def _algebraic(
        self, model: PublishedAlgebraic, batch: Batch, weight: Tensor, autocast: torch.dtype | None
    ) -> AlgebraicLosses:
        views, size = batch.crops.shape[:2], batch.crops.shape[2]
        seen = model.see(batch.crops.flatten(0, 1), autocast)
        points, confidence = seen.points.unflatten(0, views), seen.confidence.unflatten(0, views)
        answer = model.triangulate(points, confidence, batch.crop_to_image, weight, batch.rigs)
        with torch.no_grad():
            share = torch.linalg.vector_norm(points - batch.points, dim=-1) / size
            share = torch.where(_inside(batch) & ~batch.hidden, share, torch.nan).nanmean()
        return AlgebraicLosses(self._points_loss(answer, batch), _error_mm(answer, batch), share)

    def _volumetric(
        self,
        model: PublishedVolumetric,
        batch: Batch,
        weight: Tensor,
        chances: Chances,
        autocast: torch.dtype | None,
    ) -> VolumetricLosses:
        base = batch.base_mm
        if chances.off_mm is not None:
            base = base + chances.off_mm
        located = model(
            batch.crops, batch.crop_to_image, weight, *batch.rigs, base_mm=base, theta=chances.theta, autocast=autocast
        )
        answer = located.points3d
        points = self._points_loss(answer, batch)
        volume = points.new_zeros(())
        if self._config.volumetric_ce_weight:
            volume = volumetric_ce(located.heat, located.grid_mm, batch.position_mm, _known(answer, batch.position_mm))
        with torch.no_grad():
            off = torch.linalg.vector_norm(base - _root(model, batch.position_mm), dim=-1).nanmean()
        total = points + self._config.volumetric_ce_weight * volume
        return VolumetricLosses(total, points, volume, _error_mm(answer, batch), off)

    def _points_loss(self, answer: Float[Tensor, "B J 3"], batch: Batch) -> Tensor:
        truth = batch.position_mm
        if batch.crops.shape[1] == 1 and isinstance(self.model, PublishedVolumetric):
            # One view does not know how far away the subject is.
            answer, truth = reroot(answer, self.model.root), reroot(truth, self.model.root)
        known = _known(answer, truth)
        answer, truth = answer * self._config.scale, truth * self._config.scale
        if self._config.criterion == "MSESmooth":
            return mse_smooth(answer, truth, known, self._config.threshold, self._mean)
        return (mse if self._config.criterion == "MSE" else mae)(answer, truth, known, self._mean)


@torch.no_grad()
def predict_published(model: Published, batch: Batch) -> Prediction:
    """The network's answer in float32, in evaluation mode.

    A volumetric network has no answer where the batch has no base. It says nothing of points in pictures: their
    errors, and what all views alike would make of them, are NaN.
    """
    was = model.training
    model.eval()
    try:
        if isinstance(model, PublishedVolumetric):
            return _volumetric(model, batch)
        return _of_points(model, batch) if isinstance(model, PublishedAlgebraic) else _consensus(model, batch)
    finally:
        model.train(was)


def _volumetric(model: PublishedVolumetric, batch: Batch) -> Prediction:
    located = model(batch.crops, batch.crop_to_image, _weight(batch), *batch.rigs, base_mm=batch.base_mm)
    nowhere = torch.full_like(batch.points[..., 0], torch.nan)
    return _prediction(located.points3d, torch.full_like(located.points3d, torch.nan), batch, nowhere, nowhere)


def _of_points(model: PublishedAlgebraic, batch: Batch) -> Prediction:
    views = batch.crops.shape[:2]
    seen = model.see(batch.crops.flatten(0, 1))
    points, confidence = seen.points.unflatten(0, views), seen.confidence.unflatten(0, views)
    answer, plain = (
        model.triangulate(points, weight, batch.crop_to_image, _weight(batch), batch.rigs)
        for weight in (confidence, torch.ones_like(confidence))
    )
    return _prediction(answer, plain, batch, torch.linalg.vector_norm(points - batch.points, dim=-1), confidence)


def _consensus(model: PublishedRansac, batch: Batch) -> Prediction:
    # A consensus is found for one rig, and each sample may have another.
    answers = [
        model(
            batch.crops[b : b + 1],
            batch.crop_to_image[b : b + 1],
            _weight(batch)[b : b + 1],
            *(part[b] for part in batch.rigs),
        )
        for b in range(len(batch.crops))
    ]
    points, agrees, position = (torch.cat([answer[part] for answer in answers]) for part in range(3))
    raw = to_image(batch.points, batch.crop_to_image)
    scale = torch.linalg.det(batch.crop_to_image[..., :2]).abs().sqrt()[..., None]
    off = torch.linalg.vector_norm(points - raw, dim=-1) / scale
    return _prediction(position, torch.full_like(position, torch.nan), batch, off, agrees)


def _prediction(answer: Tensor, plain: Tensor, batch: Batch, off_px: Tensor, confidence: Tensor) -> Prediction:
    share = torch.where(_inside(batch), off_px / batch.crops.shape[2], torch.nan)
    parts = (answer, plain, batch.position_mm, share, confidence)
    return Prediction(*(part.float().cpu().numpy() for part in parts))


def _weight(batch: Batch) -> Float[Tensor, "B V"]:
    return torch.ones_like(batch.crop_to_image[..., 0, 0])


def _inside(batch: Batch) -> Bool[Tensor, "B V J"]:
    size = batch.crops.shape[2]
    return ((batch.points > -0.5) & (batch.points < size - 0.5)).all(dim=-1)


def _known(answer: Tensor, truth: Tensor) -> Bool[Tensor, "B J"]:
    return torch.isfinite(answer).all(dim=-1) & torch.isfinite(truth).all(dim=-1)


def _root(model: PublishedVolumetric, position_mm: Float[Tensor, "B J 3"]) -> Float[Tensor, "B 3"]:
    return position_mm[:, list(model.root)].mean(dim=1)


def _error_mm(answer: Float[Tensor, "B J 3"], batch: Batch) -> Tensor:
    with torch.no_grad():
        distance = torch.linalg.vector_norm(answer - batch.position_mm, dim=-1)
        return torch.where(_known(answer, batch.position_mm), distance, torch.nan).nanmedian()
