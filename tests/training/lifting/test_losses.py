"""Statistics and losses: what a lifter begins with, and that it is pulled towards the truth."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import multivariate_normal

from engine.models.lifter import Lifter, LifterSpec
from tests.training.lifting.made import CPU, SKELETON, TREE, generator, poses
from training.lifting.bank import Bank, roots_of
from training.lifting.config import NoiseSection, ViewSection
from training.lifting.losses import loss_of, minus_log_likelihood, squared_mahalanobis
from training.lifting.samples import Sampler
from training.lifting.statistics import measure, see

NOISE = NoiseSection(px=(1.0, 1.0))


def made(kind="masked", view=None, **keys):
    torch.manual_seed(0)
    spec = LifterSpec(kind=kind, joints=6, roots=roots_of(SKELETON, "legs"), width=16, **keys)
    lifter = Lifter(spec)
    bank = Bank(poses(60, animals=2), spec.window, CPU)
    sampler = Sampler(bank, TREE, view or ViewSection(cameras=("pin",)), NOISE, None, spec.mode == "weak")
    measure(lifter, sampler, generator(), least=500)
    return lifter, sampler


def batch(sampler, lifter):
    return see(lifter, sampler.sample(torch.arange(120), generator(7)))


def test_inputs_and_answers_become_z_scores():
    lifter, sampler = made("liftpose", by_spread=False)
    seen = batch(sampler, lifter)
    features = lifter.features(seen.gaze, seen.confidence)
    assert features.mean().abs() < 0.05 and (features.std(dim=0) - 1).abs().max() < 0.2
    scores = (seen.target_mm - lifter.mean3d) / lifter.std3d
    assert scores.mean().abs() < 0.05 and (scores.std(dim=0) - 1).abs().max() < 0.2


def test_a_coordinate_that_never_changes_divides_nothing_by_nothing():
    lifter, _ = made("liftpose", by_spread=False)
    assert lifter.std2d.min() > 0 and lifter.std3d.min() > 0


def test_the_linear_part_begins_as_ridge_regression():
    lifter, sampler = made()
    seen = batch(sampler, lifter)
    x = lifter.features(seen.gaze, seen.confidence)[:, -1].detach().double().numpy()
    y = seen.target_mm.flatten(1).double().numpy()
    one = np.c_[x, np.ones(len(x))]
    best = one @ np.linalg.solve(one.T @ one / len(x) + 1e-3 * np.eye(one.shape[1]), one.T @ y / len(x))
    begun = lifter.eval().lift(seen.gaze, seen.confidence).position_mm.flatten(1).detach().double().numpy()
    spread = np.abs(y - y.mean(axis=0)).mean()
    assert np.abs(begun - y).mean() < np.abs(best - y).mean() + 0.05 * spread
    assert np.abs(begun - y).mean() < 0.5 * spread


def test_distances_and_likelihoods_are_those_of_scipy():
    rng = np.random.default_rng(0)
    factor = np.tril(rng.normal(size=(5, 3, 3)))
    factor[:, range(3), range(3)] = rng.uniform(0.5, 2, (5, 3))
    residual = rng.normal(size=(5, 3))
    found = minus_log_likelihood(torch.tensor(residual), torch.tensor(factor)).numpy()
    wanted = [
        -multivariate_normal(cov=f @ f.T).logpdf(r) - 1.5 * np.log(2 * np.pi)
        for f, r in zip(factor, residual, strict=True)
    ]
    assert np.allclose(found, wanted)
    squared = squared_mahalanobis(torch.tensor(residual), torch.tensor(factor)).numpy()
    assert np.allclose(squared, [r @ np.linalg.solve(f @ f.T, r) for f, r in zip(factor, residual, strict=True)])


def test_liftposes_loss_is_the_mean_square_of_z_scores():
    lifter, sampler = made("liftpose", by_spread=False)
    seen = batch(sampler, lifter)
    lifter.eval()
    scores, _ = lifter.scores(lifter.features(seen.gaze, seen.confidence))
    wanted = (seen.target_mm - lifter.mean3d) / lifter.std3d
    assert torch.allclose(loss_of(lifter, seen, 0.0).total, ((scores - wanted) ** 2).mean(), rtol=1e-5)


def test_what_is_not_known_does_not_count():
    lifter, sampler = made("liftpose", by_spread=False)
    seen = batch(sampler, lifter)
    lifter.eval()
    part = seen.known.clone()
    part[:, 0] = False
    spoiled = seen.target_mm.clone()
    spoiled[:, 0] = 1e6
    a, b = (loss_of(lifter, seen._replace(known=part, target_mm=target), 0.0) for target in (seen.target_mm, spoiled))
    assert torch.equal(a.total, b.total) and torch.equal(a.distance_mm, b.distance_mm)


def test_the_likelihood_teaches_the_covariance_and_not_the_pose():
    lifter, sampler = made()
    seen = batch(sampler, lifter)
    lifter.eval()
    (loss_of(lifter, seen, 1.0).total - loss_of(lifter, seen, 0.0).total).backward()
    n = 3 * len(lifter.spec.lifted)
    gradient = lifter.body.answer.weight.grad
    assert gradient[:n].abs().max() < 1e-6 * gradient[n:].abs().max()


def test_bfloat16_layers_learn_by_nearly_the_same_loss():
    lifter, sampler = made()
    seen = batch(sampler, lifter)
    lifter.eval()
    full, half = (loss_of(lifter, seen, 0.1, dtype).total.item() for dtype in (None, torch.bfloat16))
    assert abs(full - half) < 0.05 * abs(full) + 0.02
