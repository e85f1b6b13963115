"""From a solved rig to its outcome: every figure that a report shows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from calib.bundle import Adjusted
from calib.bundle.parameters import EXTRINSICS
from calib.camera import Camera
from calib.held_out import held_out_of, rigidity_of, triangulated
from calib.observations import coverage
from calib.outcome import (
    CameraOutcome,
    FrameOutcome,
    Grade,
    HeldOut,
    Outcome,
    Residuals,
    Spread,
    Tape,
    spread_of,
)
from calib.quality import Finding
from calib.rig import Rig
from calib.sight import rotations
from calib.solved import Solved

_MOST_RESIDUALS = 20_000
_WORST_FIRST = ("bad", "suspect", "note")


def outcome_of(solved: Solved, verdict: Grade, findings: Sequence[Finding], seconds: dict[str, float]) -> Outcome:
    """The outcome of a rig that was solved."""
    views, solution = solved.views, solved.solution
    residual, used = _common(solved)
    held_out = held_out_of(solved.trial, views, used)
    rigidity = rigidity_of(triangulated(solution.cameras, views, used), views.target_mm)
    spread = spread_of(residual, used)
    placed = np.isfinite(residual[..., 0]).any(axis=(0, 2))
    return Outcome(
        rig=_rig(solved, verdict, spread, held_out),
        verdict=verdict,
        reasons=tuple(sorted(findings, key=lambda finding: _WORST_FIRST.index(finding.level))),
        cameras=tuple(_camera(solved, v, residual, used) for v in range(len(views.names))),
        frames=_frames(solved, residual, used),
        spread=spread,
        held_out=held_out,
        rigidity=rigidity,
        tape=tapes(solution.cameras, solution.adjusted),
        offsets=(solved.carried or solved.suspicions.late).offsets,
        shared=solved.graph.shared,
        missing=solved.graph.missing,
        board=views.board,
        board_poses=solution.poses[placed],
        residuals=_residuals(solved, residual, used),
        seconds=seconds,
    )


def _common(solved: Solved) -> tuple[np.ndarray, np.ndarray]:
    """Residuals and use at moments that at least two cameras see: what one sees alone fits whatever the rig is."""
    used = solved.solution.used
    seen = np.isfinite(solved.solution.residual_px[..., 0])
    common = (solved.views.usable & seen.any(axis=-1)).sum(axis=0) >= min(2, len(solved.views.names))
    residual = np.where((common[:, None] & seen)[..., None], solved.solution.residual_px, np.nan)
    # Views of too few points to place a board are no observations of it.
    residual = np.where(solved.views.usable[..., None, None], residual, np.nan)
    return residual, used & common[:, None]


def _rig(solved: Solved, verdict: Grade, spread: Spread, held_out: HeldOut | None) -> Rig:
    cameras = solved.solution.cameras
    quality: dict[str, object] = {
        "verdict": verdict,
        "rms_px": round(spread.rms_px, 4),
        "median_px": round(spread.median_px, 4),
        "rejected_share": round(spread.rejected_share, 4),
    }
    if held_out is not None and held_out.blocks:
        quality["held_out_rms_px"] = round(held_out.spread.rms_px, 4)
    metadata = {
        "units": "mm",
        "world": f"camera:{cameras[0].name}",
        "made_by": "rigpose calibrate",
        "board": solved.views.board,
        "quality": quality,
    }
    return Rig(cameras, metadata)


def _camera(solved: Solved, v: int, residual: np.ndarray, used: np.ndarray) -> CameraOutcome:
    views, solution, trial = solved.views, solved.solution, solved.trial
    camera = solution.cameras[v]
    deviation = solution.adjusted.deviation(camera.name)
    lens = solved.lenses.found[v]
    cells = coverage(views)[v]
    held = ahead = float("nan")
    if trial is not None:
        judged = used[v] & (trial.block >= 0)[:, None]
        held = spread_of(trial.residual_px[v], judged).rms_px
        ahead = spread_of(trial.predicted_px[v], judged & np.isfinite(trial.predicted_px[v, ..., 0])).rms_px
    focal_sure = (float(deviation.focal_px[0]), float(deviation.focal_px[1]))
    observable: bool | None = None
    how = "given"
    if lens is not None:
        how = "with the rig" if solved.joint and lens.solution is not None else "from its own views"
        if how != "with the rig":
            focal_sure = lens.focal_deviation_px
        observable = not any(
            finding.startswith("focal length not observable") for finding in _said_of(solved, camera.name)
        )
    return CameraOutcome(
        name=camera.name,
        views=int(used[v].any(axis=-1).sum()),
        spread=spread_of(residual[v], used[v]),
        own_rms_px=float(solved.poses.noise_px()[v] * np.sqrt(2)),
        held_out_rms_px=held,
        predicted_rms_px=ahead,
        focal_px=(float(camera.K[0, 0]), float(camera.K[1, 1])),
        focal_deviation_px=focal_sure,
        position_mm=_three(camera.center_mm),
        position_deviation_mm=_three(deviation.position_mm),
        rotation_deviation_deg=_three(deviation.turn_deg),
        covered=float((cells > 0).mean()),
        coverage=cells,
        distance_mm=distances_of(camera, solution.poses, views.target_mm, used[v]),
        intrinsics=how,
        focal_observable=observable,
    )


def _said_of(solved: Solved, name: str) -> list[str]:
    from calib.findings import of_lenses

    return [finding.what for finding in of_lenses(solved) if name in finding.cameras]


def _three(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def distances_of(camera: Camera, poses: np.ndarray, target_mm: np.ndarray, used: np.ndarray) -> tuple[float, float]:
    """Nearest and furthest point of the board that a camera saw, along its axis, mm; NaN = none."""
    frames = np.flatnonzero(np.isfinite(poses).all(axis=-1) & used.any(axis=-1))
    if not len(frames):
        return float("nan"), float("nan")
    world = target_mm @ np.swapaxes(rotations(poses[frames, :3]), -1, -2) + poses[frames, None, 3:]
    depth = (world @ camera.R.T + camera.t)[..., 2][used[frames]]
    return float(depth.min()), float(depth.max())


def _frames(solved: Solved, residual: np.ndarray, used: np.ndarray) -> tuple[FrameOutcome, ...]:
    length2 = np.where(used, (residual**2).sum(axis=-1), np.nan)
    count = used.sum(axis=-1)
    with np.errstate(all="ignore"):
        rms = np.sqrt(np.nansum(length2, axis=-1) / count)
    placed = np.isfinite(residual[..., 0]).any(axis=(0, 2))
    return tuple(
        FrameOutcome(
            int(solved.views.frames[f]),
            spread_of(residual[:, f], used[:, f]),
            tuple(float(value) if count[v, f] else float("nan") for v, value in enumerate(rms[:, f])),
        )
        for f in np.flatnonzero(placed)
    )


def _residuals(solved: Solved, residual: np.ndarray, used: np.ndarray) -> Residuals:
    v, f, n = np.nonzero(np.isfinite(residual[..., 0]))
    if len(v) > _MOST_RESIDUALS:
        some = np.sort(np.random.default_rng(0).choice(len(v), _MOST_RESIDUALS, replace=False))
        v, f, n = v[some], f[some], n[some]
    return Residuals(
        camera=v, frame=solved.views.frames[f], point=n, px=solved.views.px[v, f, n],
        residual_px=residual[v, f, n], used=used[v, f, n],
    )  # fmt: skip


def tapes(cameras: Sequence[Camera], adjusted: Adjusted) -> tuple[Tape, ...]:
    """Two distances between cameras: the longest, and the longest that shares no camera with it (or one)."""
    pairs = sorted(
        combinations(range(len(cameras)), 2),
        key=lambda pair: -float(np.linalg.norm(cameras[pair[0]].center_mm - cameras[pair[1]].center_mm)),
    )
    if not pairs:
        return ()
    first = pairs[0]
    rest = [pair for pair in pairs[1:] if not set(pair) & set(first)] or pairs[1:]
    return tuple(_tape(cameras, adjusted, pair) for pair in [first, *rest[:1]])


def _tape(cameras: Sequence[Camera], adjusted: Adjusted, pair: tuple[int, int]) -> Tape:
    a, b = (cameras[index] for index in pair)
    between = a.center_mm - b.center_mm
    length = float(np.linalg.norm(between))
    along = between / max(length, 1e-12)
    slope = np.zeros(len(adjusted.covariance))
    for row, (name, label) in enumerate(adjusted.labels):
        if label in EXTRINSICS[3:] and name in (a.name, b.name):
            camera, sign = (a, 1.0) if name == a.name else (b, -1.0)
            # Shifts are along the camera's own axes.
            slope[row] = sign * float(camera.R[EXTRINSICS.index(label) - 3] @ along)
    variance = float(slope @ np.nan_to_num(adjusted.covariance, nan=0.0, posinf=1e12) @ slope) if len(slope) else 0.0
    return Tape((a.name, b.name), length, float(np.sqrt(max(variance, 0.0))))
