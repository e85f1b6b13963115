"""Opsets: networks of any age and heads of opset 18 in one graph."""

from __future__ import annotations

import importlib.resources
from functools import cache

import onnx
from onnx import helper, numpy_helper, version_converter

from engine.document import LocatedModel
from engine.names import all_nodes
from rigpose.errors import ConfigError

MIN_OPSET = 17
# Since opset 18 these take their axes as an input.
_REDUCTIONS = ("ReduceMax", "ReduceMin", "ReduceMean", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare")


def opset_of(proto: onnx.ModelProto) -> int:
    """The version of ONNX's own operators."""
    return next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), MIN_OPSET)


def joinable(located: LocatedModel) -> onnx.ModelProto:
    """The network at opset 17 or later. One that is already there is not touched."""
    proto = located.proto
    opset = opset_of(proto)
    if opset >= MIN_OPSET:
        return proto
    if all(_is_same_operator(node, opset) for node in all_nodes(proto.graph.node)):
        raised = onnx.ModelProto()
        raised.CopyFrom(proto)
        for entry in raised.opset_import:
            if entry.domain in ("", "ai.onnx"):
                entry.version = MIN_OPSET
        return raised
    try:
        return version_converter.convert_version(proto, MIN_OPSET)
    except Exception as error:  # the converter raises RuntimeError and its own classes
        raise ConfigError(
            located.path,
            f"is of opset {opset}, which cannot be converted: {error}",
            f"export the network with opset {MIN_OPSET} or later",
        ) from None


def _is_same_operator(node: onnx.NodeProto, opset: int) -> bool:
    if node.domain not in ("", "ai.onnx"):
        return True
    try:
        then = onnx.defs.get_schema(node.op_type, opset).since_version
        return then == onnx.defs.get_schema(node.op_type, MIN_OPSET).since_version
    except onnx.defs.SchemaError:
        return False


@cache
def head(name: str) -> onnx.ModelProto:
    """A committed head."""
    data = importlib.resources.files("engine").joinpath("heads", f"{name}.onnx").read_bytes()
    return onnx.ModelProto.FromString(data)


@cache
def head_for(name: str, opset: int) -> onnx.GraphProto:
    """A head for a graph of this opset.

    The heads are of opset 18. What they use did not change its meaning in later opsets; in 17 only
    the axes of reductions stand elsewhere.
    """
    graph = head(name).graph
    if opset >= 18:
        return graph
    copy = onnx.GraphProto()
    copy.CopyFrom(graph)
    values = {weight.name: numpy_helper.to_array(weight) for weight in copy.initializer}
    for node in copy.node:
        if node.op_type in _REDUCTIONS and len(node.input) > 1:
            axes = values[node.input[1]].tolist()
            del node.input[1:]
            node.attribute.append(helper.make_attribute("axes", axes))
    return copy
