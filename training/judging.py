"""The averaged weights judged on a whole part of a data set, or on samples of the scenario: ``training.train --eval``.

Processes share the moments out; how many there are changes no figure.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rigpose.errors import ConfigError
from training import feed, networks
from training.config import TrainingConfig
from training.datasets.precalculated import write_precalculated
from training.datasets.protocols import Split
from training.metrics import Moment, evaluation
from training.predict import Prediction
from training.processes import ALONE, Group
from training.sources import Source

log = logging.getLogger(__name__)


def answers(
    model: torch.nn.Module,
    source: Source,
    split: Split,
    device: torch.device,
    batch_size: int,
    workers: int = 0,
    group: Group = ALONE,
) -> list[Prediction]:
    """What a network answers to each moment of a part, one by one, in the order of their keys.

    Args:
        model: Of any kind.
        source: Where the moments come from.
        split: Of them.
        device: Where the model is.
        batch_size: Of each process.
        workers: Processes that make samples.
        group: Who share the moments out; all of them get all answers.
    """
    part = source.judged(split, None, batch_size, group)
    if part.base == "true" and group.main:
        log.warning("cubes are laid about the true root: no method that has to find it can be compared")
    mine = [one for batch in feed.judged(part, device, workers) for one in networks.predict(model, batch).one_by_one()]
    return sorted(group.gathered(mine), key=lambda one: one.keys[0])


def figures(predictions: Sequence[Prediction], source: Source, split: Split) -> dict[str, Any]:
    """All figures of a part's answers, as JSON can hold them; where nothing is known in 3D, those of 2D are left."""
    moments = [source.moment(key, split) for one in predictions for key in one.keys]
    return evaluation(predictions, source.skeleton, moments, step=frame_step(moments))


def frame_step(moments: Sequence[Moment]) -> int:
    """How far apart the numbers of frames are that follow each other: most often."""
    frames = sorted((m.subject, m.sequence, m.frame) for m in moments if m.frame is not None)
    apart = Counter(b[2] - a[2] for a, b in zip(frames, frames[1:], strict=False) if a[:2] == b[:2])
    return min(apart, key=lambda step: (-apart[step], step)) if apart else 1


def write_json(path: Path, result: dict[str, Any]) -> None:
    """Write figures; the file is whole or not there."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(partial, path)


def check_results(path: Path, config: TrainingConfig) -> None:
    """See that poses can be written, before they are calculated.

    Raises:
        ConfigError: They are of the virtual rig, or there is no such folder.
    """
    if config.data.dataset is None:
        what = "is for data sets: a moment of the virtual rig is not met again"
        raise ConfigError("--save-results", what, "leave it out")
    if path.suffix != ".npz" or not path.parent.is_dir():
        raise ConfigError(path, "is no .npz in a folder that is there", "give another path")


def write_results(path: Path, predictions: Sequence[Prediction], source: Source) -> None:
    """Write the poses so that a volumetric network can lay its cubes by them, see `training.datasets.precalculated`.

    Raises:
        ConfigError: The disk refuses it.
    """
    keys = [key for one in predictions for key in one.keys]
    write_precalculated(path, keys, source.skeleton.joints, np.concatenate([one.position_mm for one in predictions]))
