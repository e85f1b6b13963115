"""What a picture of the virtual rig costs a camera node: ms of one core for a frame, without OpenGL.

Several worlds of each scenario, all their cameras, moments that follow each other as a camera draws them. The time is
that of the thread alone, so that what else the machine does counts little.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import cv2
import numpy as np

from benchmarks._report import ROOT, Report, arguments, finish
from capture.virtual.scenario import load_scenario
from capture.virtual.world import World
from rigpose.program import run as run_program

SCENARIOS = ("demo", "mannequin_train", "unseen_occluded", "fly_train")
WORLDS, FRAMES = 24, 12
_PERIOD_S = 1 / 30


def costs(scenario: str, worlds: int, frames: int) -> np.ndarray:
    """(cameras of all worlds,) mean ms of a frame.

    Args:
        scenario: Name of a file in training/scenarios.
        worlds: How many, by seed.
        frames: Of each camera, after one that is not timed.
    """
    found = []
    described = load_scenario(ROOT / "training" / "scenarios" / f"{scenario}.yaml")
    for seed in range(worlds):
        world = World(described, seed)
        for view in range(len(world.cameras)):
            world.render(view, 1.0)
            begun = time.thread_time()
            for frame in range(frames):
                world.render(view, 1.0 + (frame + 1) * _PERIOD_S)
            found.append(1e3 * (time.thread_time() - begun) / frames)
    return np.array(found)


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, and write the JSON; 1 where a goal was missed."""
    options = arguments("rendering", (__doc__ or "").splitlines()[0]).parse_args(argv)
    cv2.setNumThreads(1)
    report = Report.begin("rendering", options.quick)
    for scenario in SCENARIOS:
        ms = costs(scenario, 6 if options.quick else WORLDS, FRAMES)
        report.add(scenario, "a frame, mean over cameras", "ms", float(ms.mean()), n=len(ms) * FRAMES)
        report.add(scenario, "a frame, by camera", "ms", ms)
    return finish(report, options.json)


if __name__ == "__main__":
    run_program(main)
