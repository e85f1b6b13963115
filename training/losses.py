"""What training minimises: four or five losses, each independent of the size of pictures and subjects.

A joint that is NaN in a picture (not labelled, or behind the camera) or in 3D (not known) has no part in what is
learned there; where nothing of a batch is known, that loss is 0.

heatmap     cross entropy between the heatmap and a Gaussian about the true point, less what cannot be
            avoided; it makes the map have one peak, which a loss on the soft-argmax alone does not.
point       smooth L1 of the soft-argmax, as a share of the crop's side.
position    logarithm of one plus the 3D error over 2 % of the subject's extent: bounded pull of what is far off,
            full pull of what is nearly right, through the triangulation into points and confidences.
volume      of volumetric networks: cross entropy of the voxel that the joint lies in, without which the soft-argmax
            alone would leave several peaks.
confidence  cross entropy of the confidences with how near the points came, so that they keep their meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from calib.rig import RigArrays
from engine.models.algebraic import CONFIDENT_SHARE, Algebraic, Seen, to_image, triangulate_each
from engine.models.backbone import STRIDE
from engine.models.volumetric import Located, Volumetric
from training.chances import Chances
from training.config import AnyLossSection, LossSection
from training.datasets.index import Key
from training.voxels import cells_of, nearest

SIGMA_CELLS = 1.0
"""Of the Gaussian about the true point, in cells of the heatmap."""
NO_CHANCES = Chances()
_POINT_BETA = 0.02
_POSITION_SHARE = 0.02


class Batch(NamedTuple):
    """A batch of `training.samples.Sample` as tensors, and what they show."""

    crops: Tensor
    crop_to_image: Tensor
    points: Tensor
    hidden: Tensor
    position_mm: Tensor
    base_mm: Tensor
    rigs: RigArrays
    keys: tuple[Key, ...]


class Losses(NamedTuple):
    """Scalars; ``total`` is the weighted sum.

    ``error_share`` is the mean 2D error of seen joints as a share of the crop's side, ``error_mm`` the median 3D
    error: to read, without gradient.
    """

    total: Tensor
    heatmap: Tensor
    point: Tensor
    position: Tensor
    confidence: Tensor
    volume: Tensor
    error_share: Tensor
    error_mm: Tensor


Mean = Callable[[Tensor], Tensor]
"""From a number of this process to its mean over all that share the batch (`training.processes.Group.mean`)."""


def alone(value: Tensor) -> Tensor:
    """The mean over one process."""
    return value


def mean_where(values: Tensor, weight: Tensor, mean: Mean = alone) -> Tensor:
    """Weighted mean; zero where nothing has weight. Values without weight may be NaN.

    Args:
        values: Any shape.
        weight: Of the same shape.
        mean: Where a batch is shared: the sum of weights is the whole batch's over the number of processes, so that
            the mean of the answers is the batch's weighted mean.
    """
    return torch.where(weight > 0, values * weight, 0.0).sum() / mean(weight.sum()).clamp(min=1e-6)


def heatmap_loss(
    logits: Float[Tensor, "N J h w"], temperature: Float[Tensor, "J 1"], points: Float[Tensor, "N J 2"]
) -> Float[Tensor, "N J"]:
    """Divergence of the heatmaps from Gaussians about the true points (crop px)."""
    height, width = logits.shape[2:]
    cells = (points + 0.5) / STRIDE - 0.5
    x = torch.arange(width, dtype=logits.dtype, device=logits.device)
    y = torch.arange(height, dtype=logits.dtype, device=logits.device)
    along_x = torch.exp(-0.5 * ((x - cells[..., :1]) / SIGMA_CELLS) ** 2)
    along_y = torch.exp(-0.5 * ((y - cells[..., 1:]) / SIGMA_CELLS) ** 2)
    target = (along_y[..., :, None] * along_x[..., None, :]).flatten(2)
    target = target / target.sum(dim=-1, keepdim=True).clamp(min=1e-12)
    log_heat = torch.log_softmax(logits.flatten(2) * temperature, dim=-1)
    entropy = torch.special.entr(target).sum(dim=-1)
    return -(target * log_heat).sum(dim=-1) - entropy


def position_weight(config: AnyLossSection, progress: float) -> float:
    """Share of the 3D loss that counts at a share of the run."""
    if progress >= config.position_full:
        return 1.0
    rise = config.position_full - config.position_from
    return 0.0 if progress < config.position_from else (progress - config.position_from) / rise


def losses(
    model: Algebraic,
    batch: Batch,
    config: LossSection,
    *,
    position_share: float = 1.0,
    chances: Chances = NO_CHANCES,
    autocast: torch.dtype | None = None,
    mean: Mean = alone,
) -> Losses:
    """The losses of a batch.

    Args:
        model: What is trained.
        batch: Samples with their truth.
        config: Weights.
        position_share: Factor on the 3D loss.
        chances: Views that the 3D loss sees, and how the cube lies; by default all, upright about the batch's base.
        autocast: Lower precision of the network.
        mean: Over the processes that share the batch.
    """
    size = batch.crops.shape[2]
    shape = batch.points.shape[:3]
    seen = model.see(batch.crops.flatten(0, 1), autocast)
    points, confidence = seen.points.unflatten(0, shape[:2]), seen.confidence.unflatten(0, shape[:2])
    inside = ((batch.points > -0.5) & (batch.points < size - 0.5)).all(dim=-1)
    truth = torch.where(inside[..., None], batch.points, 0.0)
    weight = torch.where(batch.hidden, config.hidden, 1.0) * inside

    maps = heatmap_loss(seen.logits, model.head.log_temperature.exp(), truth.flatten(0, 1)).unflatten(0, shape[:2])
    heatmap = mean_where(maps, weight, mean)
    share = (points - truth) / size
    smooth = torch.nn.functional.smooth_l1_loss(share, torch.zeros_like(share), reduction="none", beta=_POINT_BETA)
    point = mean_where(smooth.sum(dim=-1), weight, mean)

    with torch.no_grad():
        error = torch.linalg.vector_norm(share, dim=-1)
        wanted = torch.where(inside, torch.exp(-0.5 * (error / CONFIDENT_SHARE) ** 2), 0.0)
        error_share = mean_where(error, (inside & ~batch.hidden).to(error.dtype), mean)
    judged = torch.nn.functional.binary_cross_entropy(confidence.clamp(1e-6, 1 - 1e-6), wanted, reduction="none")
    labelled = ~batch.points.isnan().any(dim=-1)
    trust = mean_where(judged, labelled.to(judged.dtype), mean)

    answer, voxels = _located(model, batch, seen, points, confidence, chances, autocast)
    position, error_mm = _position_loss(answer, batch, mean)
    volume = judged.new_zeros(()) if voxels is None else _volume_loss(voxels, batch, mean)
    total = config.heatmap * heatmap + config.point * point + config.confidence * trust
    if position_share > 0:
        total = total + position_share * (config.position * position + config.volume * volume)
    return Losses(total, heatmap, point, position, trust, volume, error_share, error_mm)


def _located(
    model: Algebraic,
    batch: Batch,
    seen: Seen,
    points: Tensor,
    confidence: Tensor,
    chances: Chances,
    autocast: torch.dtype | None,
) -> tuple[Tensor, Located | None]:
    """3D points, and the cube that they were read from where there is one."""
    if isinstance(model, Volumetric):
        base = batch.base_mm if chances.off_mm is None else batch.base_mm + chances.off_mm
        theta = base.new_zeros(len(base)) if chances.theta is None else chances.theta
        weight = torch.ones_like(confidence[..., 0]) if chances.view_weight is None else chances.view_weight
        located = model.locate(seen, batch.crop_to_image, weight, batch.rigs, base, theta, autocast)
        return located.position_mm, located
    image = to_image(points, batch.crop_to_image)
    weight = confidence if model.confidences else torch.ones_like(confidence)
    # Never quite zero: a joint that every view gives up keeps a gradient.
    weight = weight.clamp(min=1e-4)
    if chances.view_weight is not None:
        weight = weight * chances.view_weight[:, :, None]
    return triangulate_each(image, weight, batch.rigs), None


def _volume_loss(voxels: Located, batch: Batch, mean: Mean) -> Tensor:
    """Cross entropy with the voxel nearest to the joint, in the cube's own units; joints outside do not count."""
    size = voxels.logits.shape[-1]
    cells = cells_of(batch.position_mm, voxels.grid_mm)
    # Joints that are not known are NaN, and are nowhere.
    inside = ((cells > -0.5) & (cells < size - 0.5)).all(dim=-1)
    index = nearest(cells, size)
    chosen = voxels.logits.flatten(2).log_softmax(dim=-1).gather(2, index[..., None])[..., 0]
    based = torch.isfinite(voxels.position_mm).all(dim=-1)
    return mean_where(-chosen, (inside & based).to(chosen.dtype), mean)


def _position_loss(answer: Tensor, batch: Batch, mean: Mean) -> tuple[Tensor, Tensor]:
    known = ~batch.position_mm.isnan().any(dim=-1)
    extent = extent_mm(batch.position_mm, known)[:, None]
    # A single joint has no extent to be measured by.
    found = torch.isfinite(answer).all(dim=-1) & known & (extent != 0)
    extent = torch.where(found, extent, 1.0)
    offset = torch.where(found[..., None], answer, 0.0) - torch.where(found[..., None], batch.position_mm, 0.0)
    distance = (offset.square().sum(dim=-1) + (1e-4 * extent) ** 2).sqrt()
    loss = torch.log1p(distance / (_POSITION_SHARE * extent))
    kept = found.to(loss.dtype)
    return mean_where(loss, kept, mean), _median(distance.detach(), found)


def extent_mm(position: Float[Tensor, "B J 3"], known: Bool[Tensor, "B J"]) -> Float[Tensor, " B"]:
    """The longest side of the box about the joints that are known; 0 with none."""
    counts = known[..., None]
    low = torch.where(counts, position, torch.inf).amin(dim=1)
    high = torch.where(counts, position, -torch.inf).amax(dim=1)
    return torch.where(known.any(dim=1), (high - low).amax(dim=-1), 0.0)


def _median(values: Float[Tensor, "*n"], where: Bool[Tensor, "*n"]) -> Tensor:
    chosen = values[where]
    return chosen.median() if chosen.numel() else values.new_tensor(float("nan"))


class Objective(nn.Module):
    """A model with its losses as one module, which is what DistributedDataParallel wraps.

    Args:
        model: What is trained.
        config: Weights.
        mean: Over the processes that share a batch.
    """

    def __init__(self, model: Algebraic, config: LossSection, mean: Mean = alone) -> None:
        super().__init__()
        self.model = model
        self._config, self._mean = config, mean

    def forward(self, batch: Batch, position_share: float, chances: Chances, autocast: torch.dtype | None) -> Losses:
        """`losses` of this process's part of a batch."""
        return losses(
            self.model,
            batch,
            self._config,
            position_share=position_share,
            chances=chances,
            autocast=autocast,
            mean=self._mean,
        )
