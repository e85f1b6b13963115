"""Train a lifter: ``python -m training.lift --config training/configs/lift_mannequin.yaml --logdir logs``.

A run's folder is ``LOGDIR/NAME``. In it grow ``checkpoint.pt``, ``scalars.jsonl`` and, at the end, ``lifter.onnx``,
``eval_test.json`` and ``pictures``: the weights that did best on the validation part, judged once on the test part.
Ctrl-C leaves a checkpoint; ``--resume`` goes on from there, exactly.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from engine.lifter_document import root_of
from engine.models.lift_bodies import parameters
from rigpose.config import load
from rigpose.errors import ConfigError
from rigpose.program import run as run_program
from rigpose.skeleton import Skeleton
from training.lifting.config import LiftConfig
from training.lifting.export import export
from training.lifting.judging import Judged, figures
from training.lifting.loop import LiftTrainer
from training.lifting.pictures import draw_curves, draw_poses, draw_violins
from training.lifting.saved import CHECKPOINT, EXPORTED, Saved, read_saved
from training.lifting.sources import poses_of
from training.lifting.splits import split
from training.lifting.tables import table
from training.loop import machine
from training.report import Report
from training.train import device_of

log = logging.getLogger(__name__)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """What the user asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m training.lift",
        description="Train a network that makes 3D poses of one camera's keypoints.",
        epilog="Example: python -m training.lift --config training/configs/lift_mannequin.yaml --logdir logs",
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="what to train")
    parser.add_argument("--logdir", type=Path, required=True, metavar="DIR", help="the run's folder is made in it")
    parser.add_argument("--data", type=Path, metavar="DIR", help="what ${data} in the config stands for")
    parser.add_argument("--resume", action="store_true", help="go on where the run was broken off")
    parser.add_argument("--eval", action="store_true", help="judge the run's best weights again, without training")
    parser.add_argument("--threads", type=int, metavar="N", help="threads that compute")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="set a key of the config")
    options = parser.parse_args(argv)
    if options.threads is not None and options.threads < 1:
        parser.error("--threads must be 1 or more")
    return options


def prepare(options: argparse.Namespace) -> LiftTrainer:
    """The run that is asked for, at its beginning or where its checkpoint stands.

    Raises:
        ConfigError: The config is wrong, its poses cannot be read, or the folder holds another run.
    """
    variables = {} if options.data is None else {"data": str(options.data.resolve())}
    config = load(options.config, LiftConfig, variables=variables, assignments=options.set)
    device = device_of(options.device)
    folder = options.logdir / config.network.name
    file = folder / CHECKPOINT
    goes_on = options.resume or options.eval
    if file.is_file() and not goes_on:
        raise ConfigError(file, "is there already: this run was begun", "go on with --resume, or give another --logdir")
    saved = read_saved(file) if goes_on else None
    poses = poses_of(config.poses)
    for note in poses.notes:
        log.info("%s", note)
    if saved is not None:
        _check_same(config, saved, poses.skeleton, file)
    folder.mkdir(parents=True, exist_ok=True)
    trainer = LiftTrainer(config, poses, split(poses, config.split), folder, device)
    if saved is not None:
        trainer.resume(saved)
        log.info("goes on behind epoch %d of %s", trainer.epoch, file)
    return trainer


def _check_same(config: LiftConfig, saved: Saved, skeleton: Skeleton, file: Path) -> None:
    now, then = (c.model_dump(mode="json") for c in (config, saved.config))
    for key in now:
        if now[key] != then[key]:
            raise ConfigError(
                file, f"is of a run with another {key}", "give another --logdir, or the config that it was begun with"
            )
    if Skeleton.model_validate_json(saved.skeleton).joints != skeleton.joints:
        raise ConfigError(file, f"is of a run with other joints than {skeleton.name}", "give the same poses")


def main(argv: list[str] | None = None) -> int:
    """The command."""
    options = arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if options.threads:
        torch.set_num_threads(options.threads)
    trainer = prepare(options)
    asked: list[int] = []
    if not options.eval:
        _train(trainer, asked)
        if trainer.epoch < trainer.config.learning.epochs:
            return 130
    return finish(trainer)


def _train(trainer: LiftTrainer, asked: list[int]) -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    log.info(
        "%s: %d joints, %d parameters, %d poses to train on, %d to choose by, %d to judge by, on %s",
        trainer.config.network.name,
        trainer.spec.joints,
        parameters(trainer.lifter),
        len(trainer.train_poses),
        len(trainer.validation_poses),
        len(trainer.test_poses),
        machine(trainer.device),
    )
    assert trainer.folder is not None
    report = Report(trainer.folder)
    try:
        trainer.run(report, stopped=lambda: bool(asked))
    finally:
        report.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    log.info("stopped behind epoch %d after %.0f s", trainer.epoch, trainer.elapsed_s)


def finish(trainer: LiftTrainer) -> int:
    """Export the best weights, judge them on the test part, and say how they did."""
    assert trainer.folder is not None
    lifter = trainer.finished()
    result: dict[str, Any] = {
        "schema": 1,
        "name": trainer.config.network.name,
        "best_epoch": trainer.best_epoch,
        "validation_mpjpe_mm": trainer.best_mm,
        "train_poses": len(trainer.train_poses),
        "elapsed_s": trainer.elapsed_s,
    }
    found = trainer.judge_test(lifter)
    if found is not None:
        assert trainer.test is not None
        result["test"] = figures(lifter, trainer.test, found)
        print(table(result["test"]))
    path = trainer.folder / "eval_test.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    pictures(trainer, found)
    document = export(trainer, lifter, trainer.folder / EXPORTED)
    log.info("%s, sigma scale %.3g", trainer.folder / EXPORTED, document.calibration.sigma_scale)
    return 0


def pictures(trainer: LiftTrainer, found: Judged | None) -> None:
    """The run's curves and, of the test part, poses and errors of each joint, as PNGs beside the checkpoint."""
    assert trainer.folder is not None
    folder, scalars = trainer.folder / "pictures", trainer.folder / "scalars.jsonl"
    if scalars.is_file():
        lines = [json.loads(line) for line in scalars.read_text(encoding="utf-8").splitlines()]
        epochs = {line["step"]: line["epoch"] for line in lines if line["kind"] == "train"}
        curves = [
            [(epochs[line["step"]], line[key]) for line in lines if line["kind"] == kind and line[key] is not None]
            for kind, key in (("train", "distance_mm"), ("val", "mpjpe_mm"))
        ]
        draw_curves(folder / "curves.png", curves[0], curves[1])
    if found is None:
        return
    lifted, joints = list(trainer.spec.lifted), trainer.skeleton.joints
    errors = np.linalg.norm(found.answer_mm - found.truth_mm, axis=-1)[:, lifted]
    name = trainer.config.network.name
    draw_violins(folder / "joints.png", {name: errors}, [joints[j] for j in lifted], f"{name}: error of each joint, mm")
    roots = root_of(trainer.spec.roots, len(joints))
    draw_poses(folder / "poses.png", found.answer_mm, found.truth_mm, trainer.skeleton.edges, roots)


if __name__ == "__main__":
    run_program(main)
