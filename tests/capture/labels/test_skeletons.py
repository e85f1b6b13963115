from __future__ import annotations

import pytest

from capture.labels.skeletons import OPENPOSE, mirrored, skeleton_of, usual_root
from rigpose.errors import ConfigError


@pytest.mark.parametrize(
    "names",
    [
        ("nose", "left_ear", "right_ear"),
        ("nose", "leftear", "rightear"),
        ("Nose", "Ear_L", "Ear_R"),
        ("nose", "LShoulder", "RShoulder"),
        ("nose", "earLeft", "earRight"),
        ("head", "lf-coxa", "rf-coxa"),
        ("head", "L1", "R1"),
    ],
)
def test_sides_are_told_by_names(names: tuple[str, ...]) -> None:
    assert mirrored(names) == ((1, 2),)
    assert mirrored(names[::-1]) == ((1, 0),)


@pytest.mark.parametrize(
    "names", [("tail", "trunk"), ("left_ear", "right_eye"), ("Ear_L1", "Ear_R2"), ("lever", "rever")]
)
def test_what_has_no_other_side_is_in_the_middle(names: tuple[str, ...]) -> None:
    assert mirrored(names) == ()


@pytest.mark.parametrize(
    ("names", "root"),
    [
        (("nose", "pelvis"), (1,)),
        (("nose", "MidHip"), (1,)),
        (("nose", "right_hip", "left_hip"), (2, 1)),
        (("nose", "tail"), (0,)),
    ],
)
def test_the_root_is_told_by_names(names: tuple[str, ...], root: tuple[int, ...]) -> None:
    assert usual_root(names) == root


def test_bones_count_once() -> None:
    skeleton = skeleton_of(("a", "b"), "x", edges=[(0, 1), (1, 0), (0, 0), (0, 1)])
    assert skeleton.edges == ((0, 1),) and skeleton.name == "labelled2"


@pytest.mark.parametrize(
    ("joints", "edges", "problem"),
    [
        ((), (), "names no joints"),
        (("a", "a"), (), "joint 'a' twice"),
        (("a",), ((0, 1),), "between joints 0 and 1 of 1"),
    ],
)
def test_what_cannot_be_is_refused(joints: tuple, edges: tuple, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        skeleton_of(joints, "x", edges=edges)


@pytest.mark.parametrize(
    ("name", "hips"), [("body25", (12, 9)), ("body25b", (11, 12)), ("coco18", (11, 8)), ("mpi15", (11, 8))]
)
def test_skeletons_of_openpose_have_the_hips_where_openpose_has_them(name: str, hips: tuple[int, int]) -> None:
    joints = OPENPOSE[name].joints
    assert (joints.index("left_hip"), joints.index("right_hip")) == hips
    assert all((pair[0], pair[1]) in OPENPOSE[name].left_right for pair in [hips])
