"""Cameras that stand where the mirrored pose of a board puts them.

A flat board seen nearly from its front, or from far away, has two poses that look almost alike (`calib.sight`). A
camera placed by the wrong one fits the moment that it was placed by, and no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from calib.quality import Finding, Level
from calib.rig import Rig
from calib.sight import BoardPoses

_NEAR_DEG = 6.0
"""Turn within which two poses of one board agree: what single views of a small board leave open."""
_NEAR_SHARE = 0.01
"""The same of its place, as a share of the distance. A mirrored pose keeps the board where it is in the picture, which
hardly any other mistake does."""
_APART = 3.0
"""How many times nearer the mirrored pose must be than the true one."""


def mirrored_findings(
    rig: Rig, poses: BoardPoses, suspects: Iterable[str], frames: np.ndarray, level: Level = "bad"
) -> Iterator[Finding]:
    """A finding for each suspect that stands where a mirrored pose puts it.

    Args:
        rig: As it is to be judged.
        poses: Both poses of the board in each view, the cameras in the rig's order.
        suspects: Names of cameras that do not agree with the others.
        frames: (F,) number of each moment.
        level: Of the findings.
    """
    for name in suspects:
        moment = _moment(rig, poses, rig.names.index(name))
        if moment is not None:
            what = (
                f"stands where the mirrored pose of the board at frame {frames[moment]} puts it: a flat board has two "
                "poses that look alike, and it was placed by the wrong one"
            )
            yield Finding(level, (name,), what, "calibrate with boards that are tilted and near, at many moments")


def _moment(rig: Rig, poses: BoardPoses, view: int) -> int | None:
    """The moment whose mirrored pose fits best, if one does."""
    camera = rig.cameras[view]
    best: tuple[float, int] | None = None
    for other, reference in enumerate(rig.cameras):
        if other == view:
            continue
        common = np.flatnonzero(poses.known[view] & poses.known[other] & poses.two[view])
        if not len(common):
            continue
        # Where the board would be before the camera, if the rig were right and the other camera sees it as it is.
        R = camera.R @ reference.R.T
        t = camera.t - R @ reference.t
        board_R = R @ poses.R[other, common, 0]
        board_t = poses.t[other, common, 0] @ R.T + t
        turn = [_degrees(board_R, poses.R[view, common, which]) for which in (0, 1)]
        shift = np.linalg.norm(board_t - poses.t[view, common, 1], axis=-1)
        near = shift < _NEAR_SHARE * np.linalg.norm(board_t, axis=-1)
        fits = near & (turn[1] < _NEAR_DEG) & (_APART * turn[1] < turn[0])
        for index in np.flatnonzero(fits):
            if best is None or turn[1][index] < best[0]:
                best = float(turn[1][index]), int(common[index])
    return None if best is None else best[1]


def _degrees(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(...,) angle between rotations (..., 3, 3)."""
    trace = np.einsum("...ij,...ij->...", a, b)
    return np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))
