"""Writes a session: the document first, then the log and the videos, while the disk has room."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import queue
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from capture.frame import Frame
from capture.session.document import LOG_NAME, SessionInfo, versions
from capture.session.gaps import Gaps
from capture.session.log import LogWriter, Syncer
from capture.session.video import VideoSettings, VideoWriter
from rigpose import codec
from rigpose.errors import ConfigError, RigposeError
from rigpose.stamps import now_ns

log = logging.getLogger(__name__)

RESERVE_BYTES = 256_000_000
"""Recording stops here: what stands must still be closed, and the machine must go on working."""
HASH_WAIT_S = 10.0
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def free_bytes(folder: Path) -> int:
    """What the disk below a folder has left."""
    return shutil.disk_usage(folder).free


def new_folder(to: Path, name: str, started: datetime) -> Path:
    """Make the dated folder of a session; a name that is taken gets a number, nothing is overwritten.

    Raises:
        ConfigError: The folder cannot be made.
    """
    stem = f"{started:%Y-%m-%d_%H%M%S}_{_UNSAFE.sub('-', name).strip('-.') or 'session'}"
    try:
        to.mkdir(parents=True, exist_ok=True)
        for number in range(1, 1000):
            folder = to / (stem if number == 1 else f"{stem}_{number}")
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                continue
    except OSError as error:
        raise ConfigError(
            to, f"cannot hold a session: {error.strerror}", "set record.to to a folder of yours"
        ) from None
    raise ConfigError(to, f"already holds a thousand sessions named {stem}", "give the session another name")


class SessionWriter:
    """One session being recorded. Its methods may be called from several threads.

    Every ``add_*`` says whether it was kept. Where the disk is full, the recording stops loudly
    (``stopped`` says why, the log carries an error), what stands is closed as it should be, and all
    later calls answer ``False`` and are counted in ``refused``: the caller goes on.

    Args:
        to: Folder of the sessions.
        name: Goes into the folder's name.
        info: What is known of the session; start, clocks and versions are filled in here.
        video: How pictures are kept.
        reserve_bytes: Free space that is left alone.
        free_space: Says what a folder's disk has left; only tests give another.

    Attributes:
        path: The session's folder.
        counts: Messages kept, by channel.
        refused: Messages that were not kept, by channel.
        stopped: Why the recording ended before it was closed, or "".

    Raises:
        ConfigError: The folder cannot be made, or its disk has no room.
    """

    def __init__(
        self,
        to: str | Path,
        name: str,
        info: SessionInfo | None = None,
        *,
        video: VideoSettings | None = None,
        reserve_bytes: int = RESERVE_BYTES,
        free_space: Callable[[Path], int] = free_bytes,
    ) -> None:
        started = datetime.now().astimezone()
        self.path = new_folder(Path(to).absolute(), name, started)
        self._free_space = free_space
        self._reserve_bytes = reserve_bytes
        free = free_space(self.path)
        if free < reserve_bytes:
            self.path.rmdir()
            raise ConfigError(
                to, f"its disk has {_size(free)} left, a recording needs {_size(reserve_bytes)}", "free some space"
            )
        monotonic_ns, utc_ns = now_ns(), time.time_ns()
        self.info = (info or SessionInfo()).model_copy(
            update={
                "started": started.isoformat(timespec="milliseconds"),
                "monotonic_ns": monotonic_ns,
                "utc_ns": utc_ns,
                "versions": versions(),
                "host": versions()["platform"],
            }
        )
        self.info.write(self.path)
        self._offset_ns = utc_ns - monotonic_ns
        self._video_settings = video or VideoSettings()
        self._videos: dict[str, VideoWriter] = {}
        self._earlier: list[Path] = []
        self._references: set[tuple[str, str]] = set()
        self._to_describe: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        self._describer: threading.Thread | None = None
        self._closing = threading.Event()
        self._lock = threading.RLock()
        self._log: LogWriter | None = LogWriter(self.path / LOG_NAME)
        self.counts = self._log.counts
        self.refused = dict.fromkeys(self.counts, 0)
        self.gaps = Gaps()
        self.stopped = ""
        self._tick()
        self._syncer = Syncer(also=self._tick)
        self._syncer.add(self._log.path)

    def __enter__(self) -> SessionWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def n_bytes(self) -> int:
        """Bytes of the log and of the videos so far."""
        files = [self.path / LOG_NAME, *self._earlier, *(video.path for video in list(self._videos.values()))]
        return sum(file.stat().st_size for file in files if file.exists())

    @property
    def free_bytes(self) -> int:
        """What the disk has left."""
        return self._free_space(self.path)

    def add_pose(self, payload: bytes, published_ns: int = 0, *, at_ns: int | None = None) -> bool:
        """Keep a pose message exactly as it was published."""
        at_ns = now_ns() if at_ns is None else at_ns
        return self._write("poses", payload, at_ns, published_ns or at_ns)

    def add_meta(self, payload: bytes, info: Mapping[str, Any] | None = None) -> bool:
        """Keep a meta message; ``info`` completes ``session.json`` where the start did not know it."""
        if info:
            with self._lock:
                missing = {key: value for key, value in info.items() if value and not getattr(self.info, key)}
                if missing and not self.stopped:
                    self.info = self.info.model_copy(update=missing)
                    try:
                        self.info.write(self.path)
                    except OSError as error:
                        self._fail(error)
        return self._write("meta", payload, now_ns())

    def add_frame(self, frame: Frame) -> bool:
        """Keep a frame: its picture in the camera's video unless it is in a file already, and its stamps."""
        with self._lock:
            if self._log is None:
                self.refused["stamps"] += 1
                return False
            file, index = frame.video or (None, None)
            if frame.video is None and frame.image is not None:
                try:
                    video = self._video(frame)
                    index = video.add(frame)
                except (RigposeError, OSError) as error:
                    self._fail(error)
                    self.refused["stamps"] += 1
                    return False
                file = video.path.name
            elif file is not None:
                self._refer(frame.camera, file)
            return self._write("stamps", codec.pack(_stamp(frame, file, index)), frame.received_ns or now_ns())

    def add_event(
        self,
        name: str,
        *,
        source: str,
        text: str = "",
        t_ns: int | None = None,
        clock: str = "monotonic",
        data: Mapping[str, Any] | None = None,
    ) -> bool:
        """Keep something that happened, with the clock that its time is of."""
        at_ns = now_ns()
        event = {"name": name, "t_ns": at_ns if t_ns is None else t_ns, "clock": clock, "source": source}
        return self._write("events", codec.pack({**event, "text": text, "data": dict(data or {})}), at_ns)

    def add_health(self, node: str, counters: Mapping[str, Any]) -> bool:
        """Keep what a node has counted so far."""
        return self._write("health", codec.pack({"node": node, "t_ns": now_ns(), "counters": dict(counters)}), now_ns())

    def recording(self) -> dict[str, Any]:
        """The ``recording`` section of a summary."""
        return {
            "path": str(self.path),
            "poses": self.counts["poses"],
            "frames": self.counts["stamps"],
            "lost": self.gaps.total,
            "lost_by": self.gaps.by_node(),
            "refused": sum(self.refused.values()),
            "bytes": self.n_bytes,
            "closed": self._log is None and not self.stopped,
            "stopped": self.stopped,
        }

    def close(self) -> dict[str, Any]:
        """Write what waits, finish every file, and give the ``recording`` section. Does not raise."""
        # The clock thread takes the lock, so it ends before the lock is taken for good.
        if self._closing.is_set():
            return self.recording()
        if self._describer is not None:
            self._to_describe.put(None)
            self._describer.join(HASH_WAIT_S)
        self._closing.set()
        if self._describer is not None:
            self._describer.join(1.0)  # it says the path of a file that it could not sum up in time
        with self._lock:
            self._finish()
        self._syncer.close()
        return self.recording()

    def _write(self, topic: str, data: bytes, monotonic_ns: int, published_ns: int | None = None) -> bool:
        with self._lock:
            if self._log is None:
                self.refused[topic] += 1
                return False
            published = None if published_ns is None else published_ns + self._offset_ns
            try:
                self._log.write(topic, data, monotonic_ns + self._offset_ns, published)
            except OSError as error:
                self._fail(error)
                self.refused[topic] += 1
                return False
            return True

    def _fail(self, error: Exception) -> None:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        self.stopped = self.stopped or reason
        log.error("%s: RECORDING STOPPED: %s; everything else goes on, what was recorded stands", self.path, reason)
        self._finish()

    def _finish(self) -> None:
        """Close the videos and the log; whatever fails here is told and does not stop the rest."""
        if self._log is None:
            return
        for camera, video in self._videos.items():
            try:
                video.close()
            except RigposeError as error:
                log.error("camera %s: %s", camera, error)
                self.stopped = self.stopped or str(error)
        writer, self._log = self._log, None
        try:
            facts = {**self.recording(), "stopped": self.stopped}
            writer.write_metadata("closing", {key: json.dumps(value) for key, value in facts.items()})
            writer.finish()
        except OSError as error:
            log.error("%s: the log has no footer (%s); it can be read all the same", writer.path, error.strerror)
            self.stopped = self.stopped or str(error)
        writer.close()

    def _tick(self) -> None:
        """Each second: both clocks, and whether the disk has room."""
        pair = {"monotonic_ns": now_ns(), "utc_ns": time.time_ns()}
        with self._lock:
            if self._log is None:
                return
            self._write("clock", codec.pack(pair), pair["monotonic_ns"])
            try:
                free = self.free_bytes
            except OSError as error:
                self._fail(error)
                return
            if free < self._reserve_bytes:
                self._fail(
                    RigposeError("", f"the disk has {_size(free)} left, {_size(self._reserve_bytes)} are reserved")
                )

    def _video(self, frame: Frame) -> VideoWriter:
        video = self._videos.get(frame.camera)
        if video is not None and frame.size != video.size:
            # A video has one size: a camera that changes it goes on in another file.
            log.warning("camera %s changed its size to %dx%d: another video begins", frame.camera, *frame.size)
            video.close()
            self._earlier.append(video.path)
            video = None
        if video is None:
            stem, number = _UNSAFE.sub("-", frame.camera), 0
            path = self.path / f"{stem}.mp4"
            while path.exists():  # or two names that differ only in characters that no file name has
                number += 1
                path = self.path / f"{stem}_{number}.mp4"
            video = VideoWriter(path, frame.camera, frame.size, self._video_settings)
            self._videos[frame.camera] = video
            self._syncer.add(path)
        return video

    def _refer(self, camera: str, file: str) -> None:
        """Keep which file a camera's pictures are in; its sum is computed beside the recording."""
        if (camera, file) in self._references:
            return
        self._references.add((camera, file))
        self._to_describe.put((camera, file))
        # One thread for all: a sequence of images is a file for each frame.
        if self._describer is None:
            self._describer = threading.Thread(target=self._describe_all, name="sha256", daemon=True)
            self._describer.start()

    def _describe_all(self) -> None:
        while not self._closing.is_set() and (item := self._to_describe.get()) is not None:
            camera, file = item
            path = Path(file).absolute()
            facts = {"camera": camera, **describe_file(path, self._closing)}
            self.add_event("video_reference", source=camera, text=str(path), data=facts)


def describe_file(path: Path, stop: threading.Event | None = None) -> dict[str, Any]:
    """Path, size and sha256 of a file that a session refers to; the sum is ``None`` where it cannot be had."""
    facts: dict[str, Any] = {"path": str(path), "bytes": None, "sha256": None}
    digest = hashlib.sha256()
    try:
        if path.is_dir():  # an image sequence: the sum of its files in order of their names
            files = sorted(file for file in path.iterdir() if file.is_file())
        else:
            files = [path]
        facts["bytes"] = sum(file.stat().st_size for file in files)
        for file in files:
            with open(file, "rb") as stream:
                while block := stream.read(1 << 20):
                    if stop is not None and stop.is_set():
                        return facts
                    digest.update(block)
        facts["sha256"] = digest.hexdigest()
    except OSError as error:
        log.warning("%s: referred to by the recording, but cannot be read: %s", path, error.strerror)
    return facts


def _stamp(frame: Frame, file: str | None, index: int | None) -> dict[str, Any]:
    stamp: dict[str, Any] = {
        "camera": frame.camera,
        "node_epoch": frame.node_epoch,
        "seq": frame.seq,
        "tick": frame.tick,
        "exposed_ns": frame.exposed_ns,
        "exposed_from": frame.exposed_from,
        "device_ns": frame.device_ns,
        "host_ns": frame.host_ns,
        "received_ns": frame.received_ns,
        "exposure_ns": frame.exposure_ns,
        "line_state": frame.line_state,
        "serial": frame.serial,
        "pixel_format": frame.pixel_format,
        "size": frame.size,
        "roi_offset": frame.roi_offset,
        "binning": frame.binning,
        "video_file": file,
        "video_frame_index": index,
        "counters": dataclasses.asdict(frame.counters),
    }
    if frame.points is not None:
        stamp["points"] = frame.points.points
        stamp["confidence"] = frame.points.confidence
    return stamp


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"
