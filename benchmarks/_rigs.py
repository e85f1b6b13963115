"""Rigs that do not exist: cameras, a board moved through their view, a subject, and what was seen of them, by seed.

Everything about a scene is known, so that an estimate can be held against it and its stated deviations against
its errors. Positions in mm, px with NaN = not seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from calib.camera import Camera
from calib.rig import Rig

SIZE = (1280, 1024)
REACH_MM = 1500.0
"""Mean distance of the cameras from the middle of what they look at."""
SQUARE_MM = 55.0
FRAMES_A_SECOND = 30.0
_OBLIQUE = np.cos(np.radians(72))
_OUTLIER_PX = (15.0, 200.0)


@dataclass(frozen=True, slots=True)
class BoardScene:
    """A board that was moved in front of a rig.

    Attributes:
        rig: The true cameras; the world is that of no camera.
        target_mm: (N, 3) the board's points.
        columns: Points in a row.
        poses: (F, 6) rvec and t from board to world.
        px: (V, F, N, 2) as seen, with noise and outliers.
        clean_px: (V, F, N, 2) the same without them.
        outlier: (V, F, N) what is a gross outlier.
        sigma_px: Standard deviation of the noise of x and of y.
        frames: (F,) number of each moment's frame, at 30 a second.
    """

    rig: Rig
    target_mm: np.ndarray
    columns: int
    poses: np.ndarray
    px: np.ndarray
    clean_px: np.ndarray
    outlier: np.ndarray
    sigma_px: float
    frames: np.ndarray


@dataclass(frozen=True, slots=True)
class PointScene:
    """Joints of a subject that moves in front of a rig.

    Attributes:
        rig: The true cameras.
        points_mm: (T, J, 3) where the joints are.
        px: (V, T, J, 2) as seen, with noise and outliers.
        outlier: (V, T, J) what is a gross outlier.
        sigma_px: Standard deviation of the noise of x and of y.
    """

    rig: Rig
    points_mm: np.ndarray
    px: np.ndarray
    outlier: np.ndarray
    sigma_px: float


def _look_at(
    name: str, center: np.ndarray, target: np.ndarray, roll: float, focal: float, dist: np.ndarray, fisheye: bool
) -> Camera:
    forward = (target - center) / np.linalg.norm(target - center)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    rotation = cv2.Rodrigues(np.array([0.0, 0.0, roll]))[0] @ rotation
    K = np.array([[focal, 0, (SIZE[0] - 1) / 2], [0, focal, (SIZE[1] - 1) / 2], [0, 0, 1.0]])
    return Camera(
        name=name,
        size=SIZE,
        K=K,
        dist=dist,
        rvec=cv2.Rodrigues(rotation)[0].ravel(),
        t=-rotation @ center,
        fisheye=fisheye,
    )


def make_rig(seed: int, n_cameras: int, fisheye: bool | Literal["mixed"] = False) -> Rig:
    """Cameras around a working volume: neighbours at most 50 degrees apart, so that they share views of a board.

    Args:
        seed: Of everything random.
        n_cameras: 2 to 12.
        fisheye: All, none, or every second.
    """
    rng = np.random.default_rng([seed, 1])
    step = min(360.0 / n_cameras, 50.0)
    cameras = []
    for index in range(n_cameras):
        is_fisheye = index % 2 == 1 if fisheye == "mixed" else bool(fisheye)
        angle = np.radians(index * step + rng.uniform(-6, 6))
        reach = REACH_MM * rng.uniform(0.85, 1.15) * (0.6 if is_fisheye else 1.0)
        height = rng.uniform(0.1, 0.5)
        center = reach * np.array([np.cos(angle), np.sin(angle), height]) / np.hypot(1, height)
        target = rng.uniform(-60, 60, 3)
        if is_fisheye:
            focal, dist = rng.uniform(420, 520), rng.normal(0, 1, 4) * (0.02, 0.01, 0.005, 0.002)
        else:
            focal = rng.uniform(850, 1200)
            dist = np.array([-0.18, 0.06, 0, 0, -0.01]) + rng.normal(0, 1, 5) * (0.05, 0.02, 0.0008, 0.0008, 0.005)
        camera = _look_at(f"cam{index + 1:02d}", center, target, rng.uniform(-0.15, 0.15), focal, dist, is_fisheye)
        K = camera.K.copy()
        K[1, 1] *= 1 + rng.normal(0, 0.002)
        K[:2, 2] += rng.normal(0, 8, 2)
        cameras.append(replace(camera, K=K))
    return Rig(tuple(cameras), {"working_distance_mm": REACH_MM})


def board_points(columns: int, rows: int, square_mm: float = SQUARE_MM) -> np.ndarray:
    """(N, 3) points of a board in its own frame, row after row."""
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    return np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=-1) * square_mm


class _Motion:
    """A smooth way of a board through the volume: where it is and how it is turned at any time."""

    def __init__(self, seed: int, rig: Rig, middle_mm: np.ndarray) -> None:
        rng = np.random.default_rng([seed, 2])
        self._middle = middle_mm
        self._rate = rng.uniform(0.05, 0.35, (6, 3)) * 2 * np.pi
        self._phase = rng.uniform(0, 2 * np.pi, (6, 3))
        share = rng.uniform(0.5, 1, (6, 3))
        extent = np.array([850.0, 850.0, 750.0, 0.9, 0.9, 1.2])[:, None]
        self._amplitude = extent * share / share.sum(axis=1, keepdims=True)
        self._sweep = rng.uniform(0.05, 0.09), rng.uniform(0, 1)
        self._azimuth = np.unwrap([np.arctan2(camera.center_mm[1], camera.center_mm[0]) for camera in rig.cameras])

    def poses(self, times_s: np.ndarray) -> np.ndarray:
        """(F, 6) from board to world."""
        waves = (self._amplitude * np.sin(self._rate * times_s[:, None, None] + self._phase)).sum(axis=-1)
        # The board faces one camera after the other, there and back.
        share = np.abs(2 * np.mod(self._sweep[0] * times_s + self._sweep[1], 1) - 1)
        low, high = self._azimuth.min() - 0.2, self._azimuth.max() + 0.2
        facing = low + share * (high - low)
        poses = np.empty((len(times_s), 6))
        for index, (wave, angle) in enumerate(zip(waves, facing, strict=True)):
            out = np.array([np.cos(angle), np.sin(angle), 0.25])
            out /= np.linalg.norm(out)
            across = np.cross(out, (0.0, 0.0, 1.0))
            across /= np.linalg.norm(across)
            # Of a board in front of a camera: x to its right, y down, z away from it.
            upright = np.stack([across, np.cross(-out, across), -out], axis=1) @ np.diag([-1.0, -1.0, 1.0])
            turned = upright @ cv2.Rodrigues(wave[3:])[0]
            poses[index, :3] = cv2.Rodrigues(turned)[0].ravel()
            poses[index, 3:] = wave[:3] - turned @ self._middle
        return poses


def _seen(camera: Camera, points_mm: np.ndarray) -> np.ndarray:
    """(..., 2) px, NaN outside of the picture."""
    px = camera.project(points_mm)
    with np.errstate(invalid="ignore"):
        inside = ((px > 4) & (px < np.array(camera.size) - 5)).all(axis=-1)
        # Where the lens polynomial has folded back, a real lens sees nothing.
        again = camera.undistort(px)
        true = (points_mm - camera.center_mm) @ camera.R.T
        inside &= np.abs(again - true[..., :2] / true[..., 2:]).max(axis=-1) < 1e-3
    return np.where(inside[..., None], px, np.nan)


def _disturbed(
    rng: np.random.Generator, clean: np.ndarray, sigma_px: float, outliers: float
) -> tuple[np.ndarray, np.ndarray]:
    px = clean + rng.normal(0, sigma_px, clean.shape)
    outlier = (rng.random(clean.shape[:-1]) < outliers) & np.isfinite(clean[..., 0])
    angle = rng.uniform(0, 2 * np.pi, outlier.shape)
    length = rng.uniform(*_OUTLIER_PX, outlier.shape)
    return px + (outlier * length)[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1), outlier


def board_scene(
    seed: int,
    n_cameras: int = 4,
    n_boards: int = 50,
    *,
    fisheye: bool | Literal["mixed"] = False,
    columns: int = 7,
    rows: int = 5,
    sigma_px: float = 0.3,
    outliers: float = 0.1,
    missing: float = 0.15,
    delay_frames: tuple[float, ...] = (),
    rig: Rig | None = None,
) -> BoardScene:
    """A board moved for as long as it takes, seen by all cameras at once.

    Args:
        seed: Of everything random; the same seed gives the same scene.
        n_cameras: 2 to 12.
        n_boards: Moments.
        fisheye: See `make_rig`.
        columns: Points in a row.
        rows: Points in a column.
        sigma_px: Noise of x and of y.
        outliers: Share of points that are 15 to 200 px off.
        missing: Share of views in which the board was not found although it was seen; as many single points lack.
        delay_frames: Of each camera, in frames of 1/30 s: it sees where the board was then. Empty = none.
        rig: Use this one.
    """
    rig = make_rig(seed, n_cameras, fisheye) if rig is None else rig
    rng = np.random.default_rng([seed, 3])
    target = board_points(columns, rows)
    motion = _Motion(seed, rig, target.mean(axis=0))
    # Moments of a film, so that a delay of one frame is one.
    frames = np.round(np.arange(n_boards) * rng.uniform(20, 30)).astype(np.int64)
    times_s = frames / FRAMES_A_SECOND
    poses = motion.poses(times_s)
    clean = np.full((len(rig), n_boards, len(target), 2), np.nan)
    for index, camera in enumerate(rig.cameras):
        delay = delay_frames[index] / FRAMES_A_SECOND if delay_frames else 0.0
        there = motion.poses(times_s - delay) if delay else poses
        for frame, pose in enumerate(there):
            rotation = cv2.Rodrigues(pose[:3])[0]
            points = target @ rotation.T + pose[3:]
            ray = points.mean(axis=0) - camera.center_mm
            if rotation[:, 2] @ ray > _OBLIQUE * np.linalg.norm(ray):
                clean[index, frame] = _seen(camera, points)
    lost = rng.random(clean.shape[:2])[..., None] < missing
    clean[lost | (rng.random(clean.shape[:3]) < missing)] = np.nan
    few = np.isfinite(clean[..., 0]).sum(axis=-1) < 6
    clean[few] = np.nan
    px, outlier = _disturbed(rng, clean, sigma_px, outliers)
    return BoardScene(rig, target, columns, poses, px, clean, outlier, sigma_px, frames)


def point_scene(
    seed: int,
    n_cameras: int = 4,
    n_frames: int = 100,
    n_joints: int = 15,
    *,
    fisheye: bool | Literal["mixed"] = False,
    sigma_px: float = 2.0,
    outliers: float = 0.05,
    missing: float = 0.15,
    rig: Rig | None = None,
) -> PointScene:
    """A subject of about 60 cm that walks through the volume; each joint swings on its own.

    Args:
        seed: Of everything random.
        n_cameras: 2 to 12.
        n_frames: At 1/30 s.
        n_joints: Of the subject.
        fisheye: See `make_rig`.
        sigma_px: Noise of x and of y.
        outliers: Share of points that are 15 to 200 px off.
        missing: Share of points that are not seen.
        rig: Use this one.
    """
    rig = make_rig(seed, n_cameras, fisheye) if rig is None else rig
    rng = np.random.default_rng([seed, 4])
    times_s = np.arange(n_frames) / FRAMES_A_SECOND
    rate, phase = rng.uniform(0.2, 1.2, (n_joints + 1, 3)) * 2 * np.pi, rng.uniform(0, 2 * np.pi, (n_joints + 1, 3))
    waves = np.sin(rate * times_s[:, None, None] + phase)
    rest = rng.uniform(-1, 1, (n_joints, 3)) * (150, 150, 250)
    points = rest + 60 * waves[:, 1:] + 200 * waves[:, :1] * (1, 1, 0.2)
    clean = np.stack([_seen(camera, points) for camera in rig.cameras])
    clean[rng.random(clean.shape[:3]) < missing] = np.nan
    px, outlier = _disturbed(rng, clean, sigma_px, outliers)
    return PointScene(rig, points, px, outlier, sigma_px)


def moved(rig: Rig, name: str, *, turned_deg: float = 0.0, moved_mm: float = 0.0, seed: int = 0) -> Rig:
    """The rig after somebody ran into one camera: turned about a random axis, moved in a random direction."""
    rng = np.random.default_rng([seed, 5])
    axis, direction = rng.normal(size=(2, 3))
    camera = rig[name]
    rotation = cv2.Rodrigues(np.radians(turned_deg) * axis / np.linalg.norm(axis))[0] @ camera.R
    center = camera.center_mm + moved_mm * direction / np.linalg.norm(direction)
    changed = replace(camera, rvec=cv2.Rodrigues(rotation)[0].ravel(), t=-rotation @ center)
    return rig.with_cameras(changed if one.name == name else one for one in rig.cameras)
