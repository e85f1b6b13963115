"""A few figures of many answers, for a run's report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from capture.virtual.skeletons import FLY38, LEGS, N_LEG, SIDE
from rigpose.skeleton import Skeleton
from training.metrics.distances import errors_mm, from_root

if TYPE_CHECKING:  # for it needs torch, and these figures do not
    from training.predict import Prediction


def distribution(errors: Float[np.ndarray, "*n"]) -> dict[str, float]:
    """Mean, median and 95th percentile of what is finite, and its share."""
    known = errors[np.isfinite(errors)]
    if known.size == 0:
        return {"mean": float("nan"), "median": float("nan"), "p95": float("nan"), "share": 0.0}
    return {
        "mean": float(known.mean()),
        "median": float(np.median(known)),
        "p95": float(np.percentile(known, 95)),
        "share": known.size / errors.size,
    }


def leg_length_mm(truth: Float[np.ndarray, "N J 3"], skeleton: Skeleton) -> float | None:
    """Mean length of a fly's legs, along their joints; ``None`` for what has no legs of that kind."""
    if skeleton.name != FLY38.name:
        return None
    chains = [range(side + N_LEG * leg, side + N_LEG * (leg + 1)) for side in (0, SIDE) for leg in range(len(LEGS))]
    lengths = [np.linalg.norm(np.diff(truth[:, list(chain)], axis=1), axis=-1).sum(axis=-1) for chain in chains]
    return float(np.mean(lengths))


def summary(predictions: Sequence[Prediction], skeleton: Skeleton) -> dict[str, float]:
    """Figures of several batches, for a run's report."""
    position = np.concatenate([p.position_mm for p in predictions])
    plain = np.concatenate([p.plain_mm for p in predictions])
    truth = np.concatenate([p.truth_mm for p in predictions])
    share = np.concatenate([p.error_share.reshape(-1) for p in predictions])
    absolute = distribution(errors_mm(position, truth))
    relative = distribution(errors_mm(from_root(position, skeleton), from_root(truth, skeleton)))
    return {
        "mpjpe_mm": absolute["mean"],
        "median_mm": absolute["median"],
        "p95_mm": absolute["p95"],
        "relative_mm": relative["mean"],
        "plain_mm": distribution(errors_mm(plain, truth))["mean"],
        "error_share": distribution(share)["mean"],
        "median_share": distribution(share)["median"],
    }
