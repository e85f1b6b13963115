"""What a person sees while the virtual rig runs: in a terminal, and where there is none."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROWS, COLUMNS = 24, 80
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_FIGURES = {
    "fps": r"^fps +([\d.]+) +([\d.]+)$",
    "latency": r"^latency exposed to published, p50 +([\d.]+) ms +([\d.]+) ms$",
    "error": r"^error to the truth \(MPJPE\) +([\d.]+) mm +([\d.]+) mm$",
}


class Terminal:
    """A process in a real terminal of its own, and everything that was written to it."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        environment = {**environment, "TERM": "xterm-256color"}
        environment.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        self.written = b""

    @property
    def lines(self) -> list[str]:
        """Every line that was shown, without colours and movements of the cursor."""
        return [line.rstrip() for line in _CONTROLS.sub("", self.written.decode(errors="replace")).splitlines()]

    def until(self, condition: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "\n".join(self.lines[-40:])
            if not select.select([self._master], [], [], 0.1)[0]:
                assert self.process.poll() is None, "\n".join(self.lines[-40:])
                continue
            try:
                self.written += os.read(self._master, 65536)
            except OSError:  # the other side is gone
                return

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        os.close(self._master)


def shown(lines: list[str], name: str) -> list[tuple[float, float]]:
    """A figure now and over the whole run, as often as it was shown."""
    found = (re.match(_FIGURES[name], line) for line in lines)
    return [(float(match[1]), float(match[2])) for match in found if match]


def plausible(lines: list[str]) -> bool:
    """Whether rate, latency and error have stood there together."""
    return (
        any(now > 5 for now, _ in shown(lines, "fps"))
        and any(0 < now < 2000 for now, _ in shown(lines, "latency"))
        and any(0 < now < 100 for now, _ in shown(lines, "error"))
    )


def test_rate_latency_and_error_to_the_truth_are_shown_while_it_runs(short_folder: Path) -> None:
    environment = {**os.environ, "RIGPOSE_RUN": str(short_folder)}
    rigpose = [sys.executable, "-m", "nodes"]
    rig = Terminal([*rigpose, "launch", "--seconds", "60", "--viewer", "none", "--no-record"], environment)
    try:
        rig.until(lambda: plausible(rig.lines), 40)
        assert b"\x1b[1A" in rig.written, "it is drawn in place"

        # Another terminal shows the same table; a pipe gets it once, without any control character.
        other = Terminal([*rigpose, "status"], environment)
        try:
            other.until(lambda: plausible(other.lines), 20)
            os.kill(other.process.pid, signal.SIGINT)
            assert other.process.wait(10) == 130
        finally:
            other.close()
        once = subprocess.run([*rigpose, "status"], env=environment, capture_output=True, text=True, timeout=20)
        assert once.returncode == 0 and plausible([line.rstrip() for line in once.stdout.splitlines()])
        assert "\x1b" not in once.stdout
        told = subprocess.run(
            [*rigpose, "status", "--json"], env=environment, capture_output=True, text=True, timeout=20
        )
        recent = json.loads(told.stdout)["recent"]
        assert recent["fps"] > 5 and 0 < recent["mpjpe_mm"] < 100 and 0 < recent["p50_ms"] <= recent["max_ms"]

        rig.process.send_signal(signal.SIGINT)
        rig.until(lambda: rig.process.poll() is not None, 30)
        assert rig.process.wait(5) == 130
    finally:
        rig.close()
    assert max(map(len, rig.lines)) <= COLUMNS
    assert not any("Traceback" in line for line in rig.lines)


def test_without_a_terminal_there_is_a_line_every_few_seconds(short_folder: Path) -> None:
    environment = {**os.environ, "RIGPOSE_RUN": str(short_folder)}
    command = [sys.executable, "-m", "nodes", "launch", "--seconds", "60", "--viewer", "none", "--no-record"]
    pattern = (
        r"rigpose: +[\d.]+ s  \d+ sets  \d+ poses  [\d.]+ fps  latency [\d.]+ ms  MPJPE [\d.]+ mm  \d+ frames skipped"
    )
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said = ""
        while not re.search(pattern, said):
            assert (line := process.stderr.readline()), said
            said += line
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130, err
    assert "\x1b" not in said + err + out
