"""How smoothly answers move, against the truth: acceleration error and jitter, where frames follow each other.

The acceleration error is the distance between the second differences of answer and truth (Kanazawa et al. 2019,
"Learning 3D human dynamics from video"), jitter the length of the third differences; both in mm, per frame squared and
cubed. A constant offset is no error here, and an answer that is smoother than the truth lags behind it: hence the
jitter of the truth stands beside.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from training.metrics.resampling import Resampling


def runs(
    tracks: Sequence[Hashable], frames: Sequence[int | None], length: int, step: int = 1
) -> Int[np.ndarray, "R length"]:
    """Rows that show one subject in so many frames that follow each other.

    Args:
        tracks: (N,) who, in which take.
        frames: (N,) the frame's number in it; ``None`` follows nothing.
        length: Frames in a run; runs overlap.
        step: Between the numbers of frames that follow each other.
    """
    at = {
        (track, frame): row for row, (track, frame) in enumerate(zip(tracks, frames, strict=True)) if frame is not None
    }
    found = []
    for track, frame in at:
        rows = [at.get((track, frame + step * i)) for i in range(length)]
        if None not in rows:
            found.append(rows)
    return np.array(found, dtype=np.int64).reshape(-1, length)


def smoothness(
    answer: Float[np.ndarray, "N J 3"],
    truth: Float[np.ndarray, "N J 3"],
    tracks: Sequence[Hashable],
    sequences: Sequence[Hashable],
    frames: Sequence[int | None],
    step: int = 1,
) -> dict[str, Any]:
    """Acceleration error, jitter and the truth's jitter; means are ``None`` where no frames follow each other.

    Args:
        answer: mm; NaN = not solved.
        truth: mm; NaN = not known.
        tracks: (N,) who, in which take.
        sequences: (N,) what is drawn as a whole for the intervals.
        frames: (N,) see `runs`.
        step: See `runs`.
    """
    three, four = (runs(tracks, frames, length, step) for length in (3, 4))

    def lengths(difference: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
        values = np.linalg.norm(difference, axis=-1)
        return Resampling([sequences[row] for row in rows[:, 0]]).figure(values, np.isfinite(values))

    bent_answer, bent_truth = (np.diff(p[three], n=2, axis=1)[:, 0] for p in (answer, truth))
    jerk_answer, jerk_truth = (np.diff(p[four], n=3, axis=1)[:, 0] for p in (answer, truth))
    unknown = np.isnan(jerk_answer + jerk_truth)
    return {
        "step_frames": step,
        "acceleration_error": lengths(bent_answer - bent_truth, three),
        "jitter": lengths(np.where(unknown, np.nan, jerk_answer), four),
        "jitter_of_truth": lengths(np.where(unknown, np.nan, jerk_truth), four),
    }
