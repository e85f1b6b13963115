"""Whether the tick of a frame can be true: no camera may carry the others off into the future.

A frame that is far ahead of the rig closes every set before it, and whatever the other cameras send
then comes too late. So a tick that lies further ahead of the newest one than time can have brought it
is believed only where most cameras say so too; and where most of them say that the rig is far behind
of what was believed (one came first with a wrong count, the trigger began anew), they are believed.
"""

from __future__ import annotations

from typing import Literal

Verdict = Literal["plausible", "ahead", "back"]
AHEAD_S = 1.0


class TickWatch:
    """Judges the ticks of all cameras of a rig against each other and against the time that has passed.

    Args:
        period_ns: Between ticks.
        least: Ticks that a camera may always be ahead.
    """

    def __init__(self, period_ns: int, least: int) -> None:
        self._period_ns = period_ns
        self._bound = max(least, round(AHEAD_S * 1e9 / period_ns))
        self._newest: tuple[int, int] | None = None
        self._said: dict[str, tuple[int, int]] = {}

    @property
    def bound(self) -> int:
        """Ticks further ahead than time alone brings them, beyond which most cameras must agree."""
        return self._bound

    def forget(self, camera: str) -> None:
        """A camera begins anew: what it said before counts no more."""
        self._said.pop(camera, None)

    def judge(self, camera: str, tick: int, at_ns: int) -> Verdict:
        """Take in the tick of a frame.

        Returns:
            ``plausible``; ``ahead`` = not to be believed; ``back`` = most cameras are as far behind of what was
            believed: what lies further ahead than ``bound`` was wrong.
        """
        near = sum(abs(tick - self._now(said, at_ns)) <= self._bound for said in self._said.values())
        most = 2 * near > len(self._said)
        self._said[camera] = (tick, at_ns)
        if self._newest is None:
            self._newest = (tick, at_ns)
            return "plausible"
        ahead = tick - self._now(self._newest, at_ns)
        if ahead > self._bound and not most:
            return "ahead"
        if ahead < -self._bound and most:
            self._newest = (tick, at_ns)
            return "back"
        if tick > self._newest[0]:
            self._newest = (tick, at_ns)
        return "plausible"

    def _now(self, said: tuple[int, int], at_ns: int) -> float:
        """The tick of this moment, by what was said before."""
        tick, then_ns = said
        return tick + max(0, at_ns - then_ns) / self._period_ns
