"""What a GPU is asked for beside torch: host memory that it reads quickly, uploads, streams and a kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

Kernel = Callable[[Tensor, np.ndarray, Tensor], None]
"""Takes the views' descriptions, `engine.gpu.crops.NORM`, and the planes that it writes."""


class Device(Protocol):
    """What a GPU is asked for beside torch: `engine.gpu.pycuda.PyCuda`, or torch itself where that is missing."""

    def allocate(self, count: int) -> np.ndarray:
        """Host memory that the device reads quickly."""
        ...

    def upload(self, target: Tensor, source: np.ndarray) -> None:
        """Copy to the device without waiting, on `copies`."""
        ...

    @property
    def stream(self) -> Any:
        """Where everything else happens; ``None`` on a CPU."""
        ...

    @property
    def copies(self) -> Any:
        """Where copies happen; ``None`` on a CPU."""
        ...

    @property
    def crop(self) -> Kernel | None:
        """The kernel of crops; ``None`` = torch makes them."""
        ...


class TorchDevice:
    """Torch alone.

    Args:
        device: Where the pictures go.
    """

    crop: Kernel | None = None

    def __init__(self, device: torch.device) -> None:
        self._pinned = device.type == "cuda"
        self.stream = torch.cuda.Stream(device) if self._pinned else None
        self.copies = torch.cuda.Stream(device) if self._pinned else None

    def allocate(self, count: int) -> np.ndarray:
        """See `Device`."""
        memory = torch.empty(count, dtype=torch.uint8, pin_memory=self._pinned).numpy()
        return memory

    def upload(self, target: Tensor, source: np.ndarray) -> None:
        """See `Device`."""
        if not source.flags.writeable:
            # torch takes only what it could write; it does not.
            whole = (ctypes.c_uint8 * source.nbytes).from_address(source.ctypes.data)
            source = np.ctypeslib.as_array(whole).reshape(source.shape)
        target.copy_(torch.from_numpy(source), non_blocking=self._pinned)
