"""The loop: what is broken off goes on as if it had not been, and what is not finite changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from rigpose.errors import ConfigError
from tests.training import tiny
from training.average import Average
from training.checkpoint import read_checkpoint
from training.config import OptimiserSection
from training.loop import BRANCH, CHECKPOINT, Trainer
from training.report import Report
from training.schedule import learning_rate, progress_at
from training.train import arguments, prepare


def run(trainer: Trainer, until: int | None = None) -> None:
    report = Report(trainer.folder)
    trainer.run(report, until_step=until)
    report.close()


def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(tmp_path: Path) -> None:
    whole, first = tiny.trainer(tmp_path / "whole"), tiny.trainer(tmp_path / "broken")
    run(whole)
    run(first, until=2)
    second = tiny.trainer(tmp_path / "broken")
    second.resume(read_checkpoint(tmp_path / "broken" / CHECKPOINT))
    assert second.step == 2
    run(second)
    assert whole.step == second.step == 6
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    for name, value in whole.average.state_dict().items():
        assert torch.equal(value, second.average.state_dict()[name]), name
    moments = [[s["exp_avg_sq"] for s in t.optimiser.state_dict()["state"].values()] for t in (whole, second)]
    assert all(torch.equal(a, b) for a, b in zip(*moments, strict=True))


class TestBranches:
    """Two runs that differ in confidences only share their first part."""

    LATE = {"branch_at": 0.5, "loss": {"position_from": 0.5, "position_full": 0.6}}

    def begin(self, tmp_path: Path, **changes: object) -> Trainer:
        first = tiny.trainer(tmp_path / "first", **(self.LATE | changes))
        run(first)
        return first

    def branch(self, tmp_path: Path, **changes: object) -> Trainer:
        model = tiny.config().model.model_dump() | {"name": "other", "confidences": False}
        config = tiny.config(**({"model": model} | self.LATE | changes))
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
        words = ["--config", str(file), "--logdir", str(tmp_path), "--workers", "0", "--device", "cpu"]
        return prepare(arguments([*words, "--branch", str(tmp_path / "first" / BRANCH)]))

    def test_goes_on_where_the_other_stood_and_ends_elsewhere(self, tmp_path: Path) -> None:
        whole = self.begin(tmp_path)
        other = self.branch(tmp_path)
        assert other.step == 3 and not other.model.confidences and "tiny" in other.origin
        kept = read_checkpoint(tmp_path / "first" / BRANCH)
        assert all(torch.equal(value, kept.weights[name]) for name, value in other.model.state_dict().items())
        run(other)
        ends = whole.model.state_dict(), other.model.state_dict()
        assert any(not torch.equal(value, ends[1][name]) for name, value in ends[0].items())

    def test_with_the_same_losses_it_is_the_same_run(self, tmp_path: Path) -> None:
        whole = self.begin(tmp_path)
        other = self.branch(tmp_path, model=tiny.config().model.model_dump() | {"name": "twin"})
        run(other)
        assert all(
            torch.equal(value, other.model.state_dict()[name]) for name, value in whole.model.state_dict().items()
        )

    def test_is_refused_where_the_runs_differ_before_it(self, tmp_path: Path) -> None:
        self.begin(tmp_path)
        with pytest.raises(ConfigError, match="another steps"):
            self.branch(tmp_path, steps=8)

    def test_is_refused_where_confidences_already_had_their_say(self, tmp_path: Path) -> None:
        early = {"loss": {"position_from": 0.1, "position_full": 0.2}}
        self.begin(tmp_path, **early)
        with pytest.raises(ConfigError, match="branch earlier"):
            self.branch(tmp_path, **early)


def test_training_changes_the_weights_and_the_average_follows(tmp_path: Path) -> None:
    trainer = tiny.trainer(tmp_path)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    run(trainer, until=3)
    moved = [name for name, value in trainer.model.named_parameters() if not torch.equal(value, before[name])]
    assert len(moved) == len(before)
    assert trainer.skipped == 0
    assert (tmp_path / "scalars.jsonl").is_file()


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(tmp_path: Path) -> None:
    trainer = tiny.trainer(tmp_path)
    run(trainer, until=1)
    batch = tiny.batch()
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    poisoned = batch._replace(position_mm=torch.full_like(batch.position_mm, torch.inf))
    trainer._step(poisoned, progress=1.0)
    assert trainer.skipped == 1 and trainer.step == 2
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
    trainer._step(batch, progress=0.5)
    assert trainer.skipped == 1
    assert any(not torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())


def test_validation_is_of_worlds_that_training_never_shows(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="validation.seed"):
        tiny.config(validation={"seed": 5})
    trainer = tiny.trainer(tmp_path, validation={"samples": 2, "every_steps": 1})
    run(trainer, until=1)
    assert '"kind": "val"' in (tmp_path / "scalars.jsonl").read_text()


class TestCheckpoints:
    def test_hold_the_run_and_its_config(self, tmp_path: Path) -> None:
        written = tiny.checkpoint(tmp_path)
        written.write(tmp_path / "c.pt")
        read = read_checkpoint(tmp_path / "c.pt")
        assert read.config == written.config and read.skeleton == written.skeleton
        assert all(torch.equal(read.average[name], value) for name, value in written.average.items())
        assert [file.name for file in tmp_path.iterdir()] == ["c.pt"]

    def test_what_is_none_is_refused_in_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "c.pt").write_bytes(b"no")
        for file in (tmp_path / "c.pt", tmp_path / "missing.pt"):
            with pytest.raises(ConfigError) as caught:
                read_checkpoint(file)
            assert "\n" not in str(caught.value) and file.name in str(caught.value)


class TestSchedules:
    def test_the_rate_rises_stays_and_falls(self) -> None:
        config = OptimiserSection(rate=1.0, warmup=0.1, decay_from=0.5)
        rates = [learning_rate(config, p) for p in (0.0, 0.05, 0.1, 0.3, 0.5, 0.75, 1.0)]
        assert rates[0] < rates[1] < 0.6
        assert rates[2] == rates[3] == rates[4] == 1.0
        assert 0.4 < rates[5] < 0.6 and 0 < rates[6] < 0.02

    def test_time_counts_where_it_runs_out_first(self) -> None:
        assert progress_at(10, 100, 50, None) == 0.1
        assert progress_at(10, 100, 50, 100) == 0.5
        assert progress_at(90, 100, 50, 100) == 0.9

    def test_pictures_grow_with_the_run(self) -> None:
        config = tiny.config(stages=[{"until": 0.5, "size": 32}, {"until": 1.0, "size": 64}])
        assert [config.size_at(p) for p in (0, 0.49, 0.5, 1.0)] == [32, 32, 64, 64]
        with pytest.raises(ConfigError, match="stages"):
            tiny.config(stages=[{"until": 0.5, "size": 32}])


def test_the_average_is_that_of_the_weights() -> None:
    model = torch.nn.Linear(1, 1)
    average = Average(model, 0.9)
    with torch.no_grad():
        model.weight.fill_(1.0)
        average.model.weight.fill_(0.0)
    average.update(model, 10_000)
    assert average.model.weight.item() == pytest.approx(0.1)
