"""Where the board was at each moment, with the cameras held, and what each view has to say about it.

A view's residuals enter every question about the rig (did the board stand elsewhere? did the camera move? was it late?)
through the same two things: the 6x6 normal matrix and the 6-vector of a small motion before that camera. They are
computed once here, and the questions are small linear algebra for all cameras and moments at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from calib.camera import Camera
from calib.sight import Sight, project_with_motion, rotations, skew


@dataclass(frozen=True, eq=False)
class Stance:
    """Cameras as arrays: rotations (V, 3, 3) and translations (V, 3) mm, from world to camera."""

    R: Float[np.ndarray, "V 3 3"]
    t: Float[np.ndarray, "V 3"]

    @property
    def adjoint(self) -> Float[np.ndarray, "V 6 6"]:
        """What a small motion (w, u) of the world is before each camera."""
        return adjoint(self.R, self.t)


def stance_of(cameras: Sequence[Camera]) -> Stance:
    """The extrinsics of cameras."""
    return Stance(np.stack([c.R for c in cameras]), np.stack([c.t for c in cameras]))


def adjoint(R: np.ndarray, t: np.ndarray) -> np.ndarray:
    """(..., 6, 6): the motion ``X' = X + w x X + u`` seen after ``R X + t``."""
    out = np.zeros((*t.shape[:-1], 6, 6))
    out[..., :3, :3] = out[..., 3:, 3:] = R
    out[..., 3:, :3] = skew(t) @ R
    return out


@dataclass(frozen=True, eq=False)
class Blocks:
    """What each view says of a small motion (w, u) before its camera, in px.

    Attributes:
        normal: (V, F, 6, 6) sums of ``J^T J``.
        right: (V, F, 6) sums of ``J^T residual``: the motion that the view asks for is ``normal^-1 right``.
        chi2: (V, F) sums of squared residuals.
        count: (V, F) points.
        residual_px: (V, F, N, 2) seen minus predicted; zero where not kept.
    """

    normal: Float[np.ndarray, "V F 6 6"]
    right: Float[np.ndarray, "V F 6"]
    chi2: Float[np.ndarray, "V F"]
    count: Float[np.ndarray, "V F"]
    residual_px: Float[np.ndarray, "V F N 2"]


def blocks_of(
    stance: Stance,
    R: Float[np.ndarray, "F 3 3"],
    t: Float[np.ndarray, "F 3"],
    sight: Sight,
    kept: Bool[np.ndarray, "V F N"],
    target_mm: Float[np.ndarray, "N 3"],
) -> Blocks:
    """The blocks of all views for board poses (from board to world)."""
    world = target_mm @ np.swapaxes(R, -1, -2) + t[:, None]
    shape = kept.shape
    normal, right = np.zeros((*shape[:2], 6, 6)), np.zeros((*shape[:2], 6))
    residual = np.zeros((*shape, 2))
    # One camera at a time: the derivative of all at once would be large.
    for v in range(shape[0]):
        points = world @ stance.R[v].T + stance.t[v]
        residual[v], motion = project_with_motion(points, sight.xy[v], sight.px_per[v], kept[v])
        flat = motion.reshape(shape[1], -1, 6)
        normal[v] = np.swapaxes(flat, -1, -2) @ flat
        right[v] = (residual[v].reshape(shape[1], 1, -1) @ flat)[:, 0]
        # A view with the board behind the camera cannot be explained at all.
        lost = (kept[v] & (points[..., 2] <= 1e-9)).any(axis=-1)
        residual[v][lost] = np.where(kept[v][lost][..., None], 1e6, 0.0)
    return Blocks(normal, right, (residual**2).sum(axis=(-2, -1)), kept.sum(axis=-1).astype(np.float64), residual)


def place(
    stance: Stance,
    R: Float[np.ndarray, "F 3 3"],
    t: Float[np.ndarray, "F 3"],
    sight: Sight,
    kept: Bool[np.ndarray, "V F N"],
    target_mm: Float[np.ndarray, "N 3"],
    steps: int = 8,
) -> tuple[Float[np.ndarray, "F 3 3"], Float[np.ndarray, "F 3"], Blocks]:
    """Least-squares poses of the board in the world from all cameras, held; all moments at once.

    Damped Gauss-Newton from a start; a moment that no kept view sees stays where it started.
    """
    R, t = R.copy(), t.copy()
    through = stance.adjoint
    blocks = blocks_of(stance, R, t, sight, kept, target_mm)
    damping = np.full(len(R), 1e-4)
    # Lengths are large numbers beside angles; the unit is a typical distance of the board.
    depth = np.abs(t @ stance.R[0].T + stance.t[0])[:, 2]
    unit = float(np.median(depth)) + 1e-9 if len(depth) else 1.0
    scale = np.repeat([1.0, unit], 3)
    for _ in range(steps):
        normal, right = world_equations(blocks, through)
        scaled = normal * scale[:, None] * scale
        diagonal = np.einsum("fii->fi", scaled)
        damped = scaled + (damping[:, None] * diagonal + 1e-9)[..., None] * np.eye(6)
        step = np.linalg.solve(damped, (right * scale)[..., None])[..., 0] * scale
        turn = rotations(np.clip(step[:, :3], -1, 1))
        new_R, new_t = turn @ R, (turn @ t[..., None])[..., 0] + step[:, 3:]
        new = blocks_of(stance, new_R, new_t, sight, kept, target_mm)
        before, after = blocks.chi2.sum(axis=0), new.chi2.sum(axis=0)
        better = after <= before
        R[better], t[better] = new_R[better], new_t[better]
        damping = np.where(better, damping * 0.1, damping * 10)
        blocks = _chosen(better, new, blocks)
        if (~better | (before - after <= 1e-8 * before + 1e-10)).all():
            break
    return R, t, blocks


def _chosen(better: np.ndarray, new: Blocks, old: Blocks) -> Blocks:
    if better.all():
        return new
    return Blocks(
        np.where(better[:, None, None], new.normal, old.normal),
        np.where(better[:, None], new.right, old.right),
        np.where(better, new.chi2, old.chi2),
        new.count,
        np.where(better[:, None, None], new.residual_px, old.residual_px),
    )


def world_equations(blocks: Blocks, through: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(F, 6, 6) and (F, 6): what all views together say of a small motion of the board in the world."""
    normal = np.einsum("vji,vfjk,vkl->fil", through, blocks.normal, through, optimize=True)
    right = np.einsum("vji,vfj->fi", through, blocks.right, optimize=True)
    return normal, right


def predicted(blocks: Blocks, stance: Stance) -> tuple[np.ndarray, np.ndarray]:
    """Where the other cameras say that the board is, as a motion (w, u) before each camera.

    From the solution with all cameras the way to the one without a camera is one Gauss-Newton step.

    Returns:
        Motion (V, F, 6) before each camera; and (V, F) whether the others fix the board at all.
    """
    through = stance.adjoint
    own = np.einsum("vji,vfjk,vkl->vfil", through, blocks.normal, through, optimize=True)
    own_right = np.einsum("vji,vfj->vfi", through, blocks.right, optimize=True)
    normal, right = own.sum(axis=0) - own, own_right.sum(axis=0) - own_right
    others = (blocks.count.sum(axis=0) - blocks.count) >= 4
    safe = np.where(others[..., None, None], normal, np.eye(6))
    step = _solve(safe, right)
    return np.einsum("vij,vfj->vfi", through, step), others


def _solve(normal: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(..., 6) solutions of symmetric equations whose unknowns differ in unit."""
    diagonal = np.sqrt(np.maximum(np.einsum("...ii->...i", normal), 1e-300))
    unit = normal / diagonal[..., :, None] / diagonal[..., None, :]
    return np.linalg.solve(unit + 1e-12 * np.eye(6), (right / diagonal)[..., None])[..., 0] / diagonal
