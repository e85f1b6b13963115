"""Joints that fewer than two of four cameras see: where the fall-back on a lifter puts them, beside holding still.

The scenario is `training/scenarios/unseen_fallback.yaml`, frozen before anything was fitted: of unseen bodies, motion
and camera heights one view alone sees about a fifth of the joints, and none a twentieth. *keypoints* are true
projections with a network's noise, *pictures* are drawn and seen by the network through the engine's pipeline. Judged
are the joints that plain triangulation loses. A joint without an answer counts with the error of holding its last
value. Likelihoods are compared with one constant covariance a joint, of the same answers in validation worlds.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from benchmarks._fallback_runs import Lost, drawn, keypoints
from benchmarks._report import ROOT, Report, arguments, finish
from capture.virtual.scenario import load_scenario
from engine.fallback_tuning import tuning_of
from engine.lift import Lifter, lifter_path
from engine.lift_solver import LocatedLifter
from engine.lifter_document import read_lifter_document
from rigpose.pose import LIFTED, PREDICTED
from rigpose.program import run as run_program
from training.fallback_scenes import scenes

SCENARIOS = ROOT / "training" / "scenarios"
EXAM, VALIDATION = SCENARIOS / "unseen_fallback.yaml", SCENARIOS / "mannequin_fallback_train.yaml"
LIFTER, MODEL = "lift17", "mannequin17"
SEED, VALIDATION_SEED = 0, 2
"""Of the worlds; `training.fallback` fits on seed 1 of the validation's scenario."""
WORLDS = 40
PICTURE_WORLDS, PICTURE_FRAMES = 10, 90
BARS = ((3.53, 68.0, "within one deviation: off 68 %"), (8.02, 95.0, "within two deviations: off 95 %"))
KINDS = ((LIFTED, "lifted"), (PREDICTED, "predicted"))
_LEAST = 20
"""Errors of a joint from which it has a constant covariance of its own."""


def located(name: str = LIFTER) -> LocatedLifter:
    """The lifter with its figures."""
    document, proto = read_lifter_document(lifter_path(name))
    return LocatedLifter(Lifter(document, proto), tuning_of(proto, document, name))


def constants(found: Lost) -> tuple[np.ndarray, np.ndarray]:
    """(J, 3, 3) covariance of each joint's errors, and that of all."""
    off, joint = np.stack(found.off_mm), np.array(found.joint)
    good = np.isfinite(off).all(axis=-1)
    pooled = _second_moment(off[good])
    by_joint = [off[good & (joint == j)] for j in range(joint.max() + 1)]
    return np.stack([_second_moment(own) if len(own) >= _LEAST else pooled for own in by_joint]), pooled


def _second_moment(off: np.ndarray) -> np.ndarray:
    return np.asarray(off.T @ off / max(len(off), 1))


def log_likelihood(off: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Of errors (N, 3) under normal distributions."""
    distance2 = (off[:, None] @ np.linalg.solve(spread, off[..., None]))[:, 0, 0]
    return -0.5 * (distance2 + np.linalg.slogdet(spread)[1] + 3 * np.log(2 * np.pi))


def judge(report: Report, case: str, found: Lost, validation: Lost) -> None:
    """The rows of one way to see."""
    off, spread = np.stack(found.off_mm), np.stack(found.spread_mm2)
    held, how, views = np.array(found.held_mm), np.array(found.how), np.array(found.views)
    joint, place = np.array(found.joint), np.array(found.place)
    answered = np.isfinite(off).all(axis=-1)
    error = np.where(answered, np.linalg.norm(np.where(answered[:, None], off, 0), axis=-1), held)
    once = np.isfinite(held) & np.isfinite(error)
    for count in (1, 0):
        what = "joints that one view sees" if count else "joints that no view sees"
        report.add(case, what, "%", 100 * float((views == count).sum()) / found.joints, n=found.joints)
    if found.without:
        report.notes.append(f"{case}: {found.without} of {found.sets} frame sets without a subject, not judged")
    report.add(case, "lost joints with an answer", "%", 100 * float(answered.mean()), better="higher", n=len(answered))
    by_world = [(error[m].mean(), held[m].mean()) for p in np.unique(place) if (m := once & (place == p)).any()]
    ours, theirs = np.array(by_world).T
    _mean(report, case, "MPJPE of lost joints", "mm", error[once], ours)
    _mean(report, case, "MPJPE of lost joints, last value held", "mm", held[once], theirs)
    _ratio(report, case, "over the last value held", ours, theirs, float(error[once].mean() / held[once].mean()))
    for kind, name in KINDS:
        own = once & answered & (how == kind)
        if own.any():
            report.add(case, f"MPJPE, {name}", "mm", float(error[own].mean()), n=int(own.sum()))
            report.add(case, f"{name}, over the last value held", "x", float(error[own].mean() / held[own].mean()),
                       n=int(own.sum()))  # fmt: skip
    off, spread = off[answered], spread[answered]
    distance2 = (off[:, None] @ np.linalg.solve(spread, off[..., None]))[:, 0, 0]
    for bar, share, what in BARS:
        inside = 100 * float((distance2 < bar).mean())
        report.add(case, what, "%", abs(inside - share), n=len(distance2))
        parts = [(name, distance2[how[answered] == kind]) for kind, name in KINDS]
        said = ", ".join(f"{name} {100 * float((own < bar).mean()):.1f} %" for name, own in parts if len(own))
        report.notes.append(f"{case}: squared Mahalanobis distance below {bar}: {inside:.1f} % ({said})")
    by_joint, pooled = constants(validation)
    own = np.stack([by_joint[j] if j < len(by_joint) else pooled for j in joint[answered]])
    gain = log_likelihood(off, spread) - log_likelihood(off, own)
    report.add(case, "log-likelihood over a constant covariance a joint", "nats", float(gain.mean()), better="higher",
               n=len(gain))  # fmt: skip


def _mean(report: Report, case: str, metric: str, unit: str, values: np.ndarray, by_world: np.ndarray) -> None:
    row = report.add(case, metric, unit, by_world, n=len(values))
    report.rows[-1] = row.model_copy(update={"ours": float(values.mean())})


def _ratio(report: Report, case: str, metric: str, ours: np.ndarray, theirs: np.ndarray, value: float) -> None:
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(ours), (2000, len(ours)))
    again = ours[picks].mean(axis=1) / theirs[picks].mean(axis=1)
    row = report.add(case, metric, "x", value, n=len(ours))
    spread = (float(np.percentile(again, 5)), float(np.percentile(again, 95)))
    report.rows[-1] = row.model_copy(update={"spread": spread})


def fall_back(report: Report, *, quick: bool, lifter: str = LIFTER, model: str = MODEL) -> None:
    """Add all rows to a report; those of pictures take minutes and are left out of a quick one."""
    own = located(lifter)
    worlds = 6 if quick else WORLDS
    validation = keypoints(scenes(load_scenario(VALIDATION), VALIDATION_SEED, worlds), own)
    found = keypoints(scenes(load_scenario(EXAM), SEED, worlds), own)
    judge(report, "keypoints", found, validation)
    report.add("keypoints", "a frame set: lifter and fall-back", "ms", found.ms)
    if not quick:
        seen = [drawn(path, seed, PICTURE_WORLDS, PICTURE_FRAMES, model, own) for path, seed in
                ((VALIDATION, VALIDATION_SEED), (EXAM, SEED))]  # fmt: skip
        judge(report, f"pictures, {model}", seen[1], seen[0])


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, and write the JSON; 1 where a goal was missed."""
    parser = arguments("fallback", (__doc__ or "").splitlines()[0])
    parser.add_argument("--lifter", default=LIFTER, help="a lifter's file or zoo name")
    parser.add_argument("--model", default=MODEL, help="the network that looks at the pictures")
    options = parser.parse_args(argv)
    cv2.setNumThreads(1)
    report = Report.begin("fallback", options.quick)
    fall_back(report, quick=options.quick, lifter=options.lifter, model=options.model)
    return finish(report, options.json)


if __name__ == "__main__":
    run_program(main)
