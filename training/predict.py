"""What a model in training answers to a batch, beside the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from engine.models.algebraic import Algebraic, to_image, triangulate_each
from engine.models.volumetric import Volumetric
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
    """

    position_mm: Float[np.ndarray, "B J 3"]
    plain_mm: Float[np.ndarray, "B J 3"]
    truth_mm: Float[np.ndarray, "B J 3"]
    error_share: Float[np.ndarray, "B V J"]
    confidence: Float[np.ndarray, "B V J"]


@torch.no_grad()
def predict(model: Algebraic, batch: Batch) -> Prediction:
    """The model's answer in float32, in evaluation mode."""
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
        # As live: the cube stands where the algebraic answer has the root.
        base = position[:, list(model.root)].mean(dim=1)
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
