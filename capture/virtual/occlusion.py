"""Which joints a camera cannot see because something nearer lies in the way."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from capture.virtual.body import Capsules

_WITHIN = 0.97


def hidden_by_capsules(
    eye_mm: Float[np.ndarray, " 3"],
    joints_mm: Float[np.ndarray, "J 3"],
    start_mm: Float[np.ndarray, "S 3"],
    end_mm: Float[np.ndarray, "S 3"],
    start_radius_mm: Float[np.ndarray, " S"],
    end_radius_mm: Float[np.ndarray, " S"],
) -> Bool[np.ndarray, "J S"]:
    """Whether the ray to each joint goes through each capsule, the capsule's axis there being nearer.

    A part whose axis lies behind the joint where they cross never hides it, so a joint on the
    surface that looks at the camera is seen and one on the far side is not.
    """
    ways = joints_mm - eye_mm
    length = np.linalg.norm(ways, axis=-1, keepdims=True)
    ways = ways / np.maximum(length, 1e-9)
    start, along = start_mm - eye_mm, end_mm - start_mm

    def across(vectors: np.ndarray) -> np.ndarray:
        return vectors[None] - (ways @ vectors.T)[..., None] * ways[:, None]

    start_across, along_across = across(start), across(along)
    square = (along_across**2).sum(axis=-1)
    share = -(start_across * along_across).sum(axis=-1) / np.maximum(square, 1e-12)
    share = np.where(square > 1e-12, np.clip(share, 0, 1), 0.5)
    apart = np.linalg.norm(start_across + share[..., None] * along_across, axis=-1)
    depth = ways @ start.T + share * (ways @ along.T)
    radius = start_radius_mm + share * (end_radius_mm - start_radius_mm)
    return (apart < _WITHIN * radius) & (depth > 0) & (depth < length)


def hidden_by_body(
    eye_mm: Float[np.ndarray, " 3"], points_mm: Float[np.ndarray, "P 3"], solids: Capsules, n_joints: int
) -> Bool[np.ndarray, " J"]:
    """Which joints another part of the body hides; the parts that a joint belongs to do not."""
    covered = hidden_by_capsules(
        eye_mm,
        points_mm[:n_joints],
        points_mm[solids.start],
        points_mm[solids.end],
        solids.start_radius_mm,
        solids.end_radius_mm,
    )
    return (covered & ~solids.own.T).any(axis=-1)
