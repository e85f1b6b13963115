"""Where points in front of a camera appear, and how that changes with the points and with the lens.

The lens is that of `calib.lens`, here for one camera with its exact first derivatives; tests hold the values
against `calib.lens` and the derivatives against differences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

N_INTRINSICS = 18
"""fx, fy, cx, cy and 14 coefficients."""
NAMES = ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6", "s1", "s2", "s3", "s4", "tx", "ty")
FISHEYE_NAMES = (*NAMES[:4], "k1", "k2", "k3", "k4")
LAST_FREE = 15
"""The two angles of a tilted sensor are used where a camera has them, but no derivative after them is made."""
_CENTRAL = 1e-8
"""Squared radius below which a fisheye's factor is its series."""

Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True)
class Projected:
    """Px and derivatives of points (...,) of one camera.

    Attributes:
        px: u and v.
        by_point: Rows u and v, columns x, y, z: px per mm.
        by_lens: Of each intrinsic asked for, the derivatives of u and v.
    """

    px: Pair
    by_point: tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]
    by_lens: dict[int, Pair]


def project(
    xyz: tuple[np.ndarray, np.ndarray, np.ndarray], intrinsics: np.ndarray, fisheye: bool, wanted: frozenset[int]
) -> Projected:
    """Px of points as the camera sees them, with derivatives.

    Args:
        xyz: Three arrays of one shape, mm, in the camera's own axes; z > 0.
        intrinsics: (18,) fx, fy, cx, cy and 14 coefficients in OpenCV's order.
        fisheye: Whether the first four coefficients are those of ``cv2.fisheye``.
        wanted: Indices of intrinsics to derive after.
    """
    per_z = 1 / xyz[2]
    a, b = xyz[0] * per_z, xyz[1] * per_z
    fx, fy, cx, cy = intrinsics[:4]
    dist = intrinsics[4:]
    bent, slopes, by_coefficient = (_fisheye if fisheye else _pinhole)(a, b, dist, wanted)
    if not fisheye and dist[12:].any():
        bent, slopes, by_coefficient = _tilted(bent, slopes, by_coefficient, dist[12], dist[13])
    by_lens: dict[int, Pair] = {index: (fx * du, fy * dv) for index, (du, dv) in by_coefficient.items()}
    zero, one = np.zeros_like(a), np.ones_like(a)
    for index, pair in enumerate(((bent[0], zero), (zero, bent[1]), (one, zero), (zero, one))):
        if index in wanted:
            by_lens[index] = pair
    rows = []
    for focal, (by_a, by_b) in ((fx, slopes[:2]), (fy, slopes[2:])):
        by_x, by_y = focal * by_a * per_z, focal * by_b * per_z
        rows.append((by_x, by_y, -(by_x * a + by_y * b)))
    return Projected((fx * bent[0] + cx, fy * bent[1] + cy), (rows[0], rows[1]), by_lens)


Bent = tuple[Pair, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], dict[int, Pair]]


def _pinhole(a: np.ndarray, b: np.ndarray, dist: np.ndarray, wanted: frozenset[int]) -> Bent:
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = dist[:12]
    ab, a2, b2 = a * b, a * a, b * b
    r2 = a2 + b2
    r4 = r2 * r2
    r6 = r4 * r2
    g = 1 + k1 * r2 + k2 * r4 + k3 * r6
    slope = k1 + 2 * k2 * r2 + 3 * k3 * r4
    per_den: np.ndarray | float = 1.0
    if k4 or k5 or k6 or wanted & {9, 10, 11}:
        per_den = 1 / (1 + k4 * r2 + k5 * r4 + k6 * r6)
        g = g * per_den
        slope = (slope - g * (k4 + 2 * k5 * r2 + 3 * k6 * r4)) * per_den
    bent = (
        a * g + 2 * p1 * ab + p2 * (r2 + 2 * a2) + s1 * r2 + s2 * r4,
        b * g + 2 * p2 * ab + p1 * (r2 + 2 * b2) + s3 * r2 + s4 * r4,
    )
    cross = 2 * (ab * slope + p1 * a + p2 * b)
    aa = g + 2 * a2 * slope + 2 * p1 * b + 6 * p2 * a
    bb = g + 2 * b2 * slope + 6 * p1 * b + 2 * p2 * a
    u_b = v_a = cross
    if dist[8:12].any():
        prism_u, prism_v = 2 * (s1 + 2 * s2 * r2), 2 * (s3 + 2 * s4 * r2)
        aa, u_b, v_a, bb = aa + a * prism_u, cross + b * prism_u, cross + a * prism_v, bb + b * prism_v
    by: dict[int, Pair] = {}
    for index, power in ((4, r2), (5, r4), (8, r6)):
        if index in wanted:
            factor = power * per_den
            by[index] = (a * factor, b * factor)
    for index, power in ((9, r2), (10, r4), (11, r6)):
        if index in wanted:
            factor = -power * g * per_den
            by[index] = (a * factor, b * factor)
    if 6 in wanted:
        by[6] = (2 * ab, r2 + 2 * b2)
    if 7 in wanted:
        by[7] = (r2 + 2 * a2, 2 * ab)
    zero = np.zeros_like(a)
    for index, pair in ((12, (r2, zero)), (13, (r4, zero)), (14, (zero, r2)), (15, (zero, r4))):
        if index in wanted:
            by[index] = pair
    return bent, (aa, u_b, v_a, bb), by


def _fisheye(a: np.ndarray, b: np.ndarray, dist: np.ndarray, wanted: frozenset[int]) -> Bent:
    k1, k2, k3, k4 = dist[:4]
    r2 = a * a + b * b
    central = r2 < _CENTRAL
    safe = np.where(central, 1.0, r2)
    radius = np.sqrt(safe)
    angle = np.arctan(radius)
    t2 = angle * angle
    # Angle over tangent, and its series where both vanish.
    narrow = np.where(central, 1 - r2 / 3, angle / radius)
    t2 = np.where(central, r2, t2)
    g = narrow * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))
    by_angle = 1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4)))
    slope = np.where(central, k1 - 1 / 3, (by_angle / (1 + safe) - g) / (2 * safe))
    cross = 2 * a * b * slope
    by: dict[int, Pair] = {}
    power = narrow
    for index in range(4, 8):
        power = power * t2
        if index in wanted:
            by[index] = (a * power, b * power)
    return (a * g, b * g), (g + 2 * a * a * slope, cross, cross, g + 2 * b * b * slope), by


def _tilted(
    bent: Pair, slopes: tuple[np.ndarray, ...], by_coefficient: dict[int, Pair], tau_x: float, tau_y: float
) -> Bent:
    cos_x, cos_y, sin_x, sin_y = np.cos(tau_x), np.cos(tau_y), np.sin(tau_x), np.sin(tau_y)
    x, y = bent
    per_depth = 1 / (sin_y * x - cos_y * sin_x * y + cos_x * cos_y)
    u = cos_x * x * per_depth
    v = (cos_y * y - sin_x * sin_y * x) * per_depth
    u_x, u_y = (cos_x - u * sin_y) * per_depth, u * cos_y * sin_x * per_depth
    v_x = (-sin_x * sin_y - v * sin_y) * per_depth
    v_y = (cos_y + v * cos_y * sin_x) * per_depth

    def turned(dx: np.ndarray, dy: np.ndarray) -> Pair:
        return u_x * dx + u_y * dy, v_x * dx + v_y * dy

    u_a, v_a = turned(slopes[0], slopes[2])
    u_b, v_b = turned(slopes[1], slopes[3])
    return (u, v), (u_a, u_b, v_a, v_b), {index: turned(*pair) for index, pair in by_coefficient.items()}
