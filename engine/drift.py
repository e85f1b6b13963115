"""How far the answers of one runtime lie from another's: in mm and in px, where there is something to compare.

Compared are joints that at least two views see with the model's ``min_score`` in the reference: what nobody sees is
noise in any precision, and the solver does not use it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_LEAST_VIEWS = 2


@dataclass(frozen=True, slots=True)
class Drift:
    """What was found.

    Attributes:
        mm: Distance of each 3D point from the reference's.
        px: Distance of each 2D point that was seen.
        lost: 3D points that the reference has and the other has not.
    """

    mm: np.ndarray
    px: np.ndarray
    lost: int

    @property
    def p99_mm(self) -> float:
        """What a lower precision is judged by; without anything to compare it is infinite."""
        if self.lost or self.mm.size == 0:
            return float("inf")
        return float(np.percentile(self.mm, 99))

    def figures(self) -> dict[str, float | int]:
        """Percentiles, and how much was compared."""
        found: dict[str, float | int] = {"points": int(self.mm.size), "lost": self.lost}
        for name, values in (("mm", self.mm), ("px", self.px)):
            if values.size:
                found |= {f"{name}_p50": float(np.median(values)), f"{name}_p99": float(np.percentile(values, 99))}
                found[f"{name}_max"] = float(values.max())
        return found


def drift(
    reference: Sequence[Mapping[str, np.ndarray]],
    others: Sequence[Mapping[str, np.ndarray]],
    min_score: float,
    view_weights: Sequence[np.ndarray],
) -> Drift:
    """Compare answers to the same inputs.

    Args:
        reference: Outputs of the graph, one of each frame set.
        others: The same of the other runtime.
        min_score: Of the model.
        view_weights: (B, V) of the inputs; an absent camera sees nothing.
    """
    mm, px, lost = [], [], 0
    for here, there, weight in zip(reference, others, view_weights, strict=True):
        seen = (here["confidence"] >= min_score) & (weight[..., None] > 0)
        off = np.linalg.norm(there["points2d"] - here["points2d"], axis=-1)
        px.append(off[seen & np.isfinite(off)])
        known = (seen.sum(axis=1) >= _LEAST_VIEWS) & np.isfinite(here["points3d"]).all(axis=-1)
        away = np.linalg.norm(there["points3d"] - here["points3d"], axis=-1)[known]
        lost += int(np.isnan(away).sum())
        mm.append(away[np.isfinite(away)])
    return Drift(np.concatenate(mm), np.concatenate(px), lost)
