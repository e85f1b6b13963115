"""What is here, what is missing and how to get it; asking never ends the process."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

from engine.gpu.driver import Driver, Gpu
from engine.runtimes import capabilities as module
from engine.runtimes.capabilities import capabilities, capability, probe_tensorrt

H200 = Gpu("NVIDIA H200", 150 * 2**30, (9, 0))


@pytest.fixture(autouse=True)
def fresh():
    capability.cache_clear()
    yield
    capability.cache_clear()


def pretend(monkeypatch, gpus=(), problem="no NVIDIA driver", versions=None):
    monkeypatch.setattr(module, "driver", lambda: Driver("13.0" if gpus else None, gpus, "" if gpus else problem))
    if versions is not None:
        monkeypatch.setattr(module, "_version", lambda distribution, name: versions.get(name))


def test_what_is_missing_says_how_to_get_it(monkeypatch):
    pretend(monkeypatch, versions={})
    for found in capabilities():
        assert not found.present
        assert found.detail and found.remedy
    assert capability("tensorrt").detail == "no NVIDIA driver"


def test_nothing_heavy_is_loaded_to_ask():
    code = "import sys; from engine.runtimes.capabilities import capabilities as c; c(); print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(answer.stdout.split()) & {"torch", "tensorrt", "openvino", "onnxruntime", "pycuda"}


def test_torch_is_for_the_gpu_and_suggested_only_there(monkeypatch):
    pretend(monkeypatch, versions={"torch": "2.13.0"})
    assert (capability("torch").present, capability("torch").suggested) == (True, False)
    capability.cache_clear()
    pretend(monkeypatch, gpus=(H200,), versions={"torch": "2.13.0"})
    assert (capability("torch").device, capability("torch").suggested) == ("cuda", True)
    capability.cache_clear()
    pretend(monkeypatch, gpus=(H200,), versions={"torch": "2.13.0+cpu"})
    assert (capability("torch").device, capability("torch").suggested) == ("cpu", False)


def test_tensorrt_needs_a_gpu_then_itself_then_torch_then_to_work(monkeypatch):
    said = []
    for gpus, versions, trial in [
        ((), {"tensorrt": "11.4", "torch": "2.13.0"}, ("", "")),
        ((H200,), {"torch": "2.13.0"}, ("", "")),
        ((H200,), {"tensorrt": "11.4"}, ("", "")),
        ((H200,), {"tensorrt": "11.4", "torch": "2.13.0"}, ("TensorRT ended the process", "")),
        ((H200,), {"tensorrt": "11.4", "torch": "2.13.0"}, ("", "11.4.0.106")),
    ]:
        capability.cache_clear()
        pretend(monkeypatch, gpus=gpus, versions=versions)
        monkeypatch.setattr(module, "probe_tensorrt", lambda trial=trial: trial)
        said.append((capability("tensorrt").present, capability("tensorrt").detail))
    assert [present for present, _ in said] == [False, False, False, False, True]
    assert [text.split(":")[0] for _, text in said] == [
        "no NVIDIA driver", "tensorrt is not installed", "it needs torch for its memory and streams",
        "TensorRT ended the process", "TensorRT 11.4.0.106",
    ]  # fmt: skip


@pytest.mark.process
def test_a_process_that_dies_of_tensorrt_is_told_by_its_code(monkeypatch):
    monkeypatch.setattr(module.sys, "executable", "/bin/false")
    assert probe_tensorrt() == ("TensorRT ended the process that tried it (code 1)", "")
    monkeypatch.setattr(module.sys, "executable", "/no/such/python")
    assert probe_tensorrt()[0].startswith("no process could be started")


@pytest.mark.process
def test_without_a_gpu_the_trial_says_so_and_imports_no_tensorrt():
    problem, version = probe_tensorrt()
    if not problem:
        pytest.skip(f"here is TensorRT {version}")
    assert "GPU" in problem or "tensorrt" in problem


def test_versions_are_those_that_are_installed():
    assert importlib.metadata.version("onnxruntime") in capability("onnx").detail
