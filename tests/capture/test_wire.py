"""Frames over real sockets; what is malformed is refused and counted."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from capture.buffers import BufferPool
from capture.endpoint import check_bindable
from capture.frame import Counters, EndOfFrames, Frame
from capture.message import encode_frame
from capture.pose_wire import PosePublisher
from capture.wire import FrameReceiver, FrameSender
from rigpose.errors import ConfigError
from rigpose.keypoints import Keypoints
from rigpose.stamps import now_ns
from tests.capture.frames import WHO, make, picture, same
from tests.capture.waiting import until


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/frames"


@pytest.fixture
def link(endpoint: str) -> Iterator[tuple[FrameSender, FrameReceiver]]:
    with FrameReceiver(endpoint, session_id="session") as receiver, FrameSender(endpoint, *WHO) as sender:
        yield sender, receiver


def send_raw(endpoint: str, messages: list[list[bytes]], done: threading.Event) -> None:
    """Send whatever, as a broken or alien program would."""
    socket: zmq.Socket = zmq.Context.instance().socket(zmq.PUSH)
    with socket:
        socket.connect(endpoint)
        for parts in messages:
            socket.send_multipart(parts)
        done.wait(10)


class TestFrames:
    def test_a_frame_arrives_as_it_was_sent(self, link: tuple[FrameSender, FrameReceiver]) -> None:
        sender, receiver = link
        sent = make(
            tick=9,
            device_ns=-4,
            roi_offset=(16, 8),
            binning=(2, 2),
            flip="horizontal",
            exposure_ns=5_000,
            serial="0815",
            line_state=5,
            video=("a.mp4", 12),
            counters=Counters(10, 2, 8, 1),
        )
        before = now_ns()
        assert sender.send(sent, wait_s=2)
        assert receiver.wait(2)
        got = receiver.receive()
        assert isinstance(got, Frame)
        same(got, sent)
        assert before < got.received_ns <= now_ns()
        assert receiver.receive() is None

    def test_a_part_of_a_picture_travels(self, link: tuple[FrameSender, FrameReceiver]) -> None:
        sender, receiver = link
        whole = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
        assert sender.send(make(whole[5:25, 10:40]), wait_s=2) and receiver.wait(2)
        got = receiver.receive()
        assert isinstance(got, Frame)
        np.testing.assert_array_equal(got.image, whole[5:25, 10:40])

    def test_points_travel_instead_of_pixels(self, link: tuple[FrameSender, FrameReceiver]) -> None:
        sender, receiver = link
        points = np.array([[1.5, 2.5], [np.nan, np.nan]])
        sent = replace(make(), image=None, points=Keypoints(points, np.array([0.9, 0.0])))
        assert sender.send(sent, wait_s=2) and receiver.wait(2)
        got = receiver.receive()
        assert isinstance(got, Frame)
        same(got, sent)

    def test_the_last_word_comes_behind_the_last_frame(self, link: tuple[FrameSender, FrameReceiver]) -> None:
        sender, receiver = link
        end = EndOfFrames("cam1", "epoch", 3, Counters(5, 1, 4, 0))
        assert sender.send(make(), wait_s=2)
        ending = threading.Thread(target=sender.end, args=(end, 2))
        ending.start()
        got: list[Any] = []
        while ending.is_alive() or receiver.wait(0.1):
            if (message := receiver.receive()) is not None:
                got.append(message)
        assert len(got) == 2 and isinstance(got[0], Frame) and got[1] == end
        assert receiver.rejected == 0

    @pytest.mark.process
    @pytest.mark.parametrize("pause_s", [0.0, 0.03])
    def test_a_camera_may_end_while_the_engine_is_behind(self, endpoint: str, pause_s: float) -> None:
        """What a process sent before it ended arrives, although the engine had no room for it yet."""
        program = (
            "import sys, numpy as np; from capture.wire import *; from capture.frame import *;"
            "sender = FrameSender(sys.argv[1], 'session', 'node', 'epoch');"
            "image = np.zeros((1920, 1080, 3), np.uint8);"
            "frames = (Frame('cam1', i, image, 'BGR8', i, 'schedule', i, (1080, 1920)) for i in range(20));"
            "assert all(sender.send(frame, wait_s=20) for frame in frames);"
            "assert sender.end(EndOfFrames('cam1', 'epoch', 19, Counters()), wait_s=20);"
            "sender.close(5)"
        )
        with FrameReceiver(endpoint) as receiver:
            child = subprocess.Popen([sys.executable, "-c", program, endpoint])
            try:
                got: list[Any] = []
                while not (got and isinstance(got[-1], EndOfFrames)):
                    assert receiver.wait(10)
                    if (frame := receiver.receive()) is not None:
                        got.append(frame)
                        time.sleep(pause_s)
                assert [frame.seq for frame in got[:-1]] == list(range(20))
                while child.poll() is None:
                    receiver.wait(0.02)
                    receiver.receive()
                assert child.wait(10) == 0
            finally:
                child.kill()
                child.wait(10)
        assert receiver.rejected == 0

    @pytest.mark.process
    def test_a_process_that_ends_in_the_middle_of_sending_ends_well(self, endpoint: str) -> None:
        """ZeroMQ reads from our memory in its own thread: it must not be gone before that thread is."""
        program = (
            "import sys, numpy as np; from capture.wire import *; from capture.frame import *;"
            "sender = FrameSender(sys.argv[1], 'session', 'node', 'epoch');"
            "image = np.zeros((4000, 4000, 3), np.uint8);"
            "frame = Frame('cam1', 0, image, 'BGR8', 0, 'schedule', 0, (4000, 4000));"
            "[sender.send(frame, wait_s=0.5) for i in range(5)]; sender.close()"
        )
        with FrameReceiver(endpoint):
            assert subprocess.run([sys.executable, "-c", program, endpoint], timeout=20).returncode == 0

    def test_neither_side_copies_the_picture(self, link: tuple[FrameSender, FrameReceiver]) -> None:
        """What was sent and what was received can no longer be written to; the received is a bare view."""
        sender, receiver = link
        image = picture(640, 480)
        assert sender.send(make(image), wait_s=2) and receiver.wait(2)
        with pytest.raises(ValueError, match="read-only"):
            image[0] = 1
        got = receiver.receive()
        assert isinstance(got, Frame) and got.image is not None
        assert not got.image.flags.owndata and not got.image.flags.writeable

    def test_with_a_pool_pictures_are_received_into_it_as_long_as_it_has_room(self, endpoint: str) -> None:
        pool = BufferPool(lambda count: np.zeros(count, np.uint8), buffers=2)
        deep = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)
        sent = [make(picture(value=1)), make(deep, pixel_format="Mono16"), make(picture(value=3))]
        got: list[Frame] = []
        with FrameReceiver(endpoint, pool=pool) as receiver, FrameSender(endpoint, *WHO) as sender:
            for frame in sent:
                assert sender.send(frame, wait_s=2) and receiver.wait(2)
                received = receiver.receive()
                assert isinstance(received, Frame)
                got.append(received)
            for one, other in zip(got, sent, strict=True):
                same(one, other)
                assert one.image is not None and not one.image.flags.writeable
            assert [pool.holds(frame.image) for frame in got if frame.image is not None] == [True, True, False]
            del got, received, one
            assert sender.send(sent[0], wait_s=2) and receiver.wait(2)
            again = receiver.receive()
            assert isinstance(again, Frame) and again.image is not None and pool.holds(again.image)

    def test_a_pool_takes_only_the_formats_that_are_wanted_in_it(self, endpoint: str) -> None:
        pool = BufferPool(lambda count: np.zeros(count, np.uint8), formats=("Mono8",))
        grey = np.full((48, 64), 5, np.uint8)
        held = []
        with FrameReceiver(endpoint, pool=pool) as receiver, FrameSender(endpoint, *WHO) as sender:
            for frame in (make(picture()), make(grey, pixel_format="Mono8")):
                assert sender.send(frame, wait_s=2) and receiver.wait(2)
                got = receiver.receive()
                assert isinstance(got, Frame) and got.image is not None
                same(got, frame)
                held.append(pool.holds(got.image))
        assert held == [False, True]

    def test_without_an_engine_a_frame_is_refused_at_once(self, endpoint: str) -> None:
        with FrameSender(endpoint, *WHO) as sender:
            start = time.perf_counter()
            assert not sender.send(make())
            assert time.perf_counter() - start < 0.1

    def test_an_engine_that_does_not_read_fills_the_queue_and_no_more(
        self, link: tuple[FrameSender, FrameReceiver]
    ) -> None:
        sender, receiver = link
        assert sender.send(make(picture(1080, 1920)), wait_s=2)
        time.sleep(0.2)
        taken = 1
        for _ in range(50):
            taken += sender.send(make(picture(1080, 1920)))
            time.sleep(0.002)
        assert taken <= 8, "so many whole frames may wait between a camera and an engine that stands still"
        got = 0
        while receiver.wait(0.2):
            got += receiver.receive() is not None
        assert got == taken, "what was taken arrives"

    def test_lossless_sending_waits_until_there_is_room(self, link: tuple[FrameSender, FrameReceiver]) -> None:
        sender, receiver = link
        got: list[int] = []

        def read_slowly() -> None:
            while len(got) < 30 and receiver.wait(3):
                frame = receiver.receive()
                assert isinstance(frame, Frame)
                got.append(frame.seq)
                time.sleep(0.005)

        reader = threading.Thread(target=read_slowly)
        reader.start()
        assert all(sender.send(make(picture(320, 240), seq=seq), wait_s=3) for seq in range(30))
        reader.join(10)
        assert got == list(range(30))

    def test_waiting_ends_when_told_to(self, endpoint: str) -> None:
        stop = threading.Event()
        threading.Timer(0.15, stop.set).start()
        with FrameSender(endpoint, *WHO) as sender:
            start = time.monotonic()
            assert not sender.send(make(), wait_s=30, stop=stop)
            assert 0.1 < time.monotonic() - start < 2
        with FrameSender(endpoint, *WHO) as sender:
            start = time.monotonic()
            assert not sender.send(make(), wait_s=0.2)
            assert 0.15 < time.monotonic() - start < 2

    def test_an_engine_that_comes_back_is_used_again(self, endpoint: str) -> None:
        with FrameSender(endpoint, *WHO) as sender:
            for _ in range(2):
                with FrameReceiver(endpoint) as receiver:
                    assert until(lambda: sender.send(make()) and receiver.wait(0.1) and receiver.receive() is not None)
                assert until(lambda: not sender.send(make()))


class TestRefused:
    def test_other_sessions_and_cameras_are_rejected(self, endpoint: str) -> None:
        with (
            FrameReceiver(endpoint, session_id="session", cameras=("cam1",)) as receiver,
            FrameSender(endpoint, "another", "node", "epoch") as alien,
            FrameSender(endpoint, *WHO) as sender,
        ):
            assert alien.send(make(), wait_s=2)
            assert sender.send(make(camera="cam9"), wait_s=2)
            assert until(lambda: receiver.receive() is None and receiver.rejected == 2)
            assert sender.send(make(), wait_s=2) and receiver.wait(2)
            assert isinstance(receiver.receive(), Frame)

    def test_a_storm_of_rubbish_does_not_hide_a_frame(self, endpoint: str) -> None:
        rng = random.Random(0)
        rubbish = [[rng.randbytes(rng.randrange(200)) for _ in range(rng.randrange(1, 90))] for _ in range(100)]
        header, body = encode_frame(make(), *WHO, 0)
        assert body is not None
        with FrameReceiver(endpoint) as receiver:
            done = threading.Event()
            storm = threading.Thread(target=send_raw, args=(endpoint, [*rubbish, [header, body.tobytes()]], done))
            storm.start()
            got: list[Any] = []
            assert until(lambda: got.append(receiver.receive()) or got[-1] is not None)  # type: ignore[func-returns-value]
            done.set()
            storm.join(5)
            assert isinstance(got[-1], Frame)
            assert receiver.rejected == 100


class TestAddresses:
    @pytest.mark.parametrize(
        "endpoint", ["tcp://127.0.0.1:5555", "tcp://localhost:5555", "tcp://[::1]:5555", "ipc:///tmp/a", "inproc://a"]
    )
    def test_this_host_may_be_bound(self, endpoint: str) -> None:
        check_bindable(endpoint)

    @pytest.mark.parametrize(
        "endpoint",
        ["tcp://*:5555", "tcp://0.0.0.0:5555", "tcp://192.168.0.7:5555", "tcp://eth0:1", "udp://127.0.0.1:1", "", "x"],
    )
    def test_anything_else_is_refused_in_one_line(self, endpoint: str) -> None:
        with pytest.raises(ConfigError, match="open to other hosts") as error:
            FrameReceiver(endpoint)
        assert "\n" not in str(error.value)

    def test_a_port_in_use_is_one_line(self) -> None:
        with FrameReceiver("tcp://127.0.0.1:*") as receiver:
            assert receiver.endpoint.startswith("tcp://127.0.0.1:")
            with pytest.raises(ConfigError, match="in use"):
                PosePublisher(receiver.endpoint)
            with FrameSender(receiver.endpoint, *WHO) as sender:
                assert sender.send(make(), wait_s=2) and receiver.wait(2)

    def test_a_path_that_is_too_long_or_not_there_is_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="longer than"):
            FrameReceiver(f"ipc://{tmp_path}/{'x' * 200}")
        with pytest.raises(ConfigError, match="No such file"):
            FrameReceiver(f"ipc://{tmp_path}/missing/frames")

    def test_a_bound_ipc_address_is_not_stolen(self, endpoint: str) -> None:
        with FrameReceiver(endpoint) as receiver, FrameSender(endpoint, *WHO) as sender:
            with pytest.raises(ConfigError, match="in use"):
                FrameReceiver(endpoint)
            assert sender.send(make(), wait_s=2) and receiver.wait(2)
        with FrameReceiver(endpoint):
            pass

    def test_nor_from_a_program_that_knows_no_lock(self, endpoint: str) -> None:
        alien: zmq.Socket = zmq.Context.instance().socket(zmq.PULL)
        with alien:
            alien.bind(endpoint)
            with pytest.raises(ConfigError, match="in use"):
                FrameReceiver(endpoint)

    @pytest.mark.process
    def test_the_address_of_a_killed_engine_is_taken_over(self, endpoint: str) -> None:
        program = (
            "import sys, time; from capture.wire import FrameReceiver;"
            "r = FrameReceiver(sys.argv[1]); print('up', flush=True); time.sleep(60)"
        )
        child = subprocess.Popen([sys.executable, "-c", program, endpoint], stdout=subprocess.PIPE, text=True)
        try:
            assert child.stdout is not None and child.stdout.readline() == "up\n"
            with pytest.raises(ConfigError, match="in use"):
                FrameReceiver(endpoint)
            with FrameSender(endpoint, *WHO) as sender:
                assert until(lambda: sender.send(make()))
                child.send_signal(signal.SIGKILL)
                child.wait(10)
                with FrameReceiver(endpoint) as receiver:
                    # What went to the dead engine before ZeroMQ noticed is lost; later frames arrive.
                    assert until(lambda: sender.send(make()) and receiver.wait(0.1) and receiver.receive() is not None)
        finally:
            child.kill()
            child.wait(10)
            if child.stdout:
                child.stdout.close()
