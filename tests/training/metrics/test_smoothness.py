"""Acceleration and jitter are differences of frames that follow each other, and of nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from training.metrics.smoothness import runs, smoothness


def of(answer: np.ndarray, truth: np.ndarray, frames: list[int | None], **more: object) -> dict:
    takes = more.pop("takes", ["one"] * len(answer))
    return smoothness(answer, truth, takes, takes, frames, **more)  # type: ignore[arg-type]


def walk(n: int = 30, seed: int = 0) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).normal(size=(n, 5, 3)), axis=0)


class TestRuns:
    def test_frames_that_follow_each_other_overlap(self) -> None:
        assert runs("aaaa", [4, 5, 6, 7], 3).tolist() == [[0, 1, 2], [1, 2, 3]]

    def test_a_gap_and_another_track_end_a_run(self) -> None:
        assert runs("aaaaabb", [0, 1, 2, 4, 5, 6, 7], 3).tolist() == [[0, 1, 2]]

    def test_the_order_of_rows_does_not_matter(self) -> None:
        assert runs("aaa", [7, 5, 6], 3).tolist() == [[1, 2, 0]]

    def test_a_step_is_what_frames_differ_by(self) -> None:
        assert runs("aaaa", [0, 3, 6, 7], 3, step=3).tolist() == [[0, 1, 2]]

    def test_what_has_no_number_follows_nothing(self) -> None:
        assert runs("aaa", [None, None, None], 3).shape == (0, 3)


def test_the_error_is_that_of_the_second_difference() -> None:
    truth = walk()
    bent = np.arange(30.0)[:, None, None] ** 2 * np.array([0, 1.5, 2])
    found = of(truth + bent, truth, list(range(30)))["acceleration_error"]
    # Of t^2 times c the second difference is 2 c.
    assert found["mean"] == pytest.approx(5.0) and found["n"] == 28 * 5


def test_a_shift_and_a_steady_drift_are_smooth() -> None:
    truth = walk()
    drift = np.arange(30.0)[:, None, None] * [3, 4, 0] + 100
    assert of(truth + drift, truth, list(range(30)))["acceleration_error"]["mean"] == pytest.approx(0, abs=1e-9)


def test_jitter_is_the_third_difference_of_each() -> None:
    truth = np.zeros((20, 5, 3))
    answer = np.arange(20.0)[:, None, None] ** 3 * np.array([1, 0, 0])
    found = of(answer, truth, list(range(20)))
    assert found["jitter"]["mean"] == pytest.approx(6.0) and found["jitter_of_truth"]["mean"] == 0


def test_a_joint_that_is_missing_once_is_left_out_where_it_has_a_say_in_both() -> None:
    truth, answer = walk(), walk(seed=1)
    answer[10, 2] = np.nan
    found = of(answer, truth, list(range(30)))
    assert found["acceleration_error"]["n"] == 28 * 5 - 3
    assert found["jitter"]["n"] == found["jitter_of_truth"]["n"] == 27 * 5 - 4


def test_without_frames_in_a_row_nothing_is_said() -> None:
    found = of(walk(), walk(), list(range(0, 60, 2)))
    assert found["acceleration_error"] == {"mean": None, "interval": None, "n": 0, "sequences": 0}


def test_intervals_are_over_takes() -> None:
    takes = ["one"] * 15 + ["two"] * 15
    found = of(walk(seed=1), walk(), list(range(30)), takes=takes)["acceleration_error"]
    assert found["sequences"] == 2 and found["interval"] is not None
    assert of(walk(seed=1), walk(), list(range(30)))["acceleration_error"]["interval"] is None
