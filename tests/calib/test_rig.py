"""A rig's identity and its normalised world."""

from dataclasses import replace

import numpy as np
import pytest

from calib.rig import Rig
from rigpose.errors import ConfigError
from tests.calib.scenes import look_at, narrow_pair, ring


class TestCalibrationId:
    def test_metadata_and_padding_do_not_count(self):
        rig = ring(3)
        padded = rig.with_cameras(replace(camera, dist=np.zeros(5)) for camera in rig.cameras)
        assert Rig(padded.cameras, {"error": 3}).calibration_id == rig.calibration_id
        assert len(rig.calibration_id) == 16

    @pytest.mark.parametrize("key", ["name", "size", "K", "dist", "rvec", "t", "fisheye"])
    def test_every_parameter_counts(self, key):
        rig = ring(3)
        camera = rig.cameras[1]
        K = camera.K.copy()
        K[0, 0] += 1e-6
        changed = {
            "name": "other", "size": (1280, 1023), "K": K, "dist": np.array([1e-6, 0, 0, 0]),
            "rvec": camera.rvec + 1e-6, "t": camera.t + 1e-6, "fisheye": True,
        }  # fmt: skip
        cameras = (rig.cameras[0], replace(camera, **{key: changed[key]}), rig.cameras[2])
        assert rig.with_cameras(cameras).calibration_id != rig.calibration_id

    def test_a_change_below_a_billionth_does_not_count(self):
        rig = ring(2)
        nudged = rig.with_cameras(replace(c, K=np.round(c.K, 9) + 1e-11 * (c.K > 1)) for c in rig.cameras)
        rounded = rig.with_cameras(replace(c, K=np.round(c.K, 9)) for c in rig.cameras)
        assert nudged.calibration_id == rounded.calibration_id


class TestRig:
    def test_a_name_stands_once(self):
        with pytest.raises(ConfigError, match="cam0 stands there twice"):
            Rig((ring(2).cameras[0],) * 2)

    def test_an_unknown_camera_is_named_with_those_that_are_known(self):
        with pytest.raises(ConfigError, match="camera top.*cam0, cam1"):
            ring(2)["top"]

    def test_select_keeps_the_order_asked_for(self):
        assert ring(4).select(["cam2", "cam0"]).names == ("cam2", "cam0")


class TestWorkingPoint:
    @pytest.mark.parametrize("origin", [(0, 0, 0), (1e5, -1e5, 3e4)])
    def test_is_where_the_axes_meet(self, origin):
        point, distance = ring(4, origin_mm=origin).working
        np.testing.assert_allclose(point, origin, atol=1e-6)
        assert 4000 < distance < 4200

    def test_of_parallel_axes_lies_ahead_at_the_working_distance(self):
        point, distance = narrow_pair(parallel=True).working
        np.testing.assert_allclose(point, (0, 4000, 0), atol=1e-9)
        assert distance == 4000

    def test_of_one_camera_lies_on_its_axis(self):
        camera = look_at("only", (0, 0, 0), (0, 10, 0), 500)
        point, distance = Rig((camera,)).working
        np.testing.assert_allclose(point, (0, 1000, 0), atol=1e-9)
        assert distance == 1000

    def test_of_cameras_that_look_apart_lies_ahead_of_them(self):
        apart = Rig((look_at("l", (-100, 0, 0), (-1000, 900, 0), 500), look_at("r", (100, 0, 0), (1000, 900, 0), 500)))
        assert apart.working[0][1] > 0

    def test_arrays_bring_the_normalised_world_to_the_camera(self):
        rig = ring(3, origin_mm=(1e5, 0, 0))
        arrays = rig.arrays()
        point = np.array([1e5 + 100.0, -50, 300])
        normalised = (point - arrays.world[:3]) / arrays.world[3]
        for camera, Rt in zip(rig.cameras, arrays.Rt, strict=True):
            np.testing.assert_allclose(
                Rt @ np.append(normalised, 1) * arrays.world[3], camera.R @ point + camera.t, atol=1e-6
            )
