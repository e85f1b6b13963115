"""Pictures by their index: out of a video file, out of a folder of images, or out of memory.

An index always means the same picture, however it was reached: frames of a video are told apart by
their presentation time, so that a damaged frame leaves a gap and does not shift those behind it.
"""

from __future__ import annotations

import logging
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

import av
import cv2
import numpy as np

from capture.sources.pool import ArrayPool
from rigpose.errors import ConfigError, RigposeError

log = logging.getLogger(__name__)

MAX_SCANNED = 20_000
KEY = "source.file"
_FULL_RANGE = 2
OutputFormat = Literal["BGR8", "NV12", "Mono8"]


class Pictures(Protocol):
    """Pictures in order. One thread only.

    Attributes:
        size: (width, height).
        n: How many there are.
        rate: Frames per second of the recording; ``None`` = it does not say.
    """

    size: tuple[int, int]
    n: int
    rate: float | None

    def steps(self, index: int) -> int:
        """How many pictures must be decoded to come to one."""

    def read(self, index: int) -> np.ndarray | None:
        """A picture in the chosen pixel format, read-only; ``None`` = it is damaged or missing."""

    def name(self, index: int) -> tuple[str, int]:
        """The file of a picture and its index in there."""

    def close(self) -> None:
        """Let go of the file."""


def open_pictures(path: Path, pixel_format: OutputFormat) -> Pictures:
    """The pictures of a video file, a folder or a pattern such as ``frames/*.png``.

    Raises:
        ConfigError: Missing, no video, damaged, empty, or of a size that the pixel format cannot have.
    """
    pictures: Pictures
    if any(sign in path.name for sign in "*?[") and not path.exists():
        files = sorted(path.parent.glob(path.name))
        if not files:
            raise ConfigError(path, f"{KEY}: no image has such a name", "check the folder and the pattern")
        pictures = ImagePictures(files, path, pixel_format)
    elif path.is_dir():
        raise ConfigError(path, f"{KEY}: is a folder", f"name a video file, or images as {path.name}/*.png")
    elif not path.exists():
        raise ConfigError(path, f"{KEY}: no such file", "check the path (it is relative to the config file)")
    else:
        pictures = VideoPictures(path, pixel_format)
    if pixel_format == "NV12" and any(side % 2 for side in pictures.size):
        pictures.close()
        size = "x".join(map(str, pictures.size))
        raise ConfigError(path, f"source.pixel_format: NV12 needs even sizes, this is {size}", "choose BGR8")
    return pictures


class VideoPictures:
    """A video file, decoded on one thread by PyAV; forward without cost, elsewhere from a key frame."""

    def __init__(self, path: Path, pixel_format: OutputFormat) -> None:
        self.path = path
        self._format = pixel_format
        self._container: Any = None
        self.n = 0
        try:
            self._container = av.open(str(path))
            if not self._container.streams.video:
                self.close()
                raise ConfigError(path, f"{KEY}: has no video stream", "name a file that holds video")
            self._stream: Any = self._container.streams.video[0]
            self._stream.codec_context.thread_count = 1
            self._scan()
            self._rewind(0)
            first = next(self._frames, None)
        except av.error.EOFError:
            first = None
        except av.error.FFmpegError as error:
            self.close()
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise ConfigError(
                path, f"{KEY}: cannot be read as video: {reason}", "play it with ffplay; record or copy it again"
            ) from None
        if first is None or not self.n:
            self.close()
            raise ConfigError(path, f"{KEY}: holds no frame that can be decoded", "record or copy it again")
        self._rotation = first.rotation % 360
        if self._rotation and pixel_format != "BGR8":
            self.close()
            raise ConfigError(
                path,
                f"source.pixel_format: {pixel_format} cannot be turned, as the video asks for",
                "choose BGR8",
            )
        self.size = (first.width, first.height) if self._rotation % 180 == 0 else (first.height, first.width)
        self._held: Any = first
        nv12, bgr = (first.height * 3 // 2, first.width), (first.height, first.width, 3)
        self._pool = ArrayPool(nv12 if pixel_format == "NV12" else bgr)

    def _scan(self) -> None:
        """Read the times of all frames without decoding them (of the first 20,000 in a long file)."""
        stream = self._stream
        average = stream.average_rate or stream.guessed_rate
        self.rate = float(average) if average else None
        times: list[int] = []
        keys: list[int] = []
        complete = True
        for packet in self._container.demux(stream):
            if packet.pts is None or packet.is_discard:
                complete = complete and packet.dts is None and packet.size == 0
                continue
            times.append(packet.pts)
            if packet.is_keyframe:
                keys.append(packet.pts)
            if len(times) >= MAX_SCANNED:
                complete = False
                break
        times = sorted(set(times))
        self._times: list[int] | None = times if times and complete else None
        self._start = times[0] if times else 0
        self._per_frame = 1 / (self.rate * float(stream.time_base)) if self.rate and stream.time_base else None
        self._seekable = bool(times) and self._per_frame is not None
        if self._times is not None:
            self.n = len(times)
        elif stream.frames:
            self.n = int(stream.frames)
        else:
            self.n = self._count()
        self._keys = sorted({bisect_left(times, key) for key in keys} | {0})
        if len(times) == MAX_SCANNED and len(self._keys) > 1:
            longest = max(later - earlier for earlier, later in zip(self._keys, self._keys[1:], strict=False))
            self._keys += range(self._keys[-1] + longest, self.n, longest)
        if len(times) > 2:
            gaps = np.diff(times)
            usual = float(np.median(gaps))
            if np.abs(gaps - usual).max() > max(0.25 * usual, 2):
                log.warning(
                    "%s: frames come at uneven times (%.1f to %.1f ms apart); they are played evenly at %.3f a second",
                    self.path,
                    *(float(gap * stream.time_base) * 1e3 for gap in (gaps.min(), gaps.max())),
                    self.rate or 0,
                )

    def _count(self) -> int:
        """Frames of a file that tells neither times nor their number: decode it once."""
        self._container.close()
        self._reopen()
        n = sum(1 for _ in self._container.decode(self._stream))
        self._container.close()
        self._reopen()
        return n

    def _reopen(self) -> None:
        self._container = av.open(str(self.path))
        self._stream = self._container.streams.video[0]
        self._stream.codec_context.thread_count = 1

    def _rewind(self, index: int) -> None:
        """Let decoding begin at the last key frame at or before a picture."""
        if self._times is not None or self._seekable:
            self._container.seek(self._time_of(index), stream=self._stream)
        else:
            self._container.close()
            self._reopen()
        self._frames: Iterator[Any] = self._decode()
        self._held = None
        self._position = self._key_before(index) if self._seekable else 0
        self._ordinal = 0

    def _decode(self) -> Iterator[Any]:
        damaged = 0
        for packet in self._container.demux(self._stream):
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                damaged += 1
                if damaged == 1:
                    log.warning(
                        "%s: a frame near %s s is damaged and left out",
                        self.path,
                        packet.pts and float(packet.pts * packet.time_base),
                    )
            except EOFError:
                return

    def _time_of(self, index: int) -> int:
        if self._times is not None:
            return self._times[index]
        return self._start + round(index * (self._per_frame or 1))

    def _index_of(self, frame: Any) -> int:
        if frame.pts is None:
            return self._ordinal
        if self._times is not None:
            return bisect_left(self._times, frame.pts)
        if self._per_frame is not None:
            return round((frame.pts - self._start) / self._per_frame)
        return self._ordinal

    def _key_before(self, index: int) -> int:
        return self._keys[max(0, bisect_right(self._keys, index) - 1)]

    def steps(self, index: int) -> int:
        """Forward from here, or from the key frame before, whatever is less."""
        key = self._key_before(index) if self._seekable else 0
        return index - self._position + 1 if key <= self._position <= index else index - key + 1

    def read(self, index: int) -> np.ndarray | None:
        """Decode up to a picture and convert only that."""
        if not self._position <= index < self._position + self.steps(index):
            self._rewind(index)
        frame = self._advance(index)
        if frame is None:
            return None
        image = self._convert(frame)
        if self._rotation:
            image = np.ascontiguousarray(np.rot90(image, self._rotation // 90))
        image.flags.writeable = False
        return image

    def _convert(self, frame: Any) -> np.ndarray:
        width, height = frame.width, frame.height
        if self._format == "Mono8":
            return frame.to_ndarray(format="gray")
        if self._format == "NV12" and (frame.format.name != "yuv420p" or frame.color_range == _FULL_RANGE):
            return nv12_of(frame.to_ndarray(format="bgr24"))  # NV12 is of limited range here
        image = self._pool.take()
        if image.shape[1] != width or image.size * 2 != width * height * (3 if self._format == "NV12" else 6):
            raise RigposeError(
                self.path, f"changes its size to {width}x{height} on the way", "cut it into files of one size"
            )
        if self._format == "NV12":  # by hand this is twice as fast as swscale
            luma, *chroma = (np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size) for plane in frame.planes)
            image[:height] = luma[:height, :width]
            halves = [plane[: height // 2, : width // 2] for plane in chroma]
            cv2.merge(halves, image[height:].reshape(height // 2, width // 2, 2))
        else:  # swscale knows the file's colour matrix and range; OpenCV assumes one of them
            plane = frame.reformat(format="bgr24").planes[0]
            rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
            image.reshape(height, width * 3)[:] = rows[:height, : width * 3]
        return image

    def _advance(self, index: int) -> Any:
        while True:
            frame = self._held
            self._held = None
            if frame is None:
                frame = next(self._frames, None)
            if frame is None:
                self._position = self.n
                return None
            found = self._index_of(frame)
            self._ordinal += 1
            if found >= index:
                # A frame beyond the wanted one is kept: the wanted one is missing from the file.
                self._position = found + 1 if found == index else index + 1
                if found == index:
                    return frame
                self._held = frame
                self._ordinal -= 1
                return None
            self._position = found + 1

    def name(self, index: int) -> tuple[str, int]:
        """This file and the index."""
        return str(self.path), index

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            self._container.close()


def nv12_of(bgr: np.ndarray) -> np.ndarray:
    """A BGR picture of even size as NV12."""
    height, width = bgr.shape[:2]
    planar = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)
    u, v = planar[height:].reshape(2, height // 2, width // 2)
    image = np.empty_like(planar)
    image[:height] = planar[:height]
    cv2.merge([u, v], image[height:].reshape(height // 2, width // 2, 2))
    return image


class ImagePictures:
    """One file for each picture, in the order of their names."""

    rate: float | None = None

    def __init__(self, files: list[Path], pattern: Path, pixel_format: OutputFormat) -> None:
        self._files = files
        self._format = pixel_format
        self.n = len(files)
        first = self._load(0)
        if first is None:
            raise ConfigError(files[0], f"{KEY}: cannot be read as an image", f"check what {pattern.name} matches")
        self.size = (first.shape[1], first.shape[0])

    def _load(self, index: int) -> np.ndarray | None:
        mode = cv2.IMREAD_GRAYSCALE if self._format == "Mono8" else cv2.IMREAD_COLOR
        return cv2.imread(str(self._files[index]), mode)

    def steps(self, index: int) -> int:
        """Each picture stands alone."""
        return 1

    def read(self, index: int) -> np.ndarray | None:
        """Read one file; one of another size than the first counts as damaged."""
        image = self._load(index)
        if image is None or (image.shape[1], image.shape[0]) != self.size:
            log.warning("%s: is damaged or has another size than the first image", self._files[index])
            return None
        if self._format == "NV12":
            image = nv12_of(image)
        image.flags.writeable = False
        return image

    def name(self, index: int) -> tuple[str, int]:
        """The image's own file."""
        return str(self._files[index]), 0

    def close(self) -> None:
        """Nothing is open."""


class RememberedPictures:
    """All pictures of a short clip in memory, decoded once."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures
        self._images = [pictures.read(index) for index in range(pictures.n)]
        self.size, self.n, self.rate = pictures.size, pictures.n, pictures.rate
        pictures.close()

    @staticmethod
    def bytes_for(pictures: Pictures, pixel_format: OutputFormat) -> int:
        """What all pictures take in memory."""
        width, height = pictures.size
        return round(pictures.n * width * height * {"BGR8": 3, "NV12": 1.5, "Mono8": 1}[pixel_format])

    def steps(self, index: int) -> int:
        """Nothing is to be decoded."""
        return 0

    def read(self, index: int) -> np.ndarray | None:
        """The picture itself, read-only."""
        return self._images[index]

    def name(self, index: int) -> tuple[str, int]:
        """As the file has it."""
        return self._pictures.name(index)

    def close(self) -> None:
        """Let go of the memory."""
        self._images = [None] * self.n
