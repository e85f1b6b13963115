"""The engine's throughput with four cameras, and the bare runtime's while the same four nodes publish.

Both are processes that four camera nodes send to, at a rate that neither can follow. One is the engine. The other takes
the frames from its sockets, as the engine does, throws them away, and runs the graph on one and the same batch, as fast
as it can, with the same threads. They take turns.

    python -m benchmarks._engine_throughput bare|engine CONFIG RUN_DIR INPUTS SECONDS
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks._report import ROOT
from capture.rundir import RunDirectory, new_session_id
from capture.sync import Synchroniser
from engine import runtimes
from engine.account import FrameAccount
from engine.assembly import build_pipeline
from engine.config import SystemConfig, load_system, write_config
from engine.document import find_model
from engine.graph import compose
from engine.intake import Intake
from engine.serve import Engine
from rigpose.errors import RigposeError
from rigpose.stamps import now_ns

FASTER = 1.3
"""Rate of the cameras, times what the runtime can do without them."""
_READY_S, _END_S = 60.0, 20.0
_LEAST_SETS = 10
_TRIES, _SLACK = 4, 1.1


def measure(config: SystemConfig, inputs: dict[str, np.ndarray], seconds: float, rounds: int) -> dict[str, list[float]]:
    """Frame sets a second of ``bare`` and ``engine``, a figure each round.

    Raises:
        RigposeError: One of the processes failed.
    """
    found: dict[str, list[float]] = {"bare": [], "engine": []}
    with tempfile.TemporaryDirectory(prefix="rp") as name:
        folder = Path(name)
        np.savez(folder / "in.npz", **inputs)  # type: ignore[arg-type]
        rate = FASTER * _alone(config, inputs)
        for _ in range(_TRIES):
            live = _at(config, rate, folder)
            reached = _one("bare", live, folder, min(seconds, 2.0))
            if FASTER * reached <= rate * _SLACK:
                break
            # The machine was busier before: an engine that gets no more frames than it answers is not measured.
            rate = FASTER * reached
        else:
            raise RigposeError("benchmarks.engine", "the machine is too uneven to be measured", "try when it is quiet")
        for index in range(rounds):
            for kind in ("bare", "engine") if index % 2 == 0 else ("engine", "bare"):
                found[kind].append(_one(kind, live, folder, seconds))
    found["rate"] = [rate]
    return found


def _at(config: SystemConfig, rate: float, folder: Path) -> SystemConfig:
    """The config with another rate, also as the file that the processes read."""
    live = config.model_copy(update={"mode": "live", "rate": rate, "loop": 0, "sets": None})
    write_config(live, folder / "rig.yaml")
    return live


def _alone(config: SystemConfig, inputs: dict[str, np.ndarray], seconds: float = 2.0) -> float:
    run = _runtime(config).run
    return _loop(lambda: run(inputs), seconds)


def _loop(call: Callable[[], Any], seconds: float) -> float:
    for _ in range(3):
        call()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        call()
        count += 1
    return count / (time.perf_counter() - start)


def _runtime(config: SystemConfig) -> runtimes.Runtime:
    engine = config.engine
    graph = compose(find_model(str(engine.model)), len(config.camera_names))
    return runtimes.create(graph, engine.runtime, threads=engine.threads, precision=engine.precision)


def _one(kind: str, config: SystemConfig, folder: Path, seconds: float) -> float:
    """One process of a kind, and the cameras."""
    assert config.rate is not None
    run_dir = RunDirectory.create(new_session_id(), config.cameras, folder / f"run{time.monotonic_ns()}")
    run_dir = run_dir.update(clock={"start_ns": now_ns(), "period_ns": round(1e9 / config.rate)})
    file = str(folder / "rig.yaml")
    command = [sys.executable, "-m", "benchmarks._engine_throughput", kind, file, str(run_dir.path)]
    child = _start([*command, str(folder / "in.npz"), str(seconds)])
    cameras: list[subprocess.Popen[str]] = []
    try:
        _said(child, "ready")
        for camera in config.cameras:
            node = ["-m", "nodes.camera", file, "--name", camera, "--run-dir", str(run_dir.path)]
            cameras.append(_start([sys.executable, *node]))
        return float(_said(child, "sets_per_s"))
    finally:
        for process in (*cameras, child):
            process.send_signal(signal.SIGTERM)
        for process in (*cameras, child):
            try:
                process.communicate(timeout=_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        run_dir.remove()


def _start(command: list[str]) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=ROOT, text=True, env=os.environ, **pipes)  # type: ignore[call-overload, no-any-return]


def _said(child: subprocess.Popen[str], key: str) -> Any:
    assert child.stdout is not None
    for line in child.stdout:
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if isinstance(said, dict) and key in said:
            return said[key]
    raise RigposeError("benchmarks.engine", f"a process ended before it said {key} (code {child.wait()})", "report it")


def _tell(**said: Any) -> None:
    print(json.dumps(said), flush=True)


class _Discarding:
    """Takes all frames from the sockets, as the engine's receiving thread does, and forgets them."""

    def __init__(self, config: SystemConfig, run_dir: RunDirectory) -> None:
        assert config.rate is not None
        self._config, self._run_dir = config, run_dir
        self._sync = Synchroniser(config.camera_names, round(1e9 / config.rate), deadline_ns=round(1e9 / config.rate))
        self.taken = dict.fromkeys(config.camera_names, 0)
        self.bound, self.stopping = threading.Event(), threading.Event()

    def run(self) -> None:
        account = FrameAccount(self._config.camera_names)
        intake = Intake(self._config, self._run_dir, self._sync, account, lambda *_, **__: None)
        self.bound.set()
        try:
            while not self.stopping.is_set():
                for frame in intake.receive(0.05):
                    self.taken[frame.camera] += 1
                    self._sync.add(frame)
                self._sync.take(now_ns())
        finally:
            intake.close()


def _bare(config: SystemConfig, run_dir: RunDirectory, inputs: dict[str, np.ndarray], seconds: float) -> float:
    runtime = _runtime(config)
    runtime.warmup()
    discarding = _Discarding(config, run_dir)
    thread = threading.Thread(target=discarding.run)
    thread.start()
    try:
        discarding.bound.wait()
        _tell(ready=True)
        _wait(lambda: min(discarding.taken.values()) >= _LEAST_SETS)
        before = dict(discarding.taken)
        rate = _loop(lambda: runtime.run(inputs), seconds)
        if any(discarding.taken[name] - before[name] < seconds for name in before):
            raise RigposeError("benchmarks.engine", "the cameras stopped while the bare runtime ran", "report it")
        return rate
    finally:
        discarding.stopping.set()
        thread.join()


def _engine(config: SystemConfig, run_dir: RunDirectory, seconds: float) -> float:
    pipeline, verdict = build_pipeline(config)
    engine = Engine(config, pipeline, verdict, run_dir, supervised=False, record=False)
    thread = threading.Thread(target=engine.main)
    thread.start()
    try:
        _tell(ready=True)
        _wait(lambda: engine.counted()["poses"] >= _LEAST_SETS)
        begin, before = time.perf_counter(), engine.counted()["poses"]
        time.sleep(seconds)
        return float(engine.counted()["poses"] - before) / (time.perf_counter() - begin)
    finally:
        engine.control.stop_requested.set()
        thread.join()


def _wait(done: Callable[[], bool]) -> None:
    end = time.monotonic() + _READY_S
    while not done():
        if time.monotonic() > end:
            raise RigposeError("benchmarks.engine", f"no frames within {_READY_S:g} s", "look at the cameras")
        time.sleep(0.01)


def main(arguments: list[str]) -> None:
    """A child."""
    kind, file, run_dir, inputs, seconds = arguments
    cv2.setNumThreads(1)
    config, place = load_system(Path(file)), RunDirectory.open(Path(run_dir))
    if kind == "engine":
        rate = _engine(config, place, float(seconds))
    else:
        with np.load(inputs) as kept:
            rate = _bare(config, place, {name: kept[name] for name in kept.files}, float(seconds))
    _tell(sets_per_s=rate)


if __name__ == "__main__":
    main(sys.argv[1:])
