"""A trained lifter as a file, with what it says about itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.lifter_document import LifterDocument
from engine.models.lifter import Lifter
from engine.models.lifter_graph import describe, write_lifter
from training.lifting.bank import Tree
from training.lifting.config import LiftConfig, VirtualSection
from training.lifting.loop import LiftTrainer
from training.metrics.distances import extents_mm


def document_of(trainer: LiftTrainer, lifter: Lifter) -> LifterDocument:
    """What the exported file says."""
    config, poses = trainer.config, trainer.train_poses
    virtual = isinstance(config.poses, VirtualSection)
    source = f"training.lift, {len(poses)} poses, {poses.source or 'files'}"
    return describe(
        lifter,
        trainer.skeleton,
        id=config.network.name,
        domain=config.domain or ("synthetic" if virtual else "real"),
        licence=config.licence,
        source=source,
        size_mm=float(np.nanmedian(extents_mm(poses.position_mm))),
        size_spread=size_spread(trainer, config, trainer.tree),
    )


def size_spread(trainer: LiftTrainer, config: LiftConfig, tree: Tree) -> float:
    """How much the sizes of the bodies differ that it was trained on, relative: by the sum of all bones' lengths."""
    position, sums = trainer.train_poses.position_mm, []
    parents = np.array(tree.parents)
    ends = np.flatnonzero(parents >= 0)
    lengths = np.linalg.norm(position[:, ends] - position[:, parents[ends]], axis=-1)
    for one in trainer.train_poses.subjects:
        mine = lengths[trainer.train_poses.subject == one]
        known = np.isfinite(mine)
        means = np.where(known, mine, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        sums.append(means.sum())
    between = float(np.std(sums) / np.mean(sums)) if len(sums) > 1 else 0.0
    low, high = config.body.scale
    drawn = (high - low) / np.sqrt(12) / ((high + low) / 2)
    return float(np.hypot(between, drawn))


def export(trainer: LiftTrainer, lifter: Lifter, path: Path) -> LifterDocument:
    """Write the lifter's file.

    Raises:
        MissingError: onnx or onnxscript is not installed.
    """
    document = document_of(trainer, lifter)
    write_lifter(lifter.cpu().eval(), document, path)
    return document
