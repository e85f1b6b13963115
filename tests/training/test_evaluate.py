"""The judge: figures that are known beforehand, and a whole run on a network whose answers are the truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from capture.virtual.scenario import load_scenario
from capture.virtual.skeletons import FLY38, HUMAN36M17
from engine.document import find_model
from rigpose.errors import ConfigError
from tests.training import tiny
from training import evaluate
from training.exam import Exam, Paper, hide_joints
from training.metrics import distribution, errors_mm, from_root, leg_length_mm


class TestMetrics:
    def test_a_distribution_leaves_out_what_has_no_answer_and_says_how_much(self) -> None:
        errors = np.array([1.0, 2, 3, np.nan])
        assert distribution(errors) == {"mean": 2.0, "median": 2.0, "p95": pytest.approx(2.9), "share": 0.75}
        assert distribution(np.full(3, np.nan))["share"] == 0

    def test_errors_are_distances(self) -> None:
        assert errors_mm(np.array([[3.0, 4, 0]]), np.zeros((1, 3))).tolist() == [5]

    def test_a_shift_of_the_whole_is_no_relative_error(self) -> None:
        pose = np.random.default_rng(0).normal(size=(4, 17, 3))
        moved = pose + [10, 20, 30]
        assert np.allclose(from_root(pose, HUMAN36M17), from_root(moved, HUMAN36M17))
        assert np.allclose(from_root(pose, HUMAN36M17)[:, 6], 0)

    def test_a_leg_is_as_long_as_its_parts(self) -> None:
        pose = np.zeros((1, 38, 3))
        pose[0, :, 0] = np.arange(38)
        assert leg_length_mm(pose, FLY38) == pytest.approx(4.0)
        assert leg_length_mm(pose[:, :17], HUMAN36M17) is None


def paper(error_mm: float) -> Paper:
    truth = np.random.default_rng(0).normal(size=(6, 17, 3)) * 300
    answers = {method: truth + [error_mm, 0, 0] for method in evaluate.METHODS}
    answers["learned"][:, 6] = truth[:, 6]
    shape = (6, 4, 17)
    return Paper(answers, truth, np.full(shape, 0.01), np.zeros(shape, bool), np.ones(shape))


def test_figures_are_those_of_all_seeds_with_the_spread_between_them() -> None:
    rows = evaluate.figures([paper(10.0), paper(20.0)], HUMAN36M17)
    assert rows["plain"]["absolute_mm"]["mean"] == pytest.approx(15)
    assert rows["plain"]["absolute_between_seeds_mm"]["mean"] == pytest.approx(5)
    # All joints are off alike: nothing is off relative to the pelvis.
    assert rows["plain"]["relative_mm"]["mean"] == pytest.approx(0, abs=1e-9)
    # Where the pelvis alone is right, all others are off relative to it; the pelvis itself is not counted.
    assert rows["learned"]["relative_mm"]["median"] == pytest.approx(15)
    assert rows["learned"]["joints_mm"]["pelvis"] == pytest.approx(0)
    assert rows["picture"]["error_share_seen"]["mean"] == pytest.approx(0.01)


def test_a_share_of_the_joints_is_hidden() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    points = np.random.default_rng(1).uniform(4, 60, (17, 2))
    hidden = hide_joints(picture, points, 0.33, np.random.default_rng(0))
    assert 0.33 <= hidden.mean() < 0.7
    assert picture.any()


@pytest.mark.slow
@pytest.mark.timeout(400)
class TestExam:
    def test_another_subject_is_refused(self) -> None:
        fly = load_scenario(tiny.TRAINING / "scenarios" / "fly_train.yaml")
        with pytest.raises(ConfigError, match="joints"):
            Exam(find_model("discs"), fly, 4)

    def test_the_zoo_s_mannequin_is_judged_and_the_json_says_the_same(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        scenario = tiny.TRAINING / "scenarios" / "mannequin_train.yaml"
        arguments = ["--model", "mannequin17", "--scenario", str(scenario), "--views", "2,3", "--seeds", "2"]
        file = tmp_path / "figures.json"
        assert evaluate.main([*arguments, "--frames", "4", "--threads", "1", "--json", str(file)]) == 0
        figures = json.loads(file.read_text())
        assert list(figures["views"]) == ["2", "3"]
        mean = figures["views"]["3"]["learned"]["absolute_mm"]["mean"]
        assert f"{mean:.1f}" in capsys.readouterr().out
        # A network that learned nothing is off by half a body.
        assert figures["views"]["3"]["learned"]["absolute_mm"]["median"] < 100

    def test_the_same_seed_gives_the_same_paper(self) -> None:
        exam = Exam(find_model("mannequin17"), tiny.scenario().with_views(3), 3, threads=1)
        one, other = exam.sit(3, 2), exam.sit(3, 2)
        assert np.array_equal(one.truth_mm, other.truth_mm)
        assert np.allclose(one.answers["learned"], other.answers["learned"], atol=1e-3, equal_nan=True)
        assert not np.array_equal(one.truth_mm, exam.sit(4, 2).truth_mm)


def test_views_that_the_scenario_does_not_have_are_refused() -> None:
    listed = load_scenario(tiny.SCENARIO)
    cameras = ({"name": "one", "position_mm": [3000, 0, 1500], "focal_px": 300},)
    fixed = type(listed).model_validate(listed.model_dump() | {"cameras": cameras})
    with pytest.raises(ConfigError, match="lists 1 cameras"):
        evaluate.with_views(fixed, 4, Path("fixed.yaml"))
    assert len(evaluate.with_views(listed, 6, Path("ring.yaml")).camera_names) == 6
