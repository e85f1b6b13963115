"""What the engine costs beside its network, for one frame set of four views.

From frames in the engine's memory to encoded pose bytes: crops, preprocessing, decoding, undistortion,
triangulation, robust solve with covariances, tracking and the message. Beside it, in turn, the bare 2D
network run once a view with the same session options. The cost is the difference, its share is that of
the network's own time; it falls below zero where running the views as one batch gains more than all the
rest costs, so the parts outside of the graph have a row of their own, and the graph has one as well.

Then the whole engine as a process with four camera nodes, against the bare runtime on one and the same batch, with the
same threads, while the four nodes publish to it and their frames are thrown away.

The work is the real recording where ``RIGPOSE_DATA`` and ``RIGPOSE_MODELS`` are set (pixels as the camera
nodes send them, NV12), tracked live as it moves; else the drawn one, whose network is too small to judge by.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

from benchmarks import _engine_throughput
from benchmarks._report import Report, arguments, finish, interleaved
from capture.drawn import draw_recording
from capture.frame import Frame, FrameSet
from capture.sources.base import StartClock, create
from engine.assembly import build_pipeline
from engine.config import SystemConfig, load_system
from engine.document import find_model
from engine.pipeline import Pipeline
from engine.runtimes.feeds import available_threads
from engine.sampling import graph_inputs
from rigpose import codec
from rigpose.pose import SyncInfo, to_message
from rigpose.program import run as run_program

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = ("movenet_lightning_coco17", "hourglass_heatmap14")
SETS = 24
SECONDS, ROUNDS, QUICK_S = 10.0, 5, 3.0


@dataclass(frozen=True)
class Case:
    """A network and the rig that it runs on."""

    name: str
    config: SystemConfig


def cases(folder: Path) -> list[Case]:
    """The real networks on the real recording, else the drawn recording."""
    data, models = os.environ.get("RIGPOSE_DATA"), os.environ.get("RIGPOSE_MODELS")
    if data and models:
        found = []
        for name in NETWORKS:
            settings = [f"engine.model={Path(models) / name}.onnx", "rate=30"]
            config = load_system(
                ROOT / "examples" / "human4.yaml", data=Path(data) / "human4-balance", assignments=settings
            )
            found.append(Case(name, config))
        return found
    recording = folder / "drawn"
    draw_recording(recording, frames=SETS)
    return [Case("discs", load_system(ROOT / "examples" / "drawn.yaml", data=recording, assignments=["rate=30"]))]


def read_sets(config: SystemConfig) -> list[FrameSet]:
    """The first frame sets of the recording, in memory as the engine has them."""
    sources = [create(name, section.source, lossless=True) for name, section in config.cameras.items()]
    for source in sources:
        source.open(StartClock.now(30))
    sets = []
    try:
        for index in range(SETS):
            frames: list[Frame | None] = [source.read() for source in sources]
            sets.append(FrameSet(config.camera_names, tuple(frames), SyncInfo("trigger", 0, index), 0, index))
    finally:
        for source in sources:
            source.close()
    return sets


class Bare:
    """The network alone, run once a view, with the engine's session options."""

    def __init__(self, config: SystemConfig, pictures: np.ndarray) -> None:
        located = find_model(str(config.engine.model))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = config.engine.threads or available_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(
            located.path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        wanted = self.session.get_inputs()[0]
        self.name = wanted.name
        dtype = np.uint8 if wanted.type == "tensor(uint8)" else np.float32
        ready = pictures.astype(dtype)
        if located.document.input.layout == "NCHW":
            ready = np.ascontiguousarray(ready.transpose(0, 3, 1, 2))
        self.pictures = ready

    def run(self, _: int) -> None:
        """All views, one after the other."""
        for view in range(len(self.pictures)):
            self.session.run(None, {self.name: self.pictures[view : view + 1]})


def measure(report: Report, case: Case, rounds: int) -> None:
    """Add the rows of one network."""
    pipeline, _ = build_pipeline(case.config)
    sets = read_sets(case.config)
    fed: dict[str, np.ndarray] = {}
    run = pipeline.runtime.run

    def keep(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        fed.update(inputs)
        return run(inputs)

    # What the graph is fed in a set of the tracked subject is what it is timed with alone.
    pipeline.runtime.run = keep  # type: ignore[method-assign, assignment]
    states = [pipeline.process(frames).subjects for frames in sets]
    pipeline.runtime.run = run  # type: ignore[method-assign]
    tracked = sum(bool(subjects) for subjects in states)
    inputs = {name: np.array(value) for name, value in fed.items()}
    bare = Bare(case.config, inputs["crops"][0])
    # There and back again, so that the tracked subject never jumps.
    order = [*range(SETS), *range(SETS - 2, 0, -1)]

    def whole(index: int) -> bytes:
        pose_set = pipeline.process(sets[order[index % len(order)]])
        return codec.pack(to_message(pose_set, codec.header("benchmark", "engine", "0", index)))

    times = interleaved({"engine": whole, "network": bare.run, "graph": lambda _: run(inputs)}, rounds)
    engine, network, graph = times["engine"], times["network"], times["graph"]
    # Each round's calls met the same machine, so that it is their differences that are compared.
    report.add(case.name, "network, once a view", "ms", network)
    report.add(case.name, "engine", "ms", engine)
    report.add(case.name, "cost", "ms", engine - network)
    report.add(case.name, "share", "% of network", 100 * (engine - network) / network)
    report.add(case.name, "graph beyond network", "ms", graph - network)
    report.add(case.name, "outside of the graph", "ms", engine - graph)
    report.add(case.name, "share outside of the graph", "% of network", 100 * (engine - graph) / network)
    for part, spent in parts_of(pipeline, whole, rounds).items():
        report.add(case.name, f"of that {part}", "ms", spent)
    report.notes.append(
        f"{case.name}: a subject in {tracked} of {SETS} sets, {len(pipeline.document.skeleton.joints)} joints, "
        f"{bare.session.get_session_options().intra_op_num_threads} threads"
    )


def parts_of(pipeline: Pipeline, whole: Callable[[int], object], rounds: int) -> dict[str, list[float]]:
    """Ms of the parts outside of the graph that cost most, in so many sets that were not timed as a whole."""
    spent: dict[str, list[float]] = {"crops": [], "solving": []}

    def timed(call: Callable[..., Any], into: list[float]) -> Callable[..., Any]:
        def run(*arguments: object) -> Any:
            start = time.perf_counter_ns()
            answer = call(*arguments)
            into.append((time.perf_counter_ns() - start) / 1e6)
            return answer

        return run

    observer = pipeline._observer
    cut, solve = observer._cut, pipeline._solve
    observer._cut, pipeline._solve = timed(cut, spent["crops"]), timed(solve, spent["solving"])  # type: ignore[method-assign]
    for index in range(rounds):
        whole(index)
    observer._cut, pipeline._solve = cut, solve  # type: ignore[method-assign]
    return spent


def measure_throughput(report: Report, case: Case, seconds: float, rounds: int) -> None:
    """Add what the engine reaches with its cameras, beside the bare runtime among the same cameras."""
    inputs = graph_inputs(case.config, 1)[0]
    found = _engine_throughput.measure(case.config, inputs, seconds, rounds)
    bare, engine = np.array(found["bare"]), np.array(found["engine"])
    report.add(case.name, "bare runtime among cameras", "sets/s", bare, better="higher")
    report.add(case.name, "engine with cameras", "sets/s", engine, better="higher")
    report.add(case.name, "throughput", "% of bare runtime", 100 * engine / bare, better="higher")
    report.notes.append(
        f"{case.name}: {rounds} turns of {seconds:g} s; each camera publishes {found['rate'][0]:.0f} frames a second"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    options = arguments("engine", __doc__ or "").parse_args(argv)
    cv2.setNumThreads(1)
    report = Report.begin("engine", options.quick)
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(Path(folder)):
            measure(report, case, 100 if options.quick else 400)
            measure_throughput(report, case, QUICK_S if options.quick else SECONDS, 1 if options.quick else ROUNDS)
    return finish(report, options.json)


if __name__ == "__main__":
    run_program(main)
