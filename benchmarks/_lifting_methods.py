"""Lifters and what they are held against, on the same samples: mean pose, ten nearest neighbours, ridge regression."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from benchmarks._lifting_exams import Exam
from calib import lens
from calib.rig import Rig
from engine.models.lifter import Lifter
from training.lifting.baselines import MeanPose, Neighbours, Ridge, distance_mm
from training.lifting.config import LiftConfig
from training.lifting.judging import samples
from training.lifting.loop import LiftTrainer
from training.lifting.samples import Sample, Sampler
from training.lifting.splits import Split
from training.lifting.statistics import Seen, see
from training.report import Silence

CPU = torch.device("cpu")
BASELINES = ("mean pose", "10 nearest neighbours", "ridge regression")
DRAWS = 4
"""Of the noise, for each training pose and camera: more of them help no baseline."""


@dataclass(frozen=True)
class Answers:
    """Errors of one method and another on the same samples.

    Attributes:
        errors_mm: (n, L) of each method: joints that are no roots.
        truth_mm: (n, L, 3) in the virtual cameras' axes.
        seen: The samples.
    """

    errors_mm: dict[str, Float[np.ndarray, "n L"]]
    truth_mm: Float[np.ndarray, "n L 3"]
    seen: Seen


def sample_of(px: Float[np.ndarray, "n J 2"], truth_mm: Float[np.ndarray, "n J 3"], rig: Rig, view: int) -> Sample:
    """Given points of one camera as a batch.

    Args:
        px: Raw px; NaN = not seen.
        truth_mm: World.
        rig: The cameras.
        view: Which of them.
    """
    arrays, camera = rig.arrays(), rig.cameras[view]
    with np.errstate(invalid="ignore"):
        points = lens.undistort(px[None], *(np.asarray(a[view : view + 1]) for a in arrays[:3]))[0]
    seen = np.isfinite(points).all(axis=-1)
    tensors = (
        torch.as_tensor(points, dtype=torch.float32)[:, None],
        torch.as_tensor(seen, dtype=torch.float32)[:, None],
        # Relative to its own middle, for float32.
        torch.as_tensor((truth_mm - np.nanmean(truth_mm, axis=1, keepdims=True)) @ camera.R.T, dtype=torch.float32),
        torch.full((len(px),), view),
    )
    return Sample(*tensors)


def joined(parts: list[Sample]) -> Sample:
    """Batches as one."""
    return Sample(*(torch.cat([getattr(part, key) for part in parts]) for key in Sample._fields))


def table_of(lifter: Lifter, sampler: Sampler, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (n, F) and poses (n, 3 L) of all poses of a sampler, as the baselines see them."""
    parts = [flat(lifter, see(lifter, sample)) for sample, _ in samples(sampler, draws, seed)]
    x, y = (np.concatenate(part) for part in zip(*parts, strict=True))
    return x, y


def flat(lifter: Lifter, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
    """Joints relative to their roots in 2D, scaled or not as the lifter has it, and in 3D; NaN = not known."""
    points = seen.gaze.points[:, -1]
    if not lifter.spec.by_spread:
        points = points * seen.gaze.spread[:, None, None]
    there = seen.gaze.seen[:, -1, lifter.lifted] & seen.gaze.seen[:, -1, lifter.root]
    relative = torch.where(there[..., None], points[:, lifter.lifted] - points[:, lifter.root], torch.nan)
    target = torch.where(seen.known[..., None], seen.target_mm, torch.nan)
    return relative.flatten(1).double().numpy(), target.flatten(1).double().numpy()


Predictor = Callable[[Float[np.ndarray, "n F"]], Float[np.ndarray, "n out"]]


def baselines(train: tuple[np.ndarray, np.ndarray], validation: tuple[np.ndarray, np.ndarray]) -> dict[str, Predictor]:
    """Fitted to a training part; the ridge's strength is chosen on the validation part."""
    return {
        BASELINES[0]: MeanPose.fit(*train).predict,
        BASELINES[1]: Neighbours.fit(*train).predict,
        BASELINES[2]: Ridge.fit(*train, *validation).predict,
    }


def compared(lifter: Lifter, others: dict[str, Predictor], sample: Sample, name: str = "lifter") -> Answers:
    """Errors of a lifter and of what it is held against."""
    seen = see(lifter, sample)
    x, y = flat(lifter, seen)
    truth = y.reshape(len(y), -1, 3)
    with torch.no_grad():
        answer = lifter.eval().lift(seen.gaze, seen.confidence).position_mm.double().numpy()
    errors = {name: np.linalg.norm(answer - truth, axis=-1)}
    for other, predict in others.items():
        errors[other] = np.linalg.norm(predict(x).reshape(truth.shape) - truth, axis=-1)
    return Answers(errors, truth, seen)


def trained(config: LiftConfig, exam: Exam, parts: Split, cameras: tuple[str, ...]) -> LiftTrainer:
    """A lifter of one fold, trained on these cameras."""
    config = config.model_copy(update={"view": config.view.model_copy(update={"cameras": cameras})})
    trainer = LiftTrainer(config, exam.poses, parts, None, CPU)
    trainer.run(Silence())
    return trainer


@dataclass(frozen=True)
class Unit:
    """One fold and the cameras that its lifters were trained on.

    Attributes:
        answers: On the judged camera.
        chosen_mm: What the validation part said of the lifter and of ridge regression.
        covariance: Residuals (n, L, 3) of the lifter and factors (n, L, 3, 3) that it said.
    """

    answers: Answers
    chosen_mm: tuple[float, float]
    residual_mm: np.ndarray
    factor_mm: np.ndarray


def unit(config: LiftConfig, exam: Exam, fold: int, trained_on: tuple[str, ...], judged: int, members: int = 1) -> Unit:
    """Train and judge one lifter, or the mean of several that differ in their seed.

    Args:
        config: Of the lifter.
        exam: What judges.
        fold: Of the exam.
        trained_on: Names of the cameras that training sees.
        judged: Index of the camera that judges.
        members: Lifters whose mean is judged.
    """
    parts = exam.folds[fold]
    trainers = [
        trained(config.model_copy(update={"seed": config.seed + number}), exam, parts, trained_on)
        for number in range(members)
    ]
    first = trainers[0]
    known = plain(first, trained_on)
    train, validation = (
        table_of(first.lifter, sampler, DRAWS, seed) for sampler, seed in zip(known, (11, 12), strict=True)
    )
    others = baselines(train, validation)
    test = exam.poses.position_mm[parts.test]
    sample = sample_of(exam.px[parts.test, judged], test, exam.rig, judged)
    lifters = [trainer.finished() for trainer in trainers]
    answers = compared(lifters[0], others, sample)
    seen = answers.seen
    with torch.no_grad():
        lifted = [lifter.lift(seen.gaze, seen.confidence) for lifter in lifters]
    position = torch.stack([one.position_mm for one in lifted]).mean(dim=0).double().numpy()
    residual = position - answers.truth_mm
    answers.errors_mm["lifter"] = np.linalg.norm(residual, axis=-1)
    ridge_mm = distance_mm(others[BASELINES[2]](validation[0]), validation[1])
    return Unit(answers, (first.best_mm, ridge_mm), residual, lifted[0].factor_mm.expand(*residual.shape, 3).numpy())


def plain(trainer: LiftTrainer, cameras: tuple[str, ...]) -> tuple[Sampler, Sampler]:
    """Training and validation part as the cameras see them, in the bodies that they have: what baselines learn from."""
    config = trainer.config
    view = config.view.model_copy(update={"kind": "known", "cameras": cameras})
    return tuple(  # type: ignore[return-value]
        Sampler(sampler.bank, trainer.tree, view, config.noise, None, config.network.mode == "weak")
        for sampler in (trainer.sampler, trainer.validation)
    )


def rows_of(answers: list[Answers]) -> dict[str, Float[np.ndarray, "n L"]]:
    """Errors of several units, one below the other."""
    return {name: np.concatenate([one.errors_mm[name] for one in answers]) for name in answers[0].errors_mm}
