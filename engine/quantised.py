"""A network in eight bits, made by ONNX Runtime's quantiser from crops of the rig's own pictures.

Quantisation and dequantisation stand as nodes around the network's operators (Q/DQ), which ONNX Runtime, OpenVINO and
TensorRT all read. The nodes that give `engine.cut.Parts.passing` stay in float: eight bits of a heatmap are not enough
to read a fraction of a cell from. Made once by ``rigpose build MODEL --precision int8 --for CONFIG`` and kept
among this machine's files by the hash of the graph; never made while a rig starts.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from engine.cut import NET_INPUT, Parts, joined, parts
from engine.folded import folded
from engine.graph import Graph
from engine.precision import state_folder
from rigpose.errors import ConfigError

LEAST_SETS = 8
"""Frame sets below which a calibration knows too little of what the network will see."""


def quantised(graph: Graph, *, symmetric: bool = False) -> Graph:
    """The int8 form of a graph that was made on this machine.

    Args:
        graph: In fp32.
        symmetric: With signed activations about zero, as TensorRT wants them.

    Raises:
        ConfigError: There is none.
    """
    path = path_of(graph, symmetric)
    try:
        return _as_graph(graph, path.read_bytes())
    except OSError:
        raise ConfigError(
            f"model {graph.document.id}",
            "has no int8 form on this machine",
            f"rigpose build {graph.document.id} --runtime NAME --precision int8 --for CONFIG",
        ) from None


def quantise(graph: Graph, batches: Sequence[Mapping[str, np.ndarray]], *, symmetric: bool = False) -> Graph:
    """Make the int8 form of a graph and keep it.

    Args:
        graph: In fp32.
        batches: Inputs of the graph as the rig gives them, each of one frame set.
        symmetric: As `quantised`.

    Raises:
        ConfigError: There are too few frame sets, or the graph names no cuts, or is of low precision itself.
    """
    where = f"model {graph.document.id}"
    if graph.precision != "fp32":
        raise ConfigError(where, f"is {graph.precision} already", "give the network in fp32")
    if len(batches) < LEAST_SETS:
        raise ConfigError(where, f"has {len(batches)} frame sets to learn ranges from", f"give {LEAST_SETS} or more")
    data = _quantise(graph, batches, symmetric)
    path = path_of(graph, symmetric)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return _as_graph(graph, data)


def path_of(graph: Graph, symmetric: bool = False) -> Path:
    """Where the int8 form of a graph lies, or would."""
    return state_folder() / "int8" / f"{graph.graph_hash}-{'signed' if symmetric else 'unsigned'}.onnx"


def _as_graph(graph: Graph, data: bytes) -> Graph:
    return replace(graph, proto_bytes=data, graph_hash=hashlib.sha256(data).hexdigest()[:16], precision="int8")


def _quantise(graph: Graph, batches: Sequence[Mapping[str, np.ndarray]], symmetric: bool) -> bytes:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    proto = folded(onnx.load_from_string(graph.proto_bytes))
    cut = parts(proto, f"model {graph.document.id}")
    pictures = iter(_network_inputs(cut, batches))

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Gives each frame set once."""

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(pictures, None)

    for index, node in enumerate(cut.network.graph.node):
        node.name = node.name or f"node{index}"
    wanted = [node.name for node in cut.network.graph.node if not set(node.output) & set(cut.passing)]
    level = logging.getLogger().level
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        try:
            logging.getLogger().setLevel(logging.ERROR)  # it advises on the root logger
            quantize_static(
                cut.network,
                target,
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_quantize=wanted,
                extra_options={"ActivationSymmetric": symmetric, "WeightSymmetric": True},
            )
        finally:
            logging.getLogger().setLevel(level)
        network = onnx.load(target)
    return joined(proto, cut, network).SerializeToString(deterministic=True)


def _network_inputs(cut: Parts, batches: Sequence[Mapping[str, np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
    """What the network part is fed."""
    import onnxruntime

    before = onnxruntime.InferenceSession(cut.before.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = [value.name for value in before.get_inputs()]
    others = [value.name for value in cut.network.graph.input if value.name != NET_INPUT]
    for batch in batches:
        seen = before.run([NET_INPUT], {name: batch[name] for name in wanted})[0]
        yield {NET_INPUT: seen, **{name: batch[name] for name in others}}
