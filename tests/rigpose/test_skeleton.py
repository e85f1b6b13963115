"""A skeleton refuses indices that it does not have."""

from __future__ import annotations

from typing import Any

import pytest

from rigpose.skeleton import Skeleton

JOINTS = ("nose", "left_eye", "right_eye")


def test_sides_follow_the_pairs() -> None:
    assert Skeleton(name="s", joints=JOINTS, left_right=((1, 2),)).sides == ("middle", "left", "right")


def test_a_root_may_be_one_joint_or_several() -> None:
    assert Skeleton.model_validate({"name": "s", "joints": JOINTS, "root": 1}).root == (1,)
    assert Skeleton.model_validate({"name": "s", "joints": JOINTS, "root": [1, 2]}).root == (1, 2)


@pytest.mark.parametrize(
    "wrong", [{"edges": [[0, 3]]}, {"left_right": [[-1, 0]]}, {"root": 3}, {"root": []}, {"joints": ["a", "a"]}]
)
def test_what_does_not_exist_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="joint"):
        Skeleton.model_validate({"name": "s", "joints": JOINTS, **wrong})
