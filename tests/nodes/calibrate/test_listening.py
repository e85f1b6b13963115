"""While a running rig is listened to, a user sees what was gathered and what is wanted."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from capture.pose_wire import POSES, PosePublisher
from capture.rundir import RunDirectory
from nodes.calibrate import keypoints, listening
from nodes.calibrate.listening import Listening
from rigpose import codec
from rigpose.pose import PoseSet, to_message
from tests.capture import poses

VIEWS = 3


def pose(*seen_by: int) -> PoseSet:
    """One subject, whose joint k was seen by ``seen_by[k]`` cameras."""
    points = np.full((VIEWS, 17, 2), np.nan, np.float32)
    for joint, n in enumerate(seen_by):
        points[:n, joint] = 100.0
    sure = np.where(np.isfinite(points[..., 0]), np.float32(0.9), np.float32(0))
    subject = replace(poses.subject(np.zeros((17, 3)), n_views=VIEWS), points2d=points, confidence2d=sure)
    one = poses.pose_set(0, (subject,))
    cut = {key: getattr(one.stamps, key)[:VIEWS] for key in ("exposed_ns", "received_ns")}
    names = tuple(f"cam{v + 1}" for v in range(VIEWS))
    return replace(one, cameras=names, frames=one.frames[:VIEWS], stamps=replace(one.stamps, **cut))


def console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=140)


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_joints_that_two_cameras_saw_are_counted() -> None:
    with Listening(20, 50, quiet=True) as heard:
        for one in (None, pose(3, 2, 1), pose(1, 1), None, pose(2)):
            heard.add(one)
    assert heard.sets == 3 and heard.joints == 3
    assert "3 frame sets, 3 joints" in heard.words and "at least 50 are needed" in heard.words


def test_without_a_terminal_there_are_plain_lines_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(listening.time, "monotonic", lambda: now[0])
    to = console(terminal=False)
    with Listening(20, 50, console=to) as heard:
        for _ in range(200):
            now[0] += 0.1
            heard.add(pose(3, 2) if now[0] > 107 else None)
    lines = said(to).splitlines()
    assert 4 <= len(lines) <= 6 and "\x1b" not in said(to)
    assert lines[0] == "listening: waiting for the first pose"
    assert "of 20 s" in lines[-1] and f"{heard.sets} frame sets, {heard.joints} joints" in lines[-1]


def test_a_terminal_shows_a_bar() -> None:
    to = console(terminal=True)
    with Listening(20, 50, console=to) as heard:
        heard.add(pose(3))
    assert "1 frame sets, 1 joints" in said(to) and "\x1b[" in said(to)


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_is_quiet(terminal: bool) -> None:
    to = console(terminal)
    with Listening(20, 50, quiet=True, console=to) as heard:
        heard.add(pose(3))
    assert said(to) == ""


def test_a_running_rig_is_gathered_and_shown(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RIGPOSE_RUN", str(short_folder))
    monkeypatch.setattr(listening, "EVERY_S", 0.2)
    # Which cameras the rig has is another message's word.
    monkeypatch.setattr(keypoints.Heard, "wait_for_rig", lambda _: None)
    run = RunDirectory.create("s")
    publisher = PosePublisher(run.endpoint("poses"))
    stop = threading.Event()

    def publish() -> None:
        while not stop.wait(0.02):
            publisher.send(POSES, codec.pack(to_message(pose(3, 2, 1), codec.header("s", "engine", "e", 0))))

    sender = threading.Thread(target=publish)
    sender.start()
    try:
        seen = keypoints.sightings("running", seconds=1.0, quiet=False)
    finally:
        stop.set()
        sender.join()
        publisher.close()
    sets = seen.px.shape[1]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2 and f"{sets} frame sets, {2 * sets} joints" in lines[-1] and "of 1 s" in lines[-1]
