"""What networks saw of a subject in all cameras: from a recorded session, a running rig, or a file."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from calib.document import rig_from_document
from calib.observations import BROKEN_NPZ
from calib.refine import LEAST_KEYPOINTS
from calib.rig import Rig
from capture.pose_wire import META, POSES, PoseSubscriber
from capture.rundir import RunDirectory
from capture.session import SessionReader
from nodes.calibrate.listening import Listening
from nodes.calibrate.recorded_rig import RecordedRig, rig_of_run, rig_of_session
from nodes.meta import info_of
from rigpose import codec
from rigpose.errors import ConfigError, ProtocolError, RigposeError
from rigpose.pose import PoseSet, from_message

log = logging.getLogger(__name__)

RUNNING = "running"
"""The word for the rig that runs now."""
FIRST_WAIT_S = 90.0
"""How long a rig may take to its first pose: as long as its nodes may take to be ready, and some more."""
MOST_SETS = 20_000
_MAX_BYTES = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class Sightings:
    """2D keypoints of all cameras over time.

    Attributes:
        cameras: V names.
        px: (V, T, J, 2) raw px; NaN = not seen. Every subject of a set is a row of T of its own.
        confidence: (V, T, J) 0..1.
        rig: The cameras that belong to these pixels; ``None`` where the source does not say.
        calibration: The same as they were calibrated, for pictures that may be of another size; ``None`` as above.
        source: Where they are from.
        network: What made them.
        time_s: (T,) when; NaN = not known.
    """

    cameras: tuple[str, ...]
    px: np.ndarray
    confidence: np.ndarray
    rig: Rig | None
    source: str
    network: str
    time_s: np.ndarray
    calibration: Rig | None = None

    def of(self, names: tuple[str, ...]) -> Sightings:
        """The same with cameras in this order; one that is not there saw nothing.

        Raises:
            ConfigError: None of them is there.
        """
        if names == self.cameras:
            return self
        if not set(names) & set(self.cameras):
            raise ConfigError(
                self.source, f"has cameras {', '.join(self.cameras)}, the rig {', '.join(names)}", "name them alike"
            )
        px = np.full((len(names), *self.px.shape[1:]), np.nan)
        confidence = np.zeros(px.shape[:-1])
        for v, name in enumerate(names):
            if name in self.cameras:
                px[v], confidence[v] = self.px[self.cameras.index(name)], self.confidence[self.cameras.index(name)]
        return replace(self, cameras=names, px=px, confidence=confidence)


def sightings(
    source: str | Path, *, seconds: float = 20.0, run_dir: Path | None = None, quiet: bool = True
) -> Sightings:
    """The keypoints of a session, of the running rig, or of an ``.npz``.

    Args:
        source: A session's folder, ``running``, or a file with ``cameras`` (V names), ``px`` (V, T, J, 2) and
            ``confidence`` (V, T, J).
        seconds: How long to listen to the running rig.
        run_dir: Of the running rig; default: the latest.
        quiet: Do not show how much was heard of it so far.

    Raises:
        RigposeError: There are none.
    """
    if str(source) == RUNNING:
        run = RunDirectory.open(run_dir) if run_dir is not None else RunDirectory.latest()
        return _heard(run, seconds, quiet)
    path = Path(source).expanduser()
    if path.suffix.lower() == ".npz":
        return _from_file(path)
    session = SessionReader(path)
    return collect(session.poses(), str(path), rig_of_session(session))


def collect(poses: Iterable[PoseSet], source: str, rig: RecordedRig | None) -> Sightings:
    """The 2D keypoints in pose sets.

    Raises:
        RigposeError: No pose holds any.
    """
    rows: list[tuple[np.ndarray, np.ndarray, float]] = []
    cameras: tuple[str, ...] = ()
    network = ""
    for pose in poses:
        for subject in pose.subjects:
            if subject.points2d is None:
                continue
            if cameras and pose.cameras != cameras:
                raise RigposeError(source, "changes its cameras", "take a recording of one run")
            if rows and rows[0][0].shape != subject.points2d.shape:
                continue  # another skeleton
            cameras, network = pose.cameras, pose.model
            seen = subject.points2d.astype(np.float64)
            sure = np.ones(seen.shape[:-1]) if subject.confidence2d is None else subject.confidence2d.astype(np.float64)
            rows.append((seen, np.where(np.isfinite(seen).all(axis=-1), sure, 0.0), _when(pose)))
        if len(rows) >= MOST_SETS:
            break
    if not rows:
        raise RigposeError(
            source, "holds no 2D keypoints", "record with engine.send_points2d: true while a subject is seen"
        )
    px, confidence, times = (np.stack(column) for column in zip(*rows, strict=True))
    pictures, calibration = (None, None) if rig is None else (rig.pictures, rig.calibration)
    return Sightings(
        cameras, px.swapaxes(0, 1), confidence.swapaxes(0, 1), pictures, source, network, times, calibration
    )


def _when(pose: PoseSet) -> float:
    exposed = [ns for ns in pose.stamps.exposed_ns if ns]
    return float(np.median(exposed)) / 1e9 if exposed else float("nan")


def _from_file(path: Path) -> Sightings:
    remedy = "it needs cameras (V names), px (V, T, J, 2) and confidence (V, T, J)"
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(path, "is larger than 2 GB", "give a part of it")
        with np.load(path, allow_pickle=False) as data:
            missing = {"cameras", "px"} - set(data.files)
            if missing:
                raise ConfigError(path, f"has no {sorted(missing)[0]}", remedy)
            cameras = tuple(str(name) for name in data["cameras"])
            px = np.asarray(data["px"], dtype=np.float64)
            seen: np.ndarray = np.asarray(np.isfinite(px).all(axis=-1))
            sure = (
                np.asarray(data["confidence"], dtype=np.float64) if "confidence" in data.files else np.ones(seen.shape)
            )
    except FileNotFoundError:
        raise ConfigError(path, "no such file", "check the path") from None
    except BROKEN_NPZ as error:
        raise ConfigError(path, f"cannot be read: {' '.join(str(error).split())}", remedy) from None
    if px.ndim != 4 or px.shape[-1] != 2 or px.shape[0] != len(cameras) or sure.shape != seen.shape:
        raise ConfigError(path, f"px has shape {list(px.shape)}, confidence {list(sure.shape)}", remedy)
    px = np.where(seen[..., None], px, np.nan)
    return Sightings(cameras, px, np.where(seen, sure, 0), None, str(path), path.stem, np.full(px.shape[1], np.nan))


class Heard:
    """The poses of a running rig, as they come; a context manager.

    Args:
        run: Where the sockets are.

    Attributes:
        rig: Its cameras, for the pictures that come; ``None`` until the engine told it after a pose. What it tells
            before it has seen a picture are the rig file's cameras, which may be for pictures of another size.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.rig: RecordedRig | None = None
        self._run = run
        self._posed = False
        self._socket = PoseSubscriber(run.endpoint("poses"), (POSES, META), hwm=1000)

    def __enter__(self) -> Heard:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def poses(self, seconds: float | None) -> Iterator[PoseSet | None]:
        """Each pose set until the rig ends, or for so long from the next one on; ``None`` where none comes for 0.1 s.

        Raises:
            RigposeError: None came for a long time: a rig needs some seconds to start, more on a busy machine.
        """
        patient = time.monotonic() + FIRST_WAIT_S
        end: float | None = None
        while end is None or time.monotonic() < end:
            received = self._socket.receive(0.1)
            if received is None:
                if not self._run.is_running:
                    return
                if not self._posed and time.monotonic() > patient:
                    raise RigposeError(
                        self._run.path, "the rig runs, but its engine says nothing", "see: rigpose status"
                    )
                yield None
                continue
            try:
                message = codec.unpack(received[1])
                codec.check_header(message)
                if received[0] == META:
                    self._tell(message)
                    continue
                pose = from_message(message)
            except ProtocolError:
                continue
            self._posed = True
            if end is None and seconds is not None:
                end = time.monotonic() + seconds
            yield pose

    def _tell(self, message: dict[str, Any]) -> None:
        if self._posed:
            pictures = rig_from_document(info_of(message)["rig"] or {}, "the engine's meta message")
            if self.rig is None or pictures.calibration_id != self.rig.pictures.calibration_id:
                self.rig = rig_of_run(self._run, pictures, str(message.get("calibration_id")))

    def wait_for_rig(self) -> None:
        """Hear on until the engine told its cameras, which it does once a second, or the rig ends."""
        for _ in self.poses(None):
            if self.rig is not None:
                return


def _heard(run: RunDirectory, seconds: float, quiet: bool) -> Sightings:
    poses = []
    with Heard(run) as heard:
        with Listening(seconds, LEAST_KEYPOINTS, quiet=quiet) as listening:
            for pose in heard.poses(seconds):
                listening.add(pose)
                if pose is not None:
                    poses.append(pose)
        if poses and heard.rig is None:
            heard.wait_for_rig()
        log.info("heard %d poses in %.0f s", len(poses), seconds)
        return collect(poses, f"the rig that runs in {run.path}", heard.rig)
