"""The networks that the GPU is timed with, as graphs, with weights drawn by chance: times do not depend on them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from engine.document import METADATA_KEY, LocatedModel, ModelDocument, find_model
from engine.models import graphs
from engine.models.algebraic import Algebraic
from engine.models.contract import contract
from engine.models.published import PublishedAlgebraic

JOINTS = 17
_TINY = {"channels": [8, 8, 8, 8, 8], "blocks": [1, 1, 1, 1], "neck": 8, "features": 8}


@dataclass(frozen=True)
class Timed:
    """A network.

    Attributes:
        name: As rows say it.
        module: In PyTorch, with inputs and outputs of the contract.
        located: The same as a file that holds the whole graph.
        size: Side of its crops in px.
    """

    name: str
    module: nn.Module
    located: LocatedModel
    size: int


def resnet(layers: int, size: int, folder: Path) -> Timed:
    """The published algebraic network: a ResNet, three deconvolutions, confidences."""
    torch.manual_seed(0)
    return _made(f"ResNet-{layers}", PublishedAlgebraic(JOINTS, layers=layers, confidences=True), size, folder)


def tiny(folder: Path) -> Timed:
    """What a run on a CPU is tried with."""
    torch.manual_seed(0)
    return _made("tiny", Algebraic(JOINTS, context=4, backbone=_TINY), 64, folder)


def _made(name: str, model: nn.Module, size: int, folder: Path) -> Timed:
    model.eval()
    proto = graphs.as_onnx(model, size)
    proto.metadata_props.add(key=METADATA_KEY, value=_document(name, size).to_json())
    path = folder / f"{name}.onnx"
    onnx.save(proto, path)
    return Timed(name, contract(model), find_model(str(path)), size)


def _document(name: str, size: int) -> ModelDocument:
    content: dict[str, Any] = {
        "schema": 1,
        "id": name.lower(),
        "domain": "synthetic",
        "licence": "none: its weights are drawn by chance",
        "source": "benchmarks.gpu",
        "skeleton": {"name": "timed", "joints": [f"joint_{index}" for index in range(JOINTS)]},
        "input": {"name": "crops", "layout": "NHWC", "dtype": "uint8", "size": [size, size], "colour": "BGR"},
        "output": {"kind": "graph", "min_score": 0.0},
    }
    return ModelDocument.model_validate(json.loads(json.dumps(content)))
