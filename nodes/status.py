"""How a run goes: one table, live in the terminal of launch and from any other by `rigpose status`."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from capture.rundir import RunDirectory
from rigpose.errors import RigposeError
from rigpose.summary import Percentiles, Summary

REFRESH_S = 0.5
LINE_S = 5.0
STALE_S = 2.0
_COLOURS = {"running": "green", "ready": "cyan", "starting": "yellow", "dead": "bold red", "ended": "dim"}

Status = dict[str, Any]


def _number(value: float | None, digits: int = 1, unit: str = "") -> str:
    return "-" if value is None else f"{value:.{digits}f}{unit}"


def _stood_in(summary: Summary) -> str:
    """Which share of the joints was got otherwise than by two views; nothing where none was."""
    shares = {"lifted": summary.joints_lifted_share, "predicted": summary.joints_predicted_share}
    return "".join(f"  {how} {100 * share:.1f} %" for how, share in shares.items() if share)


def render(status: Status) -> Group:
    """A status as a line on the run, and tables of its figures, its nodes and its frames."""
    summary = Summary.model_validate(status["summary"])
    nodes = Table(box=None, pad_edge=False)
    for column in ("node", "state", "pid", "restarts"):
        nodes.add_column(column, justify="right" if column in ("pid", "restarts") else "left")
    for name, node in status["nodes"].items():
        state = Text(node["state"], style=_COLOURS.get(node["state"], ""))
        nodes.add_row(name, state, str(node["pid"] or "-"), str(node["deaths"]))
    headline = Text(
        f"{status['name']}  {status['running_s']:.0f} s  {summary.sets} sets  {summary.poses} poses  "
        f"residual {_number(summary.residual_px.median)} px  views {_number(summary.views_used.mean)}"
        f"{_stood_in(summary)}"
    )
    return Group(headline, figures_table(status["recent"], summary), nodes, frames_table(summary))


def figures_table(recent: Mapping[str, Any], summary: Summary) -> Table:
    """Rate, latency and the error to the truth: now and over the whole run."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column(f"last {recent['window_s']:g} s", justify="right", min_width=9)
    table.add_column("whole run", justify="right")
    table.add_row("fps", _number(recent["fps"]), _number(summary.fps))
    stage = recent["stage"]
    whole = summary.latency_ms.get(stage, Percentiles())
    latency = stage.replace("_", " ")
    table.add_row(f"latency {latency}, p50", _number(recent["p50_ms"], 1, " ms"), _number(whole.p50, 1, " ms"))
    table.add_row(f"latency {latency}, max", _number(recent["max_ms"], 1, " ms"), _number(whole.max, 1, " ms"))
    if summary.mpjpe_mm is not None:
        # Where there is no truth, there is no line.
        error = "error to the truth (MPJPE)"
        table.add_row(error, _number(recent["mpjpe_mm"], 1, " mm"), _number(summary.mpjpe_mm.mean, 1, " mm"))
    return table


def frames_table(summary: Summary) -> Table:
    """Where each camera's frames went."""
    table = Table(box=None, pad_edge=False)
    table.add_column("camera")
    for column in ("exposed", "lost upstream", "seen", "used", "skipped"):
        table.add_column(column, justify="right")
    table.add_column("by reason")
    for name, camera in summary.cameras.items():
        reasons = ", ".join(f"{reason} {count}" for reason, count in camera.skipped.model_dump().items() if count)
        table.add_row(
            name,
            *(str(n) for n in (camera.exposed, camera.lost_upstream, camera.seen, camera.used, camera.skipped.total)),
            reasons,
        )
    return table


def one_line(status: Status) -> str:
    """A status in one line, for a terminal that cannot be redrawn."""
    summary = status["summary"]
    skipped = sum(sum(camera["skipped"].values()) for camera in summary["cameras"].values())
    bad = [f"{name} {node['state']}" for name, node in status["nodes"].items() if node["state"] in ("dead", "starting")]
    recent = status["recent"]
    error = "" if summary.get("mpjpe_mm") is None else f"MPJPE {_number(recent['mpjpe_mm'], 1, ' mm')}  "
    return (
        f"{status['running_s']:6.1f} s  {summary['sets']} sets  {summary['poses']} poses  "
        f"{_number(recent['fps'])} fps  latency {_number(recent['p50_ms'], 1, ' ms')}  {error}{skipped} frames skipped"
        + (f"  [{', '.join(bad)}]" if bad else "")
    )


class StatusLine:
    """Shows a run in the terminal that launched it.

    Args:
        run_dir: Is named once, so that other terminals can look.
        quiet: Show nothing.
    """

    def __init__(self, run_dir: RunDirectory, *, quiet: bool) -> None:
        self._run_dir = run_dir
        self._quiet = quiet
        self._console = Console(stderr=True)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Show the status from a thread of its own until the block ends.

        It reads the file that `rigpose status` reads: the loop of launch is never asked from a thread.
        """
        if self._quiet:
            yield
            return
        ended = threading.Event()
        thread = threading.Thread(target=self._show, args=(ended,), name="status", daemon=True)
        self._console.print(f"rigpose: run {self._run_dir.session_id} (Ctrl-C ends it)", highlight=False)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(timeout=2.0)

    def say(self, line: str) -> None:
        """Print one line that is meant for this terminal alone, above what is shown there."""
        self._console.print(f"rigpose: {line}", highlight=False, markup=False, soft_wrap=True)

    def _show(self, ended: threading.Event) -> None:
        if not self._console.is_terminal:
            while not ended.wait(LINE_S):
                if (status := read_status(self._run_dir)) is not None:
                    self._console.print(f"rigpose: {one_line(status)}", highlight=False, markup=False, soft_wrap=True)
            return
        with Live(console=self._console, transient=True, refresh_per_second=2) as live:
            while not ended.wait(REFRESH_S):
                if (status := read_status(self._run_dir)) is not None:
                    live.update(render(status))


def read_status(run_dir: RunDirectory) -> Status | None:
    """The last status that launch wrote; ``None`` before there is one."""
    try:
        status = json.loads((run_dir.path / "status.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return status if isinstance(status, dict) and status.get("schema") == 1 else None


def print_summary(summary: Summary) -> None:
    """The summary of a run as tables."""
    console = Console(highlight=False)
    console.print(frames_table(summary))
    latency = Table(box=None, pad_edge=False)
    latency.add_column("latency, ms")
    for column in ("p50", "p95", "p99", "p99.9", "max", "n"):
        latency.add_column(column, justify="right")
    for stage, values in summary.latency_ms.items():
        if values.n:
            numbers = (values.p50, values.p95, values.p99, values.p99_9, values.max)
            latency.add_row(stage, *(_number(value) for value in numbers), str(values.n))
    console.print(latency)
    share = None if summary.joints_solved_share is None else 100 * summary.joints_solved_share
    console.print(
        f"{summary.poses} poses in {summary.sets} sets, {_number(summary.fps)} fps, "
        f"lag p99 {_number(summary.lag_frames.p99)} frames; joints solved {_number(share)} %{_stood_in(summary)}, "
        f"views used {_number(summary.views_used.mean, 2)}, "
        f"residual median {_number(summary.residual_px.median, 2)} px, p95 {_number(summary.residual_px.p95, 2)} px"
    )
    if summary.mpjpe_mm is not None:
        error = summary.mpjpe_mm
        console.print(
            f"error to the truth: mean {_number(error.mean)} mm, median {_number(error.median)} mm, "
            f"p95 {_number(error.p95)} mm"
        )
    for note in summary.notes:
        console.print(f"note: {note}", style="yellow", markup=False)
    if summary.recording and summary.recording.get("path"):
        console.print(f"recorded: {summary.recording['path']}", markup=False, soft_wrap=True)


def status(run_dir: Path | None = None, once: bool = False, json: bool = False) -> int:
    """Show how the running rig goes; the body of `rigpose status`.

    Raises:
        RigposeError: No rig runs here.
    """
    run = RunDirectory.open(run_dir) if run_dir is not None else RunDirectory.latest()
    console = Console()
    if json or once or not console.is_terminal:
        current = _wait_for_status(run)
        if json:
            sys.stdout.write(_dumps(current) + "\n")
        else:
            console.print(render(current))
        return 0
    with Live(console=console, refresh_per_second=2) as live:
        while run.is_running:
            if (current_ := read_status(run)) is not None:
                live.update(render(current_))
            time.sleep(REFRESH_S)
    console.print("the rig has ended")
    return 0


def _dumps(value: Status) -> str:
    return json.dumps(value, indent=2)


def _wait_for_status(run: RunDirectory) -> Status:
    deadline = time.monotonic() + STALE_S
    while time.monotonic() < deadline:
        if (current := read_status(run)) is not None:
            return current
        time.sleep(0.1)
    raise RigposeError(run.path, "this rig tells no status", "it was not started by rigpose launch")


if __name__ == "__main__":
    # The same command as `rigpose status`.
    import sys

    from nodes.cli import main

    main(["status", *sys.argv[1:]])
