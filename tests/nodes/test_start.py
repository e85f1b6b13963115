"""All nodes that keep the rig's schedule begin on one tick; one that is alone begins by itself."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from capture.control import NodeControl
from capture.rundir import RunDirectory
from capture.sources.base import StartClock
from nodes.start import common_clock
from rigpose.stamps import now_ns


@pytest.fixture
def run_dir(short_folder: Path) -> RunDirectory:
    return RunDirectory.create("s", path=short_folder / "run")


def control(endpoint: str | None) -> NodeControl:
    return NodeControl(endpoint, "s", "cam1", "camera", "epoch", dict)


def test_launch_says_when(run_dir: RunDirectory) -> None:
    node = control(run_dir.endpoint("control"))
    node.start_ns = 5
    threading.Timer(0.1, node.started.set).start()
    assert common_clock(node, run_dir, 40) == StartClock(5, 40)
    assert node.state == "ready"


def test_told_to_end_before_that_it_does_not_begin(run_dir: RunDirectory) -> None:
    node = control(run_dir.endpoint("control"))
    threading.Timer(0.1, node.stop_requested.set).start()
    assert common_clock(node, run_dir, 40) is None


def test_one_that_is_started_by_hand_joins_the_run_or_begins(run_dir: RunDirectory) -> None:
    before = now_ns()
    alone = common_clock(control(None), run_dir, 40)
    assert alone is not None and before <= alone.start_ns <= now_ns() and alone.period_ns == 40
    joined = common_clock(control(None), run_dir.update(clock={"start_ns": 7, "period_ns": 50}), 40)
    assert joined == StartClock(7, 50)
