"""Intervals are those of a cluster bootstrap: as wide as sequences differ, whatever the number of their frames."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from training.metrics.resampling import LEVEL, Resampling


def frames_of(sequences: int, frames: int, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Errors that are alike within a sequence."""
    rng = np.random.default_rng(seed)
    level = rng.normal(30, 6, sequences)
    values = level[:, None, None] + rng.normal(0, 0.5, (sequences, frames, 17))
    return values.reshape(-1, 17), [f"take {i}" for i in range(sequences) for _ in range(frames)]


def everything(values: np.ndarray) -> np.ndarray:
    return np.ones(values.shape, bool)


def test_an_interval_is_scipy_s_over_the_sequences() -> None:
    values, names = frames_of(40, 5)
    low, high = Resampling(names).figure(values, everything(values))["interval"]
    means = values.reshape(40, -1).mean(axis=1)
    expected = bootstrap((means,), np.mean, confidence_level=LEVEL, method="percentile", n_resamples=20_000, rng=1)
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval), abs=0.15)


def test_sequences_of_unlike_length_are_drawn_as_ratios() -> None:
    rng = np.random.default_rng(2)
    lengths = rng.integers(1, 12, 30)
    level = rng.normal(30, 6, 30)
    values, names = np.repeat(level, lengths), np.repeat(np.arange(30), lengths).tolist()
    found = Resampling(names).figure(values, everything(values))
    assert found["mean"] == pytest.approx(values.mean())

    def ratio(total: np.ndarray, count: np.ndarray, axis: int = -1) -> np.ndarray:
        return total.sum(axis=axis) / count.sum(axis=axis)

    sums = level * lengths
    drawn = {"confidence_level": LEVEL, "method": "percentile", "n_resamples": 20_000, "rng": 1}
    expected = bootstrap((sums, lengths), ratio, paired=True, vectorized=True, **drawn)
    assert found["interval"] == pytest.approx(list(expected.confidence_interval), abs=0.25)


def test_more_frames_of_the_same_sequences_make_nobody_surer() -> None:
    few, many = frames_of(12, 3), frames_of(12, 60)
    widths = []
    for values, names in (few, many):
        low, high = Resampling(names).figure(values, everything(values))["interval"]
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0], rel=0.1)
    as_if_independent = Resampling(range(len(many[0]))).figure(many[0], everything(many[0]))["interval"]
    assert as_if_independent[1] - as_if_independent[0] < widths[1] / 4


def test_one_sequence_has_no_interval() -> None:
    values, names = frames_of(1, 50)
    found = Resampling(names).figure(values, everything(values))
    assert (found["interval"], found["n"], found["sequences"]) == (None, 850, 1)


def test_a_single_sequence_that_has_something_is_one_sequence() -> None:
    values, names = frames_of(3, 4)
    counted = np.zeros(values.shape, bool)
    counted[:4] = True
    found = Resampling(names).figure(values, counted)
    assert (found["interval"], found["sequences"], found["n"]) == (None, 1, 68)


def test_what_does_not_count_has_no_say() -> None:
    values, names = frames_of(5, 4)
    counted = np.random.default_rng(0).random(values.shape) < 0.5
    holed = np.where(counted, values, np.nan)
    found = Resampling(names).figure(holed, counted)
    assert found["mean"] == pytest.approx(values[counted].mean()) and found["n"] == counted.sum()


def test_nothing_at_all_has_no_mean() -> None:
    found = Resampling(["a", "b"]).figure(np.full((2, 3), np.nan), np.zeros((2, 3), bool))
    assert found == {"mean": None, "interval": None, "n": 0, "sequences": 0}


def test_each_group_counts_alike_however_many_frames_it_has() -> None:
    values = np.array([10.0, 10, 10, 10, 40, 40])
    resampling = Resampling(list("aabbcd"))
    groups = [resampling.totals(values, np.arange(6) < 4), resampling.totals(values, np.arange(6) >= 4)]
    found = resampling.mean_of_groups(groups)
    assert (found["mean"], found["n"], found["sequences"]) == (25.0, 2, 4)
    # A draw may hold one group only: then its mean counts.
    assert found["interval"] == [10.0, 40.0] or found["interval"] == [25.0, 25.0]


def test_it_is_the_same_each_time() -> None:
    values, names = frames_of(9, 2)
    assert Resampling(names).figure(values, everything(values)) == Resampling(names).figure(values, everything(values))
