"""Small made data sets of each kind, and configs that a tiny network is trained by on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.training import tiny
from tests.training.datasets import made
from tests.training.datasets.test_labelled import labels_in, the_rig
from tests.training.datasets.test_panoptic import prepared
from training.config import TrainingConfig
from training.datasets.gather import gather
from training.loop import Trainer
from training.sources import source_of

KINDS = ("human36m", "panoptic", "labels", "labels without a rig")
VOLUME = {"size": 8, "side_mm": 2500, "channels": 4, "v2v": {"widths": [4, 8], "squeeze": 0, "first": 4}}


def section(kind: str, folder: Path) -> dict[str, Any]:
    """Make a data set in a folder; its section in a config."""
    if kind == "human36m":
        data = made.Human36M(folder)
        return {"kind": "human36m", "labels": str(data.labels()), "root": str(data.root)}
    if kind == "panoptic":
        names = ("171204_pose1", "171204_pose5")
        source = made.Panoptic(folder, names, range(500, 504))
        for name in names:
            source.pictures(name)
            prepared(folder, name, source, {501: (4, 7)})
        cameras = {split: list(source.cameras) for split in ("train_cameras", "val_cameras")}
        these = {"train_sequences": [names[0]], "val_sequences": [names[1]]}
        return {"kind": "panoptic", "root": str(folder), **cameras, **these}
    rig = the_rig()
    gather(labels_in(folder / "labels", rig), folder / "gathered", rig if kind == "labels" else None)
    return {"kind": "labels", "root": str(folder / "gathered"), "share": 0.3}


def config(dataset: Mapping[str, Any], **changes: Any) -> TrainingConfig:
    """Of a tiny network on a data set."""
    data = {"dataset": dict(dataset), "batch_size": 2, "workers": 0}
    return tiny.config(**({"data": data, "steps": 4} | changes))


def volumetric(dataset: Mapping[str, Any], **changes: Any) -> TrainingConfig:
    """Of a tiny volumetric one, whose 3D losses count from the first step."""
    model = tiny.config().model.model_dump() | {"volume": VOLUME}
    loss = {"position_from": 0, "position_full": 0, "least_views": 1}
    return config(dataset, **({"model": model, "loss": loss} | changes))


def trainer(folder: Path, run: TrainingConfig) -> Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    return Trainer(run, source_of(run), folder, tiny.CPU, workers=0)
