"""Data sets are trained on as the virtual rig is: by any processes, to be gone on with, never judged by the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rigpose.errors import ConfigError
from tests.training import sets, tiny
from tests.training.datasets import made
from training import feed
from training.checkpoint import read_checkpoint
from training.datasets.precalculated import write_precalculated
from training.export import document
from training.loop import CHECKPOINT
from training.losses import Batch
from training.processes import ALONE, Group
from training.report import Report
from training.sources import ShotsSource, source_of


@pytest.fixture(scope="module", params=sets.KINDS)
def section(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return sets.section(request.param, tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def human(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return sets.section("human36m", tmp_path_factory.mktemp("human"))


def run(trainer: Any, until: int | None = None) -> None:
    report = Report(trainer.folder)
    trainer.run(report, until_step=until)
    report.close()


@pytest.mark.parametrize("kind", ["algebraic", "volumetric"])
def test_a_network_is_trained_and_looked_at_on_each_data_set(
    section: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    make = sets.config if kind == "algebraic" else sets.volumetric
    trainer = sets.trainer(tmp_path, make(section, steps=2, validation={"samples": 3, "every_steps": 2}))
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    run(trainer)
    assert (trainer.step, trainer.skipped) == (2, 0)
    assert any(not torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))
    text = (tmp_path / "scalars.jsonl").read_text()
    assert '"kind": "val"' in text
    assert len(list((tmp_path / "pictures").glob("val_*.png"))) == 1


def test_a_run_that_was_broken_off_goes_on_to_the_same_weights(human: dict[str, Any], tmp_path: Path) -> None:
    config = sets.volumetric(human | {"views": [1, 4]}, steps=5)
    whole, first = sets.trainer(tmp_path / "whole", config), sets.trainer(tmp_path / "broken", config)
    run(whole)
    run(first, until=2)
    second = sets.trainer(tmp_path / "broken", config)
    second.resume(read_checkpoint(tmp_path / "broken" / CHECKPOINT))
    run(second)
    assert whole.step == second.step == 5
    assert all(torch.equal(value, second.model.state_dict()[name]) for name, value in whole.model.state_dict().items())


def taught(config: Any, group: Group = ALONE, steps: int = 4, batch_size: int = 4) -> list[Batch]:
    stream = feed.batches(source_of(config), tiny.CPU, 1, batch_size, 0, lambda _: 64, group)
    return [next(stream) for _ in range(steps)]


def together(parts: list[Batch], name: str) -> torch.Tensor:
    """What processes have of a batch, in its order."""
    return torch.stack([getattr(part, name) for part in parts], dim=1).flatten(0, 1)


def test_two_processes_make_the_batches_of_one(human: dict[str, Any]) -> None:
    config = sets.config(human | {"views": [1, 4]})
    whole = taught(config)
    for batch, *parts in zip(whole, *(taught(config, Group(rank, 2)) for rank in range(2)), strict=True):
        assert [key for pair in zip(*(part.keys for part in parts), strict=True) for key in pair] == list(batch.keys)
        for name in ("crops", "points", "position_mm", "base_mm", "crop_to_image"):
            assert torch.equal(together(parts, name).nan_to_num(), getattr(batch, name).nan_to_num()), name
    assert len({batch.crops.shape[1] for batch in taught(config, steps=16, batch_size=2)}) > 1


def test_validation_is_shared_out_without_changing_what_is_looked_at(human: dict[str, Any]) -> None:
    source = source_of(sets.config(human))
    whole = {
        key: batch for batch in feed.judged(source.judged("val", None, 8, Group()), tiny.CPU) for key in batch.keys
    }
    assert len(whole) == 5
    shared: dict[Any, tuple[Batch, int]] = {}
    for rank in range(2):
        for batch in feed.judged(source.judged("val", None, 1, Group(rank, 2)), tiny.CPU):
            shared |= {key: (batch, row) for row, key in enumerate(batch.keys)}
    assert set(shared) == set(whole)
    for key, (batch, row) in shared.items():
        other = whole[key]
        assert torch.equal(batch.crops[row], other.crops[other.keys.index(key)])
    few = source.judged("val", 3, 8, Group())
    assert [order.key.frame for batch in few.batches for order in batch] == [0, 128, 64]


class TestBase:
    """Where the cube is laid: by the truth only while it is trained, or by what was calculated before."""

    def test_is_the_true_root_in_training_and_not_known_when_it_is_judged(self, human: dict[str, Any]) -> None:
        config = sets.volumetric(human)
        for batch in taught(config, steps=2):
            assert torch.equal(batch.base_mm, batch.position_mm[:, 6])
        (batch, *_) = feed.judged(source_of(config).judged("val", None, 8, Group()), tiny.CPU)
        assert batch.base_mm.isnan().all() and batch.position_mm.isfinite().all()

    def test_is_what_was_calculated_before_in_both(self, human: dict[str, Any], tmp_path: Path) -> None:
        source = source_of(sets.config(human))
        assert isinstance(source, ShotsSource)
        keys = {}
        for split in ("train", "val"):
            listed = list(source.shots(split).index)  # type: ignore[arg-type]
            poses = np.stack([source.shots(split).shot(key).position_mm + 37.0 for key in listed])  # type: ignore[arg-type]
            write_precalculated(tmp_path / f"{split}.npz", listed[::-1], source.skeleton.joints, poses[::-1])
            keys[f"precalculated_{split}"] = str(tmp_path / f"{split}.npz")
        config = sets.volumetric(human | keys)
        for batch in taught(config, steps=2):
            assert torch.allclose(batch.base_mm, batch.position_mm[:, 6] + 37, atol=1e-3)
        (batch, *_) = feed.judged(source_of(config).judged("val", None, 8, Group()), tiny.CPU)
        assert torch.allclose(batch.base_mm, batch.position_mm[:, 6] + 37, atol=1e-3)


def test_what_is_reported_is_named_as_the_data_set_names_it(human: dict[str, Any]) -> None:
    source = source_of(sets.config(human))
    (batch, *_) = feed.judged(source.judged("val", 1, 8, Group()), tiny.CPU)
    moment = source.moment(batch.keys[0], "val")
    assert tuple(moment) == ("S9", "Walking", "S9/Walking-1", 0)


def test_one_source_and_no_other(human: dict[str, Any]) -> None:
    scenario = str(tiny.SCENARIO)
    for data in ({}, {"scenario": scenario, "dataset": human}):
        with pytest.raises(ConfigError, match="give either scenario, for the virtual rig, or dataset with its kind"):
            tiny.config(data=data)
    with pytest.raises(ConfigError, match=r"views of a data set stand in data.dataset"):
        tiny.config(data={"dataset": human, "views": 3})


def test_a_picture_that_is_damaged_is_one_line_from_a_worker_too(tmp_path: Path) -> None:
    section = sets.section("human36m", tmp_path)
    for file in Path(section["root"]).rglob("*.jpg"):
        file.write_bytes(b"no picture")
    stream = feed.batches(source_of(sets.config(section)), tiny.CPU, 0, 2, 1, lambda _: 64)
    with pytest.raises(ConfigError, match="is no picture that can be decoded") as caught:
        next(stream)
    assert "\n" not in str(caught.value)


def test_pictures_are_looked_for_before_the_first_step(tmp_path: Path) -> None:
    data = made.Human36M(tmp_path)
    section = {"kind": "human36m", "labels": str(data.labels()), "root": str(data.root)}
    data.file("S9", "Walking-1", made.NAMES[2], 64).unlink()
    with pytest.raises(ConfigError, match=r"img_000065.jpg: no such picture, one of 1 missing ones"):
        source_of(sets.config(section))


def test_an_exported_network_says_what_it_was_trained_on(human: dict[str, Any], tmp_path: Path) -> None:
    said = document(sets.trainer(tmp_path, sets.config(human)).checkpoint())
    assert said["domain"] == "real" and said["source"].startswith("rigpose, trained on human36m of processed")
    drawn = document(tiny.trainer(tmp_path).checkpoint())
    assert drawn["domain"] == "synthetic" and "the virtual rig" in drawn["source"]
