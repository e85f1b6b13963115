"""Where PyCUDA cannot be used, or is used wrongly, one line says so; what it is told is `test_pycuda_contract`'s."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from engine.gpu import pycuda as module  # noqa: E402
from engine.gpu.crops import NORM, VIEW  # noqa: E402
from engine.gpu.driver import Driver, Gpu, driver  # noqa: E402
from engine.gpu.pycuda import PyCuda, load_driver  # noqa: E402
from rigpose.errors import MissingError, RigposeError  # noqa: E402


class Cuda:
    """``pycuda.driver``, as far as errors need it; that calls are right is `test_pycuda_contract`'s."""

    def Stream(self, flags):
        return SimpleNamespace(handle=1234)

    def module_from_buffer(self, data):
        return SimpleNamespace(get_function=lambda name: None)


@pytest.fixture
def cuda(monkeypatch):
    """A machine with a GPU and PyCUDA."""
    fake = Cuda()
    monkeypatch.setattr(module, "driver", lambda: Driver("13.0", (Gpu("NVIDIA H200", 1, (9, 0)),), ""))
    monkeypatch.setattr(module, "cubin", lambda arch: f"cubin of {arch}".encode())
    monkeypatch.setitem(sys.modules, "pycuda", SimpleNamespace(driver=fake))
    monkeypatch.setitem(sys.modules, "pycuda.driver", fake)
    monkeypatch.setattr(torch.cuda, "ExternalStream", lambda handle, device: SimpleNamespace(cuda_stream=handle))
    return fake


def test_a_foreign_stream_is_refused(cuda, monkeypatch):
    helper = PyCuda(cuda)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=0))
    with pytest.raises(RigposeError, match="is launched on a foreign stream"):
        helper.crop(torch.zeros(VIEW.itemsize, dtype=torch.uint8), np.zeros(1, NORM), torch.zeros(1, 3, 8, 8))


def test_a_kernel_that_does_not_load_is_one_line(cuda, monkeypatch):
    def fails(data):
        raise ValueError("device kernel image is invalid")

    monkeypatch.setattr(cuda, "module_from_buffer", fails)
    with pytest.raises(RigposeError, match="does not load: device kernel image is invalid"):
        PyCuda(cuda)


def test_without_a_gpu_nothing_is_imported(monkeypatch):
    if driver().gpus:
        pytest.skip("here is a GPU")
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(MissingError, match="needs an NVIDIA GPU"):
        load_driver()


def test_without_pycuda_the_extra_is_named(cuda, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(MissingError, match="extra cuda"):
        load_driver()


def test_autoinit_is_used_nowhere(root):
    text = "\n".join(path.read_text() for folder in ("engine", "benchmarks") for path in (root / folder).rglob("*.py"))
    assert not re.search(r"import pycuda\.autoinit|pycuda import autoinit|autoprimaryctx", text)
