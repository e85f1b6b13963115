"""Checkpoints: all that a run needs to go on as if it had not been broken."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from rigpose.config import validate
from rigpose.errors import ConfigError
from training.config import TrainingConfig

SCHEMA = 1


@dataclass(frozen=True)
class Checkpoint:
    """A run at one step.

    Attributes:
        config: The run's config; its scenario's path is absolute.
        skeleton: JSON of the joints.
        step: Steps that were done.
        elapsed_s: Seconds that they took.
        skipped: Steps whose loss or gradient was not finite.
        weights: State dict of the model.
        average: State dict of its running average, which is what is exported.
        optimiser: State dict.
        random: Torch's random state.
        machine: Where it ran.
        origin: What the weights began with.
    """

    config: TrainingConfig
    skeleton: str
    step: int
    elapsed_s: float
    skipped: int
    weights: dict[str, Any]
    average: dict[str, Any]
    optimiser: dict[str, Any]
    random: dict[str, Any]
    machine: str
    origin: str

    def write(self, path: Path) -> None:
        """Write it whole or not at all: a run that is killed here leaves the checkpoint before."""
        write_run(path, self, SCHEMA)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """The run in a checkpoint file.

    Raises:
        ConfigError: The file is missing, is no checkpoint, or is of another schema.
    """
    path = Path(path)
    document = read_run(path)
    if document.get("schema") != SCHEMA:
        raise ConfigError(path, f"is of schema {document.get('schema')}, this program reads {SCHEMA}", "train it again")
    config = validate(yaml.safe_load(document.pop("config")), TrainingConfig, path)
    del document["schema"]
    return Checkpoint(config=config, **document)


def write_run(path: Path, run: Any, schema: int) -> None:
    """Write a run's dataclass, which has a ``config``, whole or not at all."""
    fields = {key: getattr(run, key) for key in run.__dataclass_fields__ if key != "config"}
    config = yaml.safe_dump(run.config.model_dump(mode="json"), sort_keys=False)
    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as file:
        torch.save({"schema": schema, "config": config, **fields}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def read_run(path: Path) -> dict[str, Any]:
    """What `write_run` wrote; its ``config`` is still YAML, and its schema may be any.

    Raises:
        ConfigError: The file is missing, or is no checkpoint.
    """
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ConfigError(path, "no such file", "give the checkpoint.pt of a run's folder") from None
    except Exception as error:  # torch raises pickle's and zipfile's classes
        line = str(error).partition("\n")[0]
        raise ConfigError(path, f"cannot be read as a checkpoint: {line}", "give the checkpoint.pt of a run") from None
    return document if isinstance(document, dict) else {}
