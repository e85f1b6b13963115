"""The judge: figures that are known beforehand, and a whole run on a network whose answers are the truth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from capture.virtual.scenario import load_scenario
from capture.virtual.skeletons import HUMAN36M17
from engine.document import LocatedModel, find_model
from engine.models.backbone import STRIDE
from rigpose.errors import ConfigError
from tests.training import tiny
from training import evaluate
from training.exam import MOMENTS, Candidate, Exam, Paper, Questions, arrays_of, hide_joints

TRIANGULATED = ("learned", "robust", "ransac", "plain")


def paper(error_mm: float) -> Paper:
    truth = np.random.default_rng(0).normal(size=(6, 17, 3)) * 300
    answers = {method: truth + [error_mm, 0, 0] for method in TRIANGULATED}
    answers["learned"][:, 6] = truth[:, 6]
    shape = (6, 4, 17)
    places = tuple(f"{error_mm}/{i // 3}" for i in range(6))
    return Paper(answers, truth, np.full(shape, 0.01), np.zeros(shape, bool), np.ones(shape), places)


def test_figures_are_those_of_all_seeds_with_the_spread_between_them() -> None:
    rows = evaluate.figures([paper(10.0), paper(20.0)], HUMAN36M17)
    assert rows["plain"]["absolute_mm"]["mean"] == pytest.approx(15)
    assert rows["plain"]["absolute_between_seeds_mm"]["mean"] == pytest.approx(5)
    # All joints are off alike: nothing is off relative to the pelvis, nor when it is moved to fit.
    assert rows["plain"]["relative_mm"]["mean"] == pytest.approx(0, abs=1e-9)
    assert rows["plain"]["procrustes_mm"]["mean"] == pytest.approx(0, abs=1e-9)
    # Where the pelvis alone is right, all others are off relative to it; the pelvis itself is not counted.
    assert rows["learned"]["relative_mm"]["median"] == pytest.approx(15)
    assert rows["learned"]["joints_mm"]["pelvis"] == pytest.approx(0)
    assert rows["picture"]["error_share_seen"]["mean"] == pytest.approx(0.01)


def test_intervals_draw_worlds_and_pck_counts_what_is_near() -> None:
    row = evaluate.figures([paper(10.0), paper(40.0)], HUMAN36M17)["plain"]
    # Four worlds, two of each error: a draw's mean is one of 10, 17.5, 25, 32.5 and 40.
    assert row["absolute_mm"]["interval"] == pytest.approx([10, 40])
    assert row["pck"]["mm"]["at"]["25"]["mean"] == 0.5 and row["pck"]["mm"]["at"]["50"]["mean"] == 1


def test_a_method_that_has_no_answer_has_no_row() -> None:
    only = replace(paper(10.0), answers={"volumetric": paper(10.0).answers["plain"]})
    assert "learned" not in evaluate.figures([only], HUMAN36M17)


def test_a_share_of_the_joints_is_hidden() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    points = np.random.default_rng(1).uniform(4, 60, (17, 2))
    hidden = hide_joints(picture, points, 0.33, np.random.default_rng(0))
    assert 0.33 <= hidden.mean() < 0.7
    assert picture.any()


class TestQuestions:
    def questions(self, views: int = 2, **more: float) -> Questions:
        return Questions(tiny.scenario().with_views(views), views, 64, 1.25, **more)

    def test_each_follows_from_its_number_alone(self) -> None:
        in_order, alone = self.questions(), self.questions()
        asked = [in_order.ask(3, number) for number in range(MOMENTS + 1)]
        again = alone.ask(3, MOMENTS)
        assert np.array_equal(asked[-1].sample.crops, again.sample.crops)
        assert np.array_equal(asked[-1].base_mm, again.base_mm)
        assert [q.place for q in asked] == ["3/0"] * MOMENTS + ["3/1"]

    def test_a_base_is_the_root_and_as_far_off_as_is_said(self) -> None:
        exact, off = self.questions(base_error=0.0), self.questions(base_error=0.1)
        root = exact.ask(0, 0).sample.position_mm[6]
        assert np.allclose(exact.ask(0, 0).base_mm, root, atol=1e-3)
        distance = [np.linalg.norm(off.ask(0, i).base_mm - exact.ask(0, i).base_mm) for i in range(3)]
        assert 30 < np.median(distance) < 1000

    def test_one_view_is_a_rig_too(self) -> None:
        sample = self.questions(views=1).ask(0, 0).sample
        assert sample.crops.shape[0] == 1 and np.isfinite(arrays_of(sample).world).all()


@pytest.fixture(scope="module")
def volumetric() -> LocatedModel:
    return find_model("mannequin17_volumetric")


class TestVolumetric:
    def exam(self, located: LocatedModel, views: int, **more: object) -> Exam:
        return Exam(located, tiny.scenario().with_views(views), views, threads=1, **more)  # type: ignore[arg-type]

    def test_its_volume_answers_beside_its_points(self, volumetric: LocatedModel) -> None:
        paper = self.exam(volumetric, 3).sit(0, 2)
        assert set(paper.answers) == {"volumetric", *TRIANGULATED}
        # Each answer lies in a cube of 2.5 m about the algebraic root.
        middle = paper.answers["learned"][:, 6][:, None]
        assert (np.abs(paper.answers["volumetric"] - middle) < 1251).all()

    def test_a_given_base_is_where_the_cube_stands(self, volumetric: LocatedModel) -> None:
        paper = self.exam(volumetric, 3, base="truth", base_error=0.0).sit(0, 2)
        assert (np.abs(paper.answers["volumetric"] - paper.truth_mm[:, 6][:, None]) < 1251).all()

    def test_one_view_answers_with_a_base_and_only_from_the_volume(self, volumetric: LocatedModel) -> None:
        paper = self.exam(volumetric, 1, base="truth").sit(0, 2)
        assert set(paper.answers) == {"volumetric"} and np.isfinite(paper.answers["volumetric"]).all()
        assert set(evaluate.figures([paper], HUMAN36M17)) == {"volumetric", "picture", "worlds", "extent_mm"}

    def test_one_view_without_a_base_is_refused(self, volumetric: LocatedModel) -> None:
        with pytest.raises(ConfigError, match="--base truth"):
            self.exam(volumetric, 1)

    def test_the_table_says_what_the_cube_stands_about(
        self, volumetric: LocatedModel, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments = ["--model", str(volumetric.path), "--scenario", str(tiny.SCENARIO), "--views", "1,2"]
        options = ["--seeds", "1", "--frames", "2", "--threads", "1", "--base", "truth", "--base-error", "0.05"]
        assert evaluate.main([*arguments, *options]) == 0
        said = capsys.readouterr().out
        assert "cube about the true root, off by 5.0% of the extent" in said
        assert "volumetric" in said and "P-MPJPE" in said


@pytest.mark.slow
@pytest.mark.timeout(400)
class TestExam:
    def test_another_subject_is_refused(self) -> None:
        fly = load_scenario(tiny.TRAINING / "scenarios" / "fly_train.yaml")
        with pytest.raises(ConfigError, match="joints"):
            Exam(find_model("discs"), fly, 4)

    def test_models_that_triangulate_need_two_views_and_no_base(self) -> None:
        for views, more, said in ((1, {}, "two views"), (3, {"base": "truth"}, "no cube")):
            with pytest.raises(ConfigError, match=said):
                Exam(find_model("mannequin17"), tiny.scenario().with_views(views), views, threads=1, **more)  # type: ignore[arg-type]

    def test_inner_tensors_are_answered_besides(self) -> None:
        sample = Questions(tiny.scenario().with_views(2), 2, 160, 1.25).ask(0, 0).sample
        plain = Candidate(find_model("mannequin17"), 2, threads=1).answer(sample)
        more = Candidate(find_model("mannequin17"), 2, threads=1, also=("head_in",)).answer(sample)
        assert np.allclose(more["points3d"], plain["points3d"], atol=1e-2)
        # The hottest cell of each heatmap lies near its soft-argmax, or they are not the heatmaps.
        heat = more["head_in"][:, :17].reshape(2, 17, -1).argmax(axis=-1)
        side = 160 // STRIDE
        px = (np.stack([heat % side, heat // side], axis=-1) + 0.5) * STRIDE - 0.5
        matrix = sample.crop_to_image
        image = np.einsum("vjc,vdc->vjd", px, matrix[..., :2]) + matrix[:, None, :, 2]
        off = np.linalg.norm(image - plain["points2d"], axis=-1) / matrix[:, 0, 0][:, None]
        assert np.median(off) < STRIDE

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
