"""One graph: crops in, 2D, confidences and confidence-weighted 3D out.

A network with its model document becomes one ONNX graph: preprocessing, the network, the decoding of
its output, and the geometry, so that every runtime computes the same and one call answers for all
views. Composing needs onnx only: the heads were exported once (`engine.export_heads`).

Named tensors in it: ``net_input``, what the network sees (all views along its first axis), and
``head_in``, all that it answers, as one float32 tensor. A runtime of low precision applies it between
these two; what follows is always float32.

Where a network's batch is fixed at one, `engine.batching` says what of it can take all views at once;
the rest is put in once for each view, with shared weights.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import onnx

from engine.composer import HEAD_IN, NET_INPUT, OUTPUTS, Composer, contract_inputs
from engine.document import LocatedModel, ModelDocument
from engine.fitting import network_inputs, signature
from engine.names import all_nodes
from engine.opsets import joinable
from engine.rigged import CAMERAS, rig_of
from rigpose.errors import ConfigError

BASE_INPUTS = ("base_mm", "base_weight")
"""What a volumetric graph takes besides: the middle of its cube, and whether (above 0) that is given."""
SPREAD = "covariance_mm2"
"""What it answers besides: how sure it is of each joint, as `rigpose.pose.COVARIANCE_ORDER`."""

__all__ = [
    "BASE_INPUTS",
    "HEAD_IN",
    "NET_INPUT",
    "OUTPUTS",
    "SPREAD",
    "Graph",
    "compose",
    "contract_inputs",
    "precision",
]


@dataclass(frozen=True)
class Graph:
    """A graph that follows the contract, ready for a runtime.

    Attributes:
        proto_bytes: The serialised ONNX model.
        graph_hash: First 16 hex digits of the sha256 of these bytes.
        document: The model's own.
        n_views: V.
        batch: B; ``None`` = any.
        input_names: ``crops`` and what else it takes.
        output_names: ``points2d``, ``confidence``, ``points3d`` and ``residual_px``.
        precision: Of the network in it: ``fp32``, ``fp16`` or ``int8``; the geometry is always fp32.
    """

    proto_bytes: bytes
    graph_hash: str
    document: ModelDocument
    n_views: int
    batch: int | None
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    precision: str = "fp32"

    @property
    def is_volumetric(self) -> bool:
        """Whether it reads the joints from a cube, whose middle may be given (`BASE_INPUTS`)."""
        return BASE_INPUTS[0] in self.input_names

    @property
    def joints(self) -> int:
        """J."""
        return len(self.document.skeleton.joints)

    @property
    def crop_shape(self) -> tuple[int, int, int]:
        """(H, W, 3) of a crop."""
        width, height = self.document.input.size
        return height, width, 3


def compose(located: LocatedModel, n_views: int, batch: int | None = 1) -> Graph:
    """Make a network and the heads one graph.

    Args:
        located: The network and its document.
        n_views: Number of cameras, in rig order along axis V.
        batch: Number of subjects (or frame sets) in a call; ``None`` = any, for networks whose batch
            is free.

    Raises:
        ConfigError: The network cannot be run on so many pictures, or its opset cannot be joined.
    """
    if n_views < 1 or (batch is not None and batch < 1):
        raise ConfigError(
            located.path, f"cannot be composed for {n_views} views and batch {batch}", "give at least one of each"
        )
    if located.document.output.kind == "graph":
        return _as_it_is(located, n_views)
    network = joinable(located)
    composer = Composer(located, network, n_views, batch)
    composer.preprocess()
    composer.network_nodes()
    composer.decode()
    composer.geometry()
    return _finished(composer.model(), located, n_views, batch)


def _finished(proto: onnx.ModelProto, located: LocatedModel, n_views: int, batch: int | None) -> Graph:
    data = proto.SerializeToString(deterministic=True)
    names = tuple(value.name for value in proto.graph.input), tuple(value.name for value in proto.graph.output)
    graph_hash = hashlib.sha256(data).hexdigest()[:16]
    return Graph(data, graph_hash, located.document, n_views, batch, *names, precision(located.proto))


def precision(proto: onnx.ModelProto) -> str:
    """In what numbers a network's convolutions and products are computed: ``fp32``, ``fp16`` or ``int8``."""
    if any("Quantize" in node.op_type or "QLinear" in node.op_type for node in all_nodes(proto.graph.node)):
        return "int8"
    sizes = {dtype: 0 for dtype in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)}
    for weight in proto.graph.initializer:
        if weight.data_type in sizes:
            sizes[weight.data_type] += int(np.prod(weight.dims, dtype=np.int64))
    return "fp16" if sizes[onnx.TensorProto.FLOAT16] > sizes[onnx.TensorProto.FLOAT] else "fp32"


def _as_it_is(located: LocatedModel, n_views: int) -> Graph:
    inputs = network_inputs(located.proto)
    outputs = {value.name for value in located.proto.graph.output}
    width, height = located.document.input.size
    for name, (_, wanted) in contract_inputs(n_views, None, height, width).items():
        shape = signature(inputs[name])[1] if name in inputs else None
        if shape is None and name in CAMERAS and rig_of(located.proto) is not None:
            raise ConfigError(located.path, "has its cameras fixed in it", "export it without --fix-rig")
        if shape is None:
            raise ConfigError(located.path, f"says output kind graph, but has no input {name}", "export it again")
        fits = len(shape) == len(wanted) and all(
            a is None or isinstance(b, str) or a == b for a, b in zip(shape, wanted, strict=True)
        )
        if not fits:
            raise ConfigError(
                located.path,
                f"takes {name} of shape {list(shape)}, but {n_views} views need {list(wanted)}",
                "export it for this number of views",
            )
    volumetric = BASE_INPUTS[0] in inputs
    known = {*contract_inputs(n_views, None, height, width), *(BASE_INPUTS if volumetric else ())}
    if unknown := [name for name in inputs if name not in known]:
        raise ConfigError(located.path, f"takes {unknown[0]}, which is no input of a graph", "export it again")
    wanted_outputs = (*OUTPUTS, SPREAD) if volumetric else OUTPUTS
    for name in wanted_outputs:
        if name not in outputs:
            raise ConfigError(located.path, f"says output kind graph, but has no output {name}", "export it again")
    batch = signature(inputs["crops"])[1][0]
    data = located.path.read_bytes()
    graph_hash = hashlib.sha256(data).hexdigest()[:16]
    kind = precision(located.proto)
    return Graph(data, graph_hash, located.document, n_views, batch, tuple(inputs), wanted_outputs, kind)
