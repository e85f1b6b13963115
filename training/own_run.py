"""Training by the plan of `training.own`: watched by what is held out, exported as one file that the engine runs."""

from __future__ import annotations

import copy
import json
import logging
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from rigpose.errors import ConfigError
from training import networks
from training.checkpoint import Checkpoint, read_checkpoint
from training.config import CropSection
from training.datasets.shots import ShotSamples, in_order
from training.export import build, export
from training.feed import as_batch, as_tensors
from training.loop import CHECKPOINT, Trainer
from training.losses import Batch
from training.metrics import errors_mm
from training.own import Plan
from training.report import Report
from training.sources import ShotsSource, source_of
from training.warm_start import beginning

log = logging.getLogger(__name__)

RUN = "training"
"""Folder of checkpoints and scalars in a run's folder."""
_PATIENCE = 0.35
"""Share of the run without anything better on what is held out, after which it ends."""
_BETTER = 0.995
_DOCUMENT = "rigpose.model"
_TRACKED: dict[str, Any] = {"shift": 0.03, "scale": (0.97, 1.1), "wide_share": 0.0}
"""How a tracker's crops lie: about the last pose, hardly off."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What a network answers to pictures that it never learned from, against what people labelled in them.

    Attributes:
        pictures: How many.
        px: (N,) error of each labelled joint that is not hidden, px of the picture.
        share: (N,) the same over the longer side of the animal's box in that picture.
        joints_px: (J,) median of each joint; NaN where it was not labelled.
        mm: (M,) error of each joint in 3D, where labels of several cameras tell its place; empty = nowhere.
    """

    pictures: int
    px: Float[np.ndarray, " N"]
    share: Float[np.ndarray, " N"]
    joints_px: Float[np.ndarray, " J"]
    mm: Float[np.ndarray, " M"]


class OwnTrainer(Trainer):
    """A trainer whose held-out samples are cropped as a tracker would: what is told of them is what a user will see."""

    def held_out(self) -> list[Batch]:
        """All pictures that are held out, in the main memory."""
        source = self.source
        assert isinstance(source, ShotsSource)
        shots = source.shots("val")
        crop = CropSection(margin=self.config.data.crop.margin, **_TRACKED)
        samples = ShotSamples(shots, crop, None, self.config.validation.seed)
        orders = in_order(shots, list(shots.index), self.batch_size, self.config.size)
        return [as_batch(as_tensors([samples[order] for order in batch]), torch.device("cpu")) for batch in orders]


class Watch:
    """A report that also keeps the weights that were best on what is held out, and ends a run that gets no better.

    Args:
        report: Where scalars go.
        trainer: Whose weights.
        tell: Called with the share of the run that is done and a few words about it.
    """

    def __init__(self, report: Report, trainer: Trainer, tell: Callable[[float, str], None]) -> None:
        self._report, self._trainer, self._tell = report, trainer, tell
        self._done = self._best_at = 0.0
        self._best = np.inf
        self.weights: dict[str, Any] | None = None
        self.step = 0

    def add(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Scalars of one step."""
        self._report.add(kind, step, values)
        if kind == "train":
            self._done = values["done"]
        error = values.get("error_share", np.nan)
        if kind == "val" and error < _BETTER * self._best:
            self._best, self._best_at, self.step = error, self._done, step
            self.weights = copy.deepcopy(self._trainer.average.state_dict())
        told = "" if np.isinf(self._best) else f", held-out error {self._best:.1%} of a crop"
        self._tell(self._done, f"step {step}{told}")

    def picture(self, kind: str, step: int, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        """A picture of one step, BGR."""
        self._report.picture(kind, step, picture)

    def close(self) -> None:
        """Write out what is held."""
        self._report.close()

    @property
    def hopeless(self) -> bool:
        """Whether going on has not helped for long."""
        return self._done - max(self._best_at, _PATIENCE) > _PATIENCE


def trainer_of(plan: Plan, folder: Path, device: torch.device, init: Path | None) -> OwnTrainer:
    """The run at its beginning, or where it was broken off.

    Args:
        plan: What it is.
        folder: Of all that belongs to it.
        device: Where it computes.
        init: A network to begin with; ``None`` = random weights.

    Raises:
        ConfigError: Another run was begun in the folder, or the network is of another kind.
    """
    place = folder / RUN
    place.mkdir(parents=True, exist_ok=True)
    trainer = OwnTrainer(plan.config, source_of(plan.config), place, device)
    if (place / CHECKPOINT).is_file():
        checkpoint = read_checkpoint(place / CHECKPOINT)
        if checkpoint.config != plan.config:
            raise ConfigError(place / CHECKPOINT, "is of a run with other settings or labels", "give another --output")
        trainer.resume(checkpoint)
        log.info("goes on at step %d, after %.1f min", trainer.step, trainer.elapsed_s / 60)
    elif init is not None:
        began = beginning(init, trainer.model, trainer.skeleton.joints)
        trainer.start_from(began.weights, began.origin)
    return trainer


def train(
    trainer: Trainer, minutes: float, tell: Callable[[float, str], None], stopped: Callable[[], bool]
) -> Checkpoint:
    """Train until the time is over, nothing gets better or someone stops it; what was best is the answer.

    Args:
        trainer: At its beginning, or where it was broken off.
        minutes: Of the whole run.
        tell: As in `Watch`.
        stopped: Asked after each step.
    """
    watch = Watch(Report(trainer.folder), trainer, tell)
    held = trainer.held_out()
    try:
        trainer.run(
            watch,  # type: ignore[arg-type]  # it is one
            budget_s=60 * minutes,
            checkpoint_s=60.0,
            report_every=10,
            stopped=lambda: stopped() or watch.hopeless,
        )
        watch.add("val", trainer.step, trainer.validate(held))
    finally:
        watch.close()
    if watch.hopeless:
        log.info("nothing got better on what is held out for a third of the time: ended")
    checkpoint = trainer.checkpoint()
    return checkpoint if watch.weights is None else replace(checkpoint, average=watch.weights, step=watch.step)


def judged(checkpoint: Checkpoint, held: list[Batch], device: torch.device) -> HeldOut:
    """What a run's network answers to what is held out.

    Args:
        checkpoint: The run.
        held: `Trainer.held_out`.
        device: Where the batches are.
    """
    model = build(checkpoint).to(device)
    px, share, joints, mm, pictures = [], [], [], [], 0
    for batch in held:
        answer = networks.predict(model, batch)
        size = batch.crops.shape[2]
        # Mirrored or turned they are not: a crop's scale is that of both axes.
        scale = batch.crop_to_image[..., 0, 0].cpu().numpy()[..., None]
        points = batch.points.cpu().numpy()
        side = np.nanmax(np.nanmax(points, axis=2) - np.nanmin(points, axis=2), axis=-1)[..., None]
        error = np.where(batch.hidden.cpu().numpy(), np.nan, answer.error_share * size)
        seen = np.isfinite(error)
        px.append((error * scale)[seen])
        share.append((error / side)[seen])
        joints.append((error * scale).reshape(-1, error.shape[-1]))
        apart = errors_mm(answer.position_mm, answer.truth_mm)
        mm.append(apart[np.isfinite(apart)])
        pictures += int(np.prod(error.shape[:2]))
    with np.errstate(all="ignore"):
        each = np.concatenate(joints)
        medians = np.array([np.median(c[np.isfinite(c)]) if np.isfinite(c).any() else np.nan for c in each.T])
    return HeldOut(pictures, np.concatenate(px), np.concatenate(share), medians, np.concatenate(mm))


def write(checkpoint: Checkpoint, path: Path, *, source: str, licence: str) -> None:
    """Write the model as one ONNX file with its document; the file is whole or not there.

    Args:
        checkpoint: The run.
        path: The file.
        source: Where its weights are from.
        licence: Of the weights.

    Raises:
        MissingError: onnxscript is not installed.
        ConfigError: The file cannot be written.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its own exporter
        proto = export(checkpoint)
    for entry in proto.metadata_props:
        if entry.key == _DOCUMENT:
            document = json.loads(entry.value) | {"domain": "real", "source": source, "licence": licence}
            entry.value = json.dumps(document)
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(proto.SerializeToString(deterministic=True))
        os.replace(partial, path)
    except OSError as error:
        raise ConfigError(path, f"cannot be written: {error.strerror}", "give another --output") from None
