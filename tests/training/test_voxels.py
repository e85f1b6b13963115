"""Places in cubes of voxels: by the cube's own axes, however it is turned."""

from __future__ import annotations

import torch

from engine.models.volume import cuboid
from training.voxels import cells_of, nearest


def test_voxels_have_whole_numbers_along_the_cubes_own_axes() -> None:
    base = torch.tensor([[100.0, 200, 300]], dtype=torch.float64)
    grid = cuboid(base, 900.0, 4, torch.tensor([1.1], dtype=torch.float64))
    cells = cells_of(grid.flatten(1, 3), grid)
    wanted = torch.stack(torch.meshgrid(*[torch.arange(4.0)] * 3, indexing="ij"), dim=-1).double().reshape(1, -1, 3)
    assert torch.allclose(cells, wanted, atol=1e-9)
    assert nearest(cells, 4).tolist() == [list(range(64))]


def test_outside_of_the_cube_a_voxel_on_its_surface_is_nearest_and_what_is_nowhere_is_at_the_first() -> None:
    cells = torch.tensor([[[1.4, 2.6, 0.0], [-5.0, 1.0, 9.0], [torch.nan, 1.0, 2.0]]])
    assert nearest(cells, 4).tolist() == [[1 * 16 + 3 * 4 + 0, 0 * 16 + 1 * 4 + 3, 0 * 16 + 1 * 4 + 2]]
