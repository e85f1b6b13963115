"""Cameras that see poses in training, drawn for a whole batch at once on the device.

A camera here is a rotation from the world to it and a translation, about the pose's middle, so that float32 loses
nothing wherever the world's origin lies; lenses play no part, because lifters see undistorted points.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from calib.rig import Rig
from rigpose.errors import ConfigError
from training.lifting.config import ViewSection

_UP = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1), "-x": (-1, 0, 0), "-y": (0, -1, 0), "-z": (0, 0, -1)}


class Views(NamedTuple):
    """A camera for each sample of a batch.

    Attributes:
        R: (B, 3, 3) from the world to the camera.
        middle: (B, 3) mm: where the pose's middle lies in the camera's axes.
        focal: (B,) px.
        camera: (B,) index in the rig, or -1.
    """

    R: Float[Tensor, "B 3 3"]
    middle: Float[Tensor, "B 3"]
    focal: Float[Tensor, " B"]
    camera: Tensor


class Viewer:
    """Draws cameras.

    Args:
        section: What they are like.
        rig: Of the poses, where the section takes cameras from it.
        device: Where.

    Raises:
        ConfigError: There are no such cameras.
    """

    def __init__(self, section: ViewSection, rig: Rig | None, device: torch.device) -> None:
        self.section, self.device = section, device
        up = torch.tensor(_UP.get(section.up, (0, 0, 1)), dtype=torch.float32, device=device)
        self._up = up
        self._has_up = section.up != "any"
        if section.kind == "unknown":
            return
        if rig is None:
            raise ConfigError(
                "view.kind", f"is {section.kind}, but the poses have no cameras", "give poses.rig, or kind unknown"
            )
        unknown = [name for name in section.cameras if name not in rig.names]
        if unknown:
            raise ConfigError("view.cameras", f"the rig has no {unknown[0]}", f"it has {', '.join(rig.names)}")
        names = section.cameras or rig.names
        self.index = torch.tensor([rig.names.index(name) for name in names], device=device)
        cameras = [rig[name] for name in names]
        self._R = torch.as_tensor(np.stack([c.R for c in cameras]), dtype=torch.float64, device=device)
        self._t = torch.as_tensor(np.stack([c.t for c in cameras]), dtype=torch.float64, device=device)
        focal = [math.sqrt(c.K[0, 0] * c.K[1, 1]) for c in cameras]
        self._focal = torch.tensor(focal, dtype=torch.float32, device=device)

    def draw(self, middle: Float[Tensor, "B 3"], generator: torch.Generator) -> Views:
        """A camera for each pose.

        Args:
            middle: Of the poses, mm in the world.
            generator: On the device.
        """
        n = len(middle)
        if self.section.kind == "unknown":
            return self._anywhere(n, generator)
        which = torch.randint(len(self.index), (n,), generator=generator, device=self.device)
        return self.of(which, middle, generator)

    def of(self, which: Tensor, middle: Float[Tensor, "B 3"], generator: torch.Generator) -> Views:
        """The rig's cameras of these numbers, in the order of ``view.cameras``."""
        R, t = self._R[which], self._t[which]
        there = (torch.matmul(R, middle.double()[..., None])[..., 0] + t).float()
        turned = R.float()
        if self.section.kind == "narrow":
            turned = torch.matmul(turned, self._turn(len(which), generator))
        return Views(turned, there, self._focal[which], self.index[which])

    def _uniform(self, n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator, device=self.device)

    def _turn(self, n: int, generator: torch.Generator) -> Float[Tensor, "B 3 3"]:
        """The subject turned: yaw about up, pitch and roll about two axes across it."""
        up = self._up
        aside = torch.tensor([1.0, 0, 0] if abs(float(up[0])) < 0.5 else [0, 1.0, 0], device=self.device)
        axes = (up, aside, torch.linalg.cross(up, aside))
        limits = self.section.turn_deg
        turn = torch.eye(3, device=self.device).expand(n, 3, 3)
        for axis, limit in zip(axes, limits, strict=True):
            angle = self._uniform(n, -limit, limit, generator).deg2rad()
            turn = torch.matmul(rotation(axis.expand(n, 3) * angle[:, None]), turn)
        return turn

    def _anywhere(self, n: int, generator: torch.Generator) -> Views:
        s = self.section
        distance = self._uniform(n, *s.distance_mm, generator)
        if self._has_up:
            azimuth, elevation = (
                self._uniform(n, *limits, generator).deg2rad() for limits in (s.azimuth_deg, s.elevation_deg)
            )
            roll = self._uniform(n, *s.roll_deg, generator).deg2rad()
            R = looking(azimuth, elevation, roll, self._up)
        else:
            # A uniformly random rotation: a normalised quaternion of four normal numbers.
            R = from_quaternion(torch.randn(n, 4, generator=generator, device=self.device))
        aside = s.aim * (2 * torch.rand(n, 2, generator=generator, device=self.device) - 1)
        middle = torch.cat([aside * distance[:, None], distance[:, None]], dim=-1)
        focal = torch.full((n,), s.focal_px, device=self.device)
        return Views(R, middle, focal, torch.full((n,), -1, device=self.device))


def looking(azimuth: Tensor, elevation: Tensor, roll: Tensor, up: Float[Tensor, " 3"]) -> Float[Tensor, "B 3 3"]:
    """Rotations of cameras that look at the middle from these angles (radians), the picture's up towards ``up``."""
    aside = torch.tensor([1.0, 0, 0] if abs(float(up[0])) < 0.5 else [0, 1.0, 0], device=up.device)
    other = torch.linalg.cross(up, aside)
    flat = azimuth.cos()[:, None] * aside + azimuth.sin()[:, None] * other
    forward = -(elevation.cos()[:, None] * flat + elevation.sin()[:, None] * up)
    right = torch.linalg.cross(-flat, up.expand_as(flat))
    down = torch.linalg.cross(forward, right)
    cos, sin = roll.cos()[:, None], roll.sin()[:, None]
    return torch.stack([cos * right + sin * down, cos * down - sin * right, forward], dim=1)


def rotation(vector: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3 3"]:
    """Rodrigues' formula: the rotation about a vector by its length in radians."""
    angle = vector.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    x, y, z = (vector / angle).unbind(dim=-1)
    zero = torch.zeros_like(x)
    across = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    angle = angle[..., None]
    eye = torch.eye(3, dtype=vector.dtype, device=vector.device)
    return eye + angle.sin() * across + (1 - angle.cos()) * torch.matmul(across, across)


def from_quaternion(q: Float[Tensor, "B 4"]) -> Float[Tensor, "B 3 3"]:
    """Rotations of quaternions of any length."""
    w, x, y, z = (q / q.norm(dim=-1, keepdim=True)).unbind(dim=-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], dim=-1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], dim=-1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=-1),
    ]
    return torch.stack(rows, dim=1)
