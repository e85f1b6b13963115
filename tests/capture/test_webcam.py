"""The webcam source. No device is needed: OpenCV reads a video file through the same class and calls."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest

from capture.frame import Frame
from capture.sources.base import StartClock, create
from capture.sources.webcam import WebcamSource, is_new
from rigpose.errors import ConfigError, MissingError
from rigpose.stamps import now_ns


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 frames, each of its own grey."""
    path = tmp_path_factory.mktemp("webcam") / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(30):
            image = np.full((48, 64, 3), 20 + 7 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    return path


def frames(source: object, n: int) -> list[Frame]:
    read = [source.read() for _ in range(n)]  # type: ignore[attr-defined]
    assert all(read)
    return read


def test_a_missing_device_is_one_clear_line() -> None:
    source = create("cam", {"kind": "webcam", "device": "/dev/video97"})
    with pytest.raises(MissingError, match="/dev/video97: cannot be opened as a camera") as error:
        source.open(StartClock(now_ns()))
    assert "\n" not in str(error.value)
    source.close()


def test_each_picture_is_new_and_stamped_when_it_came(film: Path) -> None:
    source = create("cam", {"kind": "webcam", "device": str(film)})
    before = now_ns()
    source.open(StartClock(before, 1))
    assert source.size == (64, 48)
    assert source.rate == pytest.approx(30)
    got = frames(source, 2)
    source.close()
    for frame in got:
        assert frame.camera == "cam" and frame.tick is None and frame.exposed_from == "arrival"
        assert before < frame.exposed_ns == frame.host_ns < now_ns()
        assert frame.image is not None and frame.image.shape == (48, 64, 3) and not frame.image.flags.writeable
    assert [frame.seq for frame in got] == [0, 1]
    assert got[0].image is not None and got[1].image is not None
    assert got[1].image.mean() > got[0].image.mean()


def test_pictures_that_nobody_took_are_lost_upstream(film: Path) -> None:
    source = create("cam", {"kind": "webcam", "device": str(film), "timeout_s": 1.0})
    source.open(StartClock(now_ns()))
    time.sleep(0.3)  # the file is through by now: 30 pictures came, the newest waits
    (frame,) = frames(source, 1)
    source.close()
    assert (frame.counters.exposed, frame.counters.lost_upstream, frame.counters.seen) == (30, 29, 1)


def test_a_device_that_falls_silent_is_opened_again(film: Path) -> None:
    source = create("cam", {"kind": "webcam", "device": str(film), "timeout_s": 0.3})
    assert isinstance(source, WebcamSource)
    source.open(StartClock(now_ns()))
    last = frames(source, 1)[0]
    end = time.monotonic() + 10
    while source.reconnects == 0 and time.monotonic() < end:
        last = frames(source, 1)[0]
    source.close()
    assert source.reconnects >= 1
    assert last.counters.exposed == last.counters.lost_upstream + last.counters.seen
    assert last.seq == last.counters.seen - 1


def test_without_reconnecting_it_ends_with_an_error(film: Path) -> None:
    source = create("cam", {"kind": "webcam", "device": str(film), "timeout_s": 0.2, "reconnect": False})
    source.open(StartClock(now_ns()))
    with pytest.raises(MissingError, match="gives no pictures any more"):
        for _ in range(40):
            source.read()
    source.close()


def test_a_picture_given_again_is_not_new() -> None:
    assert is_new(None, (0.0, b"a"))
    assert is_new((33.3, b"a"), (66.7, b"a")), "a dark room may look the same; the device's time says that it is new"
    assert not is_new((33.3, b"a"), (33.3, b"a"))
    assert is_new((0.0, b"a"), (0.0, b"b")), "a driver without a time"
    assert not is_new((0.0, b"a"), (0.0, b"a")), "a frozen driver without a time"


def test_stop_ends_a_waiting_read(film: Path) -> None:
    source = create("cam", {"kind": "webcam", "device": str(film), "timeout_s": 30.0})
    source.open(StartClock(now_ns()))
    threading.Timer(0.4, source.stop).start()
    start = time.monotonic()
    while source.read() is not None:
        pass
    assert time.monotonic() - start < 3
    source.close()


def test_another_size_than_asked_for_is_an_error(film: Path) -> None:
    source = create("cam", {"kind": "webcam", "device": str(film), "size": [1280, 720]})
    with pytest.raises(ConfigError, match="gives 64x48, not the 1280x720 of source.size"):
        source.open(StartClock(now_ns()))


class Device:
    """Stands for OpenCV's capture: 20 pictures of one size, then others; opened again it begins with the first."""

    def __init__(self) -> None:
        self.n = 0

    def read(self) -> tuple[bool, np.ndarray]:
        time.sleep(0.005)
        self.n += 1
        return True, np.full((48, 64, 3) if self.n <= 20 else (24, 32, 3), self.n % 256, np.uint8)

    def get(self, key: int) -> float:
        return 5.0 * self.n

    def release(self) -> None:
        pass


def test_a_size_that_changes_is_named_and_the_device_opened_anew(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("capture.sources.webcam._open", lambda config: Device())
    source = create("cam", {"kind": "webcam", "device": 7, "timeout_s": 0.2})
    assert isinstance(source, WebcamSource)
    source.open(StartClock(now_ns()))
    last = frames(source, 1)[0]
    while source.reconnects < 2:
        last = frames(source, 1)[0]
        assert last.size == (64, 48) and last.image is not None and last.image.shape == (48, 64, 3)
    source.close()
    assert last.counters.lost_upstream > 20 and last.seq == last.counters.seen - 1
    assert last.counters.exposed == last.counters.lost_upstream + last.counters.seen
    assert "device 7: now gives 32x24 instead of 64x48" in caplog.text
