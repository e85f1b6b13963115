"""Linear domain adaptation finds a linear change of rig, and folds into a lifter exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rigpose.errors import ConfigError
from tests.engine.lifters import lifter
from training.adapt import folded
from training.lifting.adaptation import Adaptation, LinearMap, fit, fit_map, read_adaptation

RNG = np.random.default_rng(1)
LATENT = RNG.uniform(-1, 1, (800, 2))


def domain(seed, n, offset, scale):
    """Poses of a two-dimensional motion, seen another way in each domain."""
    rows = np.random.default_rng(seed).choice(800, n, replace=False)
    curve = np.concatenate([LATENT, LATENT**2, LATENT[:, :1] * LATENT[:, 1:]], axis=1)
    basis = np.random.default_rng(7).normal(size=(5, 16))
    return (offset + scale * (curve @ basis)).reshape(800, 8, 2)[rows], rows


def test_a_change_of_size_and_place_is_undone():
    source, _ = domain(1, 800, 0.0, 1.0)
    target, rows = domain(2, 100, 3.0, 0.4)
    true, _ = domain(1, 800, 0.0, 1.0)
    wanted = domain(2, 100, 0.0, 1.0)[0]
    mapped = fit_map(target, source)(target)
    before = np.linalg.norm(target - wanted, axis=-1).mean()
    assert np.linalg.norm(mapped - wanted, axis=-1).mean() < 0.1 * before
    assert true.shape == source.shape and len(rows) == 100


def test_few_poses_leave_what_they_do_not_tell_as_it_is():
    source, _ = domain(1, 800, 0.0, 1.0)
    mapped = fit_map(source[:3], source, strength=1e6)(source[:50])
    z = (source[:50].reshape(50, -1) - source[:3].reshape(3, -1).mean(axis=0)) / source[:3].reshape(3, -1).std(axis=0)
    flat = source.reshape(800, -1)
    assert np.allclose(mapped.reshape(50, -1), z * flat.std(axis=0) + flat.mean(axis=0), atol=0.1)


def test_other_joints_and_too_few_poses_are_refused():
    with pytest.raises(ConfigError, match="same joints"):
        fit_map(np.zeros((9, 3, 2)), np.zeros((9, 4, 2)))
    with pytest.raises(ConfigError, match="too few"):
        fit_map(np.zeros((9, 3, 2)), np.zeros((2, 3, 2)))


def test_it_is_written_and_read(tmp_path):
    source, target = domain(1, 800, 0.0, 1.0)[0], domain(2, 100, 3.0, 0.4)[0]
    made = fit(target, source, np.pad(target, ((0, 0), (0, 0), (0, 1))), np.pad(source, ((0, 0), (0, 0), (0, 1))))
    made.write(tmp_path / "a.npz")
    again = read_adaptation(tmp_path / "a.npz")
    assert np.array_equal(again.points.weight, made.points.weight) and again.poses is not None
    with pytest.raises(ConfigError, match="no such file"):
        read_adaptation(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", format="other")
    with pytest.raises(ConfigError, match="is no adaptation"):
        read_adaptation(tmp_path / "c.npz")


class TestFolded:
    def test_the_maps_are_part_of_the_network(self):
        made = lifter("liftpose", by_spread=False)
        points = LinearMap(np.eye(32) + 0.1 * RNG.normal(size=(32, 32)), 0.01 * RNG.normal(size=32))
        poses = LinearMap(np.eye(48) + 0.1 * RNG.normal(size=(48, 48)), RNG.normal(size=48))
        x = torch.randn(5, 1, 16, 2) * 0.3
        inner = folded(made, Adaptation(points, poses))

        def answer(network, seen):
            scores, _ = network.scores(((seen - network.mean2d) / network.std2d).flatten(2))
            return (scores * network.std3d + network.mean3d).detach()

        mapped = torch.tensor(points(x.numpy().reshape(5, 16, 2)), dtype=torch.float32)[:, None]
        wanted = poses(answer(made, mapped).numpy())
        assert np.allclose(answer(inner, x), wanted, atol=2e-2)
        assert not np.allclose(answer(made, x), wanted, atol=5.0)

    def test_a_masked_lifter_cannot_be_adapted(self):
        with pytest.raises(ConfigError, match="train one of kind liftpose"):
            folded(lifter(), Adaptation(LinearMap(np.eye(2), np.zeros(2))))
