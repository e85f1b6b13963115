"""Which poses are trained on, which choose the best weights, and which judge them.

By animal where there are several: what a network knows of one animal's body it must not be judged on. Else by blocks
of time with a gap between the parts: neighbouring frames are nearly the same pose, and so are those a cycle apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from capture.labels.poses3d import Poses3D
from rigpose.errors import ConfigError
from training.lifting.config import SplitSection

_FEWEST_ANIMALS = 3


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of each part, rising; a pose is in one of them or, in a gap, in none."""

    train: Int[np.ndarray, " a"]
    validation: Int[np.ndarray, " b"]
    test: Int[np.ndarray, " c"]


def split(poses: Poses3D, config: SplitSection) -> Split:
    """The parts of some poses.

    Raises:
        ConfigError: A part is empty, or an animal is named that does not exist.
    """
    animals = [str(one) for one in poses.subjects]
    by = config.by or ("animal" if len(animals) >= _FEWEST_ANIMALS else "time")
    if by == "animal":
        parts = _by_animal(poses, animals, config)
    else:
        test = _blocks(poses, config.folds) == config.fold
        train = ~near(poses, test, config.gap)
        chosen = _within(poses, train, config.validation_share)
        parts = Split(*(np.flatnonzero(p) for p in (train & ~near(poses, chosen, config.gap), chosen, test)))
    for name in ("train", "validation", *(() if by == "time" and config.fold < 0 else ("test",))):
        if not len(getattr(parts, name)):
            raise ConfigError("split", f"leaves no pose for the {name} part", "give more poses, or a smaller gap")
    return parts


def _by_animal(poses: Poses3D, animals: list[str], config: SplitSection) -> Split:
    if len(animals) < _FEWEST_ANIMALS:
        raise ConfigError(
            "split.by", f"is animal, but there are {len(animals)} of them", "give three or more, or split by time"
        )
    for name in (*config.test, *config.validation):
        if name not in animals:
            raise ConfigError("split", f"there is no animal {name}", f"there are {', '.join(animals[:20])}")
    tested = set(config.test) or set(animals[::-1][: max(1, len(animals) // 5)])
    rest = [one for one in animals if one not in tested]
    share = max(1, round(config.validation_share * len(rest)))
    chosen = set(config.validation) or set(rest[::-1][:share])
    both = tested & chosen
    if both:
        raise ConfigError("split", f"{sorted(both)[0]} is in test and validation", "name it once")
    names = poses.subject.astype(str)
    rows = [np.isin(names, sorted(part)) for part in (tested | chosen, chosen, tested)]
    return Split(*(np.flatnonzero(part) for part in (~rows[0], rows[1], rows[2])))


def _blocks(poses: Poses3D, folds: int) -> Int[np.ndarray, " N"]:
    """Blocks of equal length of each animal's poses, in the order of time."""
    block = np.zeros(len(poses), dtype=np.int64)
    for one in poses.subjects:
        mine = np.flatnonzero(poses.subject == one)
        block[mine] = np.arange(len(mine)) * folds // len(mine)
    return block


def near(poses: Poses3D, rows: Bool[np.ndarray, " N"], gap: int) -> Bool[np.ndarray, " N"]:
    """Rows, and those of the same animal that lie within so many frames of one."""
    found = rows.copy()
    if not gap:
        return found
    for one in poses.subjects:
        mine = poses.subject == one
        frames, there = poses.frame[mine], np.sort(poses.frame[mine & rows])
        if len(there):
            at = np.searchsorted(there, frames)
            before, behind = there[np.maximum(at - 1, 0)], there[np.minimum(at, len(there) - 1)]
            found[mine] |= np.minimum(np.abs(frames - before), np.abs(behind - frames)) <= gap
    return found


def _within(poses: Poses3D, train: Bool[np.ndarray, " N"], share: float) -> Bool[np.ndarray, " N"]:
    """A block at the middle of each animal's training part."""
    chosen = np.zeros(len(poses), dtype=bool)
    for one in poses.subjects:
        mine = np.flatnonzero(train & (poses.subject == one))
        length = max(1, round(share * len(mine)))
        first = (len(mine) - length) // 2
        chosen[mine[first : first + length]] = True
    return chosen
