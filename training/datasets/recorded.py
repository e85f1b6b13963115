"""Recorded sessions of ours as a data set: pictures, and the poses that the engine found in them.

Nobody labelled them: what is learned is what a model said before (pseudo-labels, Lee 2013). All that makes it better
than that model is what stands against it: several views that agree (`capture.session.believed.Quality`), and that what
one camera saw badly is learned from where the others place it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from rigpose.errors import ConfigError
from rigpose.skeleton import Skeleton
from training.datasets.index import Index, Key, describe
from training.datasets.labelled import held_out
from training.datasets.protocols import RecordedPoints, Split
from training.datasets.shots import Shot, View
from training.datasets.takes import Quality, Take, read_take, sessions_in


class Held(NamedTuple):
    """What is validated on.

    Attributes:
        sessions: Names of sessions; none = about ``share`` of them, each by its own name, and of a lone one blocks.
        share: Of the sessions, or of a lone session's time.
        block_s: Longest block of time that is held out in one.
        gap_s: What is nearer to such a block counts for neither.
    """

    sessions: tuple[str, ...] = ()
    share: float = 0.1
    block_s: float = 10.0
    gap_s: float = 1.0


class Recorded:
    """A part of recorded sessions; `training.datasets.shots.Shots`.

    Sessions belong to one part as a whole. A lone session is cut into blocks of time with gaps between them, for
    frames that follow each other are nearly the same picture.

    Args:
        root: A session's folder, or one of such folders.
        split: The part.
        quality: Which joints count as truth.
        held: What is validated on.
        every_s: Least time between two moments of a subject.
        points: What is learned in 2D: where the joints' places are seen, or what the network saw.
        skeleton: Needed where a session has several.

    Raises:
        RigposeError: No session can be read, they differ in their joints, or nothing is in that part.
    """

    def __init__(
        self,
        root: Path,
        split: Split,
        *,
        quality: Quality = Quality(),  # noqa: B008  # frozen
        held: Held = Held(),  # noqa: B008  # frozen
        every_s: float = 0.2,
        points: RecordedPoints = "reprojected",
        skeleton: str = "",
    ) -> None:
        self.name = f"recorded {split}"
        self._root, self._points = root, points
        takes = [read_take(path, quality, every_s, skeleton) for path in sessions_in(root)]
        if not takes:
            raise ConfigError(root, "holds no session", "give a folder that rigpose recorded, or one of such folders")
        self.skeleton = _common(takes, root)
        if points == "seen" and not any(np.isfinite(take.points).any() for take in takes):
            raise ConfigError(root, "has no 2D points", "learn with points: reprojected, or record with send_points2d")
        self._takes = takes
        self._rows = [
            (number, int(row))
            for number, (take, of_val) in enumerate(zip(takes, parts(takes, held, root), strict=True))
            for row in np.flatnonzero(of_val == (1 if split == "val" else 0))
        ]
        if not self._rows:
            what = f"holds nothing for {split}: {sum(len(take.sets) for take in takes)} moments in all"
            raise ConfigError(root, what, "record more, or change share, block_s, gap_s or val_sessions")
        self.index = Index.of(self._key(takes[number], row) for number, row in self._rows)
        self.counts = np.array([(takes[number].files[row] >= 0).sum() for number, row in self._rows], dtype=np.int64)

    @staticmethod
    def _key(take: Take, row: int) -> Key:
        # A subject's number only means something within its session.
        return Key(f"{take.subject or 'subject'} {take.numbers[row]}", take.name, int(take.sets[row]))

    def _at(self, key: Key) -> tuple[Take, int]:
        place = self.index.row(key)
        if place is None:
            raise ConfigError(self._root, f"has no {describe([key])} in {self.name}", "check the key")
        number, row = self._rows[place]
        return self._takes[number], row

    def n_views(self, key: Key) -> int:
        """How many cameras show the subject."""
        take, row = self._at(key)
        return int((take.files[row] >= 0).sum())

    def shot(self, key: Key) -> Shot:
        """What is known of a moment."""
        take, row = self._at(key)
        views = []
        for v in np.flatnonzero(take.files[row] >= 0):
            still = take.still(row, int(v))
            points = take.points[row, v].astype(np.float64) if self._points == "seen" else None
            box = None if points is None else _box(take.cameras[v].project(take.position_mm[row]))
            views.append(View(take.cameras[v], still, box, points=points))
        return Shot(take.position_mm[row], tuple(views))

    def reported(self, key: Key) -> tuple[str, str]:
        """The subject, and the session."""
        return key.subject, key.action

    def sequence(self, key: Key) -> str:
        """The session."""
        return key.action


def _box(px: Float[np.ndarray, "J 2"]) -> tuple[float, float, float, float]:
    """About the joints, wherever the network saw them."""
    known = px[np.isfinite(px).all(axis=-1)]
    (left, top), (right, bottom) = known.min(axis=0), known.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def parts(takes: Sequence[Take], held: Held, root: Path) -> list[np.ndarray]:
    """For each take, of each moment: 0 = trained on, 1 = validated on, -1 = neither.

    Raises:
        ConfigError: A session that is to be validated on is not there.
    """
    names = [take.name for take in takes]
    lacking = [name for name in held.sessions if name not in names]
    if lacking:
        raise ConfigError(root, f"has no session {lacking[0]}", f"val_sessions may be {', '.join(names)}")
    if len(takes) == 1 and not held.sessions:
        return [blocks(takes[0].times_s, takes[0].duration_s, held)]
    if held.sessions:
        of_val: Iterable[bool] = (name in held.sessions for name in names)
    else:
        of_val = held_out(names, np.zeros(len(names), dtype=np.int64), held.share)
    return [np.full(len(take.sets), int(of), dtype=np.int64) for take, of in zip(takes, of_val, strict=True)]


def blocks(times_s: Float[np.ndarray, " N"], duration_s: float, held: Held) -> np.ndarray:
    """Blocks of time, evenly spread, that are validated on; what is near to them counts for neither.

    Args:
        times_s: Of the moments.
        duration_s: Of the session.
        held: How long blocks may be, how much of the time they are, and the gap about each.
    """
    part = np.zeros(len(times_s), dtype=np.int64)
    if held.share <= 0 or duration_s <= 0:
        return part
    count = max(round(duration_s / held.block_s), round(1 / held.share))
    n_held = max(1, round(count * held.share))
    length = duration_s / count
    first_s = np.floor((np.arange(n_held) + 0.5) * count / n_held) * length
    after, before = times_s[:, None] - first_s, first_s + length - times_s[:, None]
    part[((after > -held.gap_s) & (before > -held.gap_s)).any(axis=1)] = -1
    part[((after >= 0) & (before > 0)).any(axis=1)] = 1
    return part


def _common(takes: Sequence[Take], root: Path) -> Skeleton:
    first = takes[0]
    for take in takes[1:]:
        if take.skeleton.joints != first.skeleton.joints:
            what = f"{take.name} has other joints ({take.skeleton.name}) than {first.name} ({first.skeleton.name})"
            raise ConfigError(root, what, "put sessions of one skeleton into a folder, or name one: skeleton")
    return first.skeleton
