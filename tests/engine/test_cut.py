"""The cuts: a graph in three parts answers what it answers whole, and only the network is between them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engine import cut
from engine.document import find_model
from engine.graph import HEAD_IN, NET_INPUT, OUTPUTS, compose
from rigpose.errors import ConfigError
from tests.engine import networks, reference
from tests.engine.test_graph import scene


def answers(proto, feeds):
    session = reference.session(proto.SerializeToString())
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {v.name: feeds[v.name] for v in session.get_inputs()}), strict=True))


def graph_of(located, views=3):
    graph = compose(located, views)
    rig, crops, affine = scene(located, views)
    return onnx.load_from_string(graph.proto_bytes), reference.feeds(rig, crops, affine)


@pytest.mark.parametrize("kind", ["keypoints", "heatmap", "heatmap_offset", "simcc", "ours"])
def test_the_parts_answer_what_the_whole_does(tmp_path, kind):
    located = find_model("mannequin17_occluded") if kind == "ours" else networks.model(tmp_path, kind)
    proto, feeds = graph_of(located)
    whole = answers(proto, feeds)
    found = cut.parts(proto)
    seen = answers(found.before, feeds)
    made = answers(found.network, seen)
    assert [value.name for value in found.network.graph.input] == [NET_INPUT]
    parted = answers(found.behind, feeds | made)
    at_once = answers(found.behind, feeds | answers(found.front(proto), feeds))
    for name in OUTPUTS:
        np.testing.assert_allclose(parted[name], whole[name], rtol=1e-5, atol=1e-4)
        np.testing.assert_array_equal(parted[name], at_once[name])


def test_what_leaves_the_network_beside_the_cut_passes():
    """As the features of a volumetric model, which are read behind the cut, too."""
    nodes = [
        helper.make_node("Identity", ["crops"], [NET_INPUT], name="a"),
        helper.make_node("Relu", [NET_INPUT], ["features"], name="b"),
        helper.make_node("Neg", ["features"], [HEAD_IN], name="c"),
        helper.make_node("Add", [HEAD_IN, "features"], ["zero"], name="d"),
        helper.make_node("Shape", ["features"], ["shape"], name="e"),
        helper.make_node("Reshape", ["zero", "shape"], ["out"], name="f"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in ("crops", "out")]
    proto = helper.make_model(
        helper.make_graph(nodes, "g", values[:1], values[1:]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    found = cut.parts(proto)
    assert found.passing == (HEAD_IN, "features")
    assert [node.name for node in found.network.graph.node] == ["b", "c"]
    assert [node.name for node in found.behind.graph.node] == ["d", "e", "f"]
    data = np.array([[1.0, -2.0]], np.float32)
    made = answers(found.network, {NET_INPUT: data})
    np.testing.assert_array_equal(answers(found.behind, made)["out"], answers(proto, {"crops": data})["out"])


def test_another_network_can_be_put_between_the_cuts(tmp_path):
    proto, feeds = graph_of(networks.model(tmp_path, "heatmap"))
    found = cut.parts(proto)
    same = cut.joined(proto, found, found.network)
    onnx.checker.check_model(same, full_check=True)
    for name, value in answers(proto, feeds).items():
        np.testing.assert_array_equal(answers(same, feeds)[name], value)


def test_the_geometry_is_not_between_the_cuts():
    proto, _ = graph_of(find_model("mannequin17_occluded"))
    between = [proto.graph.node[index].op_type for index in cut.network_nodes(proto)]
    assert set(between) <= {"Conv", "BatchNormalization", "Clip", "Add", "Resize", "Relu"}
    assert between.count("Conv") == sum(node.op_type == "Conv" for node in proto.graph.node)


def test_a_graph_without_names_is_refused_in_one_line(tmp_path):
    proto, _ = graph_of(networks.model(tmp_path, "heatmap"))
    for node in proto.graph.node:
        node.output[:] = [name.replace(HEAD_IN, "x") for name in node.output]
        node.input[:] = [name.replace(HEAD_IN, "x") for name in node.input]
    with pytest.raises(ConfigError, match="does not name net_input and head_in"):
        cut.parts(proto, "model m")
