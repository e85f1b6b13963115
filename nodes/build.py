"""`rigpose build`: plans and int8 networks for this machine, and whether a lower precision may be used on it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine import runtimes
from engine.arguments import model_argument, replacing
from engine.config import SystemConfig, load_system
from engine.document import find_model
from engine.drift import drift
from engine.graph import Graph, compose
from engine.precision import LIMIT_MM, accept
from engine.preflight import complete_rate
from engine.quantised import quantise
from engine.runtimes.onnx import OnnxRuntime
from engine.sampling import graph_inputs
from rigpose.errors import ConfigError, VerdictError

SETS = 96
"""Frame sets that are looked at; int8 learns its ranges from the first half and is checked on the other."""
_TIMED = 20


def build(
    model: str,
    *,
    runtime: str = "tensorrt",
    precision: str | None = None,
    config: Path | None = None,
    data: Path | None = None,
    cameras: int | None = None,
    check: bool = False,
    again: bool = False,
) -> int:
    """Make what a runtime needs for a model, and check it; the body of `rigpose build`.

    Args:
        model: A file or a name of the zoo.
        runtime: For which.
        precision: Of the network; by default fp16 on TensorRT and bf16 on OpenVINO.
        config: The rig's YAML file: its number of cameras, and pictures for int8 and the check.
        data: What ``${data}`` in it stands for.
        cameras: How many cameras, where no rig is given.
        check: Compare with ONNX Runtime in fp32 and, where the drift is small enough, remember the precision.
        again: Build a plan that is there already.

    Returns:
        The exit code.

    Raises:
        ConfigError: The options do not go together, or the model cannot be used.
        MissingError: The runtime is not here.
        VerdictError: The check failed; the precision is not used unless it is named.
    """
    precision = precision or {"tensorrt": "fp16", "openvino": "bf16", "torch": "bf16"}.get(runtime, "int8")
    runtimes.check_name(runtime, "--runtime", precision)
    system = None if config is None else _system(model, config, data)
    if system is None and (precision == "int8" or check):
        what = "int8 learns its ranges from pictures" if precision == "int8" else "a check needs pictures"
        raise ConfigError("rigpose build", what, "give the rig that it is for: --for CONFIG")
    count = cameras if system is None else len(system.camera_names)
    if count is None:
        raise ConfigError("rigpose build", "a plan is for a number of cameras", "give --for CONFIG or --cameras N")
    graph = compose(find_model(model_argument(model) or model), count)
    pictures: list[dict[str, np.ndarray]] = []
    if system is not None:
        pictures = graph_inputs(system, SETS, config)
        print(f"{len(pictures)} frame sets of {system.name}, {count} cameras", flush=True)
    if precision == "int8":
        half = len(pictures) // 2
        made = quantise(graph, pictures[:half], symmetric=runtime == "tensorrt")
        print(f"int8 from {half} frame sets: graph {made.graph_hash}", flush=True)
        pictures = pictures[half:]
    if runtime == "tensorrt":
        _plan(graph, precision, again)
    elif precision != "int8" and not check:
        print(f"{runtime} builds nothing for {precision}; --check says whether it may be used here")
    return _check(graph, runtime, precision, pictures) if check else 0


def _system(model: str, config: Path, data: Path | None) -> SystemConfig:
    given = replacing({"engine.model": model_argument(model), "force": True, "record.enabled": False})
    return complete_rate(load_system(config, data=data, assignments=given), config)


def _plan(graph: Graph, precision: str, again: bool) -> None:
    from engine.gpu.builder import LEVEL
    from engine.gpu.trt_api import load_tensorrt
    from engine.runtimes.tensorrt import cut_for, ready_plan

    trt = load_tensorrt()
    where = f"model {graph.document.id}"
    cut = cut_for(trt, graph, precision, LEVEL)
    start = time.monotonic()
    with _Bar() as bar:
        ready_plan(trt, cut, where, build=True, progress=bar.tell, force=again)
    print(
        f"plan {cut.key.path.name}: {precision}, {'x'.join(map(str, cut.key.profile))}, {cut.key.gpu}, "
        f"TensorRT {cut.key.tensorrt}, {time.monotonic() - start:.0f} s"
    )


class _Bar:
    """How far the builder is, on one line of a terminal, or a line for each tenth."""

    def __init__(self) -> None:
        self._tenth = -1
        self._live = sys.stdout.isatty()

    def tell(self, phase: str, share: float) -> None:
        """Called from the builder's threads."""
        tenth = int(10 * share)
        if self._live:
            print(f"\r{phase} {share:4.0%} ", end="", flush=True)
        elif tenth != self._tenth:
            print(f"{phase} {share:.0%}", flush=True)
        self._tenth = tenth

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live and self._tenth >= 0:
            print()


def _check(graph: Graph, name: str, precision: str, pictures: Sequence[dict[str, np.ndarray]]) -> int:
    reference = OnnxRuntime(graph, precision=None if graph.precision != "fp32" else "fp32")
    other = runtimes.create(graph, name, precision=precision)
    expected, reference_ms = _answers(reference.run, pictures)
    got, other_ms = _answers(other.run, pictures)
    found = drift(expected, got, graph.document.output.min_score, [each["view_weight"] for each in pictures])
    figures: dict[str, Any] = found.figures()
    print(f"checked on {len(pictures)} frame sets against ONNX Runtime in fp32: {figures['points']} points in 3D")
    for unit in ("mm", "px"):
        if f"{unit}_p50" in figures:
            print(f"  drift  p50 {figures[f'{unit}_p50']:.3g} {unit}, p99 {figures[f'{unit}_p99']:.3g}, "
                  f"max {figures[f'{unit}_max']:.3g}")  # fmt: skip
    print(f"  time   {other_ms:.2f} ms a frame set, ONNX Runtime {reference_ms:.2f}")
    if not found.p99_mm <= LIMIT_MM:
        what = f"{found.lost} points are lost" if found.lost else f"it drifts by {found.p99_mm:.3g} mm (p99)"
        raise VerdictError(
            f"model {graph.document.id} on {name} in {precision}",
            f"{what if figures['points'] else 'there was nothing to compare'}, and the limit is {LIMIT_MM} mm",
            f"stay with fp32; --runtime {name} --precision {precision} uses it all the same",
        )
    accept(graph.graph_hash, name, precision, other.device, **figures)
    print(f"accepted on this machine: {name} runs {graph.document.id} in {precision} where no precision is named")
    return 0


def _answers(
    run: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]], pictures: Sequence[dict[str, np.ndarray]]
) -> tuple[list[dict[str, np.ndarray]], float]:
    """Answers to all pictures, and the median time of one in ms."""
    run(pictures[0])
    answers, times = [], []
    for inputs in pictures:
        start = time.perf_counter()
        answers.append(run(inputs))
        times.append(1e3 * (time.perf_counter() - start))
    return answers, float(np.median(times[-_TIMED:]))
