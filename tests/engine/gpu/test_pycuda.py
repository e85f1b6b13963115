"""PyCUDA lives in torch's context and makes none; what it is told is what the kernel's arguments are."""

from __future__ import annotations

import re
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from engine.gpu import pycuda as module  # noqa: E402
from engine.gpu.crops import NORM, VIEW  # noqa: E402
from engine.gpu.driver import Driver, Gpu, driver  # noqa: E402
from engine.gpu.pycuda import PyCuda, load_driver, primary  # noqa: E402
from rigpose.errors import MissingError, RigposeError  # noqa: E402


class Locked:
    """What PyCUDA's page-locked arrays lie on."""

    def __init__(self, memory, calls):
        self._memory, self.__array_interface__ = memory, memory.__array_interface__
        self.free = lambda: calls.append("free")


class Cuda:
    """``pycuda.driver``, as far as it is used; tells what was called."""

    def __init__(self):
        self.calls = []

    def init(self):
        self.calls.append("init")

    def Device(self, index):
        self.calls.append("retain")
        context = SimpleNamespace(
            push=lambda: self.calls.append("push"), pop=lambda: self.calls.append("pop"), detach=lambda: None
        )
        return SimpleNamespace(retain_primary_context=lambda: context)

    def Stream(self, flags):
        assert flags == 1
        return SimpleNamespace(handle=1234)

    def module_from_buffer(self, data):
        assert data == b"cubin of sm_90"
        return SimpleNamespace(get_function=lambda name: self.launch)

    def launch(self, *arguments, **where):
        self.calls.append((arguments, where))

    def pagelocked_empty(self, count, dtype):
        return np.asarray(Locked(np.empty(count, dtype), self.calls))

    def memcpy_htod_async(self, target, source, stream):
        self.calls.append((target, source.nbytes, stream.handle))


@pytest.fixture
def cuda(monkeypatch):
    """A machine with a GPU and PyCUDA."""
    fake = Cuda()
    monkeypatch.setattr(module, "_contexts", {})
    monkeypatch.setattr(module, "driver", lambda: Driver("13.0", (Gpu("NVIDIA H200", 1, (9, 0)),), ""))
    monkeypatch.setattr(module, "cubin", lambda arch: f"cubin of {arch}".encode())
    monkeypatch.setitem(sys.modules, "pycuda", SimpleNamespace(driver=fake))
    monkeypatch.setitem(sys.modules, "pycuda.driver", fake)
    monkeypatch.setattr(torch.cuda, "init", lambda: fake.calls.append("torch"))
    monkeypatch.setattr(torch.cuda, "ExternalStream", lambda handle, device: SimpleNamespace(cuda_stream=handle))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=1234))
    return fake


def test_the_context_is_torch_s_and_is_left_whatever_happens(cuda):
    with pytest.raises(RuntimeError), primary() as given:
        assert given is cuda
        raise RuntimeError
    assert cuda.calls == ["torch", "init", "retain", "push", "pop"]


def test_there_is_one_context_for_all_threads(cuda):
    with primary(), primary():
        in_thread(lambda: primary().__enter__())
    assert cuda.calls.count("retain") == 1 and cuda.calls.count("push") == 3


def test_memory_is_freed_in_the_context_wherever_its_last_array_goes(cuda):
    arrays = [PyCuda(cuda).allocate(100)[:50].reshape(5, 10)]
    assert cuda.calls == []
    in_thread(arrays.clear)
    assert cuda.calls[-3:] == ["push", "free", "pop"]


def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_the_kernel_is_told_addresses_sizes_and_enough_blocks(cuda):
    helper = PyCuda(cuda)
    views, planes, norm = (
        torch.zeros(4 * VIEW.itemsize, dtype=torch.uint8),
        torch.zeros(4, 3, 65, 100),
        np.zeros(1, NORM),
    )
    helper.crop(views, norm, planes)
    ((arguments, where),) = cuda.calls
    assert arguments[0] == views.data_ptr() and arguments[4] == planes.data_ptr()
    assert arguments[1].dtype == NORM and (arguments[2], arguments[3]) == (65, 100)
    assert [type(a).__name__ for a in arguments] == ["uint64", "void", "int32", "int32", "uint64"]
    block, grid = where["block"], where["grid"]
    assert grid[2] == 4 and grid[0] * block[0] >= 100 and grid[1] * block[1] >= 65 and block[2] == 1


def test_uploads_are_of_the_slot_s_own_memory(cuda):
    helper = PyCuda(cuda)
    memory, target = helper.allocate(12), torch.zeros(12, dtype=torch.uint8)
    helper.upload(target, memory)
    assert cuda.calls == [(target.data_ptr(), 12, 1234)]


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
