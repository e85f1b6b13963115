"""Fit a trained lifter to another rig: ``python -m training.adapt --config FILE --logdir logs --poses NEW --to ONNX``.

A linear map brings the new rig's 2D points to those that the lifter knows (`training.lifting.adaptation`). It is folded
into the network, so that the new file is a lifter like any other. For lifters of kind ``liftpose``, whose first layer
sees the points and nothing else.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
import torch

from capture.labels.poses.reader import read_poses3d
from engine.models.lifter import Lifter
from engine.models.lifter_graph import write_lifter
from rigpose.config import load
from rigpose.errors import ConfigError
from rigpose.program import run as run_program
from training.lifting.adaptation import NEIGHBOURS, Adaptation, fit
from training.lifting.bank import Bank
from training.lifting.config import LiftConfig, NoiseSection, ViewSection
from training.lifting.export import document_of
from training.lifting.judging import samples
from training.lifting.loop import LiftTrainer
from training.lifting.samples import Sampler
from training.lifting.saved import CHECKPOINT, read_saved
from training.lifting.sources import poses_of
from training.lifting.splits import split
from training.lifting.statistics import see

log = logging.getLogger(__name__)
_SEED = 5


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """What the user asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m training.adapt",
        description="Fit a trained lifter to another rig by a linear map of its 2D points.",
        epilog="Example: python -m training.adapt --config lift_fly.yaml --logdir logs --poses new.npz --to new.onnx",
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="of the lifter's run")
    parser.add_argument("--logdir", type=Path, required=True, metavar="DIR", help="where that run's folder is")
    parser.add_argument("--data", type=Path, metavar="DIR", help="what ${data} in the config stands for")
    parser.add_argument("--poses", type=Path, required=True, metavar="FILE", help="poses of the new rig, with cameras")
    parser.add_argument("--units", choices=("mm", "cm", "m"), help="of poses that do not say it")
    parser.add_argument(
        "--camera", metavar="NAME", help="of the new rig, whose points are adapted; by default the first"
    )
    parser.add_argument("--measured", action="store_true", help="take the 2D points of the file, not reprojected ones")
    parser.add_argument("--neighbours", type=int, default=NEIGHBOURS, metavar="K", help="source poses of each new pose")
    parser.add_argument("--back", action="store_true", help="bring lifted poses to the new rig's as well, by its 3D")
    parser.add_argument("--to", type=Path, required=True, metavar="FILE.onnx", help="the adapted lifter")
    return parser.parse_args(argv)


def folded(lifter: Lifter, adaptation: Adaptation) -> Lifter:
    """A lifter that has the maps in its first and last layer.

    Raises:
        ConfigError: It is of a kind whose first layer sees more than points.
    """
    if lifter.spec.kind != "liftpose":
        raise ConfigError(
            f"kind {lifter.spec.kind}", "cannot be adapted: its points are not all there", "train one of kind liftpose"
        )
    made = Lifter(lifter.spec)
    made.load_state_dict(lifter.state_dict())
    first, last = made.body.first[0], made.body.answer  # type: ignore[union-attr,index]
    points = adaptation.points
    with torch.no_grad():
        # A ((M' x + o - m) / s) + a, as one map of x.
        scaled = first.weight.double() / made.std2d.flatten().double()
        offset = torch.as_tensor(points.offset) - made.mean2d.flatten().double()
        first.bias.add_((scaled @ offset).float())
        first.weight.copy_((scaled @ torch.as_tensor(points.weight).mT).float())
        made.mean2d.zero_()
        made.std2d.fill_(1.0)
        if adaptation.poses is not None:
            if lifter.spec.out_dim != 3:
                raise ConfigError("--back", "is for lifters that predict x, y and z", "leave it out")
            weight, shift = (torch.as_tensor(a) for a in (adaptation.poses.weight, adaptation.poses.offset))
            std, mean = made.std3d.flatten().double(), made.mean3d.flatten().double()
            bias = weight.mT @ (std * last.bias.double() + mean) + shift
            last.weight.copy_((weight.mT @ (std[:, None] * last.weight.double())).float())
            last.bias.copy_(bias.float())
            made.mean3d.zero_()
            made.std3d.fill_(1.0)
    return made.eval()


def tables(lifter: Lifter, sampler: Sampler) -> tuple[np.ndarray, np.ndarray]:
    """What the lifter sees (n, L, 2) and should answer (n, L, 3), of poses that are known whole."""
    points, poses = [], []
    for sample, _ in samples(sampler, 1, _SEED):
        seen = see(lifter, sample)
        whole = seen.known.all(dim=-1) & seen.gaze.enough
        points.append(lifter.seen_points(seen.gaze)[whole, -1].double().numpy())
        poses.append(seen.target_mm[whole].double().numpy())
    return np.concatenate(points), np.concatenate(poses)


def main(argv: list[str] | None = None) -> int:
    """The command."""
    options = arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    variables = {} if options.data is None else {"data": str(options.data.resolve())}
    config = load(options.config, LiftConfig, variables=variables)
    saved = read_saved(options.logdir / config.network.name / CHECKPOINT)
    poses = poses_of(config.poses)
    trainer = LiftTrainer(config, poses, split(poses, config.split), None, torch.device("cpu"))
    trainer.resume(saved)
    lifter = trainer.finished()
    new = read_poses3d(options.poses, units=options.units)
    if new.skeleton.joints != trainer.skeleton.joints:
        raise ConfigError(options.poses, "has other joints than the lifter", "give poses of the same joints")
    if new.rig is None:
        raise ConfigError(options.poses, "has no cameras", "give poses with a rig")
    camera = options.camera or new.rig.names[0]
    view = ViewSection(kind="measured" if options.measured else "known", cameras=(camera,))
    bank = Bank(new, config.network.window, torch.device("cpu"))
    weak = config.network.mode == "weak"
    target = tables(lifter, Sampler(bank, trainer.tree, view, NoiseSection(px=(0.0, 0.0)), None, weak))
    source = tables(lifter, trainer.sampler)
    poses_3d = {"poses_target": target[1], "poses_source": source[1]} if options.back else {}
    made = folded(lifter, fit(target[0], source[0], k=options.neighbours, **poses_3d))
    document = document_of(trainer, made)
    about = {"source": f"{document.source}, adapted to {options.poses.name} ({len(target[0])} poses)"}
    write_lifter(made, document.model_copy(update=about), options.to)
    log.info("%s: %d poses of %s brought to %d of training", options.to, len(target[0]), camera, len(source[0]))
    return 0


if __name__ == "__main__":
    run_program(main)
