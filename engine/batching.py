"""Which part of a network that was exported for one picture can take several at once.

Many networks are exported with a batch of one, yet nearly all their nodes treat each picture alike.
Run once with all pictures, such a part keeps its weights in the cache and needs them once; only what
truly depends on the batch of one (a Reshape to a fixed shape, a GatherND) must be put in once for each
picture. The rules are conservative: a node of which it is not certain counts as dependent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper, numpy_helper

_ELEMENTWISE = frozenset(
    "Abs Add Cast Ceil Clip Div Elu Erf Exp Floor HardSigmoid HardSwish Identity LeakyRelu Log Max Min Mish Mul Neg "
    "PRelu Pow Reciprocal Relu Round Selu Sigmoid Sign Softplus Softsign Sqrt Sub Tanh Where Gelu".split()
)
_SPATIAL = frozenset(
    "AveragePool BatchNormalization Conv ConvTranspose DepthToSpace GlobalAveragePool GlobalMaxPool "
    "InstanceNormalization LRN MaxPool QLinearConv SpaceToDepth".split()
)
_ALONG_AXIS = {"Softmax": -1, "LogSoftmax": -1, "ArgMax": 0, "ArgMin": 0, "Gather": 0, "Split": 0}
_REDUCTIONS = frozenset("ReduceMax ReduceMean ReduceMin ReduceSum ReduceL1 ReduceL2 ReduceProd".split())


@dataclass
class Plan:
    """How a network takes several pictures.

    Attributes:
        each: Indices of the nodes that are put in once for each picture; the others stand once.
        batched: Values whose first axis becomes that of the pictures.
        reshapes: Indices of Reshape nodes whose shape must keep the first axis as it is.
    """

    each: set[int] = field(default_factory=set)
    batched: set[str] = field(default_factory=set)
    reshapes: set[int] = field(default_factory=set)


def plan(network: onnx.ModelProto, picture: str) -> Plan:
    """What of a network whose batch is one can be shared by all pictures.

    Args:
        network: The network; its input ``picture`` has a first axis of one.
        picture: The input's name.
    """
    graph = network.graph
    shapes = _shapes(network)
    constants = {weight.name: weight for weight in graph.initializer}
    single: set[str] = set()
    found = Plan(batched={picture})
    for index, node in enumerate(graph.node):
        used = [name for name in node.input if name]
        if any(
            attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for attribute in node.attribute
        ):
            safe = False  # what a branch reads from outside does not stand among its inputs
        elif not any(name in found.batched or name in single for name in used):
            continue  # depends on weights only: the same for all pictures
        else:
            safe = not any(name in single for name in used) and _Node(node, shapes, constants, found.batched).is_safe()
        if safe:
            found.batched.update(name for name in node.output if name)
            if node.op_type == "Reshape":
                found.reshapes.add(index)
        else:
            found.each.add(index)
            single.update(name for name in node.output if name)
    return found


def keep_first_axis(shape: onnx.TensorProto, name: str) -> onnx.TensorProto:
    """The shape of a Reshape that copies the input's first axis instead of writing one."""
    sides = numpy_helper.to_array(shape).copy()
    sides[0] = 0
    return numpy_helper.from_array(sides, name)


def _shapes(network: onnx.ModelProto) -> dict[str, list[int]]:
    """Shapes of values, -1 for a side that is not known."""
    try:
        inferred = onnx.shape_inference.infer_shapes(network).graph
    except onnx.shape_inference.InferenceError:
        inferred = network.graph  # then what is not declared counts as dependent
    shapes = {weight.name: list(weight.dims) for weight in inferred.initializer}
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        tensor = value.type.tensor_type
        if tensor.HasField("shape"):
            shapes[value.name] = [side.dim_value if side.HasField("dim_value") else -1 for side in tensor.shape.dim]
    return shapes


class _Node:
    """One node, asked whether it treats the pictures along its first axis alike and apart."""

    def __init__(
        self,
        node: onnx.NodeProto,
        shapes: dict[str, list[int]],
        constants: dict[str, onnx.TensorProto],
        batched: set[str],
    ) -> None:
        self.node, self.shapes, self.constants, self.batched = node, shapes, constants, batched
        self.attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}

    def is_safe(self) -> bool:
        node = self.node
        if node.domain not in ("", "ai.onnx"):
            return False
        data = node.input[0]
        if node.op_type in _ELEMENTWISE:
            return self._broadcasts()
        if node.op_type == "Concat":
            rank = self._rank(data)
            return all(name in self.batched for name in node.input) and rank > 0 and self.attributes["axis"] % rank != 0
        # All others read pictures from their first input only, and weights from the rest.
        if data not in self.batched or self._rank(data) < 1 or any(name in self.batched for name in node.input[1:]):
            return False
        if node.op_type in _SPATIAL:
            # Their further outputs are of the whole batch: indices into it, or its statistics.
            return not any(node.output[1:])
        rule: Callable[[], bool] | None = getattr(self, f"_{node.op_type.lower()}", None)
        if node.op_type in _ALONG_AXIS:
            return self.attributes.get("axis", _ALONG_AXIS[node.op_type]) % self._rank(data) != 0
        if node.op_type in _REDUCTIONS:
            return self._reduces()
        return rule is not None and rule()

    def _rank(self, name: str) -> int:
        return len(self.shapes.get(name, []))

    def _values(self, position: int) -> list[float] | None:
        """The numbers of a constant input."""
        name = self.node.input[position] if len(self.node.input) > position else ""
        return numpy_helper.to_array(self.constants[name]).ravel().tolist() if name in self.constants else None

    def _broadcasts(self) -> bool:
        ranks = {self._rank(name) for name in self.node.input if name in self.batched}
        if len(ranks) != 1 or (rank := ranks.pop()) < 1:
            return False
        for name in self.node.input:
            if not name or name in self.batched:
                continue
            if name not in self.shapes:
                return False
            shape = self.shapes[name]
            if len(shape) > rank or (len(shape) == rank and shape[0] != 1):
                return False
        return True

    def _avoids_first(self, axes: Sequence[float] | None, rank: int) -> bool:
        return axes is not None and all(int(axis) % rank != 0 for axis in axes)

    def _axes(self, position: int) -> Sequence[float] | None:
        return self.attributes.get("axes") or self._values(position)

    def _reduces(self) -> bool:
        return self._avoids_first(self._axes(1), self._rank(self.node.input[0]))

    def _transpose(self) -> bool:
        return list(self.attributes.get("perm", [1]))[0] == 0

    def _quantizelinear(self) -> bool:
        scale = self.shapes.get(self.node.input[1], [-1])
        per_tensor = int(np.prod(scale, dtype=np.int64)) == 1
        return per_tensor or self.attributes.get("axis", 1) % self._rank(self.node.input[0]) != 0

    _dequantizelinear = _quantizelinear

    def _resize(self) -> bool:
        scales = self._values(2)
        by_scale = scales is not None and len(scales) > 0 and scales[0] == 1
        whole = self.attributes.get("coordinate_transformation_mode", b"") != b"tf_crop_and_resize"
        return by_scale and whole and "axes" not in self.attributes

    def _upsample(self) -> bool:
        scales = self._values(1)
        return scales is not None and scales[0] == 1

    def _pad(self) -> bool:
        pads, rank = self._values(1), self._rank(self.node.input[0])
        plain = len(self.node.input) < 4 or not self.node.input[3]
        return pads is not None and plain and len(pads) == 2 * rank and pads[0] == 0 and pads[rank] == 0

    def _slice(self) -> bool:
        return self._avoids_first(self._values(3), self._rank(self.node.input[0]))

    def _squeeze(self) -> bool:
        return self._avoids_first(self._axes(1), self._rank(self.node.input[0]))

    def _unsqueeze(self) -> bool:
        axes = self._axes(1)
        return axes is not None and self._avoids_first(axes, self._rank(self.node.input[0]) + len(axes))

    def _flatten(self) -> bool:
        return bool(self.attributes.get("axis", 1) == 1)

    def _matmul(self) -> bool:
        return self._rank(self.node.input[0]) >= 2 and self._rank(self.node.input[1]) == 2

    def _gemm(self) -> bool:
        bias = self.shapes.get(self.node.input[2], [-1, -1]) if len(self.node.input) > 2 else []
        return not self.attributes.get("transA", 0) and (len(bias) < 2 or bias[0] == 1)

    def _reshape(self) -> bool:
        """From one picture to one picture, row by row: then the first axis may be copied."""
        shape, before = self._values(1), self.shapes.get(self.node.input[0], [-1])
        if shape is None or self.attributes.get("allowzero", 0) or not shape or before[0] != 1:
            return False
        if shape[0] == -1:
            return min(before) > 0 and min(shape[1:], default=1) > 0 and np.prod(before[1:]) == np.prod(shape[1:])
        return shape[0] in (0, 1)
