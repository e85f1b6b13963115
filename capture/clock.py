"""The camera's clock against the host's, and counters that wrap.

A device stamp is exact but of another clock; the arrival is of the host's clock but late by a latency
that only ever adds. So the smallest (host - device) of a window is nearest to the truth, and a line
through the minima of several windows gives offset and drift (the minimum filter of Cristian's
algorithm and of NTP; the line is Theil and Sen's, which up to 29 % bad windows cannot bend).
The smallest latency itself cannot be seen: stamps come out late by it, the same for equal cameras.
"""

from __future__ import annotations

from collections import deque

import numpy as np


class DeviceClock:
    """Brings one camera's stamps to the host's monotonic clock.

    With latencies of 3 ms + gamma(2, 1 ms), 1 % stalls of 50 ms, 60 fps and 30 ppm of drift, stamps are
    within 0.5 ms of truth plus the smallest latency after ten seconds, and drift within 15 ppm.

    Args:
        period_ns: Between two frames; a clock that moves by more was set or started again.
        window_ns: Length of one minimum.
        windows: How many minima the line goes through.

    Attributes:
        resets: How often the clock was found to have jumped or gone back.
    """

    def __init__(self, period_ns: int, *, window_ns: int = 2_000_000_000, windows: int = 30) -> None:
        if period_ns <= 0 or window_ns <= 0 or windows < 2:
            raise ValueError("a device clock needs a period, a window and at least two windows")
        self.period_ns = period_ns
        self.window_ns = window_ns
        self.resets = 0
        self._minima: deque[tuple[int, int]] = deque(maxlen=windows)
        self._slope = 0.0
        self._anchor: tuple[int, int] | None = None
        self._last_ns: int | None = None
        self._window_start: int | None = None
        self._lowest: tuple[int, int] | None = None

    def to_host(self, device_ns: int, host_ns: int) -> int:
        """Take a pair of stamps and give the device's on the host's clock.

        Args:
            device_ns: The device's stamp.
            host_ns: When the host had the frame; the answer is never later.
        """
        if self._last_ns is not None and device_ns <= self._last_ns:
            self._reset()
        difference = host_ns - device_ns
        # Latency only adds, so a difference below the line by a whole period is another clock.
        if self._anchor is not None and difference < self._offset_at(device_ns) - self.period_ns:
            self._reset()
        self._last_ns = device_ns
        if self._window_start is None:
            self._window_start = device_ns
        if device_ns - self._window_start >= self.window_ns:
            self._close_window(device_ns)
        if self._lowest is None or difference < self._lowest[1]:
            self._lowest = (device_ns, difference)
        return device_ns + min(self._offset_at(device_ns), difference)

    @property
    def offset_ns(self) -> int:
        """Host minus device at the newest stamp; 0 before the first."""
        return 0 if self._last_ns is None else self._offset_at(self._last_ns)

    @property
    def drift_ppm(self) -> float:
        """By how much the host's clock runs faster than the device's; 0 before two windows."""
        return self._slope * 1e6

    def _reset(self) -> None:
        self._minima.clear()
        self._slope = 0.0
        self._anchor = self._last_ns = self._window_start = self._lowest = None
        self.resets += 1

    def _offset_at(self, device_ns: int) -> int:
        if self._anchor is not None:
            return self._anchor[1] + round(self._slope * (device_ns - self._anchor[0]))
        return self._lowest[1] if self._lowest is not None else 0

    def _close_window(self, device_ns: int) -> None:
        lowest = self._lowest
        if lowest is not None:
            # A single late frame is a stall; a whole window above the line is a clock that was set.
            if self._anchor is not None and lowest[1] > self._offset_at(lowest[0]) + self.period_ns:
                self._reset()
                self._last_ns = device_ns
            self._minima.append(lowest)
            self._fit()
        self._window_start, self._lowest = device_ns, None

    def _fit(self) -> None:
        """Theil-Sen through the minima; integers around the newest one, for stamps exceed float64."""
        time_0, offset_0 = self._minima[-1]
        times = np.array([time - time_0 for time, _ in self._minima], np.float64)
        offsets = np.array([offset - offset_0 for _, offset in self._minima], np.float64)
        later, earlier = np.tril_indices(len(times), -1)
        self._slope = (
            float(np.median((offsets[later] - offsets[earlier]) / (times[later] - times[earlier])))
            if len(later)
            else 0.0
        )
        self._anchor = (time_0, offset_0 + round(float(np.median(offsets - self._slope * times))))


class DeviceCounter:
    """A device's frame counter, followed over its wraps.

    Args:
        bits: 8, 16, 32 or 64.
        first: What follows the largest value (GigE Vision block ids go on with 1).

    Attributes:
        exposed: Frames that the device counted since the first one given, that one included.
        lost: Of these, the ones that were not given.
        restarts: How often the counter went back: the device was started again.
    """

    def __init__(self, bits: int, *, first: int = 0) -> None:
        if bits not in (8, 16, 32, 64):
            raise ValueError("a counter has 8, 16, 32 or 64 bits")
        self._modulus = 2**bits - first
        self._first = first
        self._last: int | None = None
        self.exposed = 0
        self.lost = 0
        self.restarts = 0

    def add(self, value: int) -> int:
        """Take the counter of the next frame.

        A step of up to half the range is forward, so that many lost frames are counted; a longer one
        is a step back and begins anew, and what was lost meanwhile is unknown.

        Returns:
            Frames lost between the last one and this.
        """
        position = (value - self._first) % self._modulus
        step = 1
        if self._last is not None:
            step = (position - self._last) % self._modulus
            if step == 0 or step > self._modulus // 2:
                self.restarts += 1
                step = 1
        self._last = position
        self.exposed += step
        self.lost += step - 1
        return step - 1
