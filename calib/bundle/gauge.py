"""What no observation can tell: where the world lies, and with free points alone how large it is.

A board has a size, so that only its place is open; the first camera then stays where it is. With free points the
whole rig may be turned, moved and scaled: it is held so that the cameras together stay as near as they can to where
they were (Triggs et al. 1999, section 9: inner constraints).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from calib.bundle.parameters import Columns, State

_STEPS = 30
_EQUAL = 1e-7
"""Radians below which cameras stand where they stood."""


@dataclass(frozen=True, slots=True)
class Similarity:
    """``x' = scale R x + t``, world to world."""

    scale: float
    R: np.ndarray
    t: np.ndarray

    def points(self, points_mm: np.ndarray) -> np.ndarray:
        """Points (..., 3) moved."""
        return self.scale * points_mm @ self.R.T + self.t

    def state(self, state: State) -> State:
        """Cameras that see the moved world as they saw the old one."""
        return State(state.R @ self.R.T, self.points(state.centers), state.intrinsics)


def length_mm(centers: np.ndarray, distance_mm: float) -> float:
    """What a radian is weighed against: the mean distance of the cameras from their middle, or from what they see."""
    return max(float(np.linalg.norm(centers - centers.mean(axis=0), axis=1).mean()), 1e-3 * distance_mm)


def motions(state: State, table: Sequence[Columns], unit_mm: float) -> np.ndarray:
    """(P, g) how the free parameters change with the world's motions that no observation of free points can tell.

    Three turns, three shifts and the scale where all cameras are free; only the scale about it where one is held;
    none where two are.
    """
    held = [view for view, columns in enumerate(table) if not columns.extrinsics]
    P = sum(len(columns.labels) for columns in table)
    if len(held) > 1:
        return np.zeros((P, 0))
    origin = state.centers[held[0]] if held else state.centers.mean(axis=0)
    found = np.zeros((P, 7))
    at = 0
    for columns, R, center in zip(table, state.R, state.centers, strict=True):
        if columns.extrinsics:
            arm = (center - origin) / unit_mm
            cross = np.array([[0, arm[2], -arm[1]], [-arm[2], 0, arm[0]], [arm[1], -arm[0], 0]])
            found[at : at + 3, :3] = -R
            found[at + 3 : at + 6, :3] = R @ cross * unit_mm
            found[at + 3 : at + 6, 3:6] = R * unit_mm
            found[at + 3 : at + 6, 6] = R @ arm * unit_mm
        at += len(columns.labels)
    return found[:, 6:] if held else found


def weights(table: Sequence[Columns], unit_mm: float) -> np.ndarray:
    """(P,) what one unit of each free parameter counts: a radian as much as ``unit_mm``, intrinsics not at all."""
    found: list[float] = []
    for columns in table:
        pose = [1.0] * 3 + [1 / unit_mm] * 3 if columns.extrinsics else []
        found += pose + [0.0] * (len(columns.labels) - len(pose))
    return np.array(found)


def alignment(before: State, after: State, table: Sequence[Columns], unit_mm: float) -> Similarity:
    """What brings the cameras after the adjustment nearest to where they were, by angle and place and scale.

    A camera that is much further off than most says less, so that one that was knocked over moves no other.
    """
    scale, R, t = 1.0, np.eye(3), np.zeros(3)
    state = after
    weight = weights(table, unit_mm)
    sizes = [len(columns.labels) for columns in table]
    for step_number in range(_STEPS):
        directions = motions(state, table, unit_mm)
        if not directions.shape[1]:
            break
        off = np.concatenate(
            [_pose_between(a, b, c, d, columns) for a, b, c, d, columns in _pairs(state, before, table)]
        )
        each = np.repeat(_trust(off * weight, sizes) if step_number else np.ones(len(sizes)), sizes)
        found = np.linalg.lstsq(directions * (weight * each)[:, None], off * weight * each, rcond=None)[0]
        held = [view for view, columns in enumerate(table) if not columns.extrinsics]
        origin = state.centers[held[0]] if held else state.centers.mean(axis=0)
        turn = np.eye(3) if held else cv2.Rodrigues(found[:3])[0]
        grown = float(np.exp(found[-1]))
        shift = np.zeros(3) if held else found[3:6] * unit_mm
        step = Similarity(grown, turn, origin + shift - grown * turn @ origin)
        state = step.state(state)
        scale, R, t = scale * grown, turn @ R, step.points(t)
    return Similarity(scale, R, t)


def _trust(off: np.ndarray, sizes: list[int]) -> np.ndarray:
    """(V,) root of each camera's weight: Cauchy's, with the median as its scale, where there are more than two."""
    length = np.array([np.linalg.norm(mine) for mine in np.split(off, np.cumsum(sizes)[:-1])])
    there = np.array(sizes) >= 6
    if there.sum() < 3:
        return np.ones(len(sizes))
    middle = max(float(np.median(length[there])), _EQUAL)
    return 1 / np.sqrt(1 + (length / middle) ** 2)


def _pairs(state: State, before: State, table: Sequence[Columns]):  # type: ignore[no-untyped-def]
    return zip(state.R, state.centers, before.R, before.centers, table, strict=True)


def _pose_between(R: np.ndarray, center: np.ndarray, R_to: np.ndarray, to: np.ndarray, columns: Columns) -> np.ndarray:
    """The step of a camera's parameters from one pose to another; zero for the intrinsics."""
    off = np.zeros(len(columns.labels))
    if columns.extrinsics:
        off[:3] = cv2.Rodrigues(R_to @ R.T)[0].ravel()
        off[3:6] = R @ (to - center)
    return off
