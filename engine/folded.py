"""Batch normalisations behind a convolution, folded into its weights.

ONNX Runtime and OpenVINO fold them when they load a graph; before weights become half precision or eight bits it has
to be done in float64, or the variances are what is rounded.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

_EPSILON = 1e-5


def folded(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same model without the batch normalisations that directly follow a convolution."""
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    graph = result.graph
    weights = {weight.name: weight for weight in graph.initializer}
    readers: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    for value in graph.output:
        readers[value.name] = readers.get(value.name, 0) + 1
    makers = {node.output[0]: node for node in graph.node if node.output}
    gone = []
    for index, node in enumerate(graph.node):
        conv = makers.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if conv is None or conv.op_type != "Conv" or readers[node.input[0]] != 1 or conv.input[1] not in weights:
            continue
        if any(name not in weights for name in (*node.input[1:5], *conv.input[2:3])):
            continue
        _fold(graph, conv, node, weights, index)
        gone.append(index)
    for index in reversed(gone):
        del graph.node[index]
    used = {name for node in graph.node for name in node.input}
    kept = [weight for weight in graph.initializer if weight.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return result


def _fold(
    graph: onnx.GraphProto, conv: onnx.NodeProto, norm: onnx.NodeProto, weights: dict[str, onnx.TensorProto], index: int
) -> None:
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in norm.attribute}
    scale, bias, mean, variance = (numpy_helper.to_array(weights[name]).astype(np.float64) for name in norm.input[1:5])
    kernel = numpy_helper.to_array(weights[conv.input[1]])
    factor = scale / np.sqrt(variance + attributes.get("epsilon", _EPSILON))
    sides = (-1, *(1,) * (kernel.ndim - 1))
    before = numpy_helper.to_array(weights[conv.input[2]]).astype(np.float64) if len(conv.input) > 2 else 0.0
    # Others may share the weights, so that these get names of their own.
    names = f"{conv.input[1]}/folded{index}", f"{norm.input[2]}/folded{index}"
    arrays = kernel * factor.reshape(sides), (before - mean) * factor + bias
    for name, array in zip(names, arrays, strict=True):
        graph.initializer.append(numpy_helper.from_array(array.astype(kernel.dtype), name))
    conv.input[1:] = list(names)
    conv.output[0] = norm.output[0]
