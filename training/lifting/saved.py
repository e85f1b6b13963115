"""A lifter's run on disk: its checkpoint, and the best weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rigpose.config import validate
from rigpose.errors import ConfigError
from training.checkpoint import read_run, write_run
from training.lifting.config import LiftConfig

CHECKPOINT = "checkpoint.pt"
EXPORTED = "lifter.onnx"
SCHEMA = 1


@dataclass(frozen=True)
class Saved:
    """A run after an epoch.

    Attributes:
        config: The run's; paths are absolute.
        skeleton: JSON of the joints.
        epoch: Epochs that were done.
        step: Steps that were done.
        elapsed_s: Seconds that they took.
        weights: State dict of the lifter, statistics included.
        average: Of its running average.
        optimiser: State dict.
        random: State of the generator that draws samples, on its device, and of torch's own.
        best: The average's state dict where the validation part liked it best.
        best_mm: Its error there.
        best_epoch: When that was.
    """

    config: LiftConfig
    skeleton: str
    epoch: int
    step: int
    elapsed_s: float
    weights: dict[str, Any]
    average: dict[str, Any]
    optimiser: dict[str, Any]
    random: dict[str, Any]
    best: dict[str, Any]
    best_mm: float
    best_epoch: int

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        write_run(path, self, SCHEMA)


def read_saved(path: Path) -> Saved:
    """The run in a checkpoint.

    Raises:
        ConfigError: The file is missing, or is no checkpoint of a lifter.
    """
    document = read_run(path)
    if document.get("schema") != SCHEMA or "best_mm" not in document:
        raise ConfigError(path, "is no checkpoint of a lifter that this program reads", "train it again")
    config = validate(yaml.safe_load(document.pop("config")), LiftConfig, path)
    del document["schema"]
    return Saved(config=config, **document)
