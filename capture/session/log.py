"""The log of a session: one MCAP file that is whole up to its last record at any moment.

Messages are written one by one, without chunks and without a buffer of this process, so that a process
that is killed loses nothing that it was told; a thread asks the disk to keep what was written about once
a second, so that a machine that loses power loses about a second.

``log_time`` is UTC as one constant plus this host's monotonic clock (the constant stands in
``session.json``), so it never steps; the ``clock`` channel holds (monotonic, UTC) pairs.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from mcap.exceptions import EndOfFile, McapError
from mcap.records import Channel, Footer, Header, McapRecord, Message, Metadata, Statistics
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, IndexType, Writer

from rigpose.errors import RigposeError

log = logging.getLogger(__name__)

CHANNELS: dict[str, tuple[str, dict[str, Any]]] = {
    "poses": ("rigpose.PoseSet", {"description": "one pose message a frame set, as the engine published it"}),
    "meta": ("rigpose.Meta", {"description": "skeletons, rig and model, as the engine published them"}),
    "stamps": (
        "rigpose.Stamp",
        {
            "description": "one camera frame: when it was taken and where its picture is",
            "properties": {
                "camera": {"type": "string"},
                "node_epoch": {"type": "string", "description": "UUID of the camera node's process start"},
                "seq": {"type": "integer", "description": "counts the frames seen by that node from 0"},
                "tick": {"type": ["integer", "null"]},
                "exposed_ns": {"type": "integer", "description": "middle of the exposure, monotonic clock"},
                "exposed_from": {"enum": ["device", "schedule", "arrival"]},
                "device_ns": {"type": ["integer", "null"]},
                "host_ns": {"type": "integer", "description": "when the node had it, monotonic clock"},
                "received_ns": {"type": "integer", "description": "when the recorder had it, monotonic clock"},
                "video_file": {"type": ["string", "null"], "description": "in the session folder, or a path outside"},
                "video_frame_index": {"type": ["integer", "null"], "description": "counts decoded pictures from 0"},
                "counters": {"type": "object"},
            },
        },
    ),
    "events": (
        "rigpose.Event",
        {
            "description": "something that happened, with the clock that its time is of",
            "properties": {
                "name": {"type": "string"},
                "t_ns": {"type": "integer"},
                "clock": {"type": "string", "description": "monotonic | utc | another clock's name"},
                "source": {"type": "string"},
                "text": {"type": "string"},
                "data": {"type": "object"},
            },
        },
    ),
    "health": (
        "rigpose.Health",
        {"description": "what a node has counted so far", "properties": {"node": {"type": "string"}}},
    ),
    "clock": (
        "rigpose.ClockPair",
        {
            "description": "both clocks of this host at one moment, each second",
            "properties": {"monotonic_ns": {"type": "integer"}, "utc_ns": {"type": "integer"}},
        },
    ),
}
"""Topic -> (schema name, JSON schema of the MessagePack messages)."""

MAX_RECORD_BYTES = 256 * 1024 * 1024


class UnbufferedFile:
    """A new file whose every write is whole in the kernel's hands when it returns, or is taken back.

    The MCAP writer wraps a raw file in a buffer of its own, which a killed process loses; so this is
    deliberately not a raw file, only something with the same verbs.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115 - closed by close()
        self._size = 0

    def fileno(self) -> int:
        """For fsync."""
        return self._file.fileno()

    def write(self, data: bytes) -> int:
        """Write all of it; after an ``OSError`` the file ends where it ended before."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError:
            self._file.truncate(self._size)
            self._file.seek(self._size)
            raise
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        """Bytes so far."""
        return self._size

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Close."""
        self._file.close()


class Syncer:
    """Asks the disk, about once a second and in a thread of its own, to keep files that grow.

    ``fdatasync`` may take long on a busy disk; nobody waits for it but this thread.
    """

    def __init__(self, every_s: float = 1.0, also: Callable[[], None] | None = None) -> None:
        self._every_s = every_s
        self._also = also
        self._files: dict[Path, int] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="session-sync", daemon=True)
        self._thread.start()

    def add(self, path: Path) -> None:
        """Keep this file, from now on."""
        with self._lock:
            self._files[path] = os.open(path, os.O_RDWR)

    def close(self) -> None:
        """Sync once more and end."""
        self._stop.set()
        self._thread.join()
        self._sync()
        with self._lock:
            for descriptor in self._files.values():
                os.close(descriptor)
            self._files.clear()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self._sync()
            if self._also is not None:
                self._also()

    def _sync(self) -> None:
        with self._lock:
            files = list(self._files.items())
        for path, descriptor in files:
            try:
                getattr(os, "fdatasync", os.fsync)(descriptor)
            except OSError as error:
                log.warning("%s: the disk did not confirm: %s", path, error)


class LogWriter:
    """Writes the MCAP file of a session.

    Args:
        path: A file that does not exist yet.

    Raises:
        OSError: From any method, when the disk refuses; the file then still ends with a whole record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = UnbufferedFile(path)
        self._writer = Writer(
            self._stream,  # type: ignore[arg-type]
            compression=CompressionType.NONE,
            index_types=IndexType.NONE,
            use_chunking=False,
        )
        self._writer.start(profile="rigpose", library="rigpose")
        self._channels: dict[str, int] = {}
        for topic, (name, schema) in CHANNELS.items():
            text = json.dumps({"type": "object", "title": name, **schema}).encode()
            schema_id = self._writer.register_schema(name, "jsonschema", text)
            self._channels[topic] = self._writer.register_channel(topic, "msgpack", schema_id)
        self.counts = dict.fromkeys(CHANNELS, 0)

    @property
    def n_bytes(self) -> int:
        """Size of the file so far."""
        return self._stream.tell()

    def write(self, topic: str, data: bytes, log_time: int, publish_time: int | None = None) -> None:
        """Append one message to a channel; when it returns, only the machine's death can lose it."""
        self._writer.add_message(
            self._channels[topic],
            log_time,
            data,
            log_time if publish_time is None else publish_time,
            self.counts[topic] & 0xFFFFFFFF,
        )
        self.counts[topic] += 1

    def write_metadata(self, name: str, values: dict[str, str]) -> None:
        """Append named facts."""
        self._writer.add_metadata(name, values)

    def finish(self) -> None:
        """Write the summary and the footer; a file without them says that it was not closed."""
        self._writer.finish()

    def close(self) -> None:
        """Let the file go, finished or not."""
        self._stream.close()


class _Readable(Protocol):
    def read(self, n: int, /) -> bytes: ...


class _WholeReads:
    """A file that ends before a read that it cannot serve whole: a torn record is no record."""

    def __init__(self, file: _Readable) -> None:
        self._file = file

    def read(self, length: int) -> bytes:
        data = self._file.read(length)
        if len(data) != length:
            raise EndOfFile()
        return data


@dataclass(slots=True)
class LogState:
    """What reading a log through has shown.

    Attributes:
        closed: The footer is there.
        end: Where the last whole record ends, in bytes.
        statistics: From the summary of a file that was closed.
        metadata: Named facts.
    """

    closed: bool = False
    end: int = 0
    statistics: Statistics | None = None
    metadata: dict[str, dict[str, str]] | None = None


def read_log(path: Path, state: LogState | None = None) -> Iterator[tuple[str, Message, int]]:
    """Every whole message of a log, finished or not, as ``(topic, message, offset)`` in written order.

    The indexed readers of the mcap package give no message at all from a file that was not closed;
    this reads it as a stream and stops at the first record that is not whole.

    Args:
        path: The MCAP file.
        state: Filled while reading.

    Raises:
        RigposeError: The file is no MCAP file.
    """
    state = state if state is not None else LogState()
    state.metadata = {}
    topics: dict[int, str] = {}
    with open(path, "rb", buffering=1 << 20) as file:
        for record, offset in _records(file, path):
            state.end = file.tell()
            if isinstance(record, Message):
                if record.channel_id in topics:
                    yield topics[record.channel_id], record, offset
            elif isinstance(record, Channel):
                topics[record.id] = record.topic
            elif isinstance(record, Statistics):
                state.statistics = record
            elif isinstance(record, Metadata):
                state.metadata[record.name] = dict(record.metadata)
            elif isinstance(record, Footer):
                state.closed = True


def _records(file: IO[bytes], path: Path) -> Iterator[tuple[McapRecord, int]]:
    reader = StreamReader(_WholeReads(file), record_size_limit=MAX_RECORD_BYTES)  # type: ignore[arg-type]
    records = reader.records
    first = True
    while True:
        offset = file.tell()
        try:
            record = next(records)
        except (StopIteration, EndOfFile):
            return
        except McapError as error:
            if first:
                raise RigposeError(path, "is not an MCAP file", "name the folder of a session") from error
            log.warning("%s: unreadable from byte %d on", path, offset)
            return
        except (ValueError, UnicodeDecodeError, OverflowError) as error:
            # A power cut can leave zeros where records should be.
            log.warning("%s: unreadable from byte %d on: %s", path, offset, error)
            return
        if first:
            first = False
            if not isinstance(record, Header):
                raise RigposeError(path, "is not an MCAP file", "name the folder of a session")
        yield record, offset


def read_message(file: IO[bytes], offset: int) -> Message:
    """The one message that begins at an offset which ``read_log`` gave."""
    file.seek(offset)
    record = next(StreamReader(_WholeReads(file), skip_magic=True, record_size_limit=MAX_RECORD_BYTES).records)  # type: ignore[arg-type]
    assert isinstance(record, Message)
    return record
