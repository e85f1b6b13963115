"""ONNX Runtime on the CPU: what runs everywhere."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

import numpy as np

from engine.graph import Graph
from rigpose.errors import ConfigError, MissingError, RigposeError

log = logging.getLogger(__name__)

_WARNING, _ERROR = 2, 3
_WARMUPS = 3
_DTYPES = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(int32)": np.dtype(np.int32),
}


def available_threads() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


class OnnxRuntime:
    """A graph in ONNX Runtime's CPU provider.

    Threads do not spin while they wait: the engine shares its cores with sockets, decoders and cameras.
    Views run as one batch with all threads in each node; running nodes beside each other
    (``ORT_PARALLEL``) was slower on every network tried.

    Args:
        graph: What to run.
        threads: Threads in a node; ``None`` = as many as this process may use.
        parallel: Run independent nodes beside each other, on as many threads again.

    Raises:
        MissingError: onnxruntime is not installed.
        ConfigError: It cannot load the graph.
    """

    name = "onnx"
    device = "cpu"

    def __init__(self, graph: Graph, *, threads: int | None = None, parallel: bool = False) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingError(
                "runtime onnx", f"onnxruntime is not usable: {error}", "pip install onnxruntime"
            ) from None
        self.graph_hash = graph.graph_hash
        self.precision = graph.precision
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
        self._wanted = {
            value.name: (_DTYPES[value.type], tuple(side if isinstance(side, int) else None for side in value.shape))
            for value in self._session.get_inputs()
        }

    def warmup(self) -> None:
        """Run on black pictures until memory is allocated and weights are packed."""
        inputs = {
            name: np.zeros(tuple(side or 1 for side in shape), dtype) for name, (dtype, shape) in self._wanted.items()
        }
        for _ in range(_WARMUPS):
            self.run(inputs)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `engine.runtimes.Runtime`. Arrays of another dtype are not converted: that would copy pictures."""
        for name, (dtype, shape) in self._wanted.items():
            array = inputs.get(name)
            if array is None:
                raise RigposeError(f"graph input {name}", "is missing", f"the graph takes {', '.join(self._wanted)}")
            fits = len(array.shape) == len(shape) and all(
                want is None or want == side for want, side in zip(shape, array.shape, strict=True)
            )
            if not fits or array.dtype != dtype:
                wanted = ", ".join("any" if side is None else str(side) for side in shape)
                raise RigposeError(
                    f"graph input {name}",
                    f"has shape {list(array.shape)} and dtype {array.dtype}",
                    f"the graph takes [{wanted}] {dtype}",
                )
        feeds = {name: inputs[name] for name in self._wanted}
        try:
            results = self._session.run(self._outputs, feeds)
        except Exception as error:  # as above
            raise RigposeError(
                f"graph {self.graph_hash}", f"ONNX Runtime failed: {error}", "check the network"
            ) from None
        return dict(zip(self._outputs, results, strict=True))
