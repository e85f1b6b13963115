"""Linear domain adaptation: 2D points of another rig or animal made to look like those that a lifter was trained on.

As LiftPose3D adapts one fly set-up to another: each pose of the target gets its k nearest poses of the source, and one
linear map is fitted to all these pairs. 2D points go through it before they are lifted; lifted poses come back by a
map that is fitted likewise to 3D poses, where the target has some. Poses are compared after each domain's own z-score,
so that size and place do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from rigpose.errors import ConfigError

NEIGHBOURS = 4
STRENGTH = 1e-3
_FORMAT = "rigpose.adaptation"


@dataclass(frozen=True)
class LinearMap:
    """``y = x weight + offset`` of flattened poses."""

    weight: Float[np.ndarray, "F G"]
    offset: Float[np.ndarray, " G"]

    def __call__(self, x: Float[np.ndarray, "*n J d"]) -> Float[np.ndarray, "*n J d"]:
        """Poses of the other domain."""
        flat = np.asarray(x, np.float64).reshape(-1, self.weight.shape[0])
        return (flat @ self.weight + self.offset).reshape(x.shape)


def fit_map(
    target: Float[np.ndarray, "n J d"],
    source: Float[np.ndarray, "m J d"],
    k: int = NEIGHBOURS,
    strength: float = STRENGTH,
) -> LinearMap:
    """The map that brings poses of the target to the source.

    Args:
        target: Poses of the new domain, finite.
        source: Poses of the old one, finite; of the same joints.
        k: Neighbours of each target pose.
        strength: Of the penalty on the map, a share of the number of pairs, in z-scores: with few poses the map stays
            near the one that only exchanges means and deviations.

    Raises:
        ConfigError: There are too few poses, or joints differ.
    """
    if target.shape[1:] != source.shape[1:]:
        raise ConfigError(
            "adaptation",
            f"target poses are {target.shape[1:]}, source poses {source.shape[1:]}",
            "give the same joints",
        )
    if len(target) < 2 or len(source) < k:
        raise ConfigError("adaptation", f"{len(target)} and {len(source)} poses are too few", "give more poses")
    x, y = (np.asarray(p, np.float64).reshape(len(p), -1) for p in (target, source))
    (a, x_mean, x_scale), (b, y_mean, y_scale) = _scored(x), _scored(y)
    distance = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T
    nearest = np.argpartition(distance, k - 1, axis=1)[:, :k]
    wanted = b[nearest].mean(axis=1)
    # About the identity: what the pairs do not tell stays as it is.
    features = a.shape[1]
    gram = a.T @ a / len(a) + strength * np.eye(features)
    weight = np.eye(features) + np.linalg.solve(gram, a.T @ (wanted - a) / len(a))
    full = weight / x_scale[:, None] * y_scale
    return LinearMap(full, y_mean - x_mean @ full)


def _scored(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    return (x - mean) / scale, mean, scale


@dataclass(frozen=True)
class Adaptation:
    """What stands between a new rig and a lifter of another.

    Attributes:
        points: Brings 2D points of the new rig, relative to their roots, to the lifter's.
        poses: Brings lifted poses back, where 3D poses of the new rig were given.
    """

    points: LinearMap
    poses: LinearMap | None = None

    def write(self, path: Path) -> None:
        """Write an npz of plain arrays."""
        arrays = {"points_weight": self.points.weight, "points_offset": self.points.offset}
        if self.poses is not None:
            arrays |= {"poses_weight": self.poses.weight, "poses_offset": self.poses.offset}
        np.savez(path, format=np.array(_FORMAT), **arrays)  # type: ignore[arg-type]


def fit(
    points_target: Float[np.ndarray, "n J 2"],
    points_source: Float[np.ndarray, "m J 2"],
    poses_target: Float[np.ndarray, "n J 3"] | None = None,
    poses_source: Float[np.ndarray, "m J 3"] | None = None,
    k: int = NEIGHBOURS,
) -> Adaptation:
    """Of 2D points, and of 3D poses where both domains have them; the latter leads from source to target."""
    points = fit_map(points_target, points_source, k)
    poses = None if poses_target is None or poses_source is None else fit_map(poses_source, poses_target, k)
    return Adaptation(points, poses)


def read_adaptation(path: Path | str) -> Adaptation:
    """What `Adaptation.write` wrote.

    Raises:
        ConfigError: It is none.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["format"]) != _FORMAT:
                raise KeyError("format")
            maps = [
                LinearMap(arrays[f"{name}_weight"], arrays[f"{name}_offset"]) if f"{name}_weight" in arrays else None
                for name in ("points", "poses")
            ]
    except FileNotFoundError:
        raise ConfigError(path, "no such file", "check the path") from None
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(path, f"is no adaptation: {error}", "fit it with python -m training.lift adapt") from None
    assert maps[0] is not None
    return Adaptation(maps[0], maps[1])
