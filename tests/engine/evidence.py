"""A volumetric model that needs no training: the zoo's, with a volume that says what its heatmaps say."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
from onnx import numpy_helper

from engine import zoo

ZOO = "mannequin17_volumetric"


def write(path: Path) -> Path:
    """The zoo's file with its volume as it begins, which says nothing: weights keep their names in a graph.

    Args:
        path: The ONNX file.
    """
    import torch

    from engine.models.volumetric import Volumetric

    proto = onnx.load(zoo.path(ZOO))
    said = {entry.key: json.loads(entry.value) for entry in proto.metadata_props}
    document = said["rigpose.model"]
    torch.manual_seed(0)
    begins = Volumetric(root=document["skeleton"]["root"], **said["rigpose.weights"]).eval().state_dict()
    begins["log_doubt"].zero_()  # trained, a volume is surer than its views' heatmaps; this one is just as sure
    for weight in proto.graph.initializer:
        if weight.name in begins and not weight.name.startswith(("network.", "head.")):
            weight.CopyFrom(numpy_helper.from_array(begins[weight.name].numpy(), weight.name))
    entry = next(entry for entry in proto.metadata_props if entry.key == "rigpose.model")
    entry.value = json.dumps(document | {"id": "evidence17"})
    onnx.save(proto, path)
    return path
