"""The loop: steps, looks at the validation samples, checkpoints."""

from __future__ import annotations

import logging
import math
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from rigpose.errors import ConfigError
from training import feed, networks, schedule
from training.average import Average
from training.chances import Chances, chances
from training.checkpoint import Checkpoint
from training.config import OptimiserSection, TrainingConfig
from training.losses import Batch, alone, position_weight
from training.metrics import summary
from training.processes import ALONE, Group
from training.report import Report, Silence
from training.sheet import sheet
from training.sources import Source

CHECKPOINT = "checkpoint.pt"
BRANCH = "branch.pt"
RANDOM = "random weights"
log = logging.getLogger(__name__)


def machine(device: torch.device) -> str:
    """What it runs on, in a few words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


class Trainer:
    """One run.

    Args:
        config: What it is.
        source: Where samples come from.
        folder: Where checkpoints and reports go; it exists.
        device: Where it computes.
        workers: Processes that make samples; by default the config's for this kind of device.
        group: Who train together; the main process writes and decides.

    Raises:
        ConfigError: The batch cannot be shared evenly.
    """

    def __init__(
        self,
        config: TrainingConfig,
        source: Source,
        folder: Path,
        device: torch.device,
        workers: int | None = None,
        group: Group = ALONE,
    ) -> None:
        self.config, self.source, self.skeleton = config, source, source.skeleton
        self.folder, self.device, self.group = folder, device, group
        cuda = device.type == "cuda"
        self.batch_size = config.data.batch_size_cuda if cuda else config.data.batch_size
        group.share(self.batch_size, "data.batch_size_cuda" if cuda else "data.batch_size")
        self.workers = (config.data.workers_cuda if cuda else config.data.workers) if workers is None else workers
        precision = config.precision_cuda if cuda else config.precision_cpu
        self.autocast = torch.bfloat16 if precision == "bf16" else None
        torch.manual_seed(config.seed)
        model = networks.build(config.model, source.skeleton)
        if group.size > 1 and cuda:
            model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self.model = networks.placed(model, device)
        self._frozen = _frozen(self.model, config.optimiser)
        for module in self._frozen:
            module.requires_grad_(False)
        self.average = Average(self.model, config.optimiser.ema)
        self.optimiser = torch.optim.AdamW(self._groups(), lr=config.optimiser.rate)
        self.step, self.skipped, self.elapsed_s = 0, 0, 0.0
        self.origin = RANDOM

    @cached_property
    def objective(self) -> torch.nn.Module:
        """The network with its losses; made when it is asked for, for some networks can only be judged.

        Raises:
            ConfigError: The network has nothing that could be learned.
        """
        group, device = self.group, self.device
        made = networks.objective(self.model, self.config, group.mean if group.size > 1 else alone)
        if group.size == 1:
            return made
        # A step without a 3D loss leaves parts of some networks without gradient.
        return DistributedDataParallel(
            made, device_ids=[device.index] if device.type == "cuda" else None, find_unused_parameters=True
        )

    def _groups(self) -> list[dict[str, object]]:
        config = self.config.optimiser
        left = {id(p): p for p in self.model.parameters() if p.requires_grad}
        parts: list[tuple[list[torch.nn.Parameter], float]] = []
        for name, rate in config.rates.items():
            part = _part(self.model, name, "optimiser.rates")
            learned = [left.pop(id(p)) for p in part.parameters() if id(p) in left]
            parts.append((learned, rate / config.rate))
        groups: list[dict[str, object]] = []
        for learned, scale in [(list(left.values()), 1.0), *parts]:
            weights, rest = ([p for p in learned if (p.ndim > 1) == several] for several in (True, False))
            groups.append({"params": weights, "weight_decay": config.weight_decay, "scale": scale})
            groups.append({"params": rest, "weight_decay": 0.0, "scale": scale})
        return groups

    def start_from(self, weights: dict[str, torch.Tensor], origin: str) -> None:
        """Begin with these weights instead of random ones."""
        self.model.load_state_dict(weights)
        self.average = Average(self.model, self.config.optimiser.ema)
        self.origin = origin

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on where a checkpoint stands."""
        self.model.load_state_dict(checkpoint.weights)
        self.average.load_state_dict(checkpoint.average)
        self.optimiser.load_state_dict(checkpoint.optimiser)
        self.step, self.skipped, self.elapsed_s = checkpoint.step, checkpoint.skipped, checkpoint.elapsed_s
        self.origin = checkpoint.origin
        torch.set_rng_state(checkpoint.random["cpu"])
        if self.device.type == "cuda" and "cuda" in checkpoint.random:
            torch.cuda.set_rng_state(checkpoint.random["cuda"], self.device)

    def checkpoint(self) -> Checkpoint:
        """The run as it stands."""
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        return Checkpoint(
            config=self.config,
            skeleton=self.skeleton.model_dump_json(),
            step=self.step,
            elapsed_s=self.elapsed_s,
            skipped=self.skipped,
            weights=self.model.state_dict(),
            average=self.average.state_dict(),
            optimiser=self.optimiser.state_dict(),
            random=random,
            machine=machine(self.device),
            origin=self.origin,
        )

    def run(
        self,
        report: Report | Silence,
        *,
        budget_s: float | None = None,
        checkpoint_s: float = 180.0,
        report_every: int = 50,
        until_step: int | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train to the end, and leave a checkpoint.

        Args:
            report: Where scalars go.
            budget_s: The whole run's time, what was spent before a checkpoint included; the schedule is fitted to it.
                Where several processes train, the main one's clock counts.
            checkpoint_s: Seconds between two checkpoints.
            report_every: Steps between two reports of their means.
            until_step: A step to stop at before the end, for tests.
            stopped: Asked after each step.
        """
        config, _ = self.config, self.objective
        begun = time.monotonic() - self.elapsed_s

        def progress(step: int) -> float:
            return schedule.progress_at(step, config.steps, time.monotonic() - begun, budget_s)

        _ = self.objective  # what learns nothing is refused before samples are made
        stream = feed.batches(
            self.source,
            self.device,
            self.step,
            self.batch_size,
            self.workers,
            lambda step: config.size_at(progress(step)),
            self.group,
        )
        held_out: list[Batch] | None = None
        last = min(config.steps, until_step or config.steps)
        saved = time.monotonic()
        meter = _Meter()
        try:
            while self.step < last:
                share, asked = self.group.decided([progress(self.step), float(stopped())])
                if share >= 1 or asked:
                    break
                meter.add(self._step(next(stream), share))
                self.elapsed_s = time.monotonic() - begun
                if config.branch_at is not None and share < config.branch_at <= progress(self.step) and self.group.main:
                    self.checkpoint().write(self.folder / BRANCH)
                if self.step % report_every == 0:
                    rate = schedule.learning_rate(config.optimiser, share)
                    report.add(
                        "train", self.step, meter.mean() | {"rate": rate, "done": share, "skipped": self.skipped}
                    )
                if self.step % config.validation.every_steps == 0:
                    if held_out is None:
                        held_out = self.held_out()
                    report.add("val", self.step, self.validate(held_out))
                    if self.group.main:
                        report.picture("val", self.step, self.picture(held_out[0]))
                if time.monotonic() - saved > checkpoint_s:
                    self._save()
                    saved = time.monotonic()
        finally:
            _end(stream)
            self.elapsed_s = time.monotonic() - begun
            self._save()

    def _save(self) -> None:
        if self.group.main:
            self.checkpoint().write(self.folder / CHECKPOINT)

    def _step(self, batch: Batch, progress: float) -> dict[str, float]:
        """One step; a loss or gradient that is not finite changes nothing and is counted."""
        config = self.config
        rate = schedule.learning_rate(config.optimiser, progress)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        shape: tuple[int, int] = batch.points.shape[:2]  # type: ignore[assignment]
        drawn = chances(config, self.step, shape, self.group)
        self.model.train()
        for module in self._frozen:
            module.eval()
        self.optimiser.zero_grad(set_to_none=True)
        before = _statistics(self.model)
        answer = self.objective(
            batch,
            position_weight(config.loss, progress),
            Chances(*(None if part is None else part.to(self.device) for part in drawn)),
            self.autocast,
        )
        answer.total.backward()  # type: ignore[no-untyped-call]
        limit = math.inf if config.optimiser.clip is None else config.optimiser.clip
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        # The gradient is all processes' already; with the losses' mean each of them judges alike.
        values = self.group.mean(torch.stack([*(value.detach() for value in answer), norm])).tolist()
        self.step += 1
        if math.isfinite(values[0]) and math.isfinite(values[-1]):
            self.optimiser.step()
            self.average.update(self.model, self.step)
        else:
            self.skipped += 1
            _restore(self.model, before)
            log.warning("step %d was skipped: its loss is %g, its gradient %g", self.step, values[0], values[-1])
        return dict(zip((*answer._fields, "gradient"), values, strict=True))

    def validate(self, held_out: list[Batch]) -> dict[str, float]:
        """Errors of the averaged model on the samples held out."""
        mine = [networks.predict(self.average.model, feed.on(batch, self.device)) for batch in held_out]
        return summary(self.group.gathered(mine), self.skeleton)

    def held_out(self) -> list[Batch]:
        """This process's part of the samples that are looked at while it trains, in the main memory."""
        batch_size = max(1, self.batch_size // self.group.size)
        part = self.source.judged("val", self.config.validation.samples, batch_size, self.group)
        return list(feed.judged(part, torch.device("cpu")))

    def picture(self, batch: Batch) -> np.ndarray:
        """A few samples as the averaged model sees them, BGR."""
        return sheet(batch, networks.look(self.average.model, feed.on(batch, self.device)))


def _frozen(model: torch.nn.Module, config: OptimiserSection) -> list[torch.nn.Module]:
    """Modules whose weights and statistics stay as they are."""
    normalisations = torch.nn.modules.batchnorm._BatchNorm
    kept = [module for module in model.modules() if config.freeze_norm and isinstance(module, normalisations)]
    for name in config.freeze:
        kept += _part(model, name, "optimiser.freeze").modules()
    return kept


def _part(model: torch.nn.Module, name: str, where: str) -> torch.nn.Module:
    parts = dict(model.named_modules())
    if name not in parts:
        known = ", ".join(part for part in parts if part and "." not in part)
        raise ConfigError(where, f"the network has no part {name}", f"its parts are {known}")
    return parts[name]


def _statistics(model: torch.nn.Module) -> list[torch.Tensor]:
    """Buffers (batch statistics) as they are: a forward pass changes them before its loss is known."""
    return [buffer.clone() for buffer in model.buffers()]


def _restore(model: torch.nn.Module, statistics: list[torch.Tensor]) -> None:
    with torch.no_grad():
        for buffer, value in zip(model.buffers(), statistics, strict=True):
            buffer.copy_(value)


class _Meter:
    """Means since the last report; ``sets_per_s`` with them."""

    def __init__(self) -> None:
        self._values: list[dict[str, float]] = []
        self._since = time.monotonic()

    def add(self, values: dict[str, float]) -> None:
        self._values.append(values)

    def mean(self) -> dict[str, float]:
        now = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of what is not known in any step the mean is not either
            means = {key: float(np.nanmean([v[key] for v in self._values])) for key in self._values[0]}
        means["steps_per_s"] = len(self._values) / max(1e-9, now - self._since)
        self._values, self._since = [], now
        return means


def _end(stream: Iterator[Batch]) -> None:
    close = getattr(stream, "close", None)
    if close is not None:
        close()
