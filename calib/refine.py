"""New extrinsics from what a network saw of a subject, and whether anything that was not fitted agrees.

A network that is wrong about a view in the same way all the time looks like a camera that stands elsewhere. A smaller
residual of the keypoints that were fitted therefore proves nothing, and `refine` never says more than ``unverified``:
`confirm` compares both rigs by another network's keypoints, a board's corners or points of the scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from jaxtyping import Float

from calib.bundle import Adjusted, Free, adjust_points
from calib.camera import Camera
from calib.confirm import Confirmation, confirm
from calib.keypoints import Residuals, checked, count, lengths, measured, median, noise
from calib.quality import Finding
from calib.rig import Rig
from calib.robust import triangulate_robust
from calib.rotation import angle_deg
from calib.triangulate import residuals, triangulate
from rigpose.errors import ConfigError

__all__ = ["CameraMove", "Confirmation", "Refined", "Residuals", "confirm", "confirmed", "refine", "scale_ratio"]

Word = Literal["good", "suspect", "unverified", "bad"]

LEAST_GAIN = 0.02
"""Share by which the median residual must fall, else nothing was refined."""
_ROUNDS = 2
_TOLERANCE = 1e-7
_STEPS = 200
LEAST_KEYPOINTS = 50
"""Keypoints that two cameras or more must have seen at once."""
_GROSS = 4.0
_SCALE_OFF = 0.02
_HELD_OUT = 0.1


@dataclass(frozen=True, slots=True)
class CameraMove:
    """How a camera changed.

    Attributes:
        camera: Its name.
        moved_mm: How far.
        moved_deviation_mm: Of the new position; the errors of a joint count as one.
        turned_deg: How much.
        turned_deviation_deg: Of the new rotation.
    """

    camera: str
    moved_mm: float
    moved_deviation_mm: float
    turned_deg: float
    turned_deviation_deg: float


@dataclass(frozen=True, slots=True)
class Refined:
    """A refinement and what it did.

    Attributes:
        rig: The new one; its metadata names its parent and this verdict.
        before: Of the keypoints that were fitted, with the old rig.
        after: The same keypoints with the new rig.
        all_before: Of every keypoint that is worth anything, sure or not.
        all_after: The same with the new rig.
        held_out_before: Median px of each half of the time with the old rig.
        held_out_after: With rigs that were refined from the other half.
        scale_ratio: Median ratio of the distances between cameras, new over old.
        moves: Of each camera.
        min_confidence: What a keypoint needed.
        doubted: Share of the keypoints that the loss let count for less than half.
        verdict: ``unverified``; ``suspect`` where nothing was gained, ``bad`` where the old rig is better.
        findings: Reasons.
    """

    rig: Rig
    before: Residuals
    after: Residuals
    all_before: Residuals
    all_after: Residuals
    held_out_before: float
    held_out_after: float
    scale_ratio: float
    moves: tuple[CameraMove, ...]
    min_confidence: float
    doubted: float
    verdict: Word
    findings: tuple[Finding, ...]


def refine(
    rig: Rig,
    px: Float[np.ndarray, "V T J 2"],
    confidence: Float[np.ndarray, "V T J"],
    *,
    min_confidence: float | None = None,
    sigma_px: float | None = None,
) -> Refined:
    """Solve the extrinsics anew from keypoints; intrinsics, the scale and the place of the world stay.

    Args:
        rig: The old one, for the pictures that the keypoints were found in.
        px: Raw px; NaN = not seen.
        confidence: Of the network; 0 = not seen.
        min_confidence: Of keypoints to use; ``None`` = the surer half, for networks differ in what their numbers mean.
        sigma_px: Deviation of x and y of a keypoint; ``None`` = from the residuals.

    Raises:
        ConfigError: Fewer than two cameras, or fewer than 50 points that two cameras saw.
        ValueError: Shapes do not fit.
    """
    px, confidence = checked(rig, px, confidence)
    if len(rig) < 2:
        raise ConfigError("refine", "one camera alone cannot be refined", "give a rig of two or more")
    worth = confidence > 0
    if min_confidence is None:
        min_confidence = float(np.median(confidence[worth])) if worth.any() else 0.0
    # Half of that, so that what a network itself calls nothing is not measured either.
    every = np.where((worth & (confidence >= min_confidence / 2))[..., None], px, np.nan)
    sure = np.where((worth & (confidence >= min_confidence))[..., None], px, np.nan)
    adjusted = _solved(rig, sure, sigma_px)
    after = rig.with_cameras(adjusted.cameras)
    half = px.shape[1] // 2
    first, second = sure[:, :half], sure[:, half:]
    held_before, held_after = float("nan"), float("nan")
    if min(count(first), count(second)) >= LEAST_KEYPOINTS:
        swapped = [
            (rig.with_cameras(_solved(rig, a, sigma_px, 1).cameras), b) for a, b in ((first, second), (second, first))
        ]
        held_before = median([lengths(rig, other) for _, other in swapped])
        held_after = median([lengths(fitted, other) for fitted, other in swapped])
    ratio = scale_ratio(rig.cameras, after.cameras)
    medians = measured(rig, sure), measured(after, sure)
    seen = adjusted.weights > 0
    findings, verdict = _judged(rig, adjusted, medians, (held_before, held_after), ratio)
    metadata = {
        **{key: value for key, value in rig.metadata.items() if key not in ("calibration_id", "error")},
        "parent": rig.calibration_id,
        "made": "refined from keypoints",
        "verdict": verdict,
        "keypoint_residual_px": round(medians[1].median_px, 3),
    }
    return Refined(
        rig=Rig(after.cameras, metadata),
        before=medians[0],
        after=medians[1],
        all_before=measured(rig, every),
        all_after=measured(after, every),
        held_out_before=held_before,
        held_out_after=held_after,
        scale_ratio=ratio,
        moves=_moves(rig, adjusted),
        min_confidence=min_confidence,
        doubted=float((adjusted.weights[seen] < 0.5).mean()) if seen.any() else 0.0,
        verdict=verdict,
        findings=findings,
    )


def confirmed(refined: Refined, confirmations: Sequence[Confirmation]) -> Refined:
    """The refinement with the verdict that confirmations give it: good where one confirms and none refutes."""
    findings = list(refined.findings)
    words = {one.verdict for one in confirmations}
    verdict = refined.verdict
    for one in confirmations:
        level: Literal["note", "suspect"] = "suspect" if one.verdict == "refuted" else "note"
        findings.append(Finding(level, (), str(one), "what was not fitted says so"))
    if "refuted" in words:
        verdict = "bad" if verdict == "bad" else "suspect"
    elif "confirmed" in words and verdict == "unverified":
        verdict = "good"
        findings = [one for one in findings if one.what != _UNVERIFIED.what]
    metadata = {**refined.rig.metadata, "verdict": verdict, "confirmed_by": [str(one) for one in confirmations]}
    return replace(refined, rig=Rig(refined.rig.cameras, metadata), verdict=verdict, findings=tuple(findings))


def scale_ratio(before: Sequence[Camera], after: Sequence[Camera]) -> float:
    """Median ratio of the distances between cameras."""
    ratios = []
    for a, b in combinations(range(len(before)), 2):
        old = float(np.linalg.norm(before[a].center_mm - before[b].center_mm))
        if old > 0:
            ratios.append(float(np.linalg.norm(after[a].center_mm - after[b].center_mm)) / old)
    return float(np.median(ratios)) if ratios else float("nan")


_UNVERIFIED = Finding(
    "note",
    (),
    "only the keypoints that were fitted say so, and a network's bias in a view looks like a camera's",
    "confirm it with another network's keypoints, a board or points of the scene",
)


def _solved(rig: Rig, px: np.ndarray, sigma_px: float | None, rounds: int = _ROUNDS) -> Adjusted:
    """Extrinsics from keypoints, beginning again from the better points."""
    if count(px) < LEAST_KEYPOINTS:
        raise ConfigError(
            "refine",
            f"{count(px)} keypoints were seen by two cameras at once, at least {LEAST_KEYPOINTS} are needed",
            "record for longer, or lower the confidence asked for",
        )
    n_views, n_frames, n_joints = px.shape[:3]
    joints = np.tile(np.arange(n_joints), n_frames)
    frames = np.moveaxis(px, 0, 1)
    weight = np.isfinite(frames[..., 0]).astype(float)
    for number in range(rounds):
        arrays = rig.arrays()
        plain = triangulate(frames, weight, arrays)
        sigma = noise(rig, frames, weight) if number else median([residuals(frames, plain, arrays)])
        solution = triangulate_robust(frames, weight, arrays, sigma_px=sigma, gate=_GROSS)
        # Where views disagree too much for a verdict, the point of all of them is where to begin.
        points = np.where(solution.ok[..., None], solution.position_mm, plain)
        adjusted = adjust_points(
            rig.cameras,
            points.reshape(-1, 3),
            px.reshape(n_views, -1, 2),
            free=Free(),
            sigma_px=sigma_px,
            loss="cauchy",
            threshold=2.0,
            tolerance=_TOLERANCE,
            max_iterations=_STEPS,
            groups=joints,
        )
        rig = rig.with_cameras(adjusted.cameras)
    return adjusted


def _moves(rig: Rig, adjusted: Adjusted) -> tuple[CameraMove, ...]:
    moves = []
    for old, new, deviation in zip(rig.cameras, adjusted.cameras, adjusted.deviations, strict=True):
        moves.append(
            CameraMove(
                old.name,
                float(np.linalg.norm(new.center_mm - old.center_mm)),
                deviation.position_total_mm,
                float(angle_deg(new.R, old.R)),
                deviation.turn_total_deg,
            )
        )
    return tuple(moves)


def _judged(
    rig: Rig, adjusted: Adjusted, measured: tuple[Residuals, Residuals], held_out: tuple[float, float], ratio: float
) -> tuple[tuple[Finding, ...], Word]:
    findings = []
    before, after = measured[0].median_px, measured[1].median_px
    change = f"the median residual went from {before:.2f} to {after:.2f} px"
    verdict: Word = "unverified"
    unknown = tuple(one.camera for one in adjusted.deviations if not np.isfinite(one.position_total_mm))
    if unknown:
        findings.append(
            Finding("bad", unknown, "share too few keypoints with the others to be placed", "record for longer")
        )
    if not after <= (1 + LEAST_GAIN) * before:
        findings.append(Finding("bad", (), change, "keep the old rig"))
    elif after > (1 - LEAST_GAIN) * before:
        findings.append(Finding("suspect", (), change, "keep the old rig: there is nothing to refine"))
    if held_out[1] > held_out[0]:
        what = f"on the half of the time that was not fitted it went from {held_out[0]:.2f} to {held_out[1]:.2f} px"
        level: Literal["bad", "suspect"] = "bad" if held_out[1] > (1 + _HELD_OUT) * held_out[0] else "suspect"
        findings.append(Finding(level, (), what, "record for longer, with the subject in more places"))
    if abs(ratio - 1) > _SCALE_OFF:
        what = f"the distances between the cameras changed by {100 * abs(ratio - 1):.1f} % in the median"
        findings.append(Finding("suspect", (), what, "several cameras moved: calibrate with a board"))
    if not adjusted.converged:
        findings.append(Finding("suspect", (), "the adjustment had not ended", "record for longer"))
    levels = {one.level for one in findings}
    if "bad" in levels:
        verdict = "bad"
    elif "suspect" in levels:
        verdict = "suspect"
    return (*findings, _UNVERIFIED), verdict
