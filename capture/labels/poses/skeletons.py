"""Skeletons of files that hold numbers without names, and bones that the names of joints tell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from calib.formats import mat
from capture.labels.poses.reading import How, fitting, mat_names, texts
from capture.labels.skeletons import skeleton_of
from rigpose.errors import ConfigError
from rigpose.skeleton import Pair, Skeleton

_SEGMENTS = ("coxa", "femur", "tibia", "tarsus", "claw")
_LEG = re.compile(rf"([lr][fmh])_?({'|'.join(_SEGMENTS)})", re.IGNORECASE)


def legs(joints: Sequence[str]) -> tuple[Pair, ...]:
    """Bones along the legs of an insect whose joints are named LF_Coxa to RH_Claw; empty for other names."""
    found = [match and (match[1].lower(), _SEGMENTS.index(match[2].lower())) for match in map(_LEG.fullmatch, joints)]
    place = {known: index for index, known in enumerate(found) if known}
    return tuple((place[leg, s], place[leg, s + 1]) for leg, s in place if (leg, s + 1) in place)


def skeleton_at(text: str) -> Skeleton:
    """The skeleton that a user names: a file with joint names, or names with commas between.

    Files are Label3D's skeletons (``.mat``), and whatever `capture.labels` reads.

    Raises:
        ConfigError: There is no such file, or it names no joints.
    """
    path = Path(text)
    if not path.exists():
        if "," not in text:
            raise ConfigError(text, "no such file", "give a file with joint names, or names with commas between")
        names = [name.strip() for name in text.split(",")]
        return skeleton_of(names, "--skeleton", edges=legs(names))
    if path.suffix.lower() == ".mat":
        return _of_mat(path)
    from capture.labels.poses.reader import holds_poses3d, read_poses3d
    from capture.labels.reader import read_labels

    if not holds_poses3d(path):
        return read_labels(path).skeleton
    try:
        return read_poses3d(path).skeleton
    except ConfigError:
        # Its unit does not matter here.
        return read_poses3d(path, units="mm").skeleton


def skeleton_beside(path: Path, n: int, how: How) -> Skeleton:
    """The skeleton of a .mat without names: the user's, or that of a skeleton file beside it, or numbered joints.

    Raises:
        ConfigError: The user's has another number of joints.
    """
    if how.skeleton is not None:
        return fitting(how.skeleton, n, path)
    for file in sorted(path.parent.glob("*.mat")):
        if file != path and "skeleton" in file.name.lower() and "joint_names" in mat_names(file):
            found = _of_mat(file)
            if len(found.joints) == n:
                return found
    return how.joints(n, path)


def _of_mat(path: Path) -> Skeleton:
    """Label3D's: ``joint_names``, and ``joints_idx`` with pairs that count from 1."""
    document: dict[str, Any] = mat.load(path)
    if "joint_names" not in document:
        raise ConfigError(path, "has no joint_names", "give a skeleton of Label3D, or names with commas between")
    joints = texts(document["joint_names"], path, "joint_names")
    pairs = np.asarray(document.get("joints_idx", np.zeros((0, 2))))
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "fiu" or pairs.min(initial=1) < 1:
        raise ConfigError(path, "joints_idx is no list of pairs that count from 1", "save it from Label3D again")
    edges = [(int(a) - 1, int(b) - 1) for a, b in pairs]
    return skeleton_of(joints, path, name=path.stem.removesuffix("_skeleton"), edges=edges)


def _rat() -> Skeleton:
    names = (
        *("HeadF", "HeadB", "HeadL", "SpineF", "SpineM", "SpineL", "Offset1", "Offset2", "HipL", "HipR"),
        *("ElbowL", "ArmL", "ShoulderL", "ShoulderR", "ElbowR", "ArmR", "KneeR", "KneeL", "ShinL", "ShinR"),
    )
    bones = (
        *(("HeadF", "HeadB"), ("HeadB", "SpineF"), ("HeadF", "HeadL"), ("SpineF", "SpineM"), ("SpineM", "SpineL")),
        *((f"Spine{a}", f"{b}{side}") for side in "LR" for a, b in (("F", "Shoulder"), ("L", "Hip"))),
        *((f"{a}{side}", f"{b}{side}") for side in "LR" for a, b in (("Shoulder", "Elbow"), ("Elbow", "Arm"))),
        *((f"{a}{side}", f"{b}{side}") for side in "LR" for a, b in (("Hip", "Knee"), ("Knee", "Shin"))),
    )
    edges = [(names.index(a), names.index(b)) for a, b in bones]
    pairs = [(names.index(f"{part}L"), names.index(f"{part}R")) for part in _RAT_PARTS]
    return skeleton_of(names, "rat20", name="rat20", edges=edges, left_right=pairs, root=(names.index("SpineM"),))


_RAT_PARTS = ("Hip", "Elbow", "Arm", "Shoulder", "Knee", "Shin")
RAT20 = _rat()
"""The markers of CAPTURE's rats; ``HeadL`` is no side of a pair, ``Offset1`` and ``Offset2`` sit on the trunk."""
MACAQUE13 = skeleton_of(
    (
        *("nose", "head", "neck", "right_shoulder", "right_hand", "left_shoulder", "left_hand", "hip"),
        *("right_knee", "right_foot", "left_knee", "left_foot", "tail"),
    ),
    "macaque13",
    name="macaque13",
    edges=((0, 1), (1, 2), (2, 3), (3, 4), (2, 5), (5, 6), (2, 7), (7, 8), (8, 9), (7, 10), (10, 11), (7, 12)),
    root=(2,),
)
"""The joints of OpenMonkeyStudio; the root is the neck, as LiftPose3D has it."""
