"""What joint names tell: which mirror each other, where the root is; and the skeletons that OpenPose does not name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rigpose.errors import ConfigError
from rigpose.skeleton import Pair, Skeleton

_OTHER = {"left": "right", "l": "r", "lf": "rf", "lm": "rm", "lh": "rh"}
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def skeleton_of(
    joints: Sequence[str],
    where: object,
    *,
    name: str = "",
    edges: Iterable[Pair] = (),
    left_right: Iterable[Pair] | None = None,
    root: tuple[int, ...] | None = None,
) -> Skeleton:
    """A skeleton of a label file; what the file does not say is told from the names of the joints.

    Args:
        joints: Names in order.
        where: The file, for errors.
        name: Of the skeleton; empty = made of the number of joints.
        edges: Bones; doubles and those from a joint to itself are dropped.
        left_right: Mirrored pairs; ``None`` = by the names.
        root: Indices; ``None`` = by the names.

    Raises:
        ConfigError: There are no joints, two have one name, or an edge is of a joint that is not there.
    """
    twice = sorted({joint for joint in joints if list(joints).count(joint) > 1})
    if twice or not joints:
        what = f"has the joint {twice[0]!r} twice" if twice else "names no joints"
        raise ConfigError(where, what, "name each joint once")
    kept: list[Pair] = []
    for a, b in edges:
        if not (0 <= a < len(joints) and 0 <= b < len(joints)):
            raise ConfigError(where, f"has a bone between joints {a} and {b} of {len(joints)}", "correct its skeleton")
        if a != b and (a, b) not in kept and (b, a) not in kept:
            kept.append((a, b))
    pairs = mirrored(joints) if left_right is None else tuple(left_right)
    return Skeleton(
        name=name or f"labelled{len(joints)}",
        joints=tuple(joints),
        edges=tuple(kept),
        left_right=pairs,
        root=usual_root(joints) if root is None else root,
    )


def mirrored(joints: Sequence[str]) -> tuple[Pair, ...]:
    """Pairs (left, right) of joints whose names differ in the side alone: Ear_L and Ear_R, leftear and rightear."""
    words = [_words(joint) for joint in joints]
    by_words = {one: index for index, one in reversed(list(enumerate(words)))}
    pairs = []
    for index, one in enumerate(words):
        for place, word in enumerate(one):
            other = by_words.get((*one[:place], _OTHER[word], *one[place + 1 :])) if word in _OTHER else None
            if other is not None:
                pairs.append((index, other))
                break
    return tuple(pairs)


def _words(name: str) -> tuple[str, ...]:
    words = []
    for word in (found.lower() for found in _WORDS.findall(name)):
        for side in ("left", "right"):
            if word.startswith(side) and word != side:
                words += [side, word.removeprefix(side)]
                break
            if word.endswith(side) and word != side:
                words += [word.removesuffix(side), side]
                break
        else:
            words.append(word)
    return tuple(words)


def usual_root(joints: Sequence[str]) -> tuple[int, ...]:
    """The joint that poses are told relative to: the pelvis, the middle of the hips, else the first joint."""
    index = {"_".join(_words(joint)): i for i, joint in reversed(list(enumerate(joints)))}
    for names in (("pelvis",), ("mid_hip",), ("left_hip", "right_hip"), ("hip_left", "hip_right"), ("hip_l", "hip_r")):
        if all(name in index for name in names):
            return tuple(index[name] for name in names)
    return (0,)


def _sided(*parts: str) -> list[str]:
    return [f"{side}_{part}" for part in parts for side in ("left", "right")]


_ARM, _LEG = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
_FEET = [f"{side}_{part}" for side in ("left", "right") for part in ("big_toe", "small_toe", "heel")]


def _of(side: str, parts: Sequence[str]) -> list[str]:
    return [f"{side}_{part}" for part in parts]


_BODY_25 = [
    *("nose", "neck"),
    *_of("right", _ARM),
    *_of("left", _ARM),
    "mid_hip",
    *_of("right", _LEG),
    *_of("left", _LEG),
    *("right_eye", "left_eye", "right_ear", "left_ear"),
    *_FEET,
]
_BODY_25B = ["nose", *_sided("eye", "ear", *_ARM, *_LEG), "upper_neck", "head_top", *_FEET]
_COCO_18 = [
    *("nose", "neck"),
    *(_of("right", _ARM) + _of("left", _ARM) + _of("right", _LEG) + _of("left", _LEG)),
    *("right_eye", "left_eye", "right_ear", "left_ear"),
]
_MPI_15 = ["head_top", *_COCO_18[1:14], "chest"]

_BONES = [
    *(("nose", "neck"), ("nose", "upper_neck"), ("upper_neck", "head_top"), ("head_top", "neck"), ("neck", "chest")),
    *(("neck", "mid_hip"), ("left_hip", "right_hip"), ("left_shoulder", "right_shoulder")),
    *(
        (f"{side}_{a}", f"{side}_{b}")
        for side in ("left", "right")
        for a, b in (
            *(("shoulder", "elbow"), ("elbow", "wrist"), ("shoulder", "hip"), ("hip", "knee"), ("knee", "ankle")),
            *(("ankle", "heel"), ("ankle", "big_toe"), ("big_toe", "small_toe"), ("eye", "ear")),
        )
    ),
    *(("nose", "left_eye"), ("nose", "right_eye")),
]


def _person(name: str, joints: list[str]) -> Skeleton:
    index = {joint: i for i, joint in enumerate(joints)}
    edges = [(index[a], index[b]) for a, b in _BONES if a in index and b in index]
    return skeleton_of(joints, name, name=name, edges=edges)


OPENPOSE: dict[str, Skeleton] = {
    name: _person(name, joints)
    for name, joints in (("body25", _BODY_25), ("body25b", _BODY_25B), ("coco18", _COCO_18), ("mpi15", _MPI_15))
}
"""Skeletons of OpenPose's files, which hold numbers without names."""
