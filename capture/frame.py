"""Frames and frame sets: what moves inside a process for every picture that a camera takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from rigpose.keypoints import Keypoints
from rigpose.pose import SyncInfo
from rigpose.stamps import ExposedFrom

PixelFormat = Literal["Mono8", "Mono10", "Mono12", "Mono16", "BayerRG8", "BGR8", "NV12", "JPEG"]
"""GenICam names of what an image's bytes mean."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What a source has counted up to and including a frame; each grows, none is ever reset.

    Attributes:
        exposed: Frames that the camera exposed, by the device's own counter (wrap-aware); for a
            source without a device, the ticks of its schedule.
        lost_upstream: Of these, what never reached the node (driver, cable, a reader too slow).
        seen: Of these, what the node got: ``exposed = lost_upstream + seen``.
        queue_full: Of the seen, what the node could not send because the engine was not taking it.
    """

    exposed: int = 0
    lost_upstream: int = 0
    seen: int = 0
    queue_full: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture (or the keypoints found in it) from one camera.

    Attributes:
        camera: The camera's name in the rig.
        seq: Counts the frames seen by this node from 0 (so a gap says what was lost on the way).
        image: (H, W) or (H, W, 3) as ``pixel_format`` says; ``None`` when ``points`` travels instead.
        exposed_ns: Middle of the exposure on the host's monotonic clock.
        exposed_from: Where that is from.
        host_ns: When the node had the frame.
        tick: Number of the trigger or schedule tick, equal in all cameras of a set; ``None`` = free-running.
        device_ns: The device's own stamp, where there is one.
        size: (width, height) of the picture in px.
        received_ns: When the engine had it; 0 before.
        roi_offset: (x, y) of the picture's first pixel on the sensor.
        binning: (x, y).
        flip: How the picture was turned after it was cut out of the sensor's (a view into a mirror).
        exposure_ns: Duration of the exposure, 0 = unknown.
        video: (file, frame index) where the source is a file.
        node_epoch: UUID of the node's process start.
        counters: What the source had counted with this frame.
    """

    camera: str
    seq: int
    image: np.ndarray | None
    pixel_format: PixelFormat
    exposed_ns: int
    exposed_from: ExposedFrom
    host_ns: int
    size: tuple[int, int]
    tick: int | None = None
    device_ns: int | None = None
    received_ns: int = 0
    roi_offset: tuple[int, int] = (0, 0)
    binning: tuple[int, int] = (1, 1)
    flip: Literal["none", "horizontal", "vertical"] = "none"
    exposure_ns: int = 0
    serial: str = ""
    line_state: int | None = None
    video: tuple[str, int] | None = None
    points: Keypoints | None = None
    node_epoch: str = ""
    counters: Counters = field(default_factory=Counters)


@dataclass(frozen=True, slots=True)
class EndOfFrames:
    """The last message of a camera: its source has ended, and nothing more is under way.

    Attributes:
        camera: The camera's name in the rig.
        node_epoch: UUID of the node's process start.
        last_seq: ``seq`` of its last frame that was sent; -1 = none was.
        counters: The final ones.
    """

    camera: str
    node_epoch: str
    last_seq: int
    counters: Counters


@dataclass(frozen=True, slots=True)
class FrameSet:
    """Frames of several cameras that belong to one moment.

    Attributes:
        cameras: All cameras of the rig that should have sent, in rig order.
        frames: One for each camera, ``None`` where it is missing.
        sync: How they were grouped.
        grouped_ns: When the set was complete or its deadline passed.
        tick: The set's own.
    """

    cameras: tuple[str, ...]
    frames: tuple[Frame | None, ...]
    sync: SyncInfo
    grouped_ns: int
    tick: int

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the cameras without a frame."""
        return tuple(name for name, frame in zip(self.cameras, self.frames, strict=True) if frame is None)
