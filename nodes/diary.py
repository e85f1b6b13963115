"""What launch has to say to the recorder: events of the run, and how its nodes are."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

from capture.pose_wire import RecordSender
from capture.rundir import RunDirectory
from rigpose import codec

log = logging.getLogger(__name__)

KEPT_MESSAGES = 1000
EVENT, HEALTH = b"event", b"health"


class Diary:
    """Hands events and health to the run's recorder as soon as it takes them.

    Args:
        run_dir: Of the run.
        epoch: Of this process.
        recorded: Whether the run has a recorder; without one, events stand in the log alone.
    """

    def __init__(self, run_dir: RunDirectory, epoch: str, *, recorded: bool) -> None:
        self._session_id = run_dir.session_id
        self._epoch = epoch
        self._sender = RecordSender(run_dir.endpoint("record")) if recorded else None
        self._seq = 0
        # Where too much waits the oldest goes, and the recorder sees the gap and counts it.
        self._waiting: deque[list[bytes]] = deque(maxlen=KEPT_MESSAGES)

    def close(self) -> None:
        """Let the socket go."""
        if self._sender is not None:
            self._sender.close()

    def event(self, name: str, text: str, source: str, at_ns: int, data: dict[str, Any] | None = None) -> None:
        """Something happened at a moment of this host's monotonic clock."""
        log.info("%s: %s", source, text or name)
        self._keep(EVENT, event=name, text=text, source=source, clock="monotonic", at_ns=at_ns, data=data or {})

    def health(self, node: str, counters: dict[str, Any]) -> None:
        """What a node has counted so far."""
        self._keep(HEALTH, about=node, counters=counters)

    def hand_over(self) -> None:
        """Give the recorder what waits, as much as it takes now; to be called while there is one."""
        while self._sender is not None and self._waiting and self._sender.send(self._waiting[0]):
            self._waiting.popleft()

    def _keep(self, topic: bytes, **body: Any) -> None:
        if self._sender is not None:
            header = codec.header(self._session_id, "launch", self._epoch, self._seq)
            self._seq += 1
            self._waiting.append([topic, codec.pack({**header, **body})])
