"""Samples: poses of the bank, in another body, seen by a camera, detected; whole batches on the device."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from calib import lens
from rigpose.errors import ConfigError
from training.lifting.bank import Bank, Tree
from training.lifting.bodies import Bodies, bone_lengths
from training.lifting.config import BodySection, NoiseSection, ViewSection
from training.lifting.detector import Detector
from training.lifting.views import Viewer

_NEAREST = 1e-3


class Sample(NamedTuple):
    """A batch.

    Attributes:
        points: (B, T, J, 2) of the normalised plane, or raw px in mode ``weak``; NaN = not seen.
        confidence: (B, T, J).
        target_mm: (B, J, 3) the newest frame in the camera's axes; NaN = not known.
        camera: (B,) index of the camera in the rig, or -1.
    """

    points: Float[Tensor, "B T J 2"]
    confidence: Float[Tensor, "B T J"]
    target_mm: Float[Tensor, "B J 3"]
    camera: Int[Tensor, " B"]


class Sampler:
    """Makes batches of a bank's poses.

    Args:
        bank: The poses.
        tree: The skeleton's.
        view: By which cameras.
        noise: How they are detected.
        body: In which bodies; ``None`` = as they are.
        weak: Whether points are px.
        lengths_mm: (J,) mean bone lengths for ``body.template``; left out, the bank's.

    Raises:
        ConfigError: The bank has no cameras or no recorded points, and they are asked for.
    """

    def __init__(
        self,
        bank: Bank,
        tree: Tree,
        view: ViewSection,
        noise: NoiseSection,
        body: BodySection | None,
        weak: bool,
        lengths_mm: Float[Tensor, " J"] | None = None,
    ) -> None:
        self.bank, self.view, self.weak = bank, view, weak
        self.viewer = Viewer(view, bank.rig, bank.device)
        self.detector = Detector(noise, tree, bank.device)
        if lengths_mm is None:
            lengths_mm = bone_lengths(bank.position, tree.parents)
        self.lengths_mm = lengths_mm
        changes = body is not None and body != BodySection()
        if view.kind == "measured":
            if bank.points2d is None:
                raise ConfigError("view.kind", "is measured, but the poses have no 2D points", "give another kind")
            if changes:
                raise ConfigError("body", "changes poses whose 2D points are measured", "leave it out")
        self.bodies = Bodies(body, tree, lengths_mm) if changes and body is not None else None

    @property
    def cameras(self) -> int:
        """Cameras of the rig that it draws from."""
        return len(self.viewer.index) if self.view.kind != "unknown" else 0

    def sample(self, rows: Int[Tensor, " B"], generator: torch.Generator, which: Tensor | None = None) -> Sample:
        """A batch of these poses.

        Args:
            rows: Of the bank.
            generator: On the device.
            which: Numbers of the cameras, in the order of ``view.cameras``; drawn where left out.
        """
        bank = self.bank
        frames = bank.rows[rows]
        there = (frames >= 0)[..., None, None]
        at = frames.clamp(min=0)
        # All frames of a window about the newest one's middle: it moves.
        middle = bank.middle[rows]
        position = torch.where(there, bank.position[at] + (bank.middle[at] - middle[:, None])[:, :, None], torch.nan)
        if self.bodies is not None:
            position = self.bodies.change(position, generator)
        views = self.viewer.draw(middle, generator) if which is None else self.viewer.of(which, middle, generator)
        seen = torch.matmul(position, views.R.mT[:, None]) + views.middle[:, None, None]
        if self.view.kind == "measured":
            return self._measured(at, frames, views.camera, seen[:, -1])
        depth = seen[..., 2:]
        if self.view.parallel:
            depth = views.middle[:, None, None, 2:].expand_as(depth)
        plane = seen[..., :2] / torch.where(depth > _NEAREST, depth, torch.nan)
        unit = 1 / views.focal
        if self.weak:
            plane, unit = plane * views.focal[:, None, None, None], torch.ones_like(unit)
        points, confidence = self.detector.detect(plane, unit, generator)
        return Sample(points, confidence, seen[:, -1], views.camera)

    def _measured(self, at: Tensor, frames: Tensor, camera: Tensor, target: Tensor) -> Sample:
        bank = self.bank
        assert bank.points2d is not None and bank.confidence is not None and bank.rig is not None
        there = (frames >= 0)[..., None]
        points = torch.where(there[..., None], bank.points2d[at, camera[:, None]], torch.nan)
        confidence = torch.where(there, bank.confidence[at, camera[:, None]], 0.0)
        if not self.weak:
            arrays = bank.rig.arrays()
            K, dist, fish = (torch.as_tensor(a, dtype=torch.float32, device=points.device)[camera] for a in arrays[:3])
            # Each sample is a view of its own.
            points = lens.undistort(points.flatten(1, 2), K, dist, fish).unflatten(1, points.shape[1:3])
        return Sample(points, confidence, target, camera)
