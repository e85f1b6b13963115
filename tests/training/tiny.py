"""Runs so small that they take a second: the shipped scenarios, a handful of channels."""

from __future__ import annotations

from pathlib import Path

import torch

from capture.virtual.scenario import Scenario, load_scenario
from rigpose.config import validate
from training.checkpoint import Checkpoint
from training.config import DataSection, TrainingConfig
from training.feed import as_batch, as_tensors
from training.loop import Trainer
from training.losses import Batch
from training.samples import Order, VirtualSamples
from training.sources import source_of

TRAINING = Path(__file__).resolve().parents[2] / "training"
SCENARIO = TRAINING / "scenarios" / "mannequin_train.yaml"
SIZE = 64
CPU = torch.device("cpu")


def config(**changes: object) -> TrainingConfig:
    document: dict[str, object] = {
        "version": 1,
        "seed": 5,
        "steps": 6,
        "stages": [{"until": 1.0, "size": SIZE}],
        "model": {
            "name": "tiny",
            "context": 4,
            "backbone": {"channels": [4, 4, 6, 8, 8], "blocks": [1, 1, 1, 1], "neck": 8, "features": 8},
        },
        "data": {"scenario": str(SCENARIO), "views": 3, "batch_size": 2, "workers": 0},
        "validation": {"samples": 2},
    }
    return validate(document | changes, TrainingConfig, "tiny")


def scenario() -> Scenario:
    return load_scenario(SCENARIO)


def samples(*, seed: int = 5, augment: bool = True) -> VirtualSamples:
    return VirtualSamples(scenario(), DataSection(scenario=SCENARIO, views=3, batch_size=2), seed, augment=augment)


def batch(count: int = 2, size: int = SIZE) -> Batch:
    made = samples(augment=False)
    return as_batch(as_tensors([made[Order(0, i, i, size)] for i in range(count)]), CPU)


def trainer(folder: Path, **changes: object) -> Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    run = config(**changes)
    return Trainer(run, source_of(run), folder, CPU, workers=0)


def checkpoint(folder: Path, size: int = SIZE) -> Checkpoint:
    """A run whose weights are random but whose batch statistics, temperatures and biases are not the initial ones."""
    run = trainer(folder, stages=[{"until": 1.0, "size": size}])
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for model in (run.model, run.average.model):
            model.head.log_temperature.copy_(torch.rand(17, 1, generator=generator))
            model.head.joint_bias.normal_(generator=generator)
            model.network.answer.weight.normal_(std=0.5, generator=generator)
            for name, buffer in model.named_buffers():
                if name.endswith("running_mean"):
                    buffer.normal_(std=0.2, generator=generator)
                elif name.endswith("running_var"):
                    buffer.uniform_(0.5, 1.5, generator=generator)
    return run.checkpoint()
