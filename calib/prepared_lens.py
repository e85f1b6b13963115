"""The lenses of a rig made ready for many small numpy calls: what depends on them alone is computed once.

The same equation as `calib.lens`, laid out component first, ``(2, V, N)`` with N joints, float64. Terms that no
lens of the rig has are left out, and the inversion begins with a polynomial fitted to each lens, which suffices
for most. Tests hold both forms equal.
"""

from __future__ import annotations

import numpy as np

from calib import lens

_FLATTEST = 0.05
_START_DEGREES = (2, 3, 4, 5)
_TANGENT_DEGREE = 2
_ISOTROPIC = 0.2
_GOAL_PX = 0.05


class PreparedLens:
    """Constants of a rig's lenses.

    Attributes:
        focal: (2, V, 1) px.
        center: (2, V, 1) px.
        scale_px: (V, 1) raw px that one unit of the normalised plane is, on the axis.
        steps: Newton steps of the inversion after its polynomial.
        folds: Whether some pixels of the pictures have no ray.
        isotropic: Whether no lens magnifies by more than 20 % differently along and across the radius.
    """

    def __init__(self, K: np.ndarray, dist: np.ndarray, fisheye: np.ndarray) -> None:
        self.n_views = len(K)
        self.focal = np.stack([K[:, 0, 0], K[:, 1, 1]])[:, :, None]
        self.center = np.stack([K[:, 0, 2], K[:, 1, 2]])[:, :, None]
        self.scale_px = np.sqrt(self.focal[0] * self.focal[1])
        self._lens = (K, dist, fisheye)
        self._prepare_lens(dist, fisheye > 0.5)
        self._prepare_inverse()

    def _prepare_lens(self, dist: np.ndarray, is_fisheye: np.ndarray) -> None:
        fish = is_fisheye[:, None]
        pinhole = np.where(fish, 0, dist)
        k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4, tx, ty = pinhole.T
        numerator = np.stack([k1, k2, k3, np.zeros_like(k1)])
        numerator = np.where(fish.T, dist[:, :4].T, numerator)
        self.numerator = _trim(numerator)
        self.denominator = _trim(np.stack([k4, k5, k6]))
        self._numerator_slope, self._denominator_slope = (
            2 * np.arange(1, len(part) + 1)[:, None, None] * part for part in (self.numerator, self.denominator)
        )
        self.tangent = 2 * np.stack([p2, p1])[:, :, None] if (p1.any() or p2.any()) else None
        offset = np.stack([p2 + s1, p1 + s3])[:, :, None]
        prism = np.stack([s2, s4])[:, :, None]
        self.offset = offset if offset.any() or prism.any() else None
        self.prism = prism if prism.any() else None
        self.is_fisheye = fish if fish.any() else None
        self.tilt = (np.cos(tx), np.cos(ty), np.sin(tx), np.sin(ty)) if (tx.any() or ty.any()) else None
        if self.tilt:
            self.tilt = tuple(value[:, None] for value in self.tilt)
        self.straight = not (
            len(self.numerator) or len(self.denominator) or self.offset is not None or self.is_fisheye is not None
        )

    def _radial(self, r2: np.ndarray) -> np.ndarray:
        """The factor g of the radius."""
        g = _value(self.numerator, r2)
        return g / _value(self.denominator, r2) if len(self.denominator) else g

    def _radial_slope(self, r2: np.ndarray, g: np.ndarray) -> np.ndarray:
        """Twice the derivative of g after r2."""
        slope = _slope(self._numerator_slope, r2)
        if len(self.denominator):
            slope = (slope - g * _slope(self._denominator_slope, r2)) / _value(self.denominator, r2)
        return slope

    def _bend(self, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Distorted xy before tilt, the factor across the radius, g, and r2."""
        r2 = xy[0] * xy[0]
        r2 += xy[1] * xy[1]
        g = across = self._radial(r2)
        if self.tangent is not None:
            turned = self.tangent * xy
            across = g + turned[0]
            across += turned[1]
        bent = across * xy
        if self.offset is not None:
            factor = self.offset if self.prism is None else self.offset + r2 * self.prism
            bent += factor * r2
        return bent, across, g, r2

    def _prepare_inverse(self) -> None:
        """Find the cheapest inversion that is good all over this rig's pictures.

        It begins with a polynomial in the squared radius, fitted here; a lens that this does not
        undo to 0.05 px at worst gets Newton steps as in `calib.lens`.
        """
        self._inverse = self._inverse_scale = np.zeros((2, self.n_views, 1))
        self._inverse_tangent: np.ndarray | None = None
        self.steps = 0
        self.folds = False
        self.isotropic = True
        if self.straight:
            return
        # Principal points lie near the middle, so this grid covers the pictures and a little more.
        side = np.linspace(-0.05, 2.05, 23)
        px = self.center * np.stack(np.meshgrid(side, side)).reshape(2, 1, -1)
        exact = lens.undistort_with_steps(px.transpose(1, 2, 0), *self._lens, steps=12).transpose(2, 0, 1)
        target = self._target(px)
        bent = self._narrow(exact)
        good = np.isfinite(exact).all(axis=0)
        self.folds = not bool(good.all())
        _, across, g, r2 = self._bend(np.where(good, bent, 0.0))
        slope = self._radial_slope(r2, g)
        stretch = np.abs(1 + slope * r2 / across)
        if self.is_fisheye is not None:
            # d angle / d tan, over angle / tan.
            tan2 = (exact * exact).sum(axis=0)
            tan = np.sqrt(tan2) + 1e-12
            stretch = stretch * np.where(self.is_fisheye, tan / ((1 + tan2) * np.arctan(tan)), 1.0)
        with np.errstate(all="ignore"):
            grown = np.sqrt(np.abs(across * (across + slope * r2)))
        self._inverse_scale = _fit_scale((target * target).sum(axis=0), grown, good)
        self.isotropic = bool(np.nanmax(np.abs(np.log(stretch))) < _ISOTROPIC)
        for steps in range(1 if self.folds else 0, 9):
            for degree in _START_DEGREES:
                self.steps = steps
                self._inverse, tangent = _fit_inverse(target, bent, good, degree)
                self._inverse_tangent = None if self.offset is None else tangent
                with np.errstate(all="ignore"):
                    off = np.abs(self._invert(target)[0] - bent) * self.focal
                if float(np.max(off[:, good], initial=0.0)) < _GOAL_PX:
                    return

    def _target(self, px: np.ndarray) -> np.ndarray:
        target = (px - self.center) / self.focal
        if self.tilt:
            cos_x, cos_y, sin_x, sin_y = self.tilt
            x, y = target
            target = np.stack([cos_y * x, cos_x * y + sin_x * sin_y * x]) / (1 - sin_y * cos_x * x + sin_x * y)
        return target

    def _narrow(self, xy: np.ndarray) -> np.ndarray:
        """Normalised xy of a fisheye as direction times angle; of other views unchanged."""
        if self.is_fisheye is None:
            return xy
        radius = np.sqrt(xy[0] * xy[0] + xy[1] * xy[1]) + 1e-12
        return np.where(self.is_fisheye, np.arctan(radius) / radius, 1.0) * xy

    def _invert(self, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points before the lens bent them, and how much it magnifies there, (V, N)."""
        t2 = target[0] * target[0] + target[1] * target[1]
        factor = self._inverse[-1] * t2
        for coefficient in self._inverse[-2::-1]:
            factor += coefficient
            factor *= t2
        if self._inverse_tangent is None:
            xy = target * factor
            xy += target
        else:
            tangent = self._inverse_tangent[1] * t2
            tangent += self._inverse_tangent[0]
            turned = tangent * target
            factor += turned[0]
            factor += turned[1]
            tangent *= 0.5 * t2
            xy = target * factor
            xy += target
            xy += tangent
        if not self.steps:
            scale = self._inverse_scale[1] * t2
            scale += self._inverse_scale[0]
            scale *= t2
            scale += 1
            return xy, scale
        if self.folds:
            np.clip(xy, -10, 10, out=xy)
        for _ in range(self.steps):
            bent, across, g, r2 = self._bend(xy)
            slope = self._radial_slope(r2, g)
            along = across + slope * r2
            flat_along, flat_across = along, across
            if self.folds:
                flat_along, flat_across = np.maximum(along, _FLATTEST), np.maximum(across, _FLATTEST)
            error = target - bent
            towards = xy * error
            step = (error - xy * (slope * (towards[0] + towards[1]) / flat_along)) / flat_across
            xy = xy + step
        if self.folds:
            lost = (along <= _FLATTEST) | (step[0] * step[0] + step[1] * step[1] > 1e-6 * (1 + r2))
            xy = np.where(lost, np.nan, xy)
        return xy, np.sqrt(flat_along * flat_across)

    def undistort(self, px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Normalised xy (2, V, N) of raw px (2, V, N), and the raw px that one unit there is (V, N)."""
        if self.straight and not self.tilt:
            xy = (px - self.center) / self.focal
            return xy, np.broadcast_to(self.scale_px, xy.shape[1:])
        target = self._target(px)
        if self.straight:
            return target, np.broadcast_to(self.scale_px, target.shape[1:])
        xy, magnified = self._invert(target)
        if self.is_fisheye is not None:
            angle = np.sqrt(xy[0] * xy[0] + xy[1] * xy[1]) + 1e-12
            wide = angle > 1.553
            widened = np.where(self.is_fisheye, np.tan(np.minimum(angle, 1.553)) / angle, 1.0)
            xy = np.where(self.is_fisheye & wide, np.nan, widened * xy)
            magnified = magnified * np.where(self.is_fisheye, np.cos(np.minimum(angle, 1.553)) / np.sqrt(widened), 1.0)
        return xy, self.scale_px * magnified

    def distort(self, xy: np.ndarray) -> np.ndarray:
        """Raw px (2, V, N) of normalised xy."""
        return self._to_px(xy if self.straight else self._bend(self._narrow(xy))[0])

    def distort_with_derivative(self, xy: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
        """`distort` and `derivative` in one."""
        if self.straight:
            return self._to_px(xy), None
        bent, derivative = self._bend_with_derivative(xy)
        return self._to_px(bent), derivative

    def derivative(self, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """The lens's symmetric 2x2 derivative at normalised xy: its diagonal (2, V, N), and what is beside it (V, N).

        It is that of the distorted after the normalised point; ``None`` = the identity. The shares of tangential,
        prism and tilt terms are left out; they are below one per cent.
        """
        return None if self.straight else self._bend_with_derivative(xy)[1]

    def _bend_with_derivative(self, xy: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        if self.is_fisheye is None:
            bent, across, g, r2 = self._bend(xy)
            slope = self._radial_slope(r2, g)
        else:
            radius2 = xy[0] * xy[0] + xy[1] * xy[1] + 1e-12
            radius = np.sqrt(radius2)
            factor = np.where(self.is_fisheye, np.arctan(radius) / radius, 1.0)
            bent, across, g, r2 = self._bend(factor * xy)
            slope = self._radial_slope(r2, g)
            along = (across + slope * r2) / (1 + radius2)
            slope = np.where(self.is_fisheye, (along - across * factor) / radius2, slope)
            across = across * factor
        sloping = slope * xy
        cross = sloping[0] * xy[1]
        sloping *= xy
        sloping += across
        return bent, (sloping, cross)

    def _to_px(self, bent: np.ndarray) -> np.ndarray:
        if self.tilt:
            cos_x, cos_y, sin_x, sin_y = self.tilt
            x, y = bent
            depth = sin_y * x - cos_y * sin_x * y + cos_x * cos_y
            bent = np.stack([cos_x * x, cos_y * y - sin_x * sin_y * x]) / depth
        return bent * self.focal + self.center


def _fit_inverse(target: np.ndarray, bent: np.ndarray, good: np.ndarray, degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of ``x = (1 + c(t2) + 2 p(t2).t) t + p(t2) t2``, fitted to the grid of each view.

    Returns:
        For each power of t2, the (V, 1) of c and the (2, V, 1) of 2 p.
    """
    n_views = target.shape[1]
    radial = np.zeros((degree, n_views, 1))
    tangent = np.zeros((_TANGENT_DEGREE, 2, n_views, 1))
    exponents = np.arange(1, degree + 1)
    for view in range(n_views):
        t = target[:, view, good[view]]
        if t.shape[1] < 4 * degree:
            continue
        t2 = (t * t).sum(axis=0)
        far = t2.max()
        columns = [(t * (t2 / far) ** power).ravel() for power in exponents]
        for power in range(_TANGENT_DEGREE):
            for axis in (0, 1):
                column = 2 * t[axis] * t
                column[axis] += t2
                columns.append((column * (t2 / far) ** power).ravel())
        found = np.linalg.lstsq(np.stack(columns, axis=-1), (bent[:, view, good[view]] - t).ravel(), rcond=None)[0]
        radial[:, view, 0] = found[:degree] / far**exponents
        shape = found[degree:].reshape(_TANGENT_DEGREE, 2)
        tangent[:, :, view, 0] = 2 * shape / far ** np.arange(_TANGENT_DEGREE)[:, None]
    return radial, tangent


def _fit_scale(t2: np.ndarray, grown: np.ndarray, good: np.ndarray) -> np.ndarray:
    """(2, V, 1) coefficients of ``1 + a t2 + b t2^2``, each view's magnification."""
    found = np.zeros((2, len(t2), 1))
    for view, use in enumerate(good):
        if use.sum() > 8:
            powers = np.stack([t2[view, use], t2[view, use] ** 2], axis=-1)
            found[:, view, 0] = np.linalg.lstsq(powers, grown[view, use] - 1, rcond=None)[0]
    return found


def _trim(coefficients: np.ndarray) -> np.ndarray:
    """(degree, V, 1) without the highest powers that no view has."""
    used = np.flatnonzero(coefficients.any(axis=1))
    return coefficients[: used[-1] + 1 if len(used) else 0, :, None]


def _value(coefficients: np.ndarray, r2: np.ndarray) -> np.ndarray:
    """1 + c1 r2 + c2 r2^2 ..."""
    if len(coefficients) == 0:
        return np.ones_like(r2)
    value = coefficients[-1] * r2
    for coefficient in coefficients[-2::-1]:
        value += coefficient
        value *= r2
    value += 1
    return value


def _slope(coefficients: np.ndarray, r2: np.ndarray) -> np.ndarray:
    """s1 + s2 r2 + ..., with the coefficients of twice the derivative."""
    if len(coefficients) < 2:
        return np.zeros_like(r2) if len(coefficients) == 0 else np.broadcast_to(coefficients[0], r2.shape)
    slope = coefficients[-1] * r2
    for coefficient in coefficients[-2:0:-1]:
        slope += coefficient
        slope *= r2
    slope += coefficients[0]
    return slope
