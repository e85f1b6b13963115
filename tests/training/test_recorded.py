"""A network is trained on what a rig recorded, through the same loop as on any data set."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from tests.training import sets, tiny  # noqa: E402
from tests.training.datasets import recording  # noqa: E402
from training import feed  # noqa: E402
from training.report import Report  # noqa: E402
from training.sources import source_of  # noqa: E402


@pytest.fixture(scope="module")
def section(tmp_path_factory) -> dict[str, object]:
    folder = recording.record(tmp_path_factory.mktemp("sessions"), sets=16)
    return {"kind": "recorded", "root": str(folder), "share": 0.25, "gap_s": 0.3, "views": [2, 4]}


@pytest.mark.parametrize("kind", ["algebraic", "volumetric"])
def test_two_steps_are_trained(section, tmp_path: Path, kind: str) -> None:
    make = sets.config if kind == "algebraic" else sets.volumetric
    trainer = sets.trainer(tmp_path, make(section, steps=2, validation={"samples": 2, "every_steps": 2}))
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    trainer.run(Report(trainer.folder))
    assert (trainer.step, trainer.skipped) == (2, 0)
    assert any(not torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))


def test_pictures_are_decoded_in_worker_processes(section) -> None:
    """Another process reads the same pictures, and the same samples come of them."""
    source = source_of(sets.config(section))
    here, there = (next(feed.batches(source, tiny.CPU, 3, 2, workers, lambda _: 32)) for workers in (0, 1))
    assert here.keys == there.keys
    assert torch.equal(here.crops, there.crops) and torch.allclose(here.points, there.points, equal_nan=True)
