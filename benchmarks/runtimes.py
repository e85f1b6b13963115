"""What runs a network on this CPU: ONNX Runtime, OpenVINO and torch, in fp32 and below, side by side on shipped models.

Each row is a process of its own, for their thread pools disturb each other; rows take turns, so that what else the
machine does meets all. Pictures are of scenarios on which nothing was trained; ranges of int8 are learned from the
models' training scenarios. Beside the time stand MPJPE and how far the answer is off ONNX Runtime's in fp32.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._report import ROOT, Report, arguments, finish
from calib.rig import RigArrays
from capture.virtual.scenario import load_scenario
from engine import zoo
from engine.document import find_model
from engine.drift import drift
from engine.graph import BASE_INPUTS, Graph, compose
from engine.quantised import quantise
from engine.runtimes import create
from engine.runtimes.capabilities import capability
from engine.runtimes.feeds import available_threads
from rigpose.program import run as run_program
from training.exam import Questions
from training.samples import Sample

VIEWS = 4
JUDGED_SEED, LEARNED_SEED = 0, 1
FRAMES, LEARNED, ROUNDS, REPEATS = 60, 40, 3, 1
QUICK_FRAMES, QUICK_LEARNED, QUICK_ROUNDS, QUICK_REPEATS = 10, 8, 1, 1
WAYS = (
    ("onnx", "fp32"), ("onnx", "int8"), ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8"),
    ("torch", "fp32"), ("torch", "bf16"),
)  # fmt: skip
REFERENCE = ("onnx", "fp32")


@dataclass(frozen=True)
class Case:
    """A shipped model, what judges it, and what its ranges are learned from."""

    model: str
    judged: str
    learned: str


CASES = (
    Case("mannequin17_occluded", "unseen_occluded", "mannequin_occluded_train"),
    Case("mannequin17", "unseen", "mannequin_train"),
    Case("fly38", "fly_unseen", "fly_train"),
)


def inputs_of(graph: Graph, sample: Sample) -> dict[str, np.ndarray]:
    """A frame set as the graph takes it."""
    inputs = {
        "crops": sample.crops[None],
        "crop_to_image": sample.crop_to_image[None],
        "view_weight": np.ones((1, len(sample.crops)), np.float32),
        **{name: np.asarray(getattr(sample, name), np.float32) for name in RigArrays._fields},
    }
    if graph.is_volumetric:
        inputs |= {BASE_INPUTS[0]: np.zeros((1, 3), np.float32), BASE_INPUTS[1]: np.zeros(1, np.float32)}
    return inputs


def samples(scenario: str, graph: Graph, seed: int, count: int) -> list[Sample]:
    """Frame sets of a scenario with their truth."""
    document = graph.document
    loaded = load_scenario(ROOT / "training" / "scenarios" / f"{scenario}.yaml")
    questions = Questions(loaded, VIEWS, document.input.size[0], document.crop.margin)
    return [questions.ask(seed, number).sample for number in range(count)]


class Row:
    """One runtime in one precision on one case; asked by its process of its own."""

    def __init__(self, folder: Path, model: str, way: tuple[str, str], repeats: int) -> None:
        self.folder, self.model, self.way, self.repeats = folder, model, way, repeats
        self.times: list[float] = []
        self.answers: list[dict[str, np.ndarray]] = []
        self.problem = ""

    @property
    def name(self) -> str:
        """Of its metric."""
        return " ".join(self.way)

    def run(self, threads: int) -> None:
        """One round, in a process of its own."""
        if self.problem:
            return
        out = self.folder / f"{'-'.join(self.way)}.npz"
        command = [
            sys.executable, "-m", "benchmarks.runtimes", "--row", self.model, *self.way, str(self.folder / "in.npz"),
            str(out), "--threads", str(threads), "--repeats", str(self.repeats),
        ]  # fmt: skip
        # Int8 forms of this run alone, whatever this machine's user has made.
        environment = {**os.environ, "XDG_CACHE_HOME": str(self.folder / "cache"), "OMP_NUM_THREADS": str(threads)}
        # Threads that wait do not spin, as ONNX Runtime's do not: they would take cores from others.
        environment |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or [f"code {done.returncode}"]
            self.problem = said[-1]
            return
        with np.load(out) as found:
            arrays = {name: found[name] for name in found.files}
        self.times += arrays.pop("ms").tolist()
        count = len(arrays["points3d"])
        self.answers = [{name: array[index] for name, array in arrays.items()} for index in range(count)]


def answer(model: str, way: tuple[str, str], source: Path, target: Path, threads: int, repeats: int) -> int:
    """The child: answer all frame sets, write answers and times."""
    graph = compose(find_model(model), VIEWS)
    options: dict[str, Any] = {"device": "cpu"} if way[0] == "torch" else {}
    runtime = create(graph, way[0], threads=threads, precision=way[1], **options)
    with np.load(source) as kept:
        arrays = {name: kept[name] for name in kept.files}
    sets = [{name: array[index] for name, array in arrays.items()} for index in range(len(arrays["crops"]))]
    runtime.warmup()
    answers = [runtime.run(inputs) for inputs in sets]
    ms = []
    for _ in range(repeats):
        for inputs in sets:
            start = time.perf_counter_ns()
            runtime.run(inputs)
            ms.append((time.perf_counter_ns() - start) / 1e6)
    stacked = {name: np.stack([each[name] for each in answers]) for name in answers[0]}
    np.savez(target, ms=np.array(ms), **stacked)  # type: ignore[arg-type]
    return 0


def measure(report: Report, case: Case, counts: Mapping[str, int], threads: int) -> None:
    """Add the rows of one case."""
    graph = compose(find_model(case.model), VIEWS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        judged = samples(case.judged, graph, JUDGED_SEED, counts["frames"])
        sets = [inputs_of(graph, sample) for sample in judged]
        np.savez(folder / "in.npz", **{key: np.stack([each[key] for each in sets]) for key in sets[0]})  # type: ignore[arg-type]
        learned = [inputs_of(graph, s) for s in samples(case.learned, graph, LEARNED_SEED, counts["learned"])]
        _quantise_into(folder / "cache", graph, learned)
        rows = [Row(folder, case.model, way, counts["repeats"]) for way in WAYS if capability(way[0]).present]
        for index in range(counts["rounds"]):
            turn = index % len(rows)
            for row in rows[turn:] + rows[:turn]:
                row.run(threads)
        reference = next(row for row in rows if row.way == REFERENCE)
        truth = np.stack([sample.position_mm for sample in judged])
        for row in rows:
            _add(report, case, row, reference, truth, graph)


def _quantise_into(cache: Path, graph: Graph, learned: Sequence[Mapping[str, np.ndarray]]) -> None:
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(cache)
    try:
        quantise(graph, learned)
    finally:
        os.environ.pop("XDG_CACHE_HOME")
        if before is not None:
            os.environ["XDG_CACHE_HOME"] = before


def _add(report: Report, case: Case, row: Row, reference: Row, truth: np.ndarray, graph: Graph) -> None:
    where = f"{case.model}, {row.name}"
    if row.problem:
        report.notes.append(f"{where}: {row.problem}")
        return
    report.add(where, "time", "ms a frame set", row.times)
    report.add(where, "pictures", "1/s", 1e3 * VIEWS / np.array(row.times), better="higher")
    positions = np.stack([answer["points3d"][0] for answer in row.answers])
    errors = np.linalg.norm(positions - truth, axis=-1)
    report.add(where, "MPJPE", "mm", float(np.nanmean(errors)), n=int(np.isfinite(errors).sum()))
    weights = [np.ones((1, VIEWS))] * len(row.answers)
    found = drift(reference.answers, row.answers, graph.document.output.min_score, weights)
    figures = found.figures()
    if row.way != REFERENCE:
        for unit in ("mm", "px"):
            for share in ("p50", "p99"):
                value = float(figures[f"{unit}_{share}"])
                report.add(where, f"off onnx fp32, {share}", unit, value, n=getattr(found, unit).size)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = arguments("runtimes", __doc__ or "")
    parser.add_argument("--threads", type=int, default=available_threads(), metavar="N", help="of each runtime")
    parser.add_argument("--row", nargs=5, metavar="X", help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.row:
        model, name, precision, source, target = options.row
        return answer(model, (name, precision), Path(source), Path(target), options.threads, options.repeats)
    packages = ("openvino", "torch")
    report = Report.begin("runtimes", options.quick, packages)
    quick = options.quick
    counts = {
        "frames": QUICK_FRAMES if quick else FRAMES, "learned": QUICK_LEARNED if quick else LEARNED,
        "rounds": QUICK_ROUNDS if quick else ROUNDS, "repeats": QUICK_REPEATS if quick else REPEATS,
    }  # fmt: skip
    for case in CASES[:1] if quick else CASES:
        if case.model in zoo.shipped():
            measure(report, case, counts, options.threads)
    report.notes.append(f"{VIEWS} views, {options.threads} threads; settings {json.dumps(counts)}")
    return finish(report, options.json)


if __name__ == "__main__":
    run_program(main)
