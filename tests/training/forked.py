"""Runs of ``training.train``, all forked from one process: importing torch takes six times as long as a tiny run.

Called as a program with JSON: for each run its number of processes and its command line. They have the environment
that ``torchrun`` gives; `tests.training.test_processes` starts one run by that itself.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def train(*runs: tuple[int, Sequence[str]]) -> None:
    """Train one run after the other, each in so many processes, and fail where one fails."""
    words = [sys.executable, "-m", "tests.training.forked", json.dumps(runs)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(processes: int, words: list[str]) -> None:
    """One run; where a process of it fails, the others, which would wait for it, are ended."""
    where = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    children = [_start(words, where | {"RANK": str(rank)} if processes > 1 else {}) for rank in range(processes)]
    while children:
        ended, status = os.wait()
        children.remove(ended)
        if status != 0:
            for child in children:
                os.kill(child, signal.SIGKILL)
            raise SystemExit(1)


def _start(words: list[str], environment: dict[str, str]) -> int:
    from rigpose.program import run
    from training.train import main

    child = os.fork()
    if child:
        return child
    os.environ.update(environment, LOCAL_RANK=environment.get("RANK", "0"))
    sys.argv[1:] = words
    run(main)
    raise AssertionError("a program ends itself")


if __name__ == "__main__":
    import torch._dynamo  # noqa: F401  (optimisers load it, each process of each run otherwise)

    for processes, words in json.loads(sys.argv[1]):
        _run(processes, words)
