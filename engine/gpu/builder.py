"""From a network in ONNX to a plan of TensorRT.

Strongly typed: what precision a layer has stands in the network (`engine.lowered`, `engine.quantised`), so that the
builder changes none. TF32 is off: fp32 means fp32.
"""

from __future__ import annotations

import logging
from pathlib import Path

from engine.gpu.plan import write_bytes
from engine.gpu.trt_api import BuilderConfig, Network, OnnxParser, Progress, TensorRt, logger_of, monitor_of
from rigpose.errors import ConfigError, RigposeError

log = logging.getLogger(__name__)

WORKSPACE_BYTES = 4 * 2**30
LEVEL = 3
"""Optimisation level; 5 tries longer for little."""


def build(
    trt: TensorRt,
    model: bytes,
    where: str,
    *,
    level: int = LEVEL,
    timing_cache: Path | None = None,
    progress: Progress | None = None,
) -> bytes:
    """Build a plan.

    Args:
        trt: The module.
        model: The network in ONNX, its sizes fixed.
        where: What to name in errors.
        level: Optimisation level of the builder.
        timing_cache: Where measured times are read from and written to, so that the next build is quicker.
        progress: Is told how far it is.

    Raises:
        ConfigError: TensorRT does not know an operator of the network.
        RigposeError: It cannot build a plan of it.
    """
    logger = logger_of(trt)
    try:
        builder = trt.Builder(logger)
    except TypeError as error:  # its factory gave a null pointer
        raise RigposeError(where, f"TensorRT has no builder: {logger.said.take() or error}", "rigpose doctor") from None
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    if network is None:
        raise RigposeError(where, f"TensorRT makes no network: {logger.said.take()}", "rigpose doctor")
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        raise ConfigError(
            where, f"TensorRT {trt.__version__} cannot read it: {_complaints(parser) or logger.said.take()}",
            "use --runtime torch, or export the network again",
        )  # fmt: skip
    _check(network, where)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    config.builder_optimization_level = level
    config.clear_flag(trt.BuilderFlag.TF32)
    _use_timings(config, timing_cache)
    if progress is not None:
        config.progress_monitor = monitor_of(trt, progress)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RigposeError(
            where, f"TensorRT {trt.__version__} builds no plan: {logger.said.take() or 'it says no more'}",
            "free GPU memory, or use --runtime torch",
        )  # fmt: skip
    _keep_timings(config, timing_cache)
    return bytes(plan)


def _complaints(parser: OnnxParser) -> str:
    said = (parser.get_error(index) for index in range(parser.num_errors))
    return "; ".join(f"node {error.node()}: {error.desc()}" for error in said)


def _check(network: Network, where: str) -> None:
    """A size that is still free would need a profile, and would not be the rig's."""
    for index in range(network.num_inputs):
        value = network.get_input(index)
        if any(side < 0 for side in value.shape):
            raise ConfigError(where, f"input {value.name} has free sizes {list(value.shape)}", "report it")
    if network.num_inputs == 0 or network.num_outputs == 0:
        raise ConfigError(where, "has no input or no output", "export the network again")


def _use_timings(config: BuilderConfig, path: Path | None) -> None:
    if path is None:
        return
    try:
        data = path.read_bytes()
    except OSError:
        data = b""
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, False):
        # Of another GPU or version: begin with an empty one.
        fresh = config.create_timing_cache(b"")
        if fresh is None or not config.set_timing_cache(fresh, False):
            log.info("TensorRT takes no timing cache; the build will not be quicker the next time")


def _keep_timings(config: BuilderConfig, path: Path | None) -> None:
    cache = None if path is None else config.get_timing_cache()
    if path is None or cache is None:
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_bytes(path, bytes(cache.serialize()))
    except OSError as error:
        log.info("the timing cache %s is not kept: %s", path, error.strerror)
