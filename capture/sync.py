"""Frames of single cameras become frame sets, one for each moment.

Frames with a tick (a trigger, or the schedule of the rig) are grouped by it. Free-running cameras are
grouped on the exposure clock: a grid of the common period follows the mean phase of all cameras, and
a frame belongs to the nearest line of it. Each camera's own phase against the grid is followed too,
and it changes line only when all cameras come nearer to each other by a fifth of a period that way:
a camera half-way between two lines does not jitter from set to set, and clocks may drift apart. Where
some cameras have ticks and others run freely, the lines are the ticks.

A set leaves when nothing more can come to it. For a camera that is so as soon as its frame is there,
or a later one (frames of one camera arrive in order), or the camera has ended or is absent; live also
when the set's deadline has passed. Sets leave in the order of their ticks, the incomplete ones too,
with the missing cameras named. Live, a tick that cannot be true (``capture.plausible``) moves nothing:
its frame is refused. Every frame given to ``add`` ends in exactly one place: in a set, or
in ``skipped[camera][reason]``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from capture.frame import Frame, FrameSet
from capture.plausible import TickWatch
from rigpose.pose import SyncInfo
from rigpose.stamps import now_ns as clock_ns

_FOLLOW_GRID = 0.02
_FOLLOW_CAMERA = 0.1
_SLIP = 0.2
_NEVER = -(2**63)
Kind = Literal["trigger", "software"]


@dataclass(slots=True)
class _OpenSet:
    first_ns: int
    kind: Kind = "trigger"
    frames: dict[str, Frame] = field(default_factory=dict)


@dataclass(slots=True)
class _Camera:
    newest: int = _NEVER
    epoch: str = ""
    pending: int = 0
    missed: int = 0
    absent: bool = False
    ended_after: int | None = None
    last_seq: int = -1
    phase: float | None = None

    @property
    def ended(self) -> bool:
        return self.ended_after is not None and self.last_seq >= self.ended_after


def default_deadline_ns(period_ns: int) -> int:
    """How long the first frame of a live set waits for the others: 1.5 periods and 5 ms."""
    return period_ns * 3 // 2 + 5_000_000


class Synchroniser:
    """Groups frames into sets. Not for several threads.

    Args:
        cameras: The rig's cameras in its order.
        period_ns: Time between two ticks.
        deadline_ns: Live: how long after its first frame arrived a set waits; ``None`` = 1.5 periods and 5 ms.
        lossless: Wait for every camera that has not ended, without a deadline, and drop nothing.
        capacity: Live: open sets; beyond it the oldest leaves as it is. Lossless: frames of one
            camera that are held before it counts as ``full``.
        patience: Live: a camera that missed this many sets by their deadline, one after the other, is
            not waited for until its next frame arrives.

    Attributes:
        skipped: By camera and reason (``late``: its set had left; ``superseded``: a second frame for
            the same set; ``implausible``: its tick lies in the future), how many frames were not used.
        unknown: Frames of cameras that the rig does not have.
        newest_tick: The newest tick of any frame received, -1 before the first.
    """

    def __init__(
        self,
        cameras: tuple[str, ...],
        period_ns: int,
        *,
        deadline_ns: int | None = None,
        lossless: bool = False,
        capacity: int = 32,
        patience: int = 5,
    ) -> None:
        if period_ns <= 0 or capacity < 1 or not cameras:
            raise ValueError("a synchroniser needs cameras, a period and a capacity")
        self.cameras = tuple(cameras)
        self.period_ns = period_ns
        self.deadline_ns = default_deadline_ns(period_ns) if deadline_ns is None else deadline_ns
        self.lossless = lossless
        self.capacity = capacity
        self.patience = patience
        self.skipped: dict[str, Counter[str]] = {name: Counter() for name in self.cameras}
        self.unknown = 0
        self.newest_tick = -1
        self._state = {name: _Camera() for name in self.cameras}
        self._watch = None if lossless else TickWatch(period_ns, capacity)
        self._open: dict[int, _OpenSet] = {}
        self._left: int | None = None
        self._phase_ns: float | None = None
        self._has_ticks = False

    def add(self, frame: Frame) -> None:
        """Take a frame; its ``received_ns`` counts for the deadline."""
        camera = self._state.get(frame.camera)
        if camera is None:
            self.unknown += 1
            return
        if frame.node_epoch != camera.epoch:
            if camera.epoch:
                self._begin(frame.camera, camera)
            camera.epoch = frame.node_epoch
        tick = frame.tick
        if tick is None:
            tick = self._grid_tick(camera, frame)
        received_ns = frame.received_ns or clock_ns()
        verdict = "plausible" if self._watch is None else self._watch.judge(frame.camera, tick, received_ns)
        if verdict == "ahead":
            camera.last_seq = max(camera.last_seq, frame.seq)
            self.skipped[frame.camera]["implausible"] += 1
            return
        if verdict == "back":
            self._go_back(tick)
        if frame.tick is not None:
            self._phase_ns, self._has_ticks = float(frame.exposed_ns - tick * self.period_ns), True
        camera.absent = False
        camera.missed = 0
        camera.last_seq = max(camera.last_seq, frame.seq)
        camera.newest = max(camera.newest, tick)
        self.newest_tick = max(self.newest_tick, tick)
        if self._left is not None and tick <= self._left:
            self.skipped[frame.camera]["late"] += 1
            return
        group = self._open.get(tick)
        if group is None:
            group = self._open[tick] = _OpenSet(received_ns)
        if frame.camera in group.frames:
            self.skipped[frame.camera]["superseded"] += 1
            return
        group.frames[frame.camera] = frame
        if frame.tick is None:
            group.kind = "software"
        camera.pending += 1

    def take(self, now_ns: int) -> list[FrameSet]:
        """The sets that are ready at ``now_ns``, oldest first; each is given once."""
        ticks = sorted(self._open)
        ready = 0
        for position, tick in enumerate(ticks):
            if self._is_ready(tick, now_ns):
                ready = position + 1  # what is older than a set that leaves, leaves before it
        if not self.lossless:
            ready = max(ready, len(ticks) - self.capacity)
        return [self._leave(tick, now_ns) for tick in ticks[:ready]]

    def flush(self, now_ns: int) -> list[FrameSet]:
        """All sets that are still open, complete or not, oldest first: the end of the run."""
        return [self._leave(tick, now_ns) for tick in sorted(self._open)]

    def ended(self, camera: str, last_seq: int | None = None) -> None:
        """Do not wait for a camera that has come to its end.

        Args:
            camera: Its name.
            last_seq: The ``seq`` of the last frame that it sent, because the word of its end may
                overtake frames on their way; ``None`` = all of them are here.
        """
        self._state[camera].ended_after = -1 if last_seq is None else last_seq

    def absent(self, camera: str) -> None:
        """Do not wait for a camera until its next frame arrives: its node died, or nothing comes."""
        self._state[camera].absent = True

    def restarted(self, camera: str) -> None:
        """Wait for a camera again that had ended or was absent; a frame of a new node epoch does this too."""
        self._begin(camera, self._state[camera])

    def is_waited_for(self, camera: str) -> bool:
        """Whether sets wait for a camera now."""
        state = self._state[camera]
        return not (state.ended or state.absent)

    def pending(self, camera: str) -> int:
        """Frames of a camera that are held in open sets."""
        return self._state[camera].pending

    @property
    def full(self) -> frozenset[str]:
        """Cameras of which ``capacity`` frames are held: do not receive from them now.

        Never all of those that the oldest open set waits for, so that work always goes on.
        """
        return frozenset(name for name, state in self._state.items() if state.pending >= self.capacity)

    @property
    def next_deadline_ns(self) -> int | None:
        """When ``take`` has to be called again even if no frame comes; ``None`` = not before one does."""
        if self.lossless or not self._open:
            return None
        return min(group.first_ns for group in self._open.values()) + self.deadline_ns

    def _begin(self, name: str, camera: _Camera) -> None:
        if self._watch is not None:
            self._watch.forget(name)
        camera.newest = _NEVER
        camera.last_seq = -1
        camera.phase = None
        camera.ended_after = None
        camera.absent = False
        camera.missed = 0

    def _go_back(self, tick: int) -> None:
        """Give up what lies further ahead of ``tick`` than can be: it was never true."""
        assert self._watch is not None
        limit = tick + self._watch.bound
        for wrong in [at for at in self._open if at > limit]:
            for name in self._open.pop(wrong).frames:
                self.skipped[name]["implausible"] += 1
                self._state[name].pending -= 1
        for state in self._state.values():
            if state.newest > limit:
                state.newest = _NEVER
        self.newest_tick = min(self.newest_tick, tick)
        if self._left is not None and self._left > limit:
            self._left = None

    def _grid_tick(self, camera: _Camera, frame: Frame) -> int:
        if self._phase_ns is None:
            self._phase_ns = float(frame.exposed_ns)
        elapsed = (frame.exposed_ns - self._phase_ns) / self.period_ns
        if camera.phase is None:
            camera.phase = elapsed - round(elapsed)
        else:
            camera.phase += self._slip(camera)
        tick = round(elapsed - camera.phase)
        camera.phase += _FOLLOW_CAMERA * (elapsed - tick - camera.phase)
        if not self._has_ticks:
            self._phase_ns += _FOLLOW_GRID * (elapsed - tick) * self.period_ns
        return tick

    def _slip(self, camera: _Camera) -> int:
        """By how many lines a camera has to move to be clearly nearer to the others."""
        assert camera.phase is not None
        others = [
            state.phase
            for state in self._state.values()
            if state is not camera and state.phase is not None and not state.absent and not state.ended
        ]
        if self._has_ticks:
            others.append(0.0)
        if not others:
            return 0
        low, high = min(others), max(others)

        def spread(phase: float) -> float:
            return max(high, phase) - min(low, phase)

        step = -1 if camera.phase > (low + high) / 2 else 1
        return step if spread(camera.phase + step) < spread(camera.phase) - _SLIP else 0

    def _is_ready(self, tick: int, now_ns: int) -> bool:
        group = self._open[tick]
        waiting = (
            name not in group.frames and state.newest < tick and not state.ended and not state.absent
            for name, state in self._state.items()
        )
        if not any(waiting):
            return True
        return not self.lossless and now_ns - group.first_ns >= self.deadline_ns

    def _leave(self, tick: int, now_ns: int) -> FrameSet:
        group = self._open.pop(tick)
        self._left = tick
        for name, state in self._state.items():
            if name in group.frames:
                state.pending -= 1
            elif state.newest < tick and not state.ended:
                state.missed += 1
                if not self.lossless and state.missed >= self.patience:
                    state.absent = True
        frames = tuple(group.frames.get(name) for name in self.cameras)
        exposed = [frame.exposed_ns for frame in group.frames.values()]
        sync = SyncInfo(group.kind, max(exposed) - min(exposed), tick if group.kind == "trigger" else None)
        return FrameSet(self.cameras, frames, sync, now_ns, tick)
