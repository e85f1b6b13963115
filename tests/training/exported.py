"""Models as files, so small that they are exported in seconds."""

from __future__ import annotations

from pathlib import Path

from engine.document import LocatedModel, find_model
from tests.training import tiny


def volumetric(folder: Path) -> LocatedModel:
    """An untrained volumetric network in a folder; needs what exporting needs."""
    from training.export import export

    volume = {"size": 8, "channels": 4, "v2v": {"widths": [4, 4], "first": 4}}
    run = tiny.trainer(folder, model=tiny.config().model.model_dump() | {"volume": volume})
    file = folder / "tiny_volumetric.onnx"
    file.write_bytes(export(run.checkpoint()).SerializeToString())
    return find_model(file)
