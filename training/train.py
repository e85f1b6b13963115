"""Train a network: ``python -m training.train --config training/configs/virtual_lite.yaml --logdir logs``.

A run's folder is ``LOGDIR/NAME``; where it holds a checkpoint the run goes on from there, exactly. Ctrl-C ends it with
a checkpoint. A GPU is used where there is one. Several processes, on one or more machines, share each batch:
``torchrun --nproc_per_node=2 -m training.train ...`` makes the same steps as one.
"""

from __future__ import annotations

import argparse
import logging
import signal
from pathlib import Path
from types import FrameType

import cv2
import torch

from capture.virtual.scenario import load_scenario
from capture.virtual.world import World
from rigpose.config import load
from rigpose.errors import ConfigError
from rigpose.program import run as run_program
from training.checkpoint import Checkpoint, read_checkpoint
from training.config import TrainingConfig
from training.loop import CHECKPOINT, Trainer, machine
from training.memory import keep_freed_memory
from training.processes import ALONE, Group, joined
from training.report import Report, Silence

log = logging.getLogger(__name__)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """What the user asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train",
        description="Train a network on the virtual rig. A run that was broken off goes on where it stood.",
        epilog="Example: python -m training.train --config training/configs/virtual_lite.yaml --logdir logs",
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="what to train")
    parser.add_argument("--logdir", type=Path, required=True, metavar="DIR", help="the run's folder is made in it")
    parser.add_argument("--init", type=Path, metavar="MODEL", help="begin with the weights of an exported .onnx")
    parser.add_argument(
        "--branch",
        type=Path,
        metavar="FILE",
        help="go on from another run's branch.pt: the same network with other losses",
    )
    parser.add_argument(
        "--minutes", type=float, metavar="N", help="fit the run to so much time, earlier parts included"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes that draw samples")
    parser.add_argument("--threads", type=int, metavar="N", help="threads that compute")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute")
    parser.add_argument("--checkpoint-s", type=float, default=180.0, metavar="S", help="seconds between checkpoints")
    parser.add_argument("--report-every", type=int, default=50, metavar="N", help="steps between lines of the report")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="set a key of the config")
    options = parser.parse_args(argv)
    if options.minutes is not None and options.minutes <= 0:
        parser.error("--minutes must be above 0")
    if options.report_every < 1:
        parser.error("--report-every must be 1 or more")
    return options


def device_of(name: str, group: Group = ALONE) -> torch.device:
    """The device that is asked for.

    Raises:
        ConfigError: A GPU is asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda", "there is no GPU that torch can use", "leave it out")
    return torch.device(name, group.local_rank) if name == "cuda" and group.size > 1 else torch.device(name)


def prepare(options: argparse.Namespace, group: Group = ALONE) -> Trainer:
    """The run that is asked for, at its beginning or where its checkpoint stands.

    Args:
        options: The command line.
        group: Who train together.

    Raises:
        ConfigError: The config is wrong, or the checkpoint is of a run with another one.
    """
    config = load(options.config, TrainingConfig, assignments=options.set)
    scenario = load_scenario(config.data.scenario)
    folder = options.logdir / config.model.name
    folder.mkdir(parents=True, exist_ok=True)
    device = device_of(options.device, group)
    skeleton = World(scenario).skeleton
    trainer = Trainer(config, scenario, skeleton, folder, device, options.workers, group)
    file = folder / CHECKPOINT
    if file.is_file():
        checkpoint = read_checkpoint(file)
        _check_same(config, checkpoint.config, file)
        trainer.resume(checkpoint)
        log.info("goes on at step %d of %s", trainer.step, file)
    elif options.branch is not None:
        checkpoint = read_checkpoint(options.branch)
        _check_branch(config, checkpoint, options.branch)
        trainer.resume(checkpoint)
        trainer.origin = f"step {checkpoint.step} of {checkpoint.config.model.name}, begun with {checkpoint.origin}"
        log.info("branches off at step %d of %s", trainer.step, options.branch)
    elif options.init is not None:
        from training.warm_start import weights_of

        trainer.start_from(weights_of(options.init, trainer.model), f"the weights of {options.init.name}")
    return trainer


def _check_same(config: TrainingConfig, before: TrainingConfig, file: Path) -> None:
    """Refuse to go on with another network, other data or another schedule; refuse by the first key."""
    now, then = (c.model_dump(mode="json", exclude={"validation"}) for c in (config, before))
    for key in now:
        if now[key] != then[key]:
            raise ConfigError(
                file, f"is of a run with another {key}", "give another --logdir, or the config that it was begun with"
            )


_BRANCHES = {"validation": True, "branch_at": True, "model": {"name", "confidences"}}


def _check_branch(config: TrainingConfig, checkpoint: Checkpoint, file: Path) -> None:
    """Refuse to branch where the two runs differ before the branch."""
    before = checkpoint.config
    now, then = (c.model_dump(mode="json", exclude=_BRANCHES) for c in (config, before))  # type: ignore[arg-type]
    for key in now:
        if now[key] != then[key]:
            remedy = "a branch differs in model.name and model.confidences only"
            raise ConfigError(file, f"is of a run with another {key}", remedy)
    begun = config.loss.position_from
    if config.model.confidences != before.model.confidences and checkpoint.step > begun * config.steps + 1:
        what = f"its 3D loss, which confidences weigh, began at {begun:g} of the run, before step {checkpoint.step}"
        raise ConfigError(file, what, "branch earlier: branch_at <= loss.position_from")


def main(argv: list[str] | None = None) -> int:
    """The command."""
    options = arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    cv2.setNumThreads(1)
    keep_freed_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    with joined(device_of(options.device).type) as group:
        return _train(options, group)


def _train(options: argparse.Namespace, group: Group) -> int:
    if not group.main:
        logging.getLogger().setLevel(logging.WARNING)
    trainer = prepare(options, group)
    asked: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    parameters = sum(p.numel() for p in trainer.model.parameters())
    log.info(
        "%s: %d joints, %d parameters, %d sets a step, %d workers, on %s, from %s",
        trainer.config.model.name,
        len(trainer.skeleton.joints),
        parameters,
        trainer.batch_size,
        trainer.workers,
        machine(trainer.device),
        trainer.origin,
    )
    report = Report(trainer.folder) if group.main else Silence()
    try:
        trainer.run(
            report,
            budget_s=None if options.minutes is None else 60 * options.minutes,
            checkpoint_s=options.checkpoint_s,
            report_every=options.report_every,
            stopped=lambda: bool(asked),
        )
    finally:
        report.close()
    log.info("stopped at step %d after %.0f min: %s", trainer.step, trainer.elapsed_s / 60, trainer.folder / CHECKPOINT)
    return 130 if asked else 0


if __name__ == "__main__":
    run_program(main)
