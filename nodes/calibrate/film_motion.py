"""What moves in a film, for the time between its cameras."""

from __future__ import annotations

import numpy as np

from calib.motion import MotionMeter, MotionSignal
from nodes.calibrate.film import Film, Reel, ReelReader
from rigpose.errors import ConfigError

LONGEST = 1800
"""Pictures of each camera that are looked at: a minute at 30 frames per second."""


def signals(film: Film, longest: int = LONGEST) -> list[MotionSignal]:
    """The motion in each camera's pictures, in the times of its own clock.

    Args:
        film: Videos, or images with times.
        longest: At most so many pictures a camera, from the middle of the film on both sides.

    Raises:
        ConfigError: A reel is no recording (stills), or it has fewer than three pictures.
    """
    stills = [reel.camera for reel in film.reels if not reel.is_video]
    if stills and not np.isfinite(film.times_s).any():
        raise ConfigError(
            f"camera {stills[0]}", "has stills, whose time cannot be told", "give videos or a session, or --timestamps"
        )
    n = film.n_moments
    first = max(0, (n - longest) // 2)
    return [_signal(film, v, reel, range(first, min(n, first + longest))) for v, reel in enumerate(film.reels)]


def _signal(film: Film, v: int, reel: Reel, moments: range) -> MotionSignal:
    meter = MotionMeter(reel.camera)
    reader = ReelReader(reel)
    last_s = -np.inf
    try:
        for f in moments:
            index, time_s = int(film.index[v, f]), float(film.times_s[v, f])
            if index < 0 or not np.isfinite(time_s) or time_s <= last_s:
                continue
            picture = reader.read(index)
            if picture is not None:
                meter.add(picture, time_s)
                last_s = time_s
    finally:
        reader.close()
    return meter.signal()
