"""The benchmark of lifting: its exams are what they say, and its methods answer what they should."""

from __future__ import annotations

import os

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks import _lifting_exams  # noqa: E402
from benchmarks._lifting_methods import baselines, compared, flat, sample_of  # noqa: E402
from benchmarks.lifting import PARTS, RUNS, joined_sample, squared  # noqa: E402
from engine.lifter_document import one_root  # noqa: E402
from engine.models.lifter import Lifter, LifterSpec  # noqa: E402
from training.lifting.statistics import see  # noqa: E402


def plain() -> Lifter:
    exam = _lifting_exams.virtual(3)
    return Lifter(LifterSpec(kind="liftpose", joints=17, roots=one_root(exam.worlds[0].skeleton), width=8))


class TestVirtual:
    def test_each_world_is_seen_by_its_first_camera_with_noise(self):
        exam = _lifting_exams.virtual(3)
        assert exam.px.shape == (15, 17, 2) and len({world.seed for world in exam.worlds}) == 3
        true = np.concatenate([exam.worlds[w].cameras[0].project(exam.position_mm[exam.world == w]) for w in range(3)])
        assert 1.6 < (exam.px - true).std() < 2.4

    def test_three_of_ten_joints_are_missing_and_the_others_are_the_same(self):
        exam = _lifting_exams.virtual(40)
        gone = np.isnan(exam.gappy[..., 0])
        assert 0.27 < gone.mean() < 0.33 and (~gone).sum(axis=1).min() >= 3
        assert np.array_equal(exam.gappy[~gone], exam.px[~gone])

    def test_the_liftpose_mode_cannot_run_where_joints_are_missing(self):
        exam, lifter = _lifting_exams.virtual(3), plain()
        points = torch.as_tensor(exam.gappy, dtype=torch.float32)[:, None]
        seen = lifter.look(points, torch.isfinite(points).all(dim=-1).float())
        assert not seen.enough.any()

    def test_baselines_and_lifters_are_judged_on_the_same_poses(self):
        exam, lifter = _lifting_exams.virtual(3), plain()
        sample = joined_sample(exam)
        x, y = flat(lifter, see(lifter, sample))
        assert x.shape == (15, 32) and y.shape == (15, 48)
        lengths = np.linalg.norm(y.reshape(15, 16, 3), axis=-1)
        root = exam.worlds[0].skeleton.root[0]
        others = [joint for joint in range(17) if joint != root]
        wanted = np.linalg.norm(exam.position_mm[:, others] - exam.position_mm[:, [root]], axis=-1)
        assert np.allclose(lengths, wanted, atol=0.01)
        found = compared(lifter, baselines((x, y), (x, y)), sample)
        assert set(found.errors_mm) == {"lifter", "mean pose", "10 nearest neighbours", "ridge regression"}
        assert all(errors.shape == (15, 16) for errors in found.errors_mm.values())


def test_squared_distances_leave_out_what_is_not_known():
    residual = np.array([[[1.0, 2.0, 3.0], [np.nan, 0, 0]]])
    factor = np.tile(np.diag([1.0, 2.0, 1.0]), (1, 2, 1, 1))
    assert squared(residual, factor)[0] == pytest.approx(1 + 1 + 9) and np.isnan(squared(residual, factor)[1])


def test_each_part_runs():
    assert set(PARTS) == set(RUNS)


@pytest.mark.data
@pytest.mark.skipif("RIGPOSE_DATA" not in os.environ, reason="RIGPOSE_DATA is not set")
class TestAnimals:
    def test_the_fly_keeps_its_size_and_is_seen_by_six_cameras(self):
        exam = _lifting_exams.fly()
        assert exam.px.shape == (1000, 6, 30, 2)
        legs = exam.poses.position_mm.reshape(1000, 6, 5, 3)
        assert np.linalg.norm(np.diff(legs, axis=2), axis=-1).sum(axis=-1).mean() == pytest.approx(2.41, abs=0.01)
        assert ((exam.px > 0) & (exam.px < [960, 480])).all(axis=-1).mean() > 0.95

    @pytest.mark.parametrize(("name", "gap"), [("fly", _lifting_exams.FLY_GAP), ("mouse", _lifting_exams.MOUSE_GAP)])
    def test_folds_judge_each_pose_once_with_a_gap(self, name, gap):
        exam = getattr(_lifting_exams, name)()
        judged = np.concatenate([fold.test for fold in exam.folds])
        assert sorted(judged.tolist()) == list(range(len(exam.poses)))
        for fold in exam.folds:
            known = np.concatenate([fold.train, fold.validation])
            assert np.abs(exam.poses.frame[known][:, None] - exam.poses.frame[fold.test]).min() > gap

    def test_given_points_are_what_the_camera_sees(self):
        exam = _lifting_exams.mouse()
        sample = sample_of(exam.px[:3, 1], exam.poses.position_mm[:3], exam.rig, 1)
        camera = exam.rig.cameras[1]
        seen = exam.poses.position_mm[:3] @ camera.R.T + camera.t
        off = sample.points[:, 0].numpy() - seen[..., :2] / seen[..., 2:]
        assert np.nanmax(np.abs(off)) * camera.K[0, 0] < 12
