"""The judge of a rig file with everything at hand: the rig itself, and what was seen with it.

`calib.quality.judge` needs nothing but the rig; here come the sizes and lengths of recordings, views of a board,
keypoints, and the time between cameras.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from calib.board_evidence import board_evidence
from calib.evidence import Evidence, evidence
from calib.observations import BoardViews
from calib.quality import Finding, Verdict, below_floor, judge, verdict_of
from calib.rig import Rig
from calib.timing import Timing, frame_counts
from calib.timing_rays import ray_offsets
from rigpose.errors import ConfigError

_ORTHOGONAL = 2e-3


@dataclass(frozen=True, eq=False)
class Keypoints:
    """What a network saw, for `check`.

    Attributes:
        px: (V, T, J, 2) raw px in the order of the rig; NaN = not seen.
        confidence: (V, T, J).
        time_s: (T,) or (V, T) when; ``None`` = not known, so no time offset is looked for.
        least: Confidence below which a point does not count.
    """

    px: Float[np.ndarray, "V T J 2"]
    confidence: Float[np.ndarray, "V T J"]
    time_s: np.ndarray | None = None
    least: float = 0.3


@dataclass(frozen=True, slots=True)
class Check:
    """What `check` says.

    Attributes:
        rig: That was judged.
        verdict: With all findings, the worst first.
        evidence: Of the board and of the keypoints, where they were given.
        timing: Between cameras, where something moved in known frames.
    """

    rig: Rig
    verdict: Verdict
    evidence: tuple[Evidence, ...] = ()
    timing: tuple[Timing, ...] = ()

    def document(self) -> dict[str, Any]:
        """As plain values, for JSON."""

        def number(value: float | None) -> float | None:
            return None if value is None or not np.isfinite(value) else round(float(value), 6)

        return {
            "calibration_id": self.rig.calibration_id,
            "verdict": self.verdict.verdict,
            "findings": [
                {"level": f.level, "cameras": list(f.cameras), "what": f.what, "remedy": f.remedy}
                for f in self.verdict.findings
            ],
            "evidence": [
                {
                    "kind": e.kind,
                    "points": e.points,
                    "median_px": {name: number(value) for name, value in e.median_px.items()},
                    "scale": number(e.scale),
                    "scale_deviation": number(e.scale_deviation),
                    "corrections": [
                        {
                            key: number(getattr(c, key)) if key != "camera" else c.camera
                            for key in c.__dataclass_fields__
                        }
                        for c in e.corrections
                    ],
                }
                for e in self.evidence
            ],
            "timing": [timing.document() for timing in self.timing],
        }


def check(
    rig: Rig,
    *,
    boards: BoardViews | None = None,
    keypoints: Keypoints | None = None,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    counts: Mapping[str, int] | None = None,
    timings: Sequence[Timing] = (),
    floor: bool | None = None,
) -> Check:
    """Judge a rig by itself and by what is given beside it.

    Args:
        rig: To judge.
        boards: Views of a board filmed by it.
        keypoints: Of a subject filmed by it.
        sizes: (width, height) of each camera's pictures in px.
        counts: Frames of each camera's recording.
        timings: Offsets that were estimated already (`calib.timing_motion.offsets` on the pictures).
        floor: Whether the world's plane z = 0 is the floor; ``None`` = as the metadata say.
    """
    findings = list(judge(rig).findings)
    if floor and rig.metadata.get("world") != "floor":
        findings += below_floor(rig)
    if floor is False:
        findings = [f for f in findings if f not in below_floor(rig)]
    findings += picture_sizes(rig, sizes or {})
    findings += frame_counts(counts or {})
    told = list(timings)
    seen: list[Evidence] = []
    if boards is not None:
        findings += picture_sizes(rig, {n: s for n, s in zip(boards.names, boards.sizes, strict=True) if min(s) > 0})
        found = board_evidence(rig, boards)
        seen.append(found)
        timing = _board_timing(rig, boards)
        told += [timing] if timing is not None else []
    if keypoints is not None:
        V, T, J, _ = keypoints.px.shape
        sure = np.where(keypoints.confidence >= keypoints.least, keypoints.confidence, 0.0)
        seen.append(evidence(rig, keypoints.px.reshape(V, T * J, 2), sure.reshape(V, T * J), kind="keypoints"))
        if keypoints.time_s is not None and len(rig) > 1:
            px = np.where(sure[..., None] > 0, keypoints.px, np.nan)
            try:
                told.append(ray_offsets(rig, px, keypoints.time_s, source="keypoints and the rig"))
            except ConfigError as error:
                findings.append(Finding("note", (), f"the time between cameras was not estimated: {error.what}", ""))
    for one in seen:
        findings += one.findings
    for timing in told:
        findings += timing.findings()
    return Check(rig, verdict_of(dict.fromkeys(findings)), tuple(seen), tuple(told))


def _board_timing(rig: Rig, boards: BoardViews) -> Timing | None:
    """From the corners of a moving board in neighbouring frames; ``None`` where it stood still or frames are apart."""
    names = [name for name in rig.names if name in boards.names]
    if boards.still or boards.time_s is None or len(names) < 2 or len(boards.frames) < 12:
        return None
    views = boards.of(names)
    assert views.time_s is not None
    frames = views.frames
    if np.median(np.diff(frames)) > 1:
        return None  # moments were picked out of a recording: nobody knows what lies between
    try:
        return ray_offsets(rig.select(names), views.px, views.time_s, source="board corners and the rig")
    except ConfigError:
        return None


def picture_sizes(rig: Rig, sizes: Mapping[str, tuple[int, int]]) -> tuple[Finding, ...]:
    """Cameras whose pictures are not of the size that they were calibrated for.

    Args:
        rig: Cameras without a size are not compared.
        sizes: (width, height) in px by name; names that the rig lacks are a note.
    """
    found = []
    for name, size in sizes.items():
        if name not in rig.names:
            known = ", ".join(rig.names)
            found.append(Finding("note", (name,), "is not in the rig", f"the rig knows {known}: name them alike"))
            continue
        stated = rig[name].size
        if min(stated) <= 0 or tuple(size) == stated:
            continue
        text = f"its pictures are {size[0]}x{size[1]}, the rig is calibrated for {stated[0]}x{stated[1]}"
        width, height = size[0] / stated[0], size[1] / stated[1]
        if tuple(size) == stated[::-1]:
            found.append(
                Finding("bad", (name,), f"{text}: turned by a quarter", "turn the video, or calibrate as it is")
            )
        elif abs(width - height) < 0.002 * width:
            remedy = "start with fit: scale, or calibrate at this size"
            found.append(Finding("suspect", (name,), f"{text}: scaled by {width:.3g}", remedy))
        else:
            remedy = "say how the picture was made: fit: crop | scale | letterbox; or calibrate at this size"
            found.append(Finding("suspect", (name,), f"{text}: another shape", remedy))
    return tuple(found)


def rotation_finding(name: str, matrix: Float[np.ndarray, "3 3"]) -> Finding | None:
    """What is wrong with a matrix that is said to be a camera's rotation; ``None`` = nothing."""
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        return Finding("bad", (name,), "its rotation is not a finite 3x3 matrix", "calibrate again")
    if np.linalg.det(matrix) < 0:
        what = "its rotation is mirrored (its determinant is negative), so it is none"
        return Finding("bad", (name,), what, "correct the sign of an axis, or calibrate again")
    off = float(np.abs(matrix @ matrix.T - np.eye(3)).max())
    if off > _ORTHOGONAL:
        return Finding("bad", (name,), f"its rotation is none: R R^T is off by {off:.2g}", "calibrate again")
    return None
