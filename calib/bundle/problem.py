"""Observations and what was observed, and the normal equations of both at a state.

What was observed comes in blocks: a moment of a board (turned and moved, six numbers) or a free point (three). A block
touches no other block, only cameras, so that the equations are a small matrix of the cameras, one smaller a block, and
what couples them. Work is done a camera at a time, over all its blocks at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from calib.bundle import loss as losses
from calib.bundle.jacobian import Pair, Projected, project
from calib.bundle.parameters import Columns, State


@dataclass(frozen=True, slots=True)
class Boards:
    """Where a board was at each moment.

    Attributes:
        arms_mm: (N, 3) from the board's middle to its points, in its own axes.
        R: (B, 3, 3) from board to world.
        middle_mm: (B, 3) in the world.
    """

    arms_mm: np.ndarray
    R: np.ndarray
    middle_mm: np.ndarray
    size = 6

    @classmethod
    def of(cls, target_mm: np.ndarray, poses: np.ndarray) -> Boards:
        """From poses (B, 6), rvec and t of the board's origin."""
        middle = target_mm.mean(axis=0)
        R = np.stack([cv2.Rodrigues(pose[:3])[0] for pose in poses])
        return cls(target_mm - middle, R, poses[:, 3:] + R @ middle)

    def poses(self, target_mm: np.ndarray) -> np.ndarray:
        """(B, 6) rvec and t from board to world."""
        rvec = np.stack([cv2.Rodrigues(R)[0].ravel() for R in self.R])
        return np.concatenate([rvec, self.middle_mm - self.R @ target_mm.mean(axis=0)], axis=1)

    def points(self, blocks: np.ndarray) -> np.ndarray:
        """(b, N, 3) mm of some blocks."""
        return self.arms_mm @ self.R[blocks].transpose(0, 2, 1) + self.middle_mm[blocks][:, None]

    def moved(self, steps: np.ndarray) -> Boards:
        """After steps (B, 6): turned about the middle in the board's axes, moved in the world's."""
        turns = np.stack([cv2.Rodrigues(step)[0] for step in steps[:, :3]])
        return Boards(self.arms_mm, self.R @ turns, self.middle_mm + steps[:, 3:])

    def derivatives(self, blocks: np.ndarray, camera_R: np.ndarray, seen: Projected) -> list[Pair]:
        """Of u and v, each (b, N), after the six."""
        in_board = (camera_R @ self.R[blocks])[:, None]
        columns: list[list[np.ndarray]] = []
        ax, ay, az = self.arms_mm.T
        for dx, dy, dz in seen.by_point:
            gx, gy, gz = (
                in_board[..., 0, k] * dx + in_board[..., 1, k] * dy + in_board[..., 2, k] * dz for k in range(3)
            )
            along = [camera_R[0, k] * dx + camera_R[1, k] * dy + camera_R[2, k] * dz for k in range(3)]
            columns.append([ay * gz - az * gy, az * gx - ax * gz, ax * gy - ay * gx, *along])
        return list(zip(*columns, strict=True))


@dataclass(frozen=True, slots=True)
class Points:
    """Points of the world, each on its own.

    Attributes:
        position_mm: (B, 3).
    """

    position_mm: np.ndarray
    size = 3

    def points(self, blocks: np.ndarray) -> np.ndarray:
        """(b, 1, 3) mm of some blocks."""
        return self.position_mm[blocks][:, None]

    def moved(self, steps: np.ndarray) -> Points:
        """After steps (B, 3)."""
        return Points(self.position_mm + steps)

    def derivatives(self, blocks: np.ndarray, camera_R: np.ndarray, seen: Projected) -> list[Pair]:
        """Of u and v, each (b, 1), after the three."""
        columns = [
            [camera_R[0, k] * dx + camera_R[1, k] * dy + camera_R[2, k] * dz for k in range(3)]
            for dx, dy, dz in seen.by_point
        ]
        return list(zip(*columns, strict=True))


Blocks = Boards | Points


@dataclass(frozen=True, slots=True)
class View:
    """What one camera saw.

    Attributes:
        blocks: (b,) which blocks.
        px: (2, b, N); zero where not seen.
        per_sigma: (b, N) one over the deviation in px; zero where not seen.
    """

    blocks: np.ndarray
    px: np.ndarray
    per_sigma: np.ndarray


def views_of(px: np.ndarray, sigma_px: np.ndarray) -> tuple[View, ...]:
    """From (V, B, N, 2), NaN = not seen, and deviations of the shape (V, B, N)."""
    seen = np.isfinite(px).all(axis=-1) & np.isfinite(sigma_px) & (sigma_px > 0)
    made = []
    for of_view, is_seen, sigma in zip(px, seen, sigma_px, strict=True):
        blocks = np.flatnonzero(is_seen.any(axis=1))
        there = is_seen[blocks]
        made.append(
            View(
                blocks,
                np.where(there, of_view[blocks].transpose(2, 0, 1), 0.0),
                np.divide(1.0, sigma[blocks], out=np.zeros(there.shape), where=there),
            )
        )
    return tuple(made)


@dataclass(frozen=True, slots=True)
class Normal:
    """The normal equations ``[[cameras, coupling], [coupling^T, blocks]] step = gradient``.

    Attributes:
        cameras: (P, P).
        coupling: (B, P, s).
        blocks: (B, s, s).
        by_block: (B, P) what each block pulls the cameras with, downhill.
        block_gradient: (B, s).
    """

    cameras: np.ndarray
    coupling: np.ndarray
    blocks: np.ndarray
    by_block: np.ndarray
    block_gradient: np.ndarray

    @property
    def camera_gradient(self) -> np.ndarray:
        """(P,) what all blocks together pull the cameras with."""
        return self.by_block.sum(axis=0)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is constant while the adjustment runs.

    Attributes:
        views: One a camera.
        fisheye: Of each camera.
        table: Free parameters of each camera.
        loss: See `calib.bundle.loss`.
        threshold: In sigmas.
    """

    views: tuple[View, ...]
    fisheye: tuple[bool, ...]
    table: tuple[Columns, ...]
    loss: losses.LossName
    threshold: float

    @property
    def n_parameters(self) -> int:
        """Of all cameras."""
        return sum(len(columns.labels) for columns in self.table)

    def residuals(self, state: State, blocks: Blocks) -> list[np.ndarray]:
        """Of each camera (2, b, N) px, seen - projected; NaN where not seen or behind the camera."""
        found = []
        for view, (R, center, intrinsics) in enumerate(zip(state.R, state.centers, state.intrinsics, strict=True)):
            seen = self.views[view]
            xyz, ahead = _in_front(R, center, blocks.points(seen.blocks))
            px = project(xyz, intrinsics, self.fisheye[view], frozenset()).px
            found.append(np.where(ahead & (seen.per_sigma > 0), seen.px - np.stack(px), np.nan))
        return found

    def without_behind(self, state: State, blocks: Blocks) -> Problem:
        """The same without observations of what lies behind its camera at this state: they pull nowhere."""
        views = []
        for seen, residual in zip(self.views, self.residuals(state, blocks), strict=True):
            views.append(View(seen.blocks, seen.px, np.where(np.isnan(residual[0]), 0.0, seen.per_sigma)))
        return Problem(tuple(views), self.fisheye, self.table, self.loss, self.threshold)

    def cost(self, state: State, blocks: Blocks) -> float:
        """Half the sum of what all residuals cost; infinite when a point went behind its camera."""
        if not state.possible():
            return float("inf")
        total = 0.0
        for seen, residual in zip(self.views, self.residuals(state, blocks), strict=True):
            used = seen.per_sigma > 0
            squared = (residual * residual).sum(axis=0)[used] * seen.per_sigma[used] ** 2
            total += float(losses.evaluate(squared, self.loss, self.threshold)[0].sum())
        return 0.5 * total if np.isfinite(total) else float("inf")

    def linearised(self, state: State, blocks: Blocks) -> Normal:
        """The normal equations with the weights that the loss gives here."""
        n_blocks = len(blocks.middle_mm if isinstance(blocks, Boards) else blocks.position_mm)
        P, s = self.n_parameters, blocks.size
        cameras, by_block = np.zeros((P, P)), np.zeros((n_blocks, P))
        coupling, inner = np.zeros((n_blocks, P, s)), np.zeros((n_blocks, s, s))
        block_gradient = np.zeros((n_blocks, s))
        at = 0
        for view, seen in enumerate(self.views):
            p = len(self.table[view].labels)
            mine = slice(at, at + p)
            at += p
            if not len(seen.blocks):
                continue
            J, residual = self._jacobian(view, state, blocks)
            product = J @ J.transpose(0, 2, 1)
            gradient = (J @ residual[..., None])[..., 0]
            cameras[mine, mine] = product[:, :p, :p].sum(axis=0)
            by_block[seen.blocks, mine] = gradient[:, :p]
            coupling[seen.blocks, mine] = product[:, :p, p:]
            inner[seen.blocks] += product[:, p:, p:]
            block_gradient[seen.blocks] += gradient[:, p:]
        return Normal(cameras, coupling, inner, by_block, block_gradient)

    def _jacobian(self, view: int, state: State, blocks: Blocks) -> tuple[np.ndarray, np.ndarray]:
        """Weighted derivatives (b, p + s, 2 N) and residuals (b, 2 N) of one camera."""
        seen, columns = self.views[view], self.table[view]
        R = state.R[view]
        (x, y, z), ahead = _in_front(R, state.centers[view], blocks.points(seen.blocks))
        there = project((x, y, z), state.intrinsics[view], self.fisheye[view], columns.wanted)
        residual = seen.px - np.stack(there.px)
        squared = (residual[0] ** 2 + residual[1] ** 2) * seen.per_sigma**2
        weight = np.sqrt(losses.evaluate(squared, self.loss, self.threshold)[1]) * seen.per_sigma
        weight = np.where(ahead, weight, 0.0)
        p = len(columns.labels)
        b, n = seen.per_sigma.shape
        J = np.empty((b, p + blocks.size, 2, n))
        at = 0
        if columns.extrinsics:
            for row, (dx, dy, dz) in enumerate(there.by_point):
                J[:, 0, row] = y * dz - z * dy
                J[:, 1, row] = z * dx - x * dz
                J[:, 2, row] = x * dy - y * dx
                J[:, 3, row], J[:, 4, row], J[:, 5, row] = -dx, -dy, -dz
            at = 6
        for moves in columns.intrinsics:
            for row in range(2):
                J[:, at, row] = sum(factor * there.by_lens[index][row] for index, factor in moves)
            at += 1
        for of_u, of_v in blocks.derivatives(seen.blocks, R, there):
            J[:, at, 0], J[:, at, 1] = of_u, of_v
            at += 1
        J *= weight[:, None, None]
        residual *= weight
        return J.reshape(b, -1, 2 * n), residual.transpose(1, 0, 2).reshape(b, 2 * n)


def _in_front(
    R: np.ndarray, center: np.ndarray, points: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """Points (b, N, 3) in a camera's axes, one array each; those behind it lie on its axis and are marked."""
    local = (points - center).reshape(-1, 3) @ R.T
    x, y, z = np.ascontiguousarray(local.T).reshape(3, *points.shape[:2])
    ahead = z > 0
    if not ahead.all():
        x, y, z = np.where(ahead, x, 0.0), np.where(ahead, y, 0.0), np.where(ahead, z, 1.0)
    return (x, y, z), ahead


def check_shapes(px: np.ndarray, n_cameras: int, n_blocks: int, n_points: int | None) -> None:
    """Raise `ValueError` where arrays do not belong together: a mistake of the caller, not of a user."""
    expected: Sequence[int] = (n_cameras, n_blocks, 2) if n_points is None else (n_cameras, n_blocks, n_points, 2)
    if px.shape != tuple(expected):
        raise ValueError(f"px has shape {px.shape}, not {tuple(expected)}")
