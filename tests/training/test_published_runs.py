"""Runs of published networks: parts at their own rates, resumed, in lower precision, clipped or not."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from rigpose.errors import ConfigError
from tests.training import sets, tiny
from tests.training.forked import train
from tests.training.papers import ALGEBRAIC, MAE, PLAIN, RANSAC, RATES, SMOOTH, VOLUMETRIC
from tests.training.papers import human as make_human
from tests.training.test_processes import arguments, lines
from training.checkpoint import read_checkpoint
from training.loop import CHECKPOINT
from training.losses import NO_CHANCES
from training.report import Silence


@pytest.fixture(scope="module")
def human(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return make_human(tmp_path_factory.mktemp("human"))


PARTS = RATES | {"rates": {"process_features": 1e-3, "volume_net": 2e-3}}


def made(folder: Path, human: dict[str, Any], **changes: Any) -> Any:
    run = {"model": VOLUMETRIC, "loss": MAE, "optimiser": PARTS, "steps": 2} | changes
    return sets.trainer(folder, sets.config(human, **run))


def test_parts_learn_at_their_own_rates_and_the_heatmaps_not_at_all(tmp_path: Path, human: dict[str, Any]) -> None:
    trainer = made(tmp_path, human)
    before = copy.deepcopy(trainer.model.state_dict())
    trainer._step(tiny.batch(), 0.5)
    moved = {
        name: (parameter - before[name]).abs().max().item() for name, parameter in trainer.model.named_parameters()
    }
    # The first step of Adam is as long as the rate.
    for part, rate in (("backbone.conv1", 1e-4), ("process_features", 1e-3), ("volume_net.output_layer", 2e-3)):
        steps = [value for name, value in moved.items() if name.startswith(part)]
        assert max(steps) == pytest.approx(rate, rel=0.02), part
    assert moved["backbone.final_layer.weight"] == 0
    # Without a running average the last weights are what is kept.
    for name, value in trainer.average.model.named_parameters():
        assert torch.equal(value, trainer.model.get_parameter(name)), name


def test_a_part_that_is_not_there_is_refused(tmp_path: Path, human: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"optimiser.rates.*no part volume.*its parts are backbone"):
        made(tmp_path, human, optimiser=RATES | {"rates": {"volume": 1e-3}})


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(tmp_path: Path, human: dict[str, Any]) -> None:
    whole, first = made(tmp_path / "whole", human), made(tmp_path / "broken", human)
    whole.run(Silence())
    first.run(Silence(), until_step=1)
    second = made(tmp_path / "broken", human)
    second.resume(read_checkpoint(tmp_path / "broken" / CHECKPOINT))
    second.run(Silence())
    assert (whole.step, second.step, second.skipped) == (2, 2, 0)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


def test_in_lower_precision_the_geometry_stays_whole(tmp_path: Path) -> None:
    trainer = tiny.trainer(
        tmp_path, model=ALGEBRAIC | PLAIN, loss=SMOOTH, precision_cpu="bf16", optimiser=RATES, steps=1
    )
    model, there = trainer.model, tiny.batch()
    exact = trainer.objective(there, 1.0, NO_CHANCES, None)
    lower = trainer.objective(there, 1.0, NO_CHANCES, torch.bfloat16)
    assert lower.total.dtype == torch.float32
    assert lower.total.item() != exact.total.item()
    assert lower.error_share.item() == pytest.approx(exact.error_share.item(), abs=0.05)
    trainer._step(there, 0.5)
    assert (trainer.step, trainer.skipped) == (1, 0)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_gradients_are_clipped_only_where_that_is_asked_for(tmp_path: Path) -> None:
    norms = {}
    for clip in (None, 1e-3):
        trainer = tiny.trainer(tmp_path, model=ALGEBRAIC | PLAIN, loss=SMOOTH, optimiser=RATES | {"clip": clip})
        trainer._step(tiny.batch(), 0.5)
        norms[clip] = float(torch.stack([p.grad.norm() for p in trainer.model.parameters()]).norm())
    assert norms[1e-3] == pytest.approx(1e-3, rel=1e-3) and norms[None] > 0.01


def test_a_network_that_learns_nothing_does_not_begin(tmp_path: Path) -> None:
    run = tiny.trainer(tmp_path, model=RANSAC)
    with pytest.raises(ConfigError, match="ransac: is a consensus, which learns nothing") as caught:
        run.run(Silence())
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_make_the_losses_of_one(tmp_path: Path) -> None:
    """Of bodies some of whose joints are not known: they fall to the processes unevenly."""
    data = {"dataset": sets.section("panoptic", tmp_path / "data"), "batch_size": 4, "workers": 0}
    model = ALGEBRAIC | PLAIN | {"name": "tiny"}
    run = sets.config({}, data=data, model=model, loss=SMOOTH, optimiser=RATES | {"freeze_norm": True}, steps=2)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(run.model_dump(mode="json")))
    train(*((processes, arguments(file, tmp_path / str(processes))) for processes in (1, 2)))
    one, two = (lines(tmp_path / str(processes)) for processes in (1, 2))
    assert len(one) == len(two) == 2
    for alone, shared in zip(one, two, strict=True):
        for key in ("total", "gradient"):
            assert shared[key] == pytest.approx(alone[key], rel=1e-5), (alone["step"], key)
