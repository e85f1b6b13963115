"""A rig that runs in processes of its own, watched from outside by its status file."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def running(command: list[str], runs: Path) -> Iterator[subprocess.Popen[str]]:
    """A command whose run directories lie in ``runs``; it is gone behind this."""
    environment = {**os.environ, "RIGPOSE_RUN": str(runs)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def status_of(runs: Path) -> dict[str, Any]:
    """What `rigpose status` would show of the only run; zeros before there is one."""
    for file in runs.glob("*/status.json"):
        return dict(json.loads(file.read_text()))
    return {"summary": {"sets": 0, "poses": 0}, "nodes": {}}


def until(
    process: subprocess.Popen[str], runs: Path, condition: Callable[[dict[str, Any]], bool], seconds: float = 120
) -> dict[str, Any]:
    """Wait until the status is as wanted, while the process lives."""
    end = time.monotonic() + seconds
    while not condition(status := status_of(runs)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"not within {seconds} s: {status}"
        time.sleep(0.05)
    return status
