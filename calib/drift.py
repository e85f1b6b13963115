"""Watching a rig at work: whether a camera moved, which, by how much and since when, from keypoints alone.

A network is wrong about each joint in each view in its own steady way. What that leaves as residuals is learned first
and taken off; a camera that moved then shifts the residuals of all joints in its view alike. It also draws the points
along, and with them the residuals of the others, so that the largest residual does not name it. It is the camera
without which the others agree again as they did when the watch began.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

from calib.rig import Rig
from calib.triangulate import triangulate

WINDOW = 60
"""Frames that are judged together."""
LEARN = 10
"""Windows that are learned from."""
LEAST_PX = 2.0
"""A shift below this is left alone: it harms no position."""
SIGMAS = 6.0
_IN_A_ROW = 2
_LEAST_DEVIATION_PX = 0.1
_LEAST_JOINTS = 3
_CLEARLY = 0.6
"""One explanation is believed before another where it leaves less than this share of what that one leaves."""


@dataclass(frozen=True, slots=True)
class CameraDrift:
    """What a camera's residuals say now.

    Attributes:
        camera: Its name.
        shift_px: By how much everything appears shifted in its pictures since the beginning; for one that moved as
            the other cameras have it.
        deviation_px: Of that, from how much it varied while nothing moved.
        turned_deg: The turn that shifts its pictures so.
        moved_mm: The sideways movement that would do the same to the subject.
        moved: Whether this camera did.
        since_frame: Number of the frame from which on, for one that moved.
        since_s: The time that came with it.
    """

    camera: str
    shift_px: float
    deviation_px: float
    turned_deg: float
    moved_mm: float
    moved: bool = False
    since_frame: int | None = None
    since_s: float | None = None

    def __str__(self) -> str:
        if not self.moved:
            return f"{self.camera}: {self.shift_px:.1f} px"
        when = "" if self.since_frame is None else f" since frame {self.since_frame}"
        when += "" if self.since_s is None else f" ({self.since_s:.1f} s)"
        return (
            f"{self.camera} moved{when}: {self.shift_px:.1f} px, as if turned by {self.turned_deg:.2f} degrees "
            f"or moved sideways by {self.moved_mm:.0f} mm"
        )


@dataclass(frozen=True, slots=True)
class DriftState:
    """What is known at the end of a window.

    Attributes:
        learned: Whether the beginning was learned; before that nothing is said.
        share_learned: How far that is, 0 to 1.
        frames: Frames with a subject that were added.
        cameras: One each; empty before anything was learned.
        moved: Names of cameras that moved.
        suspected: Names of cameras one of which moved, where it cannot be told which.
        since_frame: From which frame on, where one or several moved.
    """

    learned: bool
    share_learned: float
    frames: int
    cameras: tuple[CameraDrift, ...] = ()
    moved: tuple[str, ...] = ()
    suspected: tuple[str, ...] = ()
    since_frame: int | None = None

    @property
    def steady(self) -> bool:
        """Whether no camera moved, as far as can be told."""
        return not self.moved and not self.suspected

    def __str__(self) -> str:
        if not self.learned:
            return f"learning how the residuals are ({100 * self.share_learned:.0f} %)"
        if self.moved:
            return "; ".join(str(one) for one in self.cameras if one.moved)
        if self.suspected:
            return f"one of {', '.join(self.suspected)} moved since frame {self.since_frame}; which cannot be told"
        return "no camera moved"


@dataclass(frozen=True, slots=True)
class _Window:
    frames: np.ndarray
    first: int
    time_s: float | None


@dataclass(frozen=True, slots=True)
class _Baseline:
    offset: np.ndarray
    deviation: np.ndarray


class DriftWatch:
    """Feed it every pose; ask it what it thinks.

    Args:
        rig: The cameras that the pixels belong to.
        window: Frames that are judged together.
        learn: Windows to learn from; the subject should go about in them as it does later.
        least_px: Smaller shifts are not told.
        sigmas: How far beyond its own variation a shift must lie.
    """

    def __init__(
        self, rig: Rig, *, window: int = WINDOW, learn: int = LEARN, least_px: float = LEAST_PX, sigmas: float = SIGMAS
    ) -> None:
        if window < 1 or learn < 2:
            raise ValueError("a window needs a frame and learning two windows")
        self._rig, self._arrays = rig, rig.arrays()
        self._size, self._learn = window, learn
        self._least_px, self._sigmas = least_px, sigmas
        self._focal = np.array([float(np.sqrt(c.K[0, 0] * c.K[1, 1])) for c in rig.cameras])
        self._buffer: list[np.ndarray] = []
        self._began: tuple[int, float | None] = (0, None)
        self._first: list[_Window] = []
        self._baselines: dict[frozenset[int], _Baseline] = {}
        self._run: tuple[frozenset[int], int, _Window] | None = None
        self._number = self._used = 0
        self._state = DriftState(False, 0.0, 0)

    def add(
        self,
        px: Float[np.ndarray, "V J 2"],
        weight: Float[np.ndarray, "V J"] | None = None,
        time_s: float | None = None,
    ) -> bool:
        """Take one frame of one subject; one that no two cameras see together does not count.

        Args:
            px: Raw px; NaN = not seen.
            weight: 0 = not to be believed.
            time_s: When, in whatever time the answer shall be.

        Returns:
            Whether a window ended, so that `state` is new.
        """
        px = np.array(px, dtype=np.float64)
        if weight is not None:
            px[~(np.asarray(weight) > 0)] = np.nan
        number, self._number = self._number, self._number + 1
        if not (np.isfinite(px[..., 0]).sum(axis=0) >= 2).any():
            return False
        if not self._buffer:
            self._began = number, time_s
        self._buffer.append(px)
        self._used += 1
        if len(self._buffer) < self._size:
            return False
        ended = _Window(np.stack(self._buffer), *self._began)
        self._buffer = []
        self._end(ended)
        return True

    def state(self) -> DriftState:
        """What the last whole window says."""
        return self._state

    def _end(self, window: _Window) -> None:
        if len(self._first) < self._learn:
            self._first.append(window)
            done = len(self._first) == self._learn
            self._state = DriftState(done, len(self._first) / self._learn, self._used)
            if not done:
                return
        shifts, excess = self._shifts(window, frozenset())
        movers, suspected = self._movers(window, excess)
        key = movers | suspected
        if not key:
            self._run = None
        elif self._run is not None and self._run[0] & key:
            self._run = key, self._run[1] + 1, self._run[2]
        else:
            self._run = key, 1, window
        told = self._run is not None and self._run[1] >= _IN_A_ROW
        if movers:
            shifts = self._shifts(window, movers)[0]
        deviation = self._baseline(movers).deviation
        names = self._rig.names
        since = self._run[2] if self._run is not None and told else None
        depth = self._depth(window)
        cameras = []
        for v, name in enumerate(names):
            length = float(np.linalg.norm(shifts[v]))
            moved = told and v in movers
            cameras.append(
                CameraDrift(
                    name,
                    length,
                    float(deviation[v]),
                    float(np.degrees(np.arctan(length / self._focal[v]))),
                    float(length / self._focal[v] * depth[v]),
                    moved,
                    since.first if moved and since else None,
                    since.time_s if moved and since else None,
                )
            )
        self._state = DriftState(
            True,
            1.0,
            self._used,
            tuple(cameras),
            tuple(name for v, name in enumerate(names) if told and v in movers),
            tuple(name for v, name in enumerate(names) if told and v in suspected),
            since.first if since else None,
        )

    def _movers(self, window: _Window, excess: np.ndarray) -> tuple[frozenset[int], frozenset[int]]:
        """Cameras that moved, and cameras one of which did; the fewest that explain what is seen."""
        n = len(self._rig)
        doubtful = frozenset(int(v) for v in np.flatnonzero(np.nan_to_num(excess) > 1))
        for count in range(1, n - 1):
            # How far the others are from agreeing without some, how far those are from the others' points, who.
            found: list[tuple[float, float, frozenset[int]]] = []
            for some in combinations(range(n), count):
                left = np.nan_to_num(self._shifts(window, frozenset(some))[1])
                off = float(left[list(some)].min())
                if off > 1:
                    found.append((float(np.delete(left, some).max()), off, frozenset(some)))
            if count == 1 and not found and not doubtful:
                return frozenset(), frozenset()
            found = sorted((one for one in found if one[0] <= 1), key=lambda one: one[0])
            if not found:
                continue
            rest, off, best = found[0]
            if len(found) == 1 or rest < _CLEARLY * found[1][0] or off > max(one[1] for one in found[1:]) / _CLEARLY:
                return best, frozenset()
            return frozenset(), frozenset().union(*(cameras for _, _, cameras in found))
        return frozenset(), doubtful

    def _shifts(self, window: _Window, without: frozenset[int]) -> tuple[np.ndarray, np.ndarray]:
        """Shift (V, 2) px of each camera's residuals since the beginning, and its length over what is tolerated (V,).

        Points are made without some cameras; theirs are then the residuals that the others give them.
        """
        base = self._baseline(without)
        shifts = _middle(self._offsets(window, without) - base.offset)
        tolerated = np.maximum(self._least_px, self._sigmas * base.deviation)
        return shifts, np.linalg.norm(shifts, axis=-1) / tolerated

    def _baseline(self, without: frozenset[int]) -> _Baseline:
        found = self._baselines.get(without)
        if found is None:
            windows = np.stack([self._offsets(window, without) for window in self._first])
            offset = _nanmedian(windows, axis=0)
            shifts = np.stack([_middle(one - offset) for one in windows])
            # Of one new window about the middle of n, by the n themselves.
            n = len(windows)
            spread = np.sqrt(np.nan_to_num((shifts**2).sum(axis=-1)).mean(axis=0) / 2 * (n + 1) / (n - 1))
            found = _Baseline(offset, np.maximum(spread, _LEAST_DEVIATION_PX))
            self._baselines[without] = found
        return found

    def _offsets(self, window: _Window, without: frozenset[int]) -> np.ndarray:
        """(V, J, 2) median over the frames of seen - projected."""
        frames = window.frames
        weight = np.isfinite(frames[..., 0]).astype(float)
        weight[:, list(without)] = 0
        weight *= (weight > 0).sum(axis=1, keepdims=True) >= 2
        points = triangulate(np.where(weight[..., None] > 0, frames, np.nan), weight, self._arrays)
        projected = np.stack([camera.project(points) for camera in self._rig.cameras], axis=1)
        return _nanmedian(frames - projected, axis=0)

    def _depth(self, window: _Window) -> np.ndarray:
        """(V,) mm from each camera to the subject."""
        weight = np.isfinite(window.frames[..., 0]).astype(float)
        points = triangulate(window.frames, weight, self._arrays).reshape(-1, 3)
        centers = np.stack([camera.center_mm for camera in self._rig.cameras])
        return _nanmedian(np.linalg.norm(points - centers[:, None], axis=-1), axis=1)


def _middle(offsets: np.ndarray) -> np.ndarray:
    """(V, 2) median over the joints (V, J, 2), NaN with fewer than three."""
    enough = np.isfinite(offsets[..., 0]).sum(axis=-1) >= _LEAST_JOINTS
    return np.where(enough[..., None], _nanmedian(offsets, axis=-2), np.nan)


def _nanmedian(values: np.ndarray, axis: int) -> np.ndarray:
    """As numpy's, without its warning where all are NaN."""
    empty = ~np.isfinite(values).any(axis=axis, keepdims=True)
    middle = np.nanmedian(np.where(empty, 0.0, values), axis=axis)
    return np.where(np.squeeze(empty, axis=axis), np.nan, middle)
