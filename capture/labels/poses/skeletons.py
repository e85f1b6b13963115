"""Skeletons of files that hold numbers without names, and bones that the names of joints tell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

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

    Raises:
        ConfigError: There is no such file, or it names no joints.
    """
    path = Path(text)
    if not path.exists():
        if "," not in text:
            raise ConfigError(text, "no such file", "give a file with joint names, or names with commas between")
        return skeleton_of([name.strip() for name in text.split(",")], "--skeleton", edges=())
    raise ConfigError(path, "names no joints that are known here", "give names with commas between")
