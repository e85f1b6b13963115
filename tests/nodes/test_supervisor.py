"""Nodes are kept alive by the policy, and nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from engine.config import RestartSection
from nodes.supervisor import Node, Supervisor

pytestmark = pytest.mark.process


class Watched:
    def __init__(self, folder: Path, restart: RestartSection) -> None:
        self.pauses: list[float | None] = []
        self.failed: list[str] = []
        self.supervisor = Supervisor(
            folder,
            restart,
            lambda node, code, pause: self.pauses.append(pause),
            lambda node: self.failed.append(node.name),
        )


def python(name: str, code: str) -> Node:
    return Node(name, "camera", ("-c", code))


async def until(condition, seconds: float = 10) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


def test_a_killed_node_is_started_again_after_a_pause_that_doubles(tmp_path: Path) -> None:
    async def scenario() -> Watched:
        watched = Watched(tmp_path, RestartSection(backoff_s=0.05, backoff_max_s=0.1))
        node = python("a", "import time; time.sleep(60)")
        watched.supervisor.start(node)
        for deaths in range(1, 4):
            await until(lambda: node.alive)
            assert node.process is not None
            pid = node.process.pid
            os.kill(pid, signal.SIGKILL)
            await until(lambda: node.deaths == deaths and node.alive and node.process.pid != pid)  # type: ignore[union-attr]  # noqa: B023
        await watched.supervisor.end(node, 0.0)
        assert not node.alive
        return watched

    assert asyncio.run(scenario()).pauses == [0.05, 0.1, 0.1]


@pytest.mark.parametrize("code", [2, 4])
def test_a_node_that_says_that_its_input_is_wrong_is_given_up_with_its_last_words(tmp_path: Path, code: int) -> None:
    async def scenario() -> tuple[Watched, str]:
        watched = Watched(tmp_path, RestartSection(backoff_s=0.05))
        node = python("a", f"import sys; print('rigpose: error: rig.toml: bad', file=sys.stderr); sys.exit({code})")
        watched.supervisor.start(node)
        await until(lambda: bool(watched.failed))
        return watched, watched.supervisor.last_words(node)

    watched, words = asyncio.run(scenario())
    assert watched.pauses == [None] and words == "rig.toml: bad"


def test_a_node_that_ends_by_itself_is_not_started_again(tmp_path: Path) -> None:
    async def scenario() -> Watched:
        watched = Watched(tmp_path, RestartSection(backoff_s=0.05))
        node = python("a", "pass")
        watched.supervisor.start(node)
        await node.finished.wait()
        assert node.exit_code == 0
        return watched

    assert asyncio.run(scenario()).pauses == []


def test_a_node_that_does_not_stop_is_ended_with_its_children(tmp_path: Path) -> None:
    code = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(child.pid, flush=True); time.sleep(60)"
    )

    async def scenario() -> int:
        watched = Watched(tmp_path, RestartSection())
        node = python("a", code)
        watched.supervisor.start(node)
        output = tmp_path / "a.out"
        await until(lambda: output.exists() and output.read_text().strip().isdigit())
        await watched.supervisor.end(node, 0.1)
        return int(output.read_text())

    child = asyncio.run(scenario())
    end = time.monotonic() + 5
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("served", [False, True])
def test_a_device_that_is_missing_from_the_start_is_final_and_one_that_went_away_is_not(
    tmp_path: Path, served: bool
) -> None:
    async def scenario() -> Watched:
        watched = Watched(tmp_path, RestartSection(backoff_s=0.05))
        node = python("a", "import sys; sys.exit(3)")
        node.served = served
        watched.supervisor.start(node)
        await until(lambda: bool(watched.pauses))
        await watched.supervisor.end(node, 0.0)
        return watched

    watched = asyncio.run(scenario())
    assert watched.pauses[0] == (0.05 if served else None) and watched.failed == ([] if served else ["a"])


def test_a_node_that_the_machine_cannot_start_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> Watched:
        watched = Watched(tmp_path, RestartSection(backoff_s=0.02))
        spawn = watched.supervisor._spawn

        async def full(node: Node) -> asyncio.subprocess.Process:
            if node.deaths < 2:
                raise OSError("too many open files")
            return await spawn(node)

        monkeypatch.setattr(watched.supervisor, "_spawn", full)
        node = python("a", "pass")
        watched.supervisor.start(node)
        await node.finished.wait()
        assert node.exit_code == 0
        return watched

    assert asyncio.run(scenario()).pauses == [0.02, 0.04]
