"""Lifting one camera's keypoints to 3D: real animals and the virtual rig, beside what is simple; speed and latency.

Each lifter is judged by an exam that was frozen before it was trained (`benchmarks._lifting_exams`), on the same
samples as the mean pose, the ten nearest neighbours and ridge regression. The mannequin's lifter is the committed one;
it also stands in for views, as `benchmarks.fallback` judges.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks import _lifting_exams, _lifting_speed
from benchmarks._lifting_configs import FLY, FLY_MEMBERS, MOUSE, mannequin
from benchmarks._lifting_exams import Exam, VirtualExam
from benchmarks._lifting_methods import BASELINES, CPU, Unit, baselines, flat, joined, sample_of, table_of, unit
from benchmarks._lifting_pictures import Pictures
from benchmarks._report import Report, arguments, finish
from benchmarks.fallback import fall_back
from calib.rig import RigArrays
from engine.lift import Lifter as LiveLifter
from engine.lifter_document import one_root
from engine.models.lifter import Lifter, LifterSpec
from engine.models.lifter_graph import as_onnx, describe, example
from rigpose.errors import RigposeError
from rigpose.program import run as run_program
from training.lifting.bank import Bank, Tree
from training.lifting.config import LiftConfig, NoiseSection
from training.lifting.samples import Sample, Sampler
from training.lifting.sources import poses_of
from training.lifting.statistics import see
from training.metrics.lifted import WITHIN_ONE, WITHIN_TWO

PARTS = ("fly", "mouse", "virtual", "speed", "fallback", "latency")
ZOO_LIFTER = "lift17"
_TIP, _SEGMENTS = 4, ("femur", "tibia", "tarsus", "claw")


def animals(
    report: Report, exam: Exam, config: LiftConfig, case: str, *, leave_out: bool, members: int, quick: bool
) -> list[Unit]:
    """Real animals: each fold by each camera.

    Args:
        report: Gets the rows.
        exam: What judges.
        config: Of the lifter.
        case: Its name in the report.
        leave_out: Whether training sees the other cameras, or the one that judges.
        members: Lifters whose mean is judged.
        quick: One fold and one camera.
    """
    units = []
    for fold in range(1 if quick else len(exam.folds)):
        for view, name in enumerate(exam.rig.names[: 1 if quick else None]):
            seen = tuple(n for n in exam.rig.names if n != name) if leave_out else (name,)
            units.append(unit(config, exam, fold, seen, view, members))
    errors = {m: np.concatenate([u.answers.errors_mm[m].ravel() for u in units]) for m in ("lifter", *BASELINES)}
    means = {method: float(np.nanmean(values)) for method, values in errors.items()}
    n = int(np.isfinite(errors["lifter"]).sum())
    for method, value in means.items():
        spread = [float(np.nanmean(u.answers.errors_mm[method])) for u in units]
        report.add(case, f"MPJPE, {method}", "mm", spread, n=n)
        report.rows[-1] = report.rows[-1].model_copy(update={"ours": value})
    best = min(BASELINES, key=lambda method: means[method])
    report.add(case, "over the best of the three", "x", means["lifter"] / means[best], n=n)
    ratios = [np.nanmean(u.answers.errors_mm["lifter"]) / np.nanmean(u.answers.errors_mm[best]) for u in units]
    report.notes.append(
        f"{case}: the best of the three is {best}; over it in each of {len(units)} units of fold and camera "
        f"{min(ratios):.3f} to {max(ratios):.3f}; n joints, spread of units' means"
    )
    report.add(case, "validation part, over ridge regression", "x", [u.chosen_mm[0] / u.chosen_mm[1] for u in units])
    honest(report, case, units)
    return units


def honest(report: Report, case: str, units: Sequence[Unit]) -> None:
    """Whether predicted deviations are honest, in rows."""
    distance = np.concatenate([squared(u.residual_mm, u.factor_mm) for u in units])
    known = distance[np.isfinite(distance)]
    for bound, share in ((WITHIN_ONE, 68), (WITHIN_TWO, 95)):
        report.add(
            case,
            f"joints within {bound:g}, of {share} %",
            "%",
            100 * float((known < bound).mean()),
            better="higher",
            n=known.size,
        )


def squared(residual: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis distances, NaN where the residual is."""
    ok = np.isfinite(residual).all(axis=-1)
    y = np.linalg.solve(factor.astype(np.float64), np.where(ok[..., None], residual, 0.0)[..., None])[..., 0]
    return np.where(ok, (y * y).sum(axis=-1), np.nan).ravel()


def fly(report: Report, quick: bool, pictures: Pictures) -> None:
    """`fly-walk3d` through the cameras of `fly7-deepfly3d`."""
    exam = _lifting_exams.fly()
    case = "fly-walk3d"
    units = animals(report, exam, FLY, case, leave_out=False, members=FLY_MEMBERS, quick=quick)
    legs = exam.poses.position_mm.reshape(len(exam.poses), 6, 5, 3)
    leg_mm = float(np.linalg.norm(np.diff(legs, axis=2), axis=-1).sum(axis=-1).mean())
    for method in ("lifter", *BASELINES):
        errors = np.concatenate([u.answers.errors_mm[method] for u in units])
        report.add(
            case,
            f"share of the mean leg of {leg_mm:.2f} mm, {method}",
            "%",
            100 * float(errors.mean()) / leg_mm,
            n=errors.size,
        )
        along = errors.reshape(len(errors), 6, _TIP).mean(axis=(0, 1))
        for segment, value in zip(_SEGMENTS, along, strict=True):
            report.add(case, f"{segment}, {method}", "%", 100 * float(value) / leg_mm, n=errors.size // _TIP)
    pictures.violin("fly", units, [exam.poses.skeleton.joints[j] for j in range(30) if j % 5])
    pictures.poses("fly", units[0], exam)


def mouse(report: Report, quick: bool, pictures: Pictures) -> None:
    """`mouse6-dannce`, by a camera that training did not see."""
    exam = _lifting_exams.mouse()
    units = animals(report, exam, MOUSE, "mouse6-dannce", leave_out=True, members=1, quick=quick)
    root = exam.poses.skeleton.joints.index(_lifting_exams.MOUSE_ROOT)
    pictures.violin("mouse", units, [name for j, name in enumerate(exam.poses.skeleton.joints) if j != root])


def virtual(report: Report, quick: bool, pictures: Pictures) -> None:
    """Unseen bodies and motion, one camera of unknown angle."""
    exam = _lifting_exams.virtual(40 if quick else _lifting_exams.VIRTUAL_WORLDS)
    case = "virtual rig, unknown camera"
    config = mannequin()
    bodies = 60 if quick else 600
    made = poses_of(config.poses.model_copy(update={"bodies": bodies}))
    tree = Tree.of(made.skeleton, one_root(made.skeleton))
    names = made.subject.astype(str)
    chosen = np.isin(names, sorted(set(names.tolist()))[::8])
    noise = NoiseSection(px=(_lifting_exams.VIRTUAL_NOISE_PX,) * 2)
    view = config.view.model_copy(update={"focal_px": 320.0})
    plain = Lifter(LifterSpec(kind="liftpose", joints=17, roots=one_root(made.skeleton), width=8))
    train, validation = (
        table_of(plain, Sampler(Bank(made.take(rows), 1, CPU), tree, view, noise, None, False), 1, 7)
        for rows in (~chosen, chosen)
    )
    others = baselines(train, validation)
    live = LiveLifter.load(ZOO_LIFTER)
    found = {name: answered(live, exam, px) for name, px in (("all seen", exam.px), ("30 % missing", exam.gappy))}
    lifted = np.array(live.document.lifted)
    seen = see(plain, joined_sample(exam))
    x, y = flat(plain, seen)
    truth = y.reshape(len(y), -1, 3)
    means = {}
    for name, predict in others.items():
        errors = np.linalg.norm(predict(x).reshape(truth.shape) - truth, axis=-1)
        means[name] = float(errors.mean())
        report.add(case, f"MPJPE, {name}", "mm", means[name], n=errors.size)
    for name, (answer, true, _) in found.items():
        errors = np.linalg.norm(answer - true, axis=-1)[:, lifted]
        means[name] = float(np.nanmean(errors))
        report.add(case, f"MPJPE, {ZOO_LIFTER}, {name}", "mm", means[name], n=int(np.isfinite(errors).sum()))
        report.add(
            case, f"answered, {name}", "%", 100 * float(np.isfinite(errors).mean()), better="higher", n=errors.size
        )
    report.add(case, "over mean pose", "x", means["all seen"] / means[BASELINES[0]], n=y.size // 3)
    report.add(case, "over nearest neighbours", "x", means["all seen"] / means[BASELINES[1]], n=y.size // 3)
    report.add(case, "over ridge regression", "x", means["all seen"] / means[BASELINES[2]], n=y.size // 3)
    report.add(
        case, "lost by 30 % missing joints", "%", 100 * (means["30 % missing"] / means["all seen"] - 1), n=y.size // 3
    )
    answer, true, six = found["30 % missing"]
    gone = np.isnan(exam.gappy[:, lifted, 0])
    errors = np.linalg.norm(answer - true, axis=-1)[:, lifted]
    for name, which in (("seen", ~gone), ("missing", gone)):
        report.add(case, f"30 % missing: joints that are {name}", "mm", float(errors[which].mean()), n=int(which.sum()))
    for name, (answer, true, six) in found.items():
        matrix = six[:, lifted][..., np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])].astype(np.float64)
        r = (answer - true)[:, lifted]
        distance = (r * np.linalg.solve(matrix, r[..., None])[..., 0]).sum(axis=-1)
        for bound, share in ((WITHIN_ONE, 68), (WITHIN_TWO, 95)):
            report.add(
                case,
                f"{name}: joints within {bound:g}, of {share} %",
                "%",
                100 * float((distance < bound).mean()),
                better="higher",
                n=distance.size,
            )
    with torch.no_grad():
        gappy = plain.eval().look(*points_of(exam, exam.gappy))
    report.add(
        case,
        "answered by liftpose mode, 30 % missing",
        "%",
        100 * float(gappy.enough.float().mean()),
        better="higher",
        n=len(exam.px),
    )
    pictures.violin_of(
        "virtual",
        {ZOO_LIFTER: np.linalg.norm(found["all seen"][0] - found["all seen"][1], axis=-1)[:, lifted]},
        [made.skeleton.joints[j] for j in lifted],
    )


def answered(live: LiveLifter, exam: VirtualExam, px: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the shipped file says of each world's first camera: poses, truth, covariances."""
    answers, truths, covariances = [], [], []
    root = list(live.document.root_of)
    for number, world in enumerate(exam.worlds):
        rows = exam.world == number
        rig = world.rig.select(world.rig.names[:1])
        part = px[rows][:, None, None]
        sure = np.isfinite(part).all(axis=-1).astype(np.float32)
        answer, covariance = live.run(part, sure, rig.arrays())
        truth = exam.position_mm[rows] @ rig.cameras[0].R.T
        answers.append(answer[:, 0])
        truths.append(truth - truth[:, root])
        covariances.append(covariance[:, 0])
    return np.concatenate(answers), np.concatenate(truths), np.concatenate(covariances)


def joined_sample(exam: VirtualExam) -> Sample:
    """All of the exam as one batch."""
    parts = []
    for number, world in enumerate(exam.worlds):
        rows = exam.world == number
        parts.append(sample_of(exam.px[rows], exam.position_mm[rows], world.rig, 0))
    return joined(parts)


def points_of(exam: VirtualExam, px: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Points and confidences as a lifter looks at them, in px: what is asked is only what is seen."""
    points = torch.as_tensor(px, dtype=torch.float32)[:, None]
    return points, torch.isfinite(points).all(dim=-1).float()


def speed(report: Report, quick: bool, pictures: Pictures) -> None:
    """Training on 100,000 poses, and batches on the device against pose by pose."""
    made, parts = _lifting_speed.poses(90 if quick else _lifting_speed.BODIES)
    threads = torch.get_num_threads()
    found = _lifting_speed.speeds(made, parts, 2 if quick else 5, 0.5 if quick else 3.0, bf16=True)
    case = f"{len(parts.train):,} poses"
    pairs = (
        ("augmentation", found.batched_samples, found.single_samples),
        ("augmentation and step", found.batched_steps, found.single_steps),
    )
    for name, ours, theirs in pairs:
        report.add(case, f"{name}, batched", "poses/s", ours, better="higher")
        report.add(case, f"{name}, pose by pose", "poses/s", theirs, better="higher")
        report.add(case, f"{name}: quicker", "x", [a / b for a, b in zip(ours, theirs, strict=True)], better="higher")
    report.notes.append(
        f"speed: {threads} threads; the published network, 4.3 M parameters; batches of {_lifting_speed.LARGE} in bf16"
    )
    if quick:
        return
    large = _lifting_speed.train(made, parts, _lifting_speed.LARGE, bf16=True)
    report.add(case, "30 epochs", "min", large.minutes, n=1)
    small = _lifting_speed.train(made, parts, _lifting_speed.SMALL)
    report.add(case, "30 epochs, batch 64 and the published schedule", "min", small.minutes, n=1)
    report.add(case, "test error", "mm", large.test_mm, n=len(parts.test))
    report.add(case, "test error, batch 64 and the published schedule", "mm", small.test_mm, n=len(parts.test))
    report.add(case, "test error over batch 64's", "x", large.test_mm / small.test_mm, n=1)


def fallback(report: Report, quick: bool, pictures: Pictures) -> None:
    """Joints that plain triangulation loses: `benchmarks.fallback`."""
    fall_back(report, quick=quick)


def latency(report: Report, quick: bool, pictures: Pictures) -> None:
    """What a lift takes on one core, and how near the file is to torch."""
    live = LiveLifter.load(ZOO_LIFTER, threads=1)
    exam = _lifting_exams.virtual(2)
    arrays = exam.worlds[0].rig.select(exam.worlds[0].rig.names[:1]).arrays()
    sure = np.ones((1, 17), np.float32)
    turns = 300 if quick else 3000
    report.add("latency", f"{ZOO_LIFTER}, a subject", "ms", timed(lambda: live.lift(exam.px[:1], sure, arrays), turns))
    skeleton = exam.worlds[0].skeleton
    roots = one_root(skeleton)
    kinds: dict[str, dict[str, object]] = {
        "liftpose": {"kind": "liftpose"},
        "masked, 1024 wide": {},
        "temporal, 27 frames": {"kind": "temporal", "window": 27, "width": 256},
    }
    for name, keys in list(kinds.items())[: 1 if quick else None]:
        torch.manual_seed(0)
        lifter = Lifter(LifterSpec.model_validate({"joints": 17, "roots": roots, **keys})).eval()
        feed = example(17, lifter.spec.window, batch=16)
        with torch.no_grad():
            # Answers as large as a person: what float32 can hold depends on that.
            lifter.std3d.mul_(1000.0 / lifter(*feed).lifted_mm.abs().max())
        document = describe(lifter, skeleton, id="parity", domain="synthetic", licence="Apache-2.0", size_mm=1700.0)
        file = LiveLifter(document, as_onnx(lifter, document))
        report.add("latency", f"{name}, a subject", "ms", timed(partial(file.lift, exam.px[:1], sure, arrays), turns))
        with torch.no_grad():
            wanted = lifter(*feed).lifted_mm.numpy()
        points, confidence, *cameras = (tensor.numpy() for tensor in feed)
        got, _ = file.run(points, confidence, RigArrays(cameras[0], cameras[1], cameras[2], None, None))
        report.add("ONNX", f"{name}, farthest from torch", "mm", float(np.abs(got - wanted).max()), n=wanted.size // 3)


def timed(call: Callable[[], object], turns: int) -> np.ndarray:
    """Milliseconds of each turn, after some for warming up."""
    for _ in range(20):
        call()
    samples = []
    for _ in range(turns):
        begun = time.perf_counter()
        call()
        samples.append(1000 * (time.perf_counter() - begun))
    return np.array(samples)


RUNS = {"fly": fly, "mouse": mouse, "virtual": virtual, "speed": speed, "fallback": fallback, "latency": latency}


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, and write the JSON; 1 where a goal was missed."""
    parser = arguments("lifting", (__doc__ or "").splitlines()[0])
    parser.add_argument("--part", action="append", choices=PARTS, help="only this, may be given several times")
    parser.add_argument("--png", type=Path, metavar="DIR", help="write pictures there")
    parser.add_argument("--threads", type=int, metavar="N", help="threads that train")
    options = parser.parse_args(argv)
    cv2.setNumThreads(1)
    if options.threads:
        torch.set_num_threads(options.threads)
    report = Report.begin("lifting", options.quick, ("torch",))
    pictures = Pictures(options.png)
    for part in options.part or PARTS:
        try:
            RUNS[part](report, options.quick, pictures)
        except RigposeError as error:
            if options.part:
                raise
            report.notes.append(f"{part} was left out: {error}")
    return finish(report, options.json)


if __name__ == "__main__":
    run_program(main)
