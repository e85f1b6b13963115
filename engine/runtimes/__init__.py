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
from rigpose.errors import ConfigError, MissingError

log = logging.getLogger(__name__)

GROUP = "rigpose.runtimes"
BUILT_IN: dict[str, str] = {"onnx": "engine.runtimes.onnx:OnnxRuntime"}
AUTO = ("onnx",)
"""What ``auto`` tries, best first."""


@runtime_checkable
class Runtime(Protocol):
    """A graph that is ready to run.

    Attributes:
        name: The runtime's.
        precision: In what the network is computed (``fp32``, ``fp16``, ``int8``); the geometry is always fp32.
        device: Where it runs.
        graph_hash: Of the graph.
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


def check_name(name: str, where: object = "engine.runtime") -> None:
    """Refuse a runtime that does not exist, without loading any.

    Raises:
        ConfigError: Names those that exist.
    """
    if name != "auto" and name not in names():
        raise ConfigError(where, f"there is no runtime {name}", f"there are: auto, {', '.join(names())}")


def create(graph: Graph, name: str = "auto", threads: int | None = None, **options: Any) -> Runtime:
    """Load a graph into a runtime.

    Args:
        graph: What to run.
        name: A runtime's name, which then never falls back to another, or ``auto``.
        threads: Threads of the network; ``None`` = as many as this process may use.
        options: The runtime's own.

    Raises:
        ConfigError: There is no such runtime, or it cannot run this graph.
        MissingError: It is not installed.
    """
    if name != "auto":
        return _factory(name)(graph, threads=threads, **options)
    last: MissingError | None = None
    for candidate in AUTO:
        try:
            return _factory(candidate)(graph, threads=threads, **options)
        except MissingError as error:
            log.info("runtime %s is left out: %s", candidate, error)
            last = error
    raise last or MissingError("engine.runtime", "no runtime is installed", "pip install onnxruntime")


def _factory(name: str) -> Callable[..., Runtime]:
    check_name(name)
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        factory: Callable[..., Runtime] = getattr(importlib.import_module(module), attribute)
        return factory
    point = next(point for point in entry_points(group=GROUP) if point.name == name)
    loaded: Callable[..., Runtime] = point.load()
    return loaded
