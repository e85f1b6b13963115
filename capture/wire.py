"""How frames, poses and recordings travel: ZeroMQ sockets and the frame message.

Frames go PUSH -> PULL; the engine binds, cameras connect. A message is ``[header, image]``: the
header by ``rigpose.codec``, the image as its bare bytes, neither side copying it. Everything that
arrives is checked before it is used: sizes are bounded, shapes must fit the bytes and the pixel
format; what does not follow the contract is counted in ``rejected`` and dropped.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Self, get_args

import numpy as np
import zmq

from capture.endpoint import BoundEndpoint, connect, tune
from capture.frame import Counters, EndOfFrames, Frame
from capture.pixels import image_shape
from rigpose import codec
from rigpose.errors import ProtocolError
from rigpose.keypoints import Keypoints
from rigpose.stamps import ExposedFrom, now_ns

log = logging.getLogger(__name__)

MAX_SIDE = 16384
MAX_HEADER_BYTES = 1024 * 1024
MAX_TEXT = 4096
MAX_JOINTS = 4096
MAX_PARTS = 64
MAX_POSE_BYTES = 16 * 1024 * 1024
POSES, META = b"poses", b"meta"
_EXPOSED_FROM = get_args(ExposedFrom)
_SLICE_S = 0.05
_CLOSE_S = 2.0
_PUSHES = 8
_PUSH_BYTES = 256 * 1024


def encode_frame(frame: Frame, session_id: str, node: str, epoch: str, seq: int) -> tuple[bytes, np.ndarray | None]:
    """A frame as header bytes and contiguous image (``None`` where points travel instead)."""
    image = frame.image
    message: dict[str, Any] = codec.header(session_id, node, epoch, seq)
    counters = frame.counters
    message.update(
        type="frame",
        camera=frame.camera,
        serial=frame.serial,
        frame=frame.seq,
        pixel_format=frame.pixel_format,
        size=frame.size,
        exposed_ns=frame.exposed_ns,
        exposed_from=frame.exposed_from,
        host_ns=frame.host_ns,
        tick=frame.tick,
        device_ns=frame.device_ns,
        roi_offset=frame.roi_offset,
        binning=frame.binning,
        flip=frame.flip,
        exposure_ns=frame.exposure_ns,
        line_state=frame.line_state,
        video=frame.video,
        counters=(counters.exposed, counters.lost_upstream, counters.seen, counters.queue_full),
    )
    if frame.points is not None:
        message["points"] = np.asarray(frame.points.points, np.float32)
        message["confidence"] = np.asarray(frame.points.confidence, np.float32)
    if image is not None:
        image = np.ascontiguousarray(image)
        message["dtype"], message["shape"] = codec.array_header(image)
    return codec.pack(message), image


def encode_end(end: EndOfFrames, session_id: str, node: str, seq: int = 0) -> bytes:
    """A camera's last word as bytes."""
    counters = end.counters
    return codec.pack(
        {
            **codec.header(session_id, node, end.node_epoch, seq),
            "type": "end",
            "camera": end.camera,
            "last_seq": end.last_seq,
            "counters": (counters.exposed, counters.lost_upstream, counters.seen, counters.queue_full),
        }
    )


def decode_frame(
    parts: Sequence[memoryview | bytes], received_ns: int, session_id: str | None = None
) -> Frame | EndOfFrames | None:
    """The frame in a message, its image a read-only view of the message's bytes; or the camera's last word.

    ``None`` = a message that only pushes others along (see ``FrameSender.end``).

    Args:
        parts: The message.
        received_ns: Stamped into the frame.
        session_id: Where given, a frame of another session is refused.

    Raises:
        ProtocolError: Anything that is not as the contract says; nothing was allocated for it.
    """
    if not 1 <= len(parts) <= 2:
        raise ProtocolError("frame message", f"has {len(parts)} parts instead of one or two")
    message = codec.unpack(parts[0], max_bytes=MAX_HEADER_BYTES)
    codec.check_header(message)
    if session_id is not None and message["session_id"] != session_id:
        raise ProtocolError("frame message", f"is of session {message['session_id'][:64]!r}, not of {session_id!r}")
    match message.get("type"):
        case "end":
            return _decode_end(message)
        case "push":
            return None
    read = _Fields(message)
    size = read.pair("size", 1, MAX_SIDE)
    image, points = None, None
    pixel_format = read.text("pixel_format")
    expected = image_shape(pixel_format, size)
    if len(parts) == 2:
        dtype, shape = codec.check_array(message.get("dtype"), message.get("shape"), len(parts[1]))
        if expected is None:
            if dtype != np.uint8 or len(shape) != 1 or not shape[0]:
                raise ProtocolError("frame message", f"a JPEG is not {dtype} of shape {shape}")
        elif (dtype, shape) != expected:
            raise ProtocolError("frame message", f"{pixel_format} of size {size} is not {dtype} of shape {shape}")
        image = np.frombuffer(parts[1], dtype).reshape(shape)
        image.flags.writeable = False
    else:
        points = read.points()
    counters = read.counters()
    exposed_from = read.text("exposed_from")
    if exposed_from not in _EXPOSED_FROM:
        raise ProtocolError("frame message", f"exposed_from {exposed_from!r} is not one of {', '.join(_EXPOSED_FROM)}")
    flip = message.get("flip", "none")
    if flip not in ("none", "horizontal", "vertical"):
        raise ProtocolError("frame message", "flip is not one of none, horizontal, vertical")
    return Frame(
        camera=read.text("camera"),
        seq=read.integer("frame", 0),
        image=image,
        pixel_format=pixel_format,  # type: ignore[arg-type]
        exposed_ns=read.integer("exposed_ns"),
        exposed_from=exposed_from,  # type: ignore[arg-type]
        host_ns=read.integer("host_ns"),
        size=size,
        tick=read.optional("tick"),
        device_ns=read.optional("device_ns"),
        received_ns=received_ns,
        roi_offset=read.pair("roi_offset", 0, MAX_SIDE * 4),
        binning=read.pair("binning", 1, 64),
        flip=flip,  # type: ignore[arg-type]
        exposure_ns=read.integer("exposure_ns", 0),
        serial=read.text("serial"),
        line_state=read.optional("line_state"),
        video=read.video(),
        points=points,
        node_epoch=read.text("node_epoch"),
        counters=counters,
    )


def _decode_end(message: dict[str, Any]) -> EndOfFrames:
    read = _Fields(message)
    return EndOfFrames(read.text("camera"), read.text("node_epoch"), read.integer("last_seq", -1), read.counters())


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


class _Fields:
    """Checked access to the fields of a message."""

    def __init__(self, message: dict[str, Any]) -> None:
        self._message = message

    def _wrong(self, key: str, expected: str) -> ProtocolError:
        return ProtocolError("frame message", f"{key} is missing or not {expected}")

    def text(self, key: str) -> str:
        value = self._message.get(key)
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            raise self._wrong(key, "a short text")
        return value

    def integer(self, key: str, least: int | None = None) -> int:
        value = self._message.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or (least is not None and value < least):
            raise self._wrong(key, "an integer" if least is None else f"an integer of at least {least}")
        return value

    def optional(self, key: str) -> int | None:
        return None if self._message.get(key) is None else self.integer(key)

    def pair(self, key: str, least: int, most: int) -> tuple[int, int]:
        value = self._message.get(key)
        if (
            not isinstance(value, list | tuple)
            or len(value) != 2
            or not all(isinstance(item, int) and not isinstance(item, bool) and least <= item <= most for item in value)
        ):
            raise self._wrong(key, f"two integers of {least} to {most}")
        return value[0], value[1]

    def video(self) -> tuple[str, int] | None:
        value = self._message.get("video")
        if value is None:
            return None
        if (
            not isinstance(value, list | tuple)
            or len(value) != 2
            or not isinstance(value[0], str)
            or not _is_count(value[1])
        ):
            raise self._wrong("video", "a file and a frame index")
        return value[0], value[1]

    def counters(self) -> Counters:
        value = self._message.get("counters", (0, 0, 0, 0))
        if not isinstance(value, list | tuple) or len(value) < 4 or not all(_is_count(item) for item in value):
            raise self._wrong("counters", "four counts")
        return Counters(*value[:4])

    def points(self) -> Keypoints:
        points, confidence = self._message.get("points"), self._message.get("confidence")
        if (
            not isinstance(points, np.ndarray)
            or not isinstance(confidence, np.ndarray)
            or points.ndim != 2
            or points.shape[1] != 2
            or confidence.shape != points.shape[:1]
            or not 1 <= points.shape[0] <= MAX_JOINTS
            or points.dtype.kind != "f"
            or confidence.dtype.kind != "f"
        ):
            raise ProtocolError("frame message", "has no image, and its points are not (J, 2) with (J,) confidences")
        return Keypoints(points, confidence)


def _wait(socket: zmq.Socket, event: int, wait_s: float, stop: threading.Event | None) -> bool:
    """Wait for a socket, at most ``wait_s`` or until ``stop`` is set."""
    end = time.monotonic() + wait_s
    while not (stop is not None and stop.is_set()):
        left = end - time.monotonic()
        slice_s = left if stop is None else min(left, _SLICE_S)
        if socket.poll(max(0, math.ceil(1000 * slice_s)), event):
            return True
        if left <= 0:
            return False
    return False


class _Link:
    """A socket and, where it binds, its hold on the address."""

    def __init__(
        self,
        kind: int,
        endpoint: str,
        hwm: int,
        *,
        bind: bool,
        max_bytes: int = codec.MAX_BYTES,
        context: zmq.Context | None,
    ) -> None:
        self.socket: zmq.Socket = (context or zmq.Context.instance()).socket(kind)
        self._bound: BoundEndpoint | None = None
        self._borrowed: deque[zmq.MessageTracker] = deque()
        self.endpoint = endpoint
        try:
            tune(self.socket, endpoint, hwm)
            self.socket.set(zmq.MAXMSGSIZE, max_bytes)
            if bind:
                self._bound = BoundEndpoint(self.socket, endpoint)
                self.endpoint = self._bound.endpoint
            else:
                self.socket.set(zmq.IMMEDIATE, 1)
                self.socket.set(zmq.RECONNECT_IVL, 50)
                self.socket.set(zmq.RECONNECT_IVL_MAX, 500)
                connect(self.socket, endpoint)
        except BaseException:
            self.socket.close(0)
            raise

    def close(self, linger_s: float = 0.0) -> None:
        """Close; what is queued has ``linger_s`` to leave.

        Returns only when the memory of all messages is free again, for a process that ends while
        ZeroMQ still reads from its memory dies of it.
        """
        self._give_back(linger_s)
        self.socket.close(round(linger_s * 1000))
        self._give_back(_CLOSE_S)
        if self._bound is not None:
            self._bound.release()
            self._bound = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def receive_parts(self) -> list[zmq.Frame] | None:
        """One message that waits here; parts beyond what any message of ours has are drained and dropped."""
        try:
            parts = [self.socket.recv(zmq.NOBLOCK, copy=False)]
        except zmq.Again:
            return None
        while parts[-1].more:
            part = self.socket.recv(copy=False)
            if len(parts) < MAX_PARTS:
                parts.append(part)
            else:
                parts[-1] = part
        return parts

    def _send(self, parts: Sequence[Any], wait_s: float | None = None, stop: threading.Event | None = None) -> bool:
        messages = [zmq.Frame(part, track=True, copy=False) if _is_large(part) else part for part in parts]
        end = time.monotonic() + (wait_s or 0.0)
        while True:
            try:
                self.socket.send_multipart(messages, zmq.NOBLOCK, copy=False)
            except zmq.Again:
                # The place may be gone again between the wait and the sending, so try until the end.
                left = end - time.monotonic()
                if wait_s is None or left <= 0 or not _wait(self.socket, zmq.POLLOUT, left, stop):
                    return False
                continue
            self._borrowed.extend(message.tracker for message in messages if isinstance(message, zmq.Frame))
            while self._borrowed and self._borrowed[0].done:
                self._borrowed.popleft()
            return True

    def _give_back(self, wait_s: float) -> None:
        """Wait until ZeroMQ needs none of our memory any more."""
        end = time.monotonic() + wait_s
        try:
            while self._borrowed:
                self._borrowed[0].wait(max(0.0, end - time.monotonic()))
                self._borrowed.popleft()
        except zmq.NotDone:
            pass


def _is_large(part: Any) -> bool:
    return (part.nbytes if isinstance(part, np.ndarray | memoryview) else len(part)) >= zmq.COPY_THRESHOLD


class FrameSender(_Link):
    """The camera's end of the frames' way. One thread only.

    An image that was sent belongs to the socket: it is marked read-only and must not be written to,
    through whatever other array.

    Args:
        endpoint: Where the engine binds for this node; it may come later.
        session_id: Stands in every header.
        node: Name of this node.
        epoch: UUID of this process start.
        hwm: Frames that may wait on each side.
        context: Only for inproc and tests.
    """

    def __init__(
        self, endpoint: str, session_id: str, node: str, epoch: str, hwm: int = 2, *, context: zmq.Context | None = None
    ) -> None:
        super().__init__(zmq.PUSH, endpoint, hwm, bind=False, context=context)
        self._identity = (session_id, node, epoch)
        self._seq = 0

    def send(self, frame: Frame, wait_s: float | None = None, stop: threading.Event | None = None) -> bool:
        """Hand a frame to the engine.

        Args:
            frame: The frame.
            wait_s: ``None`` = do not wait (live); else the longest wait for the engine to take it.
            stop: Ends the waiting when set.

        Returns:
            Whether it was taken; ``False`` = no engine, or one that takes nothing now.
        """
        header, image = encode_frame(frame, *self._identity, self._seq)
        parts: list[Any] = [header]
        if image is not None:
            image.flags.writeable = False
            parts.append(image.data)
        sent = self._send(parts, wait_s, stop)
        self._seq += sent
        return sent

    def end(self, end: EndOfFrames, wait_s: float | None = None, stop: threading.Event | None = None) -> bool:
        """Say that a camera sends nothing more, behind its last frame; to be called before ``close``.

        What still waits for room at the engine's side is lost when a camera closes, however long it
        lingers. So some empty messages follow, more than fit between the two: when they were taken,
        every frame before them is at the engine.

        Args:
            end: The last word.
            wait_s: The longest time without any message being taken; ``None`` = do not wait.
            stop: Ends the waiting when set.

        Returns:
            Whether all of it was taken.
        """
        counters = end.counters
        message: dict[str, Any] = codec.header(*self._identity, self._seq)
        message.update(
            type="end",
            camera=end.camera,
            last_seq=end.last_seq,
            counters=(counters.exposed, counters.lost_upstream, counters.seen, counters.queue_full),
        )
        push = codec.pack({**codec.header(*self._identity, self._seq + 1), "type": "push"})
        for parts in ([codec.pack(message)], *[[push, bytes(_PUSH_BYTES)]] * _PUSHES):
            if not self._send(parts, wait_s, stop):
                return False
            self._seq += 1
        return True


class FrameReceiver(_Link):
    """The engine's end of the frames' way; it binds. One thread only.

    The engine has one for each camera node, so that lossless work can leave a camera that is far
    ahead waiting at its socket while the others catch up.

    Args:
        endpoint: ``ipc://``, ``inproc://`` or loopback ``tcp://``.
        hwm: Frames that may wait on each side of each connection.
        session_id: Where given, frames of another session are rejected.
        cameras: Where given, frames of other cameras are rejected.
        context: Only for inproc and tests.

    Attributes:
        socket: For a poller.
        rejected: Messages that did not follow the contract.

    Raises:
        ConfigError: The address is not of this host, or in use.
    """

    def __init__(
        self,
        endpoint: str,
        hwm: int = 2,
        *,
        session_id: str | None = None,
        cameras: Collection[str] | None = None,
        context: zmq.Context | None = None,
    ) -> None:
        super().__init__(zmq.PULL, endpoint, hwm, bind=True, context=context)
        self.rejected = 0
        self._session_id = session_id
        self._cameras = None if cameras is None else frozenset(cameras)

    def receive(self) -> Frame | EndOfFrames | None:
        """The next frame, stamped ``received_ns``, or a camera's last word; ``None`` = nothing waits.

        Never raises for a bad message.
        """
        while (parts := self.receive_parts()) is not None:
            try:
                message = decode_frame([part.buffer for part in parts], now_ns(), self._session_id)
                if message is None:
                    continue
                if self._cameras is not None and message.camera not in self._cameras:
                    raise ProtocolError("frame message", f"camera {message.camera[:64]!r} is not expected here")
                return message
            except ProtocolError as error:
                self._reject(error)
        return None

    def wait(self, wait_s: float, stop: threading.Event | None = None) -> bool:
        """Wait until something can be received, at most ``wait_s`` or until ``stop`` is set."""
        return _wait(self.socket, zmq.POLLIN, wait_s, stop)

    def _reject(self, error: ProtocolError) -> None:
        self.rejected += 1
        if self.rejected & (self.rejected - 1) == 0:  # the 1st, 2nd, 4th, 8th ...
            log.warning("%s: rejected %d frame messages so far, the last one: %s", self.endpoint, self.rejected, error)


class PosePublisher(_Link):
    """The engine's answers: ``[topic, payload]``; whoever listens too slowly loses messages. It binds.

    Args:
        endpoint: ``ipc://``, ``inproc://`` or loopback ``tcp://``.
        hwm: Messages kept for a slow subscriber.
        context: Only for inproc and tests.
    """

    def __init__(self, endpoint: str, hwm: int = 100, *, context: zmq.Context | None = None) -> None:
        super().__init__(zmq.PUB, endpoint, hwm, bind=True, context=context)

    def send(self, topic: bytes, payload: bytes) -> None:
        """Publish; never waits."""
        self._send([topic, payload])


class PoseSubscriber(_Link):
    """A listener to poses; it connects.

    Args:
        endpoint: Where the engine publishes; it may come later or come back.
        topics: What to listen to.
        hwm: Messages that may wait here.
        context: Only for inproc and tests.

    Attributes:
        rejected: Messages that are not ``[topic, payload]``.
    """

    def __init__(
        self,
        endpoint: str,
        topics: Collection[bytes] = (POSES, META),
        hwm: int = 100,
        *,
        context: zmq.Context | None = None,
    ) -> None:
        super().__init__(zmq.SUB, endpoint, hwm, bind=False, max_bytes=MAX_POSE_BYTES, context=context)
        self.rejected = 0
        for topic in topics:
            self.socket.subscribe(topic)

    def receive(self, wait_s: float = 0.0, stop: threading.Event | None = None) -> tuple[bytes, bytes] | None:
        """The next (topic, payload), waiting at most ``wait_s``; ``None`` = nothing came."""
        end = time.monotonic() + wait_s
        while True:
            parts = self.receive_parts()
            if parts is not None and len(parts) == 2:
                return parts[0].bytes, parts[1].bytes
            if parts is not None:
                self.rejected += 1
            elif not _wait(self.socket, zmq.POLLIN, max(0.0, end - time.monotonic()), stop):
                return None

    def newest(self) -> dict[bytes, bytes]:
        """The newest waiting payload of each topic; all older ones are dropped."""
        newest: dict[bytes, bytes] = {}
        while (message := self.receive()) is not None:
            newest[message[0]] = message[1]
        return newest


class RecordSender(_Link):
    """What is to be kept, to the recorder of this host; nothing is lost unless ``send`` says so.

    Args:
        endpoint: Where the recorder binds; it may come later.
        hwm: Messages that may wait on each side.
        context: Only for inproc and tests.
    """

    def __init__(self, endpoint: str, hwm: int = 1000, *, context: zmq.Context | None = None) -> None:
        super().__init__(zmq.PUSH, endpoint, hwm, bind=False, context=context)

    def send(self, parts: Sequence[Any], wait_s: float | None = None, stop: threading.Event | None = None) -> bool:
        """Hand over a message of up to 64 parts; ``False`` = not taken: alarm and count it.

        Arguments as in ``FrameSender.send``.
        """
        return self._send(parts, wait_s, stop)


class RecordReceiver(_Link):
    """The recorder's end; it binds.

    Args:
        endpoint: ``ipc://``, ``inproc://`` or loopback ``tcp://``.
        hwm: Messages that may wait on each side of each connection.
        context: Only for inproc and tests.
    """

    def __init__(self, endpoint: str, hwm: int = 1000, *, context: zmq.Context | None = None) -> None:
        super().__init__(zmq.PULL, endpoint, hwm, bind=True, context=context)

    def receive(self, wait_s: float = 0.0, stop: threading.Event | None = None) -> list[memoryview] | None:
        """The parts of the next message, read-only; ``None`` = nothing came within ``wait_s``."""
        parts = self.receive_parts()
        if parts is None and wait_s > 0 and _wait(self.socket, zmq.POLLIN, wait_s, stop):
            parts = self.receive_parts()
        return None if parts is None else [part.buffer for part in parts]


def with_queue_full(frame: Frame, queue_full: int) -> Frame:
    """The frame with what its node could not send until now."""
    return replace(frame, counters=replace(frame.counters, queue_full=queue_full))
