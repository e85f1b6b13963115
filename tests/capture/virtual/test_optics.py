"""Drawing projects as the calibration does."""

from __future__ import annotations

import numpy as np
import pytest

from calib.quality import judge
from calib.rig import Rig
from capture.virtual.optics import Optics, make_cameras
from capture.virtual.scenario import CameraSection
from tests.capture.virtual.scenarios import scenario


def camera(**values):
    section = CameraSection(name="a", position_mm=(3000, 0, 1200), focal_px=300, **values)
    return make_cameras(scenario(cameras=[section]), 0)[0]


LENSES = [
    {},
    {"dist": (-0.3, 0.08, 0.001, -0.001, 0.0)},
    {"dist": (0.02, 0.001, 0.0, 0.0), "fisheye": True, "focal_px": 200},
]


@pytest.mark.parametrize("lens", LENSES)
def test_pixels_are_those_of_the_camera(lens: dict) -> None:
    one = camera(**{k: v for k, v in lens.items() if k != "focal_px"})
    points = np.random.default_rng(0).uniform(-700, 700, (200, 3)) + [0, 0, 900]
    optics = Optics(one)
    px, valid = optics.pixels(optics.see(points))
    assert valid.all()
    assert np.abs(px - one.project(points)).max() < 1e-6


def test_what_is_behind_or_folded_back_is_not_shown() -> None:
    optics = Optics(camera(dist=(-0.35, 0.05, 0.0, 0.0, 0.0)))
    seen = np.array([[0.0, 0, 1000], [0, 0, -1000], [2500, 0, 1000], [300, 100, 1000]])
    assert optics.pixels(seen)[1].tolist() == [True, False, False, True]


def test_lenses_that_bend_say_so() -> None:
    assert Optics(camera()).straight
    assert not Optics(camera(dist=(-0.35, 0.1, 0.0, 0.0, 0.0))).straight
    assert not Optics(camera(dist=(0.0, 0.0, 0.0, 0.0), fisheye=True)).straight


def test_a_camera_looks_at_its_target() -> None:
    one = camera(target_mm=(100, 50, 700), center_px=(150, 110))
    assert np.allclose(one.project(np.array([100.0, 50, 700])), (150, 110))
    assert np.allclose(one.center_mm, (3000, 0, 1200))


def test_up_is_up_and_roll_turns() -> None:
    def up(roll: float) -> np.ndarray:
        one = camera(roll_deg=roll)
        return one.project(np.array([0.0, 0, 1000])) - one.project(np.array([0.0, 0, 850]))

    assert up(0)[1] < 0 and abs(up(0)[0]) < 1e-6
    assert abs(up(90)[0]) > 10 * abs(up(90)[1])


def test_straight_down_is_a_view_too() -> None:
    section = CameraSection(name="a", position_mm=(0, 0, 3000), target_mm=(0, 0, 0), focal_px=300)
    one = make_cameras(scenario(cameras=[section]), 0)[0]
    assert np.allclose(one.axis, (0, 0, -1))
    assert np.linalg.det(one.R) == pytest.approx(1)


@pytest.mark.parametrize("kind", ["mannequin", "fly"])
def test_a_ring_is_a_good_rig(kind: str) -> None:
    for seed in range(5):
        cameras = make_cameras(scenario(kind), seed)
        assert judge(Rig(cameras, {"world": "floor"})).verdict == "good"


def test_the_extent_is_what_the_width_shows() -> None:
    for one in make_cameras(scenario(), 1):
        distance = np.linalg.norm(one.center_mm - [0, 0, 850])
        assert 3000 <= distance * one.size[0] / one.K[0, 0] <= 3600
