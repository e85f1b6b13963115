"""Pictures of boards that were never filmed: exact geometry, a lens, blur and noise."""

from __future__ import annotations

import cv2
import numpy as np

from calib.boards import Board
from calib.camera import Camera
from calib.pattern import board_to_picture, draw

SUPER = 2
"""Samples a pixel along each side; their mean is what a sensor's pixel sees."""


def camera(
    size: tuple[int, int] = (800, 600), f: float = 750.0, dist: tuple[float, ...] = (), fisheye: bool = False
) -> Camera:
    K = np.array([[f, 0, size[0] / 2 - 3.3], [0, f, size[1] / 2 + 2.1], [0, 0, 1]])
    return Camera("cam", size, K, np.array(dist), np.zeros(3), np.zeros(3), fisheye=fisheye)


def pose(board: Board, *, away: float = 2.6, turn_deg: tuple[float, float, float] = (20, -25, 8)) -> np.ndarray:
    """(6,) rvec and t of a board whose middle is in front of the camera, ``away`` of its own widths away."""
    matrix = np.eye(3)
    for axis, angle in zip(np.eye(3), np.radians(turn_deg), strict=True):
        matrix = cv2.Rodrigues(axis * angle)[0] @ matrix
    middle = np.append(board.outline_mm.mean(axis=0), 0)
    t = np.array([0, 0, away * max(board.size_mm)]) - matrix @ middle
    return np.append(cv2.Rodrigues(matrix)[0].ravel(), t)


def truth(board: Board, view: Camera, at: np.ndarray) -> np.ndarray:
    """(N, 2) where the board's points are in the picture."""
    return view.project(board.points_mm @ cv2.Rodrigues(at[:3])[0].T + at[3:])


def picture(
    board: Board,
    view: Camera,
    at: np.ndarray,
    *,
    blur_px: float = 0.7,
    noise: float = 2.0,
    black: float = 40,
    white: float = 210,
    seed: int = 0,
) -> np.ndarray:
    """The board before a grey wall, uint8 (H, W)."""
    width, height = view.size
    # The lens is smooth, so its rays are taken on a coarse grid and interpolated.
    step = 8
    x, y = np.arange(-step, width + 2 * step, step), np.arange(-step, height + 2 * step, step)
    rays = view.undistort(np.stack(np.meshgrid(x, y), axis=-1).astype(float))
    fine_x = (np.arange(width * SUPER) + 0.5) / SUPER - 0.5
    fine_y = (np.arange(height * SUPER) + 0.5) / SUPER - 0.5
    map_x, map_y = np.meshgrid((fine_x + step) / step, (fine_y + step) / step)
    rays = cv2.remap(rays.astype(np.float32), map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR)
    R = cv2.Rodrigues(at[:3])[0]
    # A ray meets the board's plane where n . (s d) = n . t, with n = the board's z axis.
    R32, t32 = R.astype(np.float32), at[3:].astype(np.float32)
    direction = np.concatenate([rays, np.ones_like(rays[..., :1])], axis=-1)
    scale = (R32[:, 2] @ t32) / (direction @ R32[:, 2])
    places = (direction * scale[..., None] - t32) @ R32[:, :2]
    px_per_mm = 24 / board.square_mm * (2 if board.kind == "aprilgrid" else 1)
    texture = draw(board, px_per_mm)
    matrix = board_to_picture(board, px_per_mm)
    on_texture = places * np.float32(px_per_mm) + matrix[:2, 2].astype(np.float32)
    wall = 140 if not board.inverted else 110
    shown = cv2.remap(
        texture.astype(np.float32) / 255 * (white - black) + black,
        on_texture[..., 0],
        on_texture[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=wall,
    )
    shown[~np.isfinite(on_texture).all(axis=-1) | (scale <= 0)] = wall
    seen = cv2.resize(shown, view.size, interpolation=cv2.INTER_AREA)
    if blur_px:
        seen = cv2.GaussianBlur(seen, (0, 0), blur_px)
    seen = seen + np.random.default_rng(seed).normal(0, noise, seen.shape)
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8)
