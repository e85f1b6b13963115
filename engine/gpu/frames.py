"""From raw frames to poses in one graph: crop, network, decoding, undistortion, triangulation.

The pictures of a frame set are copied to the device as they came, out of the page-locked memory that they were received
into (`capture.buffers`), while others of the set are still to come (`engine.gpu.twins`); one launch makes the network's
input of them (`engine.gpu.crops`), which enters the graph at ``net_input``, so that its own part before that is not run
at all. All of it is captured once a rig and replayed; outputs land in page-locked memory, and only `FrameGraph.finish`
waits.

Two sets of device buffers take turns, each with a graph of its own, so that the next frame set is copied while this one
is computed.

On a CPU the same calls run one by one, which is how they are tested.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from torch import Tensor

from engine.crop import Crop
from engine.cut import parts
from engine.gpu.captured import Captured
from engine.gpu.crops import NORM, VIEW, TorchCrops, describe, matrices
from engine.gpu.device import Device, TorchDevice
from engine.gpu.ring import Ring, Slot
from engine.gpu.twins import Twin
from engine.graph import NET_INPUT, Graph
from engine.runtimes.feeds import Feeds
from engine.runtimes.torch import inputs_of
from engine.runtimes.torch_program import Program
from rigpose.errors import ConfigError

BUFFERS = 2
Network = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""From ``net_input`` to what passes behind the cut: a `Program`, or an `engine.gpu.execution.Execution`."""


@dataclass
class _Buffer:
    """One set of pictures on the device, and the graph that reads it."""

    pictures: list[Tensor]
    planes: Tensor
    ready: Captured
    held: Sequence[np.ndarray | None] = ()  # while they are read, nobody may write them
    uploaded: Any = None
    read: Any = None


class FrameGraph:
    """The whole way of a frame set.

    Args:
        graph: What to run.
        shapes: Of the arrays of each view's pictures: (H, W) mono, (H, W, 3) BGR, (3 H / 2, W) NV12.
        device: Where.
        proto: The graph as it shall be computed (`engine.lowered.lowered`), else ``graph``'s.
        network: Runs what stands between the cuts, else torch does.
        helper: A GPU's memory and uploads, else torch does that.
        border: What stands outside of pictures, as OpenCV names it.
        nv12: Views whose pictures are NV12.

    Raises:
        ConfigError: The graph cannot begin at ``net_input``, or its network takes no float planes.
    """

    def __init__(
        self,
        graph: Graph,
        shapes: Sequence[tuple[int, ...]],
        device: torch.device,
        *,
        proto: onnx.ModelProto | None = None,
        network: Network | None = None,
        helper: Device | None = None,
        border: int = cv2.BORDER_CONSTANT,
        nv12: Collection[int] = (),
    ) -> None:
        self.graph, self.shapes, self.device, self._nv12 = graph, list(shapes), device, frozenset(nv12)
        if len(self.shapes) != graph.n_views:
            raise ConfigError("frames", f"are of {len(self.shapes)} views, the graph of {graph.n_views}", "give all")
        proto = onnx.load_from_string(graph.proto_bytes) if proto is None else proto
        cut = parts(proto, f"model {graph.document.id}")
        self._size, self._border = graph.document.input.size, border
        self._norm = normalisation(graph, cut.before)
        self._helper: Device = helper or TorchDevice(device)
        self.ring = Ring(self.shapes, BUFFERS + 1, self._helper.allocate)
        self._crops = TorchCrops(self._size, self._norm, border, device, self._nv12)
        self._wanted = Feeds(graph, proto).blank(1)
        self._wanted.pop("crops")
        self._cut, self._network = cut, network
        self._stream, self._copies = self._helper.stream, self._helper.copies
        self._programs()
        self._buffers = [self._buffer() for _ in range(BUFFERS)]
        self._turn = 0
        self._under_way: list[_Buffer] = []

    def _programs(self) -> None:
        """Make the parts ready for these sizes."""
        views, (width, height) = len(self.shapes), self._size
        seen = torch.zeros(views, int(self._norm["channels"][0]), height, width, device=self.device)
        if self.device.type == "cuda":
            seen = seen.contiguous(memory_format=torch.channels_last)
        others = {name: torch.from_numpy(array).to(self.device) for name, array in self._wanted.items()}
        example = {**others, NET_INPUT: seen}
        if self._network is None:
            given = inputs_of(self._cut.network, example)
            last = self.device.type == "cuda"
            program = Program(self._cut.network, given, channels_last=last)
            self._network = lambda values: program(inputs_of(self._cut.network, values))
        made = self._network(example)
        self._behind = Program(self._cut.behind, {**inputs_of(self._cut.behind, others), **made})

    def _buffer(self) -> _Buffer:
        pictures = [torch.zeros(shape, dtype=torch.uint8, device=self.device) for shape in self.shapes]
        views, (width, height) = len(self.shapes), self._size
        planes = torch.zeros(views, int(self._norm["channels"][0]), height, width, device=self.device)
        example = {
            **self._wanted,
            "spread": np.zeros(views, np.float32),
            "present": np.zeros(views, np.float32),
            "views": np.zeros(views * VIEW.itemsize, np.uint8),
        }

        def work(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return self._solve(inputs, self._run({**inputs, NET_INPUT: self._see(inputs, pictures, planes)}))

        return _Buffer(pictures, planes, Captured(work, example, self.device, stream=self._stream))

    def _see(self, inputs: Mapping[str, Tensor], pictures: Sequence[Tensor], planes: Tensor) -> Tensor:
        """What the network sees."""
        if self._helper.crop is None:
            seen = self._crops(pictures, inputs["crop_to_image"][0], inputs["spread"], inputs["present"])
        else:
            self._helper.crop(inputs["views"], self._norm, planes)
            seen = planes
        return seen.contiguous(memory_format=torch.channels_last) if self.device.type == "cuda" else seen

    def _run(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What it answers."""
        assert self._network is not None
        return self._network(values)

    def _solve(self, inputs: Mapping[str, Tensor], made: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs of the contract."""
        return self._behind({**inputs_of(self._cut.behind, inputs), **made})

    def stages(self, crops: Sequence[Crop | None], rig: Mapping[str, np.ndarray]) -> dict[str, Callable[[], Any]]:
        """Each part alone, on the first buffer and slot, to be timed: calls that wait for nothing."""
        buffer, slot = self._buffers[0], self.slot()
        assert slot is not None
        given, _ = self._given(buffer, crops, rig, [None] * len(self.shapes))
        inputs = {name: torch.from_numpy(np.array(array)).to(self.device) for name, array in given.items()}
        seen = self._see(inputs, buffer.pictures, buffer.planes).clone()
        values = {**inputs, NET_INPUT: seen}
        made = {name: tensor.clone() for name, tensor in self._run(values).items()}
        host = [torch.from_numpy(view) for view in slot.views]

        def upload() -> None:
            for target, source in zip(buffer.pictures, host, strict=True):
                target.copy_(source, non_blocking=True)

        return {
            "upload": upload,
            "crops": lambda: self._see(inputs, buffer.pictures, buffer.planes),
            "network": lambda: self._run(values),
            "decoding and geometry": lambda: self._solve(inputs, made),
        }

    @property
    def stream(self) -> Any:
        """Where everything but uploads happens; ``None`` on a CPU."""
        return self._stream

    def slot(self) -> Slot | None:
        """Room for the next frame set's pictures; ``None`` = the device is behind, so that this set is dropped."""
        return self.ring.take()

    def start(
        self,
        pictures: Sequence[np.ndarray | None],
        crops: Sequence[Crop | None],
        rig: Mapping[str, np.ndarray],
        slot: Slot | None = None,
        twins: Sequence[Twin | None] = (),
    ) -> np.ndarray:
        """Begin with a frame set; nothing waits on a GPU.

        Args:
            pictures: Of `shapes`, in page-locked memory; not to be written before `finish`. ``None`` = not needed.
            crops: Where to look in each view; ``None`` = the camera is absent.
            rig: The graph's inputs about the cameras (``K, dist, fisheye, Rt, world``), and others that it takes.
            slot: Of `slot`, where some of the pictures lie in it: it can be written again when they are read.
            twins: Where pictures lie on the device already; ``None`` = they are copied now.

        Returns:
            The crop-to-image matrices (V, 2, 3).

        Raises:
            ConfigError: Two frame sets are under way, or a picture is missing or of another shape.
        """
        if len(self._under_way) == BUFFERS:
            raise ConfigError("frames", "are begun faster than they are finished", "call finish")
        buffer = self._buffers[self._turn]
        self._turn = (self._turn + 1) % BUFFERS
        there = list(twins) or [None] * len(self.shapes)
        given, present = self._given(buffer, crops, rig, there)
        wanted = [picture if here else None for picture, here in zip(pictures, present, strict=True)]
        for shape, picture, here in zip(self.shapes, wanted, present, strict=True):
            if here and (picture is None or picture.shape != shape):
                raise ConfigError("frames", f"{None if picture is None else picture.shape} is not {shape}", "report it")
        self._upload(buffer, wanted, slot, there)
        buffer.ready.start(given)
        if self._stream is not None:
            buffer.read = torch.cuda.Event()
            buffer.read.record(self._stream)
        self._under_way.append(buffer)
        to_image: np.ndarray = given["crop_to_image"][0]
        return to_image

    def _given(
        self,
        buffer: _Buffer,
        crops: Sequence[Crop | None],
        rig: Mapping[str, np.ndarray],
        twins: Sequence[Twin | None],
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """What the host tells the device of a frame set, and which cameras are there."""
        pictures = [own if twin is None else twin.pixels for own, twin in zip(buffer.pictures, twins, strict=True)]
        addresses = [picture.data_ptr() for picture in pictures]
        views = describe(crops, self.shapes, addresses, self._size, self._border, self._nv12)
        present = (views["pixels"] > 0).astype(np.float32)
        given = {
            **rig,
            "crop_to_image": matrices(views)[None],
            "view_weight": present[None],
            "spread": views["spread"],
            "present": present,
            "views": views.view(np.uint8),
        }
        return given, present

    def _upload(
        self,
        buffer: _Buffer,
        pictures: Sequence[np.ndarray | None],
        slot: Slot | None,
        twins: Sequence[Twin | None],
    ) -> None:
        # A twin stays what it is as long as the picture in its buffer is held.
        buffer.held = pictures
        if self._copies is None or self._stream is None:
            self._copy(buffer, pictures, twins)
            return
        with torch.cuda.stream(self._copies):
            if buffer.read is not None:
                self._copies.wait_event(buffer.read)
            copied = self._copy(buffer, pictures, twins)
            if copied:
                buffer.uploaded = torch.cuda.Event()
                buffer.uploaded.record(self._copies)
        if slot is not None:
            slot.gate = buffer.uploaded
        for uploaded in [buffer.uploaded if copied else None, *(twin.uploaded for twin in twins if twin is not None)]:
            # Not for all of that stream: pictures of the next set are in it as well.
            if uploaded is not None:
                self._stream.wait_event(uploaded)

    def _copy(self, buffer: _Buffer, pictures: Sequence[np.ndarray | None], twins: Sequence[Twin | None]) -> bool:
        """Bring to the buffer what is not read where it is; whether there was something."""
        copied = False
        for target, source, twin in zip(buffer.pictures, pictures, twins, strict=True):
            if source is None:
                continue
            if twin is None:
                self._helper.upload(target, source)
            elif self._helper.crop is None:
                # Torch's crops read at addresses that are in the captured graph.
                target.copy_(twin.pixels, non_blocking=True)
            else:
                continue
            copied = True
        return copied

    def finish(self) -> dict[str, np.ndarray]:
        """Wait for the oldest frame set that was begun; the outputs of the contract.

        Raises:
            ConfigError: None was begun.
        """
        if not self._under_way:
            raise ConfigError("frames", "were not begun", "call start first")
        buffer = self._under_way.pop(0)
        answer = buffer.ready.finish()
        buffer.held = ()
        return answer


def normalisation(graph: Graph, before: onnx.ModelProto) -> np.ndarray:
    """`engine.gpu.crops.NORM` of a graph: how its own part before the network normalises, found by asking it.

    Graphs of ours normalise by themselves and their documents say nothing of it; a part that is not one product and one
    sum for each channel cannot be replaced by the kernel.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(before.SerializeToString(), providers=["CPUExecutionProvider"])
    blank = Feeds(graph).blank(1)
    width, height = graph.document.input.size

    def ask(pixels: np.ndarray) -> np.ndarray:
        fed = {**blank, "crops": np.broadcast_to(pixels, blank["crops"].shape).copy()}
        answer: np.ndarray = session.run([NET_INPUT], {v.name: fed[v.name] for v in session.get_inputs()})[0]
        return answer

    black = ask(np.zeros((1, 1, 1, 1, 3), np.uint8))
    takes = black.ndim == 4 and black.shape[2:] == (height, width) and black.shape[1] in (1, 3)
    if not takes or black.dtype not in (np.float32, np.float16):
        raise ConfigError(
            f"model {graph.document.id}",
            f"takes {black.dtype} of shape {list(black.shape)}, and the GPU makes float planes of its frames",
            "let the CPU cut its crops",
        )
    channels = black.shape[1]
    norm = np.zeros(1, NORM)
    norm["channels"], norm["order"] = channels, (0, 1, 2)
    norm["shift"][0, :channels] = black[0, :, 0, 0]
    each = np.stack([ask(np.eye(3, dtype=np.uint8)[source].reshape(1, 1, 1, 1, 3) * 255) for source in range(3)])
    gains = (each[:, 0, :, 0, 0] - black[0, :, 0, 0]) / 255  # (source B G R, channel)
    if channels == 1:
        norm["scale"][0, 0] = gains[:, 0].sum()
    else:
        order = np.abs(gains).argmax(axis=0)
        norm["order"] = order
        norm["scale"][0] = gains[order, range(3)]
    return norm
