"""Calibration as a whole: good rigs are called good, and each named fault is recognised and named."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import _rigs
from calib.observations import BoardViews
from calib.outcome import Outcome
from calib.solve_rig import Options, calibrate
from rigpose.errors import ConfigError


def film(scene, frames=None):
    """A scene as board views; moments are numbered in frames of 1/30 s."""
    n = scene.px.shape[1]
    frames = np.arange(n) * 25 if frames is None else frames
    sizes = tuple(camera.size for camera in scene.rig.cameras)
    return BoardViews(scene.target_mm, scene.rig.names, sizes, frames, scene.px, "a board")


def frames_of(seed, n):
    """The frame numbers that `_rigs.board_scene` takes its moments at."""
    return np.round(np.arange(n) * np.random.default_rng([seed, 3]).uniform(20, 30)).astype(int)


def center_errors(outcome, rig):
    """mm between solved and true camera centres, both in the first camera's frame."""
    first = rig.cameras[0]
    return np.array(
        [
            np.linalg.norm(solved.center_mm - (first.R @ camera.center_mm + first.t))
            for solved, camera in zip(outcome.rig.cameras, rig.cameras, strict=True)
        ]
    )


def said(outcome, level=None):
    return " | ".join(str(reason) for reason in outcome.reasons if level is None or reason.level == level)


class TestGoodRigs:
    @pytest.mark.parametrize(("cameras", "fisheye"), [(2, False), (4, False), (6, "mixed")])
    def test_with_given_lenses_the_rig_is_found_and_called_good(self, cameras, fisheye):
        scene = _rigs.board_scene(20 + cameras, cameras, 50, fisheye=fisheye)
        outcome = calibrate(film(scene), scene.rig)
        assert outcome.verdict == "good", str(outcome)
        assert center_errors(outcome, scene.rig).max() < 4
        assert outcome.spread is not None and outcome.held_out is not None and outcome.held_out.spread is not None
        assert outcome.spread.rms_px == pytest.approx(0.3 * np.sqrt(2), rel=0.1)
        assert outcome.held_out.spread.rms_px < 1.2 * outcome.spread.rms_px
        assert 0.05 < outcome.spread.rejected_share < 0.16

    def test_from_scratch_lenses_are_found_with_the_rig(self):
        scene = _rigs.board_scene(31, 3, 40, missing=0.05)
        outcome = calibrate(film(scene))
        assert outcome.verdict == "good", str(outcome)
        for camera, solved in zip(scene.rig.cameras, outcome.cameras, strict=True):
            assert solved.intrinsics == "with the rig" and solved.focal_observable
            off = np.abs(np.array(solved.focal_px) - camera.K[[0, 1], [0, 1]])
            assert (off < 4 * np.array(solved.focal_deviation_px) + 0.2).all()
        assert center_errors(outcome, scene.rig).max() < 6

    def test_deviations_are_of_the_size_of_the_errors(self):
        errors = []
        for seed in range(8):
            scene = _rigs.board_scene(seed, 3, 30)
            outcome = calibrate(film(scene), scene.rig, Options(held_out=False))
            first = scene.rig.cameras[0]
            for solved, camera in zip(outcome.cameras[1:], scene.rig.cameras[1:], strict=True):
                off = np.array(solved.position_mm) - (first.R @ camera.center_mm + first.t)
                errors.extend(off / np.array(solved.position_deviation_mm))
        assert 0.7 < np.sqrt(np.mean(np.square(errors))) < 1.4

    def test_without_held_out_moments_it_is_unverified_at_best(self):
        scene = _rigs.board_scene(24, 3, 30)
        assert calibrate(film(scene), scene.rig, Options(held_out=False)).verdict == "unverified"
        few = film(scene).select(np.arange(30) < 12)
        assert calibrate(few.select((few.usable.sum(axis=0) >= 2).nonzero()[0][:8]), scene.rig).verdict != "good"

    def test_the_outcome_is_plain_json_with_all_of_its_figures(self):
        scene = _rigs.board_scene(25, 3, 30)
        outcome = calibrate(film(scene), scene.rig)
        document = json.loads(json.dumps(outcome.document(residuals=True), allow_nan=False))
        assert document["verdict"] == outcome.verdict
        assert document["cameras"][1]["spread"]["rejected_share"] == outcome.cameras[1].spread.rejected_share
        assert outcome.residuals is not None
        assert len(document["residuals"]["camera"]) == len(outcome.residuals.camera)
        assert len(document["board_poses"]) == len(document["frames"]) > 15
        assert document["rig"]["metadata"]["world"] == "camera:cam01"
        # Two distances for a tape measure, true in mm.
        true = [np.linalg.norm(scene.rig[a].center_mm - scene.rig[b].center_mm) for a, b in
                (tape.cameras for tape in outcome.tape)]  # fmt: skip
        assert [tape.distance_mm for tape in outcome.tape] == pytest.approx(true, abs=8)
        assert len(outcome.tape) == 2 and all(tape.deviation_mm > 0 for tape in outcome.tape)


class TestFaults:
    @pytest.mark.parametrize("cameras", [2, 4])
    @pytest.mark.parametrize("how", [{"turned_deg": 2.0}, {"moved_mm": 15.0}])
    def test_a_camera_that_moved_is_named_with_its_moment_and_by_how_much(self, cameras, how):
        scene = _rigs.board_scene(40, cameras, 50)
        name = scene.rig.names[-1]
        after = _rigs.board_scene(40, cameras, 50, rig=_rigs.moved(scene.rig, name, seed=1, **how))
        px = scene.px.copy()
        px[:, 25:] = after.px[:, 25:]
        outcome = calibrate(film(replace(scene, px=px)), scene.rig)
        assert outcome.verdict == "bad"
        reason = next(r for r in outcome.reasons if "moved" in r.what)
        assert name in reason.cameras and (len(reason.cameras) == 1 or cameras == 2)
        frame = int(reason.what.split("frame ")[1].split(":")[0])
        assert abs(frame // 25 - 25) <= 4

    def test_a_camera_that_is_one_frame_late_is_named_and_carried_to_the_others_time(self):
        seed, late = 41, 2
        delays = tuple(1.0 if v == late else 0.0 for v in range(4))
        scene = _rigs.board_scene(seed, 4, 60, delay_frames=delays)
        outcome = calibrate(film(scene, frames_of(seed, 60)), scene.rig)
        assert outcome.verdict in ("suspect", "bad")
        name = scene.rig.names[late]
        assert f"{name}: is 1." in said(outcome) or f"{name}: is 0.9" in said(outcome)
        offset = {o.camera: o for o in outcome.offsets}
        assert offset[name].frames == pytest.approx(1.0, abs=0.15)
        straight = calibrate(film(scene, frames_of(seed, 60)), scene.rig, Options(carry=False))
        assert straight.verdict == "bad"
        assert outcome.spread is not None and straight.spread is not None
        assert outcome.spread.median_px < 0.5 * straight.spread.median_px
        assert center_errors(outcome, scene.rig).max() < center_errors(straight, scene.rig).max()

    def test_stills_are_not_asked_for_a_time_offset(self):
        scene = _rigs.board_scene(42, 3, 30)
        outcome = calibrate(replace(film(scene), still=True), scene.rig)
        assert outcome.offsets == () and outcome.verdict == "good"

    def test_cameras_that_do_not_hang_together_name_the_pair_to_film(self):
        scene = _rigs.board_scene(43, 4, 40)
        px = scene.px.copy()
        px[:2, :20] = np.nan
        px[2:, 20:] = np.nan
        outcome = calibrate(film(replace(scene, px=px)), scene.rig)
        assert outcome.verdict == "bad" and outcome.rig is None
        assert "do not hang together (cam01, cam02 | cam03, cam04)" in said(outcome)
        assert outcome.missing and "never saw the board at the same moment" in outcome.missing[0]

    def test_the_same_pictures_twice_are_named(self):
        scene = _rigs.board_scene(44, 3, 30)
        px = scene.px.copy()
        px[2] = px[1]
        outcome = calibrate(film(replace(scene, px=px)), scene.rig)
        assert outcome.verdict == "bad"
        assert "cam02, cam03: show the same pictures" in said(outcome)

    def test_a_swapped_principal_point_is_named(self):
        scene = _rigs.board_scene(45, 3, 40)
        camera = scene.rig.cameras[1]
        K = camera.K.copy()
        K[:2, 2] = K[[1, 0], 2]
        outcome = calibrate(film(scene), [scene.rig.cameras[0], replace(camera, K=K), scene.rig.cameras[2]])
        assert outcome.verdict == "bad"
        assert any("cam02" in r.cameras and "x and y are swapped" in r.what for r in outcome.reasons), said(outcome)

    def test_a_wrong_lens_is_not_taken_for_a_camera_that_moved(self):
        scene = _rigs.board_scene(300, 5, 50)
        K = scene.rig["cam01"].K.copy()
        K[0, 2], K[1, 2] = K[1, 2], K[0, 2]
        outcome = calibrate(
            film(scene), scene.rig.with_cameras([replace(scene.rig["cam01"], K=K), *scene.rig.cameras[1:]])
        )
        assert outcome.verdict == "bad"
        assert "x and y are swapped" in outcome.reasons[0].what
        # Its residuals change with the board's place in the picture, as those of a camera that moved would.
        assert "moved" not in said(outcome)

    def test_a_lens_of_another_zoom_is_named(self):
        scene = _rigs.board_scene(46, 3, 40)
        camera = scene.rig.cameras[1]
        K = camera.K.copy()
        K[[0, 1], [0, 1]] *= 1.15
        outcome = calibrate(film(scene), [scene.rig.cameras[0], replace(camera, K=K), scene.rig.cameras[2]])
        assert outcome.verdict != "good"
        assert any("cam02" in r.cameras and "does not fit its views" in r.what for r in outcome.reasons), said(outcome)

    def test_flipped_pictures_are_named(self):
        scene = _rigs.board_scene(47, 3, 30)
        px = scene.px.copy()
        px[1, ..., 0] = 1279 - px[1, ..., 0]
        outcome = calibrate(film(replace(scene, px=px)), scene.rig)
        assert outcome.verdict == "bad" and "cam02: sees the board mirrored" in said(outcome)
        px = scene.px.copy()
        px[..., 0] = 1279 - px[..., 0]
        outcome = calibrate(film(replace(scene, px=px)), scene.rig)
        assert outcome.verdict == "bad" and "all cameras see the board mirrored" in said(outcome)

    def test_a_board_that_never_turns_leaves_two_solutions(self):
        rig = _rigs.make_rig(3, 2)
        target = _rigs.board_points(5, 4, 8.0)
        rng = np.random.default_rng(0)
        facing = rig.cameras[0].R.T @ _turn(0.3, 0.25)
        px = np.zeros((2, 12, len(target), 2))
        for f in range(12):
            world = target @ facing.T + rng.uniform(-15, 15, 3)
            for v, camera in enumerate(rig.cameras):
                px[v, f] = camera.project(world) + rng.normal(0, 0.9, (len(target), 2))
        views = BoardViews(target, rig.names, tuple(c.size for c in rig.cameras), np.arange(12), px)
        outcome = calibrate(views, rig)
        assert outcome.verdict == "bad"
        assert "two solutions explain the views alike" in said(outcome), said(outcome)

    def test_a_given_camera_of_another_size_is_refused(self):
        scene = _rigs.board_scene(48, 2, 20)
        with pytest.raises(ConfigError, match="640x480"):
            calibrate(film(scene), [replace(scene.rig.cameras[0], size=(640, 480)), scene.rig.cameras[1]])

    def test_one_camera_is_no_rig(self):
        scene = _rigs.board_scene(49, 2, 20)
        with pytest.raises(ConfigError, match="one camera is no rig"):
            calibrate(film(scene).of(["cam01"]))


def _turn(x, y):
    import cv2

    return cv2.Rodrigues(np.array([x, y, 0.0]))[0]


def test_an_outcome_tells_itself_in_one_line():
    assert str(Outcome(rig=None, verdict="bad", reasons=())) == "bad"


def test_a_board_that_stood_still_proves_nothing():
    scene = _rigs.board_scene(50, 3, 40)
    views = film(scene)
    frame = int(np.argmax(views.counts.min(axis=0)))
    still = replace(views, px=np.repeat(views.px[:, frame : frame + 1], 40, axis=1))
    outcome = calibrate(still, scene.rig)
    assert outcome.verdict != "good"
    assert "the board stood at 1 places only" in said(outcome)
