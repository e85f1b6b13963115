"""What launch hears of a run's poses and of the truth, like any subscriber, and what it adds up to."""

from __future__ import annotations

import logging
from typing import Any

from capture.pose_wire import META, POSES, TRUTH, PoseSubscriber
from capture.rundir import RunDirectory
from nodes.ledger import PoseTally
from nodes.mpjpe import TruthTally
from nodes.recent import WINDOW_S, Recent
from rigpose import codec
from rigpose.errors import ProtocolError
from rigpose.pose import from_message
from rigpose.stamps import now_ns

log = logging.getLogger(__name__)

QUEUE_MESSAGES = 10_000


class Listener:
    """Listens from before the engine's first pose on, so that it misses none. One thread only.

    Args:
        run_dir: Where the sockets are.
        truth: Whether a truth is told.

    Attributes:
        poses: What the published poses show.
        truths: How far they lie from the truth.
        rejected: Messages that follow no contract.
    """

    def __init__(self, run_dir: RunDirectory, *, truth: bool) -> None:
        self.poses = PoseTally()
        self.truths = TruthTally()
        self.rejected = 0
        self._recent = Recent()
        self._pose_socket = PoseSubscriber(run_dir.endpoint("poses"), (POSES, META), hwm=QUEUE_MESSAGES)
        self._truth_socket = PoseSubscriber(run_dir.endpoint("truth"), (TRUTH,), hwm=QUEUE_MESSAGES) if truth else None

    def close(self) -> None:
        """Stop listening."""
        self._pose_socket.close()
        if self._truth_socket is not None:
            self._truth_socket.close()

    def hear(self) -> set[str]:
        """Take in what has come; the epochs of the engines whose ``meta`` was heard."""
        heard = set()
        while (received := self._pose_socket.receive()) is not None:
            topic, payload = received
            try:
                message = codec.unpack(payload)
                if topic == POSES:
                    self._take(message)
                else:
                    codec.check_header(message)
                    heard.add(message["node_epoch"])
            except ProtocolError as error:
                self._reject("pose", error)
        while self._truth_socket is not None and (received := self._truth_socket.receive()) is not None:
            try:
                self.truths.truth(codec.unpack(received[1]))
            except ProtocolError as error:
                self._reject("truth", error)
        return heard

    def recent(self) -> dict[str, Any]:
        """The figures of this moment, for ``status.json``."""
        now = now_ns()
        return {**self._recent.result(now), "mpjpe_mm": self.truths.recent_mm(now - round(WINDOW_S * 1e9))}

    def _take(self, message: dict[str, Any]) -> None:
        pose_set = from_message(message)
        self.poses.add(pose_set, message["node_epoch"], message["seq"])
        self._recent.add(pose_set)
        if self._truth_socket is not None:
            self.truths.pose(pose_set)

    def _reject(self, what: str, error: ProtocolError) -> None:
        self.rejected += 1
        log.warning("a %s message was refused: %s", what, error)
