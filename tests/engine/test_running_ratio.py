"""How far off something really is, followed while it is watched."""

from __future__ import annotations

import numpy as np
import pytest

from engine.running_ratio import RunningRatio

PERIOD_S = 1 / 30


def watch(ratio: RunningRatio, factor: float, seconds: float, period_s: float = PERIOD_S) -> None:
    rng = np.random.default_rng(0)
    for _ in range(round(seconds / period_s)):
        ratio.add(np.array([factor * rng.chisquare(36)]), np.array([36.0]), period_s)


def test_nothing_observed_is_as_expected() -> None:
    assert RunningRatio(3).value.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0])
def test_it_comes_to_what_is_true(factor: float) -> None:
    ratio = RunningRatio()
    watch(ratio, factor, 10.0)
    assert ratio.value[0] == pytest.approx(factor, rel=0.25)


def test_it_does_so_whatever_the_rate() -> None:
    slow, quick = RunningRatio(), RunningRatio()
    watch(slow, 3.0, 2.0, 1 / 25)
    watch(quick, 3.0, 2.0, 1 / 200)
    assert slow.value[0] == pytest.approx(quick.value[0], rel=0.1)


def test_what_was_is_forgotten() -> None:
    ratio = RunningRatio()
    watch(ratio, 6.0, 5.0)
    watch(ratio, 1.0, 10.0)
    assert ratio.value[0] < 1.3
    ratio.reset()
    assert ratio.value[0] == 1.0


def test_one_absurd_frame_is_not_believed_without_limit() -> None:
    ratio = RunningRatio()
    ratio.add(np.array([1e12]), np.array([36.0]), PERIOD_S)
    assert ratio.value[0] <= 9.0
