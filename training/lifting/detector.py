"""Keypoints as a detector would give them of true ones: noise, gaps, coarse pictures, and what it says of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from engine.models.gaze import LEAST_SEEN
from training.lifting.bank import Tree
from training.lifting.config import NoiseSection

_OUTLIER = 6.0
_SMALLEST = 1e-9


class Detected(NamedTuple):
    """Points and confidences; NaN = not seen."""

    points: Float[Tensor, "B T J 2"]
    confidence: Float[Tensor, "B T J"]


class Detector:
    """Makes true points into detected ones.

    Args:
        section: How good it is.
        tree: The skeleton's, for limbs.
        device: Where.
    """

    def __init__(self, section: NoiseSection, tree: Tree, device: torch.device) -> None:
        self.section = section
        self._below = torch.as_tensor(tree.below, device=device)
        self._device = device

    def detect(self, true: Float[Tensor, "B T J 2"], px: Float[Tensor, " B"], generator: torch.Generator) -> Detected:
        """Detect a batch.

        Args:
            true: True points, NaN = not known.
            px: Size of one raw px in the points' units.
            generator: On the device.
        """
        s, shape = self.section, true.shape[:-1]
        n = shape[0]

        def rand(*size: int) -> Tensor:
            return torch.rand(size, generator=generator, device=self._device)

        def randn(*size: int) -> Tensor:
            return torch.randn(size, generator=generator, device=self._device)

        def between(limits: tuple[float, float]) -> Tensor:
            low, high = (math.log(max(limit, _SMALLEST)) for limit in limits)
            return (low + (high - low) * rand(n)).exp()

        limits, unit = s.px, px
        if s.of_extent is not None:
            known = torch.isfinite(true)
            high = torch.where(known, true, -math.inf).amax(dim=(1, 2))
            low = torch.where(known, true, math.inf).amin(dim=(1, 2))
            limits, unit = s.of_extent, (high - low).amax(dim=-1).nan_to_num(0.0, 0.0, 0.0)
        typical = between(limits) * unit
        usual = math.sqrt(max(limits[0], _SMALLEST) * max(limits[1], _SMALLEST)) * unit
        sigma = typical[:, None, None].expand(shape)
        if s.between_joints:
            sigma = sigma * (s.between_joints * randn(n, 1, shape[2])).exp()
        if s.outliers:
            sigma = torch.where(rand(*shape) < s.outliers, _OUTLIER * sigma, sigma)
        points = true + sigma[..., None] * randn(*true.shape)
        if s.coarse_px[1] > 0:
            low, high = s.coarse_px
            cell = ((low + (high - low) * rand(n)) * px)[:, None, None, None]
            points = torch.where(cell > 0, (points / cell.clamp(min=_SMALLEST)).round() * cell, points)
        # Near 1 where a joint is much surer than usual, a half at twice the usual, with a detector's own whims.
        told = 1 / (1 + (sigma / (2 * usual[:, None, None] + _SMALLEST)) ** 2)
        told = (told * (0.85 + 0.15 * rand(*shape))).clamp(0.05, 1.0)
        tells = rand(n)[:, None, None] < s.confidence_tells
        confidence = torch.where(tells, told, 1.0)
        gone = self._gone(true, rand)
        return Detected(torch.where(gone[..., None], torch.nan, points), torch.where(gone, 0.0, confidence))

    def _gone(self, true: Float[Tensor, "B T J 2"], rand: object) -> Tensor:
        """Joints that are not seen; three of the newest frame always are, where there are so many."""
        assert callable(rand)
        s, (n, frames, joints, _) = self.section, true.shape
        gone = ~torch.isfinite(true).all(dim=-1)
        if not s.takes_joints_away:
            return gone
        low, high = s.missing
        share = low + (high - low) * rand(n)
        # In a window joints are missing for a while, not flickering: half by the window, half by the frame.
        gone = gone | (rand(n, frames, joints) < (share if frames == 1 else share / 2)[:, None, None])
        if frames > 1:
            gone = gone | (rand(n, 1, joints) < (share / 2)[:, None, None])
        if s.limb:
            top = (rand(n) * joints).long().clamp(max=joints - 1)
            limb = self._below[top] & (rand(n) < s.limb)[:, None]
            gone = gone | limb[:, None]
        if s.edge:
            angle = 2 * math.pi * rand(n)
            along = true[..., 0] * angle.cos()[:, None, None] + true[..., 1] * angle.sin()[:, None, None]
            newest = along[:, -1].nan_to_num(0.0)
            line = newest.amin(dim=-1) + (0.4 + 0.6 * rand(n)) * (newest.amax(dim=-1) - newest.amin(dim=-1))
            gone = gone | ((along > line[:, None, None]) & (rand(n) < s.edge)[:, None, None])
        # Keep three: those whose number is smallest among all.
        known = torch.isfinite(true[:, -1]).all(dim=-1)
        rank = rand(n, joints).masked_fill(~known, 2.0)
        kept = torch.zeros_like(gone[:, -1]).scatter(1, rank.topk(LEAST_SEEN, dim=-1, largest=False).indices, True)
        too_few = (~gone[:, -1]).sum(dim=-1) < LEAST_SEEN
        newest = gone[:, -1] & ~(kept & known & too_few[:, None])
        return torch.cat([gone[:, :-1], newest[:, None]], dim=1)
