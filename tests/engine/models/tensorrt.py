"""What TensorRT's parser of ONNX takes: docs/operators.md of onnx-tensorrt 10.1 GA (96e7811, 17 June 2024).

Only operators that graphs of ours hold, or are likely to, stand here; look another one up there before it is added.
https://github.com/onnx/onnx-tensorrt/blob/96e781103cfc4adf4a6bb557e94bac8e693f6f4c/docs/operators.md
"""

from __future__ import annotations

from typing import Any

import onnx
from onnx import helper

OPSETS = range(9, 21)
_FLOATS = frozenset({"FLOAT", "FLOAT16", "BFLOAT16"})
_NUMBERS = _FLOATS | {"INT32", "INT64"}
_ALL = _NUMBERS | {"BOOL"}
_GROUPS = {
    _FLOATS: """Atan BatchNormalization Ceil Clip Conv ConvTranspose Cos Erf Exp Floor Gemm GlobalAveragePool IsInf Log
        MatMul MaxPool Pow Resize Sigmoid Sin Softmax Sqrt Tan Tanh""",
    _NUMBERS: """Abs Add Div Greater GreaterOrEqual IsNaN Less LessOrEqual Max Min Mul Neg ReduceMax ReduceMean
        ReduceMin ReduceSum Relu Sub""",
    _ALL: "Concat Constant Expand Gather Identity Reshape Shape Slice Split Squeeze Transpose Unsqueeze Where",
    frozenset({"BOOL"}): "And Not Or",
    frozenset({"FLOAT", "FLOAT16"}): "GridSample",
    _ALL | {"UINT8"}: "Cast",
}
TYPES = {name: types for types, names in _GROUPS.items() for name in names.split()}
"""Of the data that an operator takes."""
_AXES = {"ReduceMax": 1, "ReduceMean": 1, "ReduceMin": 1, "ReduceSum": 1, "Slice": 3, "Squeeze": 1, "Unsqueeze": 1}
"""Inputs that must be initialisers."""


def objections(proto: onnx.ModelProto) -> list[str]:
    """What of a graph is not on the list: operators, types, and restrictions that the list names."""
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {weight.name: weight.data_type for weight in inferred.initializer}
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in values}
    constants = {weight.name for weight in inferred.initializer}
    found = set()
    for node in inferred.node:
        if node.op_type not in TYPES or node.domain not in ("", "ai.onnx"):
            found.add(f"{node.op_type} is not supported")
            continue
        data = node.input[1 if node.op_type == "Where" else 0]
        used = [data, *(node.output if node.op_type == "Cast" else ())]
        for name in used:
            kind = onnx.TensorProto.DataType.Name(types.get(name, 0))
            if kind not in TYPES[node.op_type]:
                found.add(f"{node.op_type} of {kind}")
        found |= {f"{node.op_type}: {text}" for text in _restrictions(node, constants, ranks)}
    found |= {f"opset {entry.version}" for entry in proto.opset_import if entry.version not in OPSETS}
    return sorted(found)


def _restrictions(node: onnx.NodeProto, constants: set[str], ranks: dict[str, int]) -> list[str]:
    said: dict[str, Any] = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    wrong = []
    place = _AXES.get(node.op_type)
    if place is not None and len(node.input) > place and node.input[place] and node.input[place] not in constants:
        wrong.append("axes are no initialiser")
    if node.op_type == "MaxPool" and (len(node.output) > 1 or set(said.get("dilations", [1])) != {1}):
        wrong.append("indices or dilations")
    if node.op_type == "GridSample" and ranks[node.input[0]] != 4:
        wrong.append("not 4D")
    if node.op_type == "Resize":
        turn = said.get("coordinate_transformation_mode", b"half_pixel")
        if turn not in (b"half_pixel", b"pytorch_half_pixel", b"tf_half_pixel_for_nn", b"asymmetric", b"align_corners"):
            wrong.append(f"turns coordinates by {turn.decode()}")
        mode, nearest = said.get("mode", b"nearest"), said.get("nearest_mode", b"round_prefer_floor")
        if mode not in (b"nearest", b"linear") or nearest not in (
            b"floor", b"ceil", b"round_prefer_floor", b"round_prefer_ceil",
        ):  # fmt: skip
            wrong.append(f"mode {mode.decode()}")
        if said.get("antialias", 0) or said.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
            wrong.append("antialiasing or another policy than stretch")
    return wrong
