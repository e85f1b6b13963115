"""The pictures of one camera as a fragmented MP4, readable up to its last second at any moment."""

from __future__ import annotations

import logging
import queue
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from capture.frame import Frame
from capture.pixels import to_bgr
from capture.session.log import UnbufferedFile
from rigpose.config import Config
from rigpose.errors import MissingError, RigposeError

log = logging.getLogger(__name__)

TIME_BASE = Fraction(1, 90_000)
MP4_OPTIONS = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
"""A moov atom first and a fragment a group of pictures: nothing has to be written at the end."""
QUEUE_FRAMES = 8


class VideoSettings(Config):
    """How pictures are kept.

    Attributes:
        codec: An encoder of the FFmpeg in PyAV; ``h264_nvenc`` where the host has it.
        quality: Constant rate factor of x264 (lower = better; 18 is hard to tell from the original).
        preset: x264's trade of time for size.
        threads: Encoder threads a camera; 0 = the encoder chooses.
    """

    codec: str = "libx264"
    quality: int = 18
    preset: str = "ultrafast"
    threads: int = 1


class VideoWriter:
    """Encodes the frames of one camera into one file, in a thread of its own with a bounded queue.

    Container time is exposure time, for players; the truth about time is the session's log.

    Args:
        path: A file that does not exist yet.
        camera: For messages.
        size: (width, height) of the pictures in px; an odd one is padded by a repeated column or row.
        settings: How.

    Raises:
        MissingError: The encoder is not in this PyAV.
    """

    def __init__(self, path: Path, camera: str, size: tuple[int, int], settings: VideoSettings) -> None:
        import av

        self.path = path
        self.camera = camera
        self.size = size
        self._padded = (size[0] + size[0] % 2, size[1] + size[1] % 2)
        # Through a file of ours, so that a full disk is an error here and not a torn fragment there.
        self._file = UnbufferedFile(path)
        try:
            options = {
                "crf": str(settings.quality),
                "preset": settings.preset,
                "tune": "zerolatency",
                "forced-idr": "1",
            }
            self._container: Any = av.open(self._file, "w", format="mp4", options=MP4_OPTIONS)
            self._stream: Any = self._container.add_stream(
                settings.codec, rate=90_000, options=options if settings.codec == "libx264" else {}
            )
        except ValueError as error:
            self._file.close()
            path.unlink()
            raise MissingError(
                "record.video.codec", f"{settings.codec} is not in this PyAV: {error}", "use libx264"
            ) from None
        self._stream.width, self._stream.height = self._padded
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = TIME_BASE
        context = self._stream.codec_context
        context.time_base = TIME_BASE
        context.max_b_frames = 0
        context.gop_size = 600
        context.thread_count = settings.threads
        # What OpenCV makes of BGR: BT.601, 16..235. Unsaid, a player would guess from the height.
        context.colorspace, context.color_range = 6, 1
        self._first_ns: int | None = None
        self._key_ns = 0
        self._last_pts = -1
        self.n_frames = 0
        self._queue: queue.Queue[Frame | None] = queue.Queue(QUEUE_FRAMES)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"video-{camera}", daemon=True)
        self._thread.start()

    def add(self, frame: Frame) -> int:
        """Take one picture; waits while the encoder is behind. Gives the frame's index in the file.

        Raises:
            RigposeError: The encoder or the disk failed; this file takes no more frames.
        """
        if frame.image is None or frame.size != self.size:
            raise RigposeError(
                f"camera {frame.camera}",
                f"sent a picture of {frame.size}, its video is {self.size}",
                "restart the recording",
            )
        self._check()
        self._queue.put(frame)
        index = self.n_frames
        self.n_frames += 1
        return index

    def close(self) -> None:
        """Encode what waits and close the file.

        Raises:
            RigposeError: As ``add``.
        """
        self._queue.put(None)
        self._thread.join()
        self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise RigposeError(
                self.path, f"the video cannot be written: {self._error}", "check the disk"
            ) from self._error

    def _run(self) -> None:
        try:
            while (item := self._queue.get()) is not None:
                self._encode(item)
            for packet in self._stream.encode():
                self._container.mux(packet)
        except Exception as error:  # noqa: BLE001 - FFmpeg's errors have no common base; add() tells it
            self._error = error
        finally:
            try:
                self._container.close()
            except Exception as error:  # noqa: BLE001
                self._error = self._error or error
            self._file.close()
        # A producer must never wait for a thread that is gone.
        while self._error is not None and self._queue.get() is not None:
            pass

    def _encode(self, frame: Frame) -> None:
        import av
        from av.video.frame import PictureType

        picture, exposed_ns = to_video_frame(frame, self._padded, av), frame.exposed_ns
        if self._first_ns is None:
            self._first_ns = self._key_ns = exposed_ns
        elif exposed_ns - self._key_ns >= 1_000_000_000:
            # Groups end by time, not by count: a second is what a killed process may lose.
            self._key_ns = exposed_ns
            picture.pict_type = PictureType.I
        pts = max(self._last_pts + 1, round((exposed_ns - self._first_ns) * 90_000 / 1e9))
        self._last_pts = pts
        picture.pts, picture.time_base = pts, TIME_BASE
        for packet in self._stream.encode(picture):
            self._container.mux(packet)


def to_video_frame(frame: Frame, size: tuple[int, int], av: Any) -> Any:
    """A picture of any of our pixel formats as a yuv420p frame of an even size.

    More than eight bits are cut to the upper eight; raw Bayer is developed.

    Raises:
        ProtocolError: The picture is not what its format says.
    """
    if frame.pixel_format == "NV12":
        assert frame.image is not None
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.image), format="nv12").reformat(format="yuv420p")
    bgr = to_bgr(frame)
    right, bottom = size[0] - bgr.shape[1], size[1] - bgr.shape[0]
    if right or bottom:
        bgr = cv2.copyMakeBorder(bgr, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    # OpenCV is three times faster here than swscale as PyAV calls it, and rounds better.
    return av.VideoFrame.from_ndarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420), format="yuv420p")
