"""Reads a session, also one whose recording was killed."""

from __future__ import annotations

import json
import logging
from array import array
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from calib.document import rig_from_document
from calib.rig import Rig
from capture.session.document import (
    LOG_NAME,
    RECOVERED_NAME,
    SUMMARY_NAME,
    SessionInfo,
    read_info,
)
from capture.session.log import LogState, read_log, read_message
from rigpose import codec
from rigpose.errors import ConfigError, ProtocolError, RigposeError
from rigpose.pose import PoseSet, from_message
from rigpose.skeleton import Skeleton

log = logging.getLogger(__name__)


class SessionReader:
    """A recorded session.

    Args:
        path: The session's folder.

    Attributes:
        path: The folder.
        info: What ``session.json`` says.

    Raises:
        ConfigError: No session there, or one of a newer version.
        RigposeError: Its log is missing or no MCAP file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self.info: SessionInfo = read_info(self.path)
        recovered = self.path / RECOVERED_NAME
        self.log_path = recovered if recovered.exists() else self.path / LOG_NAME
        if not self.log_path.exists():
            raise RigposeError(self.path, f"has no {LOG_NAME}", "nothing was recorded")
        self._state = LogState()
        self._counts: Counter[str] = Counter()

    @cached_property
    def _offsets(self) -> array[int]:
        """Where each pose message begins; 8 bytes a set is all that is kept in memory."""
        offsets = array("Q")
        for topic, _, offset in read_log(self.log_path, self._state):
            self._counts[topic] += 1
            if topic == "poses":
                offsets.append(offset)
        if not self._state.closed:
            # After a power cut a record may have its length and not its bytes; only the last ones can.
            with open(self.log_path, "rb") as file:
                while offsets and not _is_readable(read_message(file, offsets[-1]).data):
                    offsets.pop()
            log.warning("%s: was not closed (killed, or still recording); %d sets can be read", self.path, len(offsets))
        return offsets

    @property
    def n_sets(self) -> int:
        """How many pose sets there are."""
        return len(self._offsets)

    @property
    def closed(self) -> bool:
        """Whether the recording ended as it should: nothing can be missing at its end."""
        _ = self._offsets
        return self._state.closed

    def recording(self) -> dict[str, Any]:
        """The ``recording`` section of a summary: path, poses, frames, lost, closed and why it stopped.

        What only the writer knew is ``None`` where it was killed.
        """
        _ = self._offsets
        closing = (self._state.metadata or {}).get("closing")
        if closing is not None:
            facts = {key: json.loads(value) for key, value in closing.items()}
        else:
            facts = {"poses": self.n_sets, "frames": self._counts["stamps"], "lost": None, "refused": None}
            facts["stopped"] = "not closed"
        return {**facts, "path": str(self.path), "closed": self._state.closed and not facts.get("stopped")}

    def poses(self) -> Iterator[PoseSet]:
        """Every pose set, as recorded."""
        offsets = self._offsets
        with open(self.log_path, "rb") as file:
            for offset in offsets:
                yield self._pose(read_message(file, offset).data)

    def pose(self, index: int) -> PoseSet:
        """The pose set at an index, counted from 0 (negative: from the end).

        Raises:
            RigposeError: There is none at that index.
        """
        n = self.n_sets
        if not n:
            raise RigposeError(self.path, "holds no pose set", "record again while the engine runs")
        if not -n <= index < n:
            raise ConfigError(self.path, f"has no set {index}", f"it has {n}, 0 to {n - 1}")
        with open(self.log_path, "rb") as file:
            return self._pose(read_message(file, self._offsets[index]).data)

    def payloads(self, topic: str) -> Iterator[bytes]:
        """The messages of one channel as bytes."""
        for message in self._messages(topic):
            yield message[1]

    def stamps(self) -> Iterator[dict[str, Any]]:
        """Every recorded frame: when it was taken and where its picture is."""
        return map(codec.unpack, self.payloads("stamps"))

    def events(self) -> Iterator[dict[str, Any]]:
        """What happened: ``name, t_ns, clock, source, text, data``."""
        return map(codec.unpack, self.payloads("events"))

    def health(self) -> Iterator[dict[str, Any]]:
        """What nodes had counted: ``node, t_ns, counters``."""
        return map(codec.unpack, self.payloads("health"))

    def meta(self) -> Iterator[dict[str, Any]]:
        """The engine's meta messages."""
        return map(codec.unpack, self.payloads("meta"))

    def clock_pairs(self) -> Iterator[tuple[int, int]]:
        """(monotonic, UTC) in ns, each second."""
        for pair in map(codec.unpack, self.payloads("clock")):
            yield int(pair["monotonic_ns"]), int(pair["utc_ns"])

    def rig(self) -> Rig:
        """The rig that the poses belong to.

        Raises:
            RigposeError: The session does not hold one.
        """
        document = self.info.rig
        if document is None:
            raise RigposeError(self.path, "holds no rig", "it was recorded without an engine that told it")
        return rig_from_document(document, self.path)

    def skeletons(self) -> dict[str, Skeleton]:
        """The skeletons of the session's subjects, by name."""
        return {skeleton.name: skeleton for skeleton in self.info.skeletons}

    def summary(self) -> dict[str, Any] | None:
        """The run's summary, where it was copied in."""
        try:
            document = json.loads((self.path / SUMMARY_NAME).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise RigposeError(self.path / SUMMARY_NAME, f"cannot be read: {error}") from None
        return document if isinstance(document, dict) else None

    def _messages(self, topic: str) -> Iterator[tuple[int, bytes]]:
        for found, message, _ in read_log(self.log_path):
            if found == topic:
                yield message.log_time, message.data

    def _pose(self, payload: bytes) -> PoseSet:
        try:
            return from_message(codec.unpack(payload))
        except ProtocolError as error:
            raise RigposeError(self.log_path, f"holds a pose that cannot be read: {error}") from None


def _is_readable(payload: bytes) -> bool:
    try:
        from_message(codec.unpack(payload))
    except ProtocolError:
        return False
    return True
