"""What a model in training answers to a batch, beside the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import array_api_compat.torch as xp
import numpy as np
import torch
from jaxtyping import Float

from calib.rig import RigArrays
from calib.triangulate import reproject
from engine.models.algebraic import Algebraic, to_image, triangulate_each
from engine.models.volumetric import Volumetric
from training.datasets.index import Key
from training.losses import Batch


@dataclass(frozen=True, slots=True)
class Prediction:
    """Answers to B frame sets.

    Attributes:
        position_mm: (B, J, 3) the model's answer: by learned confidences, or from its volume.
        plain_mm: (B, J, 3) from the same points, all views alike.
        truth_mm: (B, J, 3).
        error_share: (B, V, J) 2D errors as a share of the crop's side; NaN where the joint is not in the crop.
        confidence: (B, V, J).
        keys: (B) what they are answers to.
    """

    position_mm: Float[np.ndarray, "B J 3"]
    plain_mm: Float[np.ndarray, "B J 3"]
    truth_mm: Float[np.ndarray, "B J 3"]
    error_share: Float[np.ndarray, "B V J"]
    confidence: Float[np.ndarray, "B V J"]
    keys: tuple[Key, ...] = ()

    def one_by_one(self) -> Iterator[Prediction]:
        """Its B answers, each for itself."""
        for row in range(len(self.position_mm)):
            rows = slice(row, row + 1)
            yield Prediction(*(getattr(self, field.name)[rows] for field in fields(self)))


@torch.no_grad()
def predict(model: Algebraic, batch: Batch) -> Prediction:
    """The model's answer in float32, in evaluation mode; a cube is laid about the batch's base where there is one."""
    was = model.training
    model.eval()
    seen = model.see(batch.crops.flatten(0, 1))
    shape, size = batch.points.shape[:2], batch.crops.shape[2]
    points, confidence = seen.points.unflatten(0, shape), seen.confidence.unflatten(0, shape)
    image = to_image(points, batch.crop_to_image)
    inside = ((batch.points > -0.5) & (batch.points < size - 0.5)).all(dim=-1)
    error = torch.linalg.vector_norm(points - batch.points, dim=-1) / size
    weight = confidence if model.confidences else torch.ones_like(confidence)
    position = triangulate_each(image, weight.clamp(min=1e-4), batch.rigs)
    if isinstance(model, Volumetric):
        # As live: where nobody says it, the cube stands where the algebraic answer has the root.
        given = batch.base_mm.isfinite().all(dim=-1, keepdim=True)
        base = torch.where(given, batch.base_mm, position[:, list(model.root)].mean(dim=1))
        everyone = torch.ones_like(confidence[..., 0])
        position = model.locate(seen, batch.crop_to_image, everyone, batch.rigs, base).position_mm
    model.train(was)
    return Prediction(
        position.cpu().numpy(),
        triangulate_each(image, torch.ones_like(confidence), batch.rigs).cpu().numpy(),
        batch.position_mm.cpu().numpy(),
        torch.where(inside, error, torch.nan).cpu().numpy(),
        confidence.cpu().numpy(),
    )


@dataclass(frozen=True, slots=True)
class Look:
    """What a model sees in the crops of a batch, to be drawn.

    Attributes:
        points: (B, V, J, 2) crop px; NaN = nowhere.
        heat: (B, V, h, w) of all joints together, each one's peak 1; ``None`` = the model has no heatmaps.
    """

    points: Float[np.ndarray, "B V J 2"]
    heat: Float[np.ndarray, "B V h w"] | None


@torch.no_grad()
def look(model: Algebraic, batch: Batch) -> Look:
    """The 2D points and their heatmaps, in evaluation mode."""
    was = model.training
    model.eval()
    seen = model.see(batch.crops.flatten(0, 1))
    scaled = seen.logits.flatten(2) * model.head.log_temperature.exp()
    heat = (scaled - scaled.amax(dim=-1, keepdim=True)).exp().amax(dim=1)
    shape = batch.points.shape[:2]
    model.train(was)
    return Look(
        seen.points.unflatten(0, shape).cpu().numpy(),
        heat.reshape(*shape, *seen.logits.shape[2:]).cpu().numpy(),
    )


def projected(position_mm: Float[np.ndarray, "B J 3"], batch: Batch) -> Float[np.ndarray, "B V J 2"]:
    """3D answers as crop px of the batch's views; NaN where a joint has no place or is behind the camera."""
    rigs = RigArrays(*(array.cpu() for array in batch.rigs))
    world = rigs.world[:, None]
    where = (torch.from_numpy(position_mm) - world[..., :3]) / world[..., 3:]
    px = torch.func.vmap(lambda p, *rig: reproject(xp, p, RigArrays(*rig)))(where, *rigs)
    crop = batch.crop_to_image.cpu()
    offset = px - crop[..., None, :, 2]
    return torch.linalg.solve(crop[..., None, :, :2], offset[..., None])[..., 0].numpy()
