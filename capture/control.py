"""The control channel: every node tells launch that it lives, what it counted and when it ends.

A node (DEALER) says ``hello`` once, a ``heartbeat`` five times a second, ``event`` when something
happened and ``bye`` with its last counters. Launch (ROUTER) answers with ``start``, ``stop`` and
``pong``. Every message has the header of ``rigpose.codec``. Nothing here carries frames or poses, and
nothing waits for the other side.
"""

from __future__ import annotations

import logging
import os
import platform
import queue
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import zmq

from capture.endpoint import BoundEndpoint
from rigpose import __version__, codec
from rigpose.errors import ProtocolError
from rigpose.parent import is_orphan
from rigpose.stamps import now_ns

log = logging.getLogger(__name__)

HEARTBEAT_S = 0.2
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
Counting = Callable[[], dict[str, Any]]


def new_epoch() -> str:
    """A UUID for one start of one process."""
    return uuid.uuid4().hex


def versions() -> dict[str, str]:
    """What a node says of itself in its hello."""
    return {"rigpose": __version__, "python": platform.python_version(), "host": platform.node()}


def leave() -> None:
    """The last thing that a process does with sockets: what was sent leaves before it ends.

    Without this, Python ends while the last messages still wait in the process.
    """
    zmq.Context.instance().destroy()


class NodeControl:
    """A node's end of the control channel; its own thread owns the socket.

    Args:
        endpoint: Launch's address; ``None`` = nobody supervises this node, everything is a no-op.
        session_id: The session.
        node: The node's name (a camera's name, ``engine``, ``recorder``, ``viewer``).
        kind: ``camera``, ``engine``, ``recorder`` or ``viewer``.
        epoch: UUID of this process start.
        counting: Called for each heartbeat: what the node has counted so far.
        details: Facts for the hello (size, rate, serial, model ...).
    """

    def __init__(
        self,
        endpoint: str | None,
        session_id: str,
        node: str,
        kind: str,
        epoch: str,
        counting: Counting,
        details: dict[str, Any] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._identity = (session_id, node, epoch)
        self._kind = kind
        self._counting = counting
        self._counted: dict[str, Any] = {}
        self._details = details or {}
        self._outbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._seq = 0
        self._thread: threading.Thread | None = None
        self.state = "starting"
        self.stop_requested = threading.Event()
        self.started = threading.Event()
        self.start_ns: int | None = None
        self.clock_offset_ns: int | None = None
        self.clock_rtt_ns: int | None = None

    def open(self) -> NodeControl:
        """Say hello and begin to beat."""
        if self._endpoint is not None:
            self._thread = threading.Thread(target=self._run, name="control", daemon=True)
            self._thread.start()
        return self

    def __enter__(self) -> NodeControl:
        return self.open()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A node that fails has not ended: launch waits for its exit code, and starts it again.
        failed = kind is not None and not issubclass(kind, KeyboardInterrupt)
        self.close("failed" if failed else "ended")

    @property
    def supervised(self) -> bool:
        """Whether a launch process is expected at the other end."""
        return self._endpoint is not None

    def running(self) -> None:
        """From now on heartbeats say that the node does its work."""
        self.state = "running"
        self._put({"type": "heartbeat"})

    def event(self, name: str, text: str = "", **data: Any) -> None:
        """Tell launch (and through it the log and the recording) that something happened."""
        self._put({"type": "event", "event": name, "text": text, "data": data, "at_ns": now_ns()})

    def close(self, reason: str = "ended") -> None:
        """Say goodbye with the last counters; waits at most a second for it to leave."""
        if self._thread is None or self._closing.is_set():
            return
        self.state = reason
        self._closing.set()
        self._thread.join(timeout=2.0)

    def _put(self, body: dict[str, Any]) -> None:
        if self._endpoint is not None:  # else nobody ever takes it out
            self._outbox.put(body)

    def _count(self) -> dict[str, Any]:
        """What was counted; the last of it where counting fails, for this thread must live: it hears the stop."""
        try:
            self._counted = self._counting()
        except Exception:
            log.exception("counting failed")
        return self._counted

    def _message(self, body: dict[str, Any]) -> bytes:
        self._seq += 1
        message = {**codec.header(*self._identity, self._seq), "kind": self._kind, "pid": os.getpid(), **body}
        if body["type"] in ("heartbeat", "bye"):
            message.update(state=self.state, counters=self._count(), at_ns=now_ns())
        return codec.pack(message)

    def _run(self) -> None:
        context: zmq.Context = zmq.Context.instance()
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 1000)
        socket.setsockopt(zmq.SNDHWM, 100)
        socket.setsockopt(zmq.IDENTITY, f"{self._identity[1]}/{self._identity[2]}".encode())
        socket.connect(self._endpoint)
        try:
            self._send(socket, {"type": "hello", "versions": versions(), "details": self._details})
            next_beat = time.monotonic()
            while not self._closing.is_set():
                try:
                    while True:
                        self._send(socket, self._outbox.get_nowait())
                except queue.Empty:
                    pass
                if time.monotonic() >= next_beat:
                    next_beat = time.monotonic() + HEARTBEAT_S
                    self._send(socket, {"type": "heartbeat"})
                    self._send(socket, {"type": "ping", "t0_ns": now_ns()})
                if socket.poll(20):
                    self._handle(socket.recv())
            while not self._outbox.empty():
                self._send(socket, self._outbox.get_nowait())
            self._send(socket, {"type": "bye"})
        except zmq.ContextTerminated:
            pass
        finally:
            # Nobody takes what is for a launch that is dead; the process would wait for that in vain.
            socket.close(0 if is_orphan() else None)

    def _send(self, socket: zmq.Socket, body: dict[str, Any]) -> None:
        try:
            socket.send(self._message(body), zmq.NOBLOCK)
        except zmq.Again:
            log.debug("control message %s not sent: launch is not listening", body["type"])

    def _handle(self, data: bytes) -> None:
        try:
            message = codec.unpack(data, max_bytes=MAX_MESSAGE_BYTES)
            codec.check_header(message)
            if message["session_id"] != self._identity[0]:
                return
            kind = message.get("type")
            if kind == "stop":
                self.stop_requested.set()
            elif kind == "start":
                self.start_ns = int(message["start_ns"])
                self.started.set()
            elif kind == "pong":
                # Cristian's estimate; the answer with the shortest round trip is the best one.
                rtt = now_ns() - int(message["t0_ns"])
                if self.clock_rtt_ns is None or rtt < self.clock_rtt_ns:
                    self.clock_rtt_ns = rtt
                    self.clock_offset_ns = int(message["t_ns"]) - int(message["t0_ns"]) - rtt // 2
        except (ProtocolError, KeyError, TypeError, ValueError) as error:
            log.warning("a control message was not understood: %s", error)


@dataclass
class NodeReport:
    """What launch knows of one start of one node.

    Attributes:
        node: Name.
        kind: Camera, engine, recorder or viewer.
        epoch: UUID of the process start.
        pid: Its process.
        state: ``starting``, ``ready``, ``running``, then ``ended`` or ``failed``.
        counters: The last ones it sent.
        details: Facts from its hello.
        versions: What it runs on, from its hello.
        said_bye: Whether those are final.
        last_ns: When it was last heard of.
        identity: Where answers go.
        heard: Of a camera node, by camera: what it said in the last frame that an engine got, where
            that is newer than its last heartbeat.
    """

    node: str
    kind: str
    epoch: str
    pid: int
    state: str = "starting"
    counters: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    said_bye: bool = False
    last_ns: int = 0
    identity: bytes = b""
    heard: dict[str, dict[str, int]] = field(default_factory=dict)


class ControlServer:
    """Launch's end: hears every node, keeps the last report of each start of each node.

    Args:
        endpoint: Address to bind.
        session_id: The session; nodes of another are ignored.

    Attributes:
        endpoint: The address.
        epoch: UUID of this process start.
        reports: By the epoch of the node.
        rejected: Messages that did not follow the contract.

    Raises:
        ConfigError: The address is not of this host, or in use.
    """

    def __init__(self, endpoint: str, session_id: str) -> None:
        self.endpoint = endpoint
        self.session_id = session_id
        self.epoch = new_epoch()
        self.reports: dict[str, NodeReport] = {}
        self.rejected = 0
        self._seq = 0
        self._socket: zmq.Socket = zmq.Context.instance().socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 200)
        self._socket.setsockopt(zmq.RCVHWM, 10_000)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        try:
            self._bound = BoundEndpoint(self._socket, endpoint)
        except BaseException:
            self._socket.close(0)
            raise

    @property
    def socket(self) -> zmq.Socket:
        """For polling."""
        return self._socket

    def close(self) -> None:
        """Let the address go."""
        self._socket.close()
        self._bound.release()

    def receive(self) -> list[tuple[str, NodeReport, dict[str, Any]]]:
        """All messages that have come: ``(type, report, message)``; malformed ones are counted."""
        messages = []
        while self._socket.poll(0):
            parts = self._socket.recv_multipart()
            try:
                message = codec.unpack(parts[-1], max_bytes=MAX_MESSAGE_BYTES)
                codec.check_header(message)
                if message["session_id"] != self.session_id:
                    continue
                kind = str(message["type"])
                if kind == "ping":
                    self._answer(parts[0], {"type": "pong", "t0_ns": message["t0_ns"], "t_ns": now_ns()})
                    continue
                report = self._update(parts[0], kind, message)
            except (ProtocolError, KeyError, TypeError, ValueError) as error:
                self.rejected += 1
                log.warning("a control message was refused: %s", error)
                continue
            messages.append((kind, report, message))
        return messages

    def _update(self, identity: bytes, kind: str, message: dict[str, Any]) -> NodeReport:
        epoch = message["node_epoch"]
        report = self.reports.get(epoch)
        if report is None:
            report = NodeReport(message["node"], str(message["kind"]), epoch, int(message["pid"]), identity=identity)
            self.reports[epoch] = report
        report.last_ns = now_ns()
        if kind == "hello":
            report.details = dict(message.get("details", {}))
            report.versions = dict(message.get("versions", {}))
            if (theirs := report.versions.get("rigpose")) != __version__:
                log.warning("%s runs rigpose %s, launch %s", report.node, theirs, __version__)
        if kind in ("heartbeat", "bye"):
            report.counters = dict(message["counters"])
            report.state = str(message["state"])
        if kind == "bye":
            report.said_bye = True
        return report

    def start(self, report: NodeReport, start_ns: int) -> None:
        """Tell a camera node when the rig's first tick is (or was)."""
        self._answer(report.identity, {"type": "start", "start_ns": start_ns})

    def stop(self, report: NodeReport) -> None:
        """Ask a node to end in its own order."""
        self._answer(report.identity, {"type": "stop"})

    def _answer(self, identity: bytes, body: dict[str, Any]) -> None:
        header = codec.header(self.session_id, "launch", self.epoch, self._seq)
        self._seq += 1
        try:
            self._socket.send_multipart([identity, codec.pack({**header, **body})], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            log.debug("no answer to %r: %s", identity, error)
