"""TensorRT: the network between the cuts is a plan, what stands before and behind it is torch, all one CUDA graph.

The geometry is not in the plan, so that no optimisation of TensorRT (TF32, reduced precision, arithmetic that knows no
NaN) can reach it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from engine.cut import Parts, parts
from engine.folded import folded
from engine.gpu.driver import driver
from engine.gpu.plan import PlanKey, discard, find, keep, stale, timing_cache_path
from engine.gpu.trt_api import TensorRt, load_tensorrt
from engine.graph import NET_INPUT, Graph
from engine.lowered import lowered
from engine.precision import chosen
from engine.quantised import quantised
from engine.runtimes.feeds import Feeds, size_of
from engine.runtimes.torch import exact, inputs_of, load_torch
from rigpose.errors import ConfigError, MissingError, RigposeError

log = logging.getLogger(__name__)

PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class Cut:
    """A graph ready for a plan.

    Attributes:
        parts: Before, network (of fixed sizes, in the plan's precision) and behind.
        key: Of the plan.
        graph_hash: What poses carry.
    """

    parts: Parts
    key: PlanKey
    graph_hash: str


def cut_for(trt: TensorRt, graph: Graph, precision: str, level: int) -> Cut:
    """The network that a plan is built of, and the plan's key.

    Raises:
        ConfigError: The graph names no cuts, its network takes more than pictures, or there is no int8 form of it.
    """
    where = f"model {graph.document.id}"
    graph_hash = graph.graph_hash
    if graph.precision != "fp32":
        raise ConfigError(
            where, f"holds an {graph.precision} network, which TensorRT cannot be told", "give the network in fp32"
        )
    if precision == "int8":
        made = quantised(graph, symmetric=True)
        graph_hash, proto = made.graph_hash, onnx.load_from_string(made.proto_bytes)
    else:
        proto = onnx.load_from_string(graph.proto_bytes)
        proto = lowered(proto, precision, where) if precision == "fp16" else folded(proto)
    found = parts(proto, where)
    others = [value.name for value in found.network.graph.input if value.name != NET_INPUT]
    if others:
        raise ConfigError(where, f"has a network that reads {others[0]}, too", "use --runtime torch")
    shape = _fix_sizes(found, graph)
    data = found.network.SerializeToString(deterministic=True)
    gpu, asked = driver().gpus[0], driver()
    key = PlanKey(
        graph.graph_hash, hashlib.sha256(data).hexdigest(), trt.__version__, gpu.name, gpu.arch, str(asked.version),
        precision, shape, level,
    )  # fmt: skip
    return Cut(found, key, graph_hash)


def _fix_sizes(found: Parts, graph: Graph) -> tuple[int, ...]:
    """Write the rig's sizes into the network; what they are says the part before it."""
    import onnxruntime

    feeds = Feeds(graph).blank(graph.batch or 1)
    session = onnxruntime.InferenceSession(found.before.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = {value.name: feeds[value.name] for value in session.get_inputs()}
    shape = tuple(session.run([NET_INPUT], wanted)[0].shape)
    (entry,) = found.network.graph.input
    dims = entry.type.tensor_type.shape.dim
    del dims[:]
    for side in shape:
        dims.add().dim_value = side
    for value in found.network.graph.output:
        value.type.tensor_type.ClearField("shape")  # inferred from the sizes that are known now
    return shape


class TensorRtRuntime:
    """A graph on TensorRT.

    Args:
        graph: What to run.
        threads: Not used: the GPU has its own.
        precision: ``fp32``; ``fp16``; ``int8`` where it was quantised here.
        build: Build the plan where there is none yet, which takes minutes.
        level: Optimisation level of the builder.

    Attributes:
        look: Takes whole pictures (`engine.gpu.look.Look`).

    Raises:
        MissingError: There is no GPU, no TensorRT or no torch, or no plan and ``build`` is not set.
        ConfigError: The graph cannot be run so.
        RigposeError: TensorRT fails.
    """

    name = "tensorrt"

    def __init__(
        self,
        graph: Graph,
        *,
        threads: int | None = None,
        precision: str | None = None,
        build: bool = True,
        level: int | None = None,
    ) -> None:
        from engine.gpu.builder import LEVEL

        trt = load_tensorrt()
        torch = load_torch("runtime tensorrt")
        self._device = self._gpu(torch)
        self.device = str(self._device)
        self.precision = chosen(graph, precision, self.name, PRECISIONS, self.device)
        self._where = f"model {graph.document.id}"
        cut = cut_for(trt, graph, self.precision, LEVEL if level is None else level)
        self.graph_hash = cut.graph_hash
        self._parts = cut.parts
        self._trt = trt
        self._feeds = Feeds(graph)
        self._batch = graph.batch or 1
        exact(torch)
        self._plan = ready_plan(trt, cut, self._where, build=build)
        from engine.gpu.execution import Execution
        from engine.gpu.look import Look

        self.look = Look(graph, self._device, network=lambda: Execution(trt, self._plan, self._where, self._device))
        self._ready: Any = None
        self._size: tuple[tuple[int, ...], ...] = ()

    @staticmethod
    def _gpu(torch: Any) -> Any:
        if not torch.cuda.is_available():
            raise MissingError(
                "runtime tensorrt", f"needs torch with CUDA for its memory, and this is {torch.__version__}",
                'pip install "rigpose[cuda]"',
            )  # fmt: skip
        return torch.device("cuda", torch.cuda.current_device())

    def warmup(self) -> None:
        """Capture the graph, and run on black pictures."""
        inputs = self._feeds.blank(self._batch)
        for _ in range(2):
            self.run(inputs)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `engine.runtimes.Runtime`; all calls are of the plan's number of views."""
        feeds = self._feeds.check(inputs)
        if self._ready is None:
            self._ready, self._size = self._captured(feeds), size_of(feeds)
        if size_of(feeds) != self._size:
            raise RigposeError(
                self._where, f"its plan is for {self._batch} frame set at once", "use --runtime torch for more"
            )
        answer: dict[str, np.ndarray] = self._ready(feeds)
        return answer

    def _captured(self, feeds: Mapping[str, np.ndarray]) -> Any:
        from engine.gpu.captured import Captured
        from engine.gpu.execution import Execution
        from engine.runtimes.torch_program import Program, on

        cut = self._parts
        example = on(self._device, feeds)
        before = Program(cut.before, inputs_of(cut.before, example))
        network = Execution(self._trt, self._plan, self._where, self._device)
        made = network(before(inputs_of(cut.before, example)))
        behind = Program(cut.behind, {**inputs_of(cut.behind, example), **made})

        def work(tensors: Mapping[str, Any]) -> dict[str, Any]:
            made = network(before(inputs_of(cut.before, tensors)))
            return behind({**inputs_of(cut.behind, tensors), **made})

        return Captured(work, feeds, self._device)


def ready_plan(trt: TensorRt, cut: Cut, where: str, *, build: bool, progress: Any = None, force: bool = False) -> bytes:
    """The plan of a network: found, or built and kept. Each is read by a child process before this one reads it.

    Raises:
        MissingError: There is none, and it shall not be built.
        RigposeError: It cannot be built, or not be read.
    """
    from engine.gpu import builder
    from engine.gpu.trial import problem_of_plan

    plan = None if force else find(cut.key)
    if plan is not None:
        problem = problem_of_plan(cut.key.path)
        if not problem:
            return plan
        log.warning("%s: its plan is built again: %s", where, problem)
        discard(cut.key)
    elif not force and stale(cut.key):
        log.info("%s: its plan is of another TensorRT, driver or network", where)
    if not build:
        raise MissingError(where, f"has no plan for {cut.key.gpu} in {cut.key.precision}", "rigpose build MODEL")
    log.info("%s: building a plan for %s in %s, which takes minutes", where, cut.key.gpu, cut.key.precision)
    data = cut.parts.network.SerializeToString(deterministic=True)
    plan = builder.build(
        trt, data, where, level=cut.key.level, timing_cache=timing_cache_path(cut.key), progress=progress
    )
    path = keep(cut.key, plan)
    problem = problem_of_plan(path)
    if problem:
        discard(cut.key)
        raise RigposeError(where, f"TensorRT cannot read the plan that it built: {problem}", "rigpose doctor")
    return plan
