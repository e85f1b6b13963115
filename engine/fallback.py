"""Joints that fewer than two views see, in a rig of several cameras or of one.

A joint that one view sees lies on that view's ray; how far along it, a lift says. A joint that no view sees is where
the lift and its own motion say. Three things are known of a lost joint, each with its covariance:

* the lifts of all views, as one (`engine.lift_blend`), held to the joints that were triangulated and to what the lift
  was off by there and before (`engine.lift_state`);
* its motion until now (`engine.motion`);
* the rays of the views that see it (`engine.rays`).

They are combined by their inverse covariances. Where a ray lies further from what the others say than chance brings it,
one of them is wrong and the joint is given up. Nothing here changes a joint that was triangulated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from calib.rig import RigArrays
from engine.fallback_tuning import FallbackTuning
from engine.information import Known, RayPoints
from engine.lift_blend import Blend, blend
from engine.lift_state import LiftState, Scale
from engine.lifter_document import LifterDocument
from engine.motion import Motion
from engine.rays import Rays
from engine.running_ratio import RunningRatio

_EYE = np.eye(3)
_NEAR = 3.0
"""Sizes of the subject within which its root is from its other joints."""
_FAR = 10.0
"""Working distances within which a subject is that nothing is known of."""
_LEAST_SIGMA_SHARE = 1e-4
"""Of the subject's size: no triangulated joint is surer than that, for its covariance must have an inverse."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known of one subject in one frame set.

    Attributes:
        time_ns: When it was exposed.
        position_mm: (J, 3) triangulated joints; NaN = lost.
        covariance_mm2: (J, 3, 3) of those.
        points: (V, J, 2) raw px.
        sees: (V, J) which views see a joint.
        contested: (J,) lost joints whose views contradict each other: at most one of them is right.
        sigma_px: (V,) standard deviation of a keypoint.
        lifted_mm: (V, J, 3) in the axes of each camera; NaN for a view that was not lifted.
        lifted_covariance_mm2: (V, J, 6) of that.
    """

    time_ns: int
    position_mm: Float[np.ndarray, "J 3"]
    covariance_mm2: Float[np.ndarray, "J 3 3"]
    points: Float[np.ndarray, "V J 2"]
    sees: Bool[np.ndarray, "V J"]
    contested: Bool[np.ndarray, " J"]
    sigma_px: Float[np.ndarray, " V"]
    lifted_mm: Float[np.ndarray, "V J 3"]
    lifted_covariance_mm2: Float[np.ndarray, "V J 6"]


@dataclass(frozen=True, slots=True)
class Fallen:
    """What stands in for the lost joints; all else is NaN or false.

    Attributes:
        position_mm: (J, 3); NaN where nothing is known.
        covariance_mm2: (J, 3, 3).
        used: (V, J) the views along whose rays a joint was taken.
        contradicted: (J,) views see it, and the ray of none fits what the others say.
    """

    position_mm: Float[np.ndarray, "J 3"]
    covariance_mm2: Float[np.ndarray, "J 3 3"]
    used: Bool[np.ndarray, "V J"]
    contradicted: Bool[np.ndarray, " J"]


class Fallback:
    """Follows one subject.

    Args:
        rig: The rig's float64 arrays, for the pictures that really come.
        document: Of the lifter.
        tuning: How far it can be trusted.
        gate_sigma: How far off a ray may be, in standard deviations of what is known of it.
        scale: The subject's size, where more is known of it than the tuning says.
    """

    def __init__(
        self,
        rig: RigArrays,
        document: LifterDocument,
        tuning: FallbackTuning,
        gate_sigma: float = 4.0,
        scale: Scale | None = None,
    ) -> None:
        self._rays = Rays(rig)
        self._tuning = tuning
        self._gate2 = gate_sigma**2
        self._size_mm = document.size_mm
        self.scale = scale or Scale(1.0, tuning.scale_sigma)
        joints = len(document.skeleton.joints)
        self._roots = np.zeros(joints, bool)
        correlation, speeds = tuning.correlations(document), tuning.speeds_mm(document)
        self._states = []
        for entry in document.roots:
            self._roots[entry.root] = True
            own = np.array([entry.root, *entry.joints])
            matrix = correlation[np.ix_(own, own)]
            self._states.append(
                LiftState(own, matrix, tuning.lift_memory_s, tuning.lift_noise, float(speeds[entry.root]), joints)
            )
        self._motion = Motion(speeds, tuning.speed_memory_s, _FAR * float(rig.world[3]))
        self._lift_ratio, self._motion_ratio = RunningRatio(), RunningRatio(joints)
        self.reset()

    def reset(self) -> None:
        """Forget the subject."""
        self._motion.reset()
        self._lift_ratio.reset()
        self._motion_ratio.reset()
        for state in self._states:
            state.reset()
        self._time_ns: int | None = None
        self._lifted_ns: int | None = None
        self._vague = False
        self._held = False

    def __call__(self, sight: Sight) -> Fallen:
        """The lost joints of the next frame set."""
        known = np.isfinite(sight.position_mm).all(axis=-1)
        self._held |= bool(known.any())
        lost = np.flatnonzero(~known)
        triangulated = self._triangulated(sight, known)
        since = _since(self._time_ns, sight.time_ns)
        self._motion.predict(since, self._motion_ratio.value)
        self._motion_ratio.add(*self._motion.surprise2(triangulated.information, triangulated.at), since)
        self._time_ns = sight.time_ns
        lifted = self._lift(sight)
        fallen = Fallen(
            position_mm=np.full(sight.position_mm.shape, np.nan),
            covariance_mm2=np.full(sight.covariance_mm2.shape, np.nan),
            used=np.zeros(sight.sees.shape, bool),
            contradicted=np.zeros(len(known), bool),
        )
        if len(lost):
            taken = self._fall(sight, lost, lifted, triangulated, fallen)
            triangulated.information[lost], triangulated.at[lost] = taken.information, taken.at
        elif lifted:
            self._condition(triangulated)
        if lifted:
            parts = [state.errors2(np.flatnonzero(known[state.joints])) for state in self._states]
            seen, expected = np.array(parts).sum(axis=0)[:, None]
            self._lift_ratio.add(seen, expected, since)
        self._motion.update(triangulated.information, triangulated.at)
        return fallen

    def _triangulated(self, sight: Sight, known: np.ndarray) -> RayPoints:
        """The triangulated joints; of the others nothing."""
        covariance = np.where(known[:, None, None], sight.covariance_mm2, _EYE)
        covariance = covariance * self._tuning.pixel_scale**2 + (_LEAST_SIGMA_SHARE * self._size_mm) ** 2 * _EYE
        information = np.linalg.inv(covariance) * known[:, None, None]
        return RayPoints(information, np.where(known[:, None], sight.position_mm, 0.0))

    def _lift(self, sight: Sight) -> bool:
        """Let the lift's states go on to this frame set; whether any view was lifted."""
        lift = blend(
            sight.lifted_mm, sight.lifted_covariance_mm2, self._rays.to_world, self._roots,
            self._tuning.view_correlation, self._size_mm,
        )  # fmt: skip
        if lift is None:
            return False
        scaled = Blend(lift.shape_mm, lift.factor_mm * (self._tuning.lift_scale * np.sqrt(self._lift_ratio.value[0])))
        self._vague = False
        near, within = self._rays.middle_mm, _FAR * self._rays.unit_mm
        if self._lifted_ns is None:
            known = np.isfinite(sight.position_mm).all(axis=-1)
            self._vague = not known.any()
            if not self._vague:
                near, within = np.median(sight.position_mm[known], axis=0), _NEAR * self._size_mm
        since = _since(self._lifted_ns, sight.time_ns)
        for state in self._states:
            state.predict(since, scaled, self.scale, near, within)
        self._lifted_ns = sight.time_ns
        return True

    def _condition(self, measured: RayPoints) -> None:
        """Hold the states to what was measured of all joints."""
        there = measured.there
        for state in self._states:
            own = np.flatnonzero(there[state.joints])
            joints = state.joints[own]
            state.update(own, measured.information[joints], measured.at[joints])

    def _places(self, lost: np.ndarray) -> np.ndarray:
        """(K, 3): where the states have the lost joints."""
        position = np.zeros((len(lost), 3))
        for state, mine, place in self._parts(lost):
            position[mine] = state.places(place)
        return position

    def _parts(self, lost: np.ndarray) -> Iterator[tuple[LiftState, np.ndarray, np.ndarray]]:
        for state in self._states:
            place = state.place_of[lost]
            mine = np.flatnonzero(place >= 0)
            if len(mine):
                yield state, mine, place[mine]

    def _fall(self, sight: Sight, lost: np.ndarray, lifted: bool, triangulated: RayPoints, fallen: Fallen) -> RayPoints:
        """Fill in the lost joints; what their rays said that were believed."""
        sees, contested = sight.sees[:, lost], sight.contested[lost]
        centers = self._rays.centers_mm
        near = self._guess(sight, lost, triangulated) if lifted else self._motion.position[lost]
        before = [state.held for state in self._states]
        rays = self._look(sight, lost, self._rays.depth_mm(near))
        alone = RayPoints.of(rays * (sees & ~contested)[:, :, None, None], centers, near)
        others = self._others(lost, lifted, alone, triangulated)
        off2 = others.distance2(alone.information, alone.at)
        wrong = off2 > self._gate2
        if wrong.any():
            # What contradicts the others must not have moved them either.
            self._restore(before)
            others = self._others(lost, lifted, alone.without(wrong), triangulated)
            off2 = others.distance2(alone.information, alone.at)
            wrong = off2 > self._gate2
        used = rays.any(axis=(-2, -1)) & sees & ~contested & ~wrong
        taken = alone.without(wrong)
        if contested.any():
            # At most one of a joint's views is right; where two seem so, nothing tells which, and none is believed.
            fits = sees & (others.distance2(rays, centers[:, None]) <= self._gate2)
            used |= fits & contested & (fits.sum(axis=0) == 1)
            wrong |= contested & ~fits.any(axis=0)
            taken = RayPoints.of(rays * used[:, :, None, None], centers, near)
            off2 = others.distance2(taken.information, taken.at)
        answer = others.joined(taken)
        tuning = self._tuning
        growth = np.where(used.any(axis=0), tuning.lifted_scale, tuning.predicted_scale) ** 2
        if self._held and len(lost) == len(sight.position_mm):
            growth *= tuning.alone_scale**2
        if tuning.freedom:
            # Where a ray surprises, both it and what it surprises are less sure: Student's distribution.
            rows = 2 * used.sum(axis=0)
            growth *= np.where(rows > 0, (tuning.freedom + off2) / (tuning.freedom + rows), 1.0)
        growth[wrong | ~answer.within(0.5 * self._motion.unknown_mm)] = np.nan
        fallen.position_mm[lost] = np.where(np.isnan(growth)[:, None], np.nan, answer.position)
        fallen.covariance_mm2[lost] = growth[:, None, None] * answer.covariance
        fallen.used[:, lost] = used
        fallen.contradicted[lost] = wrong
        return taken

    def _guess(self, sight: Sight, lost: np.ndarray, triangulated: RayPoints) -> np.ndarray:
        """(K, 3) about where the lost joints are, before their rays are looked at."""
        if not self._vague:
            return self._places(lost)
        # Just begun, with rays alone: weighed alike, they tell where the subject is.
        before = [state.held for state in self._states]
        alike = self._look(sight, lost, np.full((len(sight.points), len(lost)), self._rays.unit_mm))
        sees = sight.sees[:, lost] & ~sight.contested[lost]
        middle = np.broadcast_to(self._rays.middle_mm, (len(lost), 3))
        self._condition(
            self._with(triangulated, lost, RayPoints.of(alike * sees[:, :, None, None], self._rays.centers_mm, middle))
        )
        found = self._places(lost)
        roots = [state.places(np.zeros(1, int))[0] for state in self._states]
        self._restore(before)
        for state, root in zip(self._states, roots, strict=True):
            within = max(float(np.abs(self._rays.depth_mm(root[None])).min()), self._size_mm)
            state.put(root, within)
        return found

    def _restore(self, before: list[tuple[np.ndarray, np.ndarray]]) -> None:
        for state, held in zip(self._states, before, strict=True):
            state.restore(held)

    def _look(self, sight: Sight, lost: np.ndarray, depth_mm: np.ndarray) -> np.ndarray:
        """(V, K, 3, 3) information of the lost joints' rays, weighed by about how far away they are."""
        sigma = np.broadcast_to(sight.sigma_px[:, None] * self._tuning.pixel_scale, depth_mm.shape)
        return self._rays.information(sight.points[:, lost], depth_mm, sigma)

    @staticmethod
    def _with(triangulated: RayPoints, lost: np.ndarray, rays: RayPoints) -> RayPoints:
        information, at = triangulated.information.copy(), triangulated.at.copy()
        information[lost], at[lost] = rays.information, rays.at
        return RayPoints(information, at)

    def _others(self, lost: np.ndarray, lifted: bool, rays: RayPoints, triangulated: RayPoints) -> Known:
        """What is known of each lost joint without its own rays; the states take all in."""
        information = np.linalg.inv(self._motion.covariance[lost])
        vector = (information @ self._motion.position[lost][..., None])[..., 0]
        if lifted:
            self._condition(self._with(triangulated, lost, rays))
            for state, mine, place in self._parts(lost):
                mean, covariance = state.read(place)
                total, own = np.linalg.inv(covariance), state.weakened(place, rays.information[mine])
                alone = np.linalg.inv(total - own)
                mean = alone @ (total @ mean[..., None] - own @ rays.at[mine][..., None])
                total = np.linalg.inv(alone + state.white(place))
                information[mine] += total
                vector[mine] += (total @ mean)[..., 0]
        return Known(information, vector)


def _since(before: int | None, now: int) -> float:
    return 0.0 if before is None else max(0.0, (now - before) / 1e9)
