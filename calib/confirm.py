"""Whether something that was not fitted agrees that a new rig is better than the old one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from calib.keypoints import checked, median, noise
from calib.rig import Rig
from calib.robust import triangulate_robust

_DRAWS = 400
_LEAST_GROUPS = 4


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What something that was not fitted says of two rigs.

    Attributes:
        what: It was.
        before_px: Median residual with the old rig.
        after_px: With the new one.
        low: Of the ratio after / before, lower end of the 95 % interval.
        high: Upper end.
        cameras_px: Median of each camera before and after.
        n: Residuals compared.
        groups: Joints or points that may be wrong each in its own way; the interval comes from drawing them anew.
        verdict: ``confirmed`` = better beyond chance, ``refuted`` = worse beyond chance, else ``undecided``.
    """

    what: str
    before_px: float
    after_px: float
    low: float
    high: float
    cameras_px: tuple[tuple[float, float], ...]
    n: int
    groups: int
    verdict: Literal["confirmed", "refuted", "undecided"]

    def __str__(self) -> str:
        change = f"median {self.before_px:.2f} -> {self.after_px:.2f} px"
        return f"{self.what}: {change}, ratio {self.low:.2f} to {self.high:.2f}: {self.verdict}"


def confirm(
    before: Rig,
    after: Rig,
    px: Float[np.ndarray, "V T J 2"],
    confidence: Float[np.ndarray, "V T J"] | None = None,
    *,
    what: str = "other keypoints",
    min_confidence: float | None = None,
    seed: int = 0,
) -> Confirmation:
    """Compare two rigs by something that was not fitted.

    Each point is triangulated robustly with either rig; compared are the residuals of all views, rejected ones
    included, of points that could be triangulated with both. The interval of the ratio of the medians is that of the
    bootstrap over joints, for a network that is wrong about a joint is so in all frames.

    Args:
        before: The old rig, for the pictures that the points were found in.
        after: The new one, for the same pictures.
        px: Raw px of another network's joints, of a board's corners or of scene points (J points, T = 1).
        confidence: 0 = not seen; ``None`` = all points alike.
        what: A name for it.
        min_confidence: As for `refine`; without confidences everything counts.
        seed: Of the bootstrap.

    Raises:
        ValueError: Shapes do not fit.
    """
    given = confidence is not None
    px, confidence = checked(before, px, np.ones(np.shape(px)[:-1]) if confidence is None else confidence)
    worth = confidence > 0
    if min_confidence is None:
        min_confidence = float(np.median(confidence[worth])) if given and worth.any() else 0.0
    px = np.where((worth & (confidence >= min_confidence))[..., None], px, np.nan)
    frames = np.moveaxis(px, 0, 1)
    weight = np.isfinite(frames[..., 0]).astype(float)
    sigma = noise(before, frames, weight)
    solved = [triangulate_robust(frames, weight, rig.arrays(), sigma_px=sigma) for rig in (before, after)]
    both = (solved[0].ok & solved[1].ok)[:, None]
    old, new = (np.where(both, one.residual_px, np.nan) for one in solved)
    there = np.isfinite(old) & np.isfinite(new)
    old, new = np.where(there, old, np.nan), np.where(there, new, np.nan)
    groups = np.flatnonzero(there.any(axis=(0, 1)))
    medians = [float(np.median(one[there])) if there.any() else float("nan") for one in (old, new)]
    low, high = _ratio_interval(old, new, groups, seed)
    sure = len(groups) >= _LEAST_GROUPS
    verdict: Literal["confirmed", "refuted", "undecided"] = (
        "confirmed" if sure and high < 1 else "refuted" if sure and low > 1 else "undecided"
    )
    cameras = tuple((median([old[:, v]]), median([new[:, v]])) for v in range(len(before)))
    return Confirmation(what, medians[0], medians[1], low, high, cameras, int(there.sum()), len(groups), verdict)


def _ratio_interval(old: np.ndarray, new: np.ndarray, groups: np.ndarray, seed: int) -> tuple[float, float]:
    if len(groups) < 2:
        return 0.0, float("inf")
    rng = np.random.default_rng(seed)
    of_group = [[one[..., j][np.isfinite(one[..., j])] for j in groups] for one in (old, new)]
    ratios = []
    for _ in range(_DRAWS):
        drawn = rng.integers(0, len(groups), len(groups))
        medians = [float(np.median(np.concatenate([one[j] for j in drawn]))) for one in of_group]
        ratios.append(medians[1] / max(medians[0], 1e-9))
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)
