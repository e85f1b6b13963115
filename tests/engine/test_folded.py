"""Batch normalisations go into the convolutions before them, and nowhere else."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.document import find_model
from engine.folded import folded
from tests.engine import reference


def model(bias=True, shared=False, second_reader=False):
    rng = np.random.default_rng(0)
    arrays = {
        "w": rng.normal(size=(4, 3, 3, 3)), "b": rng.normal(size=4), "scale": rng.normal(size=4),
        "shift": rng.normal(size=4), "mean": rng.normal(size=4), "var": rng.uniform(1e-9, 2, size=4),
    }  # fmt: skip
    conv = ["x", "w", "b"] if bias else ["x", "w"]
    nodes = [
        helper.make_node("Conv", conv, ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"], epsilon=1e-3),
    ]
    last = "n"
    if shared:
        nodes.append(helper.make_node("Conv", ["x", "w"], ["other"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Add", ["n", "other"], ["sum"]))
        last = "sum"
    if second_reader:
        nodes.append(helper.make_node("Add", ["n", "c"], ["sum"]))
        last = "sum"
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, 4, 8, 8])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(proto):
    x = np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32)
    return reference.session(proto.SerializeToString()).run(None, {"x": x})[0]


def count(proto):
    return sum(node.op_type == "BatchNormalization" for node in proto.graph.node)


def test_the_answer_stays():
    for options in ({}, {"bias": False}, {"shared": True}):
        proto = model(**options)
        small = folded(proto)
        onnx.checker.check_model(small, full_check=True)
        assert (count(proto), count(small)) == (1, 0)
        np.testing.assert_allclose(run(small), run(proto), rtol=1e-4, atol=1e-4)


def test_what_someone_else_reads_stays():
    proto = model(second_reader=True)
    assert count(folded(proto)) == 1
    np.testing.assert_array_equal(run(folded(proto)), run(proto))


def test_all_of_a_shipped_model_are_folded_and_their_weights_gone():
    proto = find_model("mannequin17_occluded").proto
    small = folded(proto)
    assert count(proto) > 30 and count(small) == 0
    assert not [weight.name for weight in small.graph.initializer if "running" in weight.name]
