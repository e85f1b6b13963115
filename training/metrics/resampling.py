"""How sure a mean is: the bootstrap over whole sequences.

What lies in one take is not independent, so that not frames are drawn anew but takes (Efron and Tibshirani 1993, 8.5;
for clusters Field and Welsh 2007). The interval holds the middle 95 % of the means of 2000 draws, always the same ones.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

LEVEL = 0.95
DRAWS = 2000
_SEED = 0


class Resampling:
    """N frames that come from sequences, and the draws of these.

    Args:
        names: (N,) the sequence of each frame.
        draws: How often as many sequences are drawn as there are, with repetition.
    """

    def __init__(self, names: Sequence[Hashable], draws: int = DRAWS) -> None:
        number: dict[Hashable, int] = {}
        self.of = np.array([number.setdefault(name, len(number)) for name in names], dtype=np.int64)
        self.sequences = len(number)
        self.draws = draws

    @cached_property
    def _drawn(self) -> Float[np.ndarray, "draws S"]:
        """How often each sequence is in each draw."""
        even = np.full(self.sequences, 1 / self.sequences)
        drawn = np.random.default_rng(_SEED).multinomial(self.sequences, even, size=self.draws)
        return drawn.astype(np.float64)

    def totals(
        self, values: Float[np.ndarray, "N ..."], counted: Bool[np.ndarray, "N ..."]
    ) -> tuple[Float[np.ndarray, " S"], Float[np.ndarray, " S"]]:
        """Sum and number of what counts, of each sequence."""
        rest = tuple(range(1, np.ndim(values)))
        frames, numbers = np.where(counted, values, 0.0).sum(axis=rest), np.asarray(counted, np.float64).sum(axis=rest)
        return np.bincount(self.of, frames, self.sequences), np.bincount(self.of, numbers, self.sequences)

    def means(self, totals: tuple[np.ndarray, np.ndarray]) -> Float[np.ndarray, " draws"]:
        """The mean of each draw; NaN where nothing of it counts."""
        sums, counts = (self._drawn @ part for part in totals)
        return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)

    def figure(self, values: Float[np.ndarray, "N ..."], counted: Bool[np.ndarray, "N ..."]) -> dict[str, Any]:
        """The mean of what counts, its interval, and how much there is.

        Returns:
            ``mean``, ``interval`` ([low, high], ``None`` with fewer than two sequences), ``n`` values and their
            ``sequences``.
        """
        totals = self.totals(values, counted)
        n, sequences = int(totals[1].sum()), int((totals[1] > 0).sum())
        return {
            "mean": float(totals[0].sum() / n) if n else None,
            "interval": interval(self.means(totals)) if sequences > 1 else None,
            "n": n,
            "sequences": sequences,
        }

    def mean_of_groups(self, groups: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
        """The mean of the groups' means, each counting alike, as Human3.6M's tables have it over actions.

        Args:
            groups: What `totals` says of each group.
        """
        kept = [totals for totals in groups if totals[1].sum() > 0]
        if not kept:
            return {"mean": None, "interval": None, "n": 0, "sequences": 0}
        draws = np.stack([self.means(totals) for totals in kept])
        there = np.isfinite(draws)
        drawn = np.where(there, draws, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
        sequences = int(np.stack([totals[1] for totals in kept]).any(axis=0).sum())
        return {
            "mean": float(np.mean([totals[0].sum() / totals[1].sum() for totals in kept])),
            "interval": interval(np.where(there.any(axis=0), drawn, np.nan)) if sequences > 1 else None,
            "n": len(kept),
            "sequences": sequences,
        }


def interval(means: Float[np.ndarray, " draws"], level: float = LEVEL) -> list[float] | None:
    """Between which the middle of the draws lies; ``None`` where no draw has a mean."""
    known = means[np.isfinite(means)]
    if known.size == 0:
        return None
    return [float(q) for q in np.quantile(known, [(1 - level) / 2, (1 + level) / 2])]
