"""How sure a rig is whose lenses were found before it and then held: what is not known of them is carried on.

An adjustment that holds a lens takes it for the truth. Where the lens was itself found from a few views of a board, the
poses are off by what it is off, many times what the residuals say. To first order a pose changes by ``S`` for a change
of the lens, and the covariance grows by ``S C S^T`` with ``C`` that of the lens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from calib.bundle import Adjusted, Free, adjust_boards
from calib.bundle.parameters import EXTRINSICS
from calib.camera import Camera
from calib.intrinsics import MOST_VIEWS, Intrinsics, everything_of
from calib.observations import BoardViews, choose
from calib.solution import Solution

_CENTER = 0.03
"""Of the picture's width: how far principal points lie off the middle, where no view says more."""
_FOCAL = 1.0
"""Of the focal length, where no view says more."""
_FLAT = 1e-9
"""Of the largest eigenvalue of a correlation: below it a combination of coefficients is what rounding left."""


def with_lens_doubt(
    views: BoardViews,
    solution: Solution,
    found: Sequence[Intrinsics | None],
    free: Sequence[Free],
    asked: BoardViews | None = None,
) -> Solution:
    """The solution with covariances that know how unsure the lenses are that it held.

    Args:
        views: What it was solved from.
        solution: Cameras and boards.
        found: What each camera's own views say about its lens; ``None`` = given, taken for true.
        free: What was free in the solution.
        asked: Views that the lenses were found from, where those have been carried to another time since.
    """
    lenses = {
        lens.camera.name: lens
        for lens, mine in zip(found, free, strict=True)
        if lens is not None and lens.solution is not None and mine == Free()
    }
    if not lenses:
        return solution
    every = [
        everything_of(lenses[name].model) if name in lenses else mine
        for name, mine in zip(views.names, free, strict=True)
    ]
    whole = _standing(views, solution, every)
    labels = whole.labels
    before = solution.adjusted
    row_of = {label: row for row, label in enumerate(labels)}
    kept = [row_of[label] for label in before.labels]
    moved = np.zeros((len(before.covariance), len(before.covariance)))
    for name, lens in lenses.items():
        rows = [row for row, (camera, label) in enumerate(labels) if camera == name and label not in EXTRINSICS]
        others = [r for r, (camera, label) in enumerate(labels) if r not in rows and _is_lens(camera, label, lenses)]
        moved += _carried(whole, kept, rows, others, _own_covariance(views if asked is None else asked, lens))
    return replace(solution, adjusted=replace(before, covariance=before.covariance + moved))


def _is_lens(camera: str, label: str, lenses: dict[str, Intrinsics]) -> bool:
    return camera in lenses and label not in EXTRINSICS


def _carried(whole: Adjusted, kept: list[int], rows: list[int], others: list[int], own: np.ndarray) -> np.ndarray:
    """What the lens in ``rows`` adds to the covariance of ``kept`` while all ``others`` are held."""
    lens = [row for row in rows + others if np.isfinite(whole.covariance[row, row])]
    block = whole.covariance[np.ix_(lens, lens)]
    size = np.sqrt(np.diag(block))
    inverse = np.linalg.pinv(block / size[:, None] / size, rcond=_FLAT, hermitian=True) / size[:, None] / size
    # Of a joint covariance, cross times the inverse is how what is free follows what is held.
    follows = np.nan_to_num(whole.covariance[np.ix_(kept, lens)], nan=0.0, posinf=0.0) @ inverse
    mine = [number for number, row in enumerate(rows) if row in lens]
    slope = follows[:, [lens.index(rows[number]) for number in mine]]
    return np.asarray(slope @ own[np.ix_(mine, mine)] @ slope.T)


def _standing(views: BoardViews, solution: Solution, free: Sequence[Free]) -> Adjusted:
    """What an adjustment with more free would know, where the solution stands."""
    px = np.where(solution.used[..., None], views.px, np.nan)
    return adjust_boards(
        solution.cameras, solution.poses, views.target_mm, px, free=free, sigma_px=solution.sigma_px, max_iterations=0
    )


def _own_covariance(views: BoardViews, lens: Intrinsics) -> np.ndarray:
    """(n, n) of all of a lens's model, as its own views and what is known of all lenses tell; finite."""
    assert lens.solution is not None
    camera = lens.camera
    mine = views.of([camera.name])
    mine = mine.select(choose(mine, MOST_VIEWS))
    adjusted = _standing(mine, lens.solution, [replace(everything_of(lens.model), extrinsics=False)])
    covariance = adjusted.covariance
    # Blocks of views may disagree by more than the residuals let expect.
    stated = adjusted.deviation(camera.name).focal_px
    with np.errstate(all="ignore"):
        more = np.nanmax(np.array(lens.focal_deviation_px) / stated, initial=1.0)
    factor = float(more) ** 2 if np.isfinite(more) else 1.0
    known = np.isfinite(np.diag(covariance))
    information = np.zeros_like(covariance)
    some = np.ix_(known, known)
    size = np.sqrt(np.diag(covariance)[known])
    unit = covariance[some] / size[:, None] / size
    information[some] = np.linalg.pinv(unit, rcond=_FLAT, hermitian=True) / size[:, None] / size / factor
    prior = np.array([_prior(label, camera) for _, label in adjusted.labels])
    information += np.diag(prior**-2)
    unit = information * prior[:, None] * prior
    return np.asarray(np.linalg.inv(unit) * prior[:, None] * prior)


def _prior(label: str, camera: Camera) -> float:
    """The deviation of an intrinsic among lenses; of coefficients, that of any that is left."""
    if label in ("fx", "fy", "f"):
        return _FOCAL * float(camera.K[0, 0])
    if label in ("cx", "cy"):
        return _CENTER * max(camera.size)
    return 10.0
