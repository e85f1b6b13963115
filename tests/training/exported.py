"""Graphs of models that several tests export."""

from __future__ import annotations

import hashlib
from typing import Any

import onnx
import torch

from engine.models import graphs
from tests import shared


def as_onnx(model: torch.nn.Module, size: int) -> Any:
    """What `engine.models.graphs.as_onnx` answers for a model with these very weights."""
    digest = hashlib.sha256(f"{model!r} {size}".encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode() + value.numpy().tobytes())
    made = shared.once(f"{digest.hexdigest()}.onnx", lambda: graphs.as_onnx(model, size).SerializeToString())
    return onnx.load_from_string(made)
