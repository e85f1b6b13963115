"""Cameras that stand where the mirrored pose of a board puts them.

A flat board seen nearly from its front, or from far away, has two poses that look almost alike (`calib.sight`). A
camera placed by the wrong one sees the board of that moment where it is in the picture, and turned by far; at all
other moments nothing fits. The mirrored pose itself is not asked for: often it is no minimum, but a place in a flat
valley at which a solver gave up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from calib.quality import Finding, Level
from calib.rig import Rig
from calib.sight import BoardPoses, Sight, project_with_motion

_TURNED_DEG = 8.0
"""Turn from which on a board has another pose: nearer ones are what single views of a small board leave open."""
_NEAR_SHARE = 0.025
"""How far the board may be from where it fits, as a share of the distance. A mirrored pose keeps the board where it is
in the picture, which hardly any other mistake does; the rest is what the other camera knows of the depth."""
_ALIKE = 0.2
"""How much of the change that such a turn may bring is there in the picture. Half of it is left by other turns."""
_STEPS = 4


def mirrored_findings(
    rig: Rig,
    sight: Sight,
    poses: BoardPoses,
    target_mm: np.ndarray,
    suspects: Iterable[str],
    frames: np.ndarray,
    level: Level = "bad",
) -> Iterator[Finding]:
    """A finding for each suspect that stands where a mirrored pose puts it.

    Args:
        rig: As it is to be judged.
        sight: The views, the cameras in the rig's order.
        poses: Of the board in each view.
        target_mm: (N, 3) the flat board.
        suspects: Names of cameras that do not agree with the others.
        frames: (F,) number of each moment.
        level: Of the findings.
    """
    for name in suspects:
        moment = _moment(rig, sight, poses, target_mm, rig.names.index(name))
        if moment is not None:
            what = (
                f"stands where the mirrored pose of the board at frame {frames[moment]} puts it: a flat board has two "
                "poses that look alike, and it was placed by the wrong one"
            )
            yield Finding(level, (name,), what, "calibrate with boards that are tilted and near, at many moments")


def _moment(rig: Rig, sight: Sight, poses: BoardPoses, target_mm: np.ndarray, view: int) -> int | None:
    """The moment at which the board looks most alike although it is turned by far, if there is one."""
    camera = rig.cameras[view]
    best: tuple[float, int] | None = None
    for other, reference in enumerate(rig.cameras):
        common = np.flatnonzero(poses.known[view] & poses.known[other])
        if other == view or not len(common):
            continue
        # Where the board would be before the camera, if the rig were right and the other camera sees it as it is.
        R = camera.R @ reference.R.T
        board_R = R @ poses.R[other, common, 0]
        board_t = poses.t[other, common, 0] @ R.T + camera.t - R @ reference.t
        points = target_mm @ np.swapaxes(board_R, -1, -2) + board_t[:, None]
        xy, px_per, kept = sight.xy[view, common], sight.px_per[view, common], poses.kept[view, common]
        left_px, shift = _left(points, xy, px_per, kept)
        turn = _angle(board_R, poses.R[view, common, 0])
        change_px = _radius_px(xy, px_per, kept) * np.minimum(turn, 1.0)
        alike = left_px / np.maximum(change_px, 1e-9)
        fits = (turn > np.radians(_TURNED_DEG)) & (shift < _NEAR_SHARE) & (alike < _ALIKE)
        for index in np.flatnonzero(fits):
            if best is None or alike[index] < best[0]:
                best = float(alike[index]), int(common[index])
    return None if best is None else best[1]


def _left(points: np.ndarray, xy: np.ndarray, px_per: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M,) rms of the views in px when points (M, N, 3) are shifted but not turned; the shift over the distance."""
    n = np.maximum(kept.sum(axis=-1), 1)
    moved = points.copy()
    for _ in range(_STEPS):
        residual, motion = project_with_motion(moved, xy, px_per, kept)
        flat = motion[..., 3:].reshape(len(points), -1, 3)
        normal = np.swapaxes(flat, -1, -2) @ flat
        # A view wholly behind the camera has no equations.
        trace = np.einsum("mii->m", normal)[:, None, None]
        right = np.swapaxes(flat, -1, -2) @ residual.reshape(len(points), -1, 1)
        moved = moved + np.swapaxes(np.linalg.solve(normal + (1e-9 * trace + 1e-30) * np.eye(3), right), -1, -2)
    residual, _ = project_with_motion(moved, xy, px_per, kept)
    left = np.sqrt((residual**2).sum(axis=(-2, -1)) / n)
    left[(kept & (moved[..., 2] <= 0)).any(axis=-1)] = np.inf
    middle = np.where(kept[..., None], points, 0.0).sum(axis=1) / n[:, None]
    shift = np.linalg.norm((moved - points)[:, 0], axis=-1) / np.maximum(np.linalg.norm(middle, axis=-1), 1e-9)
    return left, shift


def _radius_px(xy: np.ndarray, px_per: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """(M,) rms distance of a view's points from their middle, px."""
    n = np.maximum(kept.sum(axis=-1), 1)
    middle = np.where(kept[..., None], xy, 0.0).sum(axis=1) / n[:, None]
    off = np.where(kept[..., None], xy - middle[:, None], 0.0)
    return np.sqrt(((px_per @ off[..., None]) ** 2).sum(axis=(-3, -2, -1)) / n)


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(...,) angle between rotations (..., 3, 3), rad."""
    trace = np.einsum("...ij,...ij->...", a, b)
    return np.arccos(np.clip((trace - 1) / 2, -1, 1))
