"""How sure a volume is: second moments that a place between voxels does not enlarge."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from engine.models.spread import FINEST, moments_3d, spread_3d  # noqa: E402
from engine.models.volume import cuboid, soft_argmax_3d  # noqa: E402
from tests.engine.models.reference import volume as reference  # noqa: E402
from tests.engine.models.test_volume import BASE, SIDE, SIZE  # noqa: E402


def test_is_the_second_moment_less_what_the_grid_needs_and_its_finest() -> None:
    rng = np.random.default_rng(4)
    volumes = 3 * rng.normal(size=(1, 4, SIZE, SIZE, SIZE))
    grid = cuboid(torch.from_numpy(BASE[None]), SIDE, SIZE)
    got = spread_3d(torch.from_numpy(volumes), grid, 1.5).numpy()[0]
    want = reference.spread_3d(1.5 * volumes[0], grid[0].numpy())
    assert got == pytest.approx(want[:, *np.triu_indices(3)], rel=1e-9)


def test_a_cube_that_is_turned_turns_the_covariance_with_it() -> None:
    rng = np.random.default_rng(6)
    volumes, theta = torch.from_numpy(3 * rng.normal(size=(1, 2, SIZE, SIZE, SIZE))), torch.tensor([0.7])
    straight = cuboid(torch.zeros(1, 3, dtype=torch.float64), SIDE, SIZE)
    still, (turned, spread) = (
        moments_3d(volumes, straight),
        moments_3d(volumes, cuboid(torch.zeros(1, 3, dtype=torch.float64), SIDE, SIZE, theta.double())),
    )
    c, s = np.cos(0.7), np.sin(0.7)
    R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    assert turned[0].numpy() == pytest.approx(still[0][0].numpy() @ R.T, abs=1e-5)
    whole = still[1][0].numpy()[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)
    assert spread[0].numpy() == pytest.approx((R @ whole @ R.T)[:, *np.triu_indices(3)], rel=1e-5, abs=1e-3)


def test_the_mean_is_that_of_the_soft_argmax() -> None:
    rng = np.random.default_rng(7)
    volumes = torch.from_numpy(2 * rng.normal(size=(2, 3, SIZE, SIZE, SIZE)))
    grid = cuboid(torch.from_numpy(np.stack([BASE, -BASE])), SIDE, SIZE, torch.tensor([0.0, 2.0]).double())
    assert torch.allclose(moments_3d(volumes, grid)[0], soft_argmax_3d(volumes, grid), atol=1e-5)


@pytest.mark.parametrize("between", [0.0, 0.3, 0.5])
def test_a_place_between_two_voxels_is_not_less_sure_than_one_on_a_voxel(between: float) -> None:
    grid = cuboid(torch.zeros(1, 3), SIDE, SIZE)
    step = SIDE / (SIZE - 1)
    volumes = torch.full((1, 1, SIZE, SIZE, SIZE), -200.0)
    volumes[0, 0, 2, 3, 3], volumes[0, 0, 3, 3, 3] = np.log(1 - between), np.log(max(between, 1e-30))
    got = spread_3d(volumes, grid)[0, 0].numpy()
    assert got == pytest.approx(np.array([1, 0, 0, 1, 0, 1]) * (step / FINEST) ** 2, rel=1e-3, abs=0.1)


def test_float32_is_within_a_square_millimetre() -> None:
    rng = np.random.default_rng(5)
    volumes = torch.from_numpy(2 * rng.normal(size=(1, 2, 32, 32, 32)))
    grid = cuboid(torch.tensor([[4000.0, -3000, 900]], dtype=torch.float64), 2500.0, 32)
    want, got = spread_3d(volumes, grid), spread_3d(volumes.float(), grid.float())
    assert ((got.double() - want).abs() < 1 + 1e-4 * want.abs()).all()
