"""A track follows the subject, gives it up when it cannot be trusted, and can be contradicted."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.config import TrackerSection
from engine.tracker import Quality, Track, quality
from rigpose.pose import SubjectPose

GOOD = Quality(1.0, 1.0, 0.8)
BAD = Quality(0.1, 1.0, 0.1)
BODY = np.array([[0, 0, 0], [200, 0, 0], [0, 300, 0], [0, 0, 1700.0]])


def pose(position: np.ndarray, **changes: Any) -> SubjectPose:
    joints = len(position)
    values: dict[str, Any] = {
        "id": 0,
        "id_confidence": 1.0,
        "skeleton": "s",
        "state": "tracked",
        "position_mm": position,
        "covariance_mm2": np.ones((joints, 6)),
        "confidence": np.full(joints, 0.8),
        "views": np.full(joints, 3, np.uint32),
        "residual_px": np.full((2, joints), 4.0),
        "how": np.ones(joints, np.uint8),
        "reason": np.zeros(joints, np.uint8),
    }
    return SubjectPose(**{**values, **changes})


def track(**config: Any) -> Track:
    result = Track(TrackerSection(**config), (192, 192), 1.25)
    result.begin(pose(BODY), 0, GOOD)
    return result


def flat(position: np.ndarray) -> np.ndarray:
    return np.stack([position[:, [0, 2]] / 4 + 300, position[:, [1, 2]] / 4 + 300])


def test_a_subject_that_walks_is_expected_further_on() -> None:
    following = track()
    for tick in range(1, 12):
        following.update(pose(BODY + [10 * tick, 0, 0]), tick, GOOD)
    np.testing.assert_allclose(following.predict(12) - following.predict(11), [[10, 0, 0]] * 4, atol=0.1)


def test_a_joint_that_is_not_measured_moves_with_the_others() -> None:
    following = track()
    position = BODY + [50.0, 0, 0]
    position[3] = np.nan
    following.update(pose(position), 1, GOOD)
    assert np.isfinite(following.positions_mm).all()


def test_the_crop_holds_every_joint_with_margin() -> None:
    points = flat(BODY)
    for crop, view in zip(track().crops(points, [(2000, 2000)] * 2), points, strict=True):
        assert crop is not None
        inside = (view - crop.center) / crop.scale
        assert np.abs(inside).max() < 96 and np.ptp(inside, axis=0).max() * 1.25 > 191


def test_a_view_that_is_absent_or_does_not_see_the_subject_gets_no_crop() -> None:
    points = np.concatenate([flat(BODY), flat(BODY)[:1] + 5000])
    crops = track().crops(points, [None, (2000, 2000), (2000, 2000)])
    assert crops[0] is None and crops[1] is not None and crops[2] is None


def test_a_view_that_never_saw_a_joint_gets_no_crop_and_joints_without_a_place_do_not_move_it() -> None:
    points = np.concatenate([flat(BODY), np.full((1, 4, 2), np.nan)])
    whole = track().crops(points, [(2000, 2000)] * 3)
    assert whole[0] is not None and whole[2] is None
    points[0, 1] = np.nan  # the crop of view 0 is as high as before: joint 1 lies between the others
    assert track().crops(points, [(2000, 2000)] * 3)[0].scale == whole[0].scale  # type: ignore[union-attr]


@given(st.lists(st.floats(0, 20), min_size=1, max_size=12))
def test_the_residual_of_a_pose_is_the_median_of_its_joints(residuals: list[float]) -> None:
    joints = len(residuals)
    seen = pose(np.zeros((joints, 3)), residual_px=np.array([residuals, [np.nan] * joints]))
    assert quality(seen, np.full(2, 2.0)).residual_sigma == np.median(residuals) / 2


def test_one_set_with_few_joints_does_not_cut_the_subject() -> None:
    following = track()
    before = following.crops(flat(BODY), [(2000, 2000)] * 2)[0]
    after = following.crops(flat(BODY) * [1, 0.1] + [0, 300], [(2000, 2000)] * 2)[0]
    assert before is not None and after is not None and after.scale >= 0.9 * before.scale


def test_it_is_lost_after_so_many_bad_sets_in_a_row_and_not_before() -> None:
    following = track(lost_after=3)
    assert following.update(pose(BODY), 1, BAD) and following.update(pose(BODY), 2, BAD)
    assert following.update(pose(BODY), 3, GOOD), "a good set begins the count anew"
    assert following.update(pose(BODY), 4, BAD) and following.update(pose(BODY), 5, BAD)
    assert not following.update(pose(BODY), 6, BAD)
    assert not following.active


def test_a_bad_set_does_not_move_the_track() -> None:
    following = track()
    following.update(pose(BODY + 900), 1, BAD)
    np.testing.assert_array_equal(following.positions_mm, BODY)


def test_the_finder_contradicts_only_with_a_better_subject_elsewhere() -> None:
    following = track()
    elsewhere = pose(BODY + [3000, 0, 0])
    own = pose(BODY)
    assert following.contradicted_by(elsewhere, Quality(1.0, 1.0, 0.9), own)
    assert not following.contradicted_by(elsewhere, Quality(1.0, 1.0, 0.7), own), "it is less sure"
    assert not following.contradicted_by(pose(BODY + 20), Quality(1.0, 1.0, 0.9), own), "it sees the same"
    assert not following.contradicted_by(elsewhere, Quality(0.2, 1.0, 0.9), own), "it is no subject"


def test_quality_is_in_units_of_each_views_noise() -> None:
    residual = np.stack([np.full(4, 8.0), np.full(4, 2.0)])
    assert quality(pose(BODY, residual_px=residual), np.array([4.0, 1.0])).residual_sigma == 2.0
    nothing = pose(np.full((4, 3), np.nan))
    assert quality(nothing, np.ones(2)) == Quality(0.0, np.inf, 0.0)


def test_a_joint_beside_a_camera_does_not_blow_up_its_crop() -> None:
    following = track()
    points = flat(BODY)
    points[1, 0] = 1e9, -1e12
    wide = following.crops(points, [(640, 480), (640, 480)])
    assert all(crop is not None and crop.scale * 192 <= 3 * 640 * 1.25 for crop in wide)
    for _ in range(20):
        crops = following.crops(flat(BODY), [(640, 480), (640, 480)])
    assert crops[0] is not None and crops[1] is not None and crops[1].scale < 1.1 * crops[0].scale, "soon as before"
