"""A ChArUco board filmed by cameras that are known exactly: pictures drawn by OpenCV alone, not by our code."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from calib.boards import Board, read_board
from calib.camera import Camera
from calib.rig import Rig

BOARD = "charuco:7x5:60:45:4X4_250"
SIZE = (640, 480)
FOCAL_PX = 620.0
REACH_MM = 1100.0
_PX_PER_MM = 2.0
_MARGIN_MM = 12.0
_FINE = 2


def board() -> Board:
    return read_board(BOARD)


def rig(n: int = 3, size: tuple[int, int] = SIZE) -> Rig:
    """Cameras on an arc, 35 degrees apart, that look at the origin; y is down, like the first one's."""
    cameras = []
    for index in range(n):
        angle = np.radians(35 * (index - (n - 1) / 2))
        center = REACH_MM * np.array([np.sin(angle), -0.15 * (index % 2), -np.cos(angle)])
        forward = -center / np.linalg.norm(center)
        right = np.cross([0.0, 1.0, 0.0], forward)
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        K = np.array([[FOCAL_PX, 0, (size[0] - 1) / 2], [0, FOCAL_PX, (size[1] - 1) / 2], [0, 0, 1.0]])
        rvec = cv2.Rodrigues(rotation)[0].ravel()
        cameras.append(Camera(f"cam{index + 1}", size, K, np.zeros(5), rvec, -rotation @ center))
    return Rig(tuple(cameras), {"units": "mm"})


def poses(n: int, seed: int = 0) -> np.ndarray:
    """(n, 6) rvec and t of the board, moved through the view on a smooth way, tilted to all sides."""
    rng = np.random.default_rng(seed)
    middle = board().points_mm.mean(axis=0)
    s = np.linspace(0, 2 * np.pi, n, endpoint=False)
    found = []
    for k, a in enumerate(s):
        tilt = np.array([0.55 * np.sin(3 * a), 0.6 * np.sin(2 * a + 1), 0.3 * np.sin(5 * a)])
        rotation = cv2.Rodrigues(tilt)[0]
        at = np.array([190 * np.sin(2 * a), 130 * np.sin(3 * a + 0.5), 260 * np.cos(a + 0.3 * (k % 2))])
        at += rng.normal(0, 8, 3)
        found.append(np.concatenate([tilt, at - rotation @ middle]))
    return np.array(found)


def _print() -> np.ndarray:
    one = board()
    drawn = cv2.aruco.CharucoBoard(
        (one.columns, one.rows), one.square_mm, one.marker_mm, cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_250)
    ).generateImage((round(one.columns * one.square_mm * _PX_PER_MM), round(one.rows * one.square_mm * _PX_PER_MM)))
    margin = round(_MARGIN_MM * _PX_PER_MM)
    return cv2.copyMakeBorder(drawn, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=255)


def picture(camera: Camera, pose: np.ndarray, paper: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a camera without distortion sees of the board: (H, W) grey."""
    one = board()
    rotation = cv2.Rodrigues(pose[:3])[0]
    # From px of the print over mm of the board (its origin is the first inner corner) to px of the picture.
    to_mm = np.array([[1 / _PX_PER_MM, 0, 0.5 / _PX_PER_MM], [0, 1 / _PX_PER_MM, 0.5 / _PX_PER_MM], [0, 0, 1]])
    shift = np.eye(3)
    shift[:2, 2] = -(one.square_mm + _MARGIN_MM)
    Rt = np.concatenate([camera.R @ rotation, (camera.R @ pose[3:] + camera.t)[:, None]], axis=1)
    fine = np.array([[_FINE, 0, (_FINE - 1) / 2], [0, _FINE, (_FINE - 1) / 2], [0, 0, 1.0]])
    H = fine @ camera.K @ Rt[:, [0, 1, 3]] @ shift @ to_mm
    w, h = camera.size
    image = cv2.warpPerspective(paper, H, (w * _FINE, h * _FINE), flags=cv2.INTER_AREA, borderValue=105)
    image = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA).astype(np.float32)
    image = cv2.GaussianBlur(image, (0, 0), 0.6) * 0.8 + 20 + rng.normal(0, 2, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def film(folder: Path, cameras: Rig, moments: np.ndarray, suffix: str = ".png") -> Path:
    """One sub-folder a camera, one image a moment."""
    paper = _print()
    for v, camera in enumerate(cameras.cameras):
        place = folder / camera.name
        place.mkdir(parents=True)
        for f, pose in enumerate(moments):
            rng = np.random.default_rng([v, f])
            cv2.imwrite(str(place / f"{f:04d}{suffix}"), picture(camera, pose, paper, rng))
    return folder
