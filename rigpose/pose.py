"""3D poses of one frame set, and the message by which they travel.

A joint that was not measured is NaN in ``position_mm`` and says why; a prediction stands beside it in
``predicted_mm``, never in its place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, UInt

from rigpose import codec
from rigpose.errors import ProtocolError
from rigpose.stamps import EXPOSED_FROM, SetStamps

State = Literal["found", "tracked", "lost"]
STATES = get_args(State)

HOW = ("none", "triangulated", "lifted", "predicted")
"""How a joint was got; its index is what travels."""
NONE, TRIANGULATED, LIFTED, PREDICTED = range(4)

REASONS = ("", "not_seen", "one_view", "residual", "behind_camera", "uncertain", "incomplete_set", "subject_lost")
"""Why a joint has no position; its index is what travels."""
MEASURED, NOT_SEEN, ONE_VIEW, RESIDUAL, BEHIND_CAMERA, UNCERTAIN, INCOMPLETE_SET, SUBJECT_LOST = range(8)

COVARIANCE_ORDER = ("xx", "xy", "xz", "yy", "yz", "zz")

MAX_VIEWS = 32
"""Cameras of one rig: a bit for each in ``views``."""
MAX_SUBJECTS = 256


@dataclass(frozen=True, slots=True)
class SubjectPose:
    """One subject in one frame set.

    Attributes:
        id: Identity within the session.
        id_confidence: 0..1.
        skeleton: Name of the skeleton that orders the joints.
        state: ``found`` = first seen now, ``tracked``, or ``lost`` = nothing to be trusted.
        position_mm: (J, 3) world; NaN where ``how`` is predicted or none.
        covariance_mm2: (J, 6) upper triangle xx xy xz yy yz zz.
        confidence: (J,) 0..1.
        views: (J,) bit mask over the rig's cameras that the position was made from.
        residual_px: (V, J) distance between the reprojected position and the view's keypoint, in raw
            image px, rejected views included, before smoothing; NaN where there is none.
        how: (J,) index into ``HOW``.
        reason: (J,) index into ``REASONS``.
        filtered_mm: (J, 3) smoothed position, where smoothing is on.
        predicted_mm: (J, 3) prediction of joints that were not measured.
        points2d: (V, J, 2) what the network saw, raw image px; NaN = not seen.
        confidence2d: (V, J).
    """

    id: int
    id_confidence: float
    skeleton: str
    state: State
    position_mm: Float[np.ndarray, "J 3"]
    covariance_mm2: Float[np.ndarray, "J 6"]
    confidence: Float[np.ndarray, " J"]
    views: UInt[np.ndarray, " J"]
    residual_px: Float[np.ndarray, "V J"]
    how: UInt[np.ndarray, " J"]
    reason: UInt[np.ndarray, " J"]
    filtered_mm: Float[np.ndarray, "J 3"] | None = None
    predicted_mm: Float[np.ndarray, "J 3"] | None = None
    points2d: Float[np.ndarray, "V J 2"] | None = None
    confidence2d: Float[np.ndarray, "V J"] | None = None

    @property
    def measured(self) -> np.ndarray:
        """(J,) bool: joints whose position is a measurement."""
        return np.isfinite(self.position_mm).all(axis=-1)


_ARRAYS: dict[str, tuple[type, tuple[int | str, ...], bool]] = {
    "position_mm": (np.float32, ("J", 3), True),
    "covariance_mm2": (np.float32, ("J", 6), True),
    "confidence": (np.float32, ("J",), True),
    "views": (np.uint32, ("J",), True),
    "residual_px": (np.float32, ("V", "J"), True),
    "how": (np.uint8, ("J",), True),
    "reason": (np.uint8, ("J",), True),
    "filtered_mm": (np.float32, ("J", 3), False),
    "predicted_mm": (np.float32, ("J", 3), False),
    "points2d": (np.float32, ("V", "J", 2), False),
    "confidence2d": (np.float32, ("V", "J"), False),
}


@dataclass(frozen=True, slots=True)
class SyncInfo:
    """How the views of a set belong together.

    Attributes:
        kind: ``trigger`` (a shared tick), ``ptp`` or ``software`` (nearest on the corrected clock).
        spread_ns: Latest minus earliest exposure in the set.
        tick: The shared tick, where there is one.
    """

    kind: Literal["trigger", "ptp", "software"]
    spread_ns: int
    tick: int | None = None


@dataclass(frozen=True, slots=True)
class PoseSet:
    """The answer to one frame set, also where no subject is in it.

    Attributes:
        set_index: Counts the published sets of this engine process from 0.
        cameras: Names, in the order of the V axis (the rig's).
        frames: ``[node_epoch, seq]`` of the frame of each camera; ``None`` = missing.
        video: ``(file, frame index)`` of each frame where its source is a file, else ``None``.
        sync: How the views belong together.
        lag_frames: Newest tick received minus the tick of this set, in frames.
        stamps: When the set passed each stage.
        calibration_id: Of the rig that the positions were made with.
        model: Model id; with ``runtime``, ``precision`` and ``graph_hash`` it says what made this.
        verdict: What ``calib.quality`` said of the rig: good, suspect or bad.
        subjects: Zero, one or several.
        status: ``ok``, or ``incomplete`` = fewer views than the method needs.
    """

    set_index: int
    cameras: tuple[str, ...]
    frames: tuple[tuple[str, int] | None, ...]
    sync: SyncInfo
    lag_frames: int
    stamps: SetStamps
    calibration_id: str
    model: str
    runtime: str
    precision: str
    graph_hash: str
    verdict: str = "good"
    status: Literal["ok", "incomplete"] = "ok"
    subjects: tuple[SubjectPose, ...] = ()
    video: tuple[tuple[str, int] | None, ...] = field(default=())

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the cameras that this set lacks."""
        return tuple(name for name, frame in zip(self.cameras, self.frames, strict=True) if frame is None)


def to_message(pose: PoseSet, header: dict[str, Any]) -> dict[str, Any]:
    """The pose message of a set; ``header`` comes from ``codec.header``."""
    stamps = pose.stamps
    subjects = []
    for subject in pose.subjects:
        entry: dict[str, Any] = {
            "id": subject.id,
            "id_confidence": subject.id_confidence,
            "skeleton": subject.skeleton,
            "state": subject.state,
        }
        for name, (dtype, _, _) in _ARRAYS.items():
            value = getattr(subject, name)
            if value is not None:
                entry[name] = np.asarray(value, dtype)
        subjects.append(entry)
    return {
        **header,
        "type": "poses",
        "set_index": pose.set_index,
        "cameras": pose.cameras,
        "frames": pose.frames,
        "video": pose.video,
        "missing": pose.missing,
        "status": pose.status,
        "sync": {"kind": pose.sync.kind, "spread_ns": pose.sync.spread_ns, "tick": pose.sync.tick},
        "lag_frames": pose.lag_frames,
        "stamps": {
            "exposed_ns": stamps.exposed_ns,
            "exposed_from": stamps.exposed_from,
            "received_ns": stamps.received_ns,
            "grouped_ns": stamps.grouped_ns,
            "inferred_ns": stamps.inferred_ns,
            "solved_ns": stamps.solved_ns,
            "published_ns": stamps.published_ns,
        },
        "calibration_id": pose.calibration_id,
        "model": pose.model,
        "runtime": pose.runtime,
        "precision": pose.precision,
        "graph_hash": pose.graph_hash,
        "verdict": pose.verdict,
        "subjects": subjects,
    }


def from_message(message: dict[str, Any]) -> PoseSet:
    """The pose set in a message.

    Raises:
        ProtocolError: A field is missing or an array has another shape than its joints and views.
    """
    codec.check_header(message)
    try:
        stamps = message["stamps"]
        cameras = tuple(message["cameras"])
        views = (cameras, message["frames"], stamps["exposed_ns"], stamps["received_ns"])
        if len(cameras) > MAX_VIEWS or len({len(each) for each in views}) > 1:
            raise ProtocolError("pose message", f"has {[len(each) for each in views]} views, at most {MAX_VIEWS} alike")
        if len(message["subjects"]) > MAX_SUBJECTS:
            raise ProtocolError("pose message", f"has {len(message['subjects'])} subjects of at most {MAX_SUBJECTS}")
        if message["status"] not in ("ok", "incomplete") or stamps["exposed_from"] not in EXPOSED_FROM:
            raise ValueError("status or exposed_from")
        return PoseSet(
            set_index=int(message["set_index"]),
            cameras=cameras,
            frames=tuple(None if f is None else (str(f[0]), int(f[1])) for f in message["frames"]),
            video=tuple(None if f is None else (str(f[0]), int(f[1])) for f in message.get("video", ())),
            sync=SyncInfo(message["sync"]["kind"], message["sync"]["spread_ns"], message["sync"].get("tick")),
            lag_frames=int(message["lag_frames"]),
            stamps=SetStamps(
                exposed_ns=tuple(stamps["exposed_ns"]),
                exposed_from=stamps["exposed_from"],
                received_ns=tuple(stamps["received_ns"]),
                grouped_ns=stamps["grouped_ns"],
                inferred_ns=stamps["inferred_ns"],
                solved_ns=stamps["solved_ns"],
                published_ns=stamps["published_ns"],
            ),
            calibration_id=message["calibration_id"],
            model=message["model"],
            runtime=message["runtime"],
            precision=message["precision"],
            graph_hash=message["graph_hash"],
            verdict=message["verdict"],
            status=message["status"],
            subjects=tuple(_subject(entry, len(cameras)) for entry in message["subjects"]),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ProtocolError("pose message", f"field {error} is missing or malformed") from None


def _subject(entry: dict[str, Any], n_views: int) -> SubjectPose:
    if entry["state"] not in STATES:
        raise ValueError("state")
    joints = len(entry["position_mm"])
    sizes = {"J": joints, "V": n_views}
    arrays: dict[str, np.ndarray] = {}
    for name, (_, shape, required) in _ARRAYS.items():
        value = entry.get(name)
        if value is None:
            if required:
                raise KeyError(name)
            continue
        expected = tuple(sizes[size] if isinstance(size, str) else size for size in shape)
        if not isinstance(value, np.ndarray) or value.shape != expected:
            raise ProtocolError("pose message", f"{name} has not the shape {expected}")
        arrays[name] = value
    return SubjectPose(
        id=int(entry["id"]),
        id_confidence=float(entry["id_confidence"]),
        skeleton=str(entry["skeleton"]),
        state=entry["state"],
        **arrays,  # type: ignore[arg-type]
    )
