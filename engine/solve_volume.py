"""What a volumetric graph returned, looked at before it is believed.

The graph's position is what is published, never one that is computed again from the keypoints: the volume weighs what
all views show. The keypoints are what it is held against. ``how`` a joint was got follows from the views that see it
(confidence over the model's score) and agree (its reprojection lies within their gate):

- two or more: ``triangulated``, for then the views alone fix the place;
- one: ``lifted``: the view fixes a ray, and how far along it the joint lies is what the volume has learned;
- none sees it: ``predicted``. The place follows from other joints only, stands in ``predicted_mm`` and is no
  measurement.

Where fewer than half of the views that see a joint agree with the volume, one of both is wrong and nothing is
published. The covariance is the model's own (`engine.models.volumetric.Located`): long along the ray where there is one
view. Residuals say how far the answer is from the keypoints; they do not know what one view does not see, nor the size
of a voxel, so that no covariance is made of them.
"""

from __future__ import annotations

import numpy as np

from calib.rig import RigArrays
from engine.config import SolveSection
from engine.solve import MIN_SIGMA_PX, Observation, Solver
from rigpose.pose import (
    BEHIND_CAMERA,
    LIFTED,
    MEASURED,
    NONE,
    NOT_SEEN,
    PREDICTED,
    RESIDUAL,
    TRIANGULATED,
    UNCERTAIN,
    SubjectPose,
)

MAX_LIFTED_SHARE = 0.1
"""Of the rig's working distance: 35 cm in a room of 3.5 m. One view alone is published with three times the deviation
of several, for a reader sees ``lifted`` and the covariance; beyond that it says no more than where the cube stands."""
_UPPER = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])


class VolumeSolver:
    """Answers one observation after the other for a rig.

    Args:
        rig: The rig's float64 arrays, for the pictures that really come.
        config: Gates and limits.
        min_score: Confidence from which a view's keypoint counts.
    """

    def __init__(self, rig: RigArrays, config: SolveSection, min_score: float) -> None:
        self._algebraic = Solver(rig, config, min_score)
        self._gate = config.gate_sigma
        self._min_score = min_score
        self.max_sigma_mm = self._algebraic.max_sigma_mm
        self.max_lifted_sigma_mm = config.max_lifted_sigma_mm or MAX_LIFTED_SHARE * float(rig.world[3])
        self._bits = (1 << np.arange(len(rig.K), dtype=np.uint32))[:, None]

    def solve(self, seen: Observation) -> SubjectPose:
        """The subject's joints; identity, skeleton and state are the tracker's to say.

        An observation without a volume's answer (a finder's rounds, keypoints that a camera sent, a cube without a
        middle) is solved from its keypoints, as `engine.solve.Solver` does.
        """
        if seen.covariance_mm2 is None or seen.position_mm is None or not np.isfinite(seen.position_mm).any():
            return self._algebraic.solve(seen.points_only())
        with np.errstate(all="ignore"):
            return self._solve(seen, np.asarray(seen.position_mm, float), np.asarray(seen.covariance_mm2, float))

    def _solve(self, seen: Observation, position: np.ndarray, covariance: np.ndarray) -> SubjectPose:
        sees = (seen.confidence >= self._min_score) & np.isfinite(seen.points).all(axis=-1)
        sigma = np.maximum(seen.sigma_px, MIN_SIGMA_PX)[:, None]
        residual = np.where(sees, np.asarray(seen.residual_px), np.nan)
        agrees = sees & (residual <= self._gate * sigma)
        count, agreeing = sees.sum(axis=0), agrees.sum(axis=0)
        there = np.isfinite(position).all(axis=-1) & np.isfinite(covariance).all(axis=-1)
        worst = np.full(len(position), np.inf)
        worst[there] = np.linalg.eigvalsh(covariance[there][:, _UPPER])[:, -1]

        how = np.where(agreeing >= 2, TRIANGULATED, np.where(count > 0, LIFTED, PREDICTED))
        limit = np.where(how == TRIANGULATED, self.max_sigma_mm, self.max_lifted_sigma_mm)
        fits = there & ((count == 0) | ((agreeing > 0) & (2 * agreeing >= count)))
        sure = fits & (worst <= limit**2)
        how = np.where(sure, how, NONE)
        behind = there & (sees & np.isnan(residual)).any(axis=0)
        failed = np.where(fits, UNCERTAIN, np.where(behind, BEHIND_CAMERA, RESIDUAL))
        reason = np.where(count == 0, NOT_SEEN, np.where(sure, MEASURED, failed))

        measured = (how == TRIANGULATED) | (how == LIFTED)
        used = agrees & measured
        says = np.where(measured, used, sees)
        confidence = (says * seen.confidence).sum(axis=0) / np.maximum(says.sum(axis=0), 1)
        predicted = how == PREDICTED
        return SubjectPose(
            id=0,
            id_confidence=1.0,
            skeleton="",
            state="tracked",
            position_mm=np.where(measured[:, None], position, np.nan).astype(np.float32),
            covariance_mm2=np.where(sure[:, None], covariance, np.nan).astype(np.float32),
            confidence=confidence.astype(np.float32),
            views=np.bitwise_or.reduce(self._bits * used, axis=0),
            residual_px=np.where(measured, residual, np.nan).astype(np.float32),
            how=how.astype(np.uint8),
            reason=reason.astype(np.uint8),
            predicted_mm=np.where(predicted[:, None], position, np.nan).astype(np.float32) if predicted.any() else None,
            points2d=seen.points,
            confidence2d=seen.confidence,
        )
