"""What views of a board say about a rig: lenses, places, scale and handedness.

A board knows its own shape, so more can be told than from points alone: each lens by itself (a flat board must
look flat), two cameras without a third, and whether a millimetre of the rig is one of the board.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float

from calib.bundle import Free
from calib.camera import relative_pose
from calib.correction import Correction
from calib.evidence import Evidence, evidence
from calib.evidence_findings import matters, moved_findings, picture_scale
from calib.initial import start
from calib.medians import robust_deviation
from calib.mirrored import mirrored_findings
from calib.observations import BoardViews
from calib.quality import Finding, Level
from calib.rig import Rig
from calib.rotation import angle_deg
from calib.sight import BoardPoses, board_poses, sight_of
from calib.solution import solve
from calib.triangulate import triangulate
from rigpose.errors import ConfigError

_LENS_PX = (1.5, 5.0)
_SCALE = (0.02, 0.2)
"""Suspect and bad beyond: the rig's millimetre against the board's. Paper and rulers are good for a percent."""
_UNITS = (10.0, 100.0, 1000.0)


def board_evidence(rig: Rig, views: BoardViews) -> Evidence:
    """Hold a rig against views of a board.

    Args:
        rig: Its cameras are looked up by name.
        views: What they saw; cameras that the rig lacks are left out.

    Raises:
        ConfigError: No camera of the rig is among them.
    """
    names = [name for name in rig.names if name in views.names]
    if not names:
        there, known = ", ".join(views.names), ", ".join(rig.names)
        raise ConfigError("board views", f"are of cameras {there}, the rig has {known}", "name the cameras alike")
    part, views = rig.select(names), views.of(names)
    sight = sight_of(views, part.cameras)
    poses = board_poses(sight, views.target_mm, views.usable)
    findings = [*_lenses(part, poses)]
    # What a view's own points contradict is a wrong corner, whatever the rig is.
    px = np.where((poses.kept | ~poses.known[..., None])[..., None], views.px, np.nan)
    flat = px.reshape(len(part), -1, 2)
    found = evidence(part, flat, kind="board")
    if len(part) == 2 and found.points:
        pair = _pair(part, views)
        if pair is not None:
            scale = np.array([picture_scale(camera) for camera in part.cameras])
            told = [*moved_findings(part, (pair,), scale, "board", {})] if matters(pair, scale[1], "board") else []
            rest = [f for f in found.findings if f.level == "note" or not told]
            if told:
                told = [replace(told[0], cameras=part.names, what=_either(told[0].what, part.names))]
            found = replace(found, corrections=(pair,) if told else (), findings=(*rest, *told))
    points = triangulate(flat, np.isfinite(flat[..., 0]).astype(float), part.arrays())
    points = points.reshape(*views.px.shape[1:3], 3)
    ratio, deviation = board_scale(points, views.target_mm)
    if ratio is not None and deviation is not None and not found.corrections:
        findings += [*_scale(ratio, deviation)]
    findings += [*_handedness(part, views, points)]
    told_of = {name for finding in found.findings if finding.level != "note" for name in finding.cameras}
    accused = [name for name in part.names if name in told_of]
    levels = {finding.level for finding in found.findings}
    level: Level = "bad" if "bad" in levels else "suspect"
    findings += [*mirrored_findings(part, sight, poses, views.target_mm, accused, views.frames, level)]
    return replace(found, findings=(*found.findings, *findings), scale=ratio, scale_deviation=deviation)


def _either(what: str, names: tuple[str, ...]) -> str:
    first, second = names
    return what.replace(
        "does not agree with the other cameras about the board: it would",
        f"do not agree about the board: {second} (or {first}, the other way) would",
    )


def _lenses(rig: Rig, poses: BoardPoses) -> Iterator[Finding]:
    for v, noise in enumerate(poses.noise_px()):
        camera = rig.cameras[v]
        if not np.isfinite(noise):
            continue
        size = picture_scale(camera)
        kept = float(poses.kept[v][poses.known[v]].mean()) if poses.known[v].any() else 1.0
        if noise > _LENS_PX[0] * size:
            level: Level = "bad" if noise > _LENS_PX[1] * size else "suspect"
            what = f"its lens does not make the board flat: {noise:.1f} px are left in its own views alone"
            yield Finding(level, (camera.name,), what, "calibrate its intrinsics; is the picture size the same?")
        elif kept < 0.05:
            yield Finding("note", (camera.name,), "has hardly a board view that can be placed", "film the board nearer")


def _pair(rig: Rig, views: BoardViews) -> Correction | None:
    """Of two cameras, where the second one is seen to stand from the first, against where the rig has it."""
    sight = sight_of(views, rig.cameras)
    poses = board_poses(sight, views.target_mm, views.usable)
    begin, _, _ = start(sight, poses, views.target_mm, rig.names)
    if begin is None:
        return None
    solution = solve(views, begin.cameras(rig.cameras), begin.poses, Free(), poses.kept)
    first, second = rig.cameras
    a, b = solution.cameras
    # Both in the frame of the first camera.
    R, t = relative_pose(first, second)
    R_seen, t_seen = relative_pose(a, b)
    turned = float(angle_deg(R_seen, R))
    moved = float(np.linalg.norm(R.T @ t - R_seen.T @ t_seen))
    deviation = solution.adjusted.deviation(second.name)
    world = np.full((len(solution.poses), len(views.target_mm), 3), np.nan)
    for f in np.flatnonzero(np.isfinite(solution.poses).all(axis=1)):
        rotation = cv2.Rodrigues(solution.poses[f, :3])[0]
        world[f] = (views.target_mm @ rotation.T + solution.poses[f, 3:]) @ a.R.T + a.t
    seen = solution.used[1] & np.isfinite(world[..., 0])
    if seen.sum() < 12:
        return None
    asked = replace(second, rvec=cv2.Rodrigues(R)[0].ravel(), t=t).project(world[seen])
    truly = replace(second, rvec=cv2.Rodrigues(R_seen)[0].ravel(), t=t_seen).project(world[seen])
    shift = np.linalg.norm(asked - truly, axis=-1)
    shift_px = float(np.median(np.where(np.isfinite(shift), shift, 1e4)))
    before = np.linalg.norm(asked - views.px[1][seen], axis=-1)
    return Correction(
        second.name,
        turned,
        deviation.turn_total_deg,
        moved,
        deviation.position_total_mm,
        shift_px,
        solution.sigma_px / float(np.sqrt(seen.sum())) * float(np.sqrt(6)),
        float(np.median(np.where(np.isfinite(before), before, 1e4))),
        solution.rms_px,
    )


def board_scale(
    points_mm: Float[np.ndarray, "F N 3"], target_mm: Float[np.ndarray, "N 3"]
) -> tuple[float | None, float | None]:
    """Distances between the board's points in a rig over the true ones, and the deviation of that; from medians.

    Long distances tell most: of each moment the pairs at least half as long as its longest.
    """
    ratios = []
    for points in points_mm:
        known = np.flatnonzero(np.isfinite(points).all(axis=-1))
        if len(known) < 4:
            continue
        true = np.linalg.norm(target_mm[known][:, None] - target_mm[known], axis=-1)
        seen = np.linalg.norm(points[known][:, None] - points[known], axis=-1)
        long = np.triu(true >= 0.5 * true.max(), 1)
        ratios.append(float(np.median(seen[long] / true[long])))
    if len(ratios) < 3:
        return None, None
    spread = float(robust_deviation(np.array(ratios)))
    return float(np.median(ratios)), 1.25 * spread / float(np.sqrt(len(ratios)))


def _scale(ratio: float, deviation: float) -> Iterator[Finding]:
    off = max(ratio, 1 / ratio) - 1
    if off < _SCALE[0] or abs(ratio - 1) < 4 * deviation:
        return
    level: Level = "bad" if off > _SCALE[1] else "suspect"
    for factor in _UNITS:
        if abs(off + 1 - factor) < 0.1 * factor:
            size = "larger" if ratio > 1 else "smaller"
            what = f"the board is {factor:g} times {size} in this rig than it is: the units are wrong"
            yield Finding(
                "bad", (), what, "read the rig with --units mm|cm|m as it was calibrated; is the square in mm?"
            )
            return
    size = "too large" if ratio > 1 else "too small"
    what = f"the board is {100 * abs(ratio - 1):.1f} +- {100 * deviation:.1f} % {size} in this rig"
    yield Finding(
        level, (), what, "measure a square and a distance of two cameras; the square size or the scale is off"
    )


def _handedness(rig: Rig, views: BoardViews, points_mm: Float[np.ndarray, "F N 3"]) -> Iterator[Finding]:
    """A print is seen from its front: a board that shows its back was mirrored, or so was the rig."""
    back = {name: [0, 0] for name in rig.names}
    for f, points in enumerate(points_mm):
        known = np.isfinite(points).all(axis=-1)
        if known.sum() < 4:
            continue
        flat = np.column_stack([views.target_mm[known, :2], np.ones(known.sum())])
        axes, _, rank, _ = np.linalg.lstsq(flat, points[known], rcond=None)
        if rank < 3:
            continue
        into = np.cross(axes[0], axes[1])
        for v, camera in enumerate(rig.cameras):
            if views.seen[v, f].sum() < 4:
                continue
            sight = axes[2] - camera.center_mm
            cosine = float(into @ sight) / max(float(np.linalg.norm(into) * np.linalg.norm(sight)), 1e-12)
            back[camera.name][0] += cosine < -0.1
            back[camera.name][1] += abs(cosine) > 0.1
    wrong = tuple(name for name, (behind, n) in back.items() if n >= 3 and behind > 0.8 * n)
    if wrong:
        what = "see the board from its back: the pictures are mirrored, or the rig is (a mirrored planar pose)"
        remedy = "look at a picture: can its text be read? rigpose calibrate doctor; then calibrate again"
        yield Finding("bad", wrong, what if len(wrong) > 1 else what.replace("see", "sees", 1), remedy)
