"""Where the cube stands: at the last root, and in a direction that is not known, where it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.base import KNOWN_SHARE, Base
from rigpose.pose import SubjectPose

UNIT, SECOND = 3000.0, 1_000_000_000
SURE = (100.0, 0, 0, 100, 0, 100)


def pose(root: Any, covariance: Any = SURE, predicted: Any = None) -> SubjectPose:
    """One with three joints, of which the first two are the root, each 10 mm to one side of it along y."""
    position = np.array([root, root, (0, 0, 0)], float) + [[0, 10, 0], [0, -10, 0], [0, 0, 0]]
    joints = len(position)
    return SubjectPose(
        id=0,
        id_confidence=1.0,
        skeleton="three",
        state="tracked",
        position_mm=position,
        covariance_mm2=np.tile(np.array(covariance, float), (joints, 1)),
        confidence=np.ones(joints),
        views=np.zeros(joints, np.uint32),
        residual_px=np.zeros((1, joints)),
        how=np.ones(joints, np.uint8),
        reason=np.zeros(joints, np.uint8),
        predicted_mm=None if predicted is None else np.array(predicted, float),
    )


@pytest.fixture
def base() -> Base:
    return Base((0, 1), UNIT, keep_s=2.0)


def test_it_is_the_mean_of_the_roots_joints(base: Base) -> None:
    assert base.at(0) is None
    base.begin(pose((100, 200, 300)), 0)
    assert base.at(0) == pytest.approx([100, 200, 300])
    base.update(pose((150, 200, 300)), SECOND)
    assert base.at(SECOND) == pytest.approx([150, 200, 300])


def test_along_a_direction_that_is_not_known_it_stays(base: Base) -> None:
    base.begin(pose((0, 0, 0)), 0)
    # Unsure along (1, 1, 0), and there alone.
    far = (2 * KNOWN_SHARE * UNIT) ** 2 / 2
    base.update(pose((100, 20, 30), (far + 50, far - 50, 0, far + 50, 0, 100)), 1)
    assert base.at(1) == pytest.approx([40, -40, 30], abs=0.01)


def test_it_ages_from_when_it_was_last_known_in_all_directions(base: Base) -> None:
    base.begin(pose((0, 0, 0)), 0)
    base.update(pose((10, 0, 0), (1e7, 0, 0, 100, 0, 100)), SECOND)
    assert base.at(2 * SECOND) is not None and base.at(2 * SECOND + 1) is None
    base.update(pose((10, 0, 0)), 3 * SECOND)
    assert base.at(5 * SECOND) is not None


def test_it_does_not_begin_with_what_is_not_known(base: Base) -> None:
    base.begin(pose((0, 0, 0), (1e7, 0, 0, 100, 0, 100)), 0)
    assert base.at(0) is None
    base.begin(pose((np.nan, 0, 0)), 0)
    assert base.at(0) is None


def test_a_pose_without_a_root_changes_nothing_and_a_predicted_root_will_do(base: Base) -> None:
    base.begin(pose((5, 5, 5)), 0)
    base.update(pose((np.nan, np.nan, np.nan)), SECOND)
    assert base.at(SECOND) == pytest.approx([5, 5, 5])
    hidden = np.full(3, np.nan)
    base.update(pose(hidden, predicted=[(7, 8, 9), (7, 8, 9), hidden]), SECOND)
    assert base.at(SECOND) == pytest.approx([7, 8, 9])


def test_another_subject_begins_anew(base: Base) -> None:
    base.begin(pose((5, 5, 5)), 0)
    base.begin(pose((np.nan, 0, 0)), 1)
    assert base.at(1) is None
    base.begin(pose((5, 5, 5)), 0)
    base.end()
    assert base.at(0) is None
