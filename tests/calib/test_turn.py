"""Pictures turned by quarters: the camera turns with them."""

from dataclasses import replace

import numpy as np
import pytest

from calib.turn import turned, upright_turn
from rigpose.errors import ConfigError
from tests.calib.scenes import cloud, look_at, ring

LENSES = {
    "pinhole": ((-0.2, 0.1, 0.002, -0.003, 0.05), False),
    "rational with prism": ((0.3, -0.1, 0.001, 0.002, 0.02, 0.5, -0.1, 0.01, 0.003, -0.001, -0.002, 0.004), False),
    "fisheye": ((0.02, -0.004, 0.001, 0.0005), True),
}


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("quarters", [1, 2, 3, 4, -1])
def test_sees_each_point_where_the_turned_picture_has_it(lens, quarters):
    dist, fisheye = LENSES[lens]
    rig = ring(3, dist=dist, fisheye=fisheye)
    camera = replace(rig.cameras[1], K=rig.cameras[1].K + np.array([[0, 0, 17.0], [0, 5, -9], [0, 0, 0]]))
    points = cloud(rig, 40, 500)
    px = camera.project(points)
    picture = np.zeros((camera.size[1], camera.size[0]), bool)
    for _ in range(quarters % 4):
        height = picture.shape[0]
        px = np.stack([height - 1 - px[:, 1], px[:, 0]], axis=-1)
        picture = np.rot90(picture, -1)
    again = turned(camera, quarters)
    np.testing.assert_allclose(again.project(points), px, atol=1e-8)
    assert again.size == picture.shape[::-1]
    np.testing.assert_allclose(again.center_mm, camera.center_mm, atol=1e-9)
    np.testing.assert_allclose(again.axis, camera.axis, atol=1e-12)


def test_four_quarters_are_none():
    camera = ring(2, dist=LENSES["pinhole"][0]).cameras[0]
    again = turned(turned(camera, 1), 3)
    np.testing.assert_allclose(again.K, camera.K, atol=1e-12)
    np.testing.assert_allclose(again.dist, camera.dist, atol=0)
    np.testing.assert_allclose(again.R, camera.R, atol=1e-12)


@pytest.mark.parametrize("quarters", range(4))
def test_the_way_up_is_found_from_the_rotation(quarters):
    upright = look_at("c", (3000, 200, 1500), (0, 0, 900), 1500)
    found, share = upright_turn(turned(upright, -quarters), np.array([0, 0, 1.0]))
    assert found == quarters
    assert share > 0.99


def test_a_region_of_the_sensor_turns_with_it():
    camera = replace(ring(2).cameras[0], sensor_size=(2000, 1500), roi_offset=(100, 30), binning=(1, 1))
    once = turned(camera, 1)
    assert once.sensor_size == (1500, 2000)
    assert once.roi_offset == (1500 - 30 - 1024, 100)
    assert turned(once, 3).roi_offset == (100, 30)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"dist": np.array([0.0] * 12 + [0.05, 0])}, "tilted sensor"),
        ({"K": np.array([[900.0, -4, 640], [0, 900, 512], [0, 0, 1]])}, "skew"),
        ({"roi_offset": (8, 0)}, "sensor_size"),
    ],
)
def test_what_cannot_be_turned_is_refused(change, named):
    with pytest.raises(ConfigError, match=named):
        turned(replace(ring(2).cameras[0], **change), 1)
