"""Runtimes: what runs a graph. One protocol serves every graph, one table knows every runtime.

A runtime is a callable that takes a `engine.graph.Graph`, ``threads`` and its own options and gives a
`Runtime`. Ours stand in `BUILT_IN` by lazy path; others come from the entry points
``rigpose.runtimes``. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Protocol, runtime_checkable

import numpy as np

from engine.graph import Graph
from engine.runtimes.capabilities import KNOWN, capability
from rigpose.errors import ConfigError, MissingError, RigposeError

log = logging.getLogger(__name__)

GROUP = "rigpose.runtimes"
BUILT_IN: dict[str, str] = {
    "onnx": "engine.runtimes.onnx:OnnxRuntime",
    "openvino": "engine.runtimes.openvino:OpenVinoRuntime",
    "torch": "engine.runtimes.torch:TorchRuntime",
    "tensorrt": "engine.runtimes.tensorrt:TensorRtRuntime",
}
AUTO = ("tensorrt", "torch", "onnx", "openvino")
"""What ``auto`` tries, best first."""
AUTO_OPTIONS: dict[str, dict[str, Any]] = {"tensorrt": {"build": False}}
"""What it does otherwise than a runtime that is named: no rig waits for minutes because nobody chose."""


@runtime_checkable
class Runtime(Protocol):
    """A graph that is ready to run.

    Attributes:
        name: The runtime's.
        precision: In what the network is computed (`engine.precision`); the geometry is always fp32.
        device: Where it runs.
        graph_hash: Of the graph; of a network that was quantised here, of what came of it.
    """

    name: str
    precision: str
    device: str
    graph_hash: str

    def warmup(self) -> None:
        """Do once what the first call would do, so that no frame waits for it."""
        ...

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Answer one frame set.

        Args:
            inputs: An array for each of the graph's inputs.

        Raises:
            RigposeError: An input is missing or does not have the graph's shape.
        """
        ...


def names() -> tuple[str, ...]:
    """Runtimes that can be named in a config."""
    return tuple(dict.fromkeys([*BUILT_IN, *(point.name for point in entry_points(group=GROUP))]))


def check_name(name: str, where: object = "engine.runtime", precision: str | None = None) -> None:
    """Refuse a runtime that does not exist, is not here or does not compute as asked, without loading any.

    Raises:
        ConfigError: Names those that exist, or in what the runtime computes.
        MissingError: Says what it needs.
    """
    if name != "auto" and name not in names():
        raise ConfigError(where, f"there is no runtime {name}", f"there are: auto, {', '.join(names())}")
    if name in KNOWN and not (here := capability(name)).present:
        remedy = f"{here.remedy}; --runtime auto takes the best that is here"
        raise MissingError(f"runtime {name}", f"cannot be used here: {here.detail}", remedy)
    if name in KNOWN and precision is not None and precision not in capability(name).precisions:
        what = f"does not compute in {precision}"
        raise ConfigError(f"runtime {name}", what, f"it computes in {', '.join(capability(name).precisions)}")


def create(
    graph: Graph, name: str = "auto", threads: int | None = None, precision: str | None = None, **options: Any
) -> Runtime:
    """Load a graph into a runtime.

    Args:
        graph: What to run.
        name: A runtime's name, which then never falls back to another, or ``auto``: the best that is here.
        threads: Threads of the network; ``None`` = as many as this process may use.
        precision: Of the network; ``None`` = fp32, or what was accepted on this machine for this graph.
        options: The runtime's own.

    Raises:
        ConfigError: There is no such runtime, or it cannot run this graph, or not in this precision.
        MissingError: It, or what it needs, is not here.
    """
    if precision is not None:
        options = {**options, "precision": precision}
    if name != "auto":
        return _factory(name)(graph, threads=threads, **options)
    left_out: list[str] = []
    last: RigposeError | None = None
    for candidate in AUTO:
        why = _against(candidate, precision)
        if not why:
            try:
                runtime = _factory(candidate)(graph, threads=threads, **AUTO_OPTIONS.get(candidate, {}), **options)
            except (MissingError, ConfigError) as error:
                why, last = str(error), error
            else:
                others = "".join(f"; not {reason}" for reason in left_out)
                log.info("runtime %s on %s, the best that is here%s", runtime.name, runtime.device, others)
                return runtime
        left_out.append(f"{candidate}: {why}")
    raise last or MissingError("engine.runtime", f"none can be used: {'; '.join(left_out)}", "rigpose doctor says more")


def _against(name: str, precision: str | None) -> str:
    """Why ``auto`` does not take a runtime; empty where nothing speaks against it."""
    if name not in KNOWN:
        return ""
    here = capability(name)
    if not here.present:
        return here.detail
    if not here.suggested:
        return f"{here.detail}; it has to be named"
    if precision is not None and precision not in here.precisions:
        return f"it does not compute in {precision}"
    return ""


def _factory(name: str) -> Callable[..., Runtime]:
    check_name(name)
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        factory: Callable[..., Runtime] = getattr(importlib.import_module(module), attribute)
        return factory
    point = next(point for point in entry_points(group=GROUP) if point.name == name)
    loaded: Callable[..., Runtime] = point.load()
    return loaded
