"""How far apart in time cameras run, and whether their recordings have one length: what is said of it.

What estimates it are `calib.timing_motion`, from pictures, and `calib.timing_rays`, from points and the rig.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from calib.quality import Finding, Level

Kind = Literal["motion", "rays"]
BAD_BEYOND: dict[Kind, float] = {"motion": 6.0, "rays": 4.0}
"""Deviations beyond which half a frame makes a recording bad; motion, in which views differ, is believed less."""


@dataclass(frozen=True, slots=True)
class Offset:
    """When a camera shows what the reference shows.

    Attributes:
        camera: Its name.
        offset_ms: What the reference shows at ``t``, this camera shows at ``t + offset``; NaN = cannot be told.
        deviation_ms: Standard deviation of it; NaN = cannot be told.
        frames: The offset in frame periods.
        why: Why it cannot be told; empty where it can.
    """

    camera: str
    offset_ms: float
    deviation_ms: float
    frames: float
    why: str = ""

    @property
    def told(self) -> bool:
        """Whether there is a number."""
        return not self.why

    def __str__(self) -> str:
        if not self.told:
            return f"{self.camera}: cannot be told: {self.why}"
        return f"{self.camera}: {self.offset_ms:+.1f} ms +- {self.deviation_ms:.1f} ms ({self.frames:+.2f} frames)"


@dataclass(frozen=True, slots=True)
class Timing:
    """The offsets of all cameras to one of them.

    Attributes:
        reference: The camera whose offset is zero.
        offsets: One for each camera, in the order given.
        period_ms: Between frames.
        source: What they are made from, in words.
        kind: ``motion`` (similar in time alone) or ``rays`` (they have to meet).
    """

    reference: str
    offsets: tuple[Offset, ...]
    period_ms: float
    source: str
    kind: Kind = "motion"

    def __getitem__(self, camera: str) -> Offset:
        for offset in self.offsets:
            if offset.camera == camera:
                return offset
        raise KeyError(camera)

    @property
    def told(self) -> bool:
        """Whether every camera's offset could be told."""
        return all(offset.told for offset in self.offsets)

    def findings(self) -> tuple[Finding, ...]:
        """What the offsets mean for a calibration.

        Half a frame or more is bad where it is sure, a quarter is suspect; what cannot be told is a note.
        """
        found = []
        for offset in self.offsets:
            name = (offset.camera,)
            if not offset.told:
                what = f"its time offset to {self.reference} cannot be told: {offset.why}"
                found.append(Finding("note", name, what, "move something that both see, with stops and turns"))
                continue
            sure = abs(offset.offset_ms) / max(offset.deviation_ms, 1e-9)
            size = abs(offset.frames)
            if size < 0.25 or sure < 3:
                continue
            late = "late" if offset.offset_ms > 0 else "early"
            what = (
                f"runs {abs(offset.offset_ms):.0f} ms +- {offset.deviation_ms:.0f} ms {late} "
                f"({size:.1f} frames) against {self.reference}"
            )
            whole = round(size)
            drop = offset.camera if offset.offset_ms > 0 else f"every camera but {offset.camera}"
            first = "first frame" if whole == 1 else f"first {whole} frames"
            remedy = (
                f"synchronise the cameras; for this recording leave out the {first} of {drop}"
                if whole and abs(size - whole) < 0.25
                else "synchronise the cameras, or correct the time stamps by it"
            )
            level: Level = "bad" if size >= 0.5 and sure >= BAD_BEYOND[self.kind] else "suspect"
            found.append(Finding(level, name, what, remedy))
        return tuple(found)

    def document(self) -> dict[str, object]:
        """As plain values, for JSON: NaN is None."""
        offsets = {
            o.camera: {
                "offset_ms": round(o.offset_ms, 3) if o.told else None,
                "deviation_ms": round(o.deviation_ms, 3) if o.told else None,
                "frames": round(o.frames, 3) if o.told else None,
                **({"why": o.why} if o.why else {}),
            }
            for o in self.offsets
        }
        return {"reference": self.reference, "period_ms": self.period_ms, "source": self.source, "offsets": offsets}


def frame_counts(counts: Mapping[str, int]) -> tuple[Finding, ...]:
    """Cameras whose recordings are not as long as those of most.

    Args:
        counts: Frames of each camera.

    Returns:
        A finding for each odd camera: one frame is a note, more is suspect.
    """
    if len(counts) < 2:
        return ()
    values, how_often = np.unique(list(counts.values()), return_counts=True)
    if len(values) == 1:
        return ()
    remedy = "find out whether they lie at the start, at the end or in between: rigpose calibrate timing"
    if how_often.max() == 1 or (how_often == how_often.max()).sum() > 1:
        text = ", ".join(f"{name} {n}" for name, n in counts.items())
        level: Level = "note" if values[-1] - values[0] == 1 else "suspect"
        return (Finding(level, tuple(counts), f"differ in their number of frames: {text}", remedy),)
    usual = int(values[how_often.argmax()])
    found = []
    for name, n in counts.items():
        if n == usual:
            continue
        apart = abs(n - usual)
        frames = f"{apart} frame" + ("s" if apart > 1 else "")
        what = f"has {frames} {'more' if n > usual else 'fewer'} than the others ({n}, not {usual})"
        found.append(Finding("note" if apart == 1 else "suspect", (name,), what, remedy))
    return tuple(found)
