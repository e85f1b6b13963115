"""Train a network: ``python -m training.train --config training/configs/virtual_lite.yaml --logdir logs``.

A run's folder is ``LOGDIR/NAME``; where it holds a checkpoint the run goes on from there, exactly. Ctrl-C ends it with
a checkpoint. A GPU is used where there is one. Several processes, on one or more machines, share each batch:
``torchrun --nproc_per_node=2 -m training.train ...`` makes the same steps as one.

``--eval`` judges the averaged weights instead: a table, and ``eval_val.json`` in the run's folder.
"""

from __future__ import annotations

import argparse
import logging
import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import cv2
import torch

from rigpose.config import load
from rigpose.errors import ConfigError
from rigpose.program import run as run_program
from rigpose.skeleton import Skeleton
from training import judging, networks
from training.checkpoint import Checkpoint, read_checkpoint
from training.config import TrainingConfig
from training.loop import CHECKPOINT, Trainer, machine
from training.memory import keep_freed_memory
from training.metrics import table
from training.pretrained import published_weights
from training.processes import ALONE, Group, joined
from training.report import Report, Silence
from training.sources import SPLITS, source_of
from training.warm_start import Beginning, beginning, weights_of

_PUBLISHED = (".pth", ".tar")
"""Files of weights that others published."""
_NOT_THE_NETWORK = {"name": "", "backbone_weights": None}
log = logging.getLogger(__name__)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """What the user asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train",
        description="Train a network on the virtual rig or on a data set. A run that was broken off goes on where it"
        " stood.",
        epilog="Example: python -m training.train --config training/configs/virtual_lite.yaml --logdir logs",
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="what to train")
    parser.add_argument("--logdir", type=Path, required=True, metavar="DIR", help="the run's folder is made in it")
    parser.add_argument("--data", type=Path, metavar="DIR", help="what ${data} in the config stands for")
    parser.add_argument(
        "--init",
        type=Path,
        metavar="FILE",
        help="begin with the weights of an exported .onnx, another run's .pt or a published .pth",
    )
    parser.add_argument("--eval", action="store_true", help="judge the run's averaged weights, or those of --init")
    parser.add_argument(
        "--eval-dataset", "--eval_dataset", choices=SPLITS, default="val", help="on what; by default what validates"
    )
    parser.add_argument(
        "--save-results", type=Path, metavar="FILE.npz", help="write the poses as precalculated ones, with --eval"
    )
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
    if options.save_results is not None and not options.eval:
        parser.error("--save-results needs --eval")
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
    variables = {} if options.data is None else {"data": str(options.data.resolve())}
    config = load(options.config, TrainingConfig, variables=variables, assignments=options.set)
    folder = options.logdir / config.model.name
    folder.mkdir(parents=True, exist_ok=True)
    device = device_of(options.device, group)
    source = source_of(config, (options.eval_dataset,) if options.eval else SPLITS)
    trainer = Trainer(config, source, folder, device, options.workers, group)
    file = folder / CHECKPOINT
    if file.is_file() and not (options.eval and options.init is not None):
        checkpoint = read_checkpoint(file)
        _check_same(config, checkpoint, source.skeleton, file, what=("model",) if options.eval else None)
        trainer.resume(checkpoint)
        log.info("goes on at step %d of %s", trainer.step, file)
    elif options.branch is not None:
        checkpoint = read_checkpoint(options.branch)
        _check_branch(config, checkpoint, options.branch)
        trainer.resume(checkpoint)
        trainer.origin = f"step {checkpoint.step} of {checkpoint.config.model.name}, begun with {checkpoint.origin}"
        log.info("branches off at step %d of %s", trainer.step, options.branch)
    elif options.init is not None:
        began = _beginning(options.init, trainer, judged=options.eval)
        trainer.start_from(began.weights, began.origin)
    else:
        # What is learned is not judged before it is; a baseline is.
        judged_as_it_begins = options.eval and not networks.learns(config.model)
        begun = networks.begun(trainer.model, config.model) if judged_as_it_begins or not options.eval else None
        if begun is not None:
            trainer.start_from(begun.weights, begun.origin)
        elif options.eval:
            remedy = "train first, or give weights with --init"
            raise ConfigError(file, "no such file: there is nothing to judge", remedy)
    return trainer


def _beginning(file: Path, trainer: Trainer, judged: bool) -> Beginning:
    """What a file gives to begin with; what is judged has all of its weights from it."""
    said = f"the weights of {file.name}"
    if file.suffix in _PUBLISHED:
        return Beginning(published_weights(file, trainer.model, strict=judged), said)
    if file.suffix != ".pt":
        if judged:
            return Beginning(weights_of(file, trainer.model), said)
        return beginning(file, trainer.model, trainer.skeleton.joints)
    checkpoint = read_checkpoint(file)
    _check_same(trainer.config, checkpoint, trainer.skeleton, file, what=("model",))
    return Beginning(checkpoint.average, said)


def _check_same(
    config: TrainingConfig, checkpoint: Checkpoint, skeleton: Skeleton, file: Path, what: Sequence[str] | None = None
) -> None:
    """Refuse to go on with another network, other data or another schedule; refuse by the first key of the config.

    Args:
        config: The run's.
        checkpoint: What it goes on from.
        skeleton: The joints of the run's samples.
        file: The checkpoint's.
        what: Keys that matter; by default all but those of the validation.
    """
    now, then = (c.model_dump(mode="json", exclude={"validation"}) for c in (config, checkpoint.config))
    for document in (now, then):
        # Its name and what it began with are no part of what a network is.
        document["model"] = document["model"] | (_NOT_THE_NETWORK if what is not None else {})
    for key in now if what is None else what:
        if now[key] != then[key]:
            raise ConfigError(
                file, f"is of a run with another {key}", "give another --logdir, or the config that it was begun with"
            )
    joints = Skeleton.model_validate_json(checkpoint.skeleton).joints
    if joints != skeleton.joints:
        raise ConfigError(
            file, f"is of a run with other joints than {skeleton.name}", "give the data that it was trained on"
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
    if options.eval:
        return _judge(options, trainer, group)
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


def _judge(options: argparse.Namespace, trainer: Trainer, group: Group) -> int:
    split = options.eval_dataset
    if options.save_results is not None:
        judging.check_results(options.save_results, trainer.config)
    batch_size = max(1, trainer.batch_size // group.size)
    model, source = trainer.average.model, trainer.source
    found = judging.answers(model, source, split, trainer.device, batch_size, trainer.workers, group)
    if not group.main:
        return 0
    if options.save_results is not None:
        judging.write_results(options.save_results, found, source)
        log.info("%s: %d poses", options.save_results, len(found))
    result = judging.figures(found, source, split)
    about = {"model": trainer.config.model.name, "step": trainer.step, "origin": trainer.origin, "split": split}
    if trainer.config.model.volumetric:
        about["cubes_about"] = source.judged(split, 1, 1, group).base
    path = trainer.folder / f"eval_{split}.json"
    judging.write_json(path, about | result)
    print(table(result))
    log.info("%s", path)
    return 0


if __name__ == "__main__":
    run_program(main)
