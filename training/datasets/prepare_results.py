"""Poses that a program kept by their place in its list get the subject, action and frame that they are of.

Learnable triangulation's own programs write such lists (``results/train.pkl``: ``keypoints_3d`` and ``indexes``), and
a volumetric network's first support case is a list that belongs to other frames. Here that is found out once: by the
number of poses, and by holding each against the labelled one.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np

from calib.formats import pickles
from rigpose.errors import ConfigError
from training.datasets.human36m import Human36M, Labels, read_labels
from training.datasets.precalculated import write_precalculated
from training.datasets.protocols import Split

_NEAR_MM = 500.0
_SHARE = 0.95


def prepare(
    results: Path, labels: Path, dest: Path, split: Split, *, with_damaged: bool = False, retain_every: int = 1
) -> int:
    """Write poses with their moments.

    Args:
        results: The pickle; nothing in it is run.
        labels: The label file that the list was made with.
        dest: An ``.npz``.
        split: The part that the list is of.
        with_damaged: Whether it has the shifted takes of S9.
        retain_every: Of the validation's moments, every so manieth.

    Returns:
        How many poses.

    Raises:
        ConfigError: The list belongs to other frames; it says which options would fit, where any do.
    """
    found = pickles.load(results)
    try:
        position = np.asarray(found["keypoints_3d"], dtype=np.float64)
        places = np.asarray(found["indexes"]).astype(np.int64).ravel()
    except (KeyError, TypeError, ValueError):
        remedy = "give a results file of learnable triangulation"
        raise ConfigError(results, "holds no keypoints_3d and indexes", remedy) from None
    known = read_labels(labels)
    shots = _part(known, split, with_damaged, retain_every)
    joints = shots.skeleton.joints[: position.shape[1] if position.ndim == 3 else 0]
    if position.shape != (len(places), len(joints), 3) or len(joints) < 16:
        raise ConfigError(results, f"holds poses of shape {list(position.shape)}", "give 16 or 17 joints")
    if len(places) != len(shots.index):
        what = f"holds {len(places)} poses, {shots.name} of {labels.name} has {len(shots.index)} moments"
        raise ConfigError(results, what, _fitting(known, split, len(places)))
    if not np.array_equal(np.sort(places), np.arange(len(places))):
        raise ConfigError(results, "has indexes that are not 0, 1, 2 and so on", "give the file as it was written")
    position = position[np.argsort(places)]
    root = list(shots.skeleton.root)
    truth = np.stack([shots.shot(key).position_mm[root].mean(axis=0) for key in shots.index])
    apart = np.linalg.norm(position[:, root].mean(axis=1) - truth, axis=-1)
    near = float((apart < _NEAR_MM).mean())
    if near < _SHARE:
        what = f"lies within {_NEAR_MM:.0f} mm of the labelled poses in {near:.0%} of the frames only"
        raise ConfigError(results, what, "it was made with another label file or order: calculate it again")
    write_precalculated(dest, shots.index, joints, position)
    return len(places)


def _part(labels: Labels, split: Split, with_damaged: bool, retain_every: int) -> Human36M:
    return Human36M(labels, Path(), split, with_damaged=with_damaged, retain_every=retain_every)


def _fitting(labels: Labels, split: Split, count: int) -> str:
    """What would have as many moments."""
    for part, damaged in product(dict.fromkeys((split, "train", "val")), (False, True)):
        whole = len(_part(labels, part, damaged, 1).index)  # type: ignore[arg-type]
        for every in range(1, 101 if part == "val" else 2):
            if -(-whole // every) == count:
                said = f"--split {part}" + " --with-damaged" * (damaged and part == "val")
                return f"{said}{f' --retain-every {every}' if every > 1 else ''} has as many"
    return "give the label file that it was made with"
