"""The skeletons of the two subjects."""

from __future__ import annotations

from rigpose.skeleton import Skeleton

HUMAN36M17 = Skeleton(
    name="human36m17",
    joints=(
        "right_ankle",
        "right_knee",
        "right_hip",
        "left_hip",
        "left_knee",
        "left_ankle",
        "pelvis",
        "spine",
        "thorax",
        "head_top",
        "right_wrist",
        "right_elbow",
        "right_shoulder",
        "left_shoulder",
        "left_elbow",
        "left_wrist",
        "neck",
    ),
    edges=(
        (0, 1),
        (1, 2),
        (2, 6),
        (5, 4),
        (4, 3),
        (3, 6),
        (6, 7),
        (7, 8),
        (8, 16),
        (9, 16),
        (8, 12),
        (11, 12),
        (10, 11),
        (8, 13),
        (13, 14),
        (14, 15),
    ),
    left_right=((5, 0), (4, 1), (3, 2), (13, 12), (14, 11), (15, 10)),
    root=(6,),
)
"""The 17 joints of Human3.6M in the order of learnable triangulation; ``neck`` is its Neck/Nose."""

LEGS = ("front", "middle", "hind")
LEG_JOINTS = ("body_coxa", "coxa_femur", "femur_tibia", "tibia_tarsus", "tarsus_tip")
N_LEG = len(LEG_JOINTS)
SIDE = 19
"""Keypoints on one side of the fly; the right side begins at this index."""
ANTENNA = 15
STRIPES = (16, 17, 18)


def _fly() -> Skeleton:
    names: list[str] = []
    edges: list[tuple[int, int]] = []
    for side in ("left", "right"):
        first = len(names)
        names += [f"{side}_{leg}_{joint}" for leg in LEGS for joint in LEG_JOINTS]
        names += [f"{side}_antenna", *(f"{side}_stripe_{number}" for number in (1, 2, 3))]
        for leg in range(3):
            start = first + leg * N_LEG
            edges += [(start + joint, start + joint + 1) for joint in range(N_LEG - 1)]
        edges += [(first + 16, first + 17), (first + 17, first + 18)]
    pairs = tuple((joint, joint + SIDE) for joint in range(SIDE))
    thorax = tuple(side * SIDE + leg * N_LEG for side in (0, 1) for leg in range(3))
    return Skeleton(name="fly38", joints=tuple(names), edges=tuple(edges), left_right=pairs, root=thorax)


FLY38 = _fly()
"""38 keypoints of a fly: on each side three legs of five, the antenna and three stripes of the abdomen."""
