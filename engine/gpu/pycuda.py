"""PyCUDA in torch's context: page-locked memory, a stream that all share, and the preprocessing kernel.

There is one context a process, the primary one, which torch makes; PyCUDA's ``autoinit`` would make a second, in which
no handle of the first means anything. A context is current in a thread, so that each thread that calls something here
enters `primary`.

PyCUDA frees a thing only where its context is current, and its contexts are the same only if they are one object: there
is one for all threads. It is let go by ``detach``; its destructor would call another function of the driver, which
is not for primary contexts, and leave the context on the thread's stack.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.gpu.driver import driver
from engine.gpu.kernel import BLOCK, NAME, cubin
from rigpose.errors import MissingError, RigposeError
from rigpose.extras import missing

_NON_BLOCKING = 1
"""``CU_STREAM_NON_BLOCKING``, as torch's streams are: a stream that is captured may else not meet the default one."""


def load_driver() -> Any:
    """``pycuda.driver``, imported after the driver was asked.

    Raises:
        MissingError: There is no GPU, or PyCUDA is not installed or does not load.
    """
    if not driver().gpus:
        raise MissingError("PyCUDA", f"needs an NVIDIA GPU: {driver().problem}")
    try:
        import pycuda.driver as cuda
    except ModuleNotFoundError:
        raise missing("pycuda") or MissingError("PyCUDA", "is not installed") from None
    except (ImportError, OSError) as error:
        raise MissingError("PyCUDA", f"does not load: {error}", "install it again for this CUDA") from None
    return cuda


_contexts: dict[int, Any] = {}
_making = threading.RLock()  # memory can be freed, in `primary`, at any allocation


def _context(cuda: Any, index: int) -> Any:
    with _making:
        if index not in _contexts:
            cuda.init()
            _contexts[index] = cuda.Device(index).retain_primary_context()
        return _contexts[index]


@atexit.register
def _leave() -> None:
    while _contexts:
        _contexts.popitem()[1].detach()


@contextmanager
def primary(index: int = 0) -> Iterator[Any]:
    """Torch's context, current in this thread; gives ``pycuda.driver``."""
    torch.cuda.init()
    cuda = load_driver()
    context = _context(cuda, index)
    context.push()
    try:
        yield cuda
    finally:
        context.pop()


def _free(memory: Any, index: int) -> None:
    with primary(index):
        memory.free()


class PyCuda:
    """What the engine asks of PyCUDA; all calls are made inside of `primary`.

    Args:
        cuda: ``pycuda.driver``.
        index: Of the GPU.

    Raises:
        RigposeError: The kernel cannot be compiled or loaded.
    """

    def __init__(self, cuda: Any, index: int = 0) -> None:
        self._cuda, self._index = cuda, index
        self._handle, self._copy_handle = cuda.Stream(_NON_BLOCKING), cuda.Stream(_NON_BLOCKING)
        device = torch.device("cuda", index)
        self.stream = torch.cuda.ExternalStream(self._handle.handle, device=device)
        self.copies = torch.cuda.ExternalStream(self._copy_handle.handle, device=device)
        try:
            self._module = cuda.module_from_buffer(cubin(driver().gpus[index].arch))
            self._kernel = self._module.get_function(NAME)
        except Exception as error:
            if isinstance(error, RigposeError):
                raise
            raise RigposeError("the preprocessing kernel", f"does not load: {error}", "update the driver") from None

    def allocate(self, count: int) -> np.ndarray:
        """So many bytes of page-locked host memory; the CPU reads them too, so that they are cached.

        The last array on it may go in any thread: PyCUDA alone would then keep the memory and warn.
        """
        memory: np.ndarray = self._cuda.pagelocked_empty(count, np.uint8)
        weakref.finalize(memory, _free, memory.base, self._index).atexit = False
        return memory

    def upload(self, target: Tensor, source: np.ndarray) -> None:
        """Copy page-locked memory to the device, on the stream of copies; nothing waits."""
        self._cuda.memcpy_htod_async(target.data_ptr(), source, self._copy_handle)

    def crop(self, views: Tensor, norm: np.ndarray, planes: Tensor) -> None:
        """Launch the kernel on the shared stream, which must be torch's current one and may be capturing.

        Args:
            views: (V * 56,) bytes of `engine.gpu.crops.VIEW`, on the device.
            norm: One `engine.gpu.crops.NORM`; it is passed by value.
            planes: (V, C, h, w) float32, which is written.
        """
        count, _, height, width = planes.shape
        assert planes.is_contiguous() and planes.dtype == torch.float32
        grid = (-(-width // BLOCK[0]), -(-height // BLOCK[1]), count)
        current = torch.cuda.current_stream(planes.device)
        if current.cuda_stream != self._handle.handle:
            raise RigposeError("the preprocessing kernel", "is launched on a foreign stream", "report it")
        self._kernel(
            np.uint64(views.data_ptr()), norm[0], np.int32(height), np.int32(width), np.uint64(planes.data_ptr()),
            block=BLOCK, grid=grid, stream=self._handle,
        )  # fmt: skip
