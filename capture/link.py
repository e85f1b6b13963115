"""A ZeroMQ socket of ours: its bounds, its address, and messages in parts that are not copied."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import zmq

from capture.endpoint import BoundEndpoint, connect, tune
from rigpose import codec

MAX_PARTS = 64
_SLICE_S = 0.05
_CLOSE_S = 2.0


def wait_for(socket: zmq.Socket, event: int, wait_s: float, stop: threading.Event | None) -> bool:
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


class Link:
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
                if wait_s is None or left <= 0 or not wait_for(self.socket, zmq.POLLOUT, left, stop):
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
