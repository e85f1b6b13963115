"""OpenVINO: faster than ONNX Runtime on many CPUs, most of all below fp32.

The graph is two models, before and behind the cut. A hint of lower precision goes to the first alone: over the whole
graph it cost 3 to 9 mm. Both hints are always said, for OpenVINO's own default is bf16 on processors that have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from engine.cut import is_cut, parts
from engine.graph import Graph
from engine.precision import chosen
from engine.quantised import quantised
from engine.runtimes.feeds import Feeds, available_threads, size_of
from rigpose.errors import ConfigError, MissingError, RigposeError
from rigpose.extras import missing

PRECISIONS = ("fp32", "bf16", "int8")
_WARMUPS = 3
_MOST_SIZES = 4


class OpenVinoRuntime:
    """A graph in OpenVINO's CPU plug-in.

    Args:
        graph: What to run.
        threads: Threads of the network; ``None`` = as many as this process may use.
        precision: ``fp32``; ``bf16`` of the network; ``int8`` where it was quantised here (`engine.quantised`).

    Raises:
        MissingError: openvino is not installed.
        ConfigError: It cannot load the graph, or not in this precision.
    """

    name = "openvino"
    device = "cpu"

    def __init__(self, graph: Graph, *, threads: int | None = None, precision: str | None = None) -> None:
        try:
            import openvino
        except ImportError as error:
            raise missing("openvino") or MissingError(
                "runtime openvino", f"is not usable: {error}", "pip install openvino"
            ) from None
        self.precision = chosen(graph, precision, self.name, PRECISIONS)
        if self.precision == "int8" and graph.precision != "int8":
            graph = quantised(graph)
        self.graph_hash = graph.graph_hash
        self.threads = threads or available_threads()
        self._core = openvino.Core()
        self._where = f"model {graph.document.id}"
        self._version = openvino.__version__
        self._outputs = list(graph.output_names)
        self._batch = graph.batch or 1
        proto = onnx.load_from_string(graph.proto_bytes)
        self._feeds = Feeds(graph, proto)
        if self.precision == "fp32" and not is_cut(proto):
            self._pieces = [(proto, "f32")]
        else:
            cut = parts(proto, self._where)
            self._pieces = [(cut.front(proto), "bf16" if self.precision == "bf16" else "f32"), (cut.behind, "f32")]
        self._ready: dict[tuple[tuple[int, ...], ...], list[_Piece]] = {}
        self._models = [self._read(proto) for proto, _ in self._pieces]

    def _read(self, proto: onnx.ModelProto) -> Any:
        try:
            return self._core.read_model(proto.SerializeToString())
        except Exception as error:  # openvino raises RuntimeError and classes of its own
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> ConfigError:
        said = str(error).strip().splitlines() or [type(error).__name__]
        return ConfigError(self._where, f"OpenVINO {self._version} cannot load its graph: {said[-1]}", "use onnx")

    def warmup(self) -> None:
        """Compile for one frame set, and run on black pictures."""
        inputs = self._feeds.blank(self._batch)
        for _ in range(_WARMUPS):
            self.run(inputs)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `engine.runtimes.Runtime`; the first call for a size of inputs compiles for it."""
        feeds = self._feeds.check(inputs)
        ready = self._ready.get(size_of(feeds)) or self._compiled(feeds)
        values: dict[str, np.ndarray] = dict(feeds)
        try:
            for piece in ready:
                values |= piece(values)
        except RuntimeError as error:
            raise RigposeError(
                f"graph {self.graph_hash}", f"OpenVINO failed: {error}", "check the network, or use onnx"
            ) from None
        return {name: values[name] for name in self._outputs}

    def _compiled(self, feeds: Mapping[str, np.ndarray]) -> list[_Piece]:
        shapes = {name: array.shape for name, array in feeds.items()}
        pieces = []
        try:
            for model, (_, hint) in zip(self._models, self._pieces, strict=True):
                fixed = model.clone()
                fixed.reshape({name: list(shapes[name]) for name in _names(fixed.inputs)})
                pieces.append(_Piece(self._core.compile_model(fixed, "CPU", self._settings(hint)), self._outputs))
                shapes |= {name: tuple(port.shape) for port in fixed.outputs for name in port.get_names()}
        except Exception as error:  # as above
            raise self._failed(error) from None
        if len(self._ready) == _MOST_SIZES:
            del self._ready[next(iter(self._ready))]
        self._ready[size_of(feeds)] = pieces
        return pieces

    def _settings(self, hint: str) -> dict[str, object]:
        return {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": self.threads,
            "INFERENCE_PRECISION_HINT": hint,
            "ENABLE_CPU_PINNING": False,
        }


class _Piece:
    """A compiled model with inputs and outputs by name."""

    def __init__(self, compiled: Any, copied: list[str]) -> None:
        self._request = compiled.create_infer_request()
        self._inputs = _names(compiled.inputs)
        self._outputs = [sorted(port.get_names()) for port in compiled.outputs]
        self._copied = set(copied)

    def __call__(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run; what the graph answers is copied, since the next run writes there."""
        self._request.infer({name: np.ascontiguousarray(values[name]) for name in self._inputs}, share_inputs=True)
        answer = {}
        for index, names in enumerate(self._outputs):
            data = self._request.get_output_tensor(index).data
            for name in names:
                answer[name] = data.copy() if name in self._copied else data
        return answer


def _names(ports: Any) -> list[str]:
    """One name of each; a graph's inputs have no others."""
    return [sorted(port.get_names())[0] for port in ports]
