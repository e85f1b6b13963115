"""Outcomes whose numbers follow from a scene that is known."""

from __future__ import annotations

import numpy as np

from benchmarks._rigs import board_scene
from calib.boards import Board, read_board
from calib.observations import BoardViews, coverage
from calib.outcome import (
    CameraOutcome,
    FrameOutcome,
    Grade,
    HeldOut,
    Offset,
    Outcome,
    Residuals,
    Rigidity,
    Spread,
    Tape,
    spread_of,
)
from calib.quality import Finding
from calib.rig import Rig

BOARD = "chessboard:7x5:55"


def board() -> Board:
    return read_board(BOARD)


def outcome(
    n_cameras: int = 3, verdict: Grade = "suspect", reasons: tuple[Finding, ...] = (), seed: int = 1
) -> Outcome:
    """What a calibration that finds the truth would say, with 10 % outliers rejected."""
    scene = board_scene(seed, n_cameras, 40)
    frames = np.arange(scene.px.shape[1]) * 23
    sizes = tuple(camera.size for camera in scene.rig.cameras)
    views = BoardViews(board().points_mm, scene.rig.names, sizes, frames, scene.px, BOARD)
    residual = scene.px - scene.clean_px
    used = ~scene.outlier & np.isfinite(residual[..., 0])
    maps = coverage(views)
    cameras = []
    for v, camera in enumerate(scene.rig.cameras):
        first = v == 0
        cameras.append(
            CameraOutcome(
                camera.name,
                int(views.usable[v].sum()),
                spread_of(residual[v], used[v]),
                0.28,
                0.31,
                0.45,
                (float(camera.K[0, 0]), float(camera.K[1, 1])),
                (1.2, 1.3),
                tuple(camera.center_mm),
                (0.0, 0.0, 0.0) if first else (1.2, 0.8, 2.1),
                (0.0, 0.0, 0.0) if first else (0.02, 0.03, 0.01),
                float((maps[v] > 0).mean()),
                maps[v],
                (900.0, 1800.0),
                "with the rig",
                not first,
            )  # fmt: skip
        )
    moments = []
    for f, frame in enumerate(frames):
        rms = [
            np.sqrt((residual[v, f][used[v, f]] ** 2).sum(-1).mean()) if used[v, f].any() else np.nan
            for v in range(n_cameras)
        ]
        moments.append(FrameOutcome(int(frame), spread_of(residual[:, f], used[:, f]), tuple(map(float, rms))))
    at = np.nonzero(np.isfinite(residual[..., 0]))
    residuals = Residuals(at[0], frames[at[1]], at[2], scene.px[at], residual[at], used[at])
    usable = views.usable.astype(int)
    every = spread_of(residual, used)
    names = scene.rig.names
    return Outcome(
        Rig(scene.rig.cameras, {"units": "mm", "world": f"camera:{names[0]}"}),
        verdict, reasons, tuple(cameras), tuple(moments), every,
        HeldOut(Spread(900, 0.444, 0.3, 0.8), Spread(900, 0.555, 0.4, 0.9), 5, None),
        Rigidity(0.81, 0.5, 0.0041, 0.0002, 12_000),
        (Tape((names[0], names[-1]), 1812.3, 1.2),), (Offset(names[1], 0.02, 0.05),), usable @ usable.T,
        (), BOARD, scene.poses, residuals, {"solve": 0.31},
    )  # fmt: skip
