"""Verdicts on rig files: sound rigs are good, each known mistake is found and names its cameras."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from calib.camera import Camera
from calib.quality import judge
from calib.rig import Rig, read_rig
from tests.calib.scenes import fly_rig, look_at, narrow_pair, ring


def changed(rig, index, **values):
    cameras = list(rig.cameras)
    cameras[index] = replace(cameras[index], **values)
    return rig.with_cameras(cameras)


def with_k(camera, **entries):
    K = camera.K.copy()
    places = {"fx": (0, 0), "fy": (1, 1), "cx": (0, 2), "cy": (1, 2)}
    for name, value in entries.items():
        K[places[name]] = value
    return K


class TestGood:
    @pytest.mark.parametrize("n", [2, 4, 12])
    def test_a_sound_rig(self, n):
        verdict = judge(ring(n, spread=4.0))
        assert (verdict.verdict, verdict.findings) == ("good", ())

    def test_a_fly_rig(self):
        assert judge(fly_rig()).verdict == "good"

    def test_a_fisheye_whose_corners_look_sideways(self):
        rig = ring(4, spread=4.0)
        K = with_k(rig.cameras[1], fx=450, fy=450)
        verdict = judge(changed(rig, 1, K=K, dist=np.array([0.01, 0.002, -0.003, 0.0]), fisheye=True))
        assert verdict.verdict == "good"
        assert "no ray" in str(verdict)

    def test_a_parallel_pair(self):
        assert judge(narrow_pair(parallel=True)).verdict == "good"

    def test_one_camera_is_good_and_noted(self):
        verdict = judge(Rig((look_at("only", (0, -1000, 0), (0, 0, 0), 900),)))
        assert verdict.verdict == "good"
        assert "no depth" in str(verdict)


def bad_cases():
    rig = ring(4)
    c = rig.cameras[2]
    yield "copy", rig.with_cameras((*rig.cameras[:3], replace(c, name="cam3"))), ("cam2", "cam3"), "identical"
    yield (
        "never placed",
        rig.with_cameras(replace(x, rvec=np.zeros(3), t=np.zeros(3)) for x in rig.cameras),
        ("cam0", "cam1"),
        "never placed",
    )
    yield "swapped principal point", changed(rig, 1, K=with_k(rig.cameras[1], cx=511.5, cy=639.5)), ("cam1",), "swapped"
    yield "principal point outside", changed(rig, 1, K=with_k(rig.cameras[1], cx=1900.0)), ("cam1",), "outside"
    yield "focal length in mm", changed(rig, 0, K=with_k(rig.cameras[0], fx=8.0, fy=8.0)), ("cam0",), "focal length"
    yield (
        "focal length far too long",
        changed(rig, 0, K=with_k(rig.cameras[0], fx=9e5, fy=9e5)),
        ("cam0",),
        "focal length",
    )
    yield "no square pixels", changed(rig, 0, K=with_k(rig.cameras[0], fx=3500.0)), ("cam0",), "fx and fy"
    yield (
        "looks away",
        changed(
            rig,
            2,
            rvec=cv2.Rodrigues(np.diag([-1.0, 1, -1]) @ c.R)[0].ravel(),
            t=-np.diag([-1.0, 1, -1]) @ c.R @ c.center_mm,
        ),
        ("cam2",),
        "look away",
    )
    tiny = ring(4, radius_mm=0.3, height_mm=0.05)
    yield "metres read as mm", tiny, (), "units"
    yield "too far", ring(4, radius_mm=4e6, height_mm=7e5), (), "units"


class TestBad:
    @pytest.mark.parametrize("case", list(bad_cases()), ids=lambda case: case[0])
    def test_is_found_and_names_its_cameras(self, case):
        _, rig, cameras, words = case
        verdict = judge(rig)
        assert verdict.verdict == "bad"
        assert any(f.level == "bad" and f.cameras == cameras and words in f.what and f.remedy for f in verdict.findings)


class TestSuspect:
    def test_a_principal_point_far_from_the_centre(self):
        rig = ring(4)
        verdict = judge(changed(rig, 3, K=with_k(rig.cameras[3], cx=1000.0)))
        assert verdict.verdict == "suspect"
        assert "roi_offset" in str(verdict)

    def test_but_not_in_a_known_region_of_the_sensor(self):
        rig = ring(4)
        region = changed(
            rig, 3, size=(400, 300), K=with_k(rig.cameras[3], cx=639.5, cy=511.5), sensor_size=(1280, 1024)
        )
        assert judge(region).verdict == "good"

    def test_no_size(self):
        assert judge(changed(ring(3), 0, size=(0, 0))).verdict == "suspect"

    def test_a_lens_that_folds_back_inside_the_picture(self):
        verdict = judge(ring(4, focal_px=770, dist=(-0.2853, 0, 0, 0)))
        assert verdict.verdict == "suspect"
        assert "no ray" in str(verdict)

    def test_a_camera_that_does_not_see_what_the_others_see(self):
        rig = ring(4)
        stray = look_at("cam3", rig.cameras[3].center_mm, (6000, 0, 0), 1400)
        verdict = judge(rig.with_cameras((*rig.cameras[:3], stray)))
        assert verdict.verdict != "good"

    def test_an_edited_file(self):
        rig = ring(3)
        assert judge(Rig(rig.cameras, {"calibration_id": "0" * 16})).verdict == "suspect"
        assert judge(Rig(rig.cameras, {"calibration_id": rig.calibration_id})).verdict == "good"


@pytest.mark.data
class TestRealRigs:
    def test_the_balance_rig_is_good(self, data_dir):
        assert judge(read_rig(data_dir / "human4-balance/calibration/Calib_qualisys.toml", "m")).verdict == "good"

    def test_the_mouse_rig_with_a_copied_camera_is_bad(self, data_dir):
        verdict = judge(read_rig(data_dir / "mouse4-sleap/calibration.toml", "mm"))
        assert verdict.verdict == "bad"
        assert any(f.cameras == ("side", "top") and "identical" in f.what for f in verdict.findings)

    def test_the_fly_rig_with_swapped_principal_points_is_bad(self, data_dir):
        with np.load(data_dir / "fly7-deepfly3d/df3d_reference.npz") as file:
            K, R, t, dist = (file[key] for key in ("K", "R", "t", "dist"))
        cameras = (
            Camera(f"camera_{v}", (960, 480), K[v], dist[v], cv2.Rodrigues(R[v])[0].ravel(), t[v])
            for v in range(len(K))
        )
        verdict = judge(Rig(tuple(cameras)))
        assert verdict.verdict == "bad"
        assert sum("swapped" in f.what for f in verdict.findings) == 7
