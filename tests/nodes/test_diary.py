"""What launch tells the recorder arrives in order, waits for a recorder that is not there, and never without end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from capture.pose_wire import RecordReceiver
from capture.rundir import RunDirectory
from nodes.diary import KEPT_MESSAGES, Diary
from rigpose import codec


@pytest.fixture
def run_dir(short_folder: Path) -> RunDirectory:
    return RunDirectory.create("s", path=short_folder / "run")


def received(run_dir: RunDirectory, diary: Diary, n: int) -> list[tuple[bytes, dict[str, Any]]]:
    """The next messages, as a recorder that begins now gets them."""
    messages = []
    with RecordReceiver(run_dir.endpoint("record")) as recorder:
        for _ in range(n):
            parts = None
            for _ in range(200):
                diary.hand_over()
                if (parts := recorder.receive(0.05)) is not None:
                    break
            assert parts is not None
            messages.append((bytes(parts[0]), codec.unpack(parts[1])))
    return messages


def test_events_and_health_arrive_in_order(run_dir: RunDirectory) -> None:
    diary = Diary(run_dir, "epoch", recorded=True)
    diary.event("node_died", "cam2 died", "launch", 17, {"camera": "cam2"})
    diary.health("cam1", {"seen": 3})
    (topic, event), (other, health) = received(run_dir, diary, 2)
    assert topic == b"event" and (event["event"], event["at_ns"], event["clock"]) == ("node_died", 17, "monotonic")
    assert event["data"] == {"camera": "cam2"} and event["source"] == "launch"
    assert other == b"health" and (health["about"], health["counters"]) == ("cam1", {"seen": 3})
    assert (event["seq"], health["seq"]) == (0, 1) and event["node_epoch"] == "epoch"
    diary.close()


def test_where_too_much_waits_the_oldest_goes_and_leaves_a_gap(run_dir: RunDirectory) -> None:
    diary = Diary(run_dir, "epoch", recorded=True)
    for number in range(KEPT_MESSAGES + 5):
        diary.health("cam1", {"seen": number})
    ((_, first),) = received(run_dir, diary, 1)
    assert first["seq"] == first["counters"]["seen"] == 5
    diary.close()


def test_without_a_recorder_events_stand_in_the_log_alone(
    run_dir: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    diary = Diary(run_dir, "epoch", recorded=False)
    with caplog.at_level("INFO"):
        diary.event("camera_silent", "camera cam1 sends nothing", "engine", 1)
    diary.hand_over()
    diary.close()
    assert "engine: camera cam1 sends nothing" in caplog.text
