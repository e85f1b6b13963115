"""Parts that share no animal, or lie a gap apart in time."""

from __future__ import annotations

import numpy as np
import pytest

from rigpose.errors import ConfigError
from tests.training.lifting.made import poses
from training.lifting.config import SplitSection
from training.lifting.splits import near, split


def disjoint(parts):
    rows = np.concatenate([parts.train, parts.validation, parts.test])
    return len(np.unique(rows)) == len(rows)


def test_three_animals_are_split_by_animal():
    made = poses(20, animals=5)
    parts = split(made, SplitSection())
    animals = [set(made.subject[rows].tolist()) for rows in (parts.train, parts.validation, parts.test)]
    assert animals[2] == {"animal4"} and animals[1] == {"animal3"} and len(animals[0]) == 3
    assert disjoint(parts) and len(parts.train) == 60


def test_named_animals_judge_and_choose():
    parts = split(poses(10, animals=4), SplitSection(test=("animal0",), validation=("animal2",)))
    assert parts.test.tolist() == list(range(10)) and parts.validation.tolist() == list(range(20, 30))
    with pytest.raises(ConfigError, match="no animal rat"):
        split(poses(10, animals=4), SplitSection(test=("rat",)))
    with pytest.raises(ConfigError, match="test and validation"):
        split(poses(10, animals=4), SplitSection(test=("animal0",), validation=("animal0",)))


@pytest.mark.parametrize("fold", range(5))
@pytest.mark.parametrize("animals", [1, 2])
def test_blocks_of_time_have_a_gap_between_them(fold, animals):
    made = poses(100, animals=animals)
    parts = split(made, SplitSection(folds=5, fold=fold, gap=7))
    assert disjoint(parts) and len(parts.test) == 20 * animals
    for a, b in ((parts.train, parts.test), (parts.train, parts.validation), (parts.validation, parts.test)):
        same = made.subject[a][:, None] == made.subject[b]
        apart = np.abs(made.frame[a][:, None] - made.frame[b])
        assert apart[same].min() > 7


def test_all_folds_together_judge_each_pose_once():
    made = poses(53)
    rows = np.concatenate([split(made, SplitSection(folds=5, fold=fold)).test for fold in range(5)])
    assert sorted(rows.tolist()) == list(range(53))


def test_without_a_fold_nothing_judges():
    parts = split(poses(50), SplitSection(fold=-1, gap=3))
    assert len(parts.test) == 0 and len(parts.train) > 30 and len(parts.validation) > 5


def test_a_gap_that_leaves_nothing_is_an_error():
    with pytest.raises(ConfigError, match="no pose for the train part"):
        split(poses(20), SplitSection(gap=30))


def test_animals_do_not_come_near_each_other():
    made = poses(10, animals=2)
    rows = np.zeros(20, bool)
    rows[9] = True
    assert np.flatnonzero(near(made, rows, 2)).tolist() == [7, 8, 9]
