"""The engine's side of the cameras: who is heard, who is silent, who has ended."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from capture.frame import Counters, EndOfFrames, Frame
from capture.rundir import RunDirectory
from capture.sync import Synchroniser
from capture.wire import FrameSender
from engine import intake
from engine.account import FrameAccount
from engine.config import SystemConfig
from engine.intake import Intake
from rigpose.config import validate

CAMERAS = ("a", "b")


class Rig:
    """Two cameras, the intake that listens to them, and what it told."""

    def __init__(self, folder: Path, mode: str) -> None:
        document: dict[str, Any] = {
            "version": 1,
            "rig": {"file": "rig.toml"},
            "mode": mode,
            "rate": 100,
            "cameras": {name: {"source": {"kind": "video", "file": "a.mp4"}} for name in CAMERAS},
        }
        run_dir = RunDirectory.create("session", CAMERAS, folder)
        self.told: list[tuple[str, str]] = []
        self.sync = Synchroniser(CAMERAS, 10_000_000, lossless=mode == "lossless")
        self.account = FrameAccount(CAMERAS)
        config = validate(document, SystemConfig, "test")
        self.intake = Intake(config, run_dir, self.sync, self.account, self._tell)
        self.senders = {
            name: FrameSender(run_dir.frames_endpoint(name), "session", name, f"epoch-{name}") for name in CAMERAS
        }
        self.seq = dict.fromkeys(CAMERAS, 0)

    def _tell(self, event: str, _: str, *, camera: str) -> None:
        self.told.append((event, camera))

    def send(self, camera: str) -> None:
        seq = self.seq[camera]
        self.seq[camera] += 1
        image = np.zeros((4, 4, 3), np.uint8)
        frame = Frame(camera, seq, image, "BGR8", seq, "schedule", 0, (4, 4), tick=seq, node_epoch=f"epoch-{camera}")
        assert self.senders[camera].send(frame, wait_s=2.0)

    def hear(self, until: Callable[[list[str]], bool], exclude: tuple[str, ...] = (), send: str = "") -> list[str]:
        heard: list[str] = []
        end = time.monotonic() + 5
        while not until(heard):
            assert time.monotonic() < end, heard
            for camera in send:
                self.send(camera)
            for frame in self.intake.receive(0.01, exclude):
                self.sync.add(frame)
                heard.append(frame.camera)
        return heard

    def close(self) -> None:
        for sender in self.senders.values():
            sender.close()
        self.intake.close()


@pytest.fixture
def rig(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(intake, "SILENCE_LEAST_S", 0.2)
    monkeypatch.setattr(intake, "SILENCE_LOSSLESS_S", 0.2)
    # A folder of its own with a short name: sockets' paths have a limit, and parallel tests lie deeper.
    with tempfile.TemporaryDirectory(prefix="rigpose-") as folder:
        result = Rig(Path(folder) / "run", getattr(request, "param", "live"))
        yield result
        result.close()


def both(heard: list[str]) -> bool:
    return set(heard) == set(CAMERAS)


def test_a_camera_that_falls_silent_is_told_and_not_waited_for_until_it_sends_again(rig: Rig) -> None:
    rig.hear(both, send="ab")
    rig.hear(lambda _: ("camera_silent", "b") in rig.told, send="a")
    assert not rig.sync.is_waited_for("b") and rig.sync.is_waited_for("a")
    rig.hear(lambda heard: "b" in heard, send="ab")
    assert rig.told == [("camera_silent", "b"), ("camera_back", "b")]


def test_where_nothing_comes_at_all_nobody_is_to_blame(rig: Rig) -> None:
    rig.hear(both, send="ab")
    end = time.monotonic() + 0.5
    rig.hear(lambda _: time.monotonic() > end)
    assert rig.told == []


@pytest.mark.parametrize("rig", ["lossless"], indirect=True)
def test_a_camera_that_is_left_waiting_at_its_socket_is_not_silent(rig: Rig) -> None:
    rig.hear(both, send="ab")
    end = time.monotonic() + 0.5
    rig.hear(lambda _: time.monotonic() > end, exclude=("b",), send="a")
    rig.hear(lambda heard: "a" in heard, send="a")
    assert rig.told == [], "nobody listened to b"


@pytest.mark.parametrize("rig", ["lossless"], indirect=True)
def test_time_in_which_the_engine_does_not_listen_is_no_silence(rig: Rig) -> None:
    rig.hear(both, send="ab")
    time.sleep(0.5)
    rig.hear(lambda heard: "a" in heard, send="a")
    assert rig.told == []


def test_all_have_ended_when_each_has_said_its_last_word(rig: Rig) -> None:
    rig.hear(both, send="ab")
    for name in CAMERAS:
        assert not rig.intake.all_ended
        end = EndOfFrames(name, f"epoch-{name}", rig.seq[name] - 1, Counters())
        rig.senders[name].end(end, wait_s=None)
    rig.hear(lambda _: rig.intake.all_ended)
    assert not rig.sync.is_waited_for("a")


def test_a_frame_of_a_camera_that_sends_elsewhere_is_rejected(rig: Rig) -> None:
    stranger = Frame("b", 0, np.zeros((4, 4, 3), np.uint8), "BGR8", 0, "schedule", 0, (4, 4), node_epoch="e")
    assert rig.senders["a"].send(stranger, wait_s=2.0)
    rig.hear(lambda _: rig.intake.rejected == 1)
    assert rig.account.snapshot()["b"]["received"] == 0
