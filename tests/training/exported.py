"""Graphs that several tests export, of models with the very same weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import onnx
import torch

from engine.lifter_document import LifterDocument
from engine.models import graphs, lifter_graph
from engine.models.lifter import Lifter
from tests import shared


def _once(model: torch.nn.Module, about: str, export: Callable[[], Any]) -> Any:
    digest = hashlib.sha256(f"{model!r} {about}".encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode() + value.numpy().tobytes())
    return onnx.load_from_string(shared.once(f"{digest.hexdigest()}.onnx", lambda: export().SerializeToString()))


_as_onnx, _lifter_as_onnx = graphs.as_onnx, lifter_graph.as_onnx


def as_onnx(model: torch.nn.Module, size: int) -> Any:
    """What `engine.models.graphs.as_onnx` answers."""
    return _once(model, str(size), lambda: _as_onnx(model, size))


def lifter_as_onnx(lifter: Lifter, document: LifterDocument) -> Any:
    """What `engine.models.lifter_graph.as_onnx` answers."""
    return _once(lifter, f"{lifter.spec!r} {document.to_json()}", lambda: _lifter_as_onnx(lifter, document))
