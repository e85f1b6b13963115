"""How much moves, seen by each camera over time: what tells whether cameras run at the same time.

A signal has several channels (where in the picture it moves), because views of one scene agree in when
something moves, not in where.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from rigpose.errors import ConfigError

LONGEST_PX = 160
"""Pictures are looked at in this size: motion is coarse, noise and compression are fine."""
CELLS = 8
NOISE_LEVELS = 4.0
"""Changes of a pixel below this (of 255, after the picture was made small) are noise or compression."""


@dataclass(frozen=True, slots=True)
class MotionSignal:
    """What moved in one camera.

    Attributes:
        camera: Its name.
        time_s: (n,) rising; of any clock that the cameras are said to share.
        motion: (n, C) channels; NaN = not known at that time.
        period_s: Between the camera's frames.
    """

    camera: str
    time_s: Float[np.ndarray, " n"]
    motion: Float[np.ndarray, "n C"]
    period_s: float


class MotionMeter:
    """The motion energy of a camera's pictures, in `CELLS` x `CELLS` cells; one picture at a time.

    Args:
        camera: Name.
    """

    def __init__(self, camera: str) -> None:
        self.camera = camera
        self._last: np.ndarray | None = None
        self._last_s = 0.0
        self._times: list[float] = []
        self._cells: list[np.ndarray] = []
        self._steps: list[float] = []

    def add(self, picture: np.ndarray, time_s: float) -> None:
        """Take the next picture: uint8 (H, W) or (H, W, 3), with its time.

        Raises:
            ConfigError: Its time is not later than that of the one before.
        """
        grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        scale = min(1.0, LONGEST_PX / max(grey.shape))
        small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.float32)
        last, self._last = self._last, small
        last_s, self._last_s = self._last_s, time_s
        if last is None:
            return
        if time_s <= last_s:
            raise ConfigError(f"camera {self.camera}", f"its times do not rise at {time_s:.6g} s", "check time stamps")
        if last.shape != small.shape:
            raise ConfigError(f"camera {self.camera}", "its pictures change their size", "give one recording")
        change = small - last
        change -= np.median(change)  # exposure and lamps change the whole picture
        change = np.maximum(np.abs(change) - NOISE_LEVELS, 0)
        cells = cv2.resize(change, (CELLS, CELLS), interpolation=cv2.INTER_AREA).ravel()
        # A change between two pictures happened between them. The root makes large motions no louder than they are.
        self._times.append((time_s + last_s) / 2)
        self._steps.append(time_s - last_s)
        self._cells.append(np.sqrt(cells))

    def signal(self) -> MotionSignal:
        """The signal of what was added.

        Raises:
            ConfigError: Fewer than three pictures.
        """
        if len(self._times) < 2:
            raise ConfigError(f"camera {self.camera}", "has fewer than three pictures", "give a recording")
        cells = np.stack(self._cells).astype(np.float64)
        period_s = float(np.median(self._steps))
        # After a gap more has changed than in a period.
        cells[np.array(self._steps) > 1.7 * period_s] = np.nan
        return MotionSignal(self.camera, np.array(self._times), cells, period_s)


def point_motion(camera: str, time_s: Float[np.ndarray, " n"], px: Float[np.ndarray, "n J 2"]) -> MotionSignal:
    """The motion of points (keypoints, board corners) in one camera.

    Channels: median velocity in x and y (px/s) and median speed of the points that two neighbouring frames both saw.

    Raises:
        ConfigError: Fewer than three frames, or times that do not rise.
    """
    time_s = np.asarray(time_s, dtype=np.float64)
    steps = np.diff(time_s)
    if len(time_s) < 3 or not (steps > 0).all():
        raise ConfigError(f"camera {camera}", "needs three frames or more with rising times", "check the time stamps")
    velocity = np.diff(np.asarray(px, dtype=np.float64), axis=0) / steps[:, None, None]
    period_s = float(np.median(steps))
    motion = np.full((len(steps), 3), np.nan)
    known: np.ndarray = np.isfinite(velocity[..., 0]) & np.isfinite(velocity[..., 1])
    for k in np.flatnonzero((known.sum(axis=1) > 0) & (steps < 1.7 * period_s)):
        now = velocity[k, known[k]]
        motion[k] = (*np.median(now, axis=0), np.median(np.linalg.norm(now, axis=-1)))
    return MotionSignal(camera, (time_s[1:] + time_s[:-1]) / 2, motion, period_s)
