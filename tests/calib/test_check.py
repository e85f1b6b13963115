"""Each fault put into a good rig is found and named; good rigs are left alone."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks._rigs import board_scene, make_rig, moved, point_scene
from calib.check import Keypoints, check, picture_sizes, rotation_finding
from calib.observations import BoardViews
from calib.quality import judge
from calib.rig import Rig, read_rig
from tests.calib.scenes import ring

KINDS: tuple[Any, ...] = (False, True, "mixed")


def views_of(scene, frames=None, **more):
    rig = scene.rig
    frames = np.arange(scene.px.shape[1]) if frames is None else frames
    return BoardViews(scene.target_mm, rig.names, tuple(c.size for c in rig.cameras), frames, scene.px, **more)


def named(found, camera, level="bad"):
    return [f for f in found.verdict.findings if f.level == level and camera in f.cameras]


def others_blamed(found, camera):
    return [f for f in found.verdict.findings if f.level != "note" and f.cameras and camera not in f.cameras]


class TestGoodRigs:
    def test_two_hundred_random_rigs_by_themselves(self):
        alarms = [s for s in range(200) if judge(make_rig(s, 2 + s % 11, KINDS[s % 3])).verdict != "good"]
        assert len(alarms) <= 4

    @pytest.mark.parametrize("seed", range(6))
    def test_with_a_board(self, seed):
        scene = board_scene(seed, 2 + seed, 25, fisheye=KINDS[seed % 3])
        found = check(scene.rig, boards=views_of(scene), sizes={c.name: c.size for c in scene.rig.cameras})
        assert found.verdict.verdict == "good", str(found.verdict)
        assert found.evidence[0].scale == pytest.approx(1, abs=0.01)
        assert max(found.evidence[0].median_px.values()) < 1

    def test_with_keypoints(self):
        scene = point_scene(3, 4)
        time_s = np.arange(100) / 30
        found = check(scene.rig, keypoints=Keypoints(scene.px, np.ones(scene.px.shape[:3]), time_s))
        assert found.verdict.verdict == "good", str(found.verdict)
        assert found.timing[0].told
        assert all(abs(o.offset_ms) < 3 for o in found.timing[0].offsets)


def identical(rig):
    return rig.with_cameras([*rig.cameras[:1], replace(rig.cameras[0], name=rig.names[1]), *rig.cameras[2:]])


def changed(rig, v, **values):
    cameras = list(rig.cameras)
    cameras[v] = replace(cameras[v], **values)
    return rig.with_cameras(cameras)


def with_k(camera, edit):
    K = camera.K.copy()
    edit(K)
    return K


def swapped(K):
    K[0, 2], K[1, 2] = K[1, 2], K[0, 2]


def halved(K):
    K[:2] *= 0.5


def inverse(camera):
    return {"rvec": cv2.Rodrigues(camera.R.T)[0].ravel(), "t": -camera.R.T @ camera.t}


FAULTS = {
    "two identical cameras": (identical, 1, "identical"),
    "swapped principal point": (lambda r: changed(r, 2, K=with_k(r.cameras[2], swapped)), 2, "swapped"),
    "turned by two degrees": (lambda r: moved(r, r.names[2], turned_deg=2), 2, "turned by [12]"),
    "moved by one percent of its distance": (lambda r: moved(r, r.names[2], moved_mm=15), 2, "moved by 1"),
    "camera to world": (lambda r: changed(r, 2, **inverse(r.cameras[2])), 2, "camera to world|look away"),
    "translation in metres": (lambda r: changed(r, 2, t=r.cameras[2].t / 1000), 2, "unit|look away|does not agree"),
    "K of a smaller picture": (lambda r: changed(r, 2, K=with_k(r.cameras[2], halved)), 2, "K is for|lens|lies"),
}


class TestFaults:
    @pytest.mark.parametrize("fault", FAULTS, ids=str)
    @pytest.mark.parametrize("n_cameras", [4])
    def test_is_bad_and_named_with_a_board(self, fault, n_cameras):
        import re

        make, v, words = FAULTS[fault]
        scene = board_scene(21, n_cameras, 25)
        found = check(make(scene.rig), boards=views_of(scene))
        told = named(found, scene.rig.names[v])
        assert found.verdict.verdict == "bad"
        assert any(re.search(words, f.what) for f in told), str(found.verdict)
        assert all(f.remedy for f in told)

    @pytest.mark.parametrize("fault", ["turned by two degrees", "moved by one percent of its distance"])
    @pytest.mark.parametrize("seed", range(4))
    def test_nobody_else_is_blamed_for_a_moved_camera(self, fault, seed):
        scene = board_scene(40 + seed, 3 + seed, 25, fisheye=KINDS[seed % 3])
        name = scene.rig.names[seed % 3]
        change = {"turned_deg": 2} if "degrees" in fault else {"moved_mm": 15}
        found = check(moved(scene.rig, name, seed=seed, **change), boards=views_of(scene))
        assert named(found, name), str(found.verdict)
        assert not others_blamed(found, name), str(found.verdict)

    def test_the_correction_is_what_was_done_and_its_deviation_holds(self):
        scene = board_scene(5, 5, 30)
        for seed in range(3):
            found = check(moved(scene.rig, "cam03", turned_deg=2, seed=seed), boards=views_of(scene))
            (c,) = found.evidence[0].corrections
            assert c.camera == "cam03"
            assert abs(c.turned_deg - 2) < 4 * c.turned_deviation_deg + 0.02
            assert c.moved_mm < 4 * c.moved_deviation_mm + 1
            assert c.after_px < 1 < c.before_px

    def test_two_cameras_are_both_named(self):
        scene = board_scene(2, 2, 30)
        found = check(moved(scene.rig, "cam02", moved_mm=15), boards=views_of(scene))
        assert found.verdict.verdict == "bad"
        assert any(set(f.cameras) == {"cam01", "cam02"} for f in found.verdict.findings)

    def test_two_cameras_moved_are_both_found(self):
        scene = board_scene(9, 7, 30)
        rig = moved(moved(scene.rig, "cam02", turned_deg=2, seed=1), "cam05", moved_mm=60, seed=2)
        found = check(rig, boards=views_of(scene))
        assert {c.camera for c in found.evidence[0].corrections} == {"cam02", "cam05"}

    @pytest.mark.parametrize(("factor", "words"), [(0.1, "10 times larger"), (1000, "1000 times smaller")])
    def test_units_are_seen_by_the_board(self, factor, words):
        scene = board_scene(3, 4, 20)
        views = replace(views_of(scene), target_mm=scene.target_mm * factor)
        found = check(scene.rig, boards=views)
        assert found.verdict.verdict == "bad"
        assert words in str(found.verdict)

    def test_a_square_that_is_three_percent_off(self):
        scene = board_scene(3, 4, 20)
        found = check(scene.rig, boards=replace(views_of(scene), target_mm=scene.target_mm * 1.03))
        assert found.verdict.verdict == "suspect"
        assert "2.9" in str(found.verdict)

    def test_a_mirrored_rig(self):
        """Pictures mirrored and a rig calibrated with them agree in every px: only the print's side tells."""
        scene = board_scene(3, 4, 20)
        flip = np.diag([-1.0, 1, 1])
        cameras = []
        px = scene.px.copy()
        for v, c in enumerate(scene.rig.cameras):
            K = c.K.copy()
            K[0, 2] = c.size[0] - 1 - K[0, 2]
            dist = c.dist.copy()
            dist[3] = -dist[3]
            R = flip @ c.R @ flip
            cameras.append(replace(c, K=K, dist=dist, rvec=cv2.Rodrigues(R)[0].ravel(), t=flip @ c.t))
            px[v, ..., 0] = c.size[0] - 1 - px[v, ..., 0]
        found = check(Rig(tuple(cameras)), boards=replace(views_of(scene), px=px))
        assert found.verdict.verdict == "bad"
        assert "from its back" in str(found.verdict)

    def test_a_lens_that_is_another(self):
        scene = board_scene(3, 4, 20)
        dist = scene.rig.cameras[1].dist.copy()
        dist[0] += 0.35
        found = check(changed(scene.rig, 1, dist=dist), boards=views_of(scene))
        assert any("lens" in f.what for f in [*named(found, "cam02"), *named(found, "cam02", "suspect")])

    def test_a_camera_that_is_a_frame_late(self):
        rig = make_rig(4, 4)
        scene = board_scene(4, 4, 60, rig=rig, missing=0.0, outliers=0.02)
        # Neighbouring frames of the board's way, one camera a frame behind.
        from benchmarks._rigs import _Motion, _seen

        motion = _Motion(4, rig, scene.target_mm.mean(axis=0))
        times = 3 + np.arange(150) / 30
        px = np.full((4, 150, len(scene.target_mm), 2), np.nan)
        for v, camera in enumerate(rig.cameras):
            for f, pose in enumerate(motion.poses(times - (1 / 30 if v == 2 else 0))):
                px[v, f] = _seen(camera, scene.target_mm @ cv2.Rodrigues(pose[:3])[0].T + pose[3:])
        px += np.random.default_rng(0).normal(0, 0.3, px.shape)
        time_s = np.tile(times, (4, 1))
        sizes = tuple(c.size for c in rig.cameras)
        views = BoardViews(scene.target_mm, rig.names, sizes, np.arange(150), px, time_s=time_s)
        found = check(rig, boards=views)
        assert found.timing[0]["cam03"].frames == pytest.approx(1, abs=0.1)
        assert any("late (1.0 frames)" in f.what for f in named(found, "cam03"))

    def test_keypoints_make_nothing_bad(self):
        scene = point_scene(5, 4)
        rig = moved(scene.rig, "cam02", turned_deg=2)
        found = check(rig, keypoints=Keypoints(scene.px, np.ones(scene.px.shape[:3])))
        assert found.verdict.verdict == "suspect"
        assert named(found, "cam02", "suspect")
        assert "confirm with a board" in str(found.verdict)


class TestByItself:
    @pytest.mark.parametrize("n", [2, 4, 9])
    def test_below_the_floor(self, n):
        rig = ring(n, height_mm=-800, spread=4.0)
        assert judge(rig).verdict == "good"  # nobody says that z = 0 is the floor
        assert check(rig, floor=True).verdict.verdict == "bad"
        found = judge(replace(rig, metadata={"world": "floor"}))
        assert found.verdict == "bad"
        assert "upside down" in str(found)
        assert "origin again" in str(found)

    def test_one_camera_below_the_floor_is_named(self):
        rig = ring(4)
        low = replace(rig.cameras[2], t=rig.cameras[2].t + rig.cameras[2].R @ (0, 0, 2500.0))
        rig = replace(rig.with_cameras([*rig.cameras[:2], low, rig.cameras[3]]), metadata={"world": "floor"})
        (finding,) = [f for f in judge(rig).findings if "below the floor" in f.what]
        assert finding.cameras == ("cam2",)
        assert "transparent_floor" in finding.remedy
        glass = replace(rig, metadata={"world": "floor", "transparent_floor": True})
        assert not [f for f in judge(glass).findings if "below the floor" in f.what]

    @pytest.mark.parametrize("seed", range(12))
    def test_a_swapped_principal_point(self, seed):
        rig = make_rig(seed, 4)
        v = seed % 4
        found = judge(changed(rig, v, K=with_k(rig.cameras[v], swapped)))
        assert found.verdict == "bad"
        assert any(f.cameras == (rig.names[v],) and "swapped" in f.what for f in found.findings)


class TestPictures:
    def test_sizes(self):
        rig = ring(4)
        sizes = {"cam0": (1280, 1024), "cam1": (1024, 1280), "cam2": (640, 512), "cam3": (1280, 720)}
        found = {f.cameras[0]: f for f in picture_sizes(rig, sizes)}
        assert set(found) == {"cam1", "cam2", "cam3"}
        assert found["cam1"].level == "bad"
        assert "turned by a quarter" in found["cam1"].what
        assert "scaled by 0.5" in found["cam2"].what
        assert "fit: crop" in found["cam3"].remedy

    def test_a_camera_that_the_rig_lacks(self):
        (finding,) = picture_sizes(ring(2), {"other": (10, 10)})
        assert finding.level == "note"

    def test_counts(self):
        found = check(ring(3), counts={"cam0": 1000, "cam1": 1041, "cam2": 1000})
        assert found.verdict.verdict == "suspect"
        assert "41 frames more" in str(found.verdict)


class TestRotation:
    def test_a_rotation(self):
        assert rotation_finding("a", cv2.Rodrigues(np.array([0.3, 1.0, -2.0]))[0]) is None

    @pytest.mark.parametrize(
        ("matrix", "words"),
        [(np.diag([1.0, 1, -1]), "mirrored"), (1.1 * np.eye(3), "is none"), (np.full((3, 3), np.nan), "finite")],
    )
    def test_is_none(self, matrix, words):
        finding = rotation_finding("a", matrix)
        assert finding is not None
        assert finding.level == "bad"
        assert words in finding.what


def test_the_document_is_plain(tmp_path):
    import json

    scene = board_scene(2, 3, 20)
    document = check(scene.rig, boards=views_of(scene)).document()
    again = json.loads(json.dumps(document, allow_nan=False))
    assert again["verdict"] == "good"
    assert set(again["evidence"][0]["median_px"]) == set(scene.rig.names)


@pytest.mark.data
def test_the_committed_calibration_of_the_mouse_is_bad_and_names_both_cameras(data_dir):
    found = check(read_rig(data_dir / "mouse4-sleap/calibration.toml", "mm"))
    assert found.verdict.verdict == "bad"
    assert any(set(f.cameras) == {"side", "top"} and "identical" in f.what for f in found.verdict.findings)
