"""Pictures on the device from the moment they are received.

A frame set is complete when its last picture has come; until then the others can be under way to the device. Each
buffer that pictures are received into (`capture.buffers`) has a twin there: the receiving thread begins its upload as
soon as a picture is whole; what is still under way when the set is solved is waited for by the device alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.gpu.device import Device

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Twin:
    """A picture on the device.

    Attributes:
        pixels: Of the picture's shape.
        uploaded: An event of CUDA behind its upload; ``None`` = it is there.
    """

    pixels: Tensor
    uploaded: Any


class Twins:
    """The twins of a pool's buffers.

    One thread uploads, another asks. A buffer is written again only when nothing holds its last picture, so that a twin
    that is asked for by a picture is that picture's.

    Args:
        helper: The device.
        device: The same, as torch names it.
        context: Makes the device's context current in a thread (`engine.gpu.pycuda.primary`).
    """

    def __init__(
        self, helper: Device, device: torch.device, context: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        self._helper, self._device, self._context = helper, device, context
        self._memory: dict[int, Tensor] = {}
        self._twins: dict[int, Twin] = {}
        self._given_up = False

    def upload(self, picture: np.ndarray) -> None:
        """Begin to copy a picture that lies in a buffer; nothing waits.

        Where the device has no room for it, it is copied when it is needed, as others are.
        """
        where = picture.ctypes.data
        self._twins.pop(where, None)
        if self._given_up:
            return
        try:
            with self._context():
                self._twins[where] = self._begun(picture, where)
        except Exception as error:  # noqa: BLE001 - of torch or PyCUDA; the receiving thread goes on in any case
            self._given_up = True
            log.warning("pictures are copied to the GPU when their set is complete (%s)", error)

    def _begun(self, picture: np.ndarray, where: int) -> Twin:
        copies = self._helper.copies
        if copies is None:
            pixels = self._memory_of(picture, where)
            self._helper.upload(pixels, picture)
            return Twin(pixels, None)
        # Memory of that stream: another's could still be in use by what was enqueued there.
        with torch.cuda.stream(copies):
            pixels = self._memory_of(picture, where)
            self._helper.upload(pixels, picture)
            uploaded = torch.cuda.Event()
            uploaded.record(copies)
        return Twin(pixels, uploaded)

    def _memory_of(self, picture: np.ndarray, where: int) -> Tensor:
        memory = self._memory.get(where)
        if memory is None or memory.numel() < picture.nbytes:
            memory = self._memory[where] = torch.empty(picture.nbytes, dtype=torch.uint8, device=self._device)
        return memory[: picture.nbytes].view(picture.shape)

    def of(self, picture: np.ndarray) -> Twin | None:
        """Where a picture lies on the device; ``None`` = nowhere yet."""
        twin = self._twins.get(picture.ctypes.data)
        return twin if twin is not None and twin.pixels.shape == picture.shape else None
