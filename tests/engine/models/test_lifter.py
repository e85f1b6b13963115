"""Lifters: what they see, what they answer, and that their file answers the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from engine.lifter_document import INPUTS, OUTPUTS, RootSet  # noqa: E402
from engine.models import gaze  # noqa: E402
from engine.models.lift_bodies import CausalBody, ResidualBody, parameters, triangle  # noqa: E402
from engine.models.lifter import LifterSpec  # noqa: E402
from rigpose.errors import ConfigError  # noqa: E402
from tests.engine.lifters import LEG_ROOTS, RIG, body_mm, content, lifter, seen_px, spec  # noqa: E402

KINDS: dict[str, dict[str, Any]] = {
    "masked": {},
    "temporal": {},
    "liftpose": {},
    "masked weak": {"mode": "weak"},
    "liftpose weak depth": {"mode": "weak", "out": "depth"},
    "masked depth": {"out": "depth"},
    "liftpose fixed size": {"by_spread": False},
    "liftpose two roots": {"joints": 6, "roots": LEG_ROOTS},
    "masked two roots": {"joints": 6, "roots": LEG_ROOTS},
}


def windows(joints: int = 17, window: int = 1, batch: int = 2) -> list[Any]:
    points = np.stack([[seen_px(body_mm(10 * b + t, joints)) for t in range(window)] for b in range(batch)])
    arrays = RIG.arrays()
    feed = [
        points.transpose(0, 2, 1, 3, 4),
        np.random.default_rng(3).uniform(0.3, 1, points.shape[:1] + (len(RIG), window, joints)),
    ]
    return [torch.tensor(np.asarray(a), dtype=torch.float32) for a in (*feed, arrays.K, arrays.dist, arrays.fisheye)]


class TestNetwork:
    def test_is_the_papers_in_size(self):
        # 24 in and 36 out: three legs of a fly, seen from one side; LiftPose3D logs 4.27 M.
        body = ResidualBody(24, 36)
        assert parameters(body) == 24 * 1024 + 1024 + 2 * 1024 + 4 * (1024 * 1024 + 3 * 1024) + 1024 * 36 + 36
        assert round(parameters(body) / 1e6, 2) == 4.27

    def test_of_liftpose_sees_two_and_answers_three_numbers_of_each_joint_but_the_roots(self):
        roots = tuple(RootSet(root=5 * leg, joints=tuple(range(5 * leg + 1, 5 * leg + 5))) for leg in range(3))
        made = lifter("liftpose", joints=15, roots=roots, width=1024)
        assert made.features_of_frame == 24
        assert made.body.answer.out_features == 36
        assert round(parameters(made) / 1e6, 2) == 4.27

    def test_depth_alone_is_one_number_of_each_joint(self):
        assert lifter("liftpose", out="depth").body.answer.out_features == 16

    def test_strided_convolutions_are_dilated_ones_at_the_newest_frame(self):
        torch.manual_seed(0)
        body = CausalBody(5, 4, window=27, width=8).eval()
        x = torch.randn(2, 27, 5)

        def dilated(signal, conv, dilation):
            return torch.nn.functional.conv1d(signal, conv.weight, conv.bias, dilation=dilation)

        with torch.no_grad():
            y = body.norm(dilated(x.mT, body.first, 1)).relu()
            for stage, dilation in zip(body.stages, (3, 9), strict=True):
                z = stage.norm(dilated(y, stage.wide, dilation)).relu()
                z = stage.point_norm(stage.point(z)).relu()
                y = y[..., 2 * dilation :] + z
            expected = body.answer(y[..., -1])
        torch.testing.assert_close(body(x), expected)

    def test_a_window_that_is_no_power_of_three_is_refused(self):
        with pytest.raises(ConfigError, match="10 frames are no power of 3"):
            lifter("temporal", window=10)

    def test_a_cholesky_factor_has_a_positive_diagonal_within_its_bounds(self):
        factor = triangle(torch.tensor([[-50.0, 0.0, 50.0, 1.0, 2.0, 3.0]]), (0.01, 100.0))[0]
        assert factor.diagonal().tolist() == pytest.approx([0.01, 1.0, 100.0])
        assert torch.equal(factor, factor.tril())

    def test_one_frame_of_a_temporal_one_is_refused(self):
        with pytest.raises(ValueError, match="needs 3, 9, 27 or 81"):
            LifterSpec(kind="temporal", joints=6, roots=LEG_ROOTS)


class TestGaze:
    def test_what_is_seen_does_not_depend_on_where_the_camera_is_turned_nor_how_it_zooms(self):
        directions = torch.randn(1, 1, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.1
        rays = torch.nn.functional.pad(directions, (0, 1), value=1.0)
        angle = torch.tensor(0.3, dtype=torch.float64)
        # About the camera's x axis: a turn that keeps the horizon level.
        turn = torch.eye(3, dtype=torch.float64)
        turn[1:, 1:] = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
        turned = rays @ turn.T
        sure = torch.ones(1, 1, 6, dtype=torch.float64)
        first = gaze.look(directions, sure, weak=False)
        other = gaze.look(turned[..., :2] / turned[..., 2:], sure, weak=False)
        # A look down has another x axis than a look ahead only where the subject stands aside.
        assert (first.spread - other.spread).abs() < 1e-3 * first.spread
        torch.testing.assert_close(first.points, other.points, atol=0.05, rtol=0)

    def test_the_virtual_camera_looks_at_the_mean_direction(self):
        points = torch.randn(4, 1, 6, 2, dtype=torch.float64) * 0.2 + torch.tensor([0.7, -0.4], dtype=torch.float64)
        seen = torch.ones(4, 1, 6, dtype=torch.bool)
        turn = gaze.facing(points, seen)
        torch.testing.assert_close(turn @ turn.mT, torch.eye(3, dtype=torch.float64).expand(4, 3, 3))
        assert torch.linalg.det(turn).tolist() == pytest.approx([1.0] * 4)
        rays = torch.nn.functional.pad(points, (0, 1), value=1.0)
        rays = rays / rays.norm(dim=-1, keepdim=True)
        mean = torch.einsum("nij,ntkj->ni", turn, rays)
        assert mean[:, :2].abs().max() < 1e-12
        assert (mean[:, 2] > 0).all()

    def test_points_not_seen_change_nothing(self):
        points = torch.randn(1, 1, 6, 2)
        sure = torch.ones(1, 1, 6)
        points[0, 0, 2] = torch.nan
        sure[0, 0, 4] = 0
        first = gaze.look(points, sure, weak=True)
        points[0, 0, 4] = 1e6
        again = gaze.look(points, sure, weak=True)
        assert torch.equal(first.points, again.points)
        assert first.seen.tolist() == [[[True, True, False, True, False, True]]]
        assert first.points[0, 0, [2, 4]].abs().max() == 0

    def test_three_joints_of_the_newest_frame_are_enough(self):
        points = torch.randn(2, 3, 6, 2)
        points[0, 2, 3:] = torch.nan
        points[1, 2, 2:] = torch.nan
        assert gaze.look(points, torch.ones(2, 3, 6), weak=True).enough.tolist() == [True, False]


class TestAnswer:
    def test_joints_that_are_not_seen_get_an_answer_with_a_larger_or_other_deviation(self):
        feed = windows()
        whole = lifter()(*feed)
        feed[0][:, :, :, 4] = torch.nan
        answer = lifter()(*feed)
        assert torch.isfinite(answer.lifted_mm).all() and torch.isfinite(answer.covariance_mm2).all()
        assert not torch.equal(answer.lifted_mm, whole.lifted_mm)

    def test_roots_are_zero(self):
        answer = lifter(joints=6, roots=LEG_ROOTS)(*windows(6))
        assert (answer.lifted_mm[:, :, [0, 3]] == 0).all() and (answer.covariance_mm2[:, :, [0, 3]] == 0).all()
        assert (answer.lifted_mm[:, :, [1, 2, 4, 5]] != 0).all()

    @pytest.mark.parametrize("kind", ["masked", "liftpose"])
    def test_a_view_that_sees_too_little_is_nan_and_the_others_are_not(self, kind):
        feed = windows()
        feed[0][0, 1, :, 2:] = torch.nan
        answer = lifter(kind)(*feed)
        nan = answer.lifted_mm.isnan().all(dim=(-1, -2))
        assert nan.tolist() == [[False, True, False], [False, False, False]]
        assert torch.equal(answer.lifted_mm.isnan().any(dim=(-1, -2)), nan)
        assert torch.equal(answer.covariance_mm2.isnan().any(dim=(-1, -2)), nan)

    def test_liftpose_cannot_do_without_a_joint(self):
        feed = windows()
        feed[0][0, 0, 0, 9] = torch.nan
        assert lifter("liftpose")(*feed).lifted_mm[0, 0].isnan().all()

    def test_covariances_are_positive_definite_in_the_cameras_axes(self):
        made, feed = lifter(), windows()
        answer = made(*feed)
        six = answer.covariance_mm2[..., [i for i in range(17) if i != 6], :]
        matrix = six[..., torch.tensor([[0, 1, 2], [1, 3, 4], [2, 4, 5]])]
        assert torch.linalg.eigvalsh(matrix.double()).min() > 0

    def test_a_camera_turned_about_its_own_centre_sees_the_same_subject_turned(self):
        # Turned about its y axis, its virtual camera stays the same.
        made = lifter().double()
        body, arrays = body_mm(4), RIG.arrays()
        camera = RIG.cameras[0]
        angle = 0.25
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        in_camera = body @ camera.R.T + camera.t
        answers = []
        for points_mm in (in_camera, in_camera @ turn.T):
            px = points_mm[:, :2] / points_mm[:, 2:] * camera.K[[0, 1], [0, 1]] + camera.K[:2, 2]
            feed = [px[None, None, None], np.ones((1, 1, 1, 17)), *(np.asarray(a[:1]) for a in arrays[:3])]
            answers.append(made(*(torch.tensor(a, dtype=torch.float64) for a in feed)).lifted_mm[0, 0].detach().numpy())
        scale = np.abs(answers[0]).max()
        assert np.abs(answers[0] @ turn.T - answers[1]).max() < 0.02 * scale

    def test_depth_keeps_x_and_y_of_the_picture(self):
        made = lifter("liftpose", mode="weak", out="depth", by_spread=False)
        feed = windows()
        answer = made(*feed)
        expected = (feed[0][:, :, 0] - feed[0][:, :, 0, 6:7]) * made.mm_per_unit
        torch.testing.assert_close(answer.lifted_mm[..., :2], expected, rtol=1e-4, atol=1e-2)

    def test_depth_of_a_masked_one_predicts_x_and_y_of_what_is_not_seen(self):
        made, feed = lifter("masked", mode="weak", out="depth"), windows()
        feed[0][:, :, 0, 3] = torch.nan
        assert torch.isfinite(made(*feed).lifted_mm).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_the_file_answers_as_torch_does(name):
    kind, keys = name.split()[0], KINDS[name]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content(kind, **keys), options, providers=["CPUExecutionProvider"])
    made = lifter(kind, **keys)
    feed = windows(made.spec.joints, made.spec.window, batch=4)
    feed[0][1, 0, -1, 1] = torch.nan
    feed[0][2, 1] = torch.nan
    feed[1][3, 2, -1, 2] = 0
    with torch.no_grad():
        expected = made(*feed)
    answer = session.run(list(OUTPUTS), {n: a.numpy() for n, a in zip(INPUTS, feed, strict=True)})
    for got, want, limit in zip(answer, expected, (1e-3, 1e-5), strict=True):
        want = want.numpy()
        assert np.array_equal(np.isnan(got), np.isnan(want))
        # Positions to 1e-3 mm, covariances to 1e-5 of the largest.
        assert np.nanmax(np.abs(got - want)) < (limit if limit == 1e-3 else limit * np.nanmax(np.abs(want)))


def test_spec_of_tests_is_one():
    assert spec().lifted == tuple(j for j in range(17) if j != 6)
