"""How sure a volume is: second moments that a place between voxels does not enlarge."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from engine.models.spread import FINEST, spread_3d  # noqa: E402
from engine.models.volume import cuboid  # noqa: E402
from tests.engine.models.test_volume import BASE, SIDE, SIZE  # noqa: E402


def test_is_the_second_moment_less_what_the_grid_needs_and_its_finest() -> None:
    rng = np.random.default_rng(4)
    volumes = 3 * rng.normal(size=(1, 4, SIZE, SIZE, SIZE))
    grid = cuboid(torch.from_numpy(BASE[None]), SIDE, SIZE)
    got = spread_3d(torch.from_numpy(volumes), grid, 1.5).numpy()[0]
    places, step = grid[0].numpy().reshape(-1, 3), SIDE / (SIZE - 1)
    for joint in range(4):
        heat = np.exp(1.5 * volumes[0, joint].ravel())
        heat /= heat.sum()
        mean = heat @ places
        plain = ((places - mean) * heat[:, None]).T @ (places - mean)
        between = (mean - places[0]) / step % 1
        kept = np.sqrt(np.clip(1 - between * (1 - between) * step**2 / np.diag(plain), 0, None))
        want = plain * kept * kept[:, None] + (step / FINEST) ** 2 * np.eye(3)
        assert got[joint] == pytest.approx(want[np.triu_indices(3)], rel=1e-9)


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
