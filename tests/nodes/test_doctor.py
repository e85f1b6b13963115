"""Doctor tells what is there, what is not, and the exact line that gets it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.runtimes import capabilities
from engine.runtimes.capabilities import Capability
from nodes import doctor as doctor_module
from nodes.doctor import Part, core_parts, doctor, examine, extra_parts, run_probe, runtime_parts, system_parts
from nodes.probe import CORE_MODULES, LIBRARIES, probe, problem_of_import
from rigpose.extras import EXTRAS

NOTHING_FOUND: dict[str, Any] = {"modules": {}, "libraries": {}, "cuda": {}}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return run_probe()


def named(parts: list[Part], name: str) -> Part:
    (part,) = (part for part in parts if part.name == name)
    return part


class TestProbe:
    def test_every_core_module_loads_here(self, found: dict[str, Any]) -> None:
        assert found["modules"] == dict.fromkeys(CORE_MODULES.values(), "")

    def test_imports_nothing_that_could_take_the_process_down(self) -> None:
        code = "import sys, nodes.probe\nnodes.probe.probe()\nprint(*sys.modules)"
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert not set(answer.stdout.split()) & {"tensorrt", "pycuda", "open3d", "torch"}

    def test_says_why_a_module_does_not_load(self) -> None:
        assert problem_of_import("no_such_module").startswith("ModuleNotFoundError: ")
        assert problem_of_import("json") == ""

    def test_says_why_there_is_no_gpu_or_names_it(self) -> None:
        answer = probe()["cuda"]
        assert bool(answer["devices"]) != bool(answer["problem"])


class TestCore:
    def test_names_each_core_dependency_with_its_version(self, found: dict[str, Any]) -> None:
        import numpy

        parts = list(core_parts(found))
        assert set(CORE_MODULES) <= {part.name for part in parts}
        assert named(parts, "numpy") == Part("core", "numpy", "ok", numpy.__version__)

    def test_a_dependency_that_is_gone_has_its_pip_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(doctor_module.CORE_MODULES, "no-such-distribution", "no_such_module")
        part = named(list(core_parts(NOTHING_FOUND)), "no-such-distribution")
        assert (part.state, part.remedy) == ("missing", 'pip install "no-such-distribution"')

    def test_a_dependency_that_is_too_old_says_what_it_needs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor_module, "_oldest", lambda name: "99.1" if name == "numpy" else None)
        part = named(list(core_parts(NOTHING_FOUND)), "numpy")
        assert part.state == "missing" and part.remedy == 'pip install "numpy>=99.1"'

    def test_a_missing_system_library_becomes_the_apt_line(self) -> None:
        problem = "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"
        part = named(list(core_parts({**NOTHING_FOUND, "modules": {"cv2": problem}})), "opencv-python")
        assert part.state == "missing" and part.remedy == "sudo apt-get install libgl1"


class TestExtras:
    def test_each_extra_is_there_or_has_its_pip_line(self) -> None:
        parts = list(extra_parts())
        assert [part.name for part in parts] == [extra.name for extra in EXTRAS]
        for part in parts:
            line = f'pip install "rigpose[{part.name}]"'
            assert (part.state, part.remedy) in (("ok", ""), ("absent", line))

    def test_what_is_missing_of_an_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor_module, "is_there", lambda module: module != "onnxscript")
        part = named(list(extra_parts()), "train")
        assert part.state == "absent" and "no onnxscript (has torch" in part.detail


class TestSystem:
    def test_a_library_that_is_not_found_has_its_apt_line(self) -> None:
        found = {**NOTHING_FOUND, "libraries": dict.fromkeys(LIBRARIES, False)}
        part = named(list(system_parts(found)), "libusb-1.0.so.0")
        assert (part.state, part.remedy) == ("absent", "sudo apt-get install libusb-1.0-0")

    def test_a_gpu_is_named_with_its_memory(self) -> None:
        device = {"name": "Some GPU", "memory_bytes": 16 * 2**30}
        found = {**NOTHING_FOUND, "cuda": {"driver": "13.0", "devices": [device], "problem": ""}}
        part = named(list(system_parts(found)), "NVIDIA GPU")
        assert (part.state, part.detail) == ("ok", "Some GPU, 16 GiB; driver for CUDA 13.0")

    @pytest.mark.skipif(sys.platform != "linux", reason="displays are named so on Linux")
    def test_without_a_display_says_what_still_works(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("DISPLAY", raising=False)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        assert "off screen" in named(list(system_parts(NOTHING_FOUND)), "display").detail


class TestMachine:
    def test_a_run_directory_that_cannot_be_written_is_missing(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("RIGPOSE_RUN", str(tmp_path / "file" / "run"))
        part = named(list(doctor_module.machine_parts()), "run directory")
        assert part.state == "missing" and "RIGPOSE_RUN" in part.remedy


class TestDoctor:
    def test_answers_0_when_nothing_of_the_core_is_missing(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        whole = [dataclasses.replace(part, state="ok") if part.state == "missing" else part for part in examine()]
        monkeypatch.setattr(doctor_module, "examine", lambda: whole)
        assert doctor() == 0
        shown = capsys.readouterr().out
        assert "The core works." in shown and "numpy" in shown and "Machine" in shown

    def test_answers_3_and_names_what_is_missing(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(doctor_module, "examine", lambda: [Part("core", "numpy", "missing", "gone [x]", "get it")])
        assert doctor() == 3
        shown = capsys.readouterr().out
        assert "does not work: numpy" in shown and "gone [x]" in shown and "-> get it" in shown

    def test_json_holds_the_same_parts(self, capsys: pytest.CaptureFixture[str]) -> None:
        code = doctor(as_json=True)
        answer = json.loads(capsys.readouterr().out)
        assert answer["schema"] == 1 and answer["ok"] == (code == 0)
        assert {part["group"] for part in answer["parts"]} == {"core", "extras", "runtimes", "system", "machine"}
        assert all(set(part) == {"group", "name", "state", "detail", "remedy"} for part in answer["parts"])


class TestRuntimes:
    def test_each_runtime_is_there_or_says_how_to_get_it(self) -> None:
        parts = list(runtime_parts())
        assert [part.name for part in parts][:4] == ["onnx", "openvino", "torch", "tensorrt"]
        assert named(parts, "onnx").state == "ok" and "fp32, int8" in named(parts, "onnx").detail
        assert all(part.remedy for part in parts if part.state == "absent")

    def test_without_a_driver_tensorrt_is_not_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        absent = Capability("tensorrt", False, "cuda", "no NVIDIA driver", "a machine with a GPU has it")
        monkeypatch.setattr(capabilities, "capabilities", lambda: (absent,))
        assert list(runtime_parts()) == [Part("runtimes", "tensorrt", "absent", absent.detail, absent.remedy)]

    def test_where_there_is_a_gpu_its_compiler_is_looked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        here = Capability("torch", True, "cuda", "torch 2.13.0, one CUDA graph", precisions=("fp32", "fp16"))
        monkeypatch.setattr(capabilities, "capabilities", lambda: (here,))
        monkeypatch.setattr("engine.gpu.kernel.find_nvcc", lambda: None)
        torch, nvcc = runtime_parts()
        assert torch.detail == "torch 2.13.0, one CUDA graph; fp32, fp16"
        assert (nvcc.name, nvcc.state, nvcc.remedy) == ("nvcc", "note", "install the CUDA toolkit")
