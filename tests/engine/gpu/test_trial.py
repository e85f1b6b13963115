"""What could end the process is tried in another one."""

from __future__ import annotations

import json

import pytest

from engine.gpu import trial as module
from engine.gpu import trt_api
from engine.gpu.driver import Driver, Gpu
from engine.gpu.trial import problem_of_plan, trial
from engine.gpu.trt_api import load_tensorrt
from rigpose.errors import MissingError
from tests.engine.gpu.fake_trt import FakeTrt
from tests.engine.gpu.test_builder import build, network

H200 = Driver("13.0", (Gpu("NVIDIA H200", 150 * 2**30, (9, 0)),), "")


def test_a_hollow_runtime_is_not_used():
    # Using it would be the end: the fake ends the process as the real one does.
    said = trial(FakeTrt("runtime"), b"plan")
    assert said.startswith("TensorRT does not start: createInferRuntime: CUDA initialization failure")


def test_a_plan_is_read_and_given_a_context():
    plan = build(FakeTrt(), network(), "m")
    assert trial(FakeTrt(), plan) == ""
    assert trial(FakeTrt(), None) == ""
    assert trial(FakeTrt(), b"rubbish").startswith("TensorRT 11.4.0.106 does not read it: Error Code 1")
    assert trial(FakeTrt("context"), plan) == "there is no context for it: it says no more"


@pytest.mark.process
def test_a_child_that_dies_is_told_by_its_code(tmp_path, monkeypatch):
    monkeypatch.setattr(module.sys, "executable", "/bin/false")
    assert problem_of_plan(tmp_path / "x.plan") == "reading it ended the process that tried (code 1)"


def test_the_child_prints_one_object(capsys, monkeypatch):
    monkeypatch.setattr(module, "load_tensorrt", lambda: FakeTrt())
    module.main([])
    assert json.loads(capsys.readouterr().out) == {"version": "11.4.0.106", "problem": ""}
    module.main(["/no/such/file.plan"])
    assert "No such file" in json.loads(capsys.readouterr().out)["problem"]


class TestLoading:
    def test_the_driver_is_asked_before_anything_is_imported(self, monkeypatch):
        monkeypatch.setattr(trt_api, "driver", lambda: Driver(None, (), "no NVIDIA driver"))
        monkeypatch.setattr(trt_api.importlib, "import_module", lambda name: pytest.fail("was imported"))
        with pytest.raises(MissingError, match="needs an NVIDIA GPU: no NVIDIA driver") as caught:
            load_tensorrt()
        assert caught.value.exit_code == 3

    @pytest.mark.parametrize(
        "error, said",
        [
            (ModuleNotFoundError("tensorrt"), "tensorrt is not installed"),
            (ImportError("libnvinfer.so.11: cannot open shared object file"), "does not load: libnvinfer.so.11"),
            (OSError("libcudart"), "does not load: libcudart"),
        ],
    )
    def test_what_does_not_load_is_a_sentence(self, monkeypatch, error, said):
        def fails(name):
            raise error

        monkeypatch.setattr(trt_api, "driver", lambda: H200)
        monkeypatch.setattr(trt_api.importlib, "import_module", fails)
        with pytest.raises(MissingError, match=said):
            load_tensorrt()

    @pytest.mark.parametrize(
        "version, fits", [("10.14.1", False), ("10.15.1", True), ("11.4.0", True), ("12.0", False)]
    )
    def test_versions_that_are_not_known_are_refused(self, monkeypatch, version, fits):
        monkeypatch.setattr(trt_api, "driver", lambda: H200)
        monkeypatch.setattr(trt_api.importlib, "import_module", lambda name: FakeTrt(version=version))
        if fits:
            assert load_tensorrt().__version__ == version
        else:
            with pytest.raises(MissingError, match=f"is TensorRT {version}"):
                load_tensorrt()
