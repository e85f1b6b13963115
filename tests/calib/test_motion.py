"""What counts as motion in pictures."""

import numpy as np
import pytest

from calib.motion import MotionMeter
from rigpose.errors import ConfigError


class TestMeter:
    def test_lamps_that_change_everything_are_no_motion(self):
        meter = MotionMeter("a")
        for k in range(20):
            meter.add(np.full((60, 80), 100 + 50 * (k % 2), np.uint8), k / 10)
        assert not meter.signal().motion.any()

    def test_times_that_do_not_rise(self):
        meter = MotionMeter("a")
        meter.add(np.zeros((8, 8), np.uint8), 1.0)
        with pytest.raises(ConfigError, match="do not rise"):
            meter.add(np.zeros((8, 8), np.uint8), 1.0)
