"""Rigs that do not exist: how true the stated deviations are, over many seeds.

2 to 12 cameras, pinhole, fisheye or both, 0.3 px noise, a tenth of the points gross outliers, missing views.
"""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np

from benchmarks._rigs import BoardScene, board_scene
from calib.boards import Board
from calib.camera import Camera
from calib.intrinsics import Model
from calib.observations import BoardViews
from calib.outcome import Outcome
from calib.solve_rig import Options, calibrate

CRASHED = "crashed"
"""In place of a verdict: a defect."""
KINDS: tuple[bool | Literal["mixed"], ...] = (False, True, "mixed")


def shape_of(seed: int) -> tuple[int, bool | Literal["mixed"]]:
    """Number of cameras, 2 to 12, and their kind: 33 seeds go through all."""
    return 2 + seed % 11, KINDS[seed % 3]


def scene_of(seed: int, **changes: Any) -> BoardScene:
    """The seed's scene."""
    n_cameras, fisheye = shape_of(seed)
    return board_scene(seed, n_cameras, **{"fisheye": fisheye, **changes})


def board_of(scene: BoardScene) -> Board:
    """What was shown: the inner corners of a chessboard."""
    rows = len(scene.target_mm) // scene.columns
    return Board(kind="chessboard", columns=scene.columns, rows=rows, square_mm=float(scene.target_mm[1, 0]))


def views_of_scene(scene: BoardScene, px: np.ndarray | None = None) -> BoardViews:
    """What a detector would hand over."""
    rig = scene.rig
    sizes = tuple(camera.size for camera in rig.cameras)
    px = scene.px if px is None else px
    return BoardViews(scene.target_mm, rig.names, sizes, scene.frames, px, board_of(scene).name)


def lenses_of(cameras: Iterable[Camera]) -> tuple[Camera, ...]:
    """The cameras without their places: intrinsics that were calibrated apart."""
    return tuple(replace(camera, rvec=np.zeros(3), t=np.zeros(3)) for camera in cameras)


def models_of(cameras: Iterable[Camera]) -> dict[str, Model]:
    """The kind of lens of each camera, which a user knows."""
    return {camera.name: "fisheye" if camera.fisheye else "pinhole5" for camera in cameras}


def solve(scene: BoardScene, *, given: bool, px: np.ndarray | None = None, cameras: Any = None) -> Outcome:
    """Calibrate a scene, with its true lenses (or ``cameras``) given, or from scratch."""
    views = views_of_scene(scene, px)
    cameras = scene.rig.cameras if cameras is None else cameras
    if given:
        return calibrate(views, lenses_of(cameras))
    return calibrate(views, options=Options(models=models_of(cameras)))


@dataclass(frozen=True, eq=False)
class Errors:
    """Errors of one solution over their stated deviations.

    Attributes:
        seed: Of the scene.
        verdict: Of the outcome.
        position, turn, focal: z-values of all that has a deviation: positions along the axes of the world, rotations
            about the camera's axes, focal lengths.
        worst_mm: Largest error of a position.
        seconds: Of the solution.
    """

    seed: int
    verdict: str
    position: np.ndarray
    turn: np.ndarray
    focal: np.ndarray
    worst_mm: float
    seconds: float


def errors_of(seed: int, *, given: bool) -> Errors:
    """Solve a seed's scene and hold it against the truth."""
    scene = scene_of(seed)
    empty = np.zeros(0)
    try:
        outcome = solve(scene, given=given)
    except Exception:  # a defect, which must not take the other seeds' answers with it
        traceback.print_exc()
        return Errors(seed, CRASHED, empty, empty, empty, np.inf, np.nan)
    seconds = float(outcome.seconds.get("solve", np.nan))
    if outcome.rig is None:
        return Errors(seed, outcome.verdict, empty, empty, empty, np.inf, seconds)
    true = in_first_frame(scene.rig.cameras)
    position, turn, focal, worst = [], [], [], 0.0
    for camera, truth, said in zip(outcome.rig.cameras, true, outcome.cameras, strict=True):
        off_mm = camera.center_mm - truth.center_mm
        off_deg = np.degrees(cv2.Rodrigues(camera.R @ truth.R.T)[0].ravel())
        off_px = camera.K[[0, 1], [0, 1]] - truth.K[[0, 1], [0, 1]]
        position.append(_over(off_mm, said.position_deviation_mm))
        turn.append(_over(off_deg, said.rotation_deviation_deg))
        focal.append(_over(off_px, said.focal_deviation_px))
        worst = max(worst, float(np.linalg.norm(off_mm)))
    z = [np.concatenate(part) for part in (position, turn, focal)]
    return Errors(seed, outcome.verdict, z[0], z[1], z[2], worst, seconds)


def _over(error: np.ndarray, deviation: Any) -> np.ndarray:
    deviation = np.asarray(deviation, dtype=np.float64)
    return np.asarray(error)[deviation > 0] / deviation[deviation > 0]


def in_first_frame(cameras: Iterable[Camera]) -> tuple[Camera, ...]:
    """The cameras in the frame of the first."""
    cameras = tuple(cameras)
    R0, t0 = cameras[0].R, cameras[0].t
    moved = []
    for camera in cameras:
        R = camera.R @ R0.T
        moved.append(replace(camera, rvec=cv2.Rodrigues(R)[0].ravel(), t=camera.t - R @ t0))
    return tuple(moved)


def over_seeds(work: Callable[[int], Any], seeds: Iterable[int], workers: int = 1) -> list[Any]:
    """The work of every seed, in processes of their own where several are asked for."""
    seeds = list(seeds)
    if workers <= 1:
        return [work(seed) for seed in seeds]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(work, seeds))
