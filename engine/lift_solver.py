"""A lifter in the engine: what becomes of the joints that the views could not triangulate.

`engine.solve.Solver` answers first, and a joint that it triangulated stays as it is, to the last bit. Of the others:

- one that a single view sees is ``lifted``: on that view's ray, as far along it as the lift says;
- one that no view sees is ``predicted``: it stands in ``predicted_mm`` and is no measurement. So does one whose views
  contradict each other where nothing tells which of them is right;
- where a ray contradicts the lift, one of both is wrong, and there is no answer (reason ``residual``).

Each has a covariance; one that is beyond the limit is not published (reason ``uncertain``).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from calib.rig import RigArrays
from engine.config import EngineSection
from engine.fallback import Fallback, Fallen, Sight
from engine.fallback_tuning import FallbackTuning
from engine.lift import Lifter
from engine.lift_blend import square
from engine.lift_state import Scale
from engine.rays import Rays
from engine.root_place import root_in_world
from engine.solve import MIN_SIGMA_PX, Observation
from engine.solve_volume import MAX_LIFTED_SHARE
from rigpose.pose import (
    LIFTED,
    MEASURED,
    NONE,
    NOT_SEEN,
    PREDICTED,
    RESIDUAL,
    UNCERTAIN,
    SubjectPose,
)

log = logging.getLogger(__name__)

LEAST_SEEN_SHARE = 0.3
"""Of the joints that a view must see to be lifted, and at least three."""
ALONE_SHARE = 0.25
"""Largest deviation that is published where there is but one camera, as a share of the subject's distance: it knows
that no better than the size."""
KNOWN_SIGMA = 0.02
"""How well a size that the config gives is known, relative."""
FLOOR_SIGMA = 0.05
"""How well the floor tells the scale, relative: the lowest joint lies a little above it."""
_SIX = (np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 2, 1, 2, 2]))


@dataclass(frozen=True, slots=True)
class LocatedLifter:
    """A lifter that is ready to run for one subject, and how far it can be trusted where it stands in for views."""

    lifter: Lifter
    tuning: FallbackTuning


class LiftSolver:
    """Follows one subject of a rig.

    Args:
        rig: The rig's float64 arrays, for the pictures that really come.
        config: Gates, limits and what tells the scale.
        min_score: Confidence from which a view's keypoint counts.
        located: The lifter; its joints are among ``joints``.
        joints: Names of the model's joints, in the order of its poses.
    """

    def __init__(
        self,
        rig: RigArrays,
        config: EngineSection,
        min_score: float,
        located: LocatedLifter,
        joints: Sequence[str],
    ) -> None:
        self._rig, self._lifter, self._min_score = rig, located.lifter, min_score
        document, tuning = located.lifter.document, located.tuning
        self._root_of = document.root_of
        self._which = np.array([joints.index(name) for name in document.skeleton.joints])
        count = len(self._which)
        self._least = count if document.needs_all else max(3, int(np.ceil(LEAST_SEEN_SHARE * count)))
        self._limit_mm = config.solve.max_lifted_sigma_mm
        self._by_floor = config.lift.scale == "floor"
        scale = None
        if not isinstance(config.lift.scale, str):
            scale = Scale(config.lift.scale / document.size_mm, KNOWN_SIGMA)
        elif not self._by_floor:
            # A single camera learns nothing of the size from frame to frame: what a lift is off by stays for long, and
            # would be taken for it. Several cameras measure it.
            alone = len(rig.K) == 1
            spread = max(tuning.scale_sigma, document.size_spread) if alone else tuning.scale_sigma
            scale = Scale(1.0, spread, holds=not alone)
        self._fallback = Fallback(rig, document, tuning, config.solve.gate_sigma, scale)
        self._rays = Rays(rig)
        self._bits = 1 << np.arange(len(rig.K), dtype=np.uint32)

    def reset(self) -> None:
        """Forget the subject: another one is followed, or this one was lost."""
        self._fallback.reset()
        self._lifter.reset()

    def alone(self, pose: SubjectPose, seen: Observation) -> SubjectPose:
        """As `follow`, of a frame set by itself; what was followed is forgotten."""
        self.reset()
        found = self.follow(pose, seen, 0)
        self.reset()
        return found

    def follow(self, pose: SubjectPose, seen: Observation, time_ns: int) -> SubjectPose:
        """The subject's pose with what stands in for the joints that were not triangulated.

        Args:
            pose: What `engine.solve.Solver` says of the frame set.
            seen: Of the same.
            time_ns: When it was exposed; later than that of the set before.
        """
        try:
            with np.errstate(all="ignore"):
                return self._follow(pose, seen, time_ns)
        except np.linalg.LinAlgError as error:
            # A covariance that cannot be: what was triangulated stands, and the lift begins anew.
            log.warning("lifter %s: %s; nothing is lifted in this frame set", self._lifter.document.id, error)
            self.reset()
            return pose

    def _follow(self, pose: SubjectPose, seen: Observation, time_ns: int) -> SubjectPose:
        which = self._which
        points = np.asarray(seen.points, np.float64)[:, which]
        confidence = np.asarray(seen.confidence)[:, which]
        sees = (confidence >= self._min_score) & (confidence > 0) & np.isfinite(points).all(axis=-1)
        sigma = np.maximum(seen.sigma_px, MIN_SIGMA_PX)
        lifted, spread = self._lift(points, confidence, sees)
        if self._by_floor:
            self._fallback.scale = self._floor_scale(lifted, spread, points, confidence * sees, sigma)
        position = np.asarray(pose.position_mm, np.float64)[which]
        count, reason = sees.sum(axis=0), pose.reason[which]
        fallen = self._fallback(
            Sight(
                time_ns=time_ns,
                position_mm=position,
                covariance_mm2=square(np.asarray(pose.covariance_mm2, np.float64)[which]),
                points=points,
                sees=sees,
                contested=(count >= 2) & ~np.isfinite(position).all(axis=-1) & (reason != UNCERTAIN),
                sigma_px=sigma,
                lifted_mm=lifted,
                lifted_covariance_mm2=spread,
            )
        )
        lost = np.flatnonzero(~np.isfinite(position).all(axis=-1))
        return self._with(pose, points, confidence, sees, fallen, lost) if len(lost) else pose

    def _lift(self, points: np.ndarray, confidence: np.ndarray, sees: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        enough = sees.sum(axis=1) >= self._least
        given = sees & enough[:, None]
        answer = self._lifter.lift(
            np.where(given[..., None], points, np.nan), np.where(given, confidence, 0.0), self._rig
        )
        return np.where(enough[:, None, None], answer.lifted_mm, np.nan), answer.covariance_mm2

    def _floor_scale(
        self, lifted: np.ndarray, spread: np.ndarray, points: np.ndarray, confidence: np.ndarray, sigma: np.ndarray
    ) -> Scale:
        """The subject's size by the floor that it stands on, as the view tells it that sees most."""
        view = int(np.argmax((confidence > 0).sum(axis=1)))
        placed = root_in_world(
            lifted[view], spread[view], points[view], confidence[view], self._rig, view,
            root_of=self._root_of, scale="floor", noise_px=float(sigma[view]),
        )  # fmt: skip
        if not np.isfinite(placed.scale):
            return replace(self._fallback.scale, holds=False)
        return Scale(placed.scale, FLOOR_SIGMA * placed.scale, holds=False)

    def _with(
        self,
        pose: SubjectPose,
        points: np.ndarray,
        confidence: np.ndarray,
        sees: np.ndarray,
        fallen: Fallen,
        lost: np.ndarray,
    ) -> SubjectPose:
        own = self._which[lost]
        used, sees, points = fallen.used[:, lost], sees[:, lost], points[:, lost]
        place, spread = fallen.position_mm[lost], fallen.covariance_mm2[lost]
        there = np.isfinite(place).all(axis=-1) & np.isfinite(spread).all(axis=(-2, -1))
        limit2 = self._limit(place[there]) ** 2
        # The trace bounds the largest eigenvalue, which is only computed where that does not decide.
        sure = there & (np.trace(spread, axis1=1, axis2=2) <= limit2)
        near = np.flatnonzero(there & ~sure)
        if len(near):
            sure[near] = np.linalg.eigvalsh(spread[near])[:, -1] <= limit2
        by_ray = used.any(axis=0)
        count = sees.sum(axis=0)
        lifted, predicted = sure & by_ray, sure & ~by_ray

        how, reason = pose.how.copy(), pose.reason.copy()
        how[own] = np.where(lifted, LIFTED, np.where(predicted, PREDICTED, NONE))
        seen_reason = np.where(fallen.contradicted[lost], RESIDUAL, np.where(there & ~sure, UNCERTAIN, reason[own]))
        reason[own] = np.where(lifted, MEASURED, np.where(count == 0, NOT_SEEN, seen_reason))

        position, covariance = pose.position_mm.copy(), pose.covariance_mm2.copy()
        position[own[lifted]] = place[lifted]
        covariance[own[sure]] = spread[sure][:, _SIX[0], _SIX[1]]
        guess = None
        if predicted.any():
            guess = np.full_like(position, np.nan)
            guess[own[predicted]] = place[predicted]
        views, sureness, residual = pose.views.copy(), pose.confidence.copy(), pose.residual_px.copy()
        if lifted.any():
            views[own[lifted]] = np.bitwise_or.reduce(self._bits[:, None] * used[:, lifted], axis=0)
            says = confidence[:, lost[lifted]] * used[:, lifted]
            sureness[own[lifted]] = says.sum(axis=0) / used[:, lifted].sum(axis=0)
            off = self._rays.residual_px(points[:, lifted], place[lifted])
            residual[:, own[lifted]] = np.where(sees[:, lifted], off, np.nan)
        return replace(
            pose,
            position_mm=position,
            covariance_mm2=covariance,
            confidence=sureness,
            views=views,
            residual_px=residual,
            how=how,
            reason=reason,
            predicted_mm=guess,
        )

    def _limit(self, place: Float[np.ndarray, "N 3"]) -> float:
        """Largest deviation in mm that is published; one camera knows no working distance but the subject's."""
        if self._limit_mm is not None:
            return self._limit_mm
        if len(self._bits) > 1 or not len(place):
            return MAX_LIFTED_SHARE * self._rays.unit_mm
        return ALONE_SHARE * float(np.median(np.linalg.norm(place - self._rays.centers_mm[0], axis=-1)))
