"""The geometry of what is drawn, without anything that draws."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calib.rig import Rig
from nodes import scene, shapes
from nodes.picture import length
from nodes.viewpoint import facing, fit, viewpoint
from rigpose.pose import PREDICTED
from tests.calib.scenes import fly_rig, look_at, ring
from tests.capture.poses import COCO17, STANDING_MM, lifted, pose_set, stride, subject

HIDDEN = np.array([1.0, 2.0, 3.0])
ASPECT = 4 / 3


def on_floor(rig: Rig) -> Rig:
    return Rig(rig.cameras, {"world": "floor"})


def area(mesh: shapes.Mesh) -> np.ndarray:
    a, b, c = (mesh.vertices[mesh.triangles[:, i]] for i in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=-1) / 2


class TestShapes:
    def test_a_tube_is_a_cylinder_around_its_line(self):
        mesh = shapes.tubes(np.array([[0.0, 0, 0]]), np.array([[0, 0, 10.0]]), 2.0, np.ones((1, 3)), HIDDEN)
        assert np.linalg.norm(mesh.vertices[:, :2], axis=-1) == pytest.approx(2.0)
        assert set(np.round(mesh.vertices[:, 2], 9)) == {0.0, 10.0}
        assert area(mesh).sum() == pytest.approx(2 * np.pi * 2 * 10, rel=0.05)

    def test_normals_point_outwards_and_triangles_run_counter_clockwise(self):
        for mesh in (
            shapes.tubes(np.array([[0.0, 0, 0]]), np.array([[3.0, 4, 0]]), 1.0, np.ones((1, 3)), HIDDEN),
            shapes.spheres(np.array([[5.0, 5, 5]]), 2.0, np.ones((1, 3)), HIDDEN),
        ):
            a, b, c = (mesh.vertices[mesh.triangles[:, i]] for i in range(3))
            outwards = np.cross(b - a, c - a)
            there = np.linalg.norm(outwards, axis=-1) > 1e-9
            agree = (outwards * mesh.normals[mesh.triangles].mean(axis=1)).sum(axis=-1)[there]
            assert (agree > 0).all()

    def test_what_is_not_seen_shrinks_to_a_point_and_keeps_its_place(self):
        starts, ends = np.zeros((2, 3)), np.array([[np.nan, 0, 0], [0, 0, 1.0]])
        mesh = shapes.tubes(starts, ends, 1.0, np.ones((2, 3)), HIDDEN)
        first = mesh.vertices[: 2 * shapes.TUBE_SIDES]
        assert (first == HIDDEN).all() and np.isfinite(mesh.vertices).all()
        full = shapes.tubes(starts, np.ones((2, 3)), 1.0, np.ones((2, 3)), HIDDEN)
        assert mesh.vertices.shape == full.vertices.shape
        np.testing.assert_array_equal(mesh.triangles, full.triangles)

    @given(st.lists(st.tuples(*[st.floats(-1e4, 1e4)] * 3), min_size=1, max_size=5))
    def test_a_tube_reaches_from_end_to_end_in_any_direction(self, ends):
        ends = np.array(ends)
        mesh = shapes.tubes(np.zeros_like(ends), ends, 0.5, np.ones_like(ends), HIDDEN)
        rings = mesh.vertices.reshape(len(ends), 2, shapes.TUBE_SIDES, 3)
        np.testing.assert_allclose(rings[:, 1].mean(axis=1), ends, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(rings[:, 0], axis=-1), 0.5, atol=1e-6)

    def test_meshes_join_with_their_own_triangles(self):
        one = shapes.spheres(np.zeros((1, 3)), 1.0, np.ones((1, 3)), HIDDEN)
        two = shapes.join((one, one))
        assert two.triangles.max() == 2 * len(one.vertices) - 1
        assert area(two).sum() == pytest.approx(2 * area(one).sum())


class TestBody:
    def test_left_right_and_middle_have_their_colours(self):
        mesh = scene.body(subject(STANDING_MM), COCO17, 1700.0, HIDDEN)
        for side, colour in scene.SIDE_COLOURS.items():
            mine = mesh.vertices[(mesh.colours == colour).all(axis=-1)]
            if side == "left":
                assert (mine[:, 0] < 40).all(), "left is -x of somebody who looks along +y"
            elif side == "right":
                assert (mine[:, 0] > -40).all()
            else:
                assert len(mine)

    def test_it_can_be_moved_in_place_whatever_is_seen(self):
        all_seen = scene.body(subject(STANDING_MM), COCO17, 1700.0, HIDDEN)
        for other in (
            scene.body(subject(stride(1.0), unseen=(0, 9, 13)), COCO17, 1700.0, HIDDEN),
            scene.body(None, COCO17, 1700.0, HIDDEN),
            scene.body(subject(STANDING_MM), COCO17, 1700.0, HIDDEN, stale=True),
        ):
            assert np.isfinite(other.vertices).all()
            np.testing.assert_array_equal(other.triangles, all_seen.triangles)

    def test_a_lost_subject_is_not_drawn(self):
        lost = dataclasses.replace(subject(STANDING_MM), state="lost")
        assert (scene.body(lost, COCO17, 1700.0, HIDDEN).vertices == HIDDEN).all()

    def test_an_unseen_joint_takes_its_bones_with_it(self):
        seen = area(scene.body(subject(STANDING_MM), COCO17, 1700.0, HIDDEN)) > 0
        without = area(scene.body(subject(STANDING_MM, unseen=(9,)), COCO17, 1700.0, HIDDEN)) > 0
        bone = 4 * shapes.TUBE_SIDES // 2
        assert (seen & ~without).sum() > bone, "the wrist and the forearm"

    def test_lifted_joints_are_paler_and_a_stale_pose_is_grey(self):
        plain = scene.body(subject(STANDING_MM), COCO17, 1700.0, HIDDEN).colours
        pale = scene.body(lifted(subject(STANDING_MM), (9,)), COCO17, 1700.0, HIDDEN).colours
        grey = scene.body(subject(STANDING_MM), COCO17, 1700.0, HIDDEN, stale=True).colours
        assert 0 < (plain != pale).any(axis=-1).sum() < len(plain) / 3
        joints = len(COCO17.joints) * len(shapes.spheres(np.zeros((1, 3)), 1, np.ones((1, 3)), HIDDEN).vertices)
        assert (grey[-joints:] == scene.GREY).all()

    def test_a_prediction_is_drawn_thin_and_grey_and_never_as_a_measurement(self):
        pose = subject(STANDING_MM, unseen=(9,))
        guess = np.full((17, 3), np.nan, np.float32)
        guess[9], guess[10] = STANDING_MM[9], (0, 0, 0)
        how = pose.how.copy()
        how[9] = PREDICTED
        pose = dataclasses.replace(pose, predicted_mm=guess, how=how)
        shown, predicted = scene.shown_mm(pose)
        assert list(np.flatnonzero(predicted)) == [9]
        np.testing.assert_allclose(shown[10], STANDING_MM[10], atol=1e-3)

    def test_the_filtered_position_is_drawn_where_there_is_one(self):
        filtered = np.full((17, 3), np.nan, np.float32)
        filtered[3] = (1, 2, 3)
        shown, _ = scene.shown_mm(dataclasses.replace(subject(STANDING_MM, unseen=(4,)), filtered_mm=filtered))
        np.testing.assert_array_equal(shown[3], (1, 2, 3))
        assert np.isnan(shown[4]).all() and np.isfinite(shown[5]).all()


class TestFrustum:
    @given(st.floats(0.2, 1), st.floats(-1, 1), st.floats(-1, 1))
    def test_its_corners_are_those_of_the_picture(self, x, y, z):
        camera = look_at("cam", np.array([x, y, z]) * 4000, (0, 0, 0), 1400.0)
        center, *corners, _ = scene.frustum(camera, 500.0)
        np.testing.assert_allclose(center, camera.center_mm, atol=1e-6)
        width, height = camera.size
        expected = [[-0.5, -0.5], [width - 0.5, -0.5], [width - 0.5, height - 0.5], [-0.5, height - 0.5]]
        np.testing.assert_allclose(camera.project(np.array(corners)), expected, atol=1e-3)

    def test_the_mark_is_above_the_picture_s_upper_edge(self):
        shape = scene.frustum(look_at("cam", (4000, 0, 1000), (0, 0, 1000), 1400.0), 500.0)
        assert shape[5, 2] > shape[1:5, 2].max()


class TestSurroundings:
    def test_a_floor_is_drawn_only_where_the_world_has_one(self):
        rig = ring(4)
        assert scene.surroundings(on_floor(rig), STANDING_MM).floor is not None
        for world in ({}, {"world": "board"}, {"world": "camera:cam0"}):
            assert scene.surroundings(Rig(rig.cameras, world), STANDING_MM).floor is None

    def test_up_is_z_on_a_floor_and_else_what_the_cameras_call_up(self):
        rig = ring(4)
        np.testing.assert_array_equal(scene.up_of(on_floor(rig)), (0, 0, 1))
        centers = ((3000, 0, 0), (0, 0, 3000))
        cameras = (look_at(f"c{i}", center, (0, 0, 0), 1400.0, up=(0, -1, 0)) for i, center in enumerate(centers))
        sideways = Rig(tuple(cameras))
        np.testing.assert_allclose(scene.up_of(sideways), (0, -1, 0), atol=1e-9)

    def test_the_floor_lies_below_subject_and_cameras(self):
        still = scene.surroundings(on_floor(ring(4)), STANDING_MM)
        assert still.floor is not None
        ends = still.floor.points
        assert (ends[:, 2] == 0).all()
        centers = still.corners_mm[:, 0, :2]
        assert (ends[:, :2].min(axis=0) <= centers.min(axis=0)).all()
        assert (ends[:, :2].max(axis=0) >= centers.max(axis=0)).all()

    def test_cameras_of_a_human_rig_stand_where_they_are(self):
        rig = ring(4)
        still = scene.surroundings(on_floor(rig), STANDING_MM)
        np.testing.assert_allclose(still.corners_mm[:, 0], [camera.center_mm for camera in rig.cameras])
        assert not still.drawn_nearer

    def test_cameras_far_from_a_small_subject_are_drawn_nearer_and_it_says_so(self):
        rig = fly_rig()
        fly = (STANDING_MM - [0, 0, 800]) / 800
        still = scene.surroundings(rig, fly)
        assert still.drawn_nearer
        away = still.corners_mm[:, 0] - still.center_mm
        true = np.stack([camera.center_mm for camera in rig.cameras]) - still.center_mm
        cosine = (away * true).sum(-1) / np.linalg.norm(away, axis=-1) / np.linalg.norm(true, axis=-1)
        np.testing.assert_allclose(cosine, 1, atol=1e-9)
        assert np.linalg.norm(away, axis=-1).max() <= 4 * still.size_mm

    def test_missing_cameras_are_red(self):
        still = scene.surroundings(on_floor(ring(4)), STANDING_MM)
        plain, one = still.frusta().colours, still.frusta(("cam2",)).colours
        red = (one == scene.MISSING_COLOUR).all(axis=-1)
        assert red.sum() == len(plain) / 4 and not (plain == scene.MISSING_COLOUR).all(axis=-1).any()

    def test_without_a_subject_it_is_about_where_the_rig_looks(self):
        rig = ring(4, origin_mm=(1000, 0, 0))
        still = scene.surroundings(rig, np.zeros((0, 3)))
        np.testing.assert_allclose(still.center_mm, rig.working[0])

    @pytest.mark.parametrize(
        ("about", "step"), [(0.9, 1), (140, 100), (180, 200), (430, 500), (800, 1000), (0.013, 0.01)]
    )
    def test_steps_are_round(self, about, step):
        assert scene.nice_step(about) == pytest.approx(step)

    @pytest.mark.parametrize(("mm", "text"), [(500, "50 cm"), (1000, "1 m"), (2, "2 mm"), (0.05, "50 um")])
    def test_lengths_are_said_in_their_unit(self, mm, text):
        assert length(mm) == text


class TestViewpoint:
    def look(self, rig: Rig, points: np.ndarray, forward=(0.0, 1.0, 0.0)):
        still = scene.surroundings(rig, points)
        return still, viewpoint(still, points, None if forward is None else np.array(forward), ASPECT)

    @given(
        st.integers(1, 12),
        st.floats(1500, 8000),
        st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
        st.floats(0, 6.28),
    )
    def test_everything_is_in_the_picture_and_fills_it(self, n, radius, shift, turn):
        points = STANDING_MM + [*shift, 0]
        forward = (np.cos(turn), np.sin(turn), 0)
        still, eye = self.look(on_floor(ring(n, radius_mm=radius, height_mm=1200)), points, forward)
        px = eye.project(np.concatenate([still.corners_mm.reshape(-1, 3), points]), (1280, 960))
        assert np.isfinite(px).all()
        assert (px >= (0.05 * 1280, 0.05 * 960)).all() and (px <= (0.95 * 1280, 0.95 * 960)).all()
        assert (np.ptp(px, axis=0) / (1280, 960)).max() > 0.75

    def test_right_side_up(self):
        _, eye = self.look(on_floor(ring(4)), STANDING_MM)
        nose, ankle = eye.project(STANDING_MM[[0, 15]], (1280, 960))
        assert nose[1] < ankle[1] and abs(nose[0] - ankle[0]) < 100

    def test_the_subject_s_left_is_on_the_right_when_it_is_seen_from_the_front(self):
        _, eye = self.look(on_floor(ring(4)), STANDING_MM)
        left, right = eye.project(STANDING_MM[[5, 6]], (1280, 960))
        assert left[0] > right[0] + 20

    def test_no_camera_stands_before_the_subject(self):
        for n in (1, 2, 3, 4, 6):
            still, eye = self.look(on_floor(ring(n)), STANDING_MM)
            side = still.corners_mm[:, 0] - still.center_mm
            side[:, 2] = 0
            side /= np.linalg.norm(side, axis=-1, keepdims=True)
            front = eye.front * (1, 1, 0) / np.linalg.norm(eye.front[:2])
            assert np.degrees(np.arccos(np.clip(side @ front, -1, 1))).min() > 20

    def test_facing_follows_left_and_right(self):
        up = np.array([0.0, 0, 1])
        for points, forward in ((STANDING_MM, (0, 1, 0)), (STANDING_MM * (-1, -1, 1), (0, -1, 0))):
            found = facing([(subject(points), COCO17)], up)
            assert found is not None
            np.testing.assert_allclose(found, forward, atol=0.02)
        assert facing([], up) is None
        assert facing([(subject(np.full((17, 3), np.nan)), COCO17)], up) is None

    def test_the_nearest_eye_that_sees_all(self):
        points = np.random.default_rng(0).normal(size=(50, 3)) * 1000
        eye = fit(points, np.array([1.0, 0, 0]), np.array([0.0, 0, 1]), ASPECT, margin=1.0)
        px = eye.project(points, (1280, 960))
        assert (px >= -1e-6).all() and (px <= (1280 + 1e-6, 960 + 1e-6)).all()
        edges = [px[:, 0].min(), 1280 - px[:, 0].max(), px[:, 1].min(), 960 - px[:, 1].max()]
        assert sum(edge < 1e-6 for edge in edges) >= 2, "one of both directions is full"


class TestPoses:
    def test_subjects_of_unknown_skeletons_are_left_out(self):
        strange = dataclasses.replace(subject(STANDING_MM), skeleton="octopus")
        pose = pose_set(0, (subject(STANDING_MM), strange))
        assert len(scene.subjects_of(pose, {"coco17": COCO17})) == 1

    def test_the_share_of_joints_is_that_of_the_best_subject(self):
        two = pose_set(0, (subject(STANDING_MM, unseen=tuple(range(17))), subject(STANDING_MM, unseen=(0,))))
        assert scene.shown_share(two) == pytest.approx(16 / 17)
        assert scene.shown_share(pose_set(0)) == 0
