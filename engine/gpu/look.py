"""A runtime's eyes on a GPU: whole pictures instead of crops, so that the CPU cuts, converts and copies nothing else.

`engine.pipeline` gives a runtime that has a ``look`` the pictures as they came; where it answers None, crops are cut on
the CPU as ever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import onnx
import torch

from capture.buffers import BufferPool
from engine.crop import Crop
from engine.gpu.device import Device, TorchDevice
from engine.gpu.frames import FrameGraph, Network
from engine.gpu.twins import Twin, Twins
from engine.graph import Graph
from rigpose.errors import RigposeError

log = logging.getLogger(__name__)

FORMATS = ("BGR8", "Mono8", "NV12")
"""What the kernel reads as it comes off a camera."""


class Look:
    """From pictures to the outputs of a graph.

    Args:
        graph: What is answered.
        device: Where.
        proto: The graph as it shall be computed, else ``graph``'s.
        network: Makes what runs between the cuts, else torch does.
        pool: Where pictures are received into; by default page-locked memory on a GPU, and none on a CPU.

    Attributes:
        pool: Pictures that lie in it are copied to the device from there, as soon as they are received
            (`engine.gpu.twins`); others are copied into page-locked memory first.
    """

    def __init__(
        self,
        graph: Graph,
        device: torch.device,
        *,
        proto: onnx.ModelProto | None = None,
        network: Callable[[], Network] | None = None,
        pool: BufferPool | None = None,
    ) -> None:
        self._graph, self._device, self._proto, self._network = graph, device, proto, network
        self._shapes: list[tuple[int, ...] | None] = [None] * graph.n_views
        self._nv12: set[int] = set()
        self._frames: FrameGraph | None = None
        self._given_up = False
        self._border = -1
        self._primary: Callable[[], AbstractContextManager[Any]] = nullcontext
        self._helper: Device = self._pycuda() or TorchDevice(device)
        if pool is None and device.type == "cuda":
            pool = BufferPool(self._allocate, formats=FORMATS)
        self.pool, self._twins = pool, Twins(self._helper, device, self._primary)
        if pool is not None:
            pool.written = self._received

    def _received(self, picture: np.ndarray) -> None:
        """Take notice of a picture in the pool; called by the thread that receives."""
        if not self._given_up:
            self._twins.upload(picture)

    def __call__(
        self,
        images: Sequence[np.ndarray | None],
        crops: Sequence[Crop | None],
        border: int,
        given: Mapping[str, np.ndarray],
        nv12: Collection[int] = (),
    ) -> tuple[dict[str, np.ndarray], np.ndarray] | None:
        """The graph's outputs and the crop-to-image matrices (V, 2, 3).

        Args:
            images: uint8 of each view: (H, W) mono, (H, W, 3) BGR, (3 H / 2, W) NV12; ``None`` = the camera is absent.
            crops: Where to look.
            border: What stands outside of pictures, as OpenCV names it.
            given: The graph's other inputs about the cameras.
            nv12: Views whose images are NV12.

        Returns:
            ``None`` where crops have to be cut by the CPU: a camera has not sent a picture yet, or the network takes no
            float planes.
        """
        shapes = [last if image is None else image.shape for last, image in zip(self._shapes, images, strict=True)]
        kinds = {view for view, image in enumerate(images) if view in (self._nv12 if image is None else nv12)}
        if self._given_up or any(shape is None for shape in shapes):
            self._shapes, self._nv12 = shapes, kinds
            return None
        with self._primary():
            if self._frames is None or (shapes, kinds, border) != (self._shapes, self._nv12, self._border):
                self._shapes, self._nv12, self._border = shapes, kinds, border
                if not self._make([shape for shape in shapes if shape is not None]):
                    return None
            return self._answer(images, crops, given)

    def _make(self, shapes: list[tuple[int, ...]]) -> bool:
        network = None if self._network is None else self._network()
        try:
            self._frames = FrameGraph(
                self._graph, shapes, self._device, proto=self._proto, network=network, helper=self._helper,
                border=self._border, nv12=self._nv12,
            )  # fmt: skip
        except RigposeError as error:
            log.info("crops are cut on the CPU: %s", error)
            self._given_up, self.pool = True, None
            return False
        return True

    def _pycuda(self) -> Device | None:
        if self._device.type != "cuda":
            return None
        from engine.gpu.pycuda import PyCuda, primary

        index = self._device.index or 0
        try:
            with primary(index) as cuda:
                helper = PyCuda(cuda, index)
        except RigposeError as error:
            log.info("torch makes the crops on the GPU: %s", error)
            return None
        self._primary = lambda: primary(index)
        return helper

    def _allocate(self, count: int) -> np.ndarray:
        with self._primary():
            return self._helper.allocate(count)

    def _answer(
        self, images: Sequence[np.ndarray | None], crops: Sequence[Crop | None], given: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], np.ndarray] | None:
        assert self._frames is not None
        there = [crop if image is not None else None for image, crop in zip(images, crops, strict=True)]
        pictures: list[np.ndarray | None] = []
        twins: list[Twin | None] = []
        slot = None
        for view, (image, crop) in enumerate(zip(images, there, strict=True)):
            twin = None
            if image is not None and crop is not None:
                if self.pool is not None and self.pool.holds(image):
                    twin = self._twins.of(image)
                else:
                    slot = slot or self._frames.slot()
                    if slot is None:
                        return None
                    slot.views[view][...] = image
                    image = slot.views[view]
            pictures.append(image)
            twins.append(twin)
        matrices = self._frames.start(pictures, there, given, slot, twins)
        return self._frames.finish(), matrices
