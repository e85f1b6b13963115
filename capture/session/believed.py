"""What counts in a recorded session: which of its poses are believed, whose they are, and when they were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from capture.session.reader import SessionReader
from rigpose.errors import ConfigError
from rigpose.pose import TRIANGULATED, PoseSet, SubjectPose


@dataclass(frozen=True, slots=True)
class Quality:
    """What a recorded joint must be to count as truth.

    Attributes:
        max_residual_px: Mean distance of what the views saw from the reprojected joint, over the views it is from.
        min_views: That it was made from.
        min_confidence: Of the joint.
        min_joints: Share of a subject's joints that must count, else the moment does not.
        inside: Share of a subject's counting joints that a picture must show, else the view does not count.
    """

    max_residual_px: float = 5.0
    min_views: int = 3
    min_confidence: float = 0.5
    min_joints: float = 0.5
    inside: float = 0.5


def believable(pose: SubjectPose, quality: Quality) -> Bool[np.ndarray, " J"]:
    """Which joints of a subject count."""
    of_views = (pose.views[None] >> np.arange(len(pose.residual_px))[:, None]) & 1 > 0
    count = of_views.sum(axis=0)
    residual = np.where(of_views & np.isfinite(pose.residual_px), pose.residual_px, 0.0)
    mean = residual.sum(axis=0) / np.maximum(count, 1)
    return (
        pose.measured
        & (pose.how == TRIANGULATED)
        & (count >= quality.min_views)
        & (pose.confidence >= quality.min_confidence)
        & (mean <= quality.max_residual_px)
    )


def exposed_ns(pose: PoseSet) -> int:
    """When a set was taken: the earliest exposure known, else when it was grouped."""
    exposed = [ns for ns in pose.stamps.exposed_ns if ns is not None]
    return min(exposed) if exposed else pose.stamps.grouped_ns


def skeleton_name(reader: SessionReader, wanted: str, remedy: str = "name one") -> str:
    """The name of the skeleton to read: the one that is wanted, or the only one.

    Raises:
        ConfigError: It is not there, or there are several and none is named.
    """
    names = list(reader.skeletons())
    if wanted in names:
        return wanted
    if wanted or not names:
        what = f"has no skeleton {wanted}" if wanted else "has no skeleton"
        raise ConfigError(reader.path, what, f"it has {', '.join(names)}" if names else "leave it out")
    if len(names) > 1:
        raise ConfigError(reader.path, f"has skeletons {', '.join(names)}", remedy)
    return names[0]


def sessions_in(root: Path) -> Iterator[Path]:
    """The session in a folder, or those in its folders, by name."""
    if (root / "session.json").is_file():
        yield root
    elif root.is_dir():
        yield from sorted(path.parent for path in root.glob("*/session.json"))
