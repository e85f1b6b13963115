"""Runtimes: one protocol, found by name, loud about what they cannot do."""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace

import numpy as np
import pytest

from engine import runtimes
from engine.gpu.driver import driver
from engine.graph import OUTPUTS, compose
from engine.runtimes.capabilities import Capability
from engine.runtimes.feeds import available_threads
from engine.runtimes.onnx import OnnxRuntime
from rigpose.errors import ConfigError, MissingError, RigposeError
from tests.engine import networks, reference
from tests.engine.test_graph import scene


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A graph of three views and inputs for it."""
    located = networks.model(tmp_path_factory.mktemp("model"), "keypoints", tail=True, input={"scale": 1 / 255})
    rig, crops, affine = scene(located, 3)
    return compose(located, 3), reference.feeds(rig, crops, affine)


class TestCreate:
    @pytest.mark.parametrize("name", ["auto", "onnx"])
    def test_gives_a_runtime(self, made, name):
        graph, inputs = made
        runtime = runtimes.create(graph, name, threads=1)
        assert isinstance(runtime, runtimes.Runtime)
        assert (runtime.name, runtime.device, runtime.precision) == ("onnx", "cpu", "fp32")
        assert runtime.graph_hash == graph.graph_hash
        answer = runtime.run(inputs)
        assert {name: value.shape for name, value in answer.items()} == {
            "points2d": (1, 3, networks.JOINTS, 2),
            "confidence": (1, 3, networks.JOINTS),
            "points3d": (1, networks.JOINTS, 3),
            "residual_px": (1, 3, networks.JOINTS),
        }

    def test_an_unknown_name_lists_those_that_exist(self, made):
        with pytest.raises(ConfigError, match="there is no runtime vulkan") as caught:
            runtimes.create(made[0], "vulkan")
        assert "auto, onnx" in caught.value.remedy

    def test_entry_points_add_runtimes(self, made, monkeypatch):
        point = importlib.metadata.EntryPoint("mine", "engine.runtimes.onnx:OnnxRuntime", runtimes.GROUP)
        monkeypatch.setattr(runtimes, "entry_points", lambda group: [point] if group == runtimes.GROUP else [])
        assert runtimes.names() == (*runtimes.BUILT_IN, "mine")
        assert isinstance(runtimes.create(made[0], "mine", threads=1), OnnxRuntime)

    def test_auto_goes_on_where_one_is_missing_and_a_name_does_not(self, made, monkeypatch):
        def missing(graph, **options):
            raise MissingError("runtime absent", "is not here", "install it")

        monkeypatch.setitem(runtimes.BUILT_IN, "absent", f"{__name__}:none")
        factory = runtimes._factory
        monkeypatch.setattr(runtimes, "_factory", lambda name: missing if name == "absent" else factory(name))
        monkeypatch.setattr(runtimes, "AUTO", ("absent", "onnx"))
        assert runtimes.create(made[0], threads=1).name == "onnx"
        with pytest.raises(MissingError, match="is not here"):
            runtimes.create(made[0], "absent")
        monkeypatch.setattr(runtimes, "AUTO", ("absent",))
        with pytest.raises(MissingError, match="is not here"):
            runtimes.create(made[0])

    def test_auto_says_which_it_takes_and_why_not_the_others(self, made, caplog, monkeypatch):
        monkeypatch.setattr(runtimes, "AUTO", ("tensorrt", "torch", "onnx"))
        here = {
            "tensorrt": Capability("tensorrt", False, "cuda", "no NVIDIA driver"),
            "torch": Capability("torch", True, "cpu", "torch on the CPU", suggested=False),
            "onnx": Capability("onnx", True, "cpu", "ONNX Runtime"),
        }
        monkeypatch.setattr(runtimes, "capability", here.get)
        with caplog.at_level("INFO", "engine.runtimes"):
            runtimes.create(made[0], threads=1)
        (said,) = caplog.messages
        assert said == (
            "runtime onnx on cpu, the best that is here; not tensorrt: no NVIDIA driver; "
            "not torch: torch on the CPU; it has to be named"
        )

    def test_a_precision_that_a_runtime_does_not_know_is_refused_before_it_is_loaded(self):
        with pytest.raises(ConfigError, match="runtime onnx: does not compute in fp16") as caught:
            runtimes.check_name("onnx", precision="fp16")
        assert caught.value.remedy == "it computes in fp32, int8"

    def test_auto_takes_none_that_cannot_compute_as_asked(self, made, monkeypatch):
        monkeypatch.setattr(runtimes, "AUTO", ("onnx",))
        with pytest.raises(MissingError, match="onnx: it does not compute in bf16"):
            runtimes.create(made[0], precision="bf16")

    def test_tensorrt_without_a_gpu_is_one_line_and_code_3(self, made, monkeypatch):
        absent = Capability("tensorrt", False, "cuda", "no NVIDIA driver", "a machine with a GPU has it")
        with monkeypatch.context() as patch:
            patch.setattr(runtimes, "capability", {"tensorrt": absent}.get)
            with pytest.raises(MissingError, match="runtime tensorrt: cannot be used here: no NVIDIA driver") as caught:
                runtimes.create(made[0], "tensorrt")
        assert caught.value.exit_code == 3
        if not driver().gpus:
            with pytest.raises(MissingError, match=driver().problem):
                runtimes.create(made[0], "tensorrt")


class TestOnnxRuntime:
    def test_threads_and_order_do_not_change_the_answer(self, made):
        graph, inputs = made
        answers = [
            OnnxRuntime(graph, threads=threads, parallel=parallel).run(inputs)
            for threads, parallel in ((1, False), (2, False), (2, True))
        ]
        for other in answers[1:]:
            for name in OUTPUTS:
                np.testing.assert_array_equal(answers[0][name], other[name])

    def test_uses_all_threads_by_default(self, made):
        assert OnnxRuntime(made[0]).threads == available_threads() >= 1

    def test_answers_do_not_share_memory_with_later_ones(self, made):
        graph, inputs = made
        runtime = OnnxRuntime(graph, threads=1)
        first = runtime.run(inputs)
        kept = {name: value.copy() for name, value in first.items()}
        runtime.run(inputs | {"crops": 255 - inputs["crops"]})
        for name in OUTPUTS:
            np.testing.assert_array_equal(first[name], kept[name])

    def test_warms_up_without_a_rig(self, made):
        OnnxRuntime(made[0], threads=1).warmup()

    def test_a_missing_input_is_named(self, made):
        graph, inputs = made
        runtime = OnnxRuntime(graph, threads=1)
        with pytest.raises(RigposeError, match="graph input dist: is missing"):
            runtime.run({name: value for name, value in inputs.items() if name != "dist"})

    @pytest.mark.parametrize(
        "name, change, said",
        [
            ("K", lambda a: a[:2], r"has shape \[2, 3, 3\]"),
            ("crops", lambda a: a[:, :, :-1], r"has shape \[1, 3, 63, 48, 3\]"),
            ("crops", lambda a: a.astype(np.float32), r"has shape .* and dtype float32"),
            ("Rt", lambda a: a.astype(np.float64), r"has shape .* and dtype float64"),
            ("world", lambda a: a[None], r"has shape \[1, 4\]"),
        ],
    )
    def test_an_input_that_does_not_fit_is_named(self, made, name, change, said):
        graph, inputs = made
        with pytest.raises(RigposeError, match=f"graph input {name}: {said}") as caught:
            OnnxRuntime(graph, threads=1).run(inputs | {name: change(inputs[name])})
        assert "the graph takes [" in caught.value.remedy

    def test_a_graph_that_cannot_be_loaded_is_one_line(self, made):
        with pytest.raises(ConfigError, match="ONNX Runtime .* cannot load its graph") as caught:
            OnnxRuntime(replace(made[0], proto_bytes=made[0].proto_bytes[:2000]))
        assert "\n" not in str(caught.value)

    def test_a_network_that_fails_while_it_runs_is_one_line(self, tmp_path):
        # It says that its batch is free, and is not.
        located = networks.model(tmp_path, "keypoints", batch="N", tail=True)
        rig, crops, affine = scene(located, 3)
        with pytest.raises(RigposeError, match="ONNX Runtime") as caught:
            runtimes.create(compose(located, 3), threads=1).run(reference.feeds(rig, crops, affine))
        assert "\n" not in str(caught.value)
