"""ONNX Runtime on the CPU: what runs everywhere."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from engine.graph import Graph
from engine.precision import chosen
from engine.quantised import quantised
from engine.runtimes.feeds import Feeds, available_threads
from rigpose.errors import ConfigError, MissingError, RigposeError

__all__ = ["OnnxRuntime", "available_threads"]

log = logging.getLogger(__name__)

PRECISIONS = ("fp32", "int8")
_WARNING, _ERROR = 2, 3
_WARMUPS = 3


class OnnxRuntime:
    """A graph in ONNX Runtime's CPU provider.

    Threads do not spin while they wait: the engine shares its cores with sockets, decoders and cameras.
    Views run as one batch with all threads in each node; running nodes beside each other
    (``ORT_PARALLEL``) was slower on every network tried.

    Args:
        graph: What to run.
        threads: Threads in a node; ``None`` = as many as this process may use.
        parallel: Run independent nodes beside each other, on as many threads again.
        precision: ``fp32``, or ``int8`` of a network that was quantised here (`engine.quantised`).

    Raises:
        MissingError: onnxruntime is not installed.
        ConfigError: It cannot load the graph, or not in this precision.
    """

    name = "onnx"
    device = "cpu"

    def __init__(
        self, graph: Graph, *, threads: int | None = None, parallel: bool = False, precision: str | None = None
    ) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingError(
                "runtime onnx", f"onnxruntime is not usable: {error}", "pip install onnxruntime"
            ) from None
        self.precision = chosen(graph, precision, self.name, PRECISIONS)
        if self.precision == "int8" and graph.precision != "int8":
            graph = quantised(graph)
        self.graph_hash = graph.graph_hash
        self.threads = threads or available_threads()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1 if parallel else self.threads
        options.inter_op_num_threads = self.threads if parallel else 1
        options.execution_mode = (
            onnxruntime.ExecutionMode.ORT_PARALLEL if parallel else onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        )
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _WARNING if log.isEnabledFor(logging.DEBUG) else _ERROR
        for pool in ("intra_op", "inter_op"):
            options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(graph.proto_bytes, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises classes of its own for each kind of failure
            raise ConfigError(
                f"model {graph.document.id}",
                f"ONNX Runtime {onnxruntime.__version__} cannot load its graph: {error}",
                "export the network for an older opset, or update onnxruntime",
            ) from None
        self._outputs = list(graph.output_names)
        self._feeds = Feeds(graph)

    def warmup(self) -> None:
        """Run on black pictures until memory is allocated and weights are packed."""
        inputs = self._feeds.blank()
        for _ in range(_WARMUPS):
            self.run(inputs)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `engine.runtimes.Runtime`."""
        feeds = self._feeds.check(inputs)
        try:
            results = self._session.run(self._outputs, feeds)
        except Exception as error:  # as above
            raise RigposeError(
                f"graph {self.graph_hash}", f"ONNX Runtime failed: {error}", "check the network"
            ) from None
        return dict(zip(self._outputs, results, strict=True))
