"""How frames travel: the ZeroMQ sockets between cameras and engine.

Frames go PUSH -> PULL; the engine binds, cameras connect; neither side copies an image. What does not
follow the contract (``capture.message``) is counted in ``rejected`` and dropped. Poses and what is kept
travel by `capture.pose_wire`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import zmq

from capture.buffers import BufferPool
from capture.frame import EndOfFrames, Frame
from capture.link import Link, wait_for
from capture.message import decode_frame, encode_end, encode_frame, encode_push
from rigpose.errors import ProtocolError
from rigpose.stamps import now_ns

log = logging.getLogger(__name__)

_PUSHES = 8
_PUSH_BYTES = 256 * 1024


class FrameSender(Link):
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


class FrameReceiver(Link):
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
        return wait_for(self.socket, zmq.POLLIN, wait_s, stop)

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
