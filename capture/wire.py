"""How frames, poses and recordings travel: the ZeroMQ sockets.

Frames go PUSH -> PULL; the engine binds, cameras connect; neither side copies an image. What does not
follow the contract (``capture.message``) is counted in ``rejected`` and dropped. Poses go PUB -> SUB,
what is to be kept PUSH -> PULL.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import zmq

from capture.buffers import BufferPool
from capture.endpoint import BoundEndpoint, connect, tune
from capture.frame import EndOfFrames, Frame
from capture.message import decode_frame, encode_end, encode_frame, encode_push
from rigpose import codec
from rigpose.errors import ProtocolError
from rigpose.stamps import now_ns

__all__ = [
    "META",
    "POSES",
    "FrameReceiver",
    "FrameSender",
    "PosePublisher",
    "PoseSubscriber",
    "RecordReceiver",
    "RecordSender",
    "decode_frame",
    "encode_end",
    "encode_frame",
]

log = logging.getLogger(__name__)

MAX_PARTS = 64
MAX_POSE_BYTES = 16 * 1024 * 1024
POSES, META, TRUTH = b"poses", b"meta", b"truth"
_SLICE_S = 0.05
_CLOSE_S = 2.0
_PUSHES = 8
_PUSH_BYTES = 256 * 1024


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
                # Who came before the engine hears it a twentieth of a second after it is there, not half a second: a
                # lossless run has published ten sets by then. An attempt on the same host costs nothing.
                self.socket.set(zmq.RECONNECT_IVL, 50)
                self.socket.set(zmq.RECONNECT_IVL_MAX, 50)
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
        session_id, node, epoch = self._identity
        last = encode_end(end, session_id, node, self._seq)
        push = encode_push(session_id, node, epoch, self._seq + 1)
        for parts in ([last], *[[push, bytes(_PUSH_BYTES)]] * _PUSHES):
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
        pool: Where pictures are written as they are taken; without one, and where it has no room, they stay where
            ZeroMQ received them.
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
        pool: BufferPool | None = None,
        context: zmq.Context | None = None,
    ) -> None:
        super().__init__(zmq.PULL, endpoint, hwm, bind=True, context=context)
        self.rejected = 0
        self._pool = pool
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
                return self._stored(message) if isinstance(message, Frame) else message
            except ProtocolError as error:
                self._reject(error)
        return None

    def wait(self, wait_s: float, stop: threading.Event | None = None) -> bool:
        """Wait until something can be received, at most ``wait_s`` or until ``stop`` is set."""
        return _wait(self.socket, zmq.POLLIN, wait_s, stop)

    def _stored(self, frame: Frame) -> Frame:
        """A frame whose picture lies in the pool, where there is one with room."""
        image = frame.image
        if self._pool is None or image is None or not self._pool.wants(frame.pixel_format):
            return frame
        buffer = self._pool.take(frame.camera, image.nbytes)
        if buffer is None:
            return frame
        stored = buffer.view(image.dtype).reshape(image.shape)
        stored[...] = image
        stored.flags.writeable = False
        if self._pool.written is not None:
            self._pool.written(stored)
        return replace(frame, image=stored)

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
