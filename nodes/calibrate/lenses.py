"""What the lenses of single cameras came to, as an outcome that a report can show."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import cv2
import numpy as np

from calib.intrinsics import MOST_VIEWS, Intrinsics, Model, solve_intrinsics
from calib.observations import BoardViews, choose, coverage, wishes
from calib.outcome import CameraOutcome, FrameOutcome, Grade, HeldOut, Outcome, Residuals, Spread, spread_of
from calib.quality import Finding
from calib.rig import Rig

LARGE = 1e-3
"""rms residual beyond which a lens is suspect, as a share of the picture's longer side: 1.3 px of 1280."""
WORSE = 1.5
"""How much worse views may fit that were left out."""
_NONE = Spread(0, float("nan"), float("nan"), float("nan"))
_ZERO = (0.0, 0.0, 0.0)


def solve_lenses(views: BoardViews, models: Mapping[str, Model]) -> Outcome:
    """Each camera's lens by itself; the outcome's rig holds cameras that were not placed.

    Args:
        views: Of all cameras; they need not have seen the board together.
        models: By camera.
    """
    begin = time.perf_counter()
    lenses = [solve_intrinsics(views.of([name]), models[name]) for name in views.names]
    seconds = time.perf_counter() - begin
    findings = [finding for lens in lenses for finding in _findings(views.of([lens.camera.name]), lens)]
    findings.sort(key=lambda finding: ("bad", "suspect", "note").index(finding.level))
    cameras = tuple(_camera(views, v, lens) for v, lens in enumerate(lenses))
    residual, used = _residuals(views, lenses)
    at = np.nonzero(np.isfinite(residual[..., 0]))
    columns = Residuals(at[0], views.frames[at[1]], at[2], views.px[at], residual[at], used[at])
    held = [lens.blocks_px[0] for lens in lenses if np.isfinite(lens.blocks_px[0])]
    held_px = float(np.sqrt(np.mean(np.square(held)))) if held else float("nan")
    return Outcome(
        Rig(tuple(lens.camera for lens in lenses), {"units": "mm", "purpose": "lenses", "board": views.board}),
        _grade(findings, lenses),
        tuple(findings),
        cameras,
        tuple(_frame(views, residual, used, f) for f in range(len(views.frames)) if used[:, f].any()),
        spread_of(residual, used),
        HeldOut(Spread(0, held_px, float("nan"), float("nan")), _NONE, 5 if held else 0, None),
        board=views.board,
        residuals=columns,
        seconds={"solve": seconds},
    )


def _grade(findings: list[Finding], lenses: list[Intrinsics]) -> Grade:
    levels = {finding.level for finding in findings}
    if "bad" in levels:
        return "bad"
    if "suspect" in levels:
        return "suspect"
    return "good" if all(np.isfinite(lens.blocks_px[0]) for lens in lenses) else "unverified"


def _findings(views: BoardViews, lens: Intrinsics) -> Iterator[Finding]:
    name = (lens.camera.name,)
    if lens.solution is None:
        yield Finding("bad", name, f"its lens cannot be found: {lens.views} usable views of the board", "film more")
        return
    spread = spread_of(lens.solution.residual_px, lens.solution.used)
    if not lens.focal_observable:
        yield Finding("suspect", name, lens.words, "bring the board nearer and further, and tilt it to all sides")
    if spread.rms_px > LARGE * max(lens.camera.size):
        what = f"residuals of {spread.rms_px:.2f} px are large for {lens.camera.size[0]}x{lens.camera.size[1]}"
        yield Finding("suspect", name, what, "is the board flat and sharp, and the lens model right (--model)?")
    if spread.rejected_share > 0.1:
        what = f"{100 * spread.rejected_share:.0f} % of the points do not fit"
        yield Finding("suspect", name, what, "is it the board that was printed? rigpose calibrate doctor")
    unseen, seen = lens.blocks_px
    if np.isfinite(unseen) and unseen > WORSE * seen:
        what = f"views that were left out fit worse: {unseen:.2f} against {seen:.2f} px"
        yield Finding("suspect", name, what, "show the board in more places and at more angles")
    elif not np.isfinite(unseen):
        yield Finding("note", name, f"{lens.views} views are too few to leave some out as a test", "film ten or more")
    for wish in wishes(views):
        what, _, remedy = wish.partition(": ")[2].partition("; ")
        yield Finding("note", name, what, remedy)


def _camera(views: BoardViews, v: int, lens: Intrinsics) -> CameraOutcome:
    name = lens.camera.name
    counts = coverage(views.of([name]))[0]
    solution = lens.solution
    spread = _NONE if solution is None else spread_of(solution.residual_px, solution.used)
    focal = lens.camera.K[[0, 1], [0, 1]] if solution is not None else np.full(2, np.nan)
    return CameraOutcome(
        name=name,
        views=lens.views,
        spread=spread,
        own_rms_px=spread.rms_px,
        held_out_rms_px=lens.blocks_px[0],
        predicted_rms_px=float("nan"),
        focal_px=(float(focal[0]), float(focal[1])),
        focal_deviation_px=lens.focal_deviation_px if solution is not None else (float("nan"), float("nan")),
        position_mm=_ZERO,
        position_deviation_mm=_ZERO,
        rotation_deviation_deg=_ZERO,
        covered=float((counts > 0).mean()),
        coverage=counts,
        distance_mm=_distances(views, lens),
        intrinsics=f"{lens.model}, from its own views",
        focal_observable=lens.focal_observable,
    )


def _distances(views: BoardViews, lens: Intrinsics) -> tuple[float, float]:
    """Nearest and furthest point of the board, along the camera's axis."""
    if lens.solution is None:
        return float("nan"), float("nan")
    poses = lens.solution.poses
    poses = poses[np.isfinite(poses).all(axis=-1)]
    depth = [(views.target_mm @ cv2.Rodrigues(pose[:3])[0].T + pose[3:])[:, 2] for pose in poses]
    return (float(np.min(depth)), float(np.max(depth))) if depth else (float("nan"), float("nan"))


def _residuals(views: BoardViews, lenses: list[Intrinsics]) -> tuple[np.ndarray, np.ndarray]:
    """(V, F, N, 2) and (V, F, N) over all moments; a lens was fitted to those that were chosen for it."""
    residual = np.full(views.px.shape, np.nan)
    used = np.zeros(views.px.shape[:-1], dtype=bool)
    for v, lens in enumerate(lenses):
        if lens.solution is not None:
            frames = choose(views.of([lens.camera.name]), MOST_VIEWS)
            residual[v, frames] = lens.solution.residual_px[0]
            used[v, frames] = lens.solution.used[0]
    residual[~np.isfinite(residual)] = np.nan
    return residual, used


def _frame(views: BoardViews, residual: np.ndarray, used: np.ndarray, f: int) -> FrameOutcome:
    rms = tuple(spread_of(residual[v, f], used[v, f]).rms_px for v in range(len(views.names)))
    return FrameOutcome(int(views.frames[f]), spread_of(residual[:, f], used[:, f]), rms)
