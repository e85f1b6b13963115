"""The whole runtime on a TensorRT that is a fake and tensors that are on the CPU: plan, cache, execution, failures."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from engine import precision, quantised  # noqa: E402
from engine.cut import parts  # noqa: E402
from engine.document import find_model  # noqa: E402
from engine.gpu import plan as plans  # noqa: E402
from engine.gpu import trial as trials  # noqa: E402
from engine.gpu.driver import Driver, Gpu  # noqa: E402
from engine.graph import NET_INPUT, compose  # noqa: E402
from engine.runtimes import Runtime  # noqa: E402
from engine.runtimes import tensorrt as module  # noqa: E402
from engine.runtimes.onnx import OnnxRuntime  # noqa: E402
from engine.runtimes.tensorrt import TensorRtRuntime  # noqa: E402
from rigpose.errors import ConfigError, MissingError, RigposeError  # noqa: E402
from tests.engine import networks, reference  # noqa: E402
from tests.engine.gpu.fake_trt import FakeTrt  # noqa: E402
from tests.engine.test_graph import scene  # noqa: E402

LIMITS = {"points2d": 0.01, "confidence": 1e-4, "points3d": 0.1, "residual_px": 0.02}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    located = find_model("mannequin17_occluded")
    rig, crops, affine = scene(located, 3)
    return compose(located, 3), reference.feeds(rig, crops, affine)


@pytest.fixture
def trt(tmp_path, monkeypatch):
    """A machine with a GPU and a fake TensorRT."""
    fake = FakeTrt()
    for place in (precision, quantised, plans):
        monkeypatch.setattr(place, "state_folder", lambda: tmp_path)
    monkeypatch.setattr(module, "driver", lambda: Driver("13.0", (Gpu("NVIDIA H200", 1, (9, 0)),), ""))
    monkeypatch.setattr(module, "load_tensorrt", lambda: fake)
    monkeypatch.setattr(TensorRtRuntime, "_gpu", staticmethod(lambda torch: torch.device("cpu")))
    monkeypatch.setattr(trials, "problem_of_plan", lambda path: trials.trial(fake, path.read_bytes()))
    return fake


def test_it_answers_what_onnx_runtime_does(made, trt):
    graph, feeds = made
    runtime = TensorRtRuntime(graph)
    assert isinstance(runtime, Runtime)
    assert (runtime.name, runtime.precision, runtime.graph_hash) == ("tensorrt", "fp32", graph.graph_hash)
    expected, got = OnnxRuntime(graph, threads=1).run(feeds), runtime.run(feeds)
    for name, limit in LIMITS.items():
        np.testing.assert_array_equal(np.isnan(got[name]), np.isnan(expected[name]))
        assert np.nanmax(np.abs(got[name] - expected[name]), initial=0) < limit, name
    again = runtime.run(feeds | {"crops": 255 - feeds["crops"]})
    assert not np.array_equal(again["points2d"], got["points2d"])


def test_the_plan_holds_the_network_of_the_rig_s_size_and_no_geometry(made, trt):
    TensorRtRuntime(made[0])
    network = onnx.load_from_string(trt.built[0])
    assert [value.name for value in network.graph.input] == [NET_INPUT]
    assert [side.dim_value for side in network.graph.input[0].type.tensor_type.shape.dim] == [3, 3, 160, 160]
    assert {node.op_type for node in network.graph.node} <= {"Conv", "Clip", "Add", "Resize"}


def test_a_plan_is_built_once_and_again_for_another_version(made, trt):
    TensorRtRuntime(made[0])
    TensorRtRuntime(made[0])
    assert len(trt.built) == 1
    trt.__version__ = "11.5.0"
    TensorRtRuntime(made[0])
    assert len(trt.built) == 2
    assert len(list(plans.folder().glob("*.plan"))) == 1


def test_a_plan_that_cannot_be_read_any_more_is_built_again(made, trt, monkeypatch):
    TensorRtRuntime(made[0])
    tries = iter(["reading it ended the process that tried (code -11)", ""])
    monkeypatch.setattr(trials, "problem_of_plan", lambda path: next(tries))
    TensorRtRuntime(made[0])
    assert len(trt.built) == 2


def test_a_plan_that_kills_whoever_reads_it_is_never_read_here(made, trt, monkeypatch):
    monkeypatch.setattr(trials, "problem_of_plan", lambda path: "reading it ended the process that tried (code -11)")
    with pytest.raises(RigposeError, match="cannot read the plan that it built: .*code -11"):
        TensorRtRuntime(made[0])
    assert not list(plans.folder().glob("*.plan"))


def test_auto_does_not_build_and_says_what_does(made, trt):
    with pytest.raises(MissingError, match="has no plan for NVIDIA H200 in fp32") as caught:
        TensorRtRuntime(made[0], build=False)
    assert caught.value.remedy == "rigpose build MODEL"
    TensorRtRuntime(made[0])
    assert TensorRtRuntime(made[0], build=False).precision == "fp32"


def test_fp16_is_in_the_network_alone(made, trt):
    graph, feeds = made
    runtime = TensorRtRuntime(graph, precision="fp16")
    network = onnx.load_from_string(trt.built[0])
    used = {name for node in network.graph.node if node.op_type != "Resize" for name in node.input}
    assert {w.data_type for w in network.graph.initializer if w.name in used} == {onnx.TensorProto.FLOAT16}
    expected, got = OnnxRuntime(graph, threads=1).run(feeds), runtime.run(feeds)
    assert runtime.precision == "fp16"
    assert 0 < np.abs(got["confidence"] - expected["confidence"]).max() < 0.01


def test_int8_is_quantised_about_zero(made, trt, tmp_path):
    located = networks.model(tmp_path, "heatmap", batch="N")
    rig, crops, affine = scene(located, 3)
    graph, feeds = compose(located, 3), reference.feeds(rig, crops, affine)
    with pytest.raises(ConfigError, match="has no int8 form"):
        TensorRtRuntime(graph, precision="int8")
    form = quantised.quantise(graph, [feeds] * 8, symmetric=True)
    runtime = TensorRtRuntime(graph, precision="int8")
    assert runtime.graph_hash == form.graph_hash
    network = onnx.load_from_string(trt.built[0])
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in network.graph.node}
    assert len(parts(onnx.load_from_string(form.proto_bytes)).network.graph.node) == len(network.graph.node)
    assert np.isfinite(runtime.run(feeds)["confidence"]).all()


@pytest.mark.parametrize(
    "step, said",
    [
        ("deserialise", "the plan is not read: Error Code 1"),
        ("context", "the plan gets no context: TensorRT says no more"),
        ("shape", r"the plan refuses the size \[3, 3, 160, 160\] of net_input"),
        ("address", "the plan refuses the memory of net_input"),
        ("execute", r"the plan does not run: Error Code 3: API Usage Error \(enqueueV3\)"),
    ],
)
def test_whatever_answers_false_or_none_is_a_sentence(made, trt, monkeypatch, step, said):
    monkeypatch.setattr(trials, "problem_of_plan", lambda path: "")
    trt.fail.add(step)
    with pytest.raises(RigposeError, match=said) as caught:
        TensorRtRuntime(made[0]).run(made[1])
    assert "\n" not in str(caught.value)


def test_more_frame_sets_than_the_plan_is_for_are_refused(made, trt):
    graph, feeds = made
    runtime = TensorRtRuntime(graph)
    runtime.warmup()
    twice = {n: np.repeat(a, 2, 0) if n in ("crops", "crop_to_image", "view_weight") else a for n, a in feeds.items()}
    with pytest.raises(RigposeError, match="its plan is for 1 frame set at once"):
        runtime.run(twice)


def test_a_network_that_is_int8_by_itself_is_refused(trt, made):
    from dataclasses import replace

    with pytest.raises(ConfigError, match="holds an int8 network, which TensorRT cannot be told"):
        TensorRtRuntime(replace(made[0], precision="int8"))
    with pytest.raises(ConfigError, match="does not compute in bf16"):
        TensorRtRuntime(made[0], precision="bf16")


@pytest.mark.gpu
def test_on_a_gpu_the_real_one_answers_what_onnx_runtime_does(made, gpu, tmp_path, monkeypatch):
    pytest.importorskip("tensorrt")
    for place in (precision, quantised, plans):
        monkeypatch.setattr(place, "state_folder", lambda: tmp_path)
    graph, feeds = made
    expected, got = OnnxRuntime(graph).run(feeds), TensorRtRuntime(graph).run(feeds)
    np.testing.assert_allclose(got["points2d"], expected["points2d"], atol=0.1)
