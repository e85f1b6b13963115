"""Half precision: between the cuts and nowhere else, and close to float32."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from engine.cut import parts
from engine.document import find_model
from engine.graph import compose
from engine.lowered import lowered
from engine.runtimes.onnx import OnnxRuntime
from rigpose.errors import ConfigError
from tests.engine import networks, reference
from tests.engine.test_graph import scene


@pytest.fixture(scope="module", params=["heatmap", "keypoints", "ours"])
def made(request, tmp_path_factory):
    if request.param == "ours":
        located = find_model("mannequin17_occluded")
    else:
        located = networks.model(tmp_path_factory.mktemp("model"), request.param, batch="N")
    rig, crops, affine = scene(located, 3)
    return compose(located, 3), reference.feeds(rig, crops, affine)


def types_of(proto):
    return {weight.data_type for weight in proto.graph.initializer}


def test_fp16_answers_nearly_what_fp32_does(made):
    graph, feeds = made
    half = lowered(onnx.load_from_string(graph.proto_bytes), "fp16")
    onnx.checker.check_model(half, full_check=True)
    expected = OnnxRuntime(graph, threads=1).run(feeds)
    got = OnnxRuntime(replace(graph, proto_bytes=half.SerializeToString()), threads=1).run(feeds)
    assert np.abs(got["confidence"] - expected["confidence"]).max() < 5e-3
    assert (got["points2d"] != expected["points2d"]).any()
    # Noise is no subject, so that peaks may change places; most do not.
    assert np.median(np.abs(got["points2d"] - expected["points2d"])) < 0.3


@pytest.mark.parametrize("precision, kind", [("fp16", TensorProto.FLOAT16), ("bf16", TensorProto.BFLOAT16)])
def test_only_the_network_has_other_weights(made, precision, kind):
    graph, _ = made
    half = lowered(onnx.load_from_string(graph.proto_bytes), precision)
    found = parts(half)
    used = {name for node in found.network.graph.node if node.op_type != "Resize" for name in node.input}
    assert {w.data_type for w in found.network.graph.initializer if w.name in used} - {TensorProto.INT64} == {kind}
    assert kind not in types_of(found.before) and kind not in types_of(found.behind)
    assert [v.type.tensor_type.elem_type for v in found.network.graph.input] == [TensorProto.FLOAT]
    assert {v.type.tensor_type.elem_type for v in found.network.graph.output} == {TensorProto.FLOAT}


def test_weights_that_fp16_cannot_hold_are_named(made):
    proto = onnx.load_from_string(made[0].proto_bytes)
    index = next(i for i, weight in enumerate(parts(proto).network.graph.initializer) if weight.data_type == 1)
    name = parts(proto).network.graph.initializer[index].name
    for weight in proto.graph.initializer:
        if weight.name == name:
            array = numpy_helper.to_array(weight).copy()
            array.flat[0] = 1e30
            weight.CopyFrom(numpy_helper.from_array(array, name))
    with pytest.raises(ConfigError, match="which fp16 cannot hold"):
        lowered(proto, "fp16")
