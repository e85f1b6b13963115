"""What a lifter has to beat does what its name says."""

from __future__ import annotations

import numpy as np
import pytest

from training.lifting.baselines import MeanPose, Neighbours, Ridge, distance_mm

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 8)) * [1, 10, 0.1, 1, 1, 1, 1, 1]
WEIGHT = RNG.normal(size=(8, 6))
Y = X @ WEIGHT + 5


def test_the_mean_pose_is_the_mean_whatever_is_seen():
    assert np.allclose(MeanPose.fit(X, Y).predict(X[:4]), np.tile(Y.mean(axis=0), (4, 1)))


def test_neighbours_are_found_by_z_scores():
    model = Neighbours.fit(X, Y, k=10)
    z = (X - X.mean(axis=0)) / X.std(axis=0)
    for row in (3, 77):
        nearest = np.argsort(((z - z[row]) ** 2).sum(axis=1))[:10]
        assert np.allclose(model.predict(X[row : row + 1])[0], Y[nearest].mean(axis=0))
    assert np.allclose(Neighbours.fit(X, Y, k=1).predict(X), Y)
    assert model.predict(X).shape == Y.shape, "more than one chunk"


def test_ridge_without_a_penalty_is_least_squares_and_with_much_of_it_the_mean():
    assert np.allclose(Ridge.fit(X, Y, strengths=[1e-12]).predict(X), Y, atol=1e-6)
    assert np.allclose(Ridge.fit(X, Y, strengths=[1e9]).predict(X), Y.mean(axis=0), atol=1e-3)


def test_ridge_is_the_closed_form():
    z = (X - X.mean(axis=0)) / X.std(axis=0)
    weight = np.linalg.solve(z.T @ z + 0.1 * len(z) * np.eye(8), z.T @ (Y - Y.mean(axis=0)))
    assert np.allclose(Ridge.fit(X, Y, strengths=[0.1]).predict(X), z @ weight + Y.mean(axis=0))


def test_the_strength_is_chosen_on_the_validation_part():
    noisy = X + RNG.normal(size=X.shape) * X.std(axis=0)
    few = slice(0, 20)
    chosen = Ridge.fit(noisy[few], Y[few], noisy[100:], Y[100:])
    errors = [
        distance_mm(Ridge.fit(noisy[few], Y[few], strengths=[s]).predict(noisy[100:]), Y[100:]) for s in (1e-6, 10)
    ]
    assert distance_mm(chosen.predict(noisy[100:]), Y[100:]) <= min(errors)
    assert 1e-6 < chosen.strength < 10
    with pytest.raises(ValueError, match="validation part"):
        Ridge.fit(X, Y)


def test_what_is_not_known_counts_as_its_mean():
    x, y = X.copy(), Y.copy()
    x[::7, 2], y[::5, :3] = np.nan, np.nan
    for model in (MeanPose.fit(x, y), Neighbours.fit(x, y), Ridge.fit(x, y, x, y)):
        assert np.isfinite(model.predict(x)).all()
    assert np.isfinite(distance_mm(Y, y))
