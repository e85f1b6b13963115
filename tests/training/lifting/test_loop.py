"""Runs: they learn, choose by the validation part, go on exactly where they stood, and become honest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rigpose.errors import ConfigError
from tests.training.lifting.made import CPU, config, poses
from training.lifting.baselines import MeanPose
from training.lifting.judging import error_mm, figures
from training.lifting.loop import LiftTrainer, rate_at
from training.lifting.saved import CHECKPOINT, read_saved
from training.lifting.splits import split
from training.report import Silence


def trainer(kind="masked", folder=None, animals=4, n=60, **changes):
    made, settings = poses(n, animals=animals), config(kind, network__roots="legs", **changes)
    return LiftTrainer(settings, made, split(made, settings.split), folder, CPU)


def same(a, b):
    return all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("kind", ["masked", "temporal", "liftpose"])
def test_a_run_learns_more_than_the_mean_pose(kind):
    made = trainer(kind, learning__epochs=30)
    made.run(Silence())
    found = made.judge_test(made.finished())
    assert found is not None and made.test is not None
    lifted = np.array(made.spec.lifted)
    truth = found.truth_mm[:, lifted].reshape(len(found.truth_mm), -1)
    mean = MeanPose.fit(truth, truth).predict(truth).reshape(-1, len(lifted), 3)
    assert error_mm(found, lifted) < 0.6 * np.linalg.norm(mean - found.truth_mm[:, lifted], axis=-1).mean()
    told = figures(made.finished(), made.test, found)
    assert told["mpjpe_mm"] == pytest.approx(error_mm(found, lifted))
    assert told["p_mpjpe_mm"] < told["mpjpe_mm"] and told["per_coordinate_mm"] < told["mpjpe_mm"]
    assert told["answered"] == 1.0 and set(told["joints_mm"]) == {made.skeleton.joints[j] for j in lifted}
    assert told["jitter_mm"] is not None


def test_the_best_weights_are_those_of_the_validation_part():
    made = trainer(learning__epochs=6)
    seen = []

    class Watch(Silence):
        def add(self, kind, step, values):
            if kind == "val":
                seen.append(values["mpjpe_mm"])

    made.run(Watch())
    assert len(seen) == 6 and made.best_mm == min(seen) and made.best_epoch == seen.index(min(seen)) + 1
    found = made.judge(made.validation, made.finished(), 20_001)
    assert error_mm(found, np.array(made.spec.lifted)) == pytest.approx(made.best_mm, rel=1e-5)


def test_covariances_are_honest_where_they_were_scaled():
    for kind in ("masked", "liftpose"):
        made = trainer(kind, learning__epochs=12)
        made.run(Silence())
        lifter = made.finished()
        told = figures(lifter, made.validation, made.judge(made.validation, lifter, 3))["calibration"]
        assert told["within_one"] == pytest.approx(0.68, abs=0.1) and told["within_two"] == pytest.approx(
            0.95, abs=0.05
        )


def test_a_run_that_is_resumed_ends_with_the_same_weights(tmp_path):
    whole = trainer(learning__epochs=4)
    whole.run(Silence())
    first = trainer(learning__epochs=4, folder=tmp_path)
    first.run(Silence(), until_epoch=2)
    second = trainer(learning__epochs=4, folder=tmp_path)
    second.resume(read_saved(tmp_path / CHECKPOINT))
    assert second.epoch == 2
    second.run(Silence())
    assert same(whole.lifter.state_dict(), second.lifter.state_dict()) and whole.best_mm == second.best_mm


def test_an_epoch_that_is_broken_off_leaves_nothing_behind(tmp_path):
    whole = trainer(learning__epochs=2)
    whole.run(Silence())
    made, asked = trainer(learning__epochs=2, folder=tmp_path), []

    def stop():
        asked.append(1)
        return len(asked) == made.steps_of_epoch + 2

    made.run(Silence(), stopped=stop)
    assert made.epoch == 1 and made.step == made.steps_of_epoch
    again = trainer(learning__epochs=2, folder=tmp_path)
    again.resume(read_saved(tmp_path / CHECKPOINT))
    again.run(Silence())
    assert same(whole.lifter.state_dict(), again.lifter.state_dict())


def test_a_file_that_is_no_checkpoint_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        read_saved(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ConfigError, match="cannot be read as a checkpoint"):
        read_saved(tmp_path / "text.pt")
    torch.save({"schema": 1}, tmp_path / "other.pt")
    with pytest.raises(ConfigError, match="no checkpoint of a lifter"):
        read_saved(tmp_path / "other.pt")


def test_the_published_rate_falls_in_stairs():
    learning = config(learning__schedule="stairs", learning__gamma=0.9, learning__decay_steps=10).learning
    assert [rate_at(learning, step, 100) for step in (0, 9, 10, 25)] == pytest.approx(
        [0.003, 0.003, 0.0027, 0.003 * 0.81]
    )


def test_the_cosine_rises_and_falls():
    learning = config(learning__warmup=0.1).learning
    rates = [rate_at(learning, step, 100) for step in range(101)]
    assert np.argmax(rates) == 10 and rates[0] < 0.1 * rates[10] and rates[100] == pytest.approx(0.01 * 0.003)


def test_liftpose_refuses_joints_that_are_missing():
    with pytest.raises(ConfigError, match="needs every joint"):
        config("liftpose", noise__missing=[0.0, 0.3])
