"""A rig set on the floor: the same cameras, z up, the scale that is known, and refusals where it would be wrong."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calib.origin import from_board
from calib.origin_points import NamedPoint, from_lengths, from_points
from calib.quality import judge
from calib.rig import Rig, read_rig, write_rig
from calib.world import Transform, moved_world
from rigpose.errors import ConfigError, VerdictError
from tests.calib.scenes import ring

COLUMNS, ROWS, SQUARE = 7, 5, 80.0


def board():
    x, y = np.meshgrid(np.arange(COLUMNS), np.arange(ROWS))
    return np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=-1) * SQUARE


def on_floor(target, at=(-200.0, 150.0, 0.0), turned=0.4):
    """The board's points on the floor of the true world, print up: z of the board points down."""
    c, s = np.cos(turned), np.sin(turned)
    return target @ (np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]) @ np.diag([1.0, -1, -1])).T + at


def elsewhere(rig, seed=1, scale=1.0, world="camera:cam0"):
    """The same cameras in a world that nobody knows."""
    rng = np.random.default_rng(seed)
    R = cv2.Rodrigues(rng.normal(size=3))[0]
    moved = moved_world(rig, Transform(R, rng.normal(size=3) * 1000, scale), world, "test")
    return Rig(moved.cameras, {"world": world})


def seen(rig, points, noise=0.0, seed=0):
    px = np.stack([camera.project(points) for camera in rig.cameras])
    return px + np.random.default_rng(seed).normal(0, noise, px.shape) if noise else px


TRUE = ring(4, height_mm=1500)
FLOOR_POINTS = on_floor(board())


class TestFromBoard:
    def test_cameras_stand_where_they_stand(self):
        lost = elsewhere(TRUE)
        placed = from_board(lost, seen(TRUE, FLOOR_POINTS), board())
        heights = [placed.heights_mm[c.name] for c in TRUE.cameras]
        np.testing.assert_allclose(heights, [c.center_mm[2] for c in TRUE.cameras], atol=0.1)
        assert placed.residual_px < 0.01
        assert placed.scale == 1.0
        # The first corner is the origin, x runs along the columns, y against the rows, z up.
        c, s = np.cos(0.4), np.sin(0.4)
        expected = (TRUE.cameras[0].center_mm - FLOOR_POINTS[0]) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        np.testing.assert_allclose(placed.rig.cameras[0].center_mm, expected, atol=0.1)

    def test_is_a_new_calibration_that_names_its_parent(self, tmp_path):
        lost = elsewhere(TRUE)
        new = from_board(lost, seen(TRUE, FLOOR_POINTS), board()).rig
        assert new.metadata["parent"] == lost.calibration_id
        assert new.metadata["world"] == "floor"
        assert new.calibration_id != lost.calibration_id
        assert "board" in new.metadata["origin"]["how"]
        write_rig(new, tmp_path / "floor.toml")
        again = read_rig(tmp_path / "floor.toml")
        assert again.calibration_id == new.calibration_id
        assert judge(again).verdict == "good"

    def test_the_cameras_see_the_same(self):
        lost = elsewhere(TRUE)
        new = from_board(lost, seen(TRUE, FLOOR_POINTS), board()).rig
        points = np.random.default_rng(0).normal(size=(9, 3)) * 300
        old_points = TRUE.cameras[0].center_mm * 0 + points
        np.testing.assert_allclose(
            seen(lost, _in(lost, TRUE, old_points)), seen(new, _in(new, TRUE, old_points)), atol=1e-6
        )

    def test_noise_costs_little(self):
        heights = []
        for seed in range(5):
            placed = from_board(elsewhere(TRUE), seen(TRUE, FLOOR_POINTS, 0.5, seed), board())
            heights.append([placed.heights_mm[c.name] - c.center_mm[2] for c in TRUE.cameras])
        assert np.abs(heights).max() < 40
        assert placed.residual_px < 1

    def test_a_board_with_a_thickness_lies_on_it(self):
        raised = on_floor(board(), at=(-200.0, 150.0, 20.0))
        placed = from_board(elsewhere(TRUE), seen(TRUE, raised), board(), thickness_mm=20.0)
        heights = [placed.heights_mm[c.name] for c in TRUE.cameras]
        np.testing.assert_allclose(heights, [c.center_mm[2] for c in TRUE.cameras], atol=0.1)

    def test_several_moments_of_a_board_that_lies_still(self):
        px = np.stack([seen(TRUE, FLOOR_POINTS, 0.3, seed) for seed in range(6)], axis=1)
        px[1, 2:] = np.nan
        assert from_board(elsewhere(TRUE), px, board()).residual_px < 0.5

    def test_a_board_that_moves_is_refused(self):
        px = np.stack([seen(TRUE, on_floor(board(), at=(50.0 * k, 0, 0))) for k in range(4)], axis=1)
        with pytest.raises(ConfigError, match="moves by"):
            from_board(elsewhere(TRUE), px, board())

    def test_another_board_is_refused(self):
        # The same number of points in rows of another length.
        x, y = np.meshgrid(np.arange(ROWS), np.arange(COLUMNS))
        other = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=-1) * SQUARE
        with pytest.raises(ConfigError, match="does not fit"):
            from_board(elsewhere(TRUE), seen(TRUE, FLOOR_POINTS), other, scale="set")

    def test_nobody_sees_it(self):
        with pytest.raises(ConfigError, match="no camera sees it"):
            from_board(TRUE, np.full((4, 35, 2), np.nan), board())

    def test_the_middle_as_origin(self):
        placed = from_board(elsewhere(TRUE), seen(TRUE, FLOOR_POINTS), board(), at="middle")
        middle = np.mean(seen(TRUE, FLOOR_POINTS.mean(axis=0)[None]), axis=1)
        np.testing.assert_allclose(seen(placed.rig, np.zeros((1, 3)))[:, 0], middle, atol=0.05)


def _in(rig, true, points):
    """Points of the true world in the world of the same cameras elsewhere."""
    a, b = true.cameras[0], rig.cameras[0]
    scale = np.linalg.norm(rig.cameras[1].center_mm - b.center_mm) / np.linalg.norm(
        true.cameras[1].center_mm - a.center_mm
    )
    return (scale * (points @ a.R.T + a.t) - b.t) @ b.R


class TestScaleFromBoard:
    def test_a_rig_that_is_too_small_is_not_used_unasked(self):
        with pytest.raises(ConfigError, match=r"5\.\d % too small.*--scale set or --scale keep"):
            from_board(elsewhere(TRUE, scale=0.95), seen(TRUE, FLOOR_POINTS), board())

    def test_set(self):
        placed = from_board(elsewhere(TRUE, scale=0.95), seen(TRUE, FLOOR_POINTS), board(), scale="set")
        assert placed.scale == pytest.approx(1 / 0.95, rel=1e-4)
        heights = [placed.heights_mm[c.name] for c in TRUE.cameras]
        np.testing.assert_allclose(heights, [c.center_mm[2] for c in TRUE.cameras], atol=0.5)

    def test_keep(self):
        placed = from_board(elsewhere(TRUE, scale=0.95), seen(TRUE, FLOOR_POINTS), board(), scale="keep")
        assert placed.scale == 1.0
        heights = [placed.heights_mm[c.name] for c in TRUE.cameras]
        np.testing.assert_allclose(heights, [0.95 * c.center_mm[2] for c in TRUE.cameras], rtol=0.02)
        assert placed.scale_seen == pytest.approx(1 / 0.95, rel=1e-3)

    def test_the_working_distance_scales_with_it(self):
        lost = elsewhere(TRUE, scale=0.5)
        lost = replace(lost, metadata={**lost.metadata, "working_distance_mm": 2000.0})
        placed = from_board(lost, seen(TRUE, FLOOR_POINTS), board(), scale="set")
        assert placed.rig.metadata["working_distance_mm"] == pytest.approx(4000, rel=1e-3)


class TestBelowTheFloor:
    def test_a_mirrored_numbering_is_refused_with_its_cause(self):
        # The columns counted from right to left, as in a mirrored picture.
        mirrored = board()
        mirrored[:, 0] = mirrored[:, 0].max() - mirrored[:, 0]
        with pytest.raises(VerdictError, match=r"below the floor.*upside down.*mirrored"):
            from_board(elsewhere(TRUE), seen(TRUE, FLOOR_POINTS), mirrored)

    def test_a_print_that_faces_down_does_not_face_up(self):
        with pytest.raises(VerdictError, match="all cameras stand below the floor"):
            from_board(elsewhere(TRUE), seen(TRUE, FLOOR_POINTS), board(), face="down")

    def test_cameras_below_a_glass_floor(self):
        low = ring(2, height_mm=-900)
        mixed = Rig((*TRUE.cameras, *(replace(c, name=f"low{k}") for k, c in enumerate(low.cameras))))
        px = seen(mixed, FLOOR_POINTS)
        with pytest.raises(VerdictError, match=r"low0, low1.*--transparent-floor"):
            from_board(elsewhere(mixed), px, board())
        placed = from_board(elsewhere(mixed), px, board(), transparent_floor=True)
        assert judge(placed.rig).verdict == "good"


class TestOneView:
    def test_clear_when_near_and_slanted(self):
        near = ring(2, radius_mm=900, height_mm=600)
        px = seen(near, FLOOR_POINTS, 0.2)
        px[1] = np.nan
        placed = from_board(elsewhere(near), px, board())
        assert placed.heights_mm["cam0"] == pytest.approx(near.cameras[0].center_mm[2], rel=0.03)
        assert "only cam0" in placed.notes[0]

    def test_ambiguous_when_far(self):
        far = ring(2, radius_mm=12_000, height_mm=9000, focal_px=1400)
        px = seen(far, FLOOR_POINTS, 0.5)
        px[1] = np.nan
        with pytest.raises(ConfigError, match="two poses explain it"):
            from_board(elsewhere(far), px, board())


def named(rig, places, noise=0.0, world=False):
    rng = np.random.default_rng(3)
    points = []
    for name, at in places.items():
        px = {c.name: tuple(c.project(np.array(at, float)) + rng.normal(0, noise, 2)) for c in rig.cameras}
        points.append(NamedPoint(name, px, (float(at[0]), float(at[1]), float(at[2])) if world else None))
    return points


AXES = {"origin": (0, 0, 0), "x": (800, 0, 0), "y": (300, 700, 0), "floor1": (-400, 300, 0), "floor2": (-200, -500, 0)}


class TestFromPoints:
    @pytest.mark.parametrize("names", [("origin", "x", "y"), tuple(AXES)])
    def test_axes(self, names):
        placed = from_points(elsewhere(TRUE), named(TRUE, {n: AXES[n] for n in names}))
        for new, true in zip(placed.rig.cameras, TRUE.cameras, strict=True):
            np.testing.assert_allclose(new.center_mm, true.center_mm, atol=0.1)

    def test_without_y_the_cameras_say_what_is_up(self):
        names = ("origin", "x", "floor1", "floor2")
        placed = from_points(elsewhere(TRUE), named(TRUE, {n: AXES[n] for n in names}))
        np.testing.assert_allclose(placed.rig.cameras[2].center_mm, TRUE.cameras[2].center_mm, atol=0.1)

    def test_exchanged_axes_are_refused(self):
        places = {"origin": (0, 0, 0), "x": (0, 800, 0), "y": (800, 0, 0)}
        with pytest.raises(VerdictError, match="x and y are exchanged"):
            from_points(elsewhere(TRUE), named(TRUE, places))

    def test_known_positions(self):
        places = {"a": (0, 0, 0), "b": (900, 0, 0), "c": (0, 700, 0), "top": (100, 200, 600)}
        placed = from_points(elsewhere(TRUE, scale=0.4), named(TRUE, places, world=True), scale="set")
        assert placed.scale == pytest.approx(2.5, rel=1e-4)
        for new, true in zip(placed.rig.cameras, TRUE.cameras, strict=True):
            np.testing.assert_allclose(new.center_mm, true.center_mm, atol=0.5)

    def test_known_positions_with_noise_and_the_scale_kept(self):
        places = {f"p{k}": p for k, p in enumerate(np.random.default_rng(0).uniform(-700, 700, (8, 3)))}
        placed = from_points(elsewhere(TRUE), named(TRUE, places, noise=1.0, world=True))
        assert placed.scale == 1.0
        for new, true in zip(placed.rig.cameras, TRUE.cameras, strict=True):
            np.testing.assert_allclose(new.center_mm, true.center_mm, atol=15)
        assert 0.2 < placed.residual_px < 3

    def test_a_point_that_is_another_place_in_one_view_is_named(self):
        places = {f"p{k}": p for k, p in enumerate(np.random.default_rng(0).uniform(-700, 700, (8, 3)))}
        points = named(TRUE, places, noise=0.5, world=True)
        points[3] = replace(points[3], px={**points[3].px, "cam1": (100.0, 100.0)})
        placed = from_points(elsewhere(TRUE), points, scale="keep")
        assert any("p3" in note for note in placed.notes)

    @pytest.mark.parametrize(
        ("names", "words"),
        [(("origin", "x"), "two points fix no floor"), (("x", "y", "floor1"), "no point named origin")],
    )
    def test_what_lacks_is_said(self, names, words):
        with pytest.raises(ConfigError, match=words):
            from_points(TRUE, named(TRUE, {n: AXES[n] for n in names}))

    def test_points_in_one_line(self):
        places = {"origin": (0, 0, 0), "x": (400, 0, 0), "y": (800, 0, 0)}
        with pytest.raises(ConfigError, match="one line"):
            from_points(TRUE, named(TRUE, places))

    def test_one_view_is_not_enough(self):
        points = named(TRUE, AXES)
        points[1] = replace(points[1], px={"cam0": points[1].px["cam0"]})
        with pytest.raises(ConfigError, match="x: is not seen by two"):
            from_points(TRUE, points)


class TestFromLengths:
    PLACES = {"a": (0, 0, 0), "b": (1000, 0, 0), "c": (0, 500, 0)}

    def test_scale_alone(self):
        half = elsewhere(TRUE, scale=0.5)
        placed = from_lengths(half, named(TRUE, self.PLACES), [("a", "b", 1000.0)])
        assert placed.scale == pytest.approx(2.0, rel=1e-6)
        assert placed.rig.metadata["world"] == half.metadata["world"]
        assert placed.rig.metadata["parent"] == half.calibration_id

    def test_two_cameras_and_a_tape(self):
        half = elsewhere(TRUE, scale=0.5)
        true = float(np.linalg.norm(TRUE.cameras[0].center_mm - TRUE.cameras[2].center_mm))
        assert from_lengths(half, [], [("cam0", "cam2", true)]).scale == pytest.approx(2.0, rel=1e-9)

    def test_contradictions_are_refused(self):
        with pytest.raises(ConfigError, match="contradict"):
            from_lengths(TRUE, named(TRUE, self.PLACES), [("a", "b", 1000.0), ("a", "c", 600.0)])

    def test_a_name_that_is_not_there(self):
        with pytest.raises(ConfigError, match="no point d"):
            from_lengths(TRUE, named(TRUE, self.PLACES), [("a", "d", 1000.0)])


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
def test_any_change_of_world_leaves_every_picture_as_it_is(seed, scale):
    rng = np.random.default_rng(seed)
    transform = Transform(cv2.Rodrigues(rng.normal(size=3))[0], rng.normal(size=3) * 5000, scale)
    rig = ring(3, dist=(-0.2, 0.05, 0.001, -0.001, 0.01))
    points = rng.uniform(-500, 500, (7, 3))
    moved = moved_world(rig, transform, "floor", "test")
    np.testing.assert_allclose(seen(moved, transform.points(points)), seen(rig, points), atol=1e-6)
