"""How fast a board moved at each moment, from where it stood before and after."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, Int

from calib.camera import Camera
from calib.observations import BoardViews
from calib.sight import board_poses, rotations, sight_of, skew
from calib.solution import settle_boards

_GAP = 3.0
"""Times the usual step between moments: beside a longer one the speed is not known."""


def motion_of(
    views: BoardViews,
    everything: BoardViews,
    cameras: Sequence[Camera],
    poses: Float[np.ndarray, "F 6"],
) -> tuple[Float[np.ndarray, "F 6"], str]:
    """The board's motion (w, u) at each moment, and its unit of time; zero where nothing tells.

    Args:
        views: The moments that the rig was solved from.
        everything: All moments of the recording: the speed at one is seen in its neighbours.
        cameras: As solved.
        poses: Of the board at the moments of ``views``; NaN = unknown.
    """
    if views.still:
        return np.zeros((len(views.frames), 6)), "frames"
    at = np.searchsorted(everything.frames, views.frames)
    near = np.unique(np.clip(at[:, None] + (-1, 0, 1), 0, len(everything.frames) - 1))
    around = everything.select(near)
    mine = np.searchsorted(near, at)
    whole = np.full((len(near), 6), np.nan)
    whole[mine] = poses
    rest = np.flatnonzero(np.isnan(whole[:, 0]) & around.usable.any(axis=0))
    if len(rest):
        whole[rest] = _placed(around.select(rest), cameras)
    placed = np.flatnonzero(np.isfinite(whole).all(axis=-1))
    found = np.zeros((len(near), 6))
    found[placed], unit = velocities(around, placed, rotations(whole[placed, :3]), whole[placed, 3:])
    return found[mine], unit


def velocities(
    views: BoardViews, frames: Int[np.ndarray, " F"], R: Float[np.ndarray, "F 3 3"], t: Float[np.ndarray, "F 3"]
) -> tuple[Float[np.ndarray, "F 6"], str]:
    """Motion (w, u) of the board in the world per frame (or per second), from splines; zero where nothing tells.

    Args:
        views: For the times.
        frames: Indices of the moments at which the board was placed.
        R: Of the board, from board to world.
        t: Of the board, mm.

    Returns:
        (F, 6), and the unit of time: ``frames`` or ``s``.
    """
    from scipy.interpolate import CubicSpline
    from scipy.spatial.transform import Rotation, RotationSpline

    out = np.zeros((len(frames), 6))
    unit = "frames"
    times = views.frames[frames].astype(np.float64)
    if views.time_s is not None:
        mean = np.array([np.nanmean(c) if np.isfinite(c).any() else np.nan for c in views.time_s[:, frames].T])
        if np.isfinite(mean).all() and (np.diff(mean) > 0).all():
            times, unit = mean, "s"
    if views.still or len(frames) < 5:
        return out, unit
    gaps = np.diff(times)
    usual = float(np.median(gaps))
    # Across a gap a spline swings; moments beside one say nothing about speed.
    near = np.concatenate([[np.inf], gaps]), np.concatenate([gaps, [np.inf]])
    good = (np.maximum(*near) <= _GAP * usual) & (np.minimum(*near) > 0)
    spline = CubicSpline(times, t)
    turn = RotationSpline(times, Rotation.from_matrix(R))
    # The spline's rate is in the moving frame; the world's is that turned by R.
    spin = (R @ turn(times, 1)[..., None])[..., 0]
    out[:, :3] = spin
    out[:, 3:] = spline(times, 1) - (skew(spin) @ t[..., None])[..., 0]
    out[~good] = 0
    return out, unit


def _placed(views: BoardViews, cameras: Sequence[Camera]) -> np.ndarray:
    """(F, 6) poses of the board from all cameras, begun from the view that is surest of it; NaN = none."""
    sight = sight_of(views, cameras)
    poses = board_poses(sight, views.target_mm, views.usable)
    out = np.full((len(views.frames), 6), np.nan)
    sure = np.where(poses.known, np.linalg.slogdet(poses.information[:, :, 0] + 1e-30 * np.eye(6))[1], -np.inf)
    best = sure.argmax(axis=0)
    for f in np.flatnonzero(poses.known.any(axis=0)):
        camera = cameras[best[f]]
        R = camera.R.T @ poses.R[best[f], f, 0]
        out[f] = [*cv2.Rodrigues(R)[0].ravel(), *(camera.R.T @ (poses.t[best[f], f, 0] - camera.t))]
    return settle_boards(cameras, out, sight, poses.kept, views.target_mm)
