"""Cameras for pictures of another size: what a pixel looked at, it looks at still."""

import numpy as np
import pytest

from calib.fit import fit_camera
from rigpose.errors import ConfigError
from tests.calib.scenes import look_at

CAMERA = look_at("left", (0, -3000, 1000), (0, 0, 800), 1400, size=(1088, 1920), dist=(-0.2, 0.05, 0.001, 0.001, 0))
POINTS = np.random.default_rng(0).uniform(-400, 400, (20, 3)) + (0, 0, 800)


class TestFitCamera:
    def test_the_calibrated_size_changes_nothing(self):
        assert fit_camera(CAMERA, (1088, 1920)).K.tolist() == CAMERA.K.tolist()

    def test_another_size_is_an_error_that_offers_the_ways(self):
        with pytest.raises(ConfigError, match="1080x1920.*1088x1920.*crop | scale | letterbox"):
            fit_camera(CAMERA, (1080, 1920))

    def test_letterbox_of_the_balance_recording(self):
        # 1088x1920 scaled by 1080/1088 in x and y, 7.06 black rows above and below.
        fitted = fit_camera(CAMERA, (1080, 1920), "letterbox")
        s = 1080 / 1088
        np.testing.assert_allclose(
            fitted.project(POINTS) + 0.5, s * (CAMERA.project(POINTS) + 0.5) + (0, 7.0588), atol=1e-3
        )
        assert fitted.size == (1080, 1920)

    def test_scale_keeps_the_corners_of_the_picture(self):
        fitted = fit_camera(CAMERA, (544, 1920), "scale")
        expected = (CAMERA.project(POINTS) + 0.5) * (0.5, 1) - 0.5
        np.testing.assert_allclose(fitted.project(POINTS), expected, atol=1e-9)

    def test_scaling_there_and_back_is_nothing(self):
        back = fit_camera(fit_camera(CAMERA, (333, 777), "scale"), (1088, 1920), "scale")
        np.testing.assert_allclose(back.K, CAMERA.K, atol=1e-9)

    def test_crop_takes_the_centre(self):
        fitted = fit_camera(CAMERA, (1000, 1900), "crop")
        np.testing.assert_allclose(fitted.project(POINTS), CAMERA.project(POINTS) - (44, 10), atol=1e-9)

    def test_crop_cannot_grow(self):
        with pytest.raises(ConfigError, match="cannot be cut out"):
            fit_camera(CAMERA, (1100, 1920), "crop")

    def test_affine(self):
        fitted = fit_camera(CAMERA, (500, 500), [[0.5, 0, 10], [0, 0.25, -3]])
        expected = (CAMERA.project(POINTS) + 0.5) * (0.5, 0.25) + (10, -3) - 0.5
        np.testing.assert_allclose(fitted.project(POINTS), expected, atol=1e-9)

    @pytest.mark.parametrize(
        "how",
        [[[1, 0.1, 0], [0, 1, 0]], [[1, 0], [0, 1]], [[-1, 0, 0], [0, 1, 0]], "stretch", [["a", 0, 0], [0, 1, 0]]],
    )
    def test_what_is_no_fit_is_refused(self, how):
        with pytest.raises(ConfigError, match="camera left"):
            fit_camera(CAMERA, (500, 500), how)

    def test_a_region_of_the_sensor_shifts_the_principal_point(self):
        fitted = fit_camera(CAMERA, (400, 300), roi_offset=(100, 50))
        np.testing.assert_allclose(fitted.project(POINTS), CAMERA.project(POINTS) - (100, 50), atol=1e-9)
        assert (fitted.roi_offset, fitted.size) == ((100, 50), (400, 300))

    def test_binning_scales_about_pixel_edges(self):
        fitted = fit_camera(CAMERA, (544, 960), binning=(2, 2))
        np.testing.assert_allclose(fitted.project(POINTS), (CAMERA.project(POINTS) + 0.5) / 2 - 0.5, atol=1e-9)

    def test_a_fit_on_top_of_another_region_is_refused(self):
        with pytest.raises(ConfigError, match="ROI or binning"):
            fit_camera(CAMERA, (400, 300), "crop", roi_offset=(100, 50))

    def test_a_region_that_the_rig_was_calibrated_with_is_no_change(self):
        region = fit_camera(CAMERA, (400, 300), roi_offset=(100, 50))
        assert fit_camera(region, (400, 300)).K.tolist() == region.K.tolist()
        assert fit_camera(region, (400, 300), roi_offset=(100, 50)).K.tolist() == region.K.tolist()
        np.testing.assert_allclose(fit_camera(region, (1088, 1920), roi_offset=(0, 0)).K, CAMERA.K)
