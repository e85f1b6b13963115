"""A lab's own animal: what its labels hold, and the run that follows from them.

A hundred labelled pictures are few. What is learned from them begins with the features of a network that is shipped,
and each picture is shown turned, stretched, mirrored, hidden and relit; some moments are held out and say what it is
worth. `training.own_run` trains by this plan.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from calib.rig import Rig
from capture.labels import Labels
from rigpose.config import load
from rigpose.errors import ConfigError
from rigpose.skeleton import Skeleton
from training.config import TrainingConfig
from training.datasets.gather import gather
from training.datasets.labelled import Labelled
from training.datasets.sections import LabelsSection
from training.datasets.shots import Shot, View

CONFIG = Path(__file__).parent / "configs" / "own_labels.yaml"
LEAST = 10
"""Labelled pictures: with fewer there is nothing to hold out and nothing to learn."""
USUAL = 100
"""About so many the recipe is made for; with fewer it says so."""
GATHERED = "labels"
"""Folder of the gathered pictures in a run's folder."""
_PICTURES_CPU, _PICTURES_CUDA = 20, 128
"""In a step, of all views."""
_WIDE = 2.4
_WIDEST = 4.0
"""Times the usual crop: a finder's look at a whole picture in which the animal is small is not learned beyond it."""
_FOUND_WHOLE = 3.0
"""Times the animal's crop that a picture may be wide for a finder that looks at it whole."""
_MOST_TILES = 6


@dataclass(frozen=True, slots=True)
class Plan:
    """What was labelled, and the run that follows.

    Attributes:
        config: The run.
        skeleton: The labels'.
        cameras: Names, as far as pictures of them were labelled.
        taught: (pictures, moments) to learn from; a moment counts once for each animal in it.
        held: The same of what is held out.
        joints: (J,) share of the pictures in which each joint was labelled.
        in_3d: Share of the joints, over all moments, whose place in 3D two cameras' labels tell.
        side_px: Longer side of the animal's box in the pictures, median.
        picture_px: Longer side of the pictures, the largest.
    """

    config: TrainingConfig
    skeleton: Skeleton
    cameras: tuple[str, ...]
    taught: tuple[int, int]
    held: tuple[int, int]
    joints: tuple[float, ...]
    in_3d: float
    side_px: float
    picture_px: int

    @property
    def finder(self) -> dict[str, Any]:
        """The section ``engine.finder`` that such pictures need."""
        across = self.picture_px / (self.config.data.crop.margin * self.side_px)
        if across <= _FOUND_WHOLE:
            return {"kind": "full"}
        # Each tile is 2 / (tiles + 1) of a picture.
        tiles = int(np.ceil(2 * across / _FOUND_WHOLE)) - 1
        return {"kind": "tiles", "tiles": min(_MOST_TILES, max(2, tiles))}


def gathered(labels: Labels, folder: Path, rig: Rig | None) -> Path:
    """The folder of labelled pictures that a run reads, made or found in the run's own folder.

    Raises:
        ConfigError: Too few pictures are labelled, the cameras are not the rig's, or the folder holds other labels.
    """
    if len(labels) < LEAST:
        what = f"{len(labels)} pictures are labelled" if len(labels) != 1 else "one picture is labelled"
        raise ConfigError(labels.files[0], what, f"label {LEAST} at least; about {USUAL} is a good beginning")
    gather(labels, folder / GATHERED, rig)
    return folder / GATHERED


def plan(root: Path, name: str, *, mirror: bool | None = None, assignments: Sequence[str] = ()) -> Plan:
    """What follows from gathered labels.

    Args:
        root: What `gathered` made.
        name: Of the network.
        mirror: Whether the animal's sides look alike, so that a mirrored picture is as good as another; by default
            where the skeleton has a left and a right.
        assignments: Keys of the config that are set otherwise.

    Raises:
        ConfigError: The folder or a key is wrong, or nothing is left to learn from.
    """
    usual = load(CONFIG, TrainingConfig).data.dataset
    assert isinstance(usual, LabelsSection)
    first = Labelled(root, "train", share=usual.share)
    train, held = _shots(first), _shots(Labelled(root, "val", share=usual.share))
    shots = train + held
    views = [view for shot in shots for view in shot.views]
    side_px = float(np.median([_side_px(view) for view in views]))
    picture_px = max(max(view.camera.size) for view in views)
    known = float(np.mean([np.isfinite(shot.position_mm).all(axis=-1) for shot in shots]))
    pairs = bool(first.skeleton.left_right)
    document = {
        "model.name": name,
        "data.dataset.root": str(root.resolve()),
        "data.crop.mirror": 0.5 if pairs and mirror is not False else 0.0,
        "data.crop.wide_scale": [1.3, _widest(picture_px, side_px)],
        **_batches(train),
        **({} if known else {"loss.position": 0.0, "loss.view_dropout": 0.0}),
    }
    settings = [f"{key}={json.dumps(value)}" for key, value in document.items()]
    config = load(CONFIG, TrainingConfig, assignments=[*settings, *assignments])
    return Plan(
        config=config,
        skeleton=first.skeleton,
        cameras=tuple(dict.fromkeys(view.camera.name for view in views)),
        taught=(sum(len(shot.views) for shot in train), len(train)),
        held=(sum(len(shot.views) for shot in held), len(held)),
        joints=tuple(float(share) for share in np.mean([_labelled(view) for view in views], axis=0)),
        in_3d=known,
        side_px=side_px,
        picture_px=picture_px,
    )


def _shots(labelled: Labelled) -> list[Shot]:
    return [labelled.shot(key) for key in labelled.index]


def _labelled(view: View) -> Bool[np.ndarray, " J"]:
    """Which joints a person saw in a picture."""
    assert view.points is not None and view.hidden is not None
    return np.isfinite(view.points).all(axis=-1) & ~view.hidden


def _side_px(view: View) -> float:
    """The longer side of the animal's box."""
    assert view.points is not None
    known = view.points[np.isfinite(view.points).all(axis=-1)]
    return float(max(1.0, np.ptp(known, axis=0).max()))


def _widest(picture_px: float, side_px: float) -> float:
    """The widest crop that is learned, over the usual one: what a finder sees that looks at a whole picture."""
    return round(float(np.clip(1.2 * picture_px / (1.3 * side_px), _WIDE, _WIDEST)), 2)


def _batches(train: Sequence[Shot]) -> dict[str, int]:
    """Moments in a step, for so many pictures in sum."""
    views = float(np.mean([len(shot.views) for shot in train]))
    return {
        "data.batch_size": max(1, round(_PICTURES_CPU / views)),
        "data.batch_size_cuda": max(1, round(_PICTURES_CUDA / views)),
    }
