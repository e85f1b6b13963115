"""Fit how far a lifter can be trusted where it stands in for views: ``python -m training.fallback LIFTER``.

Sequences of a virtual rig with much in front of its subject are lifted; the errors give the figures of
`engine.fallback_tuning.FallbackTuning` in closed form: variances, correlations, and how fast they are forgotten. Then
the sequences run through the fall-back itself once, and factors make its covariances honest. The figures are
written in the lifter's file. Nothing that judges is looked at.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import array_api_compat.numpy as xp
import numpy as np
from jaxtyping import Float

from calib.triangulate import reproject
from capture.virtual.scenario import load_scenario
from engine.config import EngineSection
from engine.fallback_tuning import FallbackTuning, signed, tuning_of
from engine.lift import Lifter, lifter_path
from engine.lift_blend import blend, square
from engine.lift_solver import LEAST_SEEN_SHARE, LiftSolver, LocatedLifter
from engine.lifter_document import LifterDocument, read_lifter_document
from engine.solve import Observation, Solver
from rigpose.pose import LIFTED, PREDICTED
from rigpose.program import run as run_program
from training.fallback_scenes import DetectorNoise, Scene, scenes

log = logging.getLogger(__name__)

SCENARIO = Path(__file__).parent / "scenarios" / "mannequin_fallback_train.yaml"
SEED = 1
CHI2_3 = {0.683: 3.53, 0.954: 8.02}
_LAGS_S = (1 / 30, 0.5)
_AHEAD_S = 0.4
"""Typical time for which a joint is lost."""
_TRIED = (
    ("speed_per_s", (2.0, 3.0, 4.5)),
    ("speed_memory_s", (0.5, 2.0)),
    ("lift_scale", (0.7, 1.4)),
    ("lift_memory_s", (0.5, 2.0)),
    ("pixel_scale", (0.8, 1.4)),
    ("freedom", (0.5, 2.0)),
)
"""Motion is at times much quicker than its variance says, and nothing is exactly as the model of it."""
_ALONE = (20, 45)
"""Frames of a sequence in which one view goes on alone."""
_FACTORS = np.geomspace(0.2, 5.0, 401)
_LEAST = 50
_SHRINK = 0.1
"""Of the correlations towards none: they come from so many poses and no more."""


def lifted(scene: Scene, lifter: Lifter) -> tuple[Float[np.ndarray, "T V J 3"], Float[np.ndarray, "T V J 6"]]:
    """What a lifter says of each view of each frame; NaN where a view sees too little."""
    window, n = lifter.document.window, len(scene.time_ns)
    sees = scene.sees
    enough = sees.sum(axis=-1) >= max(3, np.ceil(LEAST_SEEN_SHARE * sees.shape[-1]))
    points = np.where((sees & enough[..., None])[..., None], scene.points, np.nan)
    index = np.arange(n)[:, None] - np.arange(window)[::-1]
    frames = points[np.maximum(index, 0)].swapaxes(1, 2)
    frames = np.where((index >= 0)[:, None, :, None, None], frames, np.nan)
    mean, spread = lifter.run(frames, np.isfinite(frames[..., 0]).astype(np.float32), scene.rig)
    return np.where(enough[..., None, None], mean, np.nan), spread


def fit(found: Sequence[Scene], lifter: Lifter) -> FallbackTuning:
    """The figures, but for the last two factors."""
    document = lifter.document
    joints = len(document.skeleton.joints)
    roots = np.isin(np.arange(joints), [entry.root for entry in document.roots])
    others = np.flatnonzero(~roots)
    own2, counts, blends = [], [], []
    velocities, noise = [], []
    for scene in found:
        mean, spread = lifted(scene, lifter)
        turn = np.asarray(scene.rig.Rt)[:, :, :3].swapaxes(1, 2)
        true = scene.truth_mm - scene.truth_mm[:, list(document.root_of)]
        white = np.full(true.shape, np.nan)
        for tick in range(len(true)):
            one = blend(mean[tick], spread[tick], turn, roots, 0.0, document.size_mm)
            if one is None:
                continue
            off = one.shape_mm[others] - true[tick][others]
            white[tick][others] = np.linalg.solve(one.factor_mm[others], off[..., None])[..., 0]
        views = np.isfinite(mean).all(axis=(2, 3))
        off = (turn @ mean.swapaxes(-1, -2)).swapaxes(-1, -2) - true[:, None]
        factor = np.linalg.cholesky(square(spread[views][:, others].astype(float)))
        camera = (turn.swapaxes(1, 2) @ off.swapaxes(-1, -2)).swapaxes(-1, -2)
        # Of lost joints alone: they are what the lift stands in for, and harder than those that are seen.
        lost = (scene.sees.sum(axis=1) < 2)[:, others]
        one2 = (np.linalg.solve(factor, camera[views][:, others][..., None])[..., 0] ** 2).mean(axis=-1)
        own2.append(one2[np.repeat(lost[:, None], views.shape[1], axis=1)[views]])
        blends.append(white)
        counts.append(np.where(lost, views.sum(axis=1)[:, None], 0))
        velocities.append(np.diff(scene.truth_mm, axis=0) / (np.diff(scene.time_ns) / 1e9)[:, None, None])
        px = reproject(xp, (scene.truth_mm - scene.rig.world[:3]) / scene.rig.world[3], scene.rig)
        noise.append(((scene.points - px) / scene.sigma_px[..., None, None])[scene.sees].ravel())
    lift2 = float(np.concatenate(own2).mean())
    correlation, kappa = _between_joints(blends, others), _between_views(blends, counts, others, lift2)
    lift_noise, lift_memory = _memory(blends, found, others)
    speed = np.stack([(v**2).mean(axis=(0, 2)) for v in velocities]).mean(axis=0) ** 0.5
    speed_memory = _speed_memory(found, velocities)
    return FallbackTuning(
        view_correlation=kappa,
        lift_scale=lift2**0.5,
        lift_memory_s=lift_memory,
        lift_noise=lift_noise,
        correlation=tuple(np.round(correlation, 4).ravel().tolist()),
        scale_sigma=document.size_spread,
        speed_per_s=tuple(np.round(speed / document.size_mm, 4).tolist()),
        speed_memory_s=speed_memory,
        pixel_scale=float(np.clip(np.sqrt(np.mean(np.concatenate(noise) ** 2)), 0.5, 3.0)),
        lifted_scale=1.0,
        predicted_scale=1.0,
        alone_scale=1.0,
    )


def _between_views(blends: list[np.ndarray], counts: list[np.ndarray], others: np.ndarray, lift2: float) -> float:
    """What the errors of two views have in common: how much more a blend is off than if they had nothing."""
    square2 = np.concatenate([(white[:, others] ** 2).mean(axis=2) for white in blends])
    views = np.concatenate(counts)
    several = (views > 1) & np.isfinite(square2)
    if not several.any():
        return 1.0
    grown = square2[several] / lift2 - 1
    by = views[several] - 1.0
    return float(np.clip((grown * by).sum() / (by * by).sum(), 0.0, 1.0))


def _between_joints(blends: list[np.ndarray], others: np.ndarray) -> np.ndarray:
    white = np.concatenate(blends)
    joints = white.shape[1]
    white = white[np.isfinite(white[:, others]).all(axis=(1, 2))][:, others]
    common = np.einsum("tia,tja->ij", white, white)
    scale = np.sqrt(np.diag(common))
    found = np.eye(joints)
    found[np.ix_(others, others)] = (1 - _SHRINK) * common / np.outer(scale, scale) + _SHRINK * np.eye(len(others))
    return found


def _memory(series: list[np.ndarray], found: Sequence[Scene], others: np.ndarray) -> tuple[float, float]:
    """Share that is another one in each frame, and the seconds in which the rest is forgotten to 1/e."""
    step_s = float(np.median(np.diff(found[0].time_ns))) / 1e9
    lags = np.unique(np.round(np.linspace(*_LAGS_S, 8) / step_s).astype(int).clip(1))
    total = np.mean([np.nanmean(one[:, others] ** 2) for one in series])
    kept = []
    for lag in lags:
        kept.append(np.mean([np.nanmean(one[lag:, others] * one[:-lag, others]) for one in series]) / total)
    logs = np.log(np.clip(kept, 1e-3, 1.0))
    slope, start = np.polyfit(lags * step_s, logs, 1)
    return float(np.clip(1 - np.exp(start), 0.0, 0.9)), float(np.clip(-1 / min(slope, -1e-3), 0.02, 10.0))


def _speed_memory(found: Sequence[Scene], velocities: list[np.ndarray]) -> float:
    """Seconds in which velocities are forgotten, by how far joints really come meanwhile."""
    step_s = float(np.median(np.diff(found[0].time_ns))) / 1e9
    lag = max(1, round(_AHEAD_S / step_s))
    moved = np.mean([((s.truth_mm[lag:] - s.truth_mm[:-lag]) ** 2).mean() for s in found])
    share = moved / (np.mean([(v**2).mean() for v in velocities]) * (lag * step_s) ** 2)
    # Of the process: 2 (a - 1 + exp(-a)) / a^2 with a = lag over memory, which falls from 1 to 0.
    ratio = np.geomspace(1e-2, 1e2, 400)
    shares = 2 * (ratio - 1 + np.exp(-ratio)) / ratio**2
    return float(lag * step_s / np.interp(-share, -shares, ratio))


@dataclass(frozen=True, slots=True)
class Answers:
    """What the fall-back said of lost joints of one kind.

    Attributes:
        distance2: (N,) squared Mahalanobis distances of the truth.
        log_volume: (N,) logarithm of the covariances' determinants.
    """

    distance2: Float[np.ndarray, " N"]
    log_volume: Float[np.ndarray, " N"]

    @property
    def factor(self) -> float:
        """What deviations are to be multiplied with, so that as many errors lie within them as should."""
        if len(self.distance2) < _LEAST:
            return 1.0
        within = [
            np.searchsorted(np.sort(self.distance2), bar * _FACTORS**2, side="right") / len(self.distance2)
            for bar in CHI2_3.values()
        ]
        # Errors have longer tails than a normal distribution: no factor makes both shares right, and this one leaves
        # neither further off than it must be.
        off = np.abs(np.array(within) - np.array(list(CHI2_3))[:, None]).max(axis=0)
        return float(_FACTORS[off.argmin()])

    @property
    def surprise(self) -> float:
        """Sum of minus log likelihoods once deviations are multiplied so, but for a constant."""
        factor = self.factor
        return float((0.5 * (self.distance2 / factor**2 + self.log_volume) + 3 * np.log(factor)).sum())


def answers(
    found: Sequence[Scene], located: LocatedLifter, min_score: float = 0.3, begin: int = 0
) -> dict[int, Answers]:
    """What is said of the lost joints of sequences, from a frame on, by how they were got."""
    config = EngineSection()
    rows: dict[int, list[tuple[float, float]]] = {LIFTED: [], PREDICTED: []}
    names = located.lifter.document.skeleton.joints
    for scene in found:
        solver = Solver(scene.rig, config.solve, min_score)
        lift = LiftSolver(scene.rig, config, min_score, located, names)
        lift.reset()
        for tick, time_ns in enumerate(scene.time_ns.tolist()):
            seen = Observation(scene.points[tick], scene.sees[tick].astype(float), None, None, scene.sigma_px[tick])
            pose = lift.follow(solver.solve(seen), seen, time_ns)
            for how, place in ((LIFTED, pose.position_mm), (PREDICTED, pose.predicted_mm)):
                for joint in np.flatnonzero(pose.how == how).tolist() if tick >= begin else ():
                    assert place is not None
                    off = np.asarray(place[joint], float) - scene.truth_mm[tick, joint]
                    spread = square(np.asarray(pose.covariance_mm2[joint], float))
                    rows[how].append((float(off @ np.linalg.solve(spread, off)), np.linalg.slogdet(spread)[1]))
    return {how: Answers(*np.array(values).reshape(-1, 2).T) for how, values in rows.items()}


def alone_scale(found: Sequence[Scene], located: LocatedLifter) -> float:
    """How much less sure all is where one view goes on alone; not below 1.

    Args:
        found: Sequences whose keypoints are off for long (`DetectorNoise.lasts`).
        located: Whose other factors are known.
    """
    parts = [scene.left_alone(place % len(scene.rig.K), *_ALONE) for place, scene in enumerate(found)]
    said = answers(parts, located, begin=_ALONE[0]).values()
    together = Answers(*(np.concatenate([getattr(one, key) for one in said]) for key in ("distance2", "log_volume")))
    return max(1.0, together.factor)


def fit_all(found: Sequence[Scene], lifter: Lifter, lasting: Sequence[Scene]) -> FallbackTuning:
    """The figures; what the closed forms get only about right is improved by likelihood. And the last factors.

    Args:
        found: Sequences.
        lifter: Whose figures.
        lasting: Sequences for `alone_scale`.
    """

    def judged(tuning: FallbackTuning) -> tuple[float, dict[int, Answers]]:
        said = answers(found, LocatedLifter(lifter, tuning))
        count = sum(len(one.distance2) for one in said.values())
        return sum(one.surprise for one in said.values()) / max(count, 1), said

    tuning = fit(found, lifter)
    best, said = judged(tuning)
    for key, factors in _TRIED:
        start = getattr(tuning, key)
        for factor in factors:
            changed = tuple(factor * v for v in start) if isinstance(start, tuple) else factor * start
            other = tuning.model_copy(update={key: changed})
            surprise, answered = judged(other)
            log.info("%s x %g: %.3f (best %.3f)", key, factor, surprise, best)
            if surprise < best:
                best, said, tuning = surprise, answered, other
    return with_factors(tuning, said, lasting, lifter)


def with_factors(
    tuning: FallbackTuning, said: dict[int, Answers], lasting: Sequence[Scene], lifter: Lifter
) -> FallbackTuning:
    """Figures with the factors that make what they said honest."""
    tuning = tuning.model_copy(update={"lifted_scale": said[LIFTED].factor, "predicted_scale": said[PREDICTED].factor})
    return tuning.model_copy(update={"alone_scale": alone_scale(lasting, LocatedLifter(lifter, tuning))})


def fit_factors(
    found: Sequence[Scene], lifter: Lifter, lasting: Sequence[Scene], tuning: FallbackTuning
) -> FallbackTuning:
    """Figures as they were, and the factors anew."""
    bare = tuning.model_copy(update={"lifted_scale": 1.0, "predicted_scale": 1.0, "alone_scale": 1.0})
    return with_factors(bare, answers(found, LocatedLifter(lifter, bare)), lasting, lifter)


def write(path: Path, tuning: FallbackTuning) -> LifterDocument:
    """Write the figures in a lifter's file, whole or not at all."""
    document, proto = read_lifter_document(path)
    signed(proto, tuning)
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(proto.SerializeToString())
    os.replace(partial, path)
    return document


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.fallback",
        description="Fit how far a lifter can be trusted where it stands in for views, and write it in its file.",
        epilog="Example: python -m training.fallback engine/zoo/lifters/lift17.onnx",
    )
    parser.add_argument("lifter", help="its file, or a name of the zoo")
    parser.add_argument("--scenario", type=Path, default=SCENARIO, help="what is shown")
    parser.add_argument("--worlds", type=int, default=24, help="sequences, of four seconds each")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--factors", action="store_true", help="fit only the factors on the deviations")
    parser.add_argument("--dry-run", action="store_true", help="print the figures and write nothing")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    path = lifter_path(options.lifter)
    scenario, lasts = load_scenario(options.scenario), DetectorNoise(lasts=True)
    found, lasting = (
        list(scenes(scenario, options.seed, options.worlds, noise=noise)) for noise in (DetectorNoise(), lasts)
    )
    document, proto = read_lifter_document(path)
    lifter = Lifter(document, proto)
    if options.factors:
        tuning = fit_factors(found, lifter, lasting, tuning_of(proto, document, path))
    else:
        tuning = fit_all(found, lifter, lasting)
    print(tuning.model_dump_json(indent=1, exclude={"correlation"}))
    if not options.dry_run:
        write(path, tuning)
    return 0


if __name__ == "__main__":
    run_program(main)
