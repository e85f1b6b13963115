"""How two cameras stand to each other, by moments at which both see the board: proposals, and how many agree.

Each moment proposes up to four relative poses, two of the board in each view (`calib.initial`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calib.moments import adjoint
from calib.sight import BoardPoses, rotations

_AGREE = 40.0
"""Squared distance in deviations (6 unknowns) at which a moment counts half: beyond any chance, as poses of a board are
not normal far from their optimum."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two cameras and what they saw of the board.

    Attributes:
        poses: Both poses of the board in each view.
        covariance: (V, F, 2, 6, 6) of each pose, in rad and mm.
        plausible: (V, F, 2) which of both may be the true one.
        a, b: Indices of the cameras.
    """

    poses: BoardPoses
    covariance: np.ndarray
    plausible: np.ndarray
    a: int
    b: int

    def proposals(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Relative poses from a to b (H, ...) that single moments propose."""
        all_R, all_t = [], []
        for i in range(2):
            for j in range(2):
                use = frames[self.plausible[self.a, frames, i] & self.plausible[self.b, frames, j]]
                Ra, Rb = self.poses.R[self.a, use, i], self.poses.R[self.b, use, j]
                R = Rb @ np.swapaxes(Ra, -1, -2)
                all_R.append(R)
                all_t.append(self.poses.t[self.b, use, j] - (R @ self.poses.t[self.a, use, i][..., None])[..., 0])
        return np.concatenate(all_R), np.concatenate(all_t)

    def _distance(
        self, R: np.ndarray, t: np.ndarray, frames: np.ndarray, only: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """What is left between both views of each moment, for the best combination of their poses.

        For proposals (H, ...) at moments (F,): the squared distance in deviations (H, F), the motion (H, F, 6) that is
        left between the two views' boards, its covariance (H, F, 6, 6), and which combination it is (H, F): twice
        the pose of the first view plus that of the second. ``only`` (F,) allows one combination each.
        """
        through = adjoint(R, t)[:, None]
        best = np.full((len(R), len(frames)), np.inf)
        which = np.zeros(best.shape, dtype=np.int64)
        best_motion = np.zeros((*best.shape, 6))
        best_covariance = np.tile(np.eye(6), (*best.shape, 1, 1))
        for i in range(2):
            use = self.plausible[self.a, frames, i]
            if not use.any():
                continue
            at = frames[use]
            moved_R = R[:, None] @ self.poses.R[self.a, at, i]
            moved_t = (R[:, None] @ self.poses.t[self.a, at, i][..., None])[..., 0] + t[:, None]
            moved_C = through @ self.covariance[self.a, at, i] @ np.swapaxes(through, -1, -2)
            for j in range(2):
                ok = self.plausible[self.b, at, j]
                if only is not None:
                    ok = ok & (only[use] == 2 * i + j)
                if not ok.any():
                    continue
                off_R = moved_R[:, ok] @ np.swapaxes(self.poses.R[self.b, at[ok], j], -1, -2)
                off_t = moved_t[:, ok] - (off_R @ self.poses.t[self.b, at[ok], j][..., None])[..., 0]
                motion = np.concatenate([_log(off_R), off_t], axis=-1)
                covariance = moved_C[:, ok] + self.covariance[self.b, at[ok], j]
                squared = (motion * _solved(covariance, motion)).sum(axis=-1)
                where = np.flatnonzero(use)[ok]
                nearer = squared < best[:, where]
                h, f = np.nonzero(nearer)
                best[h, where[f]] = squared[h, f]
                which[h, where[f]] = 2 * i + j
                best_motion[h, where[f]] = motion[h, f]
                best_covariance[h, where[f]] = covariance[h, f]
        return best, best_motion, best_covariance, which

    def mirrored(self, R: np.ndarray, t: np.ndarray, frames: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """The relative poses with the board mirrored in the first view, the second, or both, where plausible."""
        code = self._distance(R[None], t[None], frames)[3][0]
        found = []
        for flip in (1, 2, 3):
            other = code ^ flip
            ok = self.plausible[self.a, frames, other >> 1] & self.plausible[self.b, frames, other & 1]
            if ok.sum() < max(3, len(frames) // 2):
                continue
            use, of_a, of_b = frames[ok], other[ok] >> 1, other[ok] & 1
            Ra, Rb = self.poses.R[self.a, use, of_a], self.poses.R[self.b, use, of_b]
            each_R = Rb @ np.swapaxes(Ra, -1, -2)
            each_t = self.poses.t[self.b, use, of_b] - (each_R @ self.poses.t[self.a, use, of_a][..., None])[..., 0]
            d2 = self._distance(each_R, each_t, use, other[ok])[0]
            middle = int(np.median(np.where(np.isfinite(d2), d2, 1e12), axis=-1).argmin())
            found.append(self.averaged(each_R[middle], each_t[middle], use, other[ok]))
        return found

    def agreement(self, R: np.ndarray, t: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """(H,) how many moments agree with each proposal, softly counted."""
        d2 = self._distance(R, t, frames)[0]
        # What the lens model leaves adds to the noise: half of the moments of the best proposal agree by definition,
        # within the median of a chi-square of six.
        scale = max(float(np.median(d2, axis=-1).min()) / 5.35, 1.0)
        scale = min(scale, 100.0)
        return (_AGREE / (_AGREE + d2 / scale)).sum(axis=-1)

    def averaged(
        self, R: np.ndarray, t: np.ndarray, frames: np.ndarray, only: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The pose that the moments which agree with a proposal have in the mean."""
        for _ in range(4):
            d2, motion, covariance, _ = (values[0] for values in self._distance(R[None], t[None], frames, only))
            precision = _inverse(covariance)
            d2 = np.where(np.isfinite(d2), d2, 1e12)
            scale = min(max(float(np.median(d2)) / 5.35, 1.0), 100.0)
            weight = (_AGREE / (_AGREE + d2 / scale)) ** 2
            normal = np.einsum("f,fij->ij", weight, precision)
            right = np.einsum("f,fij,fj->i", weight, precision, motion)
            size = np.sqrt(np.diag(normal)) + 1e-300
            step = -np.linalg.solve(normal / size[:, None] / size + 1e-9 * np.eye(6), right / size) / size
            turn = rotations(step[:3])
            R, t = turn @ R, turn @ t + step[3:]
        return R, t


def _log(R: np.ndarray) -> np.ndarray:
    """(..., 3) Rodrigues vectors; near half a turn only their length is right, which is all that is needed."""
    axis = np.stack([R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]], axis=-1)
    sine = np.linalg.norm(axis, axis=-1) / 2
    angle = np.arctan2(sine, (np.trace(R, axis1=-2, axis2=-1) - 1) / 2)
    with np.errstate(all="ignore"):
        factor = np.where(sine > 1e-9, angle / (2 * sine), 0.5)
    w = axis * factor[..., None]
    half = (sine <= 1e-9) & (angle > 1)
    w[half] = (np.pi, 0, 0)
    return w


def _solved(covariance: np.ndarray, right: np.ndarray) -> np.ndarray:
    size = np.sqrt(np.einsum("...ii->...i", covariance))
    unit = covariance / size[..., :, None] / size[..., None, :] + 1e-9 * np.eye(6)
    return np.linalg.solve(unit, (right / size)[..., None])[..., 0] / size


def _inverse(covariance: np.ndarray) -> np.ndarray:
    size = np.sqrt(np.einsum("...ii->...i", covariance))
    unit = covariance / size[..., :, None] / size[..., None, :]
    return np.linalg.inv(unit + 1e-9 * np.eye(6)) / size[..., :, None] / size[..., None, :]
