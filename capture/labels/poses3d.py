"""3D poses whatever program they come from, with the cameras and the 2D points that belong to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from calib.rig import Rig
from rigpose.errors import ConfigError
from rigpose.skeleton import Skeleton

PAUSE = 10_000
"""Frames between two recordings of one subject where they are put together: no block of time joins them."""


@dataclass(frozen=True, slots=True, eq=False)
class Poses3D:
    """Poses of one skeleton, T in all; a moment that shows two subjects is two of them.

    Attributes:
        skeleton: The joints, in the order of the J axis.
        position_mm: (T, J, 3) float64, in the world of ``rig`` where there is one; NaN = missing.
        rig: The cameras, in the order of the V axis.
        points2d: (T, V, J, 2) raw px, (0, 0) the centre of the first pixel; NaN = not seen. Needs ``rig``.
        confidence: (T, V, J) of ``points2d`` in 0..1, and 0 where it is NaN.
        subject: (T,) texts or whole numbers: the animal, or the recording where no animal is told. What a split by
            animal goes by; poses of one subject are in the order of time. Left out: one without a name.
        frame: (T,) number of the moment in the recording, which tells time and what lies between two poses. Left
            out: counted from 0.
        rate_hz: Frames a second; ``None`` = not known.
        source: The format that they were read from.
        notes: What a user has to know about how they were read.
    """

    skeleton: Skeleton
    position_mm: Float[np.ndarray, "T J 3"]
    rig: Rig | None = None
    points2d: Float[np.ndarray, "T V J 2"] | None = None
    confidence: Float[np.ndarray, "T V J"] | None = None
    subject: Shaped[np.ndarray, " T"] = field(default_factory=lambda: np.zeros(0, dtype="U1"))
    frame: Int[np.ndarray, " T"] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    rate_hz: float | None = None
    source: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        position = np.array(self.position_mm, dtype=np.float64)
        joints = len(self.skeleton.joints)
        if position.ndim != 3 or position.shape[1:] != (joints, 3):
            raise ValueError(f"position_mm {position.shape} is not (T, {joints}, 3)")
        position[~np.isfinite(position).all(axis=-1)] = np.nan
        set_(self, "position_mm", position)
        n = len(position)
        set_(self, "frame", np.asarray(self.frame) if len(self.frame) else np.arange(n))
        set_(self, "subject", np.asarray(self.subject) if len(self.subject) else np.full(n, ""))
        if self.frame.shape != (n,) or self.frame.dtype.kind not in "iu":
            raise ValueError(f"frame {self.frame.dtype} {self.frame.shape} is not ({n},) whole numbers")
        if self.subject.shape != (n,) or self.subject.dtype.kind not in "iuU":
            raise ValueError(f"subject {self.subject.dtype} {self.subject.shape} is not ({n},) texts or whole numbers")
        set_(self, "frame", self.frame.astype(np.int64))
        known, whose = np.unique(self.subject, return_inverse=True)
        order = np.argsort(whose, kind="stable")
        falls = (np.diff(whose[order]) == 0) & (np.diff(self.frame[order]) <= 0)
        if falls.any():
            raise ValueError(f"frames of subject {known[whose[order][:-1][falls][0]]} do not rise")
        if self.rate_hz is not None and not 0 < self.rate_hz < np.inf:
            raise ValueError(f"rate_hz {self.rate_hz} is no rate")
        self._check_views(n, joints)

    def _check_views(self, n: int, joints: int) -> None:
        if self.points2d is None:
            if self.confidence is not None:
                raise ValueError("confidence without points2d")
            return
        if self.rig is None:
            raise ValueError("points2d without a rig")
        points = np.array(self.points2d, dtype=np.float64)
        if points.shape != (n, len(self.rig), joints, 2):
            raise ValueError(f"points2d {points.shape} is not ({n}, {len(self.rig)}, {joints}, 2)")
        seen = np.isfinite(points).all(axis=-1)
        points[~seen] = np.nan
        object.__setattr__(self, "points2d", points)
        if self.confidence is None:
            return
        confidence = np.where(seen, np.nan_to_num(np.asarray(self.confidence, dtype=np.float64)), 0.0)
        if confidence.shape != points.shape[:3] or confidence.min(initial=0) < 0 or confidence.max(initial=0) > 1:
            raise ValueError(f"confidence {np.shape(self.confidence)} is not {points.shape[:3]} in 0..1")
        object.__setattr__(self, "confidence", confidence)

    def __len__(self) -> int:
        return len(self.position_mm)

    @property
    def there(self) -> Bool[np.ndarray, "T J"]:
        """Where a joint has a position."""
        return np.isfinite(self.position_mm[..., 0])

    @property
    def subjects(self) -> tuple[Any, ...]:
        """Who there is, in the order in which they come."""
        return tuple(dict.fromkeys(self.subject.tolist()))

    def take(self, rows: Any) -> Poses3D:
        """Some of the poses: indices in rising order, a mask or a slice."""
        return replace(
            self,
            position_mm=self.position_mm[rows],
            points2d=None if self.points2d is None else self.points2d[rows],
            confidence=None if self.confidence is None else self.confidence[rows],
            subject=self.subject[rows],
            frame=self.frame[rows],
        )

    def without_views(self) -> Poses3D:
        """The same without cameras and 2D points."""
        return replace(self, rig=None, points2d=None, confidence=None)

    def reprojection_px(self) -> Float[np.ndarray, "T V J"] | None:
        """Distance of each 2D point from where its camera shows the joint; NaN without either; ``None`` without 2D."""
        if self.rig is None or self.points2d is None:
            return None
        shown = np.stack([camera.project(self.position_mm) for camera in self.rig.cameras], axis=1)
        return np.linalg.norm(shown - self.points2d, axis=-1)


def concatenate(parts: Sequence[Poses3D]) -> Poses3D:
    """Poses of one skeleton from several recordings as one.

    Frames of a subject that an earlier part has as well are counted on, `PAUSE` behind its last one there.

    Args:
        parts: At least one. Cameras and 2D points stay where all parts have the same; take `Poses3D.without_views`
            of parts from different rigs.

    Raises:
        ConfigError: They differ in joints, cameras or rate.
    """
    first = parts[0]
    for part in parts[1:]:
        if part.skeleton.joints != first.skeleton.joints:
            what = f"has other joints ({part.skeleton.name}) than {first.source or 'the first'} ({first.skeleton.name})"
            raise ConfigError(part.source or "poses", what, "put recordings of one skeleton together")
        if part.rate_hz != first.rate_hz:
            what = f"has {part.rate_hz} frames a second and the first of them {first.rate_hz}"
            raise ConfigError(part.source or "poses", what, "put recordings of one rate together")
        ids = [None if one.rig is None else one.rig.calibration_id for one in (first, part)]
        if ids[0] != ids[1] or (part.points2d is None) != (first.points2d is None):
            what = "has other cameras, or other 2D points, than the first of them"
            raise ConfigError(part.source or "poses", what, "take the 3D poses alone, or put one rig's together")
    there = Counter(name for part in parts for name in set(part.subject.astype(str).tolist()))
    again = [name for name, count in there.items() if count > 1]
    last: dict[str, int] = {}
    frames = []
    for part in parts:
        frame = part.frame.copy()
        for name in again:
            mine = part.subject.astype(str) == name
            if name in last and mine.any():
                frame[mine] += last[name] + PAUSE - frame[mine].min()
            last |= {name: int(frame[mine].max())} if mine.any() else {}
        frames.append(frame)
    same_kind = len({part.subject.dtype.kind == "U" for part in parts}) == 1
    seen = first.points2d is not None
    sure = seen and all(part.confidence is not None for part in parts)
    return replace(
        first,
        position_mm=np.concatenate([part.position_mm for part in parts]),
        points2d=np.concatenate([part.points2d for part in parts if part.points2d is not None]) if seen else None,
        confidence=np.concatenate([part.confidence for part in parts if part.confidence is not None]) if sure else None,
        subject=np.concatenate([part.subject if same_kind else part.subject.astype(str) for part in parts]),
        frame=np.concatenate(frames),
        source=", ".join(dict.fromkeys(part.source for part in parts)),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )
