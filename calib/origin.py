"""The world of a rig set on the floor by a board that lies there.

z is up and zero on the floor. A rig whose cameras came to stand below it is refused, for then the board was upside
down, or its pose mirrored. For named points and known lengths see `calib.origin_points`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares

from calib.board_evidence import board_scale
from calib.camera import Camera
from calib.medians import robust_deviation
from calib.quality import FLOOR
from calib.rig import Rig
from calib.triangulate import triangulate
from calib.world import Placed, Scale, Transform, above_floor, chosen_scale, heights_of, moved_world, plain, rigid
from rigpose.errors import ConfigError

ONE_VIEW_CLEAR = 2.0
"""Seen by one camera, a flat board has two poses; the better one is believed where the other's residual is so many
times larger."""
_LEAST_POINTS = 6
_MISFIT = 0.006
"""Median residual over the diagonal of the picture (10 px in HD) beyond which the board is another one."""


def from_board(
    rig: Rig,
    px: Float[np.ndarray, "V F N 2"] | Float[np.ndarray, "V N 2"],
    target_mm: Float[np.ndarray, "N 3"],
    *,
    thickness_mm: float = 0.0,
    face: Literal["up", "down"] = "up",
    at: Literal["corner", "middle"] = "corner",
    scale: Scale = "auto",
    transparent_floor: bool = False,
) -> Placed:
    """The world on the floor from a board that lies on it.

    x runs along the board's columns, z up; with the print facing up y runs against its rows.

    Args:
        rig: As calibrated.
        px: Raw px of the board's points in each camera, at one moment or at several of the board lying still;
            NaN = not seen.
        target_mm: The board's points in its own frame (z into the board).
        thickness_mm: How high the print lies above the floor (below it, facing down).
        face: Which way the print faces; ``down`` for cameras that look through the floor from below.
        at: Where the new origin is: at the board's first point, or in the middle of its points.
        scale: What to do where the rig's millimetre and the board's differ.
        transparent_floor: Cameras below the floor are meant to be there (not all of them).

    Raises:
        ConfigError: The board is hardly seen, its pose is ambiguous, or its scale differs and nobody chose.
        VerdictError: Cameras come to stand below the floor.
    """
    px = np.asarray(px, dtype=np.float64)
    px = px[:, None] if px.ndim == 3 else px
    if px.ndim != 4 or len(px) != len(rig) or px.shape[2:] != (len(target_mm), 2):
        raise ConfigError("board", f"points of shape {list(px.shape)} do not fit rig and board", "give (V, F, N, 2)")
    still = _still(rig, px)
    seen = np.isfinite(still[..., 0])
    views = [v for v in range(len(rig)) if seen[v].sum() >= _LEAST_POINTS]
    if not views:
        raise ConfigError("board", "no camera sees it on the floor", "show it to more cameras, flat and sharp")
    notes: list[str] = []
    points = (
        triangulate(still, seen.astype(float), rig.arrays()) if len(rig) > 1 else np.full((len(target_mm), 3), np.nan)
    )
    solid = np.isfinite(points).all(axis=-1)
    ratio, deviation = float("nan"), float("nan")
    if solid.sum() >= _LEAST_POINTS and len(views) > 1:
        ratio, deviation = _ratio(rig, px, points, target_mm)
        factor = chosen_scale(1 / ratio, deviation, scale, "the board")
        R, t = rigid(target_mm[solid] / factor, points[solid])
    else:
        factor = 1.0
        R, t, clear = _one_view(rig.cameras[views[0]], still[views[0]], target_mm)
        only = rig.names[views[0]]
        if clear < ONE_VIEW_CLEAR:
            raise ConfigError(
                "board",
                f"only {only} sees it, so flat that two poses explain it (residuals {clear:.2f} times apart)",
                "lay it where two cameras see it, or nearer",
            )
        if scale == "set":
            raise ConfigError("board", f"only {only} sees it, so it tells no scale", "lay it where two cameras see it")
        notes.append(f"only {only} saw the board: its height and tilt are less sure")
    R, t = _settled(rig, still, target_mm / factor, R, t)
    world = R @ (target_mm / factor).T + t[:, None]
    residual = np.concatenate(
        [np.linalg.norm(c.project(world.T) - still[v], axis=-1) for v, c in enumerate(rig.cameras)]
    )
    size = float(np.median([np.hypot(*c.size) if min(c.size) > 0 else 1600 for c in rig.cameras]))
    if np.nanmedian(residual) > _MISFIT * size:
        what = f"does not fit the rig: its points are {np.nanmedian(residual):.0f} px off in the median"
        raise ConfigError("board", what, "is it this board, and this rig? rigpose calibrate check")
    # Into the board is down where the print faces up.
    turn = np.diag([1.0, -1.0, -1.0]) if face == "up" else np.eye(3)
    middle = target_mm.mean(axis=0) if at == "middle" else target_mm[0]
    above = thickness_mm if face == "up" else -thickness_mm
    # The floor lies below the print: in the board's own frame along z.
    floor = (middle + np.array([0, 0, thickness_mm if face == "up" else -thickness_mm])) / factor
    transform = Transform(turn @ R.T, R @ floor + t, factor)
    how = f"a board on the floor, seen by {len(views)} camera{'s' if len(views) > 1 else ''}"
    new = moved_world(rig, transform, FLOOR, how, residual_px=plain(np.nanmedian(residual)), height_mm=above)
    if transparent_floor:
        new = replace(new, metadata={**new.metadata, "transparent_floor": True})
    off = np.linalg.norm(points[solid] - world.T[solid], axis=-1) * factor
    found = Placed(
        new,
        how,
        float(np.nanmedian(residual)),
        float(np.median(off)) if len(off) else float("nan"),
        factor,
        1 / ratio,
        deviation,
        heights_of(new),
        tuple(notes),
    )
    return above_floor(
        found, "the board lay upside down, its pictures are mirrored, or its columns and rows are exchanged"
    )


def _still(rig: Rig, px: np.ndarray) -> np.ndarray:
    """(V, N, 2) medians over moments of a board that lies still.

    Raises:
        ConfigError: It moves.
    """
    middle = np.full_like(px[:, 0], np.nan)
    seen = np.isfinite(px).any(axis=1)
    # A point that a camera never saw has no median, and numpy warns of it.
    middle[seen] = np.nanmedian(np.moveaxis(px, 1, -1)[seen], axis=-1)
    if px.shape[1] > 1:
        for v, camera in enumerate(rig.cameras):
            away = np.linalg.norm(px[v] - middle[v], axis=-1)
            away = away[np.isfinite(away)]
            if len(away) and np.percentile(away, 80) > 2e-3 * max(*camera.size, 500):
                what = f"moves by {np.percentile(away, 80):.1f} px in {camera.name} while it should lie on the floor"
                raise ConfigError("board", what, "give pictures of the moment when it lies still")
    return np.asarray(middle)


def _ratio(rig: Rig, px: np.ndarray, points: np.ndarray, target_mm: np.ndarray) -> tuple[float, float]:
    """Distances in the rig over true ones, and the deviation of that."""
    solid = np.flatnonzero(np.isfinite(points).all(axis=-1))
    true = np.linalg.norm(target_mm[solid][:, None] - target_mm[solid], axis=-1)
    seen = np.linalg.norm(points[solid][:, None] - points[solid], axis=-1)
    long = np.triu(true >= 0.5 * true.max(), 1)
    each = seen[long] / true[long]
    ratio = float(np.median(each))
    deviation = float(robust_deviation(each)) / np.sqrt(max(len(solid) / 2, 1))
    if px.shape[1] >= 3:
        every = np.stack(
            [triangulate(px[:, f], np.isfinite(px[:, f, :, 0]).astype(float), rig.arrays()) for f in range(px.shape[1])]
        )
        over, spread = board_scale(every, target_mm)
        if over is not None and spread is not None:
            return over, max(spread, float(deviation))
    return ratio, float(deviation)


def _one_view(camera: Camera, px: np.ndarray, target_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """R, t from board to world by one view, and how many times worse the second pose is."""
    seen = np.isfinite(px[:, 0])
    xy = camera.undistort(px[seen])
    use = np.isfinite(xy).all(axis=-1)
    count, rvecs, tvecs, _ = cv2.solvePnPGeneric(
        target_mm[seen][use], xy[use], np.eye(3), None, flags=cv2.SOLVEPNP_IPPE
    )
    if not count:
        raise ConfigError("board", f"its pose in {camera.name} cannot be found", "lay it where two cameras see it")
    poses = []
    for rvec, tvec in zip(rvecs, tvecs, strict=True):
        rvec, tvec = cv2.solvePnPRefineLM(target_mm[seen][use], xy[use], np.eye(3), None, rvec, tvec)
        R = cv2.Rodrigues(rvec)[0]
        world_R, world_t = camera.R.T @ R, camera.R.T @ (tvec.ravel() - camera.t)
        away = camera.project(target_mm[seen] @ world_R.T + world_t) - px[seen]
        poses.append((float(np.sqrt(np.nanmean(np.sum(away**2, axis=-1)))), world_R, world_t))
    poses.sort(key=lambda pose: pose[0])
    best = poses[0]
    other = [p for p in poses[1:] if np.linalg.norm(p[1] - best[1]) > 0.05]
    # Without noise the better one is exact: a hundredth of a px is nothing to be sure by.
    clear = (other[0][0] + 0.01) / (best[0] + 0.01) if other else np.inf
    return best[1], best[2], float(clear)


def _settled(
    rig: Rig, px: np.ndarray, target_mm: np.ndarray, R: np.ndarray, t: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The pose that all views like best: reprojection, with a robust loss."""
    seen = np.isfinite(px[..., 0])
    start_R, unit = R, max(float(np.ptp(target_mm, axis=0).max()), 1e-9)

    def residual(x: np.ndarray) -> np.ndarray:
        turned = start_R @ cv2.Rodrigues(x[:3])[0]
        world = target_mm @ turned.T + t + unit * x[3:]
        parts = [(c.project(world[seen[v]]) - px[v][seen[v]]).ravel() for v, c in enumerate(rig.cameras)]
        return np.nan_to_num(np.concatenate(parts), nan=1e3)

    found = least_squares(residual, np.zeros(6), loss="soft_l1", f_scale=1.0, x_scale=np.full(6, 0.01))
    return start_R @ cv2.Rodrigues(found.x[:3])[0], t + unit * found.x[3:]
