"""All figures of a model on a data set, as JSON can hold them.

MPJPE is the mean over all joints that were solved; beside it stands the share that was. The relative errors count the
root itself, which is 0 by definition, as the published tables of Human3.6M and CMU Panoptic do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from rigpose.skeleton import Skeleton
from training.metrics.correct import THRESHOLDS_MM, THRESHOLDS_SHARE, pck
from training.metrics.distances import aligned, errors_mm, extents_mm, from_root, scaled
from training.metrics.resampling import DRAWS, LEVEL, Resampling
from training.metrics.smoothness import smoothness

if TYPE_CHECKING:  # for it needs torch, and these figures do not
    from training.predict import Prediction

MEASURES = ("absolute", "relative", "procrustes", "scaled")
"""MPJPE as it stands and from the root, P-MPJPE, N-MPJPE."""


class Moment(NamedTuple):
    """What an answer is reported under.

    Attributes:
        subject: Who, as in `training.datasets.shots.Shots.reported`.
        action: What is done, likewise.
        sequence: The take, as in `Shots.sequence`: what lies in one is not independent.
        frame: Its number in the take; ``None`` = it follows no other.
    """

    subject: str
    action: str
    sequence: str
    frame: int | None


def evaluation(
    predictions: Sequence[Prediction], skeleton: Skeleton, moments: Sequence[Moment], *, step: int = 1
) -> dict[str, Any]:
    """Figures of several batches.

    Args:
        predictions: Of all moments, in their order.
        skeleton: The joints.
        moments: One for each answer; none twice.
        step: Between the numbers of frames that follow each other, for smoothness.

    Returns:
        What `evaluation_of` says, besides ``all_views_alike`` (the same four measures for the same 2D points without
        confidences) and ``error_share`` (2D errors as a share of the crop's side).
    """
    answer, plain, truth = (
        np.concatenate([getattr(p, name) for p in predictions]) for name in ("position_mm", "plain_mm", "truth_mm")
    )
    result = evaluation_of(answer, truth, skeleton, moments, step=step)
    resampling = Resampling([moment.sequence for moment in moments])
    known = np.isfinite(truth).all(axis=-1)
    alike = {name: figure(errors, known, resampling) for name, errors in distances(plain, truth, skeleton).items()}
    # The number of views may differ between batches.
    shares = [np.asarray(p.error_share, np.float64).reshape(len(p.error_share), -1) for p in predictions]
    counts = np.concatenate([np.isfinite(share).sum(axis=1) for share in shares]).astype(np.float64)
    sums = np.concatenate([np.nansum(share, axis=1) for share in shares])
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return result | {"all_views_alike": alike, "error_share": resampling.figure(means, np.isfinite(means))}


def evaluation_of(
    answer: Float[np.ndarray, "N J 3"],
    truth: Float[np.ndarray, "N J 3"],
    skeleton: Skeleton,
    moments: Sequence[Moment],
    *,
    step: int = 1,
) -> dict[str, Any]:
    """Figures of N poses.

    Args:
        answer: mm; NaN = not solved.
        truth: mm; NaN = not known, which does not count.
        skeleton: The joints.
        moments: (N,) one for each pose; none twice.
        step: Between the numbers of frames that follow each other, for smoothness.

    Returns:
        ``mpjpe_mm`` for each of `MEASURES`, ``mean_over_actions_mm``, ``actions``, ``subjects`` (each with its
        actions), ``joints``, ``pck`` and ``smoothness``. A figure is a mean with its interval over whole sequences,
        which is ``None`` where there is only one, and the share that was ``solved``.

    Raises:
        ValueError: There is no pose, the lengths differ, or a moment is there twice.
    """
    answer, truth = np.asarray(answer, np.float64), np.asarray(truth, np.float64)
    if not len(answer) == len(truth) == len(moments) or not moments:
        raise ValueError(f"{len(answer)} answers, {len(truth)} truths and {len(moments)} moments")
    _check_once(moments)
    sequences = [moment.sequence for moment in moments]
    resampling = Resampling(sequences)
    known = np.isfinite(truth).all(axis=-1)
    errors = distances(answer, truth, skeleton)
    extent = extents_mm(truth)
    actions = _rows([moment.action for moment in moments])
    subjects = _rows([moment.subject for moment in moments])

    def measures(rows: np.ndarray) -> dict[str, Any]:
        part = Resampling([sequences[row] for row in rows])
        return {name: figure(error[rows], known[rows], part) for name, error in errors.items()}

    def over_actions(error: np.ndarray) -> dict[str, Any]:
        solved = known & np.isfinite(error)
        groups = (np.isin(np.arange(len(error)), rows)[:, None] & solved for rows in actions.values())
        return resampling.mean_of_groups([resampling.totals(error, group) for group in groups])

    return {
        "schema": 1,
        "skeleton": skeleton.name,
        "frames": len(moments),
        "sequences": resampling.sequences,
        "interval": {"level": LEVEL, "draws": DRAWS, "of": "whole sequences"},
        "extent_mm": float(np.nanmedian(extent)) if known.any() else None,
        "mpjpe_mm": measures(np.arange(len(moments))),
        "mean_over_actions_mm": {name: over_actions(error) for name, error in errors.items()},
        "actions": {action: measures(rows) for action, rows in actions.items()},
        "subjects": {
            subject: measures(rows)
            | {"actions": {a: measures(both) for a, of in actions.items() if len(both := np.intersect1d(rows, of))}}
            for subject, rows in subjects.items()
        },
        "joints": {
            joint: {
                name: figure(errors[name][:, [index]], known[:, [index]], resampling)
                for name in ("absolute", "relative", "procrustes")
            }
            for index, joint in enumerate(skeleton.joints)
        },
        "pck": {
            name: {
                "mm": pck(errors[name], known, THRESHOLDS_MM, resampling),
                "share_of_extent": pck(errors[name] / extent[:, None], known, THRESHOLDS_SHARE, resampling),
            }
            for name in ("absolute", "relative")
        },
        "smoothness": smoothness(
            answer,
            truth,
            [(moment.subject, moment.sequence) for moment in moments],
            sequences,
            [moment.frame for moment in moments],
            step,
        ),
    }


def distances(
    answer: Float[np.ndarray, "N J 3"], truth: Float[np.ndarray, "N J 3"], skeleton: Skeleton
) -> dict[str, Float[np.ndarray, "N J"]]:
    """The error of each joint in each of `MEASURES`, mm; NaN where it was not solved or is not known."""
    return {
        "absolute": errors_mm(answer, truth),
        "relative": errors_mm(from_root(answer, skeleton), from_root(truth, skeleton)),
        "procrustes": errors_mm(aligned(answer, truth), truth),
        "scaled": errors_mm(*scaled(answer, truth, skeleton)),
    }


def figure(errors: Float[np.ndarray, "N J"], known: Bool[np.ndarray, "N J"], resampling: Resampling) -> dict[str, Any]:
    """Mean with interval, median, 95th percentile, and the share of what is known that was solved."""
    solved = known & np.isfinite(errors)
    values = errors[solved]
    return resampling.figure(errors, solved) | {
        "median": float(np.median(values)) if values.size else None,
        "p95": float(np.percentile(values, 95)) if values.size else None,
        "solved": float(solved.sum() / known.sum()) if known.any() else None,
    }


def _rows(names: Sequence[str]) -> dict[str, np.ndarray]:
    """Rows of each name, in the names' order of first appearance."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    return {name: np.array(of) for name, of in rows.items()}


def _check_once(moments: Sequence[Moment]) -> None:
    seen = set()
    for moment in moments:
        name = moment.subject, moment.sequence, moment.frame
        if moment.frame is not None and name in seen:
            raise ValueError(f"{' '.join(map(str, name))} was judged twice")
        seen.add(name)
