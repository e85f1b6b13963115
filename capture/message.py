"""The messages of frames: a header by ``rigpose.codec``, and behind it the image as its bare bytes.

Everything in a message is checked before it is used: sizes are bounded, shapes must fit the bytes
and the pixel format, texts are short. Nothing is allocated for what does not follow the contract.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from capture.frame import Counters, EndOfFrames, Frame
from capture.pixels import image_shape
from rigpose import codec
from rigpose.errors import ProtocolError
from rigpose.keypoints import Keypoints
from rigpose.stamps import EXPOSED_FROM

MAX_SIDE = 16384
MAX_HEADER_BYTES = 1024 * 1024
MAX_TEXT = 4096
MAX_JOINTS = 4096


def encode_frame(frame: Frame, session_id: str, node: str, epoch: str, seq: int) -> tuple[bytes, np.ndarray | None]:
    """A frame as header bytes and contiguous image (``None`` where points travel instead)."""
    image = frame.image
    message: dict[str, Any] = codec.header(session_id, node, epoch, seq)
    counters = frame.counters
    message.update(
        type="frame",
        camera=frame.camera,
        serial=frame.serial,
        frame=frame.seq,
        pixel_format=frame.pixel_format,
        size=frame.size,
        exposed_ns=frame.exposed_ns,
        exposed_from=frame.exposed_from,
        host_ns=frame.host_ns,
        tick=frame.tick,
        device_ns=frame.device_ns,
        roi_offset=frame.roi_offset,
        binning=frame.binning,
        flip=frame.flip,
        exposure_ns=frame.exposure_ns,
        line_state=frame.line_state,
        video=frame.video,
        counters=(counters.exposed, counters.lost_upstream, counters.seen, counters.queue_full),
    )
    if frame.points is not None:
        message["points"] = np.asarray(frame.points.points, np.float32)
        message["confidence"] = np.asarray(frame.points.confidence, np.float32)
    if image is not None:
        image = np.ascontiguousarray(image)
        message["dtype"], message["shape"] = codec.array_header(image)
    return codec.pack(message), image


def encode_end(end: EndOfFrames, session_id: str, node: str, seq: int = 0) -> bytes:
    """A camera's last word as bytes."""
    counters = end.counters
    return codec.pack(
        {
            **codec.header(session_id, node, end.node_epoch, seq),
            "type": "end",
            "camera": end.camera,
            "last_seq": end.last_seq,
            "counters": (counters.exposed, counters.lost_upstream, counters.seen, counters.queue_full),
        }
    )


def encode_push(session_id: str, node: str, epoch: str, seq: int) -> bytes:
    """The header of a message that says nothing and only pushes others along."""
    return codec.pack({**codec.header(session_id, node, epoch, seq), "type": "push"})


def decode_frame(
    parts: Sequence[memoryview | bytes], received_ns: int, session_id: str | None = None, *, bare: bool = False
) -> Frame | EndOfFrames | None:
    """The frame in a message, its image a read-only view of the message's bytes; or the camera's last word.

    ``None`` = a message that only pushes others along (see ``FrameSender.end``).

    Args:
        parts: The message.
        received_ns: Stamped into the frame.
        session_id: Where given, a frame of another session is refused.
        bare: Let a frame come without picture and points, as a recorder gets one that is in a file already.

    Raises:
        ProtocolError: Anything that is not as the contract says; nothing was allocated for it.
    """
    if not 1 <= len(parts) <= 2:
        raise ProtocolError("frame message", f"has {len(parts)} parts instead of one or two")
    message = codec.unpack(parts[0], max_bytes=MAX_HEADER_BYTES)
    codec.check_header(message)
    if session_id is not None and message["session_id"] != session_id:
        raise ProtocolError("frame message", f"is of session {message['session_id'][:64]!r}, not of {session_id!r}")
    match message.get("type"):
        case "end":
            return _decode_end(message)
        case "push":
            return None
    read = _Fields(message)
    size = read.pair("size", 1, MAX_SIDE)
    image, points = None, None
    pixel_format = read.text("pixel_format")
    expected = image_shape(pixel_format, size)
    if len(parts) == 2:
        dtype, shape = codec.check_array(message.get("dtype"), message.get("shape"), len(parts[1]))
        if expected is None:
            if dtype != np.uint8 or len(shape) != 1 or not shape[0]:
                raise ProtocolError("frame message", f"a JPEG is not {dtype} of shape {shape}")
        elif (dtype, shape) != expected:
            raise ProtocolError("frame message", f"{pixel_format} of size {size} is not {dtype} of shape {shape}")
        image = np.frombuffer(parts[1], dtype).reshape(shape)
        image.flags.writeable = False
    elif not bare or "points" in message:
        points = read.points()
    counters = read.counters()
    exposed_from = read.text("exposed_from")
    if exposed_from not in EXPOSED_FROM:
        raise ProtocolError("frame message", f"exposed_from {exposed_from!r} is not one of {', '.join(EXPOSED_FROM)}")
    flip = message.get("flip", "none")
    if flip not in ("none", "horizontal", "vertical"):
        raise ProtocolError("frame message", "flip is not one of none, horizontal, vertical")
    return Frame(
        camera=read.text("camera"),
        seq=read.integer("frame", 0),
        image=image,
        pixel_format=pixel_format,  # type: ignore[arg-type]
        exposed_ns=read.integer("exposed_ns"),
        exposed_from=exposed_from,  # type: ignore[arg-type]
        host_ns=read.integer("host_ns"),
        size=size,
        tick=read.optional("tick"),
        device_ns=read.optional("device_ns"),
        received_ns=received_ns,
        roi_offset=read.pair("roi_offset", 0, MAX_SIDE * 4),
        binning=read.pair("binning", 1, 64),
        flip=flip,  # type: ignore[arg-type]
        exposure_ns=read.integer("exposure_ns", 0),
        serial=read.text("serial"),
        line_state=read.optional("line_state"),
        video=read.video(),
        points=points,
        node_epoch=read.text("node_epoch"),
        counters=counters,
    )


def _decode_end(message: dict[str, Any]) -> EndOfFrames:
    read = _Fields(message)
    return EndOfFrames(read.text("camera"), read.text("node_epoch"), read.integer("last_seq", -1), read.counters())


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


class _Fields:
    """Checked access to the fields of a message."""

    def __init__(self, message: dict[str, Any]) -> None:
        self._message = message

    def _wrong(self, key: str, expected: str) -> ProtocolError:
        return ProtocolError("frame message", f"{key} is missing or not {expected}")

    def text(self, key: str) -> str:
        value = self._message.get(key)
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            raise self._wrong(key, "a short text")
        return value

    def integer(self, key: str, least: int | None = None) -> int:
        value = self._message.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or (least is not None and value < least):
            raise self._wrong(key, "an integer" if least is None else f"an integer of at least {least}")
        return value

    def optional(self, key: str) -> int | None:
        return None if self._message.get(key) is None else self.integer(key)

    def pair(self, key: str, least: int, most: int) -> tuple[int, int]:
        value = self._message.get(key)
        if (
            not isinstance(value, list | tuple)
            or len(value) != 2
            or not all(isinstance(item, int) and not isinstance(item, bool) and least <= item <= most for item in value)
        ):
            raise self._wrong(key, f"two integers of {least} to {most}")
        return value[0], value[1]

    def video(self) -> tuple[str, int] | None:
        value = self._message.get("video")
        if value is None:
            return None
        if (
            not isinstance(value, list | tuple)
            or len(value) != 2
            or not isinstance(value[0], str)
            or not _is_count(value[1])
        ):
            raise self._wrong("video", "a file and a frame index")
        return value[0], value[1]

    def counters(self) -> Counters:
        value = self._message.get("counters", (0, 0, 0, 0))
        if not isinstance(value, list | tuple) or len(value) < 4 or not all(_is_count(item) for item in value):
            raise self._wrong("counters", "four counts")
        return Counters(*value[:4])

    def points(self) -> Keypoints:
        points, confidence = self._message.get("points"), self._message.get("confidence")
        if (
            not isinstance(points, np.ndarray)
            or not isinstance(confidence, np.ndarray)
            or points.ndim != 2
            or points.shape[1] != 2
            or confidence.shape != points.shape[:1]
            or not 1 <= points.shape[0] <= MAX_JOINTS
            or points.dtype.kind != "f"
            or confidence.dtype.kind != "f"
        ):
            raise ProtocolError("frame message", "has no image, and its points are not (J, 2) with (J,) confidences")
        # What is no place was not seen; a confidence beyond 1 would outvote every other view.
        seen = np.isfinite(points).all(axis=-1) & (confidence > 0)
        return Keypoints(np.where(seen[:, None], points, np.nan), np.where(seen, np.minimum(confidence, 1), 0))
