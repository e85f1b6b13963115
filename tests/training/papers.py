"""The published networks as small as they can be, and configs of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from capture.virtual.skeletons import HUMAN36M17
from tests.training import sets, tiny
from tests.training.datasets import made
from training.config import TrainingConfig
from training.datasets.index import Key
from training.datasets.precalculated import write_precalculated

ALGEBRAIC = {"kind": "published", "name": "alg", "network": "algebraic", "layers": 18}
RANSAC = {"kind": "published", "name": "ransac", "network": "ransac", "layers": 18}
V2V = {"widths": [4, 8], "squeeze": 0, "first": 4}
VOLUMETRIC = {"kind": "published", "name": "vol", "network": "volumetric", "layers": 18, "size": 8, "v2v": V2V}
SMOOTH = {"kind": "published", "criterion": "MSESmooth"}
MAE = {"kind": "published", "criterion": "MAE", "volumetric_ce_weight": 0.01}
RATES = {"rate": 1e-4, "weight_decay": 0, "warmup": 0, "decay_from": 1, "clip": None, "ema": 0}
PLAIN = {"confidences": False}


def config(model: Mapping[str, Any], loss: Mapping[str, Any] = SMOOTH, **changes: Any) -> TrainingConfig:
    """On the virtual rig."""
    return tiny.config(**({"model": dict(model), "loss": dict(loss)} | changes))


def human(folder: Path) -> dict[str, Any]:
    """Make Human3.6M in a folder, with poses that were calculated before; its section in a config."""
    section = sets.section("human36m", folder)
    for split in ("train", "val"):
        takes = [take for take in made.Human36M.takes if (take[0] == "S1") == (split == "train")]
        keys = [Key(subject, action, frame) for subject, action, frames in takes for frame in frames]
        poses = np.zeros((len(keys), 17, 3)) + [0, 0, 900.0]
        write_precalculated(folder / f"{split}.npz", keys, HUMAN36M17.joints, poses)
        section[f"precalculated_{split}"] = str(folder / f"{split}.npz")
    return section


def made_truth(folder: Path) -> dict[Key, np.ndarray]:
    """True poses of the Human3.6M that `human` made."""
    return {Key(*key): position for key, position in made.Human36M(folder, pictures=False).position.items()}
