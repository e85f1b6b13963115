"""What a volumetric graph returned is published as it is, marked by the views that bear it out, or given up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from calib.rig import Rig
from calib.triangulate import triangulate_with_residuals
from engine.config import SolveSection
from engine.solve import Observation, Solver
from engine.solve_volume import MAX_LIFTED_SHARE, VolumeSolver
from rigpose.pose import (
    BEHIND_CAMERA,
    LIFTED,
    MEASURED,
    NONE,
    NOT_SEEN,
    ONE_VIEW,
    PREDICTED,
    RESIDUAL,
    TRIANGULATED,
    UNCERTAIN,
    SubjectPose,
)
from tests.calib.scenes import cloud, ring, views

SIGMA, MIN_SCORE, JOINTS = 4.0, 0.3, 6
ROUND = (400.0, 0, 0, 400, 0, 400)


@pytest.fixture(scope="module")
def rig() -> Rig:
    return ring(4)


def volume_says(rig: Rig, position: np.ndarray, px: np.ndarray, confidence: np.ndarray) -> Observation:
    residual = np.linalg.norm(views(rig, position) - px, axis=-1)
    return Observation(
        px, confidence, position, residual, np.full(len(rig), SIGMA), np.tile(np.array(ROUND), (len(position), 1))
    )


@pytest.fixture
def seen(rig: Rig) -> Observation:
    """Joints 8 mm from where the views have them, all of which see them."""
    truth = cloud(rig, JOINTS, 400, 0)
    return volume_says(rig, truth + (8, 0, 0), views(rig, truth), np.full((4, JOINTS), 0.8))


def solve(rig: Rig, seen: Observation, **config: Any) -> SubjectPose:
    return VolumeSolver(rig.arrays(), SolveSection(**config), MIN_SCORE).solve(seen)


def hidden(seen: Observation, joint: int, *lost: int) -> Observation:
    """The views ``lost`` do not see a joint."""
    confidence = np.array(seen.confidence)
    confidence[list(lost), joint] = 0.1
    return replace(seen, confidence=confidence)


def test_the_volumes_own_answer_is_published(rig: Rig, seen: Observation) -> None:
    pose = solve(rig, seen)
    np.testing.assert_allclose(pose.position_mm, np.asarray(seen.position_mm, np.float32))
    np.testing.assert_allclose(pose.covariance_mm2, np.tile(ROUND, (JOINTS, 1)))
    np.testing.assert_allclose(pose.residual_px, np.asarray(seen.residual_px), rtol=1e-5)
    assert (pose.how == TRIANGULATED).all() and (pose.reason == MEASURED).all() and (pose.views == 0b1111).all()
    assert pose.predicted_mm is None and pose.confidence == pytest.approx(0.8)
    assert [str(array.dtype) for array in (pose.position_mm, pose.views, pose.how)] == ["float32", "uint32", "uint8"]


def test_how_follows_from_the_views_that_see_it(rig: Rig, seen: Observation) -> None:
    seen = hidden(hidden(hidden(seen, 0, 2, 3), 1, 0, 2, 3), 2, 0, 1, 2, 3)
    pose = solve(rig, seen)
    assert pose.how.tolist() == [TRIANGULATED, LIFTED, PREDICTED] + [TRIANGULATED] * 3
    assert pose.views[:3].tolist() == [0b0011, 0b0010, 0]
    assert pose.reason[:3].tolist() == [MEASURED, MEASURED, NOT_SEEN]


def test_what_no_view_sees_is_no_measurement_and_stands_beside(rig: Rig, seen: Observation) -> None:
    pose = solve(rig, hidden(seen, 2, 0, 1, 2, 3))
    assert np.isnan(pose.position_mm[2]).all() and not pose.measured[2] and pose.confidence[2] == 0
    assert pose.predicted_mm is not None and seen.position_mm is not None
    np.testing.assert_allclose(pose.predicted_mm[2], seen.position_mm[2], rtol=1e-6)
    assert np.isnan(np.delete(pose.predicted_mm, 2, axis=0)).all()
    np.testing.assert_allclose(pose.covariance_mm2[2], ROUND)


def test_a_view_that_contradicts_is_left_out_and_still_reported(rig: Rig, seen: Observation) -> None:
    px = np.array(seen.points)
    px[2, 3] += (150, -80)
    assert seen.position_mm is not None
    pose = solve(rig, volume_says(rig, seen.position_mm, px, np.asarray(seen.confidence)))
    assert pose.views[3] == 0b1011 and pose.how[3] == TRIANGULATED and pose.residual_px[2, 3] > 100


def test_a_volume_that_most_views_contradict_is_not_believed(rig: Rig, seen: Observation) -> None:
    px = np.array(seen.points)
    px[1:, 3] += 150
    assert seen.position_mm is not None
    pose = solve(rig, volume_says(rig, seen.position_mm, px, np.asarray(seen.confidence)))
    assert (pose.how[3], pose.reason[3], pose.views[3]) == (NONE, RESIDUAL, 0)
    assert np.isnan(pose.position_mm[3]).all() and np.isnan(pose.covariance_mm2[3]).all()


def test_what_lies_behind_a_view_that_sees_it_is_given_up(rig: Rig, seen: Observation) -> None:
    seen = hidden(seen, 4, 0, 2, 3)
    residual = np.array(seen.residual_px)
    residual[1, 4] = np.nan
    assert solve(rig, replace(seen, residual_px=residual)).reason[4] == BEHIND_CAMERA


@pytest.mark.parametrize(
    ("lost", "how", "limit"), [((), TRIANGULATED, "max_sigma_mm"), ((0, 2, 3), LIFTED, "max_lifted_sigma_mm")]
)
def test_each_kind_has_a_limit_of_its_own(
    rig: Rig, seen: Observation, lost: tuple[int, ...], how: int, limit: str
) -> None:
    seen = hidden(seen, 0, *lost)
    covariance = np.array(seen.covariance_mm2)
    # 100 mm along (1, 1, 0), no more along any axis than 71.
    covariance[0] = (5050, 4950, 0, 5050, 0, 100)
    seen = replace(seen, covariance_mm2=covariance)
    below, above = (solve(rig, seen, **{limit: value}) for value in (101.0, 99.0))
    assert below.how[0] == how and below.reason[0] == MEASURED
    assert above.how[0] == NONE and above.reason[0] == UNCERTAIN and np.isnan(above.position_mm[0]).all()


def test_one_view_may_be_less_sure_than_several(rig: Rig) -> None:
    solver = VolumeSolver(rig.arrays(), SolveSection(), MIN_SCORE)
    unit = float(rig.arrays().world[3])
    assert solver.max_lifted_sigma_mm == pytest.approx(MAX_LIFTED_SHARE * unit) and solver.max_sigma_mm < 0.05 * unit


def test_a_cube_without_a_middle_leaves_it_to_the_keypoints(rig: Rig, seen: Observation) -> None:
    nowhere = np.full((JOINTS, 3), np.nan)
    seen = hidden(seen, 5, 0, 1, 2)
    pose = solve(rig, replace(seen, position_mm=nowhere, covariance_mm2=np.full((JOINTS, 6), np.nan)))
    want = Solver(rig.arrays(), SolveSection(), MIN_SCORE).solve(seen.points_only())
    np.testing.assert_array_equal(pose.position_mm, want.position_mm)
    assert pose.measured[:5].all() and pose.reason[5] == ONE_VIEW


def test_keypoints_that_came_without_a_volume_are_triangulated(rig: Rig, seen: Observation) -> None:
    points, confidence = np.asarray(seen.points), np.asarray(seen.confidence)
    position, residual = triangulate_with_residuals(points, confidence, rig.arrays())
    sent = Observation(points, confidence, position, residual, seen.sigma_px)
    pose = solve(rig, sent)
    np.testing.assert_allclose(pose.position_mm, cloud(rig, JOINTS, 400, 0), atol=0.01)
    assert (pose.how == TRIANGULATED).all()
