"""A webcam or capture card through OpenCV.

OpenCV may report success after a camera was unplugged, give the last picture again, or not return at
all. So a thread of its own grabs, and the source watches for new pictures, not for return codes: when
none comes for ``timeout_s`` the device is opened anew, and ticks are never filled with an old picture.
Pictures of another size than the first are lost as well, and end in the same way.
Pictures are stamped when they arrive; no clock of the device is known, so no latency from the
exposure can be told.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from pydantic import Field

from capture.frame import Counters, Frame
from capture.sources.base import SourceConfig, StartClock, Tally
from rigpose.errors import ConfigError, MissingError
from rigpose.stamps import now_ns

log = logging.getLogger(__name__)

_FIRST_BACK_OFF_S = 0.5
_LAST_BACK_OFF_S = 5.0
_SAMPLE = 16


class WebcamConfig(SourceConfig):
    """A device that OpenCV opens.

    Attributes:
        device: Its number, its path (``/dev/video0``, better ``/dev/v4l/by-id/...``) or a stream's address.
        size: (width, height) to ask for; another answer is an error.
        fps: Frames per second to ask for.
        fourcc: Transport format to ask for, such as ``MJPG`` (USB 2 carries no raw HD).
        auto_exposure: Switch it on or off.
        exposure: In the driver's own unit; needs ``auto_exposure: false`` on most.
        gain: In the driver's own unit.
        timeout_s: Without a new picture for so long, the device is opened anew.
        reconnect: Whether to do that, or to end with an error.
    """

    kind: Literal["webcam"] = "webcam"
    device: int | str = 0
    size: tuple[int, int] | None = None
    fps: float | None = Field(None, gt=0)
    fourcc: str | None = Field(None, min_length=4, max_length=4)
    auto_exposure: bool | None = None
    exposure: float | None = None
    gain: float | None = None
    timeout_s: float = Field(2.0, gt=0)
    reconnect: bool = True


class WebcamSource:
    """See the module; a ``Source``.

    Args:
        camera: Name that stands in its frames.
        config: Its section.
        lossless: Pictures that nobody takes are lost at the device all the same; they are counted.
    """

    Config = WebcamConfig

    def __init__(self, camera: str, config: WebcamConfig, *, lossless: bool = False) -> None:
        self.camera = camera
        self.config = config
        self.size = (0, 0)
        self.rate = 0.0
        self.n_frames: int | None = None
        self.first_tick: int | None = None
        self.reconnects = 0
        self._tally = Tally()
        self._stop = threading.Event()
        self._grabber: _Grabber | None = None
        self._seq = 0

    @property
    def counters(self) -> Counters:
        """New pictures of the device as ``exposed``; those that nobody took in time as lost upstream."""
        return self._tally.now

    def prepare(self) -> None:
        """Open the device and wait for its first picture.

        Raises:
            MissingError: It cannot be opened, or gives no picture.
            ConfigError: It gives pictures of another size than asked for.
        """
        if self._grabber is not None:
            return
        grabber = _Grabber(self.config, self._tally)
        first = grabber.wait(self.config.timeout_s, self._stop, take=False)
        if first is None:
            grabber.close()
            raise MissingError(
                self._where,
                f"gives no picture within {self.config.timeout_s:g} s",
                "see whether another program uses it",
            )
        size = (first[0].shape[1], first[0].shape[0])
        if self.config.size not in (None, size):
            grabber.close()
            asked = "x".join(map(str, self.config.size or ()))
            raise ConfigError(
                self._where, f"gives {size[0]}x{size[1]}, not the {asked} of source.size", "set a size that it has"
            )
        self.size, self.rate = size, grabber.rate or self.config.fps or 0.0
        grabber.size = size
        self._grabber = grabber

    def open(self, clock: StartClock) -> None:
        """Begin; the schedule is not the device's, which runs freely. Raises as ``prepare``."""
        self.prepare()

    def read(self) -> Frame | None:
        """The next new picture; ``None`` = stopped.

        Raises:
            MissingError: The device is gone and ``reconnect`` is off.
        """
        while not self._stop.is_set():
            grabber = self._grabber
            taken = grabber.wait(self.config.timeout_s, self._stop) if grabber is not None else None
            if taken is not None:
                return self._frame(*taken)
            if not self._stop.is_set():
                self._reopen()
        return None

    def stop(self) -> None:
        """End a waiting ``read``."""
        self._stop.set()

    def close(self) -> None:
        """Let go of the device."""
        self.stop()
        if self._grabber is not None:
            self._grabber.close()
            self._grabber = None

    @property
    def _where(self) -> str:
        return f"source.device {self.config.device}"

    def _frame(self, image: np.ndarray, arrived_ns: int, counters: Counters) -> Frame:
        seq, self._seq = self._seq, self._seq + 1
        image.flags.writeable = False
        return Frame(
            camera=self.camera,
            seq=seq,
            image=image,
            pixel_format="BGR8" if image.ndim == 3 else "Mono8",
            exposed_ns=arrived_ns,
            exposed_from="arrival",
            host_ns=arrived_ns,
            size=self.size,
            serial=self.config.serial,
            counters=counters,
        )

    def _reopen(self) -> None:
        log.warning("%s: no new picture for %g s", self._where, self.config.timeout_s)
        if self._grabber is not None:
            self._grabber.close()
            self._grabber = None
        if not self.config.reconnect:
            raise MissingError(
                self._where, "gives no pictures any more", "see its cable, or set source.reconnect: true"
            )
        back_off_s = _FIRST_BACK_OFF_S
        while not self._stop.is_set():
            try:
                self._grabber = _Grabber(self.config, self._tally, self.size)
            except MissingError:
                self._stop.wait(back_off_s)
                back_off_s = min(2 * back_off_s, _LAST_BACK_OFF_S)
                continue
            self.reconnects += 1
            log.warning("%s: opened again", self._where)
            return


class _Grabber:
    """A thread that holds the newest picture; left behind if the driver never returns.

    Args:
        config: Which device.
        tally: Counts.
        size: Of its pictures, once that is known; those of another size are lost, so that the device falls silent
            and is opened anew.
    """

    def __init__(self, config: WebcamConfig, tally: Tally, size: tuple[int, int] | None = None) -> None:
        self.size = size
        self._device = config.device
        self._tally = tally
        self._capture = _open(config)
        self.rate = self._capture.get(cv2.CAP_PROP_FPS) or None
        self._changed = threading.Condition()
        self._slot: tuple[np.ndarray, int] | None = None
        self._closed = False
        self._strange: tuple[int, int] | None = None
        self._thread = threading.Thread(target=self._run, name=f"grab {config.device}", daemon=True)
        self._thread.start()

    def wait(
        self, timeout_s: float, stop: threading.Event, *, take: bool = True
    ) -> tuple[np.ndarray, int, Counters] | None:
        """The newest picture that was not taken yet, when it came, and the count with it."""
        end = time.monotonic() + timeout_s
        with self._changed:
            while self._slot is None and not stop.is_set():
                left = end - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(min(left, 0.1))
            if self._slot is None:
                return None
            image, arrived_ns = self._slot
            if not take:
                return image, arrived_ns, self._tally.now
            self._slot = None
            return image, arrived_ns, self._tally.seen()

    def close(self) -> None:
        """Give the device back; a driver that hangs keeps its thread until it returns."""
        with self._changed:
            self._closed = True
            if self._slot is not None:
                self._slot = None
                self._tally.lost()
        self._thread.join(1.0)

    def _run(self) -> None:
        last: tuple[float, bytes] | None = None
        while not self._closed:
            good, image = self._capture.read()
            arrived_ns = now_ns()
            if not good or image is None:
                time.sleep(0.01)
                continue
            mark = (self._capture.get(cv2.CAP_PROP_POS_MSEC), image[::_SAMPLE, ::_SAMPLE].tobytes())
            if not is_new(last, mark):
                time.sleep(0.001)
                continue
            last = mark
            if self._is_strange(image):
                continue
            with self._changed:
                if self._closed:
                    break
                if self._slot is not None:
                    self._tally.lost()  # nobody took the one before
                self._slot = (image, arrived_ns)
                self._changed.notify()
        self._capture.release()

    def _is_strange(self, image: np.ndarray) -> bool:
        size = (image.shape[1], image.shape[0])
        if self.size in (None, size):
            return False
        if self._strange != size:
            self._strange = size
            told = ("x".join(map(str, sides)) for sides in (size, self.size or ()))
            log.warning("source.device %s: now gives %s instead of %s; not used", self._device, *told)
        self._tally.lost()
        return True


def is_new(last: tuple[float, bytes] | None, mark: tuple[float, bytes]) -> bool:
    """Whether a picture is not the last one again: by the device's time (ms), or where it has none, by content."""
    if last is None:
        return True
    return mark[0] != last[0] if mark[0] > 0 else mark[1] != last[1]


def _open(config: WebcamConfig) -> cv2.VideoCapture:
    device = int(config.device) if isinstance(config.device, str) and config.device.isdigit() else config.device
    capture = cv2.VideoCapture()
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our one line says it
    try:
        gone = isinstance(device, str) and device.startswith("/") and not Path(device).exists() and "%" not in device
        opened = not gone and capture.open(device)
    finally:
        cv2.utils.logging.setLogLevel(level)
    if not opened:
        there = sorted(str(path) for path in Path("/dev").glob("video*"))
        raise MissingError(
            f"source.device {config.device}",
            "cannot be opened as a camera",
            f"there are {', '.join(there)}" if there else "this machine shows no camera; plug it in",
        )
    wishes: tuple[tuple[int, float | None], ...] = (
        (cv2.CAP_PROP_FOURCC, None if config.fourcc is None else float(cv2.VideoWriter.fourcc(*config.fourcc))),
        (cv2.CAP_PROP_FRAME_WIDTH, None if config.size is None else config.size[0]),
        (cv2.CAP_PROP_FRAME_HEIGHT, None if config.size is None else config.size[1]),
        (cv2.CAP_PROP_FPS, config.fps),
        (cv2.CAP_PROP_BUFFERSIZE, 1),
        # V4L2 through OpenCV: 1 = manual, 3 = automatic.
        (cv2.CAP_PROP_AUTO_EXPOSURE, None if config.auto_exposure is None else (3 if config.auto_exposure else 1)),
        (cv2.CAP_PROP_EXPOSURE, config.exposure),
        (cv2.CAP_PROP_GAIN, config.gain),
    )
    for key, value in wishes:
        if value is not None and not capture.set(key, value) and key != cv2.CAP_PROP_BUFFERSIZE:
            log.info("source.device %s: does not take property %d = %g", config.device, key, value)
    return capture
