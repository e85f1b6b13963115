"""A rig made ready for many small numpy solves: what depends on the rig alone is computed once.

The same equations as `calib.triangulate`, laid out for few and small numpy calls: component first,
``(2, V, N)`` or ``(3, N)`` with N joints, float64, in the rig-normalised world.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

import numpy as np

from calib.prepared_lens import PreparedLens
from calib.rig import RigArrays

_RIDGE = 1e-6

# The symmetric 3x3 normal matrix travels as xx xy xz yy yz zz, its right-hand side behind it.
_LEFT, _RIGHT = (3, 2, 1, 0, 1, 0), (5, 4, 4, 5, 2, 3)
_LEFT_2, _RIGHT_2 = (4, 1, 2, 2, 0, 1), (4, 5, 3, 2, 4, 1)
_OPERANDS = np.array(_LEFT + _RIGHT + _LEFT_2 + _RIGHT_2)
_REST = np.array((0, 1, 2, 6, 7, 8))
_FULL = np.array((0, 1, 2, 1, 3, 4, 2, 4, 5))


class Prepared(PreparedLens):
    """Constants of a rig, and the operations on (component, view, joint) arrays."""

    def __init__(self, rig: RigArrays) -> None:
        K, dist, fisheye, Rt, world = (np.asarray(array, dtype=np.float64) for array in rig)
        super().__init__(K, dist, fisheye)
        self.origin, self.unit = world[:3, None], float(world[3])
        # R as (3 V, 3), component first, so that one product gives the coordinates in all views.
        self._R = np.ascontiguousarray(Rt[:, :, :3].transpose(1, 0, 2)).reshape(-1, 3)
        self._t = np.ascontiguousarray(Rt[:, :, 3].T).reshape(-1, 1)
        # One over the squared depth of the working point, to begin with.
        self.depth0 = np.maximum(np.abs(Rt[:, 2, 3]), 0.05)[:, None] ** -2.0
        self.products = _products(Rt)
        self.equations = _equations(self.products, np.ones((1, self.n_views)))[:, 0]
        self.operands = np.concatenate([self.equations[_OPERANDS], self.equations[_REST]])
        self._hypotheses: np.ndarray | None = None

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

    def project(self, position: np.ndarray) -> np.ndarray:
        """(2, V, N) raw px of positions (3, N); NaN behind a camera."""
        seen = self.seen_from(position)
        depth = seen[2]
        np.copyto(depth, np.nan, where=~(depth > 0))
        return self.distort(seen[:2] / depth)


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
