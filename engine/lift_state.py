"""What a lift is off by, followed in time: one linear filter for each root and its joints.

A joint stands at ``place + scale * shape + error``: the root's place, the subject's size relative to the lifter's, what
the lift says, and what that is off by. The errors of the joints have something in common (an arm that is lifted too far
forward is so from shoulder to wrist), and they change slowly: where a joint was measured until a moment ago, the lift's
error there is still known. So the errors are a process with the lift's covariance as its stationary one, forgotten
with a time constant (Ornstein-Uhlenbeck), correlated between joints. What views measure conditions all of it at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from engine.lift_blend import Blend

_EYE = np.eye(3)
_HEAD = 4
"""Place and scale stand before the errors in the state."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What is known of the subject's size relative to the lifter's.

    Attributes:
        value: 1 = as the lifter says.
        sigma: Standard deviation.
        holds: Whether what is learned of the size holds for as long as the subject is followed; else it is told anew
            each time.
    """

    value: float = 1.0
    sigma: float = 0.0
    holds: bool = True


class LiftState:
    """The filter of one root and its joints.

    Args:
        joints: Their indices in the skeleton, the root first.
        correlation: (n, n) of their errors.
        memory_s: Seconds after which an error has changed to 1/e.
        noise: Share of the lift's variance that is another one in each frame.
        speed_mm: Standard deviation of the root's velocity along each axis, mm/s.
        n_joints: Number of joints of the skeleton.

    Attributes:
        place_of: (n_joints,) a joint's index among these; -1 = it is none of them.
    """

    def __init__(
        self,
        joints: np.ndarray,
        correlation: Float[np.ndarray, "n n"],
        memory_s: float,
        noise: float,
        speed_mm: float,
        n_joints: int,
    ) -> None:
        self.joints = joints
        self._correlation = correlation[:, None, :, None]
        self._memory_s = memory_s
        self._noise = noise
        self._speed_mm = speed_mm
        self._started = False
        self._within_mm = 0.0
        self._shape = np.zeros((len(joints), 3))
        self._factor = self._white = np.zeros((len(joints), 3, 3))
        self._mean, self._covariance = np.zeros(0), np.zeros((0, 0))
        self.place_of = np.full(n_joints, -1)
        self.place_of[joints] = np.arange(len(joints))

    def reset(self) -> None:
        """Forget the subject."""
        self._started = False

    @property
    def held(self) -> tuple[np.ndarray, np.ndarray]:
        """The state as it is now, to be given back to `restore` before the next `predict`."""
        return self._mean, self._covariance

    def restore(self, held: tuple[np.ndarray, np.ndarray]) -> None:
        """Take back what was measured since."""
        self._mean, self._covariance = held

    def predict(self, dt_s: float, lift: Blend, scale: Scale, near_mm: np.ndarray, within_mm: float) -> None:
        """Let time pass, and hold from now on to this lift.

        Args:
            dt_s: Since the last time.
            lift: What is lifted now.
            scale: What is known of the size.
            near_mm: (3,) where the subject is about, if it is followed from now on ...
            within_mm: ... and how well that is known. Not much more than that: what is far less sure than what is
                measured next costs the digits of it.
        """
        n = len(self.joints)
        factor = lift.factor_mm[self.joints]
        self._shape = lift.shape_mm[self.joints]
        self._factor = factor
        self._white = self._noise * factor @ factor.swapaxes(1, 2)
        rows = factor.reshape(3 * n, 3)
        stationary = ((rows @ rows.T).reshape(n, 3, n, 3) * self._correlation).reshape(3 * n, 3 * n)
        stationary *= 1 - self._noise
        if not self._started:
            self._started = True
            self._mean = np.zeros(_HEAD + 3 * n)
            self._covariance = np.zeros((_HEAD + 3 * n, _HEAD + 3 * n))
            self.put(near_mm, within_mm)
            self._covariance[_HEAD:, _HEAD:] = stationary
            self._know(scale)
            return
        keep = np.exp(-dt_s / self._memory_s)
        self._mean[_HEAD:] *= keep
        covariance = self._covariance
        covariance[_HEAD:] *= keep
        covariance[:, _HEAD:] *= keep
        covariance[_HEAD:, _HEAD:] += (1 - keep**2) * stationary
        covariance += covariance.T
        covariance *= 0.5
        covariance[:3, :3] += (self._speed_mm * dt_s) ** 2 * _EYE
        if not scale.holds:
            # Nor does the place, which follows from the size: both are told anew.
            self._know(scale)
            self.put(self._mean[:3].copy(), self._within_mm)

    def put(self, near_mm: np.ndarray, within_mm: float) -> None:
        """Begin at a place."""
        self._within_mm = within_mm
        self._mean[:3] = near_mm
        self._covariance[:3] = 0.0
        self._covariance[:, :3] = 0.0
        self._covariance[:3, :3] = within_mm**2 * _EYE

    def _know(self, scale: Scale) -> None:
        self._mean[3] = scale.value
        self._covariance[3] = 0.0
        self._covariance[:, 3] = 0.0
        self._covariance[3, 3] = scale.sigma**2

    def update(
        self,
        which: np.ndarray,
        information: Float[np.ndarray, "m 3 3"],
        at_mm: Float[np.ndarray, "m 3"],
    ) -> None:
        """Take in what was measured of some joints (indices into ``joints``); see `engine.motion.Motion.update`."""
        if not len(which):
            return
        m = len(which)
        information = self.weakened(which, information)
        towards = self._towards(which)
        crossed = self._of(towards, which)
        rows = (information @ crossed.reshape(m, 3, 3 * m)).reshape(3 * m, 3 * m)
        block = np.zeros((m, 3, m, 3))
        block[np.arange(m), :, np.arange(m)] = information
        gain = np.linalg.solve(np.eye(3 * m) + rows, block.reshape(3 * m, 3 * m))
        flat = towards.reshape(len(towards), 3 * m)
        off = (at_mm - self.places(which)).ravel()
        by_gain = flat @ gain
        # New arrays: what `held` gave away stays as it was.
        self._mean = self._mean + by_gain @ off
        self._covariance = self._covariance - by_gain @ flat.T

    def weakened(self, which: np.ndarray, information: Float[np.ndarray, "m 3 3"]) -> Float[np.ndarray, "m 3 3"]:
        """What a measurement of joints says of the state, from which these are the lift's noise away."""
        if not self._noise:
            return information
        return np.linalg.solve(_EYE + information @ self._white[which], information)

    def white(self, which: np.ndarray) -> Float[np.ndarray, "m 3 3"]:
        """Covariance of the lift's noise."""
        return self._white[which]

    def errors2(self, which: np.ndarray) -> tuple[float, float]:
        """Squared errors of the lift at joints that were measured, over its variances, and what they should come to."""
        own = which[which > 0]  # the root has none
        if not len(own):
            return 0.0, 0.0
        inverse = np.linalg.inv(self._factor[own])
        off = inverse @ self._mean[_HEAD:].reshape(-1, 3, 1)[own]
        n = len(self.joints)
        left = self._covariance[_HEAD:, _HEAD:].reshape(n, 3, n, 3)[own, :, own]
        unknown = np.einsum("mab,mbc,mac->", inverse, left, inverse)
        return float((off * off).sum()), max(float((1 - self._noise) * 3 * len(own) - unknown), 0.0)

    def read(self, which: np.ndarray) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, "m 3 3"]]:
        """Where joints are, in mm, and the covariance of that but for the lift's noise."""
        own = self._of(self._towards(which), which)
        rows = np.arange(len(which))
        covariance = own[rows, :, rows]
        return self.places(which), (covariance + covariance.swapaxes(1, 2)) / 2

    def places(self, which: np.ndarray) -> Float[np.ndarray, "m 3"]:
        """Where joints are, in mm (indices into ``joints``)."""
        mean = self._mean
        return mean[:3] + mean[3] * self._shape[which] + mean[_HEAD:].reshape(-1, 3)[which]

    def _towards(self, which: np.ndarray) -> np.ndarray:
        """(k, m, 3) covariance of the state with the joints' places."""
        covariance = self._covariance
        errors = covariance[:, _HEAD:].reshape(len(covariance), -1, 3)[:, which]
        return covariance[:, None, :3] + covariance[:, 3, None, None] * self._shape[which] + errors

    def _of(self, towards: np.ndarray, which: np.ndarray) -> np.ndarray:
        """(m, 3, m, 3) covariance of the joints' places with each other, from `_towards`."""
        errors = towards[_HEAD:].reshape(-1, 3, *towards.shape[1:])[which]
        return towards[None, :3] + self._shape[which][:, :, None, None] * towards[3] + errors
