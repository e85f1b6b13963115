"""Moments of a data set by subject, action and frame, whatever order a file has them in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

_TOLD_SEQUENCES = 4
_TOLD_FRAMES = 6


class Key(NamedTuple):
    """One moment.

    Attributes:
        subject: As the data set names it.
        action: Or sequence.
        frame: Counted as the data set counts, from its first picture.
    """

    subject: str
    action: str
    frame: int


class Index:
    """Keys of N rows, without an object for each; the order of the rows is kept.

    Args:
        subjects: Names.
        actions: Names.
        subject: (N,) index into the names.
        action: (N,)
        frame: (N,)

    Raises:
        ValueError: A key stands there twice, or an index names nothing.
    """

    def __init__(
        self,
        subjects: Sequence[str],
        actions: Sequence[str],
        subject: Int[np.ndarray, " N"],
        action: Int[np.ndarray, " N"],
        frame: Int[np.ndarray, " N"],
    ) -> None:
        self.subjects, self.actions = tuple(subjects), tuple(actions)
        self.subject, self.action, self.frame = (np.asarray(a, dtype=np.int64) for a in (subject, action, frame))
        for values, end, what in (
            (self.subject, len(self.subjects), "subject"),
            (self.action, len(self.actions), "action"),
            (self.frame, 2**32, "frame"),
        ):
            if len(values) and not 0 <= values.min() <= values.max() < end:
                raise ValueError(f"{what} {values.min()} or {values.max()} is none")
        code = self._code(self.subject, self.action, self.frame)
        self._order = np.argsort(code, kind="stable")
        self._sorted = code[self._order]
        twice = np.flatnonzero(self._sorted[1:] == self._sorted[:-1])
        if len(twice):
            raise ValueError(f"{describe([self[int(self._order[twice[0]])]])} stands there twice")

    @classmethod
    def of(cls, keys: Iterable[Key]) -> Index:
        """The index of these keys, in their order."""
        listed = list(keys)
        subjects, actions = (list(dict.fromkeys(names)) for names in ([k[0] for k in listed], [k[1] for k in listed]))
        at, doing = ({name: place for place, name in enumerate(names)} for names in (subjects, actions))
        rows = np.array([(at[k[0]], doing[k[1]], k[2]) for k in listed], dtype=np.int64).reshape(-1, 3)
        return cls(subjects, actions, *rows.T)

    def _code(self, subject: np.ndarray, action: np.ndarray, frame: np.ndarray) -> np.ndarray:
        return (subject * len(self.actions) + action) << 32 | frame

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, row: int) -> Key:
        return Key(self.subjects[int(self.subject[row])], self.actions[int(self.action[row])], int(self.frame[row]))

    def __iter__(self) -> Iterator[Key]:
        return (self[row] for row in range(len(self)))

    def row(self, key: Key) -> int | None:
        """Where a key stands; ``None`` = nowhere."""
        if key[0] not in self.subjects or key[1] not in self.actions:
            return None
        code = (self.subjects.index(key[0]) * len(self.actions) + self.actions.index(key[1])) << 32 | key[2]
        place = int(np.searchsorted(self._sorted, code))
        if place == len(self._sorted) or self._sorted[place] != code:
            return None
        return int(self._order[place])

    def select(self, rows: np.ndarray) -> Index:
        """These rows (indices or a mask), in this order."""
        return Index(self.subjects, self.actions, self.subject[rows], self.action[rows], self.frame[rows])


def describe(keys: Iterable[Key]) -> str:
    """Keys in a line: sequences and their frames, the first of many."""
    frames: dict[tuple[str, str], list[int]] = defaultdict(list)
    for subject, action, frame in keys:
        frames[subject, action].append(frame)
    told = []
    for (subject, action), of in list(frames.items())[:_TOLD_SEQUENCES]:
        rest = f" and {len(of) - _TOLD_FRAMES} more" if len(of) > _TOLD_FRAMES else ""
        word = "frame" if len(of) == 1 else "frames"
        told.append(f"{subject} {action} {word} {', '.join(str(frame) for frame in of[:_TOLD_FRAMES])}{rest}")
    if len(frames) > _TOLD_SEQUENCES:
        told.append(f"and {len(frames) - _TOLD_SEQUENCES} more sequences")
    return "; ".join(told)
