"""The video source, on real files that are made here: each picture carries its own number."""

from __future__ import annotations

import logging
import struct
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capture.frame import Frame
from capture.pixels import to_bgr
from capture.sources import pictures as pictures_module
from capture.sources.base import StartClock, create
from capture.sources.pictures import RememberedPictures, VideoPictures, open_pictures
from capture.sources.video import VideoSource
from rigpose.errors import ConfigError, RigposeError
from rigpose.stamps import now_ns

BITS = 8
WIDTH, HEIGHT = 96, 64


def numbered(index: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A picture that carries a number as eight black or white blocks."""
    image = np.full((height, width, 3), 128, np.uint8)
    for bit in range(BITS):
        image[: height // 2, bit * width // BITS : (bit + 1) * width // BITS] = 230 if index >> bit & 1 else 25
    return image


def number_in(frame: Frame | np.ndarray) -> int:
    image = to_bgr(frame) if isinstance(frame, Frame) else frame
    width = image.shape[1]
    middles = [(2 * bit + 1) * width // (2 * BITS) for bit in range(BITS)]
    return sum(int(image[image.shape[0] // 4, x].mean() > 128) << bit for bit, x in enumerate(middles))


def write_film(
    path: Path,
    n: int = 40,
    *,
    rate: float = 30,
    codec: str = "libx264",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    times: list[int] | None = None,
    options: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(
            codec, rate=Fraction(rate).limit_denominator(1001), options=options or {"g": "12"}
        )
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index in range(n):
            frame = av.VideoFrame.from_ndarray(numbered(index, *size), format="bgr24")
            if times is not None:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames of H.264 with B frames, a key frame every 12."""
    return write_film(tmp_path_factory.mktemp("video") / "film.mp4")


def make(file: Path, *, lossless: bool = False, **keys: Any) -> VideoSource:
    source = create("cam", {"kind": "video", "file": str(file), **keys}, lossless=lossless)
    assert isinstance(source, VideoSource)
    return source


def read_all(source: VideoSource) -> list[Frame]:
    frames = []
    while (frame := source.read()) is not None:
        frames.append(frame)
    source.close()
    return frames


def balanced(source: VideoSource) -> bool:
    counters = source.counters
    return counters.exposed == counters.lost_upstream + counters.seen


class TestLossless:
    @pytest.mark.parametrize(
        ("name", "codec"),
        [
            ("a.mp4", "libx264"),
            ("a.mkv", "libx264"),
            ("a.webm", "libvpx-vp9"),
            ("a.avi", "mjpeg"),
            ("a.avi", "mpeg4"),
            ("a.mov", "png"),
            ("a.h264", "libx264"),
        ],
    )
    def test_every_frame_comes_once_and_in_order(self, tmp_path: Path, name: str, codec: str) -> None:
        pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24"}.get(codec, "yuv420p")
        path = write_film(tmp_path / name, 25, codec=codec, pix_fmt=pix_fmt)
        source = make(path, lossless=True)
        source.open(StartClock(1000, 50))
        assert (source.size, source.n_frames) == ((WIDTH, HEIGHT), 25)
        frames = read_all(source)
        assert [number_in(frame) for frame in frames] == list(range(25))
        assert [frame.tick for frame in frames] == [frame.seq for frame in frames] == list(range(25))
        assert [frame.exposed_ns for frame in frames] == [1000 + 50 * tick for tick in range(25)]
        assert {frame.exposed_from for frame in frames} == {"arrival"}
        assert [frame.video for frame in frames] == [(str(path), index) for index in range(25)]
        assert (source.counters.exposed, source.counters.seen) == (25, 25)

    def test_it_waits_for_its_reader(self, film: Path) -> None:
        source = make(film, lossless=True, ahead=2)
        source.open(StartClock(now_ns() - 10**12, 1000))
        numbers = []
        while (frame := source.read()) is not None:
            numbers.append(number_in(frame))
            time.sleep(0.004)
        source.close()
        assert numbers == list(range(40))

    def test_loops_and_max_frames_count_ticks(self, film: Path) -> None:
        source = make(film, lossless=True, loop=3, max_frames=100)
        source.open(StartClock(0, 1))
        assert source.n_frames == 100
        frames = read_all(source)
        assert [frame.tick for frame in frames] == list(range(100))
        assert [number_in(frame) for frame in frames] == [tick % 40 for tick in range(100)]

    def test_its_own_rate_is_that_of_the_file(self, film: Path) -> None:
        source = make(film, lossless=True, max_frames=4)
        source.open(StartClock(0))
        assert source.rate == pytest.approx(30)
        assert [frame.exposed_ns for frame in read_all(source)] == [round(1e9 / 30) * tick for tick in range(4)]


class TestLive:
    def test_frames_leave_at_their_ticks(self, film: Path) -> None:
        source = make(film, loop=2)
        source.prepare()
        clock = StartClock.now(50, delay_s=0.1)
        source.open(clock)
        frames = read_all(source)
        ticks = [frame.tick or 0 for frame in frames]
        assert ticks == sorted(set(ticks)) and ticks[-1] < 80
        assert len(ticks) >= 72, "on a machine that is not wholly taken by others none is missing"
        assert [number_in(frame) for frame in frames] == [tick % 40 for tick in ticks]
        assert all(frame.exposed_ns == clock.tick_ns(frame.tick or 0) for frame in frames)
        assert {frame.exposed_from for frame in frames} == {"schedule"}
        late_ms = np.array([frame.host_ns - frame.exposed_ns for frame in frames]) / 1e6
        assert late_ms.min() >= 0, "no frame leaves before it was exposed"
        assert np.median(late_ms) < 3
        assert source.first_tick == 0 and balanced(source)

    def test_without_an_end_it_goes_round(self, film: Path) -> None:
        source = make(film, loop=0)
        source.open(StartClock.now(500, 0.05))
        assert source.n_frames is None
        frames = [source.read() for _ in range(100)]
        source.close()
        assert all(frame is not None and number_in(frame) == (frame.tick or 0) % 40 for frame in frames)

    def test_who_comes_late_joins_at_the_current_tick(self, film: Path) -> None:
        source = make(film, loop=0, remember_mb=0)
        clock = StartClock(now_ns() - 10**10, 10**7)  # began ten seconds ago
        source.open(clock)
        frames = [source.read() for _ in range(10)]
        source.close()
        assert source.first_tick is not None and 1000 <= source.first_tick < 1050
        first = frames[0]
        assert first is not None and first.tick is not None and first.seq == 0
        assert first.tick - source.first_tick == first.counters.lost_upstream
        assert all(frame is not None and number_in(frame) == (frame.tick or 0) % 40 for frame in frames)

    def test_who_comes_after_the_end_has_nothing_to_say(self, film: Path) -> None:
        source = make(film)
        source.open(StartClock(now_ns() - 10**10, 10**7))
        assert source.read() is None
        source.close()
        assert balanced(source) and source.counters.seen == 0

    def test_a_slow_reader_loses_frames_upstream_and_gets_none_late(self, film: Path) -> None:
        source = make(film, loop=2)
        source.prepare()
        period_ns = 10_000_000
        source.open(StartClock(now_ns() + 50_000_000, period_ns))
        frames = []
        while (frame := source.read()) is not None:
            assert frame.host_ns - frame.exposed_ns < period_ns + 5_000_000
            frames.append(frame)
            time.sleep(0.033)
        source.close()
        ticks = [frame.tick or 0 for frame in frames]
        assert ticks == sorted(set(ticks)) and len(ticks) < 40
        assert all(number_in(frame) == (frame.tick or 0) % 40 for frame in frames)
        assert all(frame.counters.exposed == (frame.tick or 0) + 1 for frame in frames)
        assert source.counters.exposed == 80 and balanced(source)
        assert [frame.seq for frame in frames] == list(range(len(frames)))

    def test_a_rate_that_cannot_be_decoded_still_gives_frames_in_time(self, tmp_path: Path) -> None:
        """Far too fast for this machine: ticks are lost and counted, what comes is right and on time."""
        path = write_film(tmp_path / "large.mp4", 60, size=(960, 640), options={"g": "20", "preset": "ultrafast"})
        source = make(path, loop=20, remember_mb=0)
        source.prepare()
        period_ns = 1_000_000
        source.open(StartClock(now_ns() + 20_000_000, period_ns))
        frames = read_all(source)
        assert source.counters.exposed == 1200 and balanced(source)
        assert 5 < source.counters.seen == len(frames) < 1200
        assert all(number_in(frame) == (frame.tick or 0) % 60 for frame in frames)
        late = np.array([frame.host_ns - frame.exposed_ns for frame in frames])
        assert np.median(late) < 2 * period_ns

    def test_stop_ends_a_waiting_read(self, film: Path) -> None:
        source = make(film)
        source.open(StartClock(now_ns() + 60 * 10**9, 10**9))
        threading.Timer(0.1, source.stop).start()
        start = time.monotonic()
        assert source.read() is None
        assert time.monotonic() - start < 2
        source.close()
        assert not any(thread.name == "decode cam" for thread in threading.enumerate())

    def test_two_cameras_show_the_same_tick(self, film: Path) -> None:
        clock = StartClock.now(100, 0.1)
        sources = [make(film), make(film, pixel_format="NV12")]
        for source in sources:
            source.open(clock)
        seen: list[dict[int | None, tuple[int, int]]] = [{}, {}]
        for _ in range(20):
            for source, ticks in zip(sources, seen, strict=True):
                frame = source.read()
                assert frame is not None
                ticks[frame.tick] = (frame.exposed_ns, number_in(frame))
        for source in sources:
            source.close()
        both = seen[0].keys() & seen[1].keys()
        assert len(both) >= 10
        assert all(seen[0][tick] == seen[1][tick] for tick in both)


class TestPictures:
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(order=st.lists(st.integers(0, 39), min_size=1, max_size=12), limit=st.sampled_from([10**6, 25]))
    def test_any_order_gives_the_right_pictures(self, film: Path, order: list[int], limit: int) -> None:
        """Also where a file is too long to read all times beforehand."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pictures_module, "MAX_SCANNED", limit)
            pictures = VideoPictures(film, "BGR8")
        assert pictures.n == 40
        for index in order:
            assert pictures.steps(index) >= 1
            image = pictures.read(index)
            assert image is not None and number_in(image) == index
        pictures.close()

    def test_going_on_costs_one_step_and_going_back_those_from_the_key_frame(self, film: Path) -> None:
        pictures = VideoPictures(film, "BGR8")
        pictures.read(14)
        assert [pictures.steps(index) for index in (15, 16, 24, 14, 12, 11)] == [1, 2, 1, 3, 1, 12]
        pictures.close()

    def test_remembered_pictures_are_the_same(self, film: Path) -> None:
        pictures = RememberedPictures(VideoPictures(film, "NV12"))
        fresh = VideoPictures(film, "NV12")
        for index in (39, 0, 20):
            np.testing.assert_array_equal(pictures.read(index), fresh.read(index))
            assert pictures.steps(index) == 0
        assert RememberedPictures.bytes_for(fresh, "NV12") == 40 * WIDTH * HEIGHT * 3 // 2
        fresh.close()

    @pytest.mark.parametrize(
        ("loop", "memory", "remembered"), [(0, 1, True), (2, 1, True), (1, 1, False), (0, 0, False)]
    )
    def test_only_looped_clips_that_fit_are_remembered(
        self, film: Path, loop: int, memory: int, remembered: bool
    ) -> None:
        source = make(film, loop=loop, remember_mb=memory)
        source.prepare()
        assert isinstance(source._pictures, RememberedPictures) == remembered
        source.close()

    @pytest.mark.parametrize(
        ("pix_fmt", "codec"), [("yuv420p", "libx264"), ("yuvj420p", "mjpeg"), ("yuv444p", "libx264"), ("rgb24", "png")]
    )
    def test_colours_are_those_that_were_filmed(self, tmp_path: Path, pix_fmt: str, codec: str) -> None:
        """Full range and limited, subsampled or not."""
        path = tmp_path / "colours.mov"
        colours = np.array(
            [[30, 60, 200], [200, 90, 40], [70, 180, 70], [128, 128, 128], [16, 16, 16], [235, 235, 235]], np.uint8
        )
        image = np.repeat(np.repeat(colours[None], 32, 0), 16, 1)
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream(codec, rate=30, options={"crf": "8", "qmin": "1", "q": "1"})
            stream.width, stream.height, stream.pix_fmt = 96, 32, pix_fmt
            for _ in range(2):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            container.mux(stream.encode())
        for pixel_format in ("BGR8", "NV12"):
            source = make(path, lossless=True, pixel_format=pixel_format)
            source.open(StartClock(0, 1))
            frame = source.read()
            source.close()
            assert frame is not None and frame.pixel_format == pixel_format
            seen = to_bgr(frame)[16, 8::16].astype(int)
            assert np.abs(seen - colours).max() <= 8

    def test_a_grey_picture_is_a_third_of_the_bytes(self, film: Path) -> None:
        source = make(film, lossless=True, pixel_format="Mono8")
        source.open(StartClock(0, 1))
        frames = read_all(source)
        assert frames[7].image is not None and frames[7].image.shape == (HEIGHT, WIDTH)
        assert [number_in(frame) for frame in frames] == list(range(40))

    def test_pictures_stay_as_they_are_while_later_ones_come(self, film: Path) -> None:
        """Memory is used again, but never that of a frame that somebody still holds."""
        source = make(film, lossless=True)
        source.open(StartClock(0, 1))
        frames = read_all(source)
        assert [number_in(frame) for frame in frames] == list(range(40))
        assert all(frame.image is not None and not frame.image.flags.writeable for frame in frames)

    def test_a_film_that_is_to_be_turned_is_turned_as_by_opencv(self, tmp_path: Path) -> None:
        path = write_film(tmp_path / "turned.mp4", 3)
        data = path.read_bytes()
        upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
        turned = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, HEIGHT << 16, 0, 1 << 30)
        at = data.index(upright, data.index(b"tkhd"))
        path.write_bytes(data[:at] + turned + data[at + len(turned) :])
        capture = cv2.VideoCapture(str(path))
        expected = capture.read()[1]
        capture.release()
        pictures = VideoPictures(path, "BGR8")
        assert pictures.size == (HEIGHT, WIDTH) == expected.shape[1::-1]
        image = pictures.read(0)
        assert image is not None and np.abs(image.astype(int) - expected).mean() < 3
        pictures.close()
        with pytest.raises(ConfigError, match="cannot be turned"):
            VideoPictures(path, "NV12")


class TestImages:
    def test_a_pattern_of_images_is_a_film(self, tmp_path: Path) -> None:
        for index in range(12):
            cv2.imwrite(str(tmp_path / f"frame_{index:04d}.png"), numbered(index))
        for pixel_format in ("BGR8", "NV12", "Mono8"):
            source = make(tmp_path / "frame_*.png", lossless=True, rate=20, pixel_format=pixel_format)
            source.open(StartClock(0))
            assert (source.size, source.rate, source.n_frames) == ((WIDTH, HEIGHT), 20, 12)
            frames = read_all(source)
            assert [number_in(frame) for frame in frames] == list(range(12))
            assert frames[3].video == (str(tmp_path / "frame_0003.png"), 0)

    def test_images_without_a_rate_ask_for_it(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "a.png"), numbered(0))
        source = make(tmp_path / "*.png")
        with pytest.raises(ConfigError, match="set source.rate"):
            source.open(StartClock(0))
        source.close()

    def test_a_damaged_image_is_left_out_and_counted(self, tmp_path: Path) -> None:
        for index in range(5):
            cv2.imwrite(str(tmp_path / f"{index}.png"), numbered(index))
        (tmp_path / "2.png").write_bytes(b"no image")
        source = make(tmp_path / "*.png", lossless=True, rate=20)
        source.open(StartClock(0))
        frames = read_all(source)
        assert [(frame.tick, number_in(frame)) for frame in frames] == [(0, 0), (1, 1), (3, 3), (4, 4)]
        assert (source.counters.exposed, source.counters.lost_upstream) == (5, 1)


class TestDamage:
    def test_a_damaged_frame_leaves_a_gap_and_shifts_nothing(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        whole = write_film(tmp_path / "whole.mkv", 20, codec="mjpeg", pix_fmt="yuvj420p")
        damaged = tmp_path / "damaged.mkv"
        with av.open(str(whole)) as source, av.open(str(damaged), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for number, packet in enumerate(source.demux(video=0)):
                if packet.dts is None:
                    continue
                if number == 7:
                    broken = av.Packet(b"\x00" * 300)
                    broken.pts, broken.dts, broken.time_base = packet.pts, packet.dts, packet.time_base
                    packet = broken
                packet.stream = stream
                target.mux(packet)
        source_ = make(damaged, lossless=True)
        source_.open(StartClock(0, 1))
        frames = read_all(source_)
        kept = [index for index in range(20) if index != 7]
        assert [(frame.tick, number_in(frame)) for frame in frames] == [(index, index) for index in kept]
        assert (source_.counters.exposed, source_.counters.lost_upstream) == (20, 1)
        assert "damaged" in caplog.text

    def test_uneven_times_are_told(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        times = np.cumsum([33, 33, 90, 33, 20] * 6).tolist()
        with caplog.at_level(logging.WARNING):
            pictures = open_pictures(write_film(tmp_path / "vfr.mkv", 30, times=times), "BGR8")
        assert "uneven times (20.0 to 90.0 ms apart)" in caplog.text
        assert [number_in(image) for index in range(30) if (image := pictures.read(index)) is not None] == list(
            range(30)
        )
        pictures.close()

    def test_even_times_are_not(self, film: Path, caplog: pytest.LogCaptureFixture) -> None:
        VideoPictures(film, "BGR8").close()
        assert not caplog.records

    def test_a_cut_file_gives_what_it_has(self, tmp_path: Path) -> None:
        path = write_film(tmp_path / "cut.mkv", 60, codec="mjpeg", pix_fmt="yuvj420p")
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 2 // 3])
        source = make(path, lossless=True)
        source.open(StartClock(0, 1))
        frames = read_all(source)
        assert 20 < len(frames) < 60
        assert [number_in(frame) for frame in frames] == list(range(len(frames)))
        assert balanced(source)

    def test_a_film_that_changes_its_size_is_one_clear_line(self, tmp_path: Path) -> None:
        first, second = (write_film(tmp_path / f"{side}.h264", 5, size=(side, 64)) for side in (96, 128))
        both = tmp_path / "both.h264"
        both.write_bytes(first.read_bytes() + second.read_bytes())
        source = make(both, lossless=True, rate=30)
        source.open(StartClock(0))
        with pytest.raises(RigposeError, match=r"both.h264: changes its size to 128x64 on the way"):
            for _ in range(20):
                source.read()
        source.close()


class TestErrors:
    def assert_refused(self, path: Path, what: str, **keys: Any) -> None:
        source = make(path, **keys)
        with pytest.raises(RigposeError, match=what) as error:
            source.prepare()
        source.close()
        assert isinstance(error.value, ConfigError)
        assert str(path) in str(error.value) and "\n" not in str(error.value)
        assert error.value.remedy

    def test_a_missing_file(self, tmp_path: Path) -> None:
        self.assert_refused(tmp_path / "missing.mp4", "source.file: no such file")

    def test_a_folder(self, tmp_path: Path) -> None:
        self.assert_refused(tmp_path, r"source.file: is a folder .*\*\.png")

    def test_a_pattern_that_matches_nothing(self, tmp_path: Path) -> None:
        self.assert_refused(tmp_path / "*.png", "no image has such a name")

    @pytest.mark.parametrize(
        "content", [b"", b"this is no film", bytes(5000), b"\x00\x00\x00\x20ftypisom" + bytes(200)]
    )
    def test_a_file_that_is_no_video(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "bad.mp4"
        path.write_bytes(content)
        self.assert_refused(path, "source.file: cannot be read as video")

    def test_an_mp4_that_was_never_finished(self, tmp_path: Path) -> None:
        path = write_film(tmp_path / "unfinished.mp4")
        data = path.read_bytes()
        path.write_bytes(data[: data.index(b"moov")])
        self.assert_refused(path, "source.file: cannot be read as video")

    def test_sound_without_pictures(self, tmp_path: Path) -> None:
        path = tmp_path / "sound.wav"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("pcm_s16le", rate=8000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            frame.rate = 8000
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        self.assert_refused(path, "source.file: has no video stream")

    def test_a_video_without_frames(self, tmp_path: Path) -> None:
        path = tmp_path / "empty.mkv"
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream("mpeg4", rate=30)
            stream.width, stream.height = 64, 48
            container.start_encoding()
        self.assert_refused(path, "source.file: holds no frame")

    def test_a_picture_that_is_no_image(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(b"text")
        source = make(tmp_path / "*.png", rate=20)
        with pytest.raises(ConfigError, match="cannot be read as an image"):
            source.prepare()

    def test_nv12_of_an_odd_size(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "a.png"), numbered(0, 97, 64))
        self.assert_refused(tmp_path / "*.png", "NV12 needs even sizes, this is 97x64", pixel_format="NV12", rate=20)

    @pytest.mark.parametrize(
        "keys", [{"rate": 0}, {"rate": -1}, {"loop": -1}, {"pixel_format": "RGB8"}, {"max_frames": 0}]
    )
    def test_keys_are_checked(self, tmp_path: Path, keys: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=next(iter(keys))):
            make(tmp_path / "a.mp4", **keys)


@pytest.mark.data
class TestRealVideos:
    @pytest.mark.parametrize(
        ("name", "size"),
        [("cam01", (1080, 1920)), ("cam02", (1080, 1920)), ("cam03", (1088, 1920)), ("cam04", (1088, 1920))],
    )
    def test_a_hundred_frames_as_opencv_reads_them(self, data_dir: Path, name: str, size: tuple[int, int]) -> None:
        path = data_dir / "human4-balance" / "videos" / f"{name}.mp4"
        source = make(path, lossless=True)
        source.open(StartClock(0))
        assert (source.size, source.n_frames) == (size, 100)
        assert source.rate == pytest.approx(60)
        capture = cv2.VideoCapture(str(path))
        n = 0
        while (frame := source.read()) is not None:
            if n % 33 == 0:
                capture.set(cv2.CAP_PROP_POS_FRAMES, n)
                good, expected = capture.read()
                assert good
                assert np.abs(cv2.subtract(to_bgr(frame), expected)).mean() < 3
            assert frame.video == (str(path), n) and frame.tick == n
            n += 1
        capture.release()
        source.close()
        assert n == 100
