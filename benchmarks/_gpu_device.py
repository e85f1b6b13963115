"""A device as it is found: what it is, its clocks, and what it can do at most, measured."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

import torch

from engine.gpu.driver import driver

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_QUERY = "name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.limit,temperature.gpu"


def about(device: torch.device) -> list[str]:
    """What a reader has to know of the device; a line each."""
    if device.type == "cpu":
        return [f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}"]
    gpu = driver().gpus[device.index or 0]
    lines = [
        f"{gpu.name}, {gpu.memory_bytes / 2**30:.0f} GiB, {gpu.arch}, CUDA {driver().version} driver, "
        f"torch {torch.__version__} with CUDA {torch.version.cuda} and cuDNN {torch.backends.cudnn.version()}",
        f"highest clocks {gpu.clock_khz / 1e3:.0f} MHz, memory {gpu.memory_khz / 1e3:.0f} MHz",
    ]
    said = _nvidia_smi()
    return [*lines, f"as found, {_QUERY}: {said}"] if said else lines


def _nvidia_smi() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    command = [program, f"--query-gpu={_QUERY}", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


class Replayed:
    """Work on tensors that stay where they are, captured on a GPU and timed by its own clock.

    Args:
        work: Calls that wait for nothing.
        device: Where.
        stream: On which; a new one where left out.
    """

    def __init__(self, work: Callable[[], Any], device: torch.device, stream: Any = None) -> None:
        self._work, self._device = work, device
        self._graph: Any = None
        if device.type != "cuda":
            return
        self._stream = stream or torch.cuda.Stream(device)
        self._stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(self._stream), torch.no_grad():
            for _ in range(3):
                work()
        self._stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(self._graph, stream=self._stream):
            self._kept = work()

    def times(self, rounds: int) -> list[float]:
        """Ms of each of so many runs."""
        if self._graph is None:
            return [_timed(self._work) for _ in range(rounds)]
        marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(rounds)]
        with torch.cuda.stream(self._stream):
            for begin, end in marks:
                begin.record(self._stream)
                self._graph.replay()
                end.record(self._stream)
        self._stream.synchronize()
        return [begin.elapsed_time(end) for begin, end in marks]


def _timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter_ns()
    with torch.no_grad():
        work()
    return (time.perf_counter_ns() - start) / 1e6


def roofline(device: torch.device, quick: bool) -> dict[str, float]:
    """TFLOP/s of products by precision, GB/s of memory and of uploads; the best of several runs of each."""
    side, size = (256, 2**22) if quick else (8192, 2**30)
    rounds = 3 if quick else 20
    found = {}
    for name, dtype in DTYPES.items():
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        out = torch.empty(side, side, device=device, dtype=dtype)
        best = min(Replayed(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), device).times(rounds))  # type: ignore[misc]
        found[f"products {name}, TFLOP/s"] = 2 * side**3 / best / 1e9
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = min(Replayed(lambda: target.copy_(source), device).times(rounds))
    found["memory, GB/s"] = 2 * size / best / 1e6
    if device.type == "cuda":
        host = torch.empty(size // 4, dtype=torch.uint8, pin_memory=True)
        part = target[: size // 4]
        best = min(Replayed(lambda: part.copy_(host, non_blocking=True), device).times(rounds))
        found["upload from page-locked memory, GB/s"] = size / 4 / best / 1e6
    return found
