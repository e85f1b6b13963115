"""The normal equations against differences of the cost, for boards and for points, every kind of parameter free."""

import numpy as np
import pytest

from benchmarks._rigs import board_scene, point_scene
from calib.bundle.parameters import Free, State, columns
from calib.bundle.problem import Boards, Points, Problem, views_of
from calib.bundle.solver import reduced, step_of


def problem_of(rig, px, loss):
    free = [
        Free(focal="one" if view else "both", center=True, dist=tuple(range(len(camera.dist))))
        for view, camera in enumerate(rig.cameras)
    ]
    table = tuple(columns(camera, one) for camera, one in zip(rig.cameras, free, strict=True))
    views = views_of(px, np.full(px.shape[:3], 0.7))
    return Problem(views, tuple(camera.fisheye for camera in rig.cameras), table, loss, 2.0)


def scenes(kind, loss):
    if kind == "boards":
        scene = board_scene(3, 3, 6, fisheye="mixed", columns=4, rows=3, sigma_px=1.0)
        blocks = Boards.of(scene.target_mm, scene.poses)
        return problem_of(scene.rig, scene.px, loss), State.of(scene.rig.cameras), blocks
    points = point_scene(4, 3, 4, 5, fisheye="mixed")
    px = points.px.reshape(3, -1, 1, 2)
    return problem_of(points.rig, px, loss), State.of(points.rig.cameras), Points(points.points_mm.reshape(-1, 3))


@pytest.mark.parametrize("loss", ["linear", "huber", "soft_l1", "cauchy"])
@pytest.mark.parametrize("kind", ["boards", "points"])
def test_the_gradients_are_those_of_differences_of_the_cost(kind, loss):
    problem, state, blocks = scenes(kind, loss)
    normal = problem.linearised(state, blocks)
    diagonal = np.sqrt(np.diag(normal.cameras))
    for index in range(problem.n_parameters):
        step = np.zeros(problem.n_parameters)
        step[index] = 1e-4 / diagonal[index]
        up, down = (problem.cost(state.moved(problem.table, sign * step), blocks) for sign in (1, -1))
        expected = -(up - down) / (2 * step[index]) / diagonal[index]
        assert normal.camera_gradient[index] / diagonal[index] == pytest.approx(expected, abs=2e-3, rel=1e-4)
    for block in range(0, len(normal.block_gradient), 3):
        for index in range(blocks.size):
            steps = np.zeros(normal.block_gradient.shape)
            scale = np.sqrt(max(normal.blocks[block, index, index], 1e-12))
            steps[block, index] = 1e-4 / scale
            up, down = (problem.cost(state, blocks.moved(sign * steps)) for sign in (1, -1))
            expected = -(up - down) / (2 * steps[block, index]) / scale
            assert normal.block_gradient[block, index] / scale == pytest.approx(expected, abs=2e-3, rel=1e-4)


@pytest.mark.parametrize("kind", ["boards", "points"])
def test_eliminating_the_blocks_gives_the_step_of_the_whole_system(kind):
    problem, state, blocks = scenes(kind, "huber")
    normal = problem.linearised(state, blocks)
    P, (B, s) = problem.n_parameters, normal.block_gradient.shape
    damping = 1e-3
    whole = np.zeros((P + B * s, P + B * s))
    whole[:P, :P] = normal.cameras
    for block in range(B):
        rows = slice(P + block * s, P + (block + 1) * s)
        whole[:P, rows], whole[rows, :P] = normal.coupling[block], normal.coupling[block].T
        whole[rows, rows] = normal.blocks[block]
    whole[np.diag_indices_from(whole)] *= 1 + damping
    gradient = np.concatenate([normal.camera_gradient, normal.block_gradient.ravel()])
    scale = np.sqrt(np.diag(whole))
    expected = np.linalg.solve(whole / scale[:, None] / scale, gradient / scale) / scale
    by_cameras, by_blocks, _ = step_of(normal, damping, np.zeros((P, 0)))
    np.testing.assert_allclose(by_cameras * scale[:P], expected[:P] * scale[:P], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(by_blocks.ravel() * scale[P:], expected[P:] * scale[P:], rtol=1e-5, atol=1e-6)


def test_what_the_cameras_alone_say_is_what_the_whole_system_says_of_them():
    problem, state, blocks = scenes("boards", "linear")
    normal = problem.linearised(state, blocks)
    matrix = reduced(normal)[0]
    for block in range(len(normal.blocks)):
        coupling = normal.coupling[block]
        normal.cameras[...] -= coupling @ np.linalg.solve(normal.blocks[block], coupling.T)
    np.testing.assert_allclose(matrix, normal.cameras, rtol=1e-6, atol=1e-6 * np.abs(matrix).max())


def test_a_point_that_goes_behind_a_camera_costs_everything():
    problem, state, blocks = scenes("points", "huber")
    steps = np.zeros((len(blocks.position_mm), 3))
    seen = problem.views[0].blocks[0]
    steps[seen] = 2 * (state.centers[0] - blocks.position_mm[seen])
    assert problem.cost(state, blocks.moved(steps)) == np.inf
    left = problem.without_behind(state, blocks.moved(steps))
    assert not left.views[0].per_sigma[0].any() and left.views[0].per_sigma[1:].any()
    assert np.isfinite(left.cost(state, blocks.moved(steps)))
