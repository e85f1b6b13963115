"""What a subject is made of: named points that move, and solid parts between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float

from rigpose.skeleton import Skeleton


@dataclass(frozen=True, slots=True)
class Part:
    """A tapered capsule between two points, or the hull around several.

    Attributes:
        name: For tests and messages.
        points: Indices of two points (capsule) or more (hull).
        radius_mm: At the two points; unused for a hull.
        colour: BGR in 0..1 under white light.
        joints: Joints that belong to it: it never hides them.
        drawn: False = it only hides (a stand-in for a hull).
        hides: False = it is only drawn.
        lift_mm: Drawn as if it were nearer by this much.
    """

    name: str
    points: tuple[int, ...]
    radius_mm: tuple[float, float]
    colour: tuple[float, float, float]
    joints: tuple[int, ...]
    drawn: bool = True
    hides: bool = True
    lift_mm: float = 0.0


class Subject(Protocol):
    """Somebody who moves.

    Attributes:
        skeleton: Its joints.
        body: Its parts.
    """

    skeleton: Skeleton
    body: Body

    def points_mm(self, t_s: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T P 3"]:
        """All points at moments; the joints come first."""


@dataclass(frozen=True)
class Body:
    """The parts of a subject, as arrays.

    Attributes:
        parts: All of them.
        n_joints: The first so many points are the joints.
    """

    parts: tuple[Part, ...]
    n_joints: int

    @cached_property
    def capsules(self) -> Capsules:
        """The drawn capsules."""
        return Capsules.of([part for part in self.parts if len(part.points) == 2 and part.drawn], self.n_joints)

    @cached_property
    def solids(self) -> Capsules:
        """The capsules that hide what is behind them."""
        return Capsules.of([part for part in self.parts if len(part.points) == 2 and part.hides], self.n_joints)

    @cached_property
    def hulls(self) -> tuple[Part, ...]:
        """The drawn hulls."""
        return tuple(part for part in self.parts if len(part.points) > 2 and part.drawn)


@dataclass(frozen=True, slots=True)
class Capsules:
    """Several capsules as arrays.

    Attributes:
        parts: They.
        start: (S,) index of the first point.
        end: (S,) index of the second.
        start_radius_mm: (S,).
        end_radius_mm: (S,).
        colour: (S, 3) BGR 0..1.
        own: (S, J) whether a joint belongs to it.
        lift_mm: (S,).
    """

    parts: tuple[Part, ...]
    start: np.ndarray
    end: np.ndarray
    start_radius_mm: Float[np.ndarray, " S"]
    end_radius_mm: Float[np.ndarray, " S"]
    colour: Float[np.ndarray, "S 3"]
    own: Bool[np.ndarray, "S J"]
    lift_mm: Float[np.ndarray, " S"]

    @classmethod
    def of(cls, parts: Sequence[Part], n_joints: int) -> Capsules:
        """The arrays of parts."""
        own = np.zeros((len(parts), n_joints), bool)
        for row, part in enumerate(parts):
            own[row, list(part.joints)] = True
        points = np.array([part.points for part in parts], int).reshape(-1, 2)
        radius = np.array([part.radius_mm for part in parts], float).reshape(-1, 2)
        colour = np.array([part.colour for part in parts], float).reshape(-1, 3)
        lift = np.array([part.lift_mm for part in parts], float)
        return cls(tuple(parts), points[:, 0], points[:, 1], radius[:, 0], radius[:, 1], colour, own, lift)


def hsv(hue_deg: float, saturation: float, value: float) -> tuple[float, float, float]:
    """A colour as BGR in 0..1."""
    sector, rest = divmod((hue_deg % 360) / 60, 1)
    low, falling, rising = (
        value * (1 - saturation),
        value * (1 - saturation * rest),
        value * (1 - saturation * (1 - rest)),
    )
    red, green, blue = (
        (value, rising, low),
        (falling, value, low),
        (low, value, rising),
        (low, falling, value),
        (rising, low, value),
        (value, low, falling),
    )[int(sector)]
    return blue, green, red


def rotation(axis: int, angle: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T 3 3"]:
    """Rotations about x, y or z."""
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.zeros((len(angle), 3, 3))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix[:, axis, axis] = 1
    matrix[:, first, first] = matrix[:, second, second] = cos
    matrix[:, first, second], matrix[:, second, first] = -sin, sin
    return matrix
