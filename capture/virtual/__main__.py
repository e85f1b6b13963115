"""Writes the rig file of a scenario's world: ``python -m capture.virtual RIG.toml --scenario demo.yaml``."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import cv2

from calib.rig import write_rig
from capture.virtual.scenario import load_scenario
from capture.virtual.world import World
from rigpose.program import run

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m capture.virtual",
        description="Write the rig file of a virtual rig, and pictures of it where wanted.",
        epilog="Example: python -m capture.virtual rig.toml --scenario training/scenarios/demo.yaml",
    )
    parser.add_argument("rig", type=Path, help="the rig file to write; nothing is overwritten")
    parser.add_argument("--scenario", type=Path, required=True, help="the scenario's YAML file")
    parser.add_argument("--seed", type=int, help="which sample; by default the scenario's own")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="also write a picture with a row for each camera")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    world = World(load_scenario(options.scenario), options.seed)
    write_rig(world.rig, options.rig)
    log.info("%s: %d cameras", options.rig, len(world.cameras))
    if options.picture is not None:
        rows = [cv2.hconcat([world.render(view, 0.8 * i) for i in range(4)]) for view in range(len(world.cameras))]
        width = max(row.shape[1] for row in rows)
        rows = [cv2.copyMakeBorder(row, 0, 0, 0, width - row.shape[1], cv2.BORDER_CONSTANT) for row in rows]
        cv2.imwrite(str(options.picture), cv2.vconcat(rows))
        log.info("%s", options.picture)
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    run(main)
