"""Which nodes may take several pictures: never one that would then answer otherwise."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine import batching
from tests.engine import reference

SHAPE = (1, 4, 6, 8)
rng = np.random.default_rng(0)


def f32(*shape):
    return rng.random(shape).astype(np.float32)


def i64(*values):
    return np.array(values, np.int64)


def node(op, *constants, inputs=("x",), **attributes):
    """One node over the picture ``x`` and constants, in the order given."""
    names = [*inputs, *(f"c{index}" for index in range(len(constants)))]
    return op, names, constants, attributes


SAFE = {
    "Relu": node("Relu"),
    "Clip": node("Clip", np.float32(0.2), np.float32(0.8)),
    "Add a scalar": node("Add", np.float32(1)),
    "Add a channel's number": node("Add", f32(4, 1, 1)),
    "Add of batch one": node("Add", f32(1, 4, 1, 1)),
    "Mul with itself": node("Mul", inputs=("x", "x")),
    "Conv": node("Conv", f32(3, 4, 3, 3), f32(3), kernel_shape=[3, 3]),
    "ConvTranspose": node("ConvTranspose", f32(4, 2, 2, 2), kernel_shape=[2, 2], strides=[2, 2]),
    "MaxPool": node("MaxPool", kernel_shape=[2, 2]),
    "Transpose of a picture": node("Transpose", perm=[0, 2, 3, 1]),
    "Concat of channels": node("Concat", inputs=("x", "x"), axis=1),
    "Softmax over the last axis": node("Softmax", axis=-1),
    "ReduceMean over the picture": node("ReduceMean", axes=[2, 3]),
    "ReduceSum over channels": node("ReduceSum", i64(1)),
    "Resize by scales": node("Resize", f32(0), np.array([1, 1, 2, 2], np.float32), mode="nearest"),
    "Pad of the picture": node("Pad", i64(0, 0, 1, 1, 0, 0, 1, 1)),
    "Slice of channels": node("Slice", i64(0), i64(2), i64(1)),
    "Gather of channels": node("Gather", i64(2, 0), axis=1),
    "ArgMax over channels": node("ArgMax", axis=1),
    "Reshape of one picture": node("Reshape", i64(1, 4, 48)),
    "Reshape that keeps the batch": node("Reshape", i64(0, -1)),
    "Reshape whose batch is what is left": node("Reshape", i64(-1, 4, 48)),
    "Flatten": node("Flatten", axis=1),
    "Unsqueeze": node("Unsqueeze", i64(1)),
    "MatMul": node("MatMul", f32(8, 5)),
    "QuantizeLinear": node("QuantizeLinear", np.float32(0.01), np.uint8(3)),
    "QuantizeLinear of channels": node("QuantizeLinear", f32(4) + 0.01, np.zeros(4, np.uint8), axis=1),
}
UNSAFE = {
    "Add of another batch": node("Add", f32(2, 1, 1, 1)),
    "Transpose of the batch": node("Transpose", perm=[1, 0, 2, 3]),
    "Concat of pictures": node("Concat", inputs=("x", "x"), axis=0),
    "Concat with a constant": node("Concat", f32(1, 1, 6, 8), axis=1),
    "Softmax over all pictures": node("Softmax", axis=0),
    "ReduceMax over everything": node("ReduceMax"),
    "ReduceSum over the batch": node("ReduceSum", i64(0, 1)),
    "Resize to a size": node("Resize", f32(0), f32(0), i64(1, 4, 12, 16), mode="nearest"),
    "Pad of the batch": node("Pad", i64(1, 0, 0, 0, 0, 0, 0, 0)),
    "Slice of every axis": node("Slice", i64(0), i64(1), i64(0)),
    "Gather of pictures": node("Gather", i64(0), axis=0),
    "ArgMax over the batch": node("ArgMax", axis=0),
    "Reshape to rows": node("Reshape", i64(4, 48)),
    "Reshape of everything": node("Reshape", i64(-1)),
    "Reshape that would mix pictures": node("Reshape", i64(-1, 48)),
    "Flatten of everything": node("Flatten", axis=0),
    "Squeeze of the batch": node("Squeeze", i64(0)),
    "Unsqueeze before the batch": node("Unsqueeze", i64(0)),
    "Shape": node("Shape"),
    "GatherND": node("GatherND", i64(0, 1).reshape(1, 2)),
    "Expand": node("Expand", i64(1, 4, 6, 8)),
    "Tile": node("Tile", i64(1, 1, 1, 2)),
}


def network(case, batch=1):
    op, inputs, constants, attributes = case
    graph = helper.make_graph(
        [helper.make_node(op, inputs, ["y"], **attributes)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *SHAPE[1:]])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.asarray(value), f"c{index}") for index, value in enumerate(constants)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


class TestPlan:
    @pytest.mark.parametrize("name", SAFE)
    def test_a_node_that_treats_pictures_apart_stands_once(self, name):
        one = network(SAFE[name])
        plan = batching.plan(one, "x")
        assert not plan.each
        assert plan.batched == {"x", "y"}
        many = network(SAFE[name], "N")
        if plan.reshapes:
            weight = many.graph.initializer[0]
            weight.CopyFrom(batching.keep_first_axis(weight, weight.name))
        del many.graph.value_info[:]
        many.graph.output[0].ClearField("type")
        pictures = f32(3, *SHAPE[1:])
        run = reference.session(one.SerializeToString())
        wanted = np.concatenate([run.run(None, {"x": picture[None]})[0] for picture in pictures])
        got = reference.session(many.SerializeToString()).run(None, {"x": pictures})[0]
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("name", UNSAFE)
    def test_any_other_stands_once_for_each_picture(self, name):
        plan = batching.plan(network(UNSAFE[name]), "x")
        assert plan.each == {0}
        assert plan.batched == {"x"}

    def test_what_follows_a_dependent_node_is_dependent(self):
        nodes = [
            helper.make_node("Relu", ["x"], ["a"]),
            helper.make_node("Reshape", ["a", "shape"], ["b"]),
            helper.make_node("Relu", ["b"], ["c"]),
            helper.make_node("Neg", ["w"], ["d"]),
            helper.make_node("Add", ["c", "d"], ["y"]),
        ]
        graph = helper.make_graph(
            nodes,
            "chain",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 48])],
            [numpy_helper.from_array(i64(4, 48), "shape"), numpy_helper.from_array(np.float32(2), "w")],
        )
        plan = batching.plan(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), "x")
        assert plan.each == {1, 2, 4}
        assert plan.batched == {"x", "a"}

    def test_indices_into_the_whole_batch_are_dependent(self):
        graph = network(SAFE["MaxPool"])
        graph.graph.node[0].output.append("indices")
        assert batching.plan(graph, "x").each == {0}

    def test_a_node_of_a_foreign_domain_is_dependent(self):
        graph = network(SAFE["Relu"])
        graph.graph.node[0].domain = "com.example"
        graph.opset_import.append(helper.make_opsetid("com.example", 1))
        assert batching.plan(graph, "x").each == {0}


@pytest.mark.data
def test_nearly_all_of_the_real_networks_is_shared(models_dir):
    """What is not is MoveNet's tail of Reshape and GatherND."""
    cases = (("hourglass_heatmap14", "image", 0), ("movenet_lightning_coco17", "serving_default_input:0", 110))
    for name, picture, most in cases:
        proto = onnx.load(models_dir / f"{name}.onnx")
        plan = batching.plan(proto, picture)
        assert len(plan.each) <= most
        assert not any(proto.graph.node[index].op_type == "Conv" for index in plan.each)
