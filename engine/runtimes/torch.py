"""PyTorch: one captured CUDA graph on a GPU, plain calls on a CPU; `engine.runtimes.torch_program` says how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from engine.cut import is_cut, parts
from engine.folded import folded
from engine.gpu.driver import driver
from engine.graph import NET_INPUT, Graph
from engine.lowered import lowered
from engine.precision import chosen
from engine.runtimes.feeds import Feeds, available_threads, size_of
from rigpose.errors import MissingError
from rigpose.extras import missing

PRECISIONS = ("fp32", "fp16", "bf16")
_MOST_SIZES = 4
"""Sizes of inputs that are kept ready beside each other; each holds memory of its own."""


class TorchRuntime:
    """A graph in PyTorch.

    Args:
        graph: What to run.
        threads: Threads on a CPU; ``None`` = as many as this process may use.
        precision: ``fp32``, ``fp16`` or ``bf16`` of the network; what follows is fp32.
        device: ``cuda`` or ``cpu``; ``None`` = a GPU where there is one.

    Attributes:
        look: On a GPU, takes whole pictures (`engine.gpu.look.Look`); else ``None``.

    Raises:
        MissingError: torch is not installed, or has no GPU where one was asked for.
        ConfigError: The graph has an operator that is not known here, or cannot be run in this precision.
    """

    name = "torch"

    def __init__(
        self, graph: Graph, *, threads: int | None = None, precision: str | None = None, device: str | None = None
    ) -> None:
        torch = load_torch("runtime torch")
        self._device = torch.device(device or ("cuda" if driver().gpus and torch.cuda.is_available() else "cpu"))
        if self._device.type == "cuda" and not (driver().gpus and torch.cuda.is_available()):
            raise MissingError("runtime torch", f"has no GPU: {_why_no_gpu(torch)}", "leave the device out for the CPU")
        self.device = str(self._device)
        self.precision = chosen(graph, precision, self.name, PRECISIONS, self.device)
        self.graph_hash = graph.graph_hash
        proto = onnx.load_from_string(graph.proto_bytes)
        self._feeds = Feeds(graph, proto)
        half = self.precision in ("fp16", "bf16") and graph.precision == "fp32"
        self._proto = lowered(proto, self.precision, f"model {graph.document.id}") if half else folded(proto)
        self._ready: dict[tuple[tuple[int, ...], ...], Any] = {}
        if self._device.type == "cpu":
            torch.set_num_threads(threads or available_threads())
        else:
            exact(torch)
        self._batch = graph.batch or 1
        self.look: Any = None
        if self._device.type == "cuda" and is_cut(proto):
            from engine.gpu.look import Look

            self.look = Look(graph, self._device, proto=self._proto)

    def warmup(self) -> None:
        """Make the program for one frame set, and on a GPU its graph."""
        inputs = self._feeds.blank(self._batch)
        for _ in range(2):
            self.run(inputs)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `engine.runtimes.Runtime`; the first call for a size of inputs makes the program for it."""
        feeds = self._feeds.check(inputs)
        ready = self._ready.get(size_of(feeds))
        if ready is None:
            if len(self._ready) == _MOST_SIZES:
                del self._ready[next(iter(self._ready))]
            ready = self._ready[size_of(feeds)] = self._made(feeds)
        answer: dict[str, np.ndarray] = ready(feeds)
        return answer

    def _made(self, feeds: Mapping[str, np.ndarray]) -> Any:
        from engine.gpu.captured import Captured

        return Captured(staged(self._proto, feeds, self._device), feeds, self._device)


def staged(proto: onnx.ModelProto, feeds: Mapping[str, np.ndarray], device: Any, *, last: bool | None = None) -> Any:
    """A graph as work for `engine.gpu.captured.Captured`.

    Args:
        proto: The graph.
        feeds: Inputs of the sizes that it shall be ready for.
        device: Where.
        last: Whether the network's pictures are channels-last, as tensor cores want them; by default on a GPU.
    """
    import torch

    from engine.runtimes.torch_program import Program, on

    example = on(device, feeds)
    last = device.type == "cuda" if last is None else last
    if not last or not is_cut(proto):
        program = Program(proto, example)
        return lambda inputs: program({name: inputs[name] for name in example})
    cut = parts(proto)
    before = Program(cut.before, inputs_of(cut.before, example))
    seen = before(inputs_of(cut.before, example))[NET_INPUT].contiguous(memory_format=torch.channels_last)
    network = Program(cut.network, {**inputs_of(cut.network, example), NET_INPUT: seen}, channels_last=True)
    made = network({**inputs_of(cut.network, example), NET_INPUT: seen})
    behind = Program(cut.behind, {**inputs_of(cut.behind, example), **made})

    def work(inputs: Mapping[str, Any]) -> dict[str, Any]:
        seen = before(inputs_of(cut.before, inputs))[NET_INPUT].contiguous(memory_format=torch.channels_last)
        made = network({**inputs_of(cut.network, inputs), NET_INPUT: seen})
        return behind({**inputs_of(cut.behind, inputs), **made})

    return work


def inputs_of(proto: onnx.ModelProto, values: Mapping[str, Any]) -> dict[str, Any]:
    """Of some values those that a part is given."""
    return {value.name: values[value.name] for value in proto.graph.input if value.name in values}


def exact(torch: Any) -> None:
    """fp32 means fp32: no TF32 in convolutions and products, which would lose three digits without anyone asking."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True  # sizes are fixed, so the quickest algorithm is looked for once


def load_torch(where: str) -> Any:
    """PyTorch, imported only where it is asked for.

    Raises:
        MissingError: It is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise missing("torch") or MissingError(where, f"torch is not usable: {error}", "pip install torch") from None
    except OSError as error:
        raise MissingError(where, f"torch is not usable: {error}", "install torch again") from None
    return torch


def _why_no_gpu(torch: Any) -> str:
    return driver().problem or f"torch {torch.__version__} was built without CUDA"
