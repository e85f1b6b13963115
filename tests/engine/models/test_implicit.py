"""Gradients from the equation that an answer fulfils: those of the iteration that found it, and always finite."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from array_api_compat import array_namespace  # noqa: E402

from calib import lens  # noqa: E402
from calib.rig import RigArrays  # noqa: E402
from calib.triangulate import null_vector, triangulate  # noqa: E402
from engine.models import implicit  # noqa: E402
from engine.models.algebraic import triangulate_each  # noqa: E402
from tests.engine.models.test_volume import BASE, arrays, rig  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def seen(joints: int = 5):
    """Noisy points of four cameras, each of another lens, in float64."""
    draw = np.random.default_rng(1)
    where = BASE + draw.uniform(-400, 400, (joints, 3))
    px = np.stack([camera.project(where) for camera in rig().cameras])
    return torch.from_numpy(px + draw.normal(0, 1, px.shape))


class TestRays:
    def test_they_are_those_of_the_lens_and_so_is_their_gradient(self) -> None:
        cameras = arrays(rig(), torch.float64)
        given = cameras.K, cameras.dist, cameras.fisheye
        px = seen().requires_grad_()
        assert torch.equal(implicit.rays(px, *given), lens.undistort(px, *given))
        assert torch.autograd.gradcheck(lambda points: implicit.rays(points, *given), (px,))

    def test_what_has_no_ray_has_no_gradient(self) -> None:
        cameras = arrays(rig(), torch.float64)
        px = seen()
        px[0, 1], px[2, 3] = torch.nan, 1e7
        px.requires_grad_()
        found = implicit.rays(px, cameras.K, cameras.dist, cameras.fisheye)
        assert found[0, 1].isnan().all() and found[2, 3].isnan().all()
        (slope,) = torch.autograd.grad(torch.nansum(found), px)
        assert slope.isfinite().all()
        assert (slope[0, 1] == 0).all() and (slope[2, 3] == 0).all() and (slope[1] != 0).any(dim=-1).all()


class TestSmallest:
    def test_it_is_the_eigenvector_of_the_least_eigenvalue_and_so_is_its_gradient(self) -> None:
        rows = torch.randn(6, 8, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        rows[..., 3] = rows[..., 0] + 0.01 * rows[..., 3]
        gram = rows.mT @ rows
        gram = (gram / gram.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]).requires_grad_()

        def ratios(vector):
            return vector[..., :3] / vector[..., 3:]

        found = ratios(implicit.smallest(None, gram))
        want = ratios(torch.linalg.eigh(gram)[1][..., 0])
        assert (found - want).abs().max() < 1e-9
        weights = torch.arange(found.numel(), dtype=torch.float64).reshape(found.shape).sin()
        # Only what is symmetric counts: a matrix of products is.
        slopes = [torch.autograd.grad((answer * weights).sum(), gram)[0] for answer in (found, want)]
        mine, eigh = (slope + slope.mT for slope in slopes)
        # But for the ridge, which is a share of the gap to the next eigenvalue.
        assert (mine - eigh).abs().max() < 1e-4 * eigh.abs().max()

    def test_it_is_the_closed_form(self) -> None:
        rows = torch.randn(3, 8, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        gram = rows.mT @ rows / 32
        closed = null_vector(array_namespace(gram), gram)
        closed = closed / torch.linalg.vector_norm(closed, dim=-1, keepdim=True)
        assert torch.equal(implicit.smallest(None, gram), closed)

    @pytest.mark.parametrize("gram", [torch.zeros(4, 4), torch.eye(4) / 4, torch.diag(torch.tensor([0.5, 0.5, 0, 0]))])
    def test_where_there_is_no_one_least_the_gradient_is_finite(self, gram) -> None:
        gram = gram.requires_grad_()
        (slope,) = torch.autograd.grad(implicit.smallest(None, gram).sum(), gram)
        assert slope.isfinite().all()


def test_triangulation_has_the_gradient_of_its_unrolled_steps() -> None:
    cameras = arrays(rig(), torch.float64)
    draw = torch.Generator().manual_seed(4)
    points = seen()[None].requires_grad_()
    weight = (0.1 + torch.rand(1, 4, 5, dtype=torch.float64, generator=draw)).requires_grad_()
    each = RigArrays(*(array[None] for array in cameras))
    answers = triangulate_each(points, weight, each), triangulate(points, weight, cameras)
    assert (answers[0] - answers[1]).abs().max() < 1e-9
    with torch.no_grad():
        assert (triangulate_each(points, weight, each) - answers[0]).abs().max() < 1e-9
    aim = torch.randn(answers[0].shape, dtype=torch.float64, generator=draw)
    mine, unrolled = (torch.autograd.grad(answer, (points, weight), aim) for answer in answers)
    for a, b in zip(mine, unrolled, strict=True):
        assert (a - b).abs().max() < 1e-4 * b.abs().max()
