"""Labels of the virtual fly as a lab has them: a DeepLabCut project with pictures, one folder a fly and camera.

A person's hand is not exact, and does not label what it cannot see: points are off by a Gaussian, hidden joints and
those outside of the picture are left out.
"""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import yaml

from calib.rig import write_rig
from capture.virtual.scenario import load_scenario
from capture.virtual.world import World

SCENARIO = Path(__file__).resolve().parent.parent / "training" / "scenarios" / "fly_lab_labels.yaml"
FLIES = 5
MOMENTS = 4
"""Of each fly: with five cameras, a hundred pictures in sum."""
NOISE_PX = 2.0
"""Standard deviation of a label along each axis."""
SCORER = "Lab"
_SECONDS = 60.0
_LABELLING = 7


def write_project(folder: Path, moments: int = MOMENTS, flies: int = FLIES) -> Path:
    """A project that was labelled, with ``rig.toml`` beside its ``config.yaml``.

    Args:
        folder: It is made; what is in it is written again.
        moments: Of each fly, spread over a minute.
        flies: How many.

    Returns:
        The folder.
    """
    scenario = load_scenario(SCENARIO)
    worlds = [World(scenario, seed=(scenario.seed, fly)) for fly in range(flies)]
    joints = worlds[0].skeleton.joints
    cameras = [camera.name for camera in worlds[0].cameras]
    videos = {}
    for fly, world in enumerate(worlds):
        rng = np.random.default_rng([scenario.seed, fly, _LABELLING])
        # One moment of each part of the minute, as who labels looks for other postures.
        times = (np.arange(moments) + rng.uniform(0, 1, moments)) * (_SECONDS / moments)
        truths = [world.truth(float(t)) for t in times]
        for view, name in enumerate(cameras):
            recording = f"fly{fly + 1}_{name}"
            videos[f"videos/{recording}.mp4"] = {"crop": "0, {}, 0, {}".format(*world.cameras[view].size)}
            place = folder / "labeled-data" / recording
            place.mkdir(parents=True, exist_ok=True)
            rows = []
            for t, truth in zip(times, truths, strict=True):
                picture = f"img{round(float(t) * scenario.rate):05d}.png"
                cv2.imwrite(str(place / picture), world.render(view, float(t)))
                points = truth.points2d[view] + rng.normal(0, NOISE_PX, (len(joints), 2))
                points[truth.occluded[view]] = np.nan
                rows.append([f"labeled-data/{recording}/{picture}", *_cells(points)])
            _write_table(place / f"CollectedData_{SCORER}.csv", joints, rows)
    config = {
        "Task": worlds[0].skeleton.name,
        "scorer": SCORER,
        "multianimalproject": False,
        "video_sets": videos,
        "bodyparts": list(joints),
        "skeleton": [[joints[a], joints[b]] for a, b in worlds[0].skeleton.edges],
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    (folder / "rig.toml").unlink(missing_ok=True)
    write_rig(worlds[0].rig, folder / "rig.toml")
    return folder


def _cells(points: np.ndarray) -> list[str]:
    return ["" if np.isnan(value) else f"{value:.3f}" for value in points.ravel()]


def _write_table(path: Path, joints: tuple[str, ...], rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["scorer", *[SCORER] * (2 * len(joints))])
        table.writerow(["bodyparts", *(joint for joint in joints for _ in "xy")])
        table.writerow(["coords", *["x", "y"] * len(joints)])
        table.writerows(rows)
