"""What goes wrong with a virtual camera, as pure functions of its seed and the tick."""

from __future__ import annotations

from capture.virtual.scenario import FaultsSection, Seed, generator

_STREAM = 80
_BLOCK = 256
EXIT_CODE = 70
"""What a process ends with whose camera dies."""


class Faults:
    """The faults of one camera.

    Args:
        section: Of the scenario; ``None`` = nothing goes wrong.
        seed: Of the world.
        view: Index of the camera.
    """

    def __init__(self, section: FaultsSection | None, seed: Seed, view: int) -> None:
        self._section = section or FaultsSection()
        self._seed = seed
        self._view = view
        self._block = -1
        self._dropped: list[bool] = []
        self._drop_ticks = frozenset(self._section.drop_ticks)
        self._stalls = {stall.tick: stall.ms for stall in self._section.stalls}

    def drops(self, tick: int) -> bool:
        """Whether the camera exposes this frame and never gives it."""
        if tick in self._drop_ticks:
            return True
        if not self._section.drop_share:
            return False
        block, place = divmod(tick, _BLOCK)
        if block != self._block:
            seed = self._seed if isinstance(self._seed, tuple) else (self._seed,)
            rng = generator((*seed, self._view, block), _STREAM)
            self._block, self._dropped = block, (rng.uniform(size=_BLOCK) < self._section.drop_share).tolist()
        return self._dropped[place]

    def stall_ms(self, tick: int) -> float:
        """How much later than at its tick this frame leaves."""
        return self._stalls.get(tick, 0.0)

    def device_ns(self, exposed_ns: int, start_ns: int) -> int:
        """The device's own stamp of a moment: its clock was set at the rig's start, not quite right."""
        section = self._section
        return exposed_ns + round(section.offset_ms * 1e6 + (exposed_ns - start_ns) * section.drift_ppm * 1e-6)

    def dies(self, tick: int) -> bool:
        """Whether the process ends when this tick comes."""
        return self._section.dies_at == tick
