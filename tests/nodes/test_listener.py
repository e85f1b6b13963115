"""Launch hears every pose and every truth, and is not brought down by what is neither."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from capture.pose_wire import META, POSES, TRUTH, PosePublisher
from capture.rundir import RunDirectory
from nodes.listener import Listener
from rigpose import codec
from tests.capture.poses import STANDING_MM, payload, pose_set, subject

BAD = [b"", b"\xc1", codec.pack({"version": 99}), codec.pack(codec.header("s", "n", "e", 0))]


@pytest.fixture
def run_dir(short_folder: Path) -> RunDirectory:
    return RunDirectory.create("s", path=short_folder / "run")


def truth(tick: int) -> bytes:
    header = codec.header("s", "truth", "t", tick)
    return codec.pack({**header, "type": "truth", "tick": tick, "skeleton": "coco17", "position_mm": STANDING_MM})


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_poses_are_held_against_the_truth_of_their_tick(run_dir: RunDirectory) -> None:
    listener = Listener(run_dir, truth=True)
    poses, truths = PosePublisher(run_dir.endpoint("poses")), PosePublisher(run_dir.endpoint("truth"))
    meta = codec.pack(codec.header("s", "engine", "engine-epoch", 0))
    heard: set[str] = set()

    def engine_is_heard() -> bool:
        poses.send(META, meta)
        heard.update(listener.hear())
        return bool(heard)

    def truth_is_heard() -> bool:
        truths.send(TRUTH, b"")
        listener.hear()
        return listener.rejected > 0

    until(engine_is_heard)
    until(truth_is_heard)
    assert heard == {"engine-epoch"}
    for tick in range(40):
        truths.send(TRUTH, truth(tick))
        poses.send(POSES, payload(pose_set(tick, (subject(STANDING_MM + [0, 3.0, 4.0]),)), tick))
    until(lambda: not listener.hear() and listener.truths.n == 40 * 17)
    assert listener.poses.sets == 40 and listener.poses.missed_messages == 0
    assert listener.recent()["mpjpe_mm"] == pytest.approx(5.0, abs=0.01)
    for socket in (listener, poses, truths):
        socket.close()


@pytest.mark.parametrize("bad", BAD)
def test_what_follows_no_contract_is_counted(run_dir: RunDirectory, bad: bytes) -> None:
    listener = Listener(run_dir, truth=True)
    poses, truths = PosePublisher(run_dir.endpoint("poses")), PosePublisher(run_dir.endpoint("truth"))

    def refused(publisher: PosePublisher, topic: bytes) -> Callable[[], bool]:
        before = listener.rejected

        def step() -> bool:
            publisher.send(topic, bad)
            assert not listener.hear()
            return listener.rejected > before

        return step

    until(refused(poses, POSES))
    until(refused(truths, TRUTH))
    assert listener.poses.sets == 0 and listener.truths.n == 0
    for socket in (listener, poses, truths):
        socket.close()


def test_without_a_truth_there_is_no_error(run_dir: RunDirectory) -> None:
    listener, poses = Listener(run_dir, truth=False), PosePublisher(run_dir.endpoint("poses"))

    def pose_is_heard() -> bool:
        poses.send(POSES, payload(pose_set(0, (subject(STANDING_MM),))))
        return not listener.hear() and listener.poses.sets > 0

    until(pose_is_heard)
    assert listener.recent()["mpjpe_mm"] is None and listener.truths.result() is None
    listener.close()
    poses.close()
