"""What a graph is fed on a rig's own pictures: the inputs of a pipeline that finds and follows its subject."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from capture.frame import Frame, FrameSet
from capture.sources.base import StartClock, create
from engine.assembly import build_pipeline
from engine.config import SystemConfig
from rigpose.errors import ConfigError
from rigpose.pose import SyncInfo


def graph_inputs(config: SystemConfig, sets: int, where: object = "config") -> list[dict[str, np.ndarray]]:
    """The last inputs of the graph in each of the first frame sets in which there is a subject.

    Args:
        config: A rig whose sources have pictures; it is run by ONNX Runtime.
        sets: At most so many.
        where: The config's file, for errors.

    Raises:
        ConfigError: Its sources have too few pictures of a subject.
    """
    engine = config.engine.model_copy(update={"runtime": "onnx", "precision": None})
    pipeline, _ = build_pipeline(config.model_copy(update={"engine": engine}), where)
    run = pipeline.runtime.run
    kept: list[dict[str, np.ndarray]] = []

    def listen(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        kept.append({name: np.array(array) for name, array in inputs.items()})
        return run(inputs)

    pipeline.runtime.run = listen  # type: ignore[method-assign]
    found: list[dict[str, np.ndarray]] = []
    for frames in frame_sets(config, 3 * sets):
        kept.clear()
        if pipeline.process(frames).subjects and kept:
            found.append(kept[-1])
        if len(found) == sets:
            break
    if not found:
        raise ConfigError(where, "shows no subject to the network in its first pictures", "give a rig that does")
    return found


def frame_sets(config: SystemConfig, count: int) -> list[FrameSet]:
    """The first frame sets of a rig's sources, in memory; fewer where they end before."""
    assert config.rate is not None
    sources = [create(name, section.source, lossless=True) for name, section in config.cameras.items()]
    clock = StartClock.now(config.rate)
    for source in sources:
        source.open(clock)
    found = []
    try:
        for index in range(count):
            frames: list[Frame | None] = [source.read() for source in sources]
            if any(frame is None for frame in frames):
                break
            found.append(FrameSet(config.camera_names, tuple(frames), SyncInfo("trigger", 0, index), 0, index))
    finally:
        for source in sources:
            source.close()
    return found
