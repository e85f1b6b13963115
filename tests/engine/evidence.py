"""A volumetric model that needs no training: the zoo's mannequin, with a volume that says what its heatmaps say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx

from engine import zoo

ZOO = "mannequin17"
SMALLEST = {"widths": (4, 4), "squeeze": 4, "first": 4, "first_kernel": 1, "front": 0, "skips": 0, "decoders": 0} | {
    "back": 0
}


def write(path: Path, **changes: Any) -> Path:
    """Export it; its network on volumes is as it begins, and says nothing.

    Args:
        path: The ONNX file.
        changes: Arguments of `engine.models.volumetric.Volumetric`.
    """
    from engine.models.graphs import as_onnx
    from engine.models.volumetric import Volumetric
    from training.warm_start import weights_of

    source = zoo.path(ZOO)
    said = {entry.key: json.loads(entry.value) for entry in onnx.load(source).metadata_props}
    document = said["rigpose.model"]
    sizes: dict[str, Any] = {"size": 32, "side_mm": 2500.0, "channels": 4, "v2v": SMALLEST} | changes
    model = Volumetric(root=document["skeleton"]["root"], **said["rigpose.weights"], **sizes).eval()
    model.load_state_dict(weights_of(source, model))
    proto = as_onnx(model, document["input"]["size"][0])
    proto.metadata_props.add(key="rigpose.model", value=json.dumps(document | {"id": "evidence17"}))
    onnx.save(proto, path)
    return path
