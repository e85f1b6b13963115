"""The cameras of a world, and a fast projection for drawing."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float

from calib.camera import Camera
from capture.virtual.scenario import CameraSection, RingSection, Scenario, Seed, generator, within

_STREAM = 20
_STRAIGHT_PX = 0.3
"""Limbs are drawn straight where the lens bends a long one by less."""
_CHORD = 0.3


def make_cameras(scenario: Scenario, seed: Seed) -> tuple[Camera, ...]:
    """The cameras of a sample."""
    section = scenario.cameras
    if not isinstance(section, RingSection):
        return tuple(_camera(camera) for camera in section)
    rng = generator(seed, _STREAM)
    first = within(rng, section.azimuth_deg)
    target = np.array(section.target_mm)
    lens = section.lens
    cameras = []
    for number in range(section.count):
        jitter = section.azimuth_jitter_deg * rng.uniform(-1, 1)
        azimuth = np.radians(first + 360 * number / section.count + jitter)
        elevation = np.radians(within(rng, section.elevation_deg))
        away = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
        aim = target + section.aim_jitter_mm * rng.uniform(-1, 1, 3)
        fisheye = bool(rng.uniform() < lens.fisheye_share)
        distance_mm = within(rng, section.distance_mm)
        focal = within(rng, lens.fisheye_focal if fisheye else lens.focal) * section.size[0]
        if lens.extent_mm is not None:
            focal = section.size[0] * distance_mm / within(rng, lens.extent_mm)
        k1 = within(rng, lens.k1)
        small = rng.uniform(-1, 1, 2)
        center = (np.array(section.size) - 1) / 2 + lens.center_px * rng.uniform(-1, 1, 2)
        dist = (0.1 * k1, 0.02 * small[0], 0.0, 0.0) if fisheye else (k1, -k1 / 4, *(0.0005 * small), 0.0)
        cameras.append(
            _camera(
                CameraSection(
                    name=scenario.camera_names[number],
                    size=section.size,
                    position_mm=_triple(target + away * distance_mm),
                    target_mm=_triple(aim),
                    roll_deg=within(rng, section.roll_deg),
                    focal_px=focal,
                    center_px=(float(center[0]), float(center[1])),
                    dist=tuple(float(value) for value in dist),
                    fisheye=fisheye,
                )
            )
        )
    return tuple(cameras)


def _triple(value: np.ndarray) -> tuple[float, float, float]:
    return float(value[0]), float(value[1]), float(value[2])


def _camera(section: CameraSection) -> Camera:
    position, target = np.array(section.position_mm), np.array(section.target_mm)
    forward = target - position
    forward = forward / np.linalg.norm(forward)
    # Looking straight down, "up" of the picture is the world's y.
    up = np.array([0.0, 0.0, 1.0]) if abs(forward[2]) < 0.999 else np.array([0.0, 1.0, 0.0])
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    roll = np.radians(section.roll_deg)
    right, down = np.cos(roll) * right + np.sin(roll) * down, np.cos(roll) * down - np.sin(roll) * right
    R = np.stack([right, down, forward])
    width, height = section.size
    center = section.center_px or ((width - 1) / 2, (height - 1) / 2)
    K = np.array([[section.focal_px, 0, center[0]], [0, section.focal_px, center[1]], [0, 0, 1]])
    rvec = cv2.Rodrigues(R)[0].ravel()
    lens = "virtual fisheye" if section.fisheye else "virtual"
    return Camera(
        section.name, section.size, K, np.array(section.dist), rvec, -R @ position, section.fisheye, lens=lens
    )


class Optics:
    """One camera's projection, for drawing.

    Args:
        camera: The camera.

    Attributes:
        straight: Whether straight limbs may be drawn straight.
    """

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self.focal_px = float(camera.K[0, 0])
        self._K = np.array(camera.K)
        self._dist = np.array(camera.dist) if len(camera.dist) else np.zeros(4)
        self._zero = np.zeros(3)
        self._widest = self._limit()
        self.straight = self._is_straight()

    def see(self, points_mm: Float[np.ndarray, "P 3"]) -> Float[np.ndarray, "P 3"]:
        """Points of the world in the camera's frame."""
        return points_mm @ self.camera.R.T + self.camera.t

    def pixels(self, seen_mm: Float[np.ndarray, "P 3"]) -> tuple[Float[np.ndarray, "P 2"], Bool[np.ndarray, " P"]]:
        """Raw px of points in the camera's frame, and which of them the lens can show at all."""
        depth = seen_mm[:, 2]
        valid = depth > 1e-3
        radius = np.hypot(seen_mm[:, 0], seen_mm[:, 1])
        valid &= radius <= self._widest * np.abs(depth)
        safe = np.where(valid[:, None], seen_mm, (0.0, 0.0, 1.0))
        project = cv2.fisheye.projectPoints if self.camera.fisheye else cv2.projectPoints
        if self.camera.fisheye:
            px = project(safe[:, None], self._zero, self._zero, self._K, self._dist)[0]
        else:
            px = project(safe, self._zero, self._zero, self._K, self._dist)[0]
        return px.reshape(-1, 2), valid

    def radii(self, seen_mm: np.ndarray, px: np.ndarray, radius_mm: np.ndarray) -> np.ndarray:
        """How large balls at points look, px."""
        depth = np.linalg.norm(seen_mm, axis=-1) if self.camera.fisheye else seen_mm[:, 2]
        return self.focal_px * radius_mm / np.maximum(depth, 1e-3)

    def _limit(self) -> float:
        """The largest X/Z at which the lens model still goes outwards; beyond it points fold back."""
        if self.camera.fisheye:
            return float(np.tan(np.radians(85)))
        radius = np.linspace(0.0, 3.0, 301)[1:]
        bent = self._bend(np.stack([radius, np.zeros_like(radius)], axis=-1))[:, 0]
        back = np.flatnonzero(np.diff(bent) <= 0)
        return float(radius[back[0]]) if len(back) else 3.0

    def _bend(self, normalised: np.ndarray) -> np.ndarray:
        points = np.concatenate([normalised, np.ones((len(normalised), 1))], axis=-1)
        px = cv2.projectPoints(points, self._zero, self._zero, np.eye(3), self._dist)[0]
        return px.reshape(-1, 2)

    def _is_straight(self) -> bool:
        width, height = self.camera.size
        grid = np.stack(np.meshgrid(np.linspace(-0.5, 0.5, 5), np.linspace(-0.5, 0.5, 5)), axis=-1).reshape(-1, 2)
        middle = grid * (np.array([width, height]) / self.focal_px)
        steps = np.array([[1.0, 0.0], [0.0, 1.0], [0.7, 0.7]]) * _CHORD * width / self.focal_px / 2
        signs = np.array([-1.0, 0.0, 1.0])
        chords = middle[:, None, None] + steps[:, None] * signs[:, None]
        points = np.concatenate([chords, np.ones((*chords.shape[:-1], 1))], axis=-1)
        px = self.pixels(points.reshape(-1, 3))[0].reshape(chords.shape)
        along, beside = px[..., 2, :] - px[..., 0, :], px[..., 1, :] - px[..., 0, :]
        cross = np.abs(along[..., 0] * beside[..., 1] - along[..., 1] * beside[..., 0])
        return float((cross / np.maximum(np.linalg.norm(along, axis=-1), 1e-9)).max()) < _STRAIGHT_PX
