"""The truth node: what the subject of a virtual rig really does; `python -m nodes.truth CONFIG`.

It publishes the true pose of every tick on the run's ``truth`` socket when the tick comes. The engine
never connects there, so poses are the same with and without this node.
"""

from __future__ import annotations

import logging
from typing import Any

import cv2
import numpy as np

from capture.control import NodeControl, leave, new_epoch
from capture.pose_wire import META, TRUTH, PosePublisher
from capture.rundir import RunDirectory
from capture.sources.base import StartClock, check
from capture.sources.virtual import VirtualConfig
from capture.virtual.scenario import load_scenario
from capture.virtual.world import World
from engine.arguments import config_of, rig_parser, run_dir_of
from engine.config import SystemConfig
from nodes.start import common_clock
from rigpose import codec
from rigpose.errors import ConfigError
from rigpose.logs import log_to
from rigpose.parent import end_with_parent
from rigpose.program import run
from rigpose.stamps import now_ns

log = logging.getLogger(__name__)

NODE = "truth"
META_S = 1.0
_BATCH = 8
"""Ticks computed at once, which costs as much as one."""


def virtual_world(config: SystemConfig) -> tuple[World, float]:
    """The world that the virtual cameras of a rig see, and its rate in ticks per second.

    Raises:
        ConfigError: The rig has no virtual camera, or its cameras see several worlds.
    """
    sources = {name: check(section.source, f"camera {name}") for name, section in config.cameras.items()}
    virtual = {name: source for name, source in sources.items() if isinstance(source, VirtualConfig)}
    if not virtual:
        raise ConfigError(config.name, "has no virtual camera, so there is no truth", "run it without the truth node")
    worlds = {(source.scenario, source.seed, config.rate or source.rate) for source in virtual.values()}
    if len(worlds) > 1:
        names = ", ".join(virtual)
        raise ConfigError(config.name, f"cameras {names} differ in scenario, seed or rate", "give all of them the same")
    path, seed, rate = worlds.pop()
    scenario = load_scenario(path)
    return World(scenario, seed), rate or scenario.rate


class TruthNode:
    """Publishes the true poses of one run.

    Args:
        config: The whole config.
        run_dir: Where the sockets are.
        supervised: Whether a launch process listens on the control endpoint.
        points2d: Whether the joints' true pixels go with the poses.
    """

    def __init__(self, config: SystemConfig, run_dir: RunDirectory, *, supervised: bool, points2d: bool) -> None:
        self._world, rate = virtual_world(config)
        self._period_ns = round(1e9 / rate)
        self._run_dir = run_dir
        self._points2d = points2d
        self._epoch = new_epoch()
        self._seq = 0
        self._published = 0
        self.control = NodeControl(
            run_dir.endpoint("control") if supervised else None,
            run_dir.session_id,
            NODE,
            NODE,
            self._epoch,
            self.counted,
            {"scenario": self._world.scenario.name},
        )

    def counted(self) -> dict[str, Any]:
        """Counters for the control channel."""
        return {"published": self._published}

    def main(self) -> int:
        """Publish each tick's truth at its time until told to stop."""
        publisher = PosePublisher(self._run_dir.endpoint("truth"))
        try:
            with self.control as control:
                clock = common_clock(control, self._run_dir, self._period_ns)
                if clock is None:
                    return 0
                control.running()
                self._publish_all(publisher, clock)
        finally:
            publisher.close()
        return 0

    def _publish_all(self, publisher: PosePublisher, clock: StartClock) -> None:
        stop = self.control.stop_requested
        tick = clock.tick_at(now_ns()) + 1
        next_meta = 0
        while not stop.is_set():
            ticks = np.arange(tick, tick + _BATCH)
            messages = self._messages(ticks, clock)
            for number, message in zip(ticks.tolist(), messages, strict=True):
                due = clock.tick_ns(number)
                if due >= next_meta:
                    publisher.send(META, self._pack(self._meta()))
                    next_meta = due + round(META_S * 1e9)
                wait_s = (due - now_ns()) / 1e9
                if wait_s > 0 and stop.wait(wait_s):
                    return
                publisher.send(TRUTH, self._pack(message))
                self._published += 1
            tick += _BATCH

    def _messages(self, ticks: np.ndarray, clock: StartClock) -> list[dict[str, Any]]:
        world = self._world
        poses = world.poses_mm(ticks * clock.period_ns / 1e9)
        messages: list[dict[str, Any]] = [
            {
                "type": "truth",
                "tick": tick,
                "exposed_ns": clock.tick_ns(tick),
                "skeleton": world.skeleton.name,
                "position_mm": pose,
            }
            for tick, pose in zip(ticks.tolist(), poses, strict=True)
        ]
        if self._points2d:
            points = np.stack([camera.project(poses) for camera in world.cameras], axis=1)
            for message, px in zip(messages, points, strict=True):
                message["points2d"] = px
        return messages

    def _meta(self) -> dict[str, Any]:
        world = self._world
        return {
            "type": "meta",
            "skeletons": {world.skeleton.name: world.skeleton.model_dump(mode="json")},
            "scenario": world.scenario.name,
            "cameras": [camera.name for camera in world.cameras],
            "calibration_id": world.rig.calibration_id,
        }

    def _pack(self, body: dict[str, Any]) -> bytes:
        self._seq += 1
        return codec.pack({**codec.header(self._run_dir.session_id, NODE, self._epoch, self._seq), **body})


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = rig_parser(
        "python -m nodes.truth",
        "Publish the true poses of a virtual rig.",
        "python -m nodes.truth rig.yaml --run-dir /tmp/rig",
    )
    parser.add_argument("--points2d", action="store_true", help="send the joints' true pixels as well")
    options = parser.parse_args(arguments)
    config = config_of(options)
    run_dir = run_dir_of(options)
    log_to(run_dir.path, NODE, console=not options.supervised)
    cv2.setNumThreads(1)
    node = TruthNode(config, run_dir, supervised=options.supervised, points2d=options.points2d)
    if options.supervised:
        end_with_parent(node.control.stop_requested.set)
    try:
        return node.main()
    finally:
        leave()


if __name__ == "__main__":
    run(main)
