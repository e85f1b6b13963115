"""What all benchmarks share: rows, their table and JSON, interleaved timing, and what they ran on."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.table import Table

from benchmarks.goals import goal
from rigpose.files import write_json

ROOT = Path(__file__).resolve().parent.parent
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
PACKAGES = ("rigpose", "numpy", "opencv-python", "onnxruntime", "scipy")


class Peer(BaseModel):
    """What another package reached on the same work; ``None`` = it could not be run."""

    model_config = ConfigDict(frozen=True)

    value: float | None
    spread: tuple[float, float] | None = None
    version: str = ""


class Row(BaseModel):
    """One figure: a case, a metric, ours and the peers'."""

    model_config = ConfigDict(frozen=True)

    case: str
    metric: str
    unit: str
    better: Literal["lower", "higher"]
    n: int
    ours: float | None
    spread: tuple[float, float] | None = None
    goal: float | None = None
    peers: dict[str, Peer] = {}
    met: bool | None = None


class Report(BaseModel):
    """A benchmark's run, as it is written."""

    model_config = ConfigDict(populate_by_name=True)

    schema_: Literal[1] = Field(1, alias="schema")
    benchmark: str
    quick: bool
    started: str
    machine: dict[str, Any]
    versions: dict[str, str]
    commit: str
    rows: list[Row] = []
    notes: list[str] = []

    @classmethod
    def begin(cls, benchmark: str, quick: bool = False, packages: Sequence[str] = ()) -> Report:
        """An empty report of this machine, these versions and this commit."""
        return cls(
            schema=1,
            benchmark=benchmark,
            quick=quick,
            started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            machine=machine(),
            versions=versions((*PACKAGES, *packages)),
            commit=commit(),
        )

    def add(
        self,
        case: str,
        metric: str,
        unit: str,
        ours: Sequence[float] | np.ndarray | float | None,
        *,
        better: Literal["lower", "higher"] = "lower",
        peers: Mapping[str, Peer] | None = None,
        n: int | None = None,
    ) -> Row:
        """Add a row; of several samples the median is the figure and the 5th and 95th percentile its spread."""
        value, spread, count = summarise(ours)
        bar = goal(self.benchmark, case, metric)
        met = None
        if bar is not None and value is not None:
            met = bool(value <= bar if better == "lower" else value >= bar)
        row = Row(
            case=case,
            metric=metric,
            unit=unit,
            better=better,
            n=count if n is None else n,
            ours=value,
            spread=spread,
            goal=bar,
            peers=dict(peers or {}),
            met=met,
        )
        self.rows.append(row)
        return row

    def write(self, path: Path) -> None:
        """Write the JSON, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, self.model_dump(by_alias=True))

    def show(self) -> None:
        """Print the table."""
        names = sorted({name for row in self.rows for name in row.peers})
        table = Table(title=f"{self.benchmark}{' (quick)' if self.quick else ''}")
        for title in ("case", "metric", "unit", "n", "ours", "p5..p95", "goal", "met", *names):
            table.add_column(title, justify="left" if title in ("case", "metric", "unit") else "right")
        for row in self.rows:
            spread = "" if row.spread is None else f"{_figure(row.spread[0])}..{_figure(row.spread[1])}"
            bar = "" if row.goal is None else ("<= " if row.better == "lower" else ">= ") + _figure(row.goal)
            met = {True: "yes", False: "NO", None: ""}[row.met]
            others = [_figure(row.peers[name].value) if name in row.peers else "" for name in names]
            table.add_row(row.case, row.metric, row.unit, str(row.n), _figure(row.ours), spread, bar, met, *others)
        console = Console(width=None if sys.stdout.isatty() else 140)
        console.print(table)
        console.print(
            f"{self.machine['cpu']}, {self.machine['cores']} cores; commit {self.commit[:12]}", highlight=False
        )
        for note in self.notes:
            console.print(f"note: {note}", highlight=False)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def summarise(
    samples: Sequence[float] | np.ndarray | float | None,
) -> tuple[float | None, tuple[float, float] | None, int]:
    """Median, (p5, p95) and count of samples; a bare number is itself."""
    if samples is None:
        return None, None, 0
    if isinstance(samples, int | float):
        return float(samples), None, 1
    values = np.asarray(samples, dtype=float)
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return None, None, 0
    p5, p50, p95 = np.percentile(values, [5, 50, 95])
    return float(p50), (float(p5), float(p95)), len(values)


def interleaved(
    work: Mapping[str, Callable[[int], object]], rounds: int, clock: Callable[[], int] = time.perf_counter_ns
) -> dict[str, np.ndarray]:
    """Time calls in turn, so that what else the machine does meets all alike.

    Args:
        work: For each name a function of the round's number; each is called once untimed first.
        rounds: How often each is timed.
        clock: ns.

    Returns:
        ms of each call, by name.
    """
    names = list(work)
    for name in names:
        work[name](0)
    times = {name: np.empty(rounds) for name in names}
    for index in range(rounds):
        # The order turns, so that nobody always runs on another's warm caches.
        for name in names[index % len(names) :] + names[: index % len(names)]:
            call = work[name]
            start = clock()
            call(index)
            times[name][index] = (clock() - start) / 1e6
    return times


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Installed versions, with Python's."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit of this checkout, with ``+`` where files differ from it; empty outside of one."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def arguments(benchmark: str, description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{benchmark}",
        description=description,
        epilog=f"example: python -m benchmarks.{benchmark} --quick --json out.json",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    parser.add_argument("--quick", action="store_true", help="fewer samples, at most 50 seconds on two cores")
    return parser


def finish(report: Report, path: Path | None) -> int:
    """Print, write, and answer 1 where a goal was missed."""
    report.show()
    if path is not None:
        report.write(path)
    return 1 if any(row.met is False for row in report.rows) else 0


class PeerProcess:
    """A peer that runs as a child process in its own environment and answers JSON lines.

    The child reads one JSON object a line and answers each with one; a line ``{"error": ...}`` or its
    end makes `ask` return ``None`` from then on.

    Args:
        script: Run by the peers' Python with ``args``.
        args: Its arguments.
    """

    def __init__(self, script: Path, args: Sequence[str] = ()) -> None:
        self.problem = ""
        self._process: subprocess.Popen[str] | None = None
        if not PEERS_PYTHON.exists():
            self.problem = "no .venv-peers: run make peers for the others' figures"
            return
        self._process = subprocess.Popen(
            [str(PEERS_PYTHON), str(script), *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # So that a script finds `benchmarks._peer_loop`, which is all that it may import from here.
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )

    def ask(self, **question: Any) -> dict[str, Any] | None:
        """The child's answer, ``None`` where there is none."""
        if self._process is None:
            return None
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer = json.loads(line) if line else {"error": "the peer's process ended"}
        if "error" in answer:
            self.problem = str(answer["error"])
            self.close()
            return None
        return answer

    def close(self) -> None:
        """End the child."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
