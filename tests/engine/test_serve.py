"""The engine among its threads: it ends when its cameras do, and however it ends, each frame is in its account."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calib.quality import Verdict
from capture.buffers import BufferPool
from capture.drawn import draw_recording
from capture.frame import Counters, EndOfFrames, Frame, FrameSet
from capture.pose_wire import META, POSES, PosePublisher, PoseSubscriber
from capture.rundir import RunDirectory
from capture.sources.base import StartClock, create
from capture.wire import FrameSender
from engine.account import REASONS as REASONS_OF_FRAMES
from engine.assembly import build_pipeline
from engine.config import SystemConfig, load_system
from engine.pipeline import Pipeline
from engine.serve import Engine
from rigpose import codec
from rigpose.errors import ConfigError
from rigpose.pose import HOW, REASONS, PoseSet, from_message
from rigpose.stamps import now_ns

FRAMES = 8


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve") / "drawn"
    draw_recording(folder, frames=FRAMES)
    return folder


DRAWN = Path(__file__).parents[2] / "examples" / "drawn.yaml"


class Bench:
    """An engine, and cameras that send what they are told to."""

    def __init__(self, recording: Path, folder: Path, mode: str) -> None:
        self.config: SystemConfig = load_system(
            DRAWN, data=recording, assignments=["rate=30", f"mode={mode}", "record.enabled=false"]
        )
        self.pipeline: Pipeline
        self.verdict: Verdict
        self.pipeline, self.verdict = build_pipeline(self.config)
        self.run_dir = RunDirectory.create("session", self.config.cameras, folder)
        self.senders: dict[str, FrameSender] = {}
        self.engine: Engine | None = None
        self.failure: BaseException | None = None
        self.failed = threading.Event()
        self.ended: dict[str, bool] = {}
        self._thread: threading.Thread | None = None

    def start(self) -> Engine:
        self.engine = Engine(
            self.config, self.pipeline, self.verdict, self.run_dir, supervised=False, record=False
        )  # fmt: skip
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self.engine

    def _run(self) -> None:
        assert self.engine is not None
        try:
            self.engine.main()
        except BaseException as error:
            self.failure = error
            self.failed.set()

    def send_all(self) -> None:
        """Every camera's frames, each in a thread of its own as in a process of its own, and its last word."""
        threads = [threading.Thread(target=self._send, args=(name,)) for name in self.config.cameras]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _send(self, name: str) -> None:
        assert self._thread is not None
        source = create(name, self.config.cameras[name].source, lossless=True)
        source.open(StartClock.now(30))
        last = -1
        with FrameSender(self.run_dir.frames_endpoint(name), "session", name, f"epoch-{name}") as sender:
            while (frame := source.read()) is not None and self._thread.is_alive():
                frame = replace(frame, node_epoch=f"epoch-{name}")
                while self._thread.is_alive() and not sender.send(frame, wait_s=0.1):
                    pass
                last = frame.seq
            self.ended[name] = sender.end(EndOfFrames(name, f"epoch-{name}", last, Counters()), 2.0, self.failed)
        source.close()

    def end(self) -> None:
        assert self._thread is not None
        self._thread.join(20)
        assert not self._thread.is_alive(), "the engine hangs"

    def accounted(self) -> bool:
        """Whether every frame that came off the sockets was used or skipped with a reason."""
        assert self.engine is not None
        counts = self.engine.counted()["cameras"].values()
        reasons = ("used", *(reason for reason in REASONS_OF_FRAMES if reason != "lost"))
        return all(camera["received"] == sum(camera[reason] for reason in reasons) for camera in counts)


@pytest.fixture
def bench(request: pytest.FixtureRequest, recording: Path) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="rp") as folder:
        result = Bench(recording, Path(folder), getattr(request, "param", "lossless"))
        yield result
        if result.engine is not None:
            result.engine.control.stop_requested.set()
            result.end()


def test_every_set_is_answered_and_the_end_of_the_cameras_is_the_end(bench: Bench) -> None:
    engine = bench.start()
    with PoseSubscriber(bench.run_dir.endpoint("poses")) as subscriber:
        end = time.monotonic() + 10
        while (message := subscriber.receive(0.1)) is None or message[0] != META:
            assert time.monotonic() < end
        bench.send_all()
        poses: list[PoseSet] = []
        while len(poses) < FRAMES and (got := subscriber.receive(5.0)) is not None:
            if got[0] == POSES:
                poses.append(from_message(codec.unpack(got[1])))
    bench.end()
    assert bench.failure is None
    assert [pose.sync.tick for pose in poses] == list(range(FRAMES))
    counted = engine.counted()
    assert (counted["sets"], counted["poses"]) == (FRAMES, FRAMES) and bench.accounted()
    assert all(camera["used"] == FRAMES for camera in counted["cameras"].values())
    assert bench.ended == dict.fromkeys(bench.config.cameras, True), "no camera waited in vain behind its last word"
    meta = codec.unpack(message[1])
    assert tuple(meta["how"]) == HOW and tuple(meta["reasons"]) == REASONS and meta["units"] == "mm"
    assert set(meta) >= {"skeletons", "model", "rig", "calibration_id", "verdict"}, "a late subscriber needs no file"


def test_pictures_are_received_into_the_memory_that_the_runtime_wants(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wanting:
        """A GPU's eyes, that leave all work to the CPU."""

        # A camera may be ahead of the others by all of its frames: lossless, they are kept until the others come.
        pool = BufferPool(lambda count: np.zeros(count, np.uint8), buffers=FRAMES)

        def __call__(self, *_: object) -> None:
            return None

    bench.pipeline.runtime.look = Wanting()  # type: ignore[attr-defined]
    process = bench.pipeline.process
    held: list[bool] = []

    def noting(frames: FrameSet) -> PoseSet:
        held.extend(Wanting.pool.holds(frame.image) for frame in frames.frames if frame and frame.image is not None)
        return process(frames)

    monkeypatch.setattr(bench.pipeline, "process", noting)
    bench.start()
    bench.send_all()
    bench.end()
    assert bench.failure is None and bench.accounted()
    assert held == [True] * FRAMES * len(bench.config.cameras)


def test_a_network_that_fails_ends_the_engine_and_leaves_no_frame_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = bench.pipeline.process

    def failing(frames: object) -> PoseSet:
        pose_set = process(frames)  # type: ignore[arg-type]
        if pose_set.set_index >= 2:
            raise RuntimeError("out of memory")
        return pose_set

    monkeypatch.setattr(bench.pipeline, "process", failing)
    engine = bench.start()
    bench.send_all()
    bench.end()
    assert isinstance(bench.failure, RuntimeError)
    assert engine.counted()["sets"] == 2 and bench.accounted()


def test_an_address_in_use_ends_the_engine_instead_of_holding_it_up(bench: Bench) -> None:
    with PosePublisher(bench.run_dir.endpoint("poses")):
        bench.start()
        bench.send_all()
        bench.end()
    assert isinstance(bench.failure, ConfigError) and "in use" in str(bench.failure)
    assert bench.accounted()


def test_a_publisher_that_fails_while_much_waits_does_not_hold_up_the_solver(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = PosePublisher.send

    def slow(self: PosePublisher, topic: bytes, payload: bytes) -> None:
        if topic == POSES:
            time.sleep(1.0)  # the solver fills the queue meanwhile
            raise OSError("no space left")
        send(self, topic, payload)

    monkeypatch.setattr(PosePublisher, "send", slow)
    monkeypatch.setattr("engine.publisher._SETS", 2)
    bench.start()
    bench.send_all()
    bench.end()
    assert isinstance(bench.failure, OSError) and bench.accounted()


@pytest.mark.parametrize("bench", ["live"], indirect=True)
def test_told_to_stop_it_counts_what_it_leaves(bench: Bench) -> None:
    engine = bench.start()
    sender = threading.Thread(target=bench.send_all)
    sender.start()
    end = time.monotonic() + 10
    while engine.counted()["sets"] < 1:
        assert time.monotonic() < end
        time.sleep(0.01)
    engine.control.stop_requested.set()
    bench.end()
    sender.join()
    assert bench.failure is None and bench.accounted()


class Live:
    """Four cameras whose pictures a test chooses, tick by tick, to a live engine; what it answers."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.names = list(bench.config.cameras)
        sources = {name: create(name, bench.config.cameras[name].source, lossless=True) for name in self.names}
        self.pictures: dict[str, Frame] = {}
        for name, source in sources.items():
            source.open(StartClock.now(30))
            frame = source.read()
            assert frame is not None
            self.pictures[name] = frame
            source.close()
        self.engine = bench.start()
        self.told: list[tuple[str, str]] = []
        bench.engine.control.event = lambda name, text="", **_: self.told.append((name, text))  # type: ignore[method-assign, union-attr]
        self.senders = {
            name: FrameSender(bench.run_dir.frames_endpoint(name), "session", name, f"epoch-{name}")
            for name in self.names
        }
        self.subscriber = PoseSubscriber(bench.run_dir.endpoint("poses"))
        end = time.monotonic() + 10
        while self.subscriber.receive(0.1) is None:
            assert time.monotonic() < end
        self.start_ns = now_ns()

    def tick(self, tick: int, wait_s: float = 10, **changes: dict[str, Any]) -> PoseSet:
        """Send one frame of each camera, some of them changed; the set that comes of it."""
        for name in self.names:
            said = {"tick": tick, "seq": tick, "exposed_ns": self.start_ns + tick * 33_333_333, "video": None}
            frame = replace(self.pictures[name], **{**said, "node_epoch": f"epoch-{name}", **changes.get(name, {})})
            assert self.senders[name].send(frame, wait_s=5)
        end = time.monotonic() + wait_s
        while time.monotonic() < end:
            got = self.subscriber.receive(0.2)
            if got is not None and got[0] == POSES and (pose := from_message(codec.unpack(got[1]))).sync.tick == tick:
                return pose
        raise AssertionError(f"tick {tick} was not answered")

    def counts(self, camera: str) -> dict[str, int]:
        return dict(self.engine.counted()["cameras"][camera])

    def accounted(self) -> bool:
        """Whether all frames come to be accounted for; a set counts just behind its publication."""
        end = time.monotonic() + 10
        while not self.bench.accounted() and time.monotonic() < end:
            time.sleep(0.01)
        return self.bench.accounted()

    def close(self) -> None:
        # Told to stop, the engine waits for its cameras' last words.
        self.engine.control.stop_requested.set()
        for name, sender in self.senders.items():
            sender.end(EndOfFrames(name, f"epoch-{name}", -1, Counters()), 2.0, self.bench.failed)
            sender.close()
        self.subscriber.close()


@pytest.fixture
def live(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    # However slow the machine is, a set waits for its cameras, and none of them counts as silent.
    monkeypatch.setattr("engine.intake.SILENCE_LEAST_S", 60.0)
    bench.config = bench.config.model_copy(
        update={"engine": bench.config.engine.model_copy(update={"deadline_periods": 60.0})}
    )
    result = Live(bench)
    yield result
    result.close()


@pytest.mark.parametrize("bench", ["live"], indirect=True)
def test_a_camera_that_changes_its_size_is_dropped_and_named_until_it_fits_again(live: Live) -> None:
    small = {"image": np.zeros((120, 160, 3), np.uint8), "size": (160, 120)}
    assert not any(live.tick(tick).missing for tick in range(3))
    for tick in range(3, 8):
        pose = live.tick(tick, cam2=small)
        assert pose.missing == ("cam2",) and pose.subjects, "poses go on from the others"
    assert not live.tick(8).missing
    assert live.counts("cam2")["misfit"] == 5 and live.accounted()
    misfits = [text for name, text in live.told if name == "camera_misfit"]
    assert len(misfits) == 1 and "cam2" in misfits[0] and "160" in misfits[0]
    assert "camera_fits" in [name for name, _ in live.told]


@pytest.mark.parametrize("bench", ["live"], indirect=True)
def test_where_every_camera_changes_its_size_the_engine_lives_and_counts(live: Live) -> None:
    live.tick(0)
    small = {"image": np.zeros((120, 160, 3), np.uint8), "size": (160, 120)}
    with pytest.raises(AssertionError, match="was not answered"):
        live.tick(1, 1.0, **dict.fromkeys(live.names, small))
    assert not live.tick(2).missing
    assert all(live.counts(name)["misfit"] == 1 for name in live.names) and live.accounted()


@pytest.mark.parametrize("bench", ["live"], indirect=True)
def test_a_rig_that_does_not_fit_from_the_start_ends_the_run(live: Live) -> None:
    small = {"image": np.zeros((120, 160, 3), np.uint8), "size": (160, 120)}
    with pytest.raises(AssertionError, match="was not answered"):
        live.tick(0, 1.0, cam2=small)
    live.bench.end()
    assert isinstance(live.bench.failure, ConfigError) and "cam2" in str(live.bench.failure)


@pytest.mark.parametrize("bench", ["live"], indirect=True)
def test_a_tick_from_the_future_is_refused_and_named(live: Live) -> None:
    live.tick(0)
    assert live.tick(1, cam3={"tick": 10**6}).missing == ("cam3",)
    assert not live.tick(2).missing
    assert live.counts("cam3")["implausible"] == 1 and live.accounted()
    ((_, text),) = [told for told in live.told if told[0] == "camera_implausible"]
    assert "cam3" in text and "1000000" in text
