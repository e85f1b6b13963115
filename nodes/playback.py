"""A recorded session over time: which set belongs to a moment, and playing them at their own pace."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import numpy as np

from capture.session import SessionReader
from nodes import picture
from nodes.canvas import Canvas
from nodes.scene import joints_of, shown_share
from rigpose.errors import ConfigError, ExitCode
from rigpose.pose import PoseSet

log = logging.getLogger(__name__)

TURN_S, LONGEST_TURN_S = 1 / 60, 0.1
CPU_SHARE = 0.35
"""Of one core, which drawing takes at most."""
GOOD_SHARE = 0.7
SAMPLES = 40


def set_time_ns(pose: PoseSet) -> int:
    """When a set was: its earliest exposure, else when it was grouped."""
    exposed = [ns for ns in pose.stamps.exposed_ns if ns is not None]
    return min(exposed) if exposed else pose.stamps.grouped_ns


def choose(reader: SessionReader, set_index: int | None, time_s: float | None) -> int:
    """The index of the set to draw.

    Raises:
        RigposeError: The session is empty, or has no such set or time.
    """
    reader.pose(0)
    n = reader.n_sets
    if set_index is not None:
        reader.pose(set_index)
        return set_index
    if time_s is not None:
        start_ns = set_time_ns(reader.pose(0))
        low, high = 0, n - 1
        if time_s * 1e9 > set_time_ns(reader.pose(high)) - start_ns + 1e9:
            last_s = (set_time_ns(reader.pose(high)) - start_ns) / 1e9
            raise ConfigError(reader.path, f"is over at {time_s:g} s", f"its last set is at {last_s:.2f} s")
        while low < high:
            middle = (low + high) // 2
            if set_time_ns(reader.pose(middle)) - start_ns < time_s * 1e9:
                low = middle + 1
            else:
                high = middle
        before = max(low - 1, 0)
        distances = [abs(set_time_ns(reader.pose(index)) - start_ns - time_s * 1e9) for index in (before, low)]
        return before if distances[0] < distances[1] else low
    best, best_share = n // 2, -1.0
    for step in range(min(n, 400)):
        index = n // 2 + (step + 1) // 2 * (1 if step % 2 else -1)
        if 0 <= index < n:
            share = shown_share(reader.pose(index))
            if share > best_share:
                best, best_share = index, share
            if share >= GOOD_SHARE:
                break
    return best


def play(
    reader: SessionReader,
    set_index: int | None = None,
    time_s: float | None = None,
    size: tuple[int, int] = (1280, 960),
) -> int:
    """Play a session in a window at its own pace, again and again, until the window is closed.

    Space pauses; the arrow keys go one set back or on.
    """
    rig, skeletons = reader.rig(), reader.skeletons()
    first = choose(reader, set_index, time_s) if set_index is not None or time_s is not None else 0
    n = reader.n_sets
    samples = [reader.pose(index) for index in np.linspace(0, n - 1, min(n, SAMPLES)).astype(int)]
    canvas = Canvas(f"rigpose - {reader.path.name}", size, visible=True)
    try:
        best = max(samples, key=shown_share)
        canvas.set_scene(rig, skeletons, best, around=joints_of(samples))
        player = Player(reader, first, paused=set_index is not None or time_s is not None)
        canvas.on_keys(player.pause, player.back, player.forward)
        pace = Pace()
        for pose in player:
            canvas.show(pose)
            assert canvas.scene is not None
            start_ns = player.start_ns
            canvas.write(picture.caption(reader, pose, player.index, start_ns, set_time_ns(pose), canvas.scene))
            if not canvas.turn():
                break
            pace.wait()
    finally:
        canvas.close()
    return int(ExitCode.OK)


class Pace:
    """Sixty turns a second, or fewer where drawing without a graphics card would take the engine's cores."""

    def __init__(self) -> None:
        self._wall_s, self._cpu_s = time.monotonic(), time.process_time()

    def wait(self) -> None:
        """Wait for the next turn."""
        wall_s, cpu_s = time.monotonic() - self._wall_s, time.process_time() - self._cpu_s
        time.sleep(min(max(TURN_S - wall_s, cpu_s / CPU_SHARE - wall_s, 0.0), LONGEST_TURN_S))
        self._wall_s, self._cpu_s = time.monotonic(), time.process_time()


class Player:
    """The set to show now, turn after turn.

    Args:
        reader: The session.
        index: Where to begin.
        paused: Whether to stay there.
    """

    def __init__(self, reader: SessionReader, index: int = 0, paused: bool = False) -> None:
        self._reader = reader
        self._index = index
        self._paused = paused
        self._n = reader.n_sets
        self.start_ns = set_time_ns(reader.pose(0))
        self._anchor()

    @property
    def index(self) -> int:
        """Of the set that is shown."""
        return self._index

    def _anchor(self) -> None:
        """From now on time runs from the set that is shown."""
        self._began_s = time.monotonic()
        self._from_ns = set_time_ns(self._reader.pose(self._index))

    def __iter__(self) -> Iterator[PoseSet]:
        while True:
            pose = self._reader.pose(self._index)
            while not self._paused:
                if self._index + 1 >= self._n:
                    if time.monotonic() - self._began_s > (set_time_ns(pose) - self._from_ns) / 1e9 + 0.5:
                        self._index = 0
                        self._anchor()
                    break
                following = self._reader.pose(self._index + 1)
                if (set_time_ns(following) - self._from_ns) / 1e9 > time.monotonic() - self._began_s:
                    break
                self._index, pose = self._index + 1, following
            yield pose

    def pause(self) -> None:
        """Stop, or go on."""
        self._paused = not self._paused
        self._anchor()

    def back(self) -> None:
        """One set back, and stay."""
        self._step(-1)

    def forward(self) -> None:
        """One set on, and stay."""
        self._step(1)

    def _step(self, by: int) -> None:
        self._paused = True
        self._index = min(max(self._index + by, 0), self._n - 1)
        log.info("set %d of %d", self._index, self._n)
