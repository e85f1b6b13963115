"""The benchmark of the fall-back: its figures are those of what it is given."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from benchmarks._fallback_runs import Lost
from benchmarks._report import Report
from benchmarks.fallback import constants, judge, log_likelihood
from rigpose.pose import LIFTED, NONE, PREDICTED


def answers(sigma_mm: np.ndarray, claimed_mm: np.ndarray, held_mm: float, seed: int = 0) -> Lost:
    rng = np.random.default_rng(seed)
    n = len(sigma_mm)
    return Lost(
        place=(np.arange(n) % 5).tolist(),
        joint=(np.arange(n) % 3).tolist(),
        how=np.where(np.arange(n) % 4, LIFTED, PREDICTED).tolist(),
        views=np.where(np.arange(n) % 4, 1, 0).tolist(),
        off_mm=list(rng.normal(size=(n, 3)) * sigma_mm[:, None]),
        spread_mm2=list(claimed_mm[:, None, None] ** 2 * np.eye(3)),
        held_mm=[held_mm] * n,
        ms=[1.0],
        joints=4 * n,
        sets=1,
    )


def rows(found: Lost, validation: Lost) -> dict[str, tuple[float | None, bool | None]]:
    report = Report.begin("fallback")
    judge(report, "case", found, validation)
    return {row.metric: (row.ours, row.met) for row in report.rows}


@pytest.fixture
def sigma() -> np.ndarray:
    return np.where(np.arange(6000) % 2, 10.0, 40.0)


def test_honest_answers_meet_the_bars_and_those_that_boast_do_not(sigma: np.ndarray) -> None:
    validation = answers(sigma, sigma, 200.0, seed=1)
    honest = rows(answers(sigma, sigma, 200.0), validation)
    assert all(met for _, met in honest.values() if met is not None)
    assert honest["over the last value held"][0] == pytest.approx(1.596 * sigma.mean() / 200, rel=0.03)
    boasting = rows(answers(sigma, 0.5 * sigma, 200.0), validation)
    assert not boasting["within one deviation: off 68 %"][1] and not boasting["within two deviations: off 95 %"][1]


def test_one_deviation_for_all_is_no_better_than_a_constant_one(sigma: np.ndarray) -> None:
    flat = np.full(len(sigma), np.sqrt((sigma**2).mean()))
    validation = answers(sigma, sigma, 200.0, seed=1)
    metric = "log-likelihood over a constant covariance a joint"
    assert abs(rows(answers(sigma, flat, 200.0), validation)[metric][0] or 0) < 0.02
    assert (rows(answers(sigma, sigma, 200.0), validation)[metric][0] or 0) > 0.3


def test_what_is_not_answered_counts_as_if_it_were_held(sigma: np.ndarray) -> None:
    found = answers(sigma, sigma, 200.0)
    found.off_mm = [np.full(3, np.nan) for _ in found.off_mm[:3000]] + found.off_mm[3000:]
    found.how = [NONE] * 3000 + found.how[3000:]
    half = rows(found, answers(sigma, sigma, 200.0, seed=1))
    assert half["lost joints with an answer"][0] == pytest.approx(50.0)
    assert half["over the last value held"][0] == pytest.approx(0.5 + 0.5 * 1.596 * sigma.mean() / 200, rel=0.03)


def test_constants_are_the_errors_own_and_likelihoods_those_of_normal_distributions(sigma: np.ndarray) -> None:
    by_joint, pooled = constants(answers(sigma, sigma, 200.0))
    assert by_joint.shape == (3, 3, 3)
    assert_allclose(np.diag(pooled), (sigma**2).mean(), rtol=0.1)
    expected = -0.5 * (9 / 4 + 3 * np.log(2 * np.pi * 4))
    assert_allclose(log_likelihood(np.array([[3.0, 0, 0]]), 4 * np.eye(3)[None]), expected)
