"""Triangulation in training where there is nothing to triangulate: no value is wrong and no gradient is NaN."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from calib.rig import Rig, RigArrays  # noqa: E402
from engine.models.algebraic import triangulate_each  # noqa: E402
from tests.engine.models.test_volume import BASE, arrays, looking_at, rig  # noqa: E402

JOINTS = 5


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def truth() -> np.ndarray:
    return BASE + np.random.default_rng(0).normal(size=(JOINTS, 3)) * 200


def projected(cameras: Rig, points: np.ndarray):
    return torch.tensor(np.stack([camera.project(points) for camera in cameras.cameras]), dtype=torch.float32)


def solved(points, weight, cameras: Rig):
    """Answer (J, 3) and the gradients of a loss that leaves out what was not found, as training's does."""
    points, weight = points.clone().requires_grad_(), weight.clone().requires_grad_()
    rigs = RigArrays(*(array[None] for array in arrays(cameras)))
    answer = triangulate_each(points[None], weight[None], rigs)[0]
    found = torch.isfinite(answer).all(dim=-1)
    offset = torch.where(found[:, None], answer - torch.from_numpy(truth()).float(), 0.0)
    torch.log1p((offset.square().sum(dim=-1) + 0.01).sqrt() / 50).sum().backward()
    assert torch.isfinite(points.grad).all() and torch.isfinite(weight.grad).all()
    return answer.detach(), points.grad, weight.grad


def test_four_views_answer_and_learn() -> None:
    points, weight = projected(rig(), truth()) + 1, torch.rand(4, JOINTS, generator=torch.Generator().manual_seed(0))
    answer, by_points, by_weight = solved(points, weight, rig())
    assert np.abs(answer.numpy() - truth()).max() < 20
    assert by_points.abs().amin(dim=-1).min() > 0 and by_weight.abs().min() > 0


@pytest.mark.parametrize("nothing", [float("nan"), float("inf"), -float("inf"), 1e7, 1e30])
def test_a_point_without_a_ray_is_as_one_not_seen(nothing: float) -> None:
    points, weight = projected(rig(), truth()), torch.ones(4, JOINTS)
    points[2, 1] = nothing
    answer, by_points, by_weight = solved(points, weight, rig())
    weight[2, 1] = 0
    without = solved(projected(rig(), truth()), weight, rig())[0]
    assert torch.equal(answer, without)
    assert not by_points[2, 1].any() and not by_weight[2, 1].any()


@pytest.mark.parametrize("views", [0, 1])
def test_with_fewer_than_two_views_there_is_no_answer_and_no_gradient(views: int) -> None:
    weight = torch.ones(4, JOINTS)
    weight[views:, 0] = 0
    answer, by_points, by_weight = solved(projected(rig(), truth()), weight, rig())
    assert answer[0].isnan().all() and answer[1:].isfinite().all()
    assert not by_points[:, 0].any() and not by_weight[:, 0].any()
    missing = projected(rig(), truth())
    missing[views:, 0] = torch.nan
    again = solved(missing, torch.ones(4, JOINTS), rig())[0]
    assert again[0].isnan().all() and torch.equal(again[1:], answer[1:])


def test_confidences_that_are_nearly_or_quite_zero() -> None:
    points = projected(rig(), truth())
    assert solved(points, torch.zeros(4, JOINTS), rig())[0].isnan().all()
    tiny = solved(points, torch.full((4, JOINTS), 1e-6), rig())[0]
    assert np.abs(tiny.numpy() - truth()).max() < 0.05


@pytest.mark.parametrize("disparity", [0.0, 1e-4, -1e-4, 1e-3, -1e-3])
def test_parallel_rays_meet_nowhere(disparity: float) -> None:
    """Two cameras side by side that see the joint at one place: it is infinitely far, or behind them."""
    pair = [
        looking_at(np.array([x, 0, 900.0]), np.array([x, 3000, 900.0]), name) for x, name in ((-99, "a"), (99, "b"))
    ]
    points = torch.full((2, JOINTS, 2), 200.0)
    points[1, :, 0] -= disparity
    answer, by_points, by_weight = solved(points, torch.ones(2, JOINTS), Rig(tuple(pair)))
    assert not answer.isfinite().any()
    assert not by_points.any() and not by_weight.any()


def test_cameras_at_one_place_see_no_depth() -> None:
    same = Rig(tuple(replace(rig().cameras[1], name=str(index)) for index in range(3)))
    points = projected(same, truth())
    noise = torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
    for made in (points, points + noise):
        solved(made, torch.ones(3, JOINTS), same)


@pytest.mark.parametrize("baseline_mm", [1e-3, 1.0, 40.0])
def test_nearly_collinear_cameras(baseline_mm: float) -> None:
    """Cameras and subject on a line: the answer is uncertain along it, the gradients are large and finite."""
    made = [
        looking_at(BASE, BASE + [x, 3000.0 + 100 * i, 0], str(i)) for i, x in enumerate((-baseline_mm, 0, baseline_mm))
    ]
    line = Rig(tuple(made))
    points = projected(line, np.tile(BASE, (JOINTS, 1)))
    noise = 0.3 * torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
    solved(points, torch.ones(3, JOINTS), line)
    solved(points + noise, torch.ones(3, JOINTS), line)
