"""The few figures of a run's report."""

from __future__ import annotations

import numpy as np
import pytest

from capture.virtual.skeletons import FLY38, HUMAN36M17
from training.metrics import distribution, leg_length_mm


def test_a_distribution_leaves_out_what_has_no_answer_and_says_how_much() -> None:
    errors = np.array([1.0, 2, 3, np.nan])
    assert distribution(errors) == {"mean": 2.0, "median": 2.0, "p95": pytest.approx(2.9), "share": 0.75}
    assert distribution(np.full(3, np.nan))["share"] == 0


def test_a_leg_is_as_long_as_its_parts() -> None:
    pose = np.zeros((1, 38, 3))
    pose[0, :, 0] = np.arange(38)
    assert leg_length_mm(pose, FLY38) == pytest.approx(4.0)
    assert leg_length_mm(pose[:, :17], HUMAN36M17) is None
