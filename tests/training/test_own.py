"""What a lab labelled decides the run, and the run's answer is one file that the engine reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.document import find_model
from nodes.train import BEGINNING
from rigpose.errors import ConfigError
from tests.training.datasets.test_labelled import MOMENTS, NAMES, SKELETON, labels_in, the_rig
from training import own, own_run
from training.checkpoint import Checkpoint
from training.config import LossSection, TrainingConfig
from training.loop import CHECKPOINT
from training.own_run import OwnTrainer, Watch
from training.report import Report, Silence

PICTURES = len(NAMES) * MOMENTS
CPU = torch.device("cpu")
TINY = (
    "stages=[{until: 1.0, size: 64}]",
    "model.context=4",
    "model.backbone={channels: [4, 4, 6, 8, 8], blocks: [1, 1, 1, 1], neck: 8, features: 8}",
    "data.workers=0",
    "data.batch_size=2",
    "steps=4",
    "validation.every_steps=2",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder whose labels are gathered."""
    place = tmp_path_factory.mktemp("own")
    own.gathered(labels_in(place, the_rig(), noise_px=0.5), place, the_rig())
    return place


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without a rig."""
    place = tmp_path_factory.mktemp("flat")
    own.gathered(labels_in(place, the_rig()), place, None)
    return place


@pytest.fixture(scope="module")
def trained(folder: Path) -> tuple[OwnTrainer, Checkpoint]:
    plan = own.plan(folder / own.GATHERED, "mouse", assignments=TINY)
    trainer = own_run.trainer_of(plan, folder, CPU, None)
    return trainer, own_run.train(trainer, 5.0, lambda done, what: None, lambda: False)


class TestPlan:
    def test_says_what_was_labelled(self, folder: Path) -> None:
        plan = own.plan(folder / own.GATHERED, "mouse")
        assert plan.taught[0] + plan.held[0] == PICTURES and plan.taught[1] + plan.held[1] == MOMENTS
        assert plan.held[1] >= 1 and plan.cameras == NAMES and plan.skeleton == SKELETON
        # Joint 3 was never labelled, joint 5 is hidden in one camera of three.
        assert plan.joints[3] == 0 and plan.joints[5] == pytest.approx(2 / 3) and plan.joints[0] == 1
        assert plan.in_3d == pytest.approx(11 / 12)
        assert plan.picture_px == 400 and 20 < plan.side_px < 300

    def test_shows_as_many_pictures_a_step_whatever_the_number_of_cameras(self, folder: Path, flat: Path) -> None:
        several, single = (own.plan(place / own.GATHERED, "mouse").config.data for place in (folder, flat))
        assert several.batch_size == round(20 / 3) and single.batch_size == 20

    def test_without_a_place_in_3d_only_2d_is_learned(self, folder: Path, flat: Path) -> None:
        for place, wanted in ((flat, False), (folder, True)):
            loss = own.plan(place / own.GATHERED, "mouse").config.loss
            assert isinstance(loss, LossSection) and (loss.position > 0) == wanted

    def test_mirrors_where_joints_have_sides_and_nobody_says_no(self, tmp_path: Path) -> None:
        labels = labels_in(tmp_path, the_rig())
        sided = replace(labels, skeleton=SKELETON.model_copy(update={"left_right": ((0, 6),)}))
        own.gathered(sided, tmp_path, the_rig())

        def share(mirror: bool | None) -> float:
            return own.plan(tmp_path / own.GATHERED, "mouse", mirror=mirror).config.data.crop.mirror

        assert share(None) == share(True) == 0.5 and share(False) == 0

    def test_without_sides_nothing_is_mirrored(self, folder: Path) -> None:
        assert own.plan(folder / own.GATHERED, "mouse", mirror=True).config.data.crop.mirror == 0

    def test_an_animal_that_is_small_in_its_pictures_is_looked_for_in_tiles(self, folder: Path) -> None:
        plan = own.plan(folder / own.GATHERED, "mouse")
        assert replace(plan, side_px=150.0).finder == {"kind": "full"}
        assert replace(plan, side_px=75.0).finder == {"kind": "tiles", "tiles": 2}
        # Of a picture's side, a tile is 2 / (tiles + 1): the animal's crop is a third of it at least.
        assert replace(plan, side_px=50.0).finder == {"kind": "tiles", "tiles": 4}
        assert replace(plan, side_px=1.0).finder == {"kind": "tiles", "tiles": 6}

    def test_any_key_may_be_set_otherwise(self, folder: Path) -> None:
        assert own.plan(folder / own.GATHERED, "mouse", assignments=["optimiser.rate=0.5"]).config.optimiser.rate == 0.5

    def test_too_few_labels_are_one_line(self, tmp_path: Path) -> None:
        labels = labels_in(tmp_path, the_rig())
        with pytest.raises(ConfigError, match=r"9 pictures are labelled \(label 10 at least"):
            own.gathered(replace(labels, frames=labels.frames[:9]), tmp_path, the_rig())


class TestRun:
    def test_ends_with_the_weights_that_were_best_on_what_is_held_out(
        self, trained: tuple[OwnTrainer, Checkpoint]
    ) -> None:
        trainer, checkpoint = trained
        assert trainer.step == 4 and 0 < checkpoint.step <= 4
        assert (trainer.folder / CHECKPOINT).is_file()

    def test_what_it_is_worth_is_told_in_px_of_the_pictures(self, trained: tuple[OwnTrainer, Checkpoint]) -> None:
        trainer, checkpoint = trained
        held = own_run.judged(checkpoint, trainer.held_out(), CPU)
        views = len(trainer.held_out()[0].crops[0])
        # Eleven joints of twelve, and one of these is hidden in one of three cameras.
        assert held.pictures % views == 0 and len(held.px) == held.pictures * 11 - held.pictures // 3
        assert np.isfinite(held.px).all() and np.isnan(held.joints_px[3]) and np.isfinite(held.joints_px[0])
        assert len(held.mm) == held.pictures // 3 * 11
        # Of untrained weights the points lie in the middle: about half of the animal away, not a hundred times.
        assert 0.05 < np.median(held.share) < 2 and 5 < np.median(held.px) < 300

    def test_a_second_call_goes_on_and_refuses_other_settings(
        self, folder: Path, trained: tuple[OwnTrainer, Checkpoint]
    ) -> None:
        plan = own.plan(folder / own.GATHERED, "mouse", assignments=TINY)
        assert own_run.trainer_of(plan, folder, CPU, None).step == 4
        other = own.plan(folder / own.GATHERED, "mouse", assignments=[*TINY, "optimiser.rate=1e-4"])
        with pytest.raises(ConfigError, match="of a run with other settings"):
            own_run.trainer_of(other, folder, CPU, None)

    @pytest.mark.filterwarnings("error::RuntimeWarning")
    def test_learns_in_2d_alone(self, flat: Path) -> None:
        plan = own.plan(flat / own.GATHERED, "mouse", assignments=[*TINY, "steps=10"])
        trainer = own_run.trainer_of(plan, flat, CPU, None)
        checkpoint = own_run.train(trainer, 5.0, lambda done, what: None, lambda: False)
        assert (trainer.step, trainer.skipped) == (10, 0)
        held = own_run.judged(checkpoint, trainer.held_out(), CPU)
        assert len(held.px) and not len(held.mm)

    def test_who_stops_it_keeps_what_it_has_learned(self, folder: Path, tmp_path: Path) -> None:
        plan = own.plan(folder / own.GATHERED, "mouse", assignments=TINY)
        trainer = own_run.trainer_of(plan, tmp_path, CPU, None)
        checkpoint = own_run.train(trainer, 5.0, lambda done, what: None, lambda: trainer.step >= 1)
        assert trainer.step == checkpoint.step == 1 and (trainer.folder / CHECKPOINT).is_file()


class TestWatch:
    @pytest.fixture
    def watch(self, folder: Path, tmp_path: Path) -> Watch:
        plan = own.plan(folder / own.GATHERED, "mouse", assignments=TINY)
        return Watch(Report(tmp_path), own_run.trainer_of(plan, tmp_path, CPU, None), lambda done, what: None)

    @staticmethod
    def said(watch: Watch, done: float, error: float) -> None:
        step = round(1000 * done)
        watch.add("train", step, {"done": done})
        watch.add("val", step, {"error_share": error})

    def test_keeps_the_best(self, watch: Watch) -> None:
        for done, error in ((0.1, 0.5), (0.2, 0.1), (0.3, 0.3)):
            self.said(watch, done, error)
        assert watch.step == 200 and watch.weights is not None

    def test_is_hopeless_when_nothing_got_better_for_a_third_of_the_run(self, watch: Watch) -> None:
        self.said(watch, 0.4, 0.1)
        self.said(watch, 0.7, 0.2)
        assert not watch.hopeless
        self.said(watch, 0.76, 0.2)
        assert watch.hopeless
        watch.close()

    def test_is_not_while_it_begins(self, watch: Watch) -> None:
        self.said(watch, 0.01, 0.1)
        self.said(watch, 0.6, 0.2)
        assert not watch.hopeless


def test_the_shipped_recipe_takes_a_step_from_the_features_that_it_begins_with(folder: Path, tmp_path: Path) -> None:
    small = ("data.workers=0", "data.batch_size=1", "stages=[{until: 1.0, size: 64}]")
    plan = own.plan(folder / own.GATHERED, "mouse", assignments=small)
    assert isinstance(plan.config, TrainingConfig)
    trainer = own_run.trainer_of(plan, tmp_path, CPU, find_model(BEGINNING).path)
    assert trainer.origin == f"the features of {BEGINNING}.onnx"
    trainer.run(Silence(), until_step=1)
    assert (trainer.step, trainer.skipped) == (1, 0)
