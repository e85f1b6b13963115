"""A rig made ready for many small numpy solves: what depends on the rig alone is computed once.

The same lens and the same equations as `calib.lens` and `calib.triangulate`, laid out for few and
small numpy calls: component first, ``(2, V, N)`` or ``(3, N)`` with N joints, float64, in the
rig-normalised world. Terms that no lens of the rig has are left out. Tests hold both forms equal.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

import numpy as np

from calib import lens
from calib.rig import RigArrays

_FLATTEST = 0.05
_RIDGE = 1e-6
_START_DEGREES = (2, 3, 4, 5)
_TANGENT_DEGREE = 2
_ISOTROPIC = 0.2
_GOAL_PX = 0.05

# The symmetric 3x3 normal matrix travels as xx xy xz yy yz zz, its right-hand side behind it.
_LEFT, _RIGHT = (3, 2, 1, 0, 1, 0), (5, 4, 4, 5, 2, 3)
_LEFT_2, _RIGHT_2 = (4, 1, 2, 2, 0, 1), (4, 5, 3, 2, 4, 1)
_OPERANDS = np.array(_LEFT + _RIGHT + _LEFT_2 + _RIGHT_2)
_REST = np.array((0, 1, 2, 6, 7, 8))
_FULL = np.array((0, 1, 2, 1, 3, 4, 2, 4, 5))


class Prepared:
    """Constants of a rig, and the operations on (component, view, joint) arrays."""

    def __init__(self, rig: RigArrays) -> None:
        K, dist, fisheye, Rt, world = (np.asarray(array, dtype=np.float64) for array in rig)
        self.n_views = len(K)
        self.origin, self.unit = world[:3, None], float(world[3])
        self.focal = np.stack([K[:, 0, 0], K[:, 1, 1]])[:, :, None]
        self.center = np.stack([K[:, 0, 2], K[:, 1, 2]])[:, :, None]
        self.scale_px = np.sqrt(self.focal[0] * self.focal[1])
        self._lens = (K, dist, fisheye)
        self._prepare_lens(dist, fisheye > 0.5)
        # (3, V) rows of R, so that one product gives all views' coordinates component first.
        self._R = np.ascontiguousarray(Rt[:, :, :3].transpose(1, 0, 2)).reshape(-1, 3)
        self._t = np.ascontiguousarray(Rt[:, :, 3].T).reshape(-1, 1)
        # One over the squared depth of the working point, to begin with.
        self.depth0 = np.maximum(np.abs(Rt[:, 2, 3]), 0.05)[:, None] ** -2.0
        self.products = _products(Rt)
        self.equations = _equations(self.products, np.ones((1, self.n_views)))[:, 0]
        self.operands = np.concatenate([self.equations[_OPERANDS], self.equations[_REST]])
        self._hypotheses: np.ndarray | None = None
        self._prepare_inverse()

    # -- lens ---------------------------------------------------------------------------------

    def _prepare_lens(self, dist: np.ndarray, is_fisheye: np.ndarray) -> None:
        fish = is_fisheye[:, None]
        pinhole = np.where(fish, 0, dist)
        k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4, tx, ty = pinhole.T
        numerator = np.stack([k1, k2, k3, np.zeros_like(k1)])
        numerator = np.where(fish.T, dist[:, :4].T, numerator)
        self.numerator = _trim(numerator)
        self.denominator = _trim(np.stack([k4, k5, k6]))
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

    def _radial(self, r2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """G and twice its derivative after r2."""
        g, slope = _polynomial(self.numerator, r2)
        if len(self.denominator):
            den, den_slope = _polynomial(self.denominator, r2)
            g = g / den
            slope = (slope - g * den_slope) / den
        return g, slope

    def _bend(self, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Distorted xy before tilt, the factor across the radius, its slope, and r2."""
        r2 = xy[0] * xy[0] + xy[1] * xy[1]
        across, slope = self._radial(r2)
        if self.tangent is not None:
            turned = self.tangent * xy
            across = across + turned[0] + turned[1]
        bent = across * xy
        if self.offset is not None:
            factor = self.offset if self.prism is None else self.offset + r2 * self.prism
            bent += factor * r2
        return bent, across, slope, r2

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
        _, across, slope, r2 = self._bend(np.where(good, bent, 0.0))
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
            bent, across, slope, r2 = self._bend(xy)
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

    def distort_with_derivative(
        self, xy: np.ndarray
    ) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray] | None]:
        """`distort`, and the lens's symmetric 2x2 derivative xx, xy, yy there.

        The derivative, (V, N) each and ``None`` for one that is the identity, is that of the distorted
        after the normalised point. The shares of tangential, prism and tilt terms are left out; they
        are below one per cent.
        """
        if self.straight:
            return self._to_px(xy), None
        if self.is_fisheye is None:
            bent, across, slope, _ = self._bend(xy)
        else:
            radius2 = xy[0] * xy[0] + xy[1] * xy[1] + 1e-12
            radius = np.sqrt(radius2)
            factor = np.where(self.is_fisheye, np.arctan(radius) / radius, 1.0)
            bent, across, slope, r2 = self._bend(factor * xy)
            along = (across + slope * r2) / (1 + radius2)
            slope = np.where(self.is_fisheye, (along - across * factor) / radius2, slope)
            across = across * factor
        x, y = xy
        sx = slope * x
        return self._to_px(bent), (across + sx * x, sx * y, across + slope * y * y)

    def _to_px(self, bent: np.ndarray) -> np.ndarray:
        if self.tilt:
            cos_x, cos_y, sin_x, sin_y = self.tilt
            x, y = bent
            depth = sin_y * x - cos_y * sin_x * y + cos_x * cos_y
            bent = np.stack([cos_x * x, cos_y * y - sin_x * sin_y * x]) / depth
        return bent * self.focal + self.center

    # -- geometry -----------------------------------------------------------------------------

    def hypotheses(self, subsets: np.ndarray) -> np.ndarray:
        """(9 H, 4 V + 1) `equations` of subsets of the views (H, V), held for the next call."""
        if self._hypotheses is None:
            self._hypotheses = np.ascontiguousarray(_equations(self.products, subsets).reshape(9 * len(subsets), -1))
        return self._hypotheses

    def factors(self, xy: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """(4 V + 1, N) factors of ``equations`` for points (2, V, N) and weights (V, N) of squared errors."""
        n = xy.shape[-1]
        factors = np.empty((4 * self.n_views + 1, n))
        by_view = factors[:-1].reshape(self.n_views, 4, n)
        weighted = weight * xy
        by_view[:, 1:3] = weighted.transpose(1, 0, 2)
        weighted *= xy
        np.add(weighted[0], weighted[1], out=by_view[:, 0])
        by_view[:, 3] = weight
        factors[-1] = _RIDGE
        return factors

    def seen_from(self, position: np.ndarray) -> np.ndarray:
        """(3, V, N) coordinates in each camera of positions (3, N)."""
        return (self._R @ position + self._t).reshape(3, self.n_views, -1)


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


def _polynomial(coefficients: np.ndarray, r2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1 + c1 r2 + c2 r2^2 ... and twice its derivative."""
    if len(coefficients) == 0:
        return np.ones_like(r2), np.zeros_like(r2)
    value = coefficients[-1]
    slope = 2 * len(coefficients) * value
    for power in range(len(coefficients) - 1, 0, -1):
        value = coefficients[power - 1] + value * r2
        slope = 2 * power * coefficients[power - 1] + slope * r2
    return 1 + value * r2, slope


def _products(Rt: np.ndarray) -> np.ndarray:
    """(9, V, 6) entries of the normal matrix and right-hand side of each product of two rows of Rt.

    The order of the products is 33, 13, 23, 11, 22, 12 (symmetrised), the signs those that they have
    for a view's equations ``x r3 - r1`` and ``y r3 - r2``.
    """
    pairs = ((2, 2), (0, 2), (1, 2), (0, 0), (1, 1), (0, 1))
    entries = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2), (0, 3), (1, 3), (2, 3))
    products = np.zeros((9, len(Rt), 6))
    for k, (a, b) in enumerate(pairs):
        outer = Rt[:, a, :, None] * Rt[:, b, None, :]
        if a != b:
            outer = outer + outer.transpose(0, 2, 1)
        sign = -1 if k in (1, 2) else 1
        for e, (i, j) in enumerate(entries):
            products[e, :, k] = outer[:, i, j] * (-sign if j == 3 else sign)
    return products


def _equations(products: np.ndarray, subsets: np.ndarray) -> np.ndarray:
    """(9, H, 4 V + 1): what `Prepared.factors` is multiplied by, for subsets of the views (H, V)."""
    four = np.concatenate([products[..., :3], products[..., 3:4] + products[..., 4:5]], axis=-1)
    masked = (four[:, None] * subsets[None, :, :, None]).reshape(9, len(subsets), -1)
    ridge = np.zeros((9, len(subsets), 1))
    ridge[[0, 3, 5]] = 1
    return np.concatenate([masked, ridge], axis=-1)


def solve3(normal: np.ndarray) -> np.ndarray:
    """(3, M) points of normal matrices and right-hand sides (9, M): ``xx xy xz yy yz zz bx by bz``."""
    operands = np.take(normal, _OPERANDS, axis=0)
    return _solution(operands.reshape(4, 6, -1), normal[:3], normal[6:9])


def solve_views(rig: Prepared, factors: np.ndarray) -> np.ndarray:
    """(3, N) least-squares points of all views, from `Prepared.factors`."""
    rows = rig.operands @ factors
    return _solution(rows[:24].reshape(4, 6, -1), rows[24:27], rows[27:])


def solve_and_invert(rig: Prepared, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`solve_views` of the first half of the factors, and the inverses (6, N) of the second's matrices."""
    rows = rig.operands @ factors
    adjugate, determinant = _adjugate(rows[:24].reshape(4, 6, -1), rows[24:27])
    adjugate /= determinant
    half = factors.shape[-1] // 2
    return _apply(adjugate[:, :half], rows[27:, :half]), adjugate[:, half:]


def _solution(operands: np.ndarray, first: np.ndarray, right: np.ndarray) -> np.ndarray:
    adjugate, determinant = _adjugate(operands, first)
    point = _apply(adjugate, right)
    point /= determinant
    return point


def _apply(symmetric: np.ndarray, right: np.ndarray) -> np.ndarray:
    full = np.take(symmetric, _FULL, axis=0).reshape(3, 3, -1)
    full *= right
    point = full[:, 0]
    point += full[:, 1]
    point += full[:, 2]
    return point


def _adjugate(operands: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    adjugate = operands[0] * operands[1]
    adjugate -= operands[2] * operands[3]
    products = adjugate[:3] * first
    determinant = products[0]
    determinant += products[1]
    determinant += products[2]
    return adjugate, determinant


def inverse3(normal: np.ndarray) -> np.ndarray:
    """(6, M) inverses of symmetric 3x3 matrices (6, M), ``xx xy xz yy yz zz``."""
    adjugate, determinant = _adjugate(np.take(normal, _OPERANDS, axis=0).reshape(4, 6, -1), normal[:3])
    adjugate /= determinant
    return adjugate


_CACHE: OrderedDict[int, tuple[RigArrays, Prepared]] = OrderedDict()
_CACHE_LOCK = Lock()
_CACHE_SIZE = 16


def prepare(rig: RigArrays) -> Prepared:
    """The prepared form of a rig's arrays; the same object gives the same form without work."""
    held = _CACHE.get(id(rig))
    if held is not None and held[0] is rig:
        return held[1]
    prepared = Prepared(rig)
    with _CACHE_LOCK:
        _CACHE[id(rig)] = (rig, prepared)
        while len(_CACHE) > _CACHE_SIZE:
            _CACHE.popitem(last=False)
    return prepared
