"""Lenses: from the normalised image plane to raw pixels and back, one source for numpy and torch.

A pinhole lens has OpenCV's 14 coefficients ``k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4 tx ty`` (radial,
tangential, thin prism, tilt; shorter models are padded with zeros), a fisheye lens the first four
(Kannala and Brandt 2006). Both are one equation here::

    d(x) = (g(r2) + 2 (p2, p1).x) x + r2 a + r4 b,    g = (1 + k1 r2 + ...) / (1 + k4 r2 + ...)

with x the normalised point (pinhole) or the direction scaled to its angle from the axis (fisheye:
den = 1, a = b = p = 0). All its polynomials are one matrix product a point, so that the exported
graph stays small.

Arrays may be numpy or torch; there is no data-dependent control flow and nothing works in place, so
that the functions can be exported to ONNX.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

N_DIST = 14
NEWTON_STEPS = 5
"""Steps of the inversion; see `undistort` for what they reach."""
_FLATTEST = 0.05
_LAST_STEP = 1e-3
_WIDEST_RAD = 1.553
_FAR = 100.0

# Rows of the polynomial's matrix: x, y, r2, r4, r6, r8, and what does not depend on the point.
# Columns: numerator, denominator, twice their derivatives after r2, offset x and y, 2 (p2, p1).x.
_X, _Y, _R2, _R4, _R6, _R8, _ONE = range(7)
_NUM, _DEN, _DNUM, _DDEN, _OFFX, _OFFY, _TANGENT = range(7)


def _polynomial_map() -> tuple[np.ndarray, np.ndarray]:
    """The linear map from 14 pinhole + 4 fisheye coefficients to the 7x7 matrix, and its constant."""
    linear = np.zeros((N_DIST + 4, 7, 7))
    constant = np.zeros((7, 7))
    constant[_ONE, _NUM] = constant[_ONE, _DEN] = 1
    powers = (_ONE, _R2, _R4, _R6, _R8)

    def radial(coefficient: int, power: int, value: int, derivative: int) -> None:
        linear[coefficient, powers[power], value] = 1
        linear[coefficient, powers[power - 1], derivative] = 2 * power

    for power, coefficient in enumerate((0, 1, 4), start=1):
        radial(coefficient, power, _NUM, _DNUM)
    for power, coefficient in enumerate((5, 6, 7), start=1):
        radial(coefficient, power, _DEN, _DDEN)
    for power in range(1, 5):
        radial(N_DIST + power - 1, power, _NUM, _DNUM)
    p1, p2 = 2, 3
    linear[p1, _Y, _TANGENT] = linear[p2, _X, _TANGENT] = 2
    linear[p1, _R2, _OFFY] = linear[p2, _R2, _OFFX] = 1
    for coefficient, power, offset in ((8, _R2, _OFFX), (9, _R4, _OFFX), (10, _R2, _OFFY), (11, _R4, _OFFY)):
        linear[coefficient, power, offset] = 1
    return linear.reshape(N_DIST + 4, 49), constant.reshape(49)


_LINEAR, _CONSTANT = _polynomial_map()


def pad(dist: np.ndarray) -> np.ndarray:
    """0, 4, 5, 8, 12 or 14 coefficients as 14."""
    padded = np.zeros(N_DIST)
    padded[: len(dist)] = dist
    return padded


def _like(xp: Any, values: np.ndarray, like: Any) -> Any:
    return xp.asarray(values.tolist(), dtype=like.dtype, device=like.device)


def polynomials(xp: Any, dist: Any, fisheye: Any) -> tuple[Any, Any, Any]:
    """What `evaluate` needs of each view: (V, 6, 7), (V, 1, 7), and the pinhole part of ``dist``."""
    fish = fisheye[:, None]
    pinhole = dist * (1 - fish)
    coefficients = xp.concat([pinhole, dist[:, :4] * fish], axis=-1)
    flat = xp.matmul(coefficients, _like(xp, _LINEAR, dist)) + _like(xp, _CONSTANT, dist)
    matrix = xp.reshape(flat, (-1, 7, 7))
    return matrix[:, :6, :], matrix[:, 6:, :], pinhole


def evaluate(xp: Any, x: Any, matrix: Any, constant: Any) -> tuple[Any, Any, Any]:
    """r2 (..., V, J, 1), the seven values (..., V, J, 7) and g (..., V, J, 1) at points x (..., V, J, 2)."""
    r2 = xp.sum(x * x, axis=-1, keepdims=True)
    r4 = r2 * r2
    basis = xp.concat([x, r2, r4, r4 * r2, r4 * r4], axis=-1)
    values = xp.matmul(basis, matrix) + constant
    scale = values[..., :1] / values[..., 1:2]
    return r2, values, scale


def _tilt(xp: Any, pinhole: Any) -> tuple[Any, Any, Any, Any]:
    """Cosines and sines of the sensor's tilt about x and y, (V, 1, 1) each."""
    tau = pinhole[:, 12:14, None, None]
    cos, sin = xp.cos(tau), xp.sin(tau)
    return cos[:, 0], cos[:, 1], sin[:, 0], sin[:, 1]


def distort(normalised: Any, K: Any, dist: Any, fisheye: Any) -> Any:
    """Where points of the normalised plane appear in the raw picture.

    Args:
        normalised: (..., V, J, 2) ``X/Z, Y/Z`` in each camera; NaN stays NaN.
        K: (V, 3, 3) without skew.
        dist: (V, 14), see the module.
        fisheye: (V,) 1 where the lens is a fisheye, else 0.

    Returns:
        (..., V, J, 2) raw px, as ``cv2.projectPoints`` and ``cv2.fisheye.projectPoints``.
    """
    xp = array_namespace(normalised)
    matrix, constant, pinhole = polynomials(xp, dist, fisheye)
    radius = xp.sqrt(xp.sum(normalised * normalised, axis=-1, keepdims=True) + 1e-24)
    angle = xp.where(fisheye[:, None, None] > 0.5, xp.atan(radius) / radius, 1.0)
    x = normalised * angle
    r2, values, scale = evaluate(xp, x, matrix, constant)
    bent = (scale + values[..., 6:7]) * x + values[..., 4:6]
    cos_x, cos_y, sin_x, sin_y = _tilt(xp, pinhole)
    bx, by = bent[..., :1], bent[..., 1:2]
    tilted = xp.concat([cos_x * bx, cos_y * by - sin_x * sin_y * bx], axis=-1)
    tilted = tilted / (sin_y * bx - cos_y * sin_x * by + cos_x * cos_y)
    focal = xp.stack([K[:, 0, 0], K[:, 1, 1]], axis=-1)[:, None, :]
    return tilted * focal + K[:, None, :2, 2]


def undistort(px: Any, K: Any, dist: Any, fisheye: Any) -> Any:
    """The rays of raw pixels, as points of the normalised plane: the inverse of `distort`.

    A Newton iteration whose Jacobian is that of the radial part (inverted in closed form), so that
    each step is a few small products. What five steps leave, as a distance in the raw picture in
    float64: below 1e-5 px for a rational model, for the whole of OpenCV's model and for a webcam
    with p1 = 0.004, below 1e-7 px for a barrel of k1 = -0.29 up to 0.90 of the radius where it
    folds (1e-3 px up to 0.97), below 1e-11 px for fisheye lenses up to 80 degrees from the axis. In
    float32 2e-4 px, the resolution of a pixel coordinate, is left.

    Args:
        px: (..., V, J, 2) raw px; NaN stays NaN.
        K: (V, 3, 3) without skew.
        dist: (V, 14).
        fisheye: (V,) 1 or 0.

    Returns:
        (..., V, J, 2). NaN also where the lens has no such ray: beyond the fold of its polynomial, or
        (fisheye) further than 89 degrees from the axis.
    """
    return undistort_with_steps(px, K, dist, fisheye, NEWTON_STEPS)


def undistort_with_steps(px: Any, K: Any, dist: Any, fisheye: Any, steps: int) -> Any:
    """`undistort` with another number of steps."""
    xp = array_namespace(px)
    matrix, constant, pinhole = polynomials(xp, dist, fisheye)
    focal = xp.stack([K[:, 0, 0], K[:, 1, 1]], axis=-1)[:, None, :]
    target = (px - K[:, None, :2, 2]) / focal
    cos_x, cos_y, sin_x, sin_y = _tilt(xp, pinhole)
    tx, ty = target[..., :1], target[..., 1:2]
    untilted = xp.concat([cos_y * tx, cos_x * ty + sin_x * sin_y * tx], axis=-1)
    target = untilted / (1 - sin_y * cos_x * tx + sin_x * ty)
    return _invert(xp, target, matrix, constant, fisheye[:, None, None] > 0.5, steps)


def _invert(xp: Any, target: Any, matrix: Any, constant: Any, is_fisheye: Any, steps: int) -> Any:
    x = target
    for _ in range(steps):
        r2, values, scale = evaluate(xp, x, matrix, constant)
        slope = (values[..., 2:3] - scale * values[..., 3:4]) / values[..., 1:2]
        across = scale + values[..., 6:7]
        along = across + slope * r2
        error = target - values[..., 4:6] - across * x
        # (across I + slope x x^T)^-1 error. A flat lens is bounded, so that a pixel without a ray
        # walks out instead of jumping to another branch; it is found by its last step below.
        turn = slope * xp.sum(x * error, axis=-1, keepdims=True) / xp.clip(along, min=_FLATTEST)
        step = (error - turn * x) / xp.clip(across, min=_FLATTEST)
        x = xp.clip(x + step, min=-_FAR, max=_FAR)
    r2 = xp.sum(x * x, axis=-1, keepdims=True)
    angle = xp.sqrt(r2 + 1e-24)
    left = xp.sum(step * step, axis=-1, keepdims=True)
    good = (left < _LAST_STEP**2 * (1 + r2)) & (along > _FLATTEST) & ((angle < _WIDEST_RAD) | ~is_fisheye)
    widened = xp.where(is_fisheye, xp.tan(angle) / angle, 1.0)
    return xp.where(good, x * widened, xp.nan)
