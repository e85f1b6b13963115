"""No node outlives the process that started it, however early that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rigpose.parent import is_orphan

pytestmark = pytest.mark.process

CHILD = """
import os, sys, threading, time
from pathlib import Path
from rigpose.parent import end_with_parent
time.sleep(float(sys.argv[2]))
lock = threading.Lock()
def stop():
    lock.acquire()  # as every Event does; never given back: stop is called once
    time.sleep(0.3)
    Path(sys.argv[1]).write_text("stopped")
    os._exit(0)
end_with_parent(stop)
Path(sys.argv[1]).write_text("watching")
time.sleep(30)
"""
PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", *sys.argv[1:4]], env={**os.environ, "RIGPOSE_PARENT": str(os.getpid())})
print(child.pid, flush=True)
time.sleep(float(sys.argv[4]))
os._exit(0)
"""


def start(mark: Path, imports_s: float, lives_s: float) -> int:
    """A parent that lives so long, and its child that takes so long to come up; the child's pid."""
    command = [sys.executable, "-c", PARENT, CHILD, str(mark), str(imports_s), str(lives_s)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.wait(10)
    parent.stdout.close()
    return child


def says(mark: Path, word: str) -> bool:
    end = time.monotonic() + 5
    while time.monotonic() < end:
        if mark.exists() and mark.read_text() == word:
            return True
        time.sleep(0.02)
    return False


def test_a_parent_that_dies_is_noticed(tmp_path: Path) -> None:
    start(tmp_path / "mark", 0.0, 1.0)
    assert says(tmp_path / "mark", "stopped")


def test_a_parent_that_died_while_the_node_came_up_is_noticed_too(tmp_path: Path) -> None:
    start(tmp_path / "mark", 0.5, 0.0)
    assert says(tmp_path / "mark", "stopped")


def test_sigterm_stops(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(mark), "0"])
    assert says(mark, "watching")
    os.kill(child.pid, signal.SIGTERM)
    assert child.wait(5) == 0 and mark.read_text() == "stopped"


def test_a_second_signal_does_not_hang_what_the_first_began(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(mark), "0"])
    assert says(mark, "watching")
    try:
        for _ in range(3):
            os.kill(child.pid, signal.SIGTERM)
            time.sleep(0.05)
        assert child.wait(5) == 0 and mark.read_text() == "stopped"
    finally:
        child.kill()


def test_an_orphan_knows_that_it_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RIGPOSE_PARENT", raising=False)
    assert not is_orphan(), "whoever was started by hand has no launch to lose"
    monkeypatch.setenv("RIGPOSE_PARENT", str(os.getppid()))
    assert not is_orphan()
    monkeypatch.setenv("RIGPOSE_PARENT", "1" if os.getppid() != 1 else "2")
    assert is_orphan()
