# ruff: noqa: D102 - the members are another library's, which documents them.
"""What of TensorRT is used here, as protocols, and how it is imported.

The API is that of TensorRT 11 as far as 10.15 has it, too: networks are strongly typed, so that the ONNX file says the
precision and no flag does (the flags FP16, BF16 and INT8 are gone in 11). Its Python bindings tell failures by what
they return, False or None, and by the logger; whoever calls something here looks at both.

`tests/engine/gpu/contract.py` holds every member below against the real bindings.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from engine.gpu.driver import REMEDY, driver
from rigpose.errors import MissingError

log = logging.getLogger(__name__)

OLDEST, NEWEST_MAJOR = (10, 15), 11
Progress = Callable[[str, float], None]
"""Is told the phase and how much of it is done, 0 to 1."""


class Tensor(Protocol):
    """An input or output of a network."""

    name: str
    shape: Sequence[int]


class Network(Protocol):
    """A network that a parser fills."""

    num_inputs: int
    num_outputs: int

    def get_input(self, index: int) -> Tensor: ...

    def get_output(self, index: int) -> Tensor: ...


class ParserError(Protocol):
    """What a parser did not like."""

    def desc(self) -> str: ...

    def node(self) -> int: ...


class OnnxParser(Protocol):
    """Reads ONNX into a network."""

    num_errors: int

    def parse(self, model: bytes) -> bool: ...

    def get_error(self, index: int) -> ParserError: ...


class TimingCache(Protocol):
    """What the builder measured, to be kept."""

    def serialize(self) -> Any: ...


class BuilderConfig(Protocol):
    """How a plan is built."""

    builder_optimization_level: int
    progress_monitor: Any

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None: ...

    def clear_flag(self, flag: Any) -> None: ...

    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache: ...

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool: ...

    def get_timing_cache(self) -> TimingCache: ...


class Builder(Protocol):
    """Builds plans."""

    def create_network(self, flags: int = 0) -> Network: ...

    def create_builder_config(self) -> BuilderConfig: ...

    def build_serialized_network(self, network: Network, config: BuilderConfig) -> Any: ...


class ExecutionContext(Protocol):
    """Runs an engine."""

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool: ...

    def set_tensor_address(self, name: str, memory: int) -> bool: ...

    def get_tensor_shape(self, name: str) -> Sequence[int]: ...

    def execute_async_v3(self, stream_handle: int) -> bool: ...


class Engine(Protocol):
    """A plan that was read."""

    num_io_tensors: int

    def get_tensor_name(self, index: int) -> str: ...

    def get_tensor_mode(self, name: str) -> Any: ...

    def get_tensor_dtype(self, name: str) -> Any: ...

    def create_execution_context(self) -> ExecutionContext | None: ...


class Runtime(Protocol):
    """Reads plans."""

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None: ...


class TensorRt(Protocol):
    """The module."""

    __version__: str
    ILogger: Any
    IProgressMonitor: Any
    BuilderFlag: Any
    MemoryPoolType: Any
    NetworkDefinitionCreationFlag: Any
    TensorIOMode: Any
    DataType: Any

    def Builder(self, logger: Any) -> Builder: ...

    def OnnxParser(self, network: Network, logger: Any) -> OnnxParser: ...

    def Runtime(self, logger: Any) -> Runtime: ...


def load_tensorrt() -> TensorRt:
    """TensorRT, imported after the driver was asked.

    Raises:
        MissingError: There is no GPU, it is not installed, does not load, or is of a version that is not known here.
    """
    where = "runtime tensorrt"
    if not driver().gpus:
        raise MissingError(where, f"needs an NVIDIA GPU: {driver().problem}", f"{REMEDY}; or --runtime auto")
    try:
        module: Any = importlib.import_module("tensorrt")
    except ModuleNotFoundError:
        raise MissingError(
            where, "tensorrt is not installed", 'pip install "rigpose[tensorrt]" with the index of its vendor'
        ) from None
    except (ImportError, OSError) as error:
        raise MissingError(where, f"tensorrt does not load: {error}", "install its libraries again") from None
    numbers = version_of(module)
    if numbers < OLDEST or numbers[0] > NEWEST_MAJOR:
        raise MissingError(
            where, f"is TensorRT {module.__version__}", f"10.15 to {NEWEST_MAJOR} are known: pip install 'tensorrt<12'"
        )
    loaded: TensorRt = module
    return loaded


def version_of(module: Any) -> tuple[int, ...]:
    """Major and minor."""
    return tuple(int(part) for part in str(module.__version__).split(".")[:2])


class _Said:
    """What TensorRT said since the last time that someone asked."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def take(self) -> str:
        """The first of the errors, since what follows mostly comes of it; empty where there was none."""
        first = self.errors[0] if self.errors else ""
        self.errors.clear()
        return " ".join(first.split())


def logger_of(trt: TensorRt) -> Any:
    """A logger that keeps errors (``.said``) and hands the rest to `logging`."""
    severities = trt.ILogger.Severity

    class Logger(trt.ILogger):  # type: ignore[name-defined, misc]
        """Its ``log`` is called by TensorRT, from any thread."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.said = _Said()

        def log(self, severity: Any, msg: str) -> None:
            """One message."""
            if severity in (severities.INTERNAL_ERROR, severities.ERROR):
                self.said.errors.append(msg)
                log.debug("TensorRT: %s", msg)
            elif severity == severities.WARNING:
                log.info("TensorRT: %s", msg)

    return Logger()


def monitor_of(trt: TensorRt, progress: Progress) -> Any:
    """A progress monitor of TensorRT that tells of the outermost phase."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined, misc]
        """Called from the builder's threads; ``step_complete`` answers whether to go on."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}
            self.outermost = ""

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            """A phase begins."""
            if parent_phase is None:
                self.outermost = phase_name
            self.steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            """A step of it is done."""
            if phase_name == self.outermost:
                progress(phase_name, (step + 1) / max(1, self.steps.get(phase_name, 1)))
            return True

        def phase_finish(self, phase_name: str) -> None:
            """A phase ends."""
            self.steps.pop(phase_name, None)

    return Monitor()
