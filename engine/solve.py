"""Fast solve, then honest solve: what the graph returned is looked at before it is believed.

The graph triangulates with all views that are sure enough. A joint whose views all lie within the gate
keeps that answer; one with a view beyond it is solved again robustly (`calib.robust`), all such joints
in one batch; what cannot be trusted is NaN with a reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from calib.covariance import normal_covariance
from calib.prepared import prepare
from calib.rig import RigArrays
from calib.robust import solve_components
from engine.config import SolveSection
from rigpose.errors import ConfigError
from rigpose.pose import (
    BEHIND_CAMERA,
    MAX_VIEWS,
    MEASURED,
    NONE,
    NOT_SEEN,
    ONE_VIEW,
    RESIDUAL,
    TRIANGULATED,
    UNCERTAIN,
    SubjectPose,
)

MIN_SIGMA_PX = 0.5
"""No network finds a joint better than this: a crop that magnifies does not make it surer."""
MAX_SIGMA_SHARE = 0.03
"""Of the rig's working distance: 10 cm in a room of 3.5 m, 3 mm for a fly at 10 cm. An error of that size
is a tenth of a body; two good views at a right angle have a tenth of it."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of one subject.

    Attributes:
        points: (V, J, 2) raw px; NaN = not seen.
        confidence: (V, J) in 0..1; 0 where the view is absent.
        position_mm: (J, 3) the graph's answer from all views above the model's score; ``None`` = not
            triangulated yet.
        residual_px: (V, J) raw px, of that answer.
        sigma_px: (V,) standard deviation of a keypoint in raw px: the crop's scale times the network's.
        covariance_mm2: (J, 6) how sure a volumetric graph is of its answer; ``None`` = another kind of graph.
    """

    points: Float[np.ndarray, "V J 2"]
    confidence: Float[np.ndarray, "V J"]
    position_mm: Float[np.ndarray, "J 3"] | None
    residual_px: Float[np.ndarray, "V J"] | None
    sigma_px: Float[np.ndarray, " V"]
    covariance_mm2: Float[np.ndarray, "J 6"] | None = None

    def points_only(self) -> Observation:
        """What was seen, without what the graph made of it."""
        return replace(self, position_mm=None, residual_px=None, covariance_mm2=None)


@dataclass(slots=True)
class _Draft:
    """The answer while it is made: (3, J) mm, (6, J) mm2, (V, J), (V, J), (J,), (J,)."""

    position: np.ndarray
    variances: np.ndarray
    used: np.ndarray
    residual: np.ndarray
    solved: np.ndarray
    reason: np.ndarray


class Solver:
    """Answers one observation after the other for a rig.

    Args:
        rig: The rig's float64 arrays, for the pictures that really come.
        config: Gates and limits.
        min_score: Confidence from which a view's keypoint counts.
    """

    def __init__(self, rig: RigArrays, config: SolveSection, min_score: float) -> None:
        self._rig = prepare(rig)
        self._gate = config.gate_sigma
        self._min_score = min_score
        self.max_sigma_mm = config.max_sigma_mm or MAX_SIGMA_SHARE * self._rig.unit
        if self._rig.n_views > MAX_VIEWS:
            raise ConfigError("rig", f"has {self._rig.n_views} cameras", f"one engine takes at most {MAX_VIEWS}")
        self._bits = (1 << np.arange(self._rig.n_views, dtype=np.uint32))[:, None]

    def solve(self, seen: Observation) -> SubjectPose:
        """The subject's joints; identity, skeleton and state are the tracker's to say.

        A joint has a position where at least two views, and at least half of those that saw it, agree
        within the gate, it lies in front of them, and its standard deviation along its worst direction
        is below the limit. ``residual_px`` holds all views above the score, rejected ones too.
        """
        with np.errstate(all="ignore"):
            return self._solve(seen)

    def _solve(self, seen: Observation) -> SubjectPose:
        px = np.asarray(seen.points, dtype=np.float64).transpose(2, 0, 1)
        sigma = np.maximum(seen.sigma_px, MIN_SIGMA_PX)[:, None]
        weight = np.where(seen.confidence >= self._min_score, seen.confidence, 0.0)
        sees = (weight > 0) & np.isfinite(px[0] + px[1])
        weight = weight * sees
        count = np.add.reduce(sees)
        if seen.position_mm is None or seen.residual_px is None:
            position = np.full((3, px.shape[-1]), np.nan)
            residual = np.full(weight.shape, np.nan)
        else:
            position = np.array(seen.position_mm.T, dtype=np.float64)
            residual = np.where(sees, seen.residual_px, np.nan)
        # A residual that is NaN for a view that sees is beyond any gate: the point lies behind it.
        beyond = sees & ~(residual <= self._gate * sigma)
        solved = (count >= 2) & ~np.logical_or.reduce(beyond) & np.isfinite(np.add.reduce(position))
        used = sees & solved
        reason = np.where(solved, MEASURED, RESIDUAL)
        few = count < 2
        if few.any():
            reason[few] = np.where(count[few] == 0, NOT_SEEN, ONE_VIEW)
        draft = _Draft(position, self._variances(position, used, sigma), used, residual, solved, reason)
        again = np.flatnonzero(~(solved | few))
        if len(again):
            self._solve_again(draft, again, px, weight, sigma, count)
        self._doubt_uncertain(draft)
        lost = ~solved
        if lost.any():
            used &= solved
            for values in (draft.position, draft.variances, draft.residual):
                values[:, lost] = np.nan
        # Of a joint without position: how sure the views were that saw it.
        says = np.where(solved, used, sees) * weight
        confidence = np.add.reduce(says) / np.maximum(np.where(solved, np.add.reduce(used), count), 1)
        return SubjectPose(
            id=0,
            id_confidence=1.0,
            skeleton="",
            state="tracked",
            position_mm=draft.position.T.astype(np.float32),
            covariance_mm2=draft.variances.T.astype(np.float32),
            confidence=confidence.astype(np.float32),
            views=np.bitwise_or.reduce(self._bits * used, axis=0),
            residual_px=residual.astype(np.float32),
            how=np.where(solved, TRIANGULATED, NONE).astype(np.uint8),
            reason=reason.astype(np.uint8),
            points2d=seen.points,
            confidence2d=seen.confidence,
        )

    def _variances(self, position: np.ndarray, used: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        rig = self._rig
        camera = rig.seen_from((position - rig.origin) / rig.unit)
        xy = camera[:2] / camera[2]
        return normal_covariance(rig, xy, camera[2], rig.derivative(xy), used / sigma)

    def _solve_again(
        self,
        draft: _Draft,
        joints: np.ndarray,
        px: np.ndarray,
        weight: np.ndarray,
        sigma: np.ndarray,
        count: np.ndarray,
    ) -> None:
        """Solve these joints robustly, all in one batch."""
        weight = weight[:, joints]
        position, variances, used, residual, ok = solve_components(
            self._rig, px[:, :, joints], weight, sigma, self._gate
        )
        # A minority that agrees does so by chance as easily as by truth.
        ok &= 2 * np.add.reduce(used) >= count[joints]
        behind = np.logical_or.reduce((weight > 0) & np.isnan(residual))
        draft.position[:, joints] = position
        draft.variances[:, joints] = variances
        draft.used[:, joints] = used
        draft.residual[:, joints] = residual
        draft.solved[joints] = ok
        draft.reason[joints] = np.where(ok, MEASURED, np.where(behind, BEHIND_CAMERA, RESIDUAL))

    def _doubt_uncertain(self, draft: _Draft) -> None:
        """Give up joints whose standard deviation along their worst direction is beyond the limit."""
        limit = self.max_sigma_mm**2
        variances = draft.variances
        # The trace bounds the largest eigenvalue, which is only computed where that does not decide.
        trace = variances[0] + variances[3] + variances[5]
        near = np.flatnonzero(draft.solved & ~(trace <= limit))
        if not len(near):
            return
        matrices = variances[[0, 1, 2, 1, 3, 4, 2, 4, 5]][:, near].T.reshape(-1, 3, 3)
        finite = np.isfinite(matrices).all(axis=(1, 2))
        worst = np.full(len(near), np.inf)
        if finite.any():
            worst[finite] = np.linalg.eigvalsh(matrices[finite])[:, -1]
        far = near[~(worst <= limit)]
        draft.solved[far] = False
        draft.reason[far] = UNCERTAIN
