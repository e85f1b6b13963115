"""How poses and recordings travel: the ZeroMQ sockets behind the engine.

Poses go PUB -> SUB, what is to be kept PUSH -> PULL; frames travel by `capture.wire`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence
from typing import Any

import zmq

from capture.link import Link, wait_for

MAX_POSE_BYTES = 16 * 1024 * 1024
POSES, META, TRUTH = b"poses", b"meta", b"truth"


class PosePublisher(Link):
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


class PoseSubscriber(Link):
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
            elif not wait_for(self.socket, zmq.POLLIN, max(0.0, end - time.monotonic()), stop):
                return None

    def newest(self) -> dict[bytes, bytes]:
        """The newest waiting payload of each topic; all older ones are dropped."""
        newest: dict[bytes, bytes] = {}
        while (message := self.receive()) is not None:
            newest[message[0]] = message[1]
        return newest


class RecordSender(Link):
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


class RecordReceiver(Link):
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
        if parts is None and wait_s > 0 and wait_for(self.socket, zmq.POLLIN, wait_s, stop):
            parts = self.receive_parts()
        return None if parts is None else [part.buffer for part in parts]
