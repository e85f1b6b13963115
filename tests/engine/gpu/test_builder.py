"""Building plans: strongly typed, TF32 off, timings kept, and every way to fail a sentence."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from engine.gpu.builder import WORKSPACE_BYTES, build
from rigpose.errors import ConfigError, RigposeError
from tests.engine.gpu.fake_trt import FakeTrt


def network(side=4):
    graph = helper.make_graph(
        [helper.make_node("Relu", ["net_input"], ["head_in"])], "g",
        [helper.make_tensor_value_info("net_input", TensorProto.FLOAT, [2, 3, side, side])],
        [helper.make_tensor_value_info("head_in", TensorProto.FLOAT, [2, 3, side, side])],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def test_what_precision_it_has_stands_in_the_network_and_tf32_is_off(tmp_path):
    trt, phases = FakeTrt(), []
    plan = build(trt, network(), "model m", level=5, progress=lambda *told: phases.append(told))
    (config,) = trt.configs
    assert plan.endswith(network())
    assert config.cleared == {"TF32"}
    assert config.pools == {"WORKSPACE": WORKSPACE_BYTES}
    assert config.builder_optimization_level == 5
    # Of the phases inside of another nobody wants to know.
    assert phases == [("Building Engine", step / 4) for step in range(1, 5)]


def test_timings_are_kept_for_the_next_build(tmp_path):
    path = tmp_path / "new" / "gpu.timing"
    build(FakeTrt(), network(), "model m", timing_cache=path)
    assert path.read_bytes() == b"timings"
    trt = FakeTrt()
    build(trt, network(), "model m", timing_cache=path)
    assert trt.configs[0].cache.data == b"timings"


def test_timings_of_another_gpu_are_left_out(tmp_path):
    path = tmp_path / "gpu.timing"
    path.write_bytes(b"of another")
    trt = FakeTrt("timing")
    build(trt, network(), "model m", timing_cache=path)
    assert trt.configs[0].cache.data == b""


@pytest.mark.parametrize(
    "step, kind, said",
    [
        ("builder", RigposeError, "model m: TensorRT has no builder: createInferBuilder: Error Code 6"),
        ("parse", ConfigError, "model m: TensorRT 11.4.0.106 cannot read it: node 7: no importer for operator NoSuch"),
        ("build", RigposeError, "model m: TensorRT 11.4.0.106 builds no plan: Error Code 10: Could not find any"),
    ],
)
def test_a_step_that_fails_is_a_sentence_with_what_tensorrt_said(step, kind, said):
    with pytest.raises(kind) as caught:
        build(FakeTrt(step), network(), "model m")
    assert str(caught.value).startswith(said)
    assert caught.value.remedy and "\n" not in str(caught.value)


def test_free_sizes_are_refused():
    proto = onnx.load_from_string(network())
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    with pytest.raises(ConfigError, match="input net_input has free sizes"):
        build(FakeTrt(), proto.SerializeToString(), "model m")
