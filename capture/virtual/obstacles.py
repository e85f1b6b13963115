"""What stands in front of the subject: boxes and poles of the world, and cards held before a lens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Float

from capture.virtual.body import hsv
from capture.virtual.scenario import OccludersSection, Scenario, Seed, generator, within

_STREAM = 40
_CARD_STREAM = 60
_CARD_HOLD_S = 1.5
FACES = ((0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5))
"""Corners of a box's faces; corner ``i`` lies at +x where bit 2 is set, +y for bit 1, +z for bit 0."""


@dataclass(frozen=True)
class Box:
    """A box on the floor.

    Attributes:
        center_mm: (3,).
        half_mm: (3,) half of its sides.
        turn: About z, radians.
        colour: BGR 0..1.
    """

    center_mm: Float[np.ndarray, " 3"]
    half_mm: Float[np.ndarray, " 3"]
    turn: float
    colour: tuple[float, float, float]

    @property
    def frame(self) -> Float[np.ndarray, "3 3"]:
        """From the box's axes to the world's."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])

    @property
    def corners_mm(self) -> Float[np.ndarray, "8 3"]:
        """In the world."""
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
        return self.center_mm + (signs * self.half_mm) @ self.frame.T

    def hides(
        self, eye_mm: Float[np.ndarray, " 3"], points_mm: Float[np.ndarray, "J 3"], margin: float = 0.999
    ) -> Bool[np.ndarray, " J"]:
        """Which points lie behind it, seen from a place."""
        origin = (eye_mm - self.center_mm) @ self.frame
        ways = ((points_mm - eye_mm) @ self.frame) * margin
        ways = np.where(np.abs(ways) < 1e-9, 1e-9, ways)
        first, second = (-self.half_mm - origin) / ways, (self.half_mm - origin) / ways
        enter, leave = np.minimum(first, second).max(axis=-1), np.maximum(first, second).min(axis=-1)
        return (enter < leave) & (enter < 1) & (leave > 0)


@dataclass(frozen=True)
class Pole:
    """An upright pole.

    Attributes:
        foot_mm: (3,).
        top_mm: (3,).
        radius_mm: Of it.
        colour: BGR 0..1.
    """

    foot_mm: Float[np.ndarray, " 3"]
    top_mm: Float[np.ndarray, " 3"]
    radius_mm: float
    colour: tuple[float, float, float]


def place(scenario: Scenario, seed: Seed) -> tuple[tuple[Box, ...], tuple[Pole, ...]]:
    """The boxes and poles of a sample."""
    section = scenario.occluders
    rng = generator(seed, _STREAM)

    def spot() -> np.ndarray:
        angle, away = within(rng, (0, 2 * np.pi)), within(rng, section.distance_mm)
        return np.array([away * np.cos(angle), away * np.sin(angle), 0.0])

    def paint() -> tuple[float, float, float]:
        return hsv(within(rng, (0, 360)), within(rng, (0, 0.35)), within(rng, (0.2, 0.8)))

    boxes = []
    for _ in range(int(rng.integers(section.boxes[0], section.boxes[1] + 1))):
        foot, side, height = spot(), within(rng, section.size_mm), within(rng, section.height_mm)
        half = np.array([side / 2, side / 2 * within(rng, (0.5, 1.0)), height / 2])
        boxes.append(Box(foot + np.array([0, 0, half[2]]), half, within(rng, (0, np.pi)), paint()))
    poles = []
    for _ in range(int(rng.integers(section.poles[0], section.poles[1] + 1))):
        foot, height = spot(), 2 * within(rng, section.height_mm)
        poles.append(Pole(foot, foot + np.array([0, 0, height]), within(rng, section.size_mm) / 12, paint()))
    return tuple(boxes), tuple(poles)


@dataclass(frozen=True)
class Cards:
    """Cards that one camera has before its lens at a moment.

    Attributes:
        corners_px: (N, 4, 2).
        colour: (N, 3) BGR 0..1.
        hidden: (J,) which joints they cover.
    """

    corners_px: Float[np.ndarray, "N 4 2"]
    colour: Float[np.ndarray, "N 3"]
    hidden: Bool[np.ndarray, " J"]


@dataclass(frozen=True)
class _Deck:
    """What chance says of the cards that one camera has before its lens for a while."""

    joints: np.ndarray
    turn: Float[np.ndarray, " N"]
    shape: Float[np.ndarray, "N 2"]
    beside: Float[np.ndarray, "N 2"]
    colour: Float[np.ndarray, "N 3"]
    cover: float


@lru_cache(maxsize=64)
def _deck(
    count_limits: tuple[int, int], cover: tuple[float, float], seed: Seed, view: int, hold: int, n_joints: int
) -> _Deck | None:
    """The same for as long as the cards are held; ``None`` = there are none meanwhile."""
    rng = generator(seed, _CARD_STREAM + 1000 * view + hold)
    count = int(rng.integers(count_limits[0], count_limits[1] + 1))
    if count == 0:
        return None
    joints = rng.choice(n_joints, count, replace=False)
    turn = rng.uniform(0, np.pi, count)
    shape = rng.uniform(0.6, 1.5, (count, 1)) ** np.array([[1, -1]])
    beside = rng.uniform(-0.12, 0.12, (count, 2))
    colour = np.array([hsv(h, s, v) for h, s, v in rng.uniform((0, 0, 0.2), (360, 0.5, 0.9), (count, 3)).tolist()])
    return _Deck(joints, turn, shape, beside, colour, within(rng, cover))


def cards(scenario: Scenario, seed: Seed, view: int, t_s: float, points_px: Float[np.ndarray, "J 2"]) -> Cards | None:
    """Cards that cover a share of the joints exactly; ``None`` where the scenario has none.

    Each lies near a joint that it keeps to for a while, and all grow together until enough joints are
    covered. The joint is not in a card's middle: where a card is does not tell where a joint is.
    """
    section: OccludersSection = scenario.occluders
    if section.cards[1] < 1 or section.cards_cover[1] <= 0:
        return None
    hold = int(max(0, np.floor(t_s / _CARD_HOLD_S) + 1))
    deck = _deck(section.cards, section.cards_cover, seed, view, hold, len(points_px))
    if deck is None:
        return None
    seen = np.isfinite(points_px).all(axis=-1)
    n_hidden = round(deck.cover * len(points_px))
    if not seen.any() or n_hidden == 0:
        return None
    extent = float(np.ptp(points_px[seen], axis=0).max())
    safe = points_px if seen.all() else np.where(seen[:, None], points_px, np.nanmean(points_px[seen], axis=0))
    turn, shape = deck.turn, deck.shape
    center = safe[deck.joints] + deck.beside * extent
    axes = np.stack([np.stack([np.cos(turn), np.sin(turn)], -1), np.stack([-np.sin(turn), np.cos(turn)], -1)], 1)
    local = np.abs(np.einsum("jnc,nac->nja", safe[:, None] - center, axes)) / shape[:, None]
    needed = np.where(seen, local.max(axis=-1).min(axis=0), np.inf)
    order = np.sort(needed)
    last = min(n_hidden, int(seen.sum())) - 1
    # Half-way to the next joint, so that no joint lies on an edge (but never much beyond).
    beyond = order[last + 1] if last + 1 < len(order) and np.isfinite(order[last + 1]) else order[last] * 1.1
    half = min((order[last] + beyond) / 2, order[last] + 0.03 * extent)
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    corners = center[:, None] + np.einsum("ka,nac->nkc", signs, axes * (half * shape)[..., None])
    return Cards(corners, deck.colour, needed <= half)


def visible_faces(seen_mm: Float[np.ndarray, "8 3"]) -> list[tuple[int, ...]]:
    """The faces of a box, given in the camera's frame, that look at the camera."""
    middle = seen_mm.mean(axis=0)
    faces: list[tuple[int, ...]] = []
    for face in FACES:
        corners = seen_mm[list(face)]
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
        outward = corners.mean(axis=0) - middle
        if np.dot(normal, outward) < 0:
            normal = -normal
        if np.dot(normal, corners.mean(axis=0)) < 0:
            faces.append(face)
    return faces


def as_points(polygon: np.ndarray) -> np.ndarray:
    """A polygon as the fixed-point numbers that OpenCV draws, 4 bits behind the point."""
    return np.rint(np.clip(polygon, -4000, 4000) * 16).astype(np.int32)


def fill(image: np.ndarray, polygon: np.ndarray, colour: list[float], kind: int = cv2.LINE_AA) -> None:
    """Draw a convex polygon of float px."""
    cv2.fillConvexPoly(image, as_points(polygon), colour, kind, 4)
