"""Where a lifted pose stands in the world: closed-form weighted least squares on a calibrated camera.

Each joint that the camera sees gives two equations that are linear in the unknown place of its root and in the unknown
scale of the pose. One camera alone cannot tell a near, small subject from a far, large one: something must say the
scale.

* ``model``: the lifter's own millimetres, as good as its training subjects' sizes were alike.
* ``size``: the longest side of the box about the pose is known.
* ``floor``: the lowest joint touches the plane z = 0 of the world.
* ``joints``: the 3D of some joints is known, from other cameras.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from calib import lens
from calib.rig import RigArrays
from rigpose.errors import ConfigError

Scale = Literal["model", "size", "floor", "joints"]
NOISE_PX = 2.0
"""Deviation of a keypoint where nothing better is known."""
JOINTS_SCALE_SPREAD = 0.15
"""How far a subject's scale may lie from the model's, relative, where known joints tell the scale, too."""
_LEAST_SEEN = 3
_SIX = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])


@dataclass(frozen=True, slots=True)
class Placed:
    """A lifted pose in the world.

    Attributes:
        position_mm: (J, 3) world; NaN where its root could not be placed.
        covariance_mm2: (J, 6) xx xy xz yy yz zz in the axes of the world: of the lifted pose, its place and its scale.
        root_mm: (J, 3) where each joint's root was placed, world.
        root_covariance_mm2: (J, 6) of that.
        scale: Factor on the lifted pose.
    """

    position_mm: Float[np.ndarray, "J 3"]
    covariance_mm2: Float[np.ndarray, "J 6"]
    root_mm: Float[np.ndarray, "J 3"]
    root_covariance_mm2: Float[np.ndarray, "J 6"]
    scale: float


def square(six: Float[np.ndarray, "*n 6"]) -> Float[np.ndarray, "*n 3 3"]:
    """Covariances as matrices, from xx xy xz yy yz zz."""
    return np.asarray(six)[..., _SIX]


def six(matrix: Float[np.ndarray, "*n 3 3"]) -> Float[np.ndarray, "*n 6"]:
    """Covariances as xx xy xz yy yz zz, from matrices."""
    return np.asarray(matrix)[..., [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]


def camera_to_world(rig: RigArrays, view: int) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """Rotation from a camera's axes to the world's, and the camera's centre in mm."""
    Rt = np.asarray(rig.Rt[view], dtype=np.float64)
    world = np.asarray(rig.world, dtype=np.float64)
    turn = Rt[:, :3].T
    return turn, world[:3] - world[3] * (turn @ Rt[:, 3])


def root_in_world(
    lifted_mm: Float[np.ndarray, "J 3"],
    covariance_mm2: Float[np.ndarray, "J 6"],
    points2d: Float[np.ndarray, "J 2"],
    confidence: Float[np.ndarray, " J"],
    rig: RigArrays,
    view: int = 0,
    *,
    root_of: tuple[int, ...],
    scale: Scale = "model",
    size_mm: float | None = None,
    size_spread: float = 0.0,
    known_mm: Float[np.ndarray, "J 3"] | None = None,
    known_covariance_mm2: Float[np.ndarray, "J 6"] | None = None,
    noise_px: float = NOISE_PX,
) -> Placed:
    """Place a lifted pose in the world.

    Args:
        lifted_mm: In the camera's axes, relative to each joint's root, as the lifter's file answers.
        covariance_mm2: Of that.
        points2d: Raw px, NaN = not seen.
        confidence: A keypoint's deviation is ``noise_px`` over its square root; 0 = not seen.
        rig: Arrays of the rig, numpy.
        view: Which camera of it saw the pose.
        root_of: Each joint's root (`LifterDocument.root_of`); the joints of one root are placed together.
        scale: What says how large the subject is, see the module.
        size_mm: The size, for ``size``.
        size_spread: Relative deviation of the size, of the model's or the given one.
        known_mm: World, NaN = not known, for ``joints``.
        known_covariance_mm2: Of those.
        noise_px: See ``confidence``.

    Returns:
        The place. Joints of a root of which fewer than three joints are seen (``joints``: seen or known) are NaN.

    Raises:
        ConfigError: What ``scale`` needs is missing.
    """
    if scale == "size" and size_mm is None:
        raise ConfigError("scale size", "needs the subject's size", "give size_mm")
    if scale == "joints" and known_mm is None:
        raise ConfigError("scale joints", "needs joints whose place is known", "give known_mm")
    lifted, own = np.asarray(lifted_mm, np.float64), square(np.asarray(covariance_mm2, np.float64))
    turn, centre = camera_to_world(rig, view)
    points = np.asarray(points2d, np.float64)
    confidence = np.asarray(confidence, np.float64)
    K, dist, fisheye = (np.asarray(a[view : view + 1], np.float64) for a in (rig.K, rig.dist, rig.fisheye))
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        rays = lens.undistort(points[None], K, dist, fisheye)[0]
    usable = np.isfinite(rays).all(axis=-1) & (confidence > 0) & np.isfinite(lifted).all(axis=-1)
    noise = noise_px / np.sqrt(np.clip(confidence, 1e-4, None)) / K[0, 0, 0]
    groups = [np.flatnonzero(np.asarray(root_of) == root) for root in sorted(set(root_of))]
    factor, spread = 1.0, size_spread
    known_camera = known_square = None
    if scale == "size":
        assert size_mm is not None
        extent = np.ptp(lifted[np.isfinite(lifted).all(axis=-1)], axis=0).max() if len(groups) == 1 else np.nan
        factor = size_mm / extent if extent > 0 else 1.0
    elif scale == "joints":
        assert known_mm is not None
        known_camera = (np.asarray(known_mm, np.float64) - centre) @ turn
        given = np.zeros((len(lifted), 6)) if known_covariance_mm2 is None else known_covariance_mm2
        known_square = turn.T @ square(np.asarray(given, np.float64)) @ turn
        spread = max(size_spread, JOINTS_SCALE_SPREAD)
    solved = [
        _solve(lifted, own, rays, noise, group, usable, factor, spread, known_camera, known_square) for group in groups
    ]
    if scale == "floor":
        found = [_on_floor(lifted, group, place, turn, centre) for group, place in zip(groups, solved, strict=True)]
        floors = [value for value in found if np.isfinite(value)]
        # The joint that touches first as the pose grows out of the camera.
        factor = min(floors, default=np.nan)
        solved = [place.grown(factor) for place in solved]
    return _told(lifted, own, groups, solved, turn, centre)


@dataclass(frozen=True, slots=True)
class _Place:
    """Root (3,) mm in the camera's axes, the pose's scale, and the covariance (4, 4) of both."""

    root_mm: np.ndarray
    scale: float
    covariance: np.ndarray

    def grown(self, factor: float) -> _Place:
        """The same picture of a subject so much larger and farther away."""
        return _Place(self.root_mm * factor, self.scale * factor, self.covariance * factor**2)


_NOWHERE = _Place(np.full(3, np.nan), np.nan, np.full((4, 4), np.nan))


def _solve(
    lifted: np.ndarray,
    own: np.ndarray,
    rays: np.ndarray,
    noise: np.ndarray,
    group: np.ndarray,
    usable: np.ndarray,
    factor: float,
    spread: float,
    known_mm: np.ndarray | None,
    known_square: np.ndarray | None,
) -> _Place:
    """Least squares, once with equal weights and once with those that follow from the distance."""
    seen = group[usable[group]]
    known = group[np.isfinite(known_mm[group]).all(axis=-1)] if known_mm is not None else group[:0]
    if len(np.union1d(seen, known)) < _LEAST_SEEN or (not len(known) and len(seen) < _LEAST_SEEN):
        return _NOWHERE
    x, y = rays[seen, 0], rays[seen, 1]
    zero, one = np.zeros_like(x), np.ones_like(x)
    # (t + s l)_xy - ray (t + s l)_z = 0, linear in t and s.
    across = np.stack([np.stack([one, zero, -x], axis=-1), np.stack([zero, one, -y], axis=-1)], axis=1)
    rows = np.concatenate([across, np.einsum("nij,nj->ni", across, lifted[seen])[..., None]], axis=-1)
    # The scale's own equation; a hard one where nothing is to be learned of it.
    scale_row, scale_weight = np.array([0.0, 0, 0, 1.0]), 1 / max(spread, 1e-4) ** 2
    known_rows = np.concatenate([np.tile(np.eye(3), (len(known), 1, 1)), lifted[known][..., None]], axis=-1)
    distance = _distance(rows, factor, known, known_mm, lifted)
    for _ in range(2):
        blocks = np.einsum("nij,njk,nlk->nil", across, own[seen] * factor**2, across)
        blocks = blocks + ((noise[seen] * distance) ** 2)[:, None, None] * np.eye(2)
        weights = np.linalg.inv(blocks)
        normal = np.einsum("nia,nij,njb->ab", rows, weights, rows) + scale_weight * np.outer(scale_row, scale_row)
        right = scale_weight * factor * scale_row
        if len(known):
            assert known_mm is not None and known_square is not None
            trusted = np.linalg.inv(own[known] * factor**2 + known_square[known] + 1e-6 * np.eye(3))
            normal = normal + np.einsum("nia,nij,njb->ab", known_rows, trusted, known_rows)
            right = right + np.einsum("nia,nij,nj->a", known_rows, trusted, known_mm[known])
        try:
            covariance = np.linalg.inv(normal)
        except np.linalg.LinAlgError:
            return _NOWHERE
        answer = covariance @ right
        distance = max(float(answer[2]), 1e-9)
    if answer[2] <= 0 or not np.isfinite(answer).all():
        return _NOWHERE
    return _Place(answer[:3], float(answer[3]), covariance)


def _distance(
    rows: np.ndarray, factor: float, known: np.ndarray, known_mm: np.ndarray | None, lifted: np.ndarray
) -> float:
    """About how far the subject is, for the weights."""
    if len(known) and known_mm is not None:
        return max(float((known_mm[known] - factor * lifted[known])[:, 2].mean()), 1e-9)
    flat = rows.reshape(-1, 4)
    place = np.linalg.lstsq(flat[:, :3], -factor * flat[:, 3], rcond=None)[0]
    return max(float(abs(place[2])), 1e-9)


def _on_floor(lifted: np.ndarray, group: np.ndarray, place: _Place, turn: np.ndarray, centre: np.ndarray) -> float:
    """The factor by which a group's first joint comes to lie in the plane z = 0."""
    below = ((place.root_mm + place.scale * lifted[group]) @ turn.T)[:, 2]
    down = below[np.isfinite(below) & (below < 0)]
    return float((-centre[2] / down).min()) if len(down) and centre[2] > 0 else np.nan


def _told(
    lifted: np.ndarray,
    own: np.ndarray,
    groups: list[np.ndarray],
    solved: list[_Place],
    turn: np.ndarray,
    centre: np.ndarray,
) -> Placed:
    n = len(lifted)
    position, covariance = np.full((n, 3), np.nan), np.full((n, 3, 3), np.nan)
    root, root_covariance = position.copy(), covariance.copy()
    for group, place in zip(groups, solved, strict=True):
        root[group] = place.root_mm
        root_covariance[group] = place.covariance[:3, :3]
        position[group] = place.root_mm + place.scale * lifted[group]
        step = np.concatenate([np.tile(np.eye(3), (len(group), 1, 1)), lifted[group][..., None]], axis=-1)
        covariance[group] = np.einsum("nia,ab,njb->nij", step, place.covariance, step) + own[group] * place.scale**2
    scales = [place.scale for place in solved if np.isfinite(place.scale)]
    return Placed(
        position_mm=position @ turn.T + centre,
        covariance_mm2=six(turn @ covariance @ turn.T),
        root_mm=root @ turn.T + centre,
        root_covariance_mm2=six(turn @ root_covariance @ turn.T),
        scale=float(np.mean(scales)) if scales else float("nan"),
    )
