"""A network in half precision: its weights in float16 or bfloat16, casts at both cuts, the geometry untouched.

This is how a strongly typed TensorRT plan is told its precision (its API has no flag for it any more), and what the
torch runtime runs. What a network is told in float32 whatever it computes in (scales of a Resize, of a quantisation)
stays so.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from engine.composer import NET_INPUT
from engine.cut import network_nodes, parts
from engine.folded import folded
from engine.names import inner_graphs
from rigpose.errors import ConfigError

Half = Literal["fp16", "bf16"]
TYPES: dict[str, int] = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}
_LARGEST = 65504.0
_FLOAT = onnx.TensorProto.FLOAT
# Inputs that are float32 in every precision.
_KEPT = {"Resize": (1, 2), "QuantizeLinear": (1,), "DequantizeLinear": (1,)}
# What computes in float32 alone, between casts of its own.
_FULL = frozenset({"QuantizeLinear", "DequantizeLinear", "GridSample"})


def lowered(proto: onnx.ModelProto, precision: str, where: object = "graph") -> onnx.ModelProto:
    """A graph whose network is of half precision.

    Args:
        proto: The graph in float32.
        precision: ``fp16`` or ``bf16``.
        where: What to name in errors.

    Raises:
        ConfigError: It names no cuts, or has weights that fp16 cannot hold.
    """
    kind = TYPES[precision]
    cut = parts(proto, where)
    result = folded(proto)
    graph = result.graph
    network = set(network_nodes(result))
    low = _Names(result, kind, where, network)
    nodes: list[onnx.NodeProto] = []
    for index, node in enumerate(graph.node):
        if index not in network:
            nodes.append(node)
            continue
        if any(True for _ in inner_graphs(node)) or node.op_type in _FULL:
            raise ConfigError(where, f"has a {node.op_type} in its network", f"run it in fp32 instead of {precision}")
        kept = _KEPT.get(node.op_type, ())
        for place, name in enumerate(node.input):
            if name and place not in kept:
                node.input[place] = low.of(name, nodes)
        if node.op_type == "Cast" and _attribute(node, "to") == _FLOAT:
            _set(node, "to", kind)
        nodes.append(node)
        for place, name in enumerate(node.output):
            if name in cut.passing:
                node.output[place] = f"{name}/{precision}"
                low.renamed[name] = node.output[place]
                nodes.append(helper.make_node("Cast", [node.output[place]], [name], name=f"{name}/cast", to=_FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    return result


class _Names:
    """What a value of float32 is called in half precision; made when it is first asked for."""

    def __init__(self, model: onnx.ModelProto, kind: int, where: object, network: set[int]) -> None:
        self.graph, self.kind, self.where = model.graph, kind, where
        self.weights = {weight.name: weight for weight in model.graph.initializer}
        self.made = {name for index in network for name in model.graph.node[index].output}
        self.renamed: dict[str, str] = {}

    def of(self, name: str, nodes: list[onnx.NodeProto]) -> str:
        if name in self.renamed:
            return self.renamed[name]
        weight = self.weights.get(name)
        if weight is not None and weight.data_type == _FLOAT:
            self.renamed[name] = self._weight(weight)
        elif name == NET_INPUT:
            self.renamed[name] = f"{name}/half"
            nodes.append(helper.make_node("Cast", [name], [f"{name}/half"], name=f"{name}/cast", to=self.kind))
        else:
            return name
        return self.renamed[name]

    def _weight(self, weight: onnx.TensorProto) -> str:
        values = numpy_helper.to_array(weight)
        name = f"{weight.name}/half"
        if self.kind == onnx.TensorProto.FLOAT16:
            finite = values[np.isfinite(values)]
            if np.abs(finite).max(initial=0) > _LARGEST:
                raise ConfigError(
                    self.where, f"has weights up to {np.abs(finite).max():.3g}, which fp16 cannot hold", "use bf16"
                )
            self.graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), name))
        else:
            import ml_dtypes

            self.graph.initializer.append(numpy_helper.from_array(values.astype(ml_dtypes.bfloat16), name))
        return name


def _attribute(node: onnx.NodeProto, name: str) -> object:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), None)


def _set(node: onnx.NodeProto, name: str, value: int) -> None:
    next(attribute for attribute in node.attribute if attribute.name == name).i = value
