"""Faults are pure functions of seed and tick."""

from __future__ import annotations

import numpy as np

from capture.virtual.faults import Faults
from capture.virtual.scenario import FaultsSection


def faults(seed: int = 0, view: int = 0, **values) -> Faults:
    return Faults(FaultsSection(**values), seed, view)


def test_without_any_nothing_goes_wrong() -> None:
    none = Faults(None, 0, 0)
    assert not any(none.drops(tick) or none.dies(tick) or none.stall_ms(tick) for tick in range(1000))
    assert none.device_ns(12_345, 5) == 12_345


def test_a_share_of_frames_is_dropped() -> None:
    dropped = [faults(drop_share=0.2).drops(tick) for tick in range(4000)]
    assert 0.17 < np.mean(dropped) < 0.23


def test_the_same_ones_whoever_asks_and_in_which_order() -> None:
    one, other = faults(drop_share=0.3), faults(drop_share=0.3)
    forth = [one.drops(tick) for tick in range(600)]
    back = [other.drops(tick) for tick in reversed(range(600))]
    assert forth == back[::-1]


def test_other_cameras_and_seeds_drop_others() -> None:
    drops = [
        tuple(one.drops(t) for t in range(200))
        for one in (faults(0, 0, drop_share=0.3), faults(0, 1, drop_share=0.3), faults(1, 0, drop_share=0.3))
    ]
    assert len(set(drops)) == 3


def test_named_ticks_are_dropped() -> None:
    assert [t for t in range(20) if faults(drop_ticks=(3, 7)).drops(t)] == [3, 7]


def test_stalls_and_death_come_at_their_ticks() -> None:
    one = faults(stalls=({"tick": 5, "ms": 80},), dies_at=9)
    assert [one.stall_ms(tick) for tick in (4, 5, 6)] == [0, 80, 0]
    assert [tick for tick in range(20) if one.dies(tick)] == [9]


def test_the_clock_is_ahead_and_drifts() -> None:
    one = faults(offset_ms=20, drift_ppm=100)
    assert one.device_ns(1_000, 1_000) == 1_000 + 20_000_000
    assert one.device_ns(10**10, 0) == 10**10 + 20_000_000 + 1_000_000
