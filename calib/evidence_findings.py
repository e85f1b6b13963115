"""How far points may be off before a rig is doubted, and what is then said of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from calib.camera import Camera
from calib.correction import LEAST_POINTS, Correction
from calib.quality import Finding, Level
from calib.rig import Rig

Kind = Literal["board", "keypoints"]
_PICTURE_PX = 1600.0
"""Diagonal of a picture for which the tolerances below hold; they grow with the picture."""
RESIDUAL_PX: dict[Kind, tuple[float, float]] = {"board": (1.5, 6.0), "keypoints": (20.0, np.inf)}
SHIFT_PX: dict[Kind, tuple[float, float]] = {"board": (1.2, 2.0), "keypoints": (6.0, np.inf)}
"""Suspect and bad beyond: median residual, and shift of the picture that a correction of one camera makes, px.
A network sees some joints beside where they are, and differently in each view: keypoints never make a rig bad."""
_SURE = 5.0


def matters(correction: Correction, scale: float, kind: Kind) -> bool:
    """Whether a correction is more than tolerances and more than chance; ``scale`` from `picture_scale`."""
    sure = correction.shift_px > _SURE * correction.shift_deviation_px
    return sure and correction.shift_px > SHIFT_PX[kind][0] * scale


def picture_scale(camera: Camera) -> float:
    """How large a camera's pictures are, against those that tolerances in px are written for."""
    return float(np.hypot(*camera.size)) / _PICTURE_PX if min(camera.size) > 0 else 1.0


def moved_findings(
    rig: Rig,
    corrections: tuple[Correction, ...],
    scale: np.ndarray,
    kind: Kind,
    blamed: dict[str, str],
    noise_px: float = 0.0,
) -> Iterator[Finding]:
    """Corrections in words; ``blamed`` says of a camera what else explains it, ``noise_px`` what others leave."""
    points = "the board" if kind == "board" else "the keypoints"
    for c in corrections:
        size = scale[rig.names.index(c.camera)]
        level: Level = "bad" if c.shift_px > SHIFT_PX[kind][1] * size else "suspect"
        if c.camera in blamed:
            what = f"{blamed[c.camera]}: so read, it agrees with the other cameras about {points}"
            yield Finding(level, (c.camera,), what, "correct the file, or calibrate again")
            continue
        what = (
            f"does not agree with the other cameras about {points}: it would have to be turned by "
            f"{c.turned_deg:.2f} +- {c.turned_deviation_deg:.2f} deg and moved by {c.moved_mm:.1f} +- "
            f"{c.moved_deviation_mm:.1f} mm (residual {c.before_px:.1f} px, then {c.after_px:.1f} px)"
        )
        remedy = "was it moved? calibrate again, or rigpose calibrate refine"
        if 0 < 2 * noise_px < c.after_px and c.before_px < 5 * c.after_px:
            what += ", which is still much: its lens is wrong rather than its place"
            remedy = "calibrate its intrinsics; is the picture size the same?"
        elif kind == "keypoints":
            remedy += "; a network that sees joints elsewhere in this view looks the same: confirm with a board"
        yield Finding(level, (c.camera,), what, remedy)


def unexplained(
    rig: Rig, seen: np.ndarray, before: np.ndarray, after: np.ndarray, named: set[str], scale: np.ndarray, kind: Kind
) -> Iterator[Finding]:
    """Residuals that moving single cameras does not explain."""
    suspect, bad = RESIDUAL_PX[kind]
    points = "board points" if kind == "board" else "keypoints"
    for v, name in enumerate(rig.names):
        n = int(seen[v].sum())
        if n < LEAST_POINTS:
            what = f"shares {n or 'no'} {points} with another camera: too few to judge its place by"
            yield Finding("note", (name,), what, "show them to it too")
        elif not np.isfinite(before[v]) and name not in named:
            # Points whose views contradict each other are given up: then none of its own was kept.
            grade: Level = "bad" if kind == "board" else "suspect"
            what = f"none of its rays to {n} {points} meets those of the other cameras"
            yield Finding(grade, (name,), what, "was it moved? calibrate again")
    unit = np.where(np.isfinite(after), after / scale, np.nan)
    if not np.isfinite(unit).any() or np.nanmax(unit) <= suspect:
        return
    level: Level = "bad" if np.nanmax(unit) > bad else "suspect"
    worst = tuple(rig.names[v] for v in np.flatnonzero(unit > suspect))
    left = f"{np.nanmax(after):.1f} px"
    if len(rig) == 2 and named:
        return
    if len(rig) == 2:
        what = f"their rays to the same {points} miss each other: {left} in the median"
        yield Finding(level, rig.names, what, "one of them was moved or has wrong numbers: calibrate again")
    elif named:
        what = f"after correcting {', '.join(sorted(named))} the residual is still {left} in the median"
        yield Finding(level, worst, what, "more is wrong than single places: calibrate again")
    else:
        what = f"the residual of {points} is {left} in the median, and no single camera explains it"
        yield Finding(level, worst, what, "check the lenses and the time between cameras, then calibrate again")
