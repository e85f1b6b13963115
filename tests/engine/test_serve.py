"""The engine among its threads: it ends when its cameras do, and however it ends, each frame is in its account."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from calib.quality import Verdict
from capture.drawn import draw_recording
from capture.frame import Counters, EndOfFrames
from capture.rundir import RunDirectory
from capture.sources.base import StartClock, create
from capture.wire import META, POSES, FrameSender, PosePublisher, PoseSubscriber
from engine.config import SystemConfig, load_system
from engine.pipeline import Pipeline
from engine.serve import Engine, build_pipeline
from rigpose import codec
from rigpose.errors import ConfigError
from rigpose.pose import HOW, REASONS, PoseSet, from_message

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
            sender.end(EndOfFrames(name, f"epoch-{name}", last, Counters()), wait_s=0.5)
        source.close()

    def end(self) -> None:
        assert self._thread is not None
        self._thread.join(20)
        assert not self._thread.is_alive(), "the engine hangs"

    def accounted(self) -> bool:
        """Whether every frame that came off the sockets was used or skipped with a reason."""
        assert self.engine is not None
        counts = self.engine.counted()["cameras"].values()
        reasons = ("used", "late", "incomplete", "superseded", "stopping")
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
    meta = codec.unpack(message[1])
    assert tuple(meta["how"]) == HOW and tuple(meta["reasons"]) == REASONS and meta["units"] == "mm"
    assert set(meta) >= {"skeletons", "model", "rig", "calibration_id", "verdict"}, "a late subscriber needs no file"


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
