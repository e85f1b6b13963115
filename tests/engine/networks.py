"""Small networks whose answers depend on every pixel, and models made of them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.document import METADATA_KEY, ModelDocument, find_model

SIZE = (48, 64)  # width, height
JOINTS = 5
TYPES = {
    "uint8": TensorProto.UINT8,
    "int32": TensorProto.INT32,
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
}


def document(kind="heatmap", *, joints=JOINTS, input=None, output=None, **keys):
    """A model document as a dict, with what a kind needs."""
    names = {"keypoints": "out0", "heatmap": "out0", "graph": []}.get(kind, ["out0", "out1"])
    content: dict[str, Any] = {
        "schema": 1,
        "id": f"small-{kind}",
        "domain": "real",
        "licence": "Apache-2.0",
        "skeleton": {"name": "small", "joints": [f"joint_{index}" for index in range(joints)]},
        "input": {"name": "picture", "layout": "NCHW", "dtype": "float32", "size": list(SIZE)} | (input or {}),
        "output": {"kind": kind, "name": names, "min_score": 0.1} | (output or {}),
    }
    if kind in ("heatmap", "heatmap_offset"):
        content["output"].setdefault("stride", 8)
    if kind == "simcc":
        content["output"].setdefault("stride", 0.5)
    return content | keys


def network(content, *, batch=1, opset=17, seed=0, tail=False, weights=0):
    """A network that fits a document: two convolutions, then what its kind of output needs.

    Args:
        content: The document, as a dict.
        batch: Of its input; a string = free.
        opset: Of the file.
        seed: Of its weights.
        tail: End with nodes that only a batch of one allows.
        weights: Numbers of extra weights, to make the file large.
    """
    spec, output = content["input"], content["output"]
    kind, nhwc, joints = output["kind"], spec["layout"] == "NHWC", len(content["skeleton"]["joints"])
    width, height = spec["size"]
    channels = 1 if spec.get("colour") == "GRAY" else 3
    rng = np.random.default_rng(seed)
    half = spec["dtype"] == "float16"
    real = np.float16 if half else np.float32
    values, nodes = {}, []

    def const(name, array):
        values[name] = np.asarray(array)
        return name

    def add(op, inputs, output, **attributes):
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def conv(x, out, name, side, stride):
        weight = const(f"{name}_w", (rng.normal(size=(out, x[1], side, side)) / (side * np.sqrt(x[1]))).astype(real))
        bias = const(f"{name}_b", rng.normal(size=out).astype(real) * real(0.1))
        pads = [side // 2] * 4
        return add(
            "Conv", [x[0], weight, bias], name, kernel_shape=[side, side], strides=[stride, stride], pads=pads
        ), out

    x: Any = "picture"
    if spec["dtype"] in ("uint8", "int32"):
        x = add("Cast", [x], "cast", to=TensorProto.FLOAT)
    if nhwc:
        x = add("Transpose", [x], "planes", perm=[0, 3, 1, 2])
    if spec["dtype"] in ("uint8", "int32"):
        x = add("Div", [x, const("full", np.array(255, real))], "unit")
    x = conv((x, channels), 8, "conv1", 3, 2)
    x = (add("Relu", [x[0]], "relu1"), 8)
    x = conv(x, 12, "conv2", 3, 4)
    x = (add("Tanh", [x[0]], "tanh"), 12)
    if weights:
        extra = const("extra", np.zeros((1, 1, 1, weights), real))
        zero = add("ReduceSum", [extra], "zero", keepdims=0)
        x = (add("Add", [x[0], zero], "plus"), 12)
    outs = []

    def maps(name, count):
        out = conv(x, count, f"{name}_planes", 1, 1)[0]
        if output.get("score") != "logit":
            out = add("Sigmoid", [out], f"{name}_sigmoid")
        if output.get("layout", spec["layout"]) == "NHWC":
            return add("Transpose", [out], name, perm=[0, 2, 3, 1]), ["N", height // 8, width // 8, count]
        return add("Identity", [out], name), ["N", count, height // 8, width // 8]

    def rows(name, columns):
        pooled = add("GlobalAveragePool", [x[0]], f"{name}_pool")
        flat = add("Flatten", [pooled], f"{name}_flat", axis=1)
        weight = const(f"{name}_m", rng.normal(size=(12, joints * columns)).astype(real))
        product = add("MatMul", [flat, weight], f"{name}_product")
        if output.get("unit") == "unit":
            product = add("Sigmoid", [product], f"{name}_unit")
        first = 1 if tail else 0
        shape = const(f"{name}_shape", np.array([first, joints, columns], np.int64))
        if tail:  # a shape that names all rows at once: it cannot hold for more than one picture
            shape1 = const(f"{name}_rows", np.array([joints, columns], np.int64))
            product = add("Reshape", [product, shape1], f"{name}_one")
            product = add("Elu", [product], f"{name}_elu")  # or the two shapes would be made one
        return add("Reshape", [product, shape], name), ["N", joints, columns]

    if kind == "heatmap":
        outs.append(maps("out0", joints))
    elif kind == "heatmap_offset":
        outs += [maps("out0", joints), maps("out1", 2 * joints)]
    elif kind == "simcc":
        outs += [rows("out0", 2 * width), rows("out1", 2 * height)]
    else:
        outs.append(rows("out0", output.get("columns", 3)))
    n = {"N": batch}
    shape = [batch, height, width, channels] if nhwc else [batch, channels, height, width]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("picture", TYPES[spec["dtype"]], shape)],
        [
            helper.make_tensor_value_info(name, TYPES["float16" if half else "float32"], [n.get(s, s) for s in sides])
            for name, sides in outs
        ],
        [numpy_helper.from_array(array, name) for name, array in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def save(folder, content, proto, name="net"):
    """Write a network with its document in the metadata, and find it."""
    content = json.loads(json.dumps(content))
    content["output"].pop("columns", None)
    helper.set_model_props(proto, {METADATA_KEY: ModelDocument.model_validate(content).to_json()})
    path = folder / f"{name}.onnx"
    onnx.save(proto, path)
    return find_model(path)


def model(folder, kind="heatmap", *, batch=1, opset=17, tail=False, weights=0, name="net", **keys):
    """A small model of a kind, found as a user's would be."""
    content = document(kind, **keys)
    return save(folder, content, network(content, batch=batch, opset=opset, tail=tail, weights=weights), name)
