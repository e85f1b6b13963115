"""How old a pose is when it is published: the whole rig as its own processes, four cameras at 30 fps.

The demonstration's rig runs as `rigpose launch` starts it, without a viewer; this process listens like any
subscriber and reads the stamps that each message carries, taken where things happen.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks._histogram import Mark, draw
from benchmarks._report import ROOT, Report, arguments, finish
from benchmarks.goals import goal
from capture.pose_wire import POSES, PoseSubscriber
from capture.rundir import RunDirectory
from rigpose import codec
from rigpose.errors import ConfigError, RigposeError
from rigpose.pose import from_message
from rigpose.program import run as run_program
from rigpose.stamps import STAGES
from rigpose.summary import Summary

SECONDS, QUICK_S = 60.0, 20.0
START_S, END_S = 60.0, 60.0
PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9}
BEYOND = 3
"""Samples that have to lie beyond a percentile for it to be one."""
WHOLE = "exposed_to_published"


@dataclass
class Heard:
    """What a subscriber heard of one run.

    Attributes:
        stages_ms: Samples of each stage, one for each published set.
        missed: Pose messages that did not reach this process.
        cameras: Of the rig.
        rate: At which they were to run, frames a second.
        exposed_from: What the exposures are known from.
        summary: What launch says of the run.
    """

    stages_ms: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in STAGES})
    missed: int = 0
    cameras: int = 0
    rate: float = 0.0
    exposed_from: str = ""
    summary: Summary = field(default_factory=Summary)
    _seq: dict[str, int] = field(default_factory=dict)

    def add(self, payload: bytes) -> None:
        """Take in one pose message; sets that were too few cameras to be solved are counted by launch."""
        message = codec.unpack(payload)
        pose = from_message(message)
        epoch, seq = message["node_epoch"], message["seq"]
        self.missed += max(0, seq - self._seq.get(epoch, 0))
        self._seq[epoch] = seq + 1
        if pose.status == "incomplete":
            return
        self.cameras = len(pose.cameras)
        self.exposed_from = pose.stamps.exposed_from
        for name, ms in pose.stamps.stages_ms().items():
            self.stages_ms[name].append(ms)


def run_rig(seconds: float, folder: Path, options: Sequence[str] = ()) -> Heard:
    """Run the rig and listen.

    Args:
        seconds: How long.
        folder: For its run directory and its recording; short, for sockets lie in it.
        options: Further ones of `rigpose launch`.

    Raises:
        RigposeError: The rig did not start, or ended with an error.
    """
    summary = folder / "summary.json"
    command = [
        sys.executable, "-m", "nodes", "launch", *options, "--viewer", "none", "--seconds", str(seconds), "--quiet",
        "--record-to", str(folder / "kept"), "--summary", str(summary),
    ]  # fmt: skip
    heard = Heard()
    with (folder / "out").open("w+") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=output, env={**os.environ, "RIGPOSE_RUN": str(folder / "run")}
        )
        try:
            _listen(process, folder / "run", heard, time.monotonic() + START_S + seconds + END_S)
            code = process.wait(timeout=END_S)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(timeout=END_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        output.seek(0)
        lines = output.read().strip().splitlines()
    if code != 0:
        raise RigposeError("rigpose launch", f"ended with {code}: {lines[-1] if lines else 'it says no more'}")
    heard.summary = Summary.model_validate_json(summary.read_text(encoding="utf-8"))
    return heard


def _listen(process: subprocess.Popen[bytes], base: Path, heard: Heard, until_s: float) -> None:
    while not (found := list(base.glob("*/run.json"))):
        if process.poll() is not None or time.monotonic() > until_s:
            return
        time.sleep(0.02)
    run = RunDirectory.open(found[0].parent)
    with PoseSubscriber(run.endpoint("poses"), (POSES,), hwm=0) as subscriber:
        while time.monotonic() < until_s:
            received = subscriber.receive(0.1)
            if received is not None:
                heard.rate = heard.rate or round(1e9 / run.reload().info["clock"]["period_ns"], 2)
                heard.add(received[1])
            elif process.poll() is not None:
                return


def percentile(samples: np.ndarray, q: float) -> float | None:
    """A percentile, ``None`` with fewer than three samples beyond it."""
    return float(np.percentile(samples, q)) if len(samples) * (100 - q) / 100 >= BEYOND else None


def measure(report: Report, heard: Heard) -> str:
    """Add the rows of a run; the case that they belong to."""
    summary = heard.summary
    case = f"{heard.cameras} cameras, {heard.rate:g} fps"
    for stage, values in heard.stages_ms.items():
        samples = np.array(values)
        if not len(samples):
            continue
        for name, q in PERCENTILES.items():
            report.add(case, f"{stage} {name}", "ms", percentile(samples, q), n=len(samples))
        report.add(case, f"{stage} max", "ms", float(samples.max()), n=len(samples))
    report.add(case, "fps", "1/s", summary.fps, better="higher", n=summary.sets)
    frames = sum(camera.seen for camera in summary.cameras.values())
    skipped = sum(camera.skipped.total for camera in summary.cameras.values())
    report.add(case, "frames skipped", "%", 100 * skipped / frames if frames else None, n=frames)
    if heard.exposed_from == "arrival":
        report.notes.append("the rig knows no exposure times: nothing is told from the exposure on")
    else:
        report.notes.append(f"exposure times are from: {heard.exposed_from}")
    if heard.missed:
        report.notes.append(f"{heard.missed} pose messages did not reach this process")
    unbalanced = [name for name, camera in summary.cameras.items() if not camera.balanced]
    if unbalanced:
        report.notes.append(f"frames of {', '.join(unbalanced)} are not all accounted for")
    report.notes.extend(summary.notes)
    return case


def picture(path: Path, report: Report, heard: Heard, case: str) -> None:
    """The distribution as a PNG file.

    Raises:
        ConfigError: There is nothing to draw, or the file cannot be written.
    """
    name = WHOLE if heard.stages_ms[WHOLE] else "received_to_published"
    samples = np.array(heard.stages_ms[name])
    if not len(samples):
        raise ConfigError(path, "cannot be drawn: no pose was heard", "run it for longer")
    marks = []
    for label in ("p50", "p99"):
        value = percentile(samples, PERCENTILES[label])
        if value is not None:
            marks.append(Mark(value, f"{label} {value:.1f}"))
        bar = goal("latency", case, f"{name} {label}")
        if bar is not None:
            marks.append(Mark(bar, f"goal {label} {bar:g}", is_goal=True))
    whole = {WHOLE, "received_to_published"}
    stages = {
        stage.replace("_", " "): np.array(values)
        for stage, values in heard.stages_ms.items()
        if values and stage not in whole
    }
    model = heard.summary.model
    lines = [
        f"{len(samples)} sets, none left out; {model.get('id', '')}, {model.get('runtime', '')} "
        f"{model.get('precision', '')}; {report.machine['cpu']}, {report.machine['cores']} cores"
    ]
    title = f"{name.replace('_', ' ')}: {case}"
    try:
        draw(path, samples, stages, marks, title, lines)
    except OSError as error:
        raise ConfigError(path, f"cannot be written: {error}", "name a file in a folder of yours") from None


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = arguments("latency", __doc__ or "")
    parser.add_argument("--seconds", type=float, help=f"how long the rig runs; default {SECONDS:g}, quick {QUICK_S:g}")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw the distribution")
    options = parser.parse_args(argv)
    seconds = options.seconds or (QUICK_S if options.quick else SECONDS)
    report = Report.begin("latency", options.quick, packages=("pyzmq",))
    try:
        with tempfile.TemporaryDirectory(prefix="rp") as folder:
            heard = run_rig(seconds, Path(folder))
        case = measure(report, heard)
        if options.png is not None:
            picture(options.png, report, heard, case)
    except RigposeError as error:
        print(f"rigpose: error: {error}", file=sys.stderr)
        return int(error.exit_code)
    return finish(report, options.json)


if __name__ == "__main__":
    run_program(main)
