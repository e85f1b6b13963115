"""A lifter's run on disk: its checkpoint, and the best weights."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from rigpose.config import validate
from rigpose.errors import ConfigError
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
        document = {
            "schema": SCHEMA,
            "config": yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False),
            **{key: getattr(self, key) for key in self.__dataclass_fields__ if key != "config"},
        }
        partial = path.with_name(path.name + ".part")
        with partial.open("wb") as file:
            torch.save(document, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)


def read_saved(path: Path) -> Saved:
    """The run in a checkpoint.

    Raises:
        ConfigError: The file is missing, or is no checkpoint of a lifter.
    """
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ConfigError(path, "no such file", "give the folder of a run, or train it first") from None
    except Exception as error:  # torch raises pickle's and zipfile's classes
        line = str(error).partition("\n")[0]
        raise ConfigError(path, f"cannot be read as a checkpoint: {line}", "train it again") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA or "best_mm" not in document:
        raise ConfigError(path, "is no checkpoint of a lifter that this program reads", "train it again")
    config = validate(yaml.safe_load(document.pop("config")), LiftConfig, path)
    del document["schema"]
    return Saved(config=config, **document)
