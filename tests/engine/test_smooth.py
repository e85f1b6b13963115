"""One Euro: quiet at rest, quick in motion, honest about gaps."""

import numpy as np
import pytest

from engine.config import SmoothSection
from engine.smooth import OneEuro

RATE_HZ = 60
PERIOD_NS = round(1e9 / RATE_HZ)


def reference(signal, config):
    """The paper's algorithm for one value, written as it stands there; beta per unit of |speed|."""

    def alpha(cutoff):
        tau = 1 / (2 * np.pi * cutoff)
        return 1 / (1 + tau * RATE_HZ_EXACT)

    filtered, speed, out = signal[0], 0.0, [signal[0]]
    for value in signal[1:]:
        a = alpha(config.derivative_cutoff_hz)
        speed = a * (value - filtered) * RATE_HZ_EXACT + (1 - a) * speed
        a = alpha(config.min_cutoff_hz + config.beta_hz_s_per_mm * abs(speed))
        filtered = a * value + (1 - a) * filtered
        out.append(filtered)
    return np.array(out)


RATE_HZ_EXACT = 1e9 / PERIOD_NS


def run(positions, config=None, times=None):
    smooth = OneEuro(config or SmoothSection())
    times = np.arange(len(positions)) * PERIOD_NS + 10**12 if times is None else times
    return np.stack([smooth(p, int(t)) for p, t in zip(positions, times, strict=True)])


class TestOneEuro:
    def test_is_the_papers_algorithm(self):
        rng = np.random.default_rng(0)
        signal = np.cumsum(rng.normal(0, 5, 200)) + rng.normal(0, 2, 200)
        positions = np.zeros((200, 1, 3))
        positions[:, 0, 0] = signal
        found = run(positions)[:, 0, 0]
        np.testing.assert_allclose(found, reference(signal, SmoothSection()), atol=1e-2)

    def test_does_not_depend_on_the_axes(self):
        rng = np.random.default_rng(1)
        positions = np.cumsum(rng.normal(0, 5, (100, 4, 3)), axis=0)
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        np.testing.assert_allclose(run(positions @ turn.T), run(positions) @ turn.T, atol=1e-3)

    def test_calms_a_joint_at_rest(self):
        noise = np.random.default_rng(2).normal(0, 3, (600, 5, 3))
        found = run(noise + 1000)[60:]
        assert found.std(axis=0).max() < 1.2

    def test_follows_a_joint_that_moves_fast(self):
        # A hand at 2 m/s lags by less than three centimetres; at the resting cut-off it would be by 20.
        positions = np.zeros((120, 1, 3))
        positions[:, 0, 0] = 2000 * np.arange(120) / RATE_HZ
        lag = positions[-1, 0, 0] - run(positions)[-1, 0, 0]
        assert 0 < lag < 35
        still = SmoothSection(beta_hz_s_per_mm=0.0)
        assert positions[-1, 0, 0] - run(positions, still)[-1, 0, 0] > 150

    def test_a_gap_stays_a_gap_and_a_short_one_is_bridged(self):
        positions = np.tile(np.array([100.0, 0, 0]), (60, 2, 1))
        positions[20:25, 0] = np.nan
        found = run(positions)
        assert np.isnan(found[20:25, 0]).all()
        assert np.isfinite(found[:, 1]).all()
        np.testing.assert_allclose(found[25:, 0], positions[25:, 0], atol=1e-4)

    def test_begins_anew_after_a_long_gap(self):
        positions = np.zeros((100, 1, 3))
        positions[10:60] = np.nan
        positions[60:] = 500.0
        np.testing.assert_allclose(run(positions)[60], 500)

    def test_a_joint_never_seen_is_nan_until_it_is(self):
        positions = np.full((10, 1, 3), np.nan)
        positions[5:] = 7.0
        found = run(positions)
        assert np.isnan(found[:5]).all()
        np.testing.assert_allclose(found[5:], 7)

    def test_uneven_times_count(self):
        positions = np.concatenate([np.zeros((1, 1, 3)), np.full((1, 1, 3), 10.0)])
        soon = run(positions, times=[10**9, 10**9 + 5 * 10**6])[-1, 0, 0]
        later = run(positions, times=[10**9, 10**9 + 100 * 10**6])[-1, 0, 0]
        assert soon < later < 10

    def test_the_same_time_twice_changes_nothing(self):
        positions = np.stack([np.zeros((1, 3)), np.full((1, 3), 10.0)])
        found = run(positions, times=[10**9, 10**9])
        np.testing.assert_allclose(found[1], 0)

    def test_reset_forgets(self):
        smooth = OneEuro(SmoothSection())
        smooth(np.zeros((1, 3)), 0)
        smooth.reset()
        np.testing.assert_allclose(smooth(np.full((1, 3), 9.0), 10**7), 9)

    def test_what_it_is_given_stays_unchanged(self):
        measured = np.ones((2, 3))
        smooth = OneEuro(SmoothSection())
        smooth(np.zeros((2, 3)), 0)
        smooth(measured, PERIOD_NS)
        assert (measured == 1).all()

    @pytest.mark.parametrize("joints", [1, 17])
    def test_shape_and_dtype(self, joints):
        found = run(np.zeros((3, joints, 3)))
        assert found.shape == (3, joints, 3)
        assert found.dtype == np.float32
