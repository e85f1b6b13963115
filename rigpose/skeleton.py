"""Skeletons: the joints of a subject, how they connect and which mirror each other."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from rigpose.config import Config


def _roots(value: object) -> object:
    return (value,) if isinstance(value, int) else value


Pair = tuple[int, int]


class Skeleton(Config):
    """A named, ordered set of joints.

    Attributes:
        name: What the field calls this order of joints (``coco17``, ``human36m17``).
        joints: Joint names; their order is the order of the J axis everywhere.
        edges: Pairs of joint indices to draw as bones.
        left_right: Pairs ``(left, right)`` that exchange under mirroring.
        root: Indices whose mean is the root of the pose.
    """

    name: str
    joints: tuple[str, ...] = Field(min_length=1)
    edges: tuple[Pair, ...] = ()
    left_right: tuple[Pair, ...] = ()
    root: Annotated[tuple[int, ...], BeforeValidator(_roots)] = (0,)

    @model_validator(mode="after")
    def _indices_exist(self) -> Skeleton:
        if len(set(self.joints)) != len(self.joints):
            raise ValueError("joint names must differ from each other")
        for key in ("edges", "left_right"):
            for pair in getattr(self, key):
                if not all(0 <= joint < len(self.joints) for joint in pair):
                    raise ValueError(f"{key} has {list(pair)}, but there are {len(self.joints)} joints")
        if not self.root or not all(0 <= joint < len(self.joints) for joint in self.root):
            raise ValueError(f"root {list(self.root)} is not among the {len(self.joints)} joints")
        return self

    @cached_property
    def sides(self) -> tuple[str, ...]:
        """``left``, ``right`` or ``middle`` for each joint, for drawing."""
        sides = ["middle"] * len(self.joints)
        for left, right in self.left_right:
            sides[left], sides[right] = "left", "right"
        return tuple(sides)
