"""The clock estimator on simulated cameras, and counters over their wraps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture.clock import DeviceClock, DeviceCounter

PERIOD = round(1e9 / 60)
BASE_NS = 3_000_000


def simulate(
    seed: int, *, seconds: float = 40, drift_ppm: float = 30, offset_ns: int = -(10**15)
) -> tuple[np.ndarray, ...]:
    """Stamps of a 60 fps camera: true exposure (host clock), device clock, arrival on the host."""
    rng = np.random.default_rng(seed)
    n = int(seconds * 60)
    true = 5 * 10**12 + np.arange(n, dtype=np.int64) * PERIOD
    device = ((true - true[0]) * (1 - drift_ppm * 1e-6)).astype(np.int64) + true[0] - offset_ns
    latency = BASE_NS + rng.gamma(2, 1e6, n) + np.where(rng.random(n) < 0.01, 50e6, 0)
    host = np.maximum.accumulate(true + latency.astype(np.int64))
    return true, device, host


class TestDeviceClock:
    @settings(max_examples=12, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1), drift=st.sampled_from([-100.0, -30.0, 0.0, 30.0, 100.0]))
    def test_stamps_are_right_to_half_a_millisecond_after_ten_seconds(self, seed: int, drift: float) -> None:
        true, device, host = simulate(seed, drift_ppm=drift)
        clock = DeviceClock(PERIOD)
        got = np.array([clock.to_host(int(d), int(h)) for d, h in zip(device, host, strict=True)])
        error = got - true - BASE_NS
        assert np.abs(error[600:]).max() < 500_000
        assert clock.drift_ppm == pytest.approx(drift, abs=15)
        assert clock.resets == 0

    def test_arrivals_alone_would_be_wrong_by_the_stalls(self) -> None:
        true, device, host = simulate(1)
        clock = DeviceClock(PERIOD)
        got = np.array([clock.to_host(int(d), int(h)) for d, h in zip(device, host, strict=True)])
        assert np.ptp((host - true)[600:]) > 40e6
        assert np.ptp((got - true)[600:]) < 1e6

    def test_no_stamp_is_later_than_the_arrival(self) -> None:
        _, device, host = simulate(2, seconds=10)
        clock = DeviceClock(PERIOD)
        assert all(clock.to_host(int(d), int(h)) <= h for d, h in zip(device, host, strict=True))

    @pytest.mark.parametrize("jump_ns", [-(10**9), 10**9, -(10**14)])
    def test_a_clock_that_jumps_is_learnt_anew(self, jump_ns: int) -> None:
        true, device, host = simulate(3, seconds=30)
        device = device.copy()
        device[900:] += jump_ns
        clock = DeviceClock(PERIOD)
        got = np.array([clock.to_host(int(d), int(h)) for d, h in zip(device, host, strict=True)])
        assert clock.resets == 1
        assert np.abs((got - true - BASE_NS)[1300:]).max() < 1_000_000

    def test_a_stall_of_a_second_is_no_jump(self) -> None:
        true, device, host = simulate(4, seconds=20)
        host = host.copy()
        host[700:760] = np.maximum(host[700:760], host[700] + 10**9)
        clock = DeviceClock(PERIOD)
        got = np.array(
            [clock.to_host(int(d), int(h)) for d, h in zip(device, np.maximum.accumulate(host), strict=True)]
        )
        assert clock.resets == 0
        assert np.abs((got - true - BASE_NS)[600:]).max() < 1_000_000


class TestDeviceCounter:
    @given(
        bits=st.sampled_from([8, 16, 32, 64]),
        first=st.sampled_from([0, 1]),
        start=st.integers(0, 2**64),
        gaps=st.lists(st.integers(0, 100), max_size=60),
    )
    def test_counts_what_was_lost_over_every_wrap(self, bits: int, first: int, start: int, gaps: list[int]) -> None:
        counter = DeviceCounter(bits, first=first)
        modulus = 2**bits - first
        position = start
        assert counter.add(position % modulus + first) == 0
        for gap in gaps:
            position += gap + 1
            assert counter.add(position % modulus + first) == gap
        assert counter.lost == sum(gaps)
        assert counter.exposed == 1 + len(gaps) + sum(gaps)
        assert counter.restarts == 0

    def test_a_counter_that_goes_back_was_started_again(self) -> None:
        counter = DeviceCounter(32)
        assert [counter.add(value) for value in (1000, 1001, 0, 1, 3)] == [0, 0, 0, 0, 1]
        assert counter.restarts == 1
        assert counter.exposed == counter.lost + 5

    def test_other_widths_are_refused(self) -> None:
        with pytest.raises(ValueError, match="8, 16, 32 or 64"):
            DeviceCounter(12)
