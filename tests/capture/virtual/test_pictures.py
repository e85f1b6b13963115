"""What is drawn stays what it is: a faster way to draw gives the same bytes.

``pictures.json`` holds digests, and pictures a few pixels wide for machines on which OpenCV or NumPy
compute in another way. It is written again by ``python -m tests.capture.virtual.test_pictures``, which
is only to be done where pictures are meant to change: networks were trained on them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from capture.virtual.world import World
from tests.capture.virtual.scenarios import scenario

FILE = Path(__file__).with_name("pictures.json")
SMALL = (16, 12)
MOMENTS = (0.0, 0.7, 9.31)
CASES = [(kind, seed) for kind in ("mannequin", "fly") for seed in (0, 1, 2, 3)]


def world(kind: str, seed: int) -> World:
    """Everything that can be drawn: lenses, floors, occluders, cloth, blur and noise."""
    size = 1.0 if kind == "mannequin" else 0.001
    plain = scenario(kind)
    cameras = plain.cameras.model_dump()  # type: ignore[union-attr]
    cameras["lens"] = {**cameras["lens"], "fisheye_share": 0.3, "extent_mm": None if kind == "mannequin" else [6, 7]}
    values: dict[str, Any] = {
        "cameras": cameras,
        "texture": ["plain", "rings", "stripes", "patches"],
        "background": {
            "kinds": ["gradient", "noise", "checker", "bars", "bricks"],
            "floor": ["none", "checker", "planks", "noise"],
            "shapes": [0, 4],
        },
        "occluders": {
            "boxes": [1, 3], "poles": [1, 2], "cards": [0, 3], "cards_cover": [0.1, 0.3],
            "distance_mm": [900 * size, 1500 * size], "size_mm": [200 * size, 500 * size],
            "height_mm": [300 * size, 900 * size],
        },
        "noise": [1, 3], "gain": [0.8, 1.2], "blur_px": [0, 0.6], "motion_blur": True, "exposure_ms": [4, 30],
    }  # fmt: skip
    return World(scenario(kind, **values), seed)


def pictures(one: World) -> list[np.ndarray]:
    """Whole pictures and turned crops of every camera, in an order in which nothing helps the next."""
    turn = np.array([[1.1, -0.2, 60.0], [0.2, 1.1, 20.0]])
    crops = [None, (turn, (96, 96)), (0.4 * turn, (128, 128))]
    return [one.render(view, t, crop) for crop in crops for t in MOMENTS for view in range(len(one.cameras))]


def digest(drawn: list[np.ndarray]) -> str:
    told = hashlib.sha256()
    for picture in drawn:
        told.update(picture.tobytes())
    return told.hexdigest()


def small(drawn: list[np.ndarray]) -> np.ndarray:
    return np.stack([cv2.resize(picture, SMALL, interpolation=cv2.INTER_AREA) for picture in drawn[:4]])


def machine() -> str:
    """What decides to the last bit how numbers come out."""
    return f"{platform.machine()}, opencv {cv2.__version__}, numpy {np.__version__}, {cv2.getCPUFeaturesLine()}"


@pytest.mark.parametrize(("kind", "seed"), CASES)
def test_pictures_are_those_that_networks_were_trained_on(kind: str, seed: int) -> None:
    kept = json.loads(FILE.read_text())
    drawn = pictures(world(kind, seed))
    expected = kept["cases"][f"{kind} {seed}"]
    if machine() == kept["machine"]:
        assert digest(drawn) == expected["sha256"]
    there = np.frombuffer(base64.b64decode(expected["small"]), np.uint8).reshape(-1, SMALL[1], SMALL[0], 3)
    assert np.abs(small(drawn).astype(int) - there).max() <= 2


@pytest.mark.parametrize("kind", ["mannequin", "fly"])
def test_what_was_foreseen_is_drawn_the_same(kind: str) -> None:
    moments = [tick * 33_333_333 / 1e9 for tick in range(70, 78)]
    ahead, alone = world(kind, 1), world(kind, 1)
    ahead.foresee(moments)
    for t in (*moments, moments[-1] + 1):
        assert np.array_equal(ahead.render(1, t), alone.render(1, t))
        assert np.array_equal(ahead.truth(t).position_mm, alone.truth(t).position_mm)


if __name__ == "__main__":
    cases = {}
    for kind, seed in CASES:
        drawn = pictures(world(kind, seed))
        cases[f"{kind} {seed}"] = {
            "sha256": digest(drawn),
            "small": base64.b64encode(small(drawn).tobytes()).decode(),
        }
    FILE.write_text(json.dumps({"machine": machine(), "cases": cases}, indent=1) + "\n")
