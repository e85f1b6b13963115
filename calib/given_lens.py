"""Lenses that were given, held against what the views of each camera alone want.

A lens file may be of another camera, zoom or picture size, or hold swapped numbers. Only single views are asked, with
the board's pose free in each: where the cameras stand, and whether they stood still, does not enter.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from calib.bundle import Free
from calib.camera import Camera
from calib.observations import BoardViews, choose
from calib.sight import board_poses, sight_of
from calib.solution import solve
from calib.solved import LensDoubt, Lenses

_GAIN = 0.4
"""Share of its views' squared residuals (a quarter of their rms) that a better lens must take away to be believed."""
_LENS_SURE = 5.0
_LENS_OFF = 0.03
"""Of the focal length or the picture's width: less than what a given lens may be off by when the focus was touched."""


def doubts_of(views: BoardViews, lenses: Lenses) -> tuple[LensDoubt, ...]:
    """What the views of each camera alone say against the lens that was given for it."""
    given = [camera for camera, lens in zip(lenses.cameras, lenses.found, strict=True) if lens is None]
    found = (_doubt(views.of([camera.name]), camera) for camera in given)
    return tuple(doubt for doubt in found if doubt is not None)


def _doubt(views: BoardViews, camera: Camera) -> LensDoubt | None:
    """Whether the views of one camera want another focal length and centre than were given; ``None`` = they do not."""
    chosen = views.select(choose(views, 40))
    if chosen.usable.sum() < 6:
        return None
    sight = sight_of(chosen, [camera])
    poses = board_poses(sight, chosen.target_mm, chosen.usable)
    if poses.known.sum() < 6:
        return None
    start_poses = np.full((len(chosen.frames), 6), np.nan)
    for f in np.flatnonzero(poses.known[0]):
        start_poses[f, :3] = cv2.Rodrigues(poses.R[0, f, 0])[0].ravel()
        start_poses[f, 3:] = poses.t[0, f, 0]
    alone = replace(camera, rvec=np.zeros(3), t=np.zeros(3))
    free = Free(extrinsics=False, focal="one", center=True)
    freed = solve(
        chosen, [alone], start_poses, free, poses.kept, alone=True, rounds=1, max_iterations=25, tolerance=1e-4
    )
    points = poses.kept & freed.used
    if not points.any():
        return None
    before = float(poses.chi2[0, poses.known[0], 0].sum() / max(poses.kept.sum(), 1))
    after = float((freed.residual_px[points] ** 2).sum(axis=-1).mean())
    sure = freed.adjusted.deviation(camera.name)
    seen = freed.cameras[0].K[[0, 1, 0, 1], [0, 1, 2, 2]]
    given = camera.K[[0, 1, 0, 1], [0, 1, 2, 2]]
    deviation = np.concatenate([sure.focal_px, sure.center_px])
    off = np.abs(seen - given)
    size = np.array([given[0], given[1], *camera.size], dtype=np.float64)
    matters = (off > _LENS_SURE * deviation) & (off > _LENS_OFF * size)
    gain = 1 - after / max(before, 1e-12)
    if not matters.any() or gain < _GAIN:
        return None

    def four(values: np.ndarray) -> tuple[float, float, float, float]:
        return float(values[0]), float(values[1]), float(values[2]), float(values[3])

    return LensDoubt(camera.name, four(given), four(seen), four(deviation), gain)
