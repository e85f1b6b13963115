"""The kernel compiles for the GPUs that matter, is kept, and is compiled again when something changed."""

from __future__ import annotations

import importlib.resources

import pytest

from engine.gpu import kernel
from engine.gpu.kernel import compile_cubin, cubin, find_nvcc
from rigpose.errors import MissingError, RigposeError


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel, "state_folder", lambda: tmp_path)
    return tmp_path


@pytest.mark.hardware
@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm_80", "sm_89", "sm_90", "sm_120"])
def test_nvcc_compiles_it(arch):
    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip("there is no nvcc")
    data = compile_cubin(arch, nvcc)
    assert data.startswith(b"\x7fELF") and b"rigpose_crop" in data


def test_its_sources_are_package_data():
    assert set(kernel.sources()) == {"crop.h", "crop.cu"}
    assert importlib.resources.files("engine").joinpath("gpu", "kernels", "crop_host.cpp").is_file()


def fake_nvcc(folder, body):
    """A compiler of the given name and temper."""
    script = folder / "nvcc"
    script.write_text('#!/bin/sh\nif [ "$1" = --version ]; then echo V13.0; exit 0; fi\n' + body)
    script.chmod(0o755)
    return script


WRITES = 'while [ "$1" != -o ]; do shift; done\nprintf "cubin for $2" | sed s,/.*,, > "$2"\n'


def test_it_is_compiled_once_an_architecture_and_source(tmp_path, monkeypatch):
    nvcc = fake_nvcc(tmp_path, f"echo x >> {tmp_path / 'calls'}\n{WRITES}")
    monkeypatch.setattr(kernel, "find_nvcc", lambda: nvcc)
    assert cubin("sm_90") == cubin("sm_90") != b""
    assert (tmp_path / "calls").read_text() == "x\n"
    cubin("sm_80")
    assert (tmp_path / "calls").read_text() == "x\nx\n"
    monkeypatch.setattr(kernel, "sources", lambda: {"crop.h": "changed", "crop.cu": ""})
    cubin("sm_90")
    assert (tmp_path / "calls").read_text() == "x\nx\nx\n"


def test_without_a_compiler_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(kernel, "find_nvcc", lambda: None)
    with pytest.raises(MissingError, match="needs nvcc once") as caught:
        cubin("sm_90")
    assert "CUDA" in caught.value.remedy


@pytest.mark.parametrize(
    "body, said", [("echo 'crop.cu(3): error: x' >&2; exit 2\n", "error: x"), ("exit 0\n", "code 0")]
)
def test_a_compiler_that_fails_is_quoted(tmp_path, body, said):
    with pytest.raises(RigposeError, match=f"fails for sm_90: .*{said}"):
        compile_cubin("sm_90", fake_nvcc(tmp_path, body))


def test_the_toolkit_that_is_named_comes_first(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    fake_nvcc(tmp_path / "bin", WRITES)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert find_nvcc() == tmp_path / "bin" / "nvcc"
