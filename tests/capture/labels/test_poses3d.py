"""3D poses as values: what they refuse, and what taking and putting together does."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from capture.labels.poses3d import PAUSE, Poses3D, concatenate
from rigpose.errors import ConfigError
from rigpose.skeleton import Skeleton
from tests.calib.formats.rigs import rig_of

SKELETON = Skeleton(name="arm", joints=("shoulder", "elbow", "wrist"), edges=((0, 1), (1, 2)))
LENS = (0.0, 0.0, 0.0, 0.0, 0.0)


def both_of(*parts) -> Any:
    return concatenate(parts)


def poses(n=4, **more) -> Any:
    rng = np.random.default_rng(n)
    position = rng.normal(0, 30, (n, 3, 3))
    rig = rig_of(LENS, LENS)
    px = np.stack([camera.project(position) for camera in rig.cameras], axis=1)
    values = {"skeleton": SKELETON, "position_mm": position, "rig": rig, "points2d": px}
    return Poses3D(**{**values, "confidence": np.full((n, 2, 3), 0.5), "rate_hz": 50.0, "source": "made", **more})


class TestWhatItRefuses:
    @pytest.mark.parametrize(
        ("changed", "says"),
        [
            ({"position_mm": np.zeros((4, 3, 2))}, "position_mm"),
            ({"position_mm": np.zeros((4, 5, 3))}, "position_mm"),
            ({"points2d": np.zeros((4, 3, 3, 2))}, "points2d"),
            ({"rig": None}, "without a rig"),
            ({"points2d": None}, "confidence without points2d"),
            ({"confidence": np.full((4, 2, 3), 1.5)}, "0..1"),
            ({"frame": np.array([0, 1, 1, 2])}, "do not rise"),
            ({"frame": np.arange(4.0)}, "whole numbers"),
            ({"subject": np.array(["a", "b"])}, "subject"),
            ({"rate_hz": 0.0}, "rate"),
        ],
    )
    def test_values_that_do_not_go_together(self, changed, says):
        with pytest.raises(ValueError, match=says):
            poses(**changed)


def test_half_a_joint_is_none():
    position = np.zeros((2, 3, 3))
    position[0, 1, 2] = np.nan
    made = poses(2, position_mm=position)
    assert np.isnan(made.position_mm[0, 1]).all()
    np.testing.assert_array_equal(made.there, [[True, False, True], [True, True, True]])


def test_what_was_not_seen_has_no_confidence():
    px = poses().points2d.copy()
    px[1, 0, 2, 0] = np.nan
    made = poses(points2d=px)
    assert np.isnan(made.points2d[1, 0, 2]).all()
    assert made.confidence[1, 0, 2] == 0 and made.confidence[1, 0, 1] == 0.5


def test_frames_of_two_subjects_may_be_the_same():
    made = poses(frame=np.array([3, 3, 4, 4]), subject=np.array(["a", "b", "a", "b"]))
    assert made.subjects == ("a", "b")


def test_taking_some_takes_all_that_belongs_to_them():
    made = poses(5, subject=np.array([1, 1, 1, 2, 2]))
    some = made.take(made.subject == 2)
    np.testing.assert_array_equal(some.position_mm, made.position_mm[3:])
    np.testing.assert_array_equal(some.points2d, made.points2d[3:])
    np.testing.assert_array_equal(some.frame, [3, 4])
    assert some.subjects == (2,) and some.rate_hz == 50


def test_it_reprojects():
    made = poses()
    off = made.points2d + np.array([3.0, 4.0])
    np.testing.assert_allclose(replace(made, points2d=off).reprojection_px(), 5.0)
    assert made.without_views().reprojection_px() is None


class TestConcatenate:
    def test_recordings_of_one_subject_lie_apart(self):
        a, b = poses(3, subject=np.full(3, "rat")), poses(4, subject=np.full(4, "rat"))
        both = both_of(a, b)
        np.testing.assert_array_equal(both.frame, [0, 1, 2, *(2 + PAUSE + np.arange(4))])
        np.testing.assert_array_equal(both.position_mm[3:], b.position_mm)
        np.testing.assert_array_equal(both.points2d[:3], a.points2d)
        assert both.subjects == ("rat",) and both.confidence.shape == (7, 2, 3)

    def test_subjects_keep_their_frames(self):
        both = both_of(poses(3, subject=np.full(3, "a")), poses(3, subject=np.full(3, 2)))
        np.testing.assert_array_equal(both.frame, [0, 1, 2, 0, 1, 2])
        assert both.subjects == ("a", "2")

    def test_other_joints_rates_or_cameras_are_refused(self):
        other = Skeleton(name="leg", joints=("hip", "knee", "ankle"))
        with pytest.raises(ConfigError, match="other joints"):
            concatenate([poses(), poses(skeleton=other)])
        with pytest.raises(ConfigError, match="frames a second"):
            concatenate([poses(), poses(rate_hz=25.0)])
        with pytest.raises(ConfigError, match="other cameras"):
            concatenate([poses(), poses().without_views()])
        assert len(concatenate([poses().without_views(), poses().without_views()])) == 8
