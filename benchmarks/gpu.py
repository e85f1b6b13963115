"""From full frames in page-locked memory to 3D points in host memory, on one GPU, stage by stage and as a whole.

One command for a machine that may have no network: it prints the device with its clocks as found, measures what the
device can do at most, and then each network, number of views, kind of frames, runtime and precision in turn, beside the
public code's way of doing it (eager fp32, one SVD a joint in a loop). Runtimes that are not here have no rows; a figure
is called TensorRT's only where TensorRT made it. Weights are drawn by chance: no time depends on them. Without a GPU it
ends with code 3; --device cpu --quick tries its paths on a tiny network, and its figures then say nothing.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._gpu_device import Replayed, about, roofline
from benchmarks._gpu_networks import Timed, resnet, tiny
from benchmarks._gpu_reference import Reference
from benchmarks._report import Report, arguments, finish
from benchmarks._rigs import make_rig
from engine.crop import Crop
from engine.cut import parts
from engine.gpu.device import Device
from engine.gpu.driver import driver
from engine.gpu.frames import FrameGraph
from engine.graph import NET_INPUT, Graph, compose
from engine.lowered import lowered
from engine.runtimes.capabilities import capability
from engine.runtimes.torch import exact, inputs_of
from rigpose.errors import MissingError, RigposeError
from rigpose.program import run as run_program

PRECISIONS = ("fp32", "fp16", "bf16")
ROUNDS, REFERENCE_ROUNDS, QUICK_ROUNDS = 1000, 100, 5
_PERCENTILES = ("p50", "p95", "p99", "max")


@dataclass(frozen=True)
class Frames:
    """A kind of picture."""

    name: str
    shape: tuple[int, ...]


FRAMES = (Frames("1280x1024 mono", (1024, 1280)), Frames("1920x1080 BGR", (1080, 1920, 3)))
TINY_FRAMES = (Frames("160x120 mono", (120, 160)), Frames("160x120 BGR", (120, 160, 3)))


@dataclass(frozen=True)
class Case:
    """What is timed: a network on so many views of a kind of frames."""

    network: Timed
    views: int
    frames: Frames

    @property
    def name(self) -> str:
        """Of its rows."""
        return f"{self.network.name}, {self.views} views, {self.frames.name}"


class Work:
    """A case's pictures, crops and rig."""

    def __init__(self, case: Case) -> None:
        rng = np.random.default_rng(0)
        height, width = case.frames.shape[:2]
        self.images = [rng.integers(0, 256, case.frames.shape, dtype=np.uint8) for _ in range(case.views)]
        # A subject that fills most of the picture's height, somewhere near its middle.
        scale = 0.8 * height / case.network.size
        self.crops = [
            Crop((width / 2 + x, height / 2 + y), scale) for x, y in rng.uniform(-0.05, 0.05, (case.views, 2)) * width
        ]
        self.rig = make_rig(0, case.views).arrays().astype(np.float32)._asdict()


def configurations(device: torch.device) -> Iterator[tuple[str, str]]:
    """Runtimes that are here, and what each computes in."""
    for precision in PRECISIONS:
        yield "torch", precision
    if device.type == "cuda" and capability("tensorrt").present:
        yield "tensorrt", "fp32"
        yield "tensorrt", "fp16"


def frame_graph(case: Case, runtime: str, precision: str, device: torch.device, helper: Device | None) -> FrameGraph:
    """The whole way of a frame set, ready."""
    graph = compose(case.network.located, case.views)
    shapes = [case.frames.shape] * case.views
    proto = onnx.load_from_string(graph.proto_bytes)
    if precision != "fp32":
        proto = lowered(proto, precision)
    if runtime == "torch":
        return FrameGraph(graph, shapes, device, proto=proto, helper=helper)
    return FrameGraph(graph, shapes, device, helper=helper, network=_plan(graph, precision, device))


def _plan(graph: Graph, precision: str, device: torch.device) -> Any:
    from engine.gpu.builder import LEVEL
    from engine.gpu.execution import Execution
    from engine.gpu.trt_api import load_tensorrt
    from engine.runtimes.tensorrt import cut_for, ready_plan

    trt = load_tensorrt()
    cut = cut_for(trt, graph, precision, LEVEL)
    return Execution(trt, ready_plan(trt, cut, graph.document.id, build=True), graph.document.id, device)


def end_to_end(frames: FrameGraph, work: Work, rounds: int) -> list[float]:
    """Ms from frames in host memory to points in host memory, one frame set after the other."""
    _fill(frames, work)
    times = []
    for index in range(rounds + 2):
        slot = frames.slot()
        assert slot is not None
        start = time.perf_counter_ns()
        frames.start(slot.views, work.crops, work.rig, slot)
        frames.finish()
        if index >= 2:
            times.append((time.perf_counter_ns() - start) / 1e6)
    return times


def throughput(frames: FrameGraph, work: Work, rounds: int) -> float:
    """Frame sets a second where the next is uploaded while one is computed."""
    _fill(frames, work)
    under_way, begin = 0, time.perf_counter_ns()
    for _ in range(rounds):
        slot = frames.slot()
        if slot is None or under_way == 2:
            frames.finish()
            under_way -= 1
            slot = slot or frames.slot()
        assert slot is not None
        frames.start(slot.views, work.crops, work.rig, slot)
        under_way += 1
    for _ in range(under_way):
        frames.finish()
    return rounds / (time.perf_counter_ns() - begin) * 1e9


def _fill(frames: FrameGraph, work: Work) -> None:
    """Put the pictures into every slot; the receiver does that while a set is under way."""
    for _ in range(len(frames.ring)):
        slot = frames.slot()
        assert slot is not None
        for place, image in zip(slot.views, work.images, strict=True):
            place[...] = image


def stages(frames: FrameGraph, work: Work, device: torch.device, rounds: int) -> dict[str, list[float]]:
    """Ms of each part alone, by the device's own clock."""
    with torch.no_grad():
        pieces = frames.stages(work.crops, work.rig)
    return {name: Replayed(piece, device, frames.stream).times(rounds) for name, piece in pieces.items()}


def flops(case: Case) -> float:
    """Of the network on all views, multiplications and additions counted apart."""
    proto = onnx.load_from_string(compose(case.network.located, case.views).proto_bytes)
    from engine.runtimes.torch_program import Program

    size, network = case.network.size, parts(proto).network
    example = {NET_INPUT: torch.zeros(case.views, 3, size, size)}
    program = Program(network, inputs_of(network, example))
    with FlopCounterMode(display=False) as counter:
        program(inputs_of(network, example))
    return float(counter.get_total_flops())


def measure(report: Report, case: Case, device: torch.device, most: dict[str, float], rounds: tuple[int, int]) -> None:
    """Add the rows of one case."""
    work = Work(case)
    reference = Reference(case.network.module, case.network.size, device)
    with _defaults():
        reference(work.images, work.crops, work.rig)
        slow = [_clocked(lambda: reference(work.images, work.crops, work.rig)) for _ in range(rounds[1])]
    _add(report, f"{case.name}, the public code's way, fp32", "end to end", slow)
    exact(torch)
    count = flops(case)
    with _helper(device) if device.type == "cuda" else nullcontext() as helper:
        for runtime, precision in configurations(device):
            where = f"{case.name}, {runtime}, {precision}"
            try:
                frames = frame_graph(case, runtime, precision, device, helper)
            except RigposeError as error:
                report.notes.append(f"{where}: {error}")
                continue
            quick = end_to_end(frames, work, rounds[0])
            _add(report, where, "end to end", quick)
            ratio = float(np.median(slow) / np.median(quick))
            report.add(where, "quicker than the public code's way", "times", ratio, better="higher", n=len(slow))
            rate = throughput(frames, work, rounds[0])
            report.add(where, "frame sets", "1/s", rate, better="higher", n=rounds[0])
            for name, times in stages(frames, work, device, rounds[0]).items():
                report.add(where, name, "ms", times)
                if name == "network":
                    share = 100 * count / np.median(times) / 1e9 / most[f"products {precision}, TFLOP/s"]
                    report.add(where, "network", "% of products", float(share), better="higher", n=len(times))
            del frames


def _add(report: Report, case: str, what: str, times: Sequence[float]) -> None:
    values = (*np.percentile(times, [50, 95, 99]), max(times))
    for name, value in zip(_PERCENTILES, values, strict=True):
        report.add(case, f"{what} {name}", "ms", float(value), n=len(times))


def _clocked(call: Any) -> float:
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1e6


@contextmanager
def _defaults() -> Iterator[None]:
    """Torch's own settings, which the public code leaves as they are."""
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        exact(torch)


@contextmanager
def _helper(device: torch.device) -> Iterator[Device | None]:
    """PyCUDA where it is installed, else torch alone."""
    from engine.gpu.pycuda import PyCuda, load_driver, primary

    try:
        load_driver()
    except MissingError:
        yield None
        return
    index = device.index or 0
    with primary(index) as cuda:
        yield PyCuda(cuda, index)


def markdown(report: Report, lines: Sequence[str]) -> str:
    """The table that goes into the docs."""
    text = [
        *(f"{line}  " for line in lines),
        "",
        "| case | metric | unit | n | value | p5..p95 |",
        "|---|---|---|---|---|---|",
    ]
    for row in report.rows:
        spread = "" if row.spread is None else f"{row.spread[0]:.4g}..{row.spread[1]:.4g}"
        value = "" if row.ours is None else f"{row.ours:.4g}"
        text.append(f"| {row.case} | {row.metric} | {row.unit} | {row.n} | {value} | {spread} |")
    return "\n".join([*text, "", *(f"- {note}" for note in report.notes), ""])


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = arguments("gpu", __doc__ or "")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cpu: only to try this program")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table here, too")
    options = parser.parse_args(argv)
    device = _device(options)
    cv2.setNumThreads(1)
    report = Report.begin("gpu", options.quick, ("torch", "tensorrt", "pycuda", "triton"))
    lines = about(device)
    print("\n".join(lines), flush=True)
    small = options.quick or device.type == "cpu"
    most = roofline(device, small)
    for name, value in most.items():
        report.add("the device at most", name.partition(", ")[0], name.partition(", ")[2], value, better="higher")
    with tempfile.TemporaryDirectory() as folder:
        for case in _cases(Path(folder), tiny_only=device.type == "cpu"):
            print(f"{case.name} ...", flush=True)
            measure(report, case, device, most, (QUICK_ROUNDS, 2) if small else (ROUNDS, REFERENCE_ROUNDS))
    for name in ("torch", "tensorrt"):
        here = capability(name)
        report.notes.append(f"{name}: {here.detail}")
    report.notes += lines
    if options.markdown is not None:
        options.markdown.write_text(markdown(report, lines), encoding="utf-8")
    return finish(report, options.json)


def _device(options: argparse.Namespace) -> torch.device:
    if options.device == "cpu":
        return torch.device("cpu")
    if not driver().gpus:
        raise MissingError("benchmarks.gpu", f"needs an NVIDIA GPU: {driver().problem}", "run it on a machine with one")
    if not torch.cuda.is_available():
        what = f"needs a torch with CUDA, and this is {torch.__version__}"
        raise MissingError("benchmarks.gpu", what, "pip install torch from its default index")
    return torch.device("cuda", torch.cuda.current_device())


def _cases(folder: Path, *, tiny_only: bool) -> Iterator[Case]:
    networks = (tiny,) if tiny_only else tuple(lambda f, n=n: resnet(n, 384, f) for n in (50, 152))  # type: ignore[misc]
    kinds = TINY_FRAMES if tiny_only else FRAMES
    for make in networks:
        network = make(folder)
        for views, kind in itertools.product((2,) if tiny_only else (4, 8), kinds):
            yield Case(network, views, kind)


if __name__ == "__main__":
    run_program(main)
