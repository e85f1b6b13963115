"""The loop: epochs over a bank on the device, looks at the validation part, and what is kept of it."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from capture.labels.poses3d import Poses3D
from engine.models.lifter import Lifter, LifterSpec
from training.average import Average
from training.lifting.bank import Bank, Tree, roots_of
from training.lifting.config import LearningSection, LiftConfig
from training.lifting.judging import Judged, calibrate, error_mm, judged
from training.lifting.losses import loss_of
from training.lifting.samples import Sampler
from training.lifting.saved import CHECKPOINT, Saved
from training.lifting.splits import Split
from training.lifting.statistics import measure, see
from training.report import Report, Silence

log = logging.getLogger(__name__)

_LEAST_RATE = 0.01
_VALIDATION_SEED, _TEST_SEED = 20_001, 20_002
_LAST = 1e-9


def rate_at(config: LearningSection, step: int, steps: int) -> float:
    """The learning rate of a step."""
    if config.schedule == "stairs":
        # As published: changed only at steps that ``decay_steps`` divides.
        return config.rate * config.gamma ** (step // config.decay_steps)
    progress = step / max(1, steps)
    if progress < config.warmup:
        return config.rate * (_LEAST_RATE + (1 - _LEAST_RATE) * progress / config.warmup)
    fall = (progress - config.warmup) / max(1e-9, 1 - config.warmup)
    return config.rate * (_LEAST_RATE + (1 - _LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, fall))))


class LiftTrainer:
    """One run.

    Args:
        config: What it is.
        poses: All poses.
        parts: Which of them are for what.
        folder: Where checkpoints go; it exists. ``None`` = nothing is written.
        device: Where it computes.

    Raises:
        ConfigError: The config does not go with the poses.
    """

    def __init__(
        self, config: LiftConfig, poses: Poses3D, parts: Split, folder: Path | None, device: torch.device
    ) -> None:
        self.config, self.poses, self.folder, self.device = config, poses, folder, device
        torch.manual_seed(config.seed)
        network = config.network
        self.skeleton = poses.skeleton
        roots = roots_of(self.skeleton, network.roots)
        self.spec = LifterSpec(
            kind=network.kind,
            joints=len(self.skeleton.joints),
            roots=roots,
            mode=network.mode,
            out=network.out,
            window=network.window,
            width=network.width,
            stages=network.stages,
            dropout=network.dropout,
            by_spread=network.scaled,
            linear=network.linear,
        )
        self.tree = Tree.of(self.skeleton, roots)
        weak = network.mode == "weak"
        self.train_poses, self.validation_poses, self.test_poses = (
            poses.take(rows) for rows in (parts.train, parts.validation, parts.test)
        )
        bank = Bank(self.train_poses, network.window, device)
        self.sampler = Sampler(bank, self.tree, config.view, config.noise, config.body, weak)
        lengths = self.sampler.lengths_mm
        body = config.body.model_copy(update={"scale": (1.0, 1.0), "bones": 0.0, "bend_deg": 0.0, "mirror": 0.0})
        self.validation = Sampler(
            Bank(self.validation_poses, network.window, device),
            self.tree,
            config.view,
            config.noise,
            body,
            weak,
            lengths,
        )
        self.test = (
            Sampler(
                Bank(self.test_poses, network.window, device),
                self.tree,
                config.judged_view,
                config.judged_noise,
                body,
                weak,
                lengths,
            )
            if len(self.test_poses)
            else None
        )
        self.lifter = Lifter(self.spec).to(device)
        self.generator = torch.Generator(device).manual_seed(config.seed)
        measure(self.lifter, self.sampler, self.generator)
        learning = config.learning
        self.average = Average(self.lifter, learning.ema)
        self.optimiser = torch.optim.Adam(self.lifter.parameters(), lr=learning.rate)
        self.epoch, self.step, self.elapsed_s = 0, 0, 0.0
        self.best = {key: value.clone() for key, value in self.average.state_dict().items()}
        self.best_mm, self.best_epoch = math.inf, 0
        self._lifted = np.array(self.spec.lifted)

    @property
    def steps_of_epoch(self) -> int:
        """Steps; an epoch's last batch is made full by poses of its begin, seen another time."""
        return max(1, -(-len(self.sampler.bank) // self.batch_size))

    @property
    def batch_size(self) -> int:
        """Poses in a step. Of fewer poses than that, each is there several times, seen otherwise each time."""
        return self.config.learning.batch_size

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.steps_of_epoch * self.config.learning.epochs

    def run(
        self,
        report: Report | Silence,
        *,
        stopped: Callable[[], bool] = lambda: False,
        until_epoch: int | None = None,
        checkpoint_s: float = 60.0,
    ) -> None:
        """Train to the end or until it is stopped, and leave a checkpoint.

        Args:
            report: Where scalars go.
            stopped: Asked after each step; an epoch that was broken off is begun again by `resume`.
            until_epoch: An epoch to stop behind, for tests.
            checkpoint_s: Seconds between two checkpoints.
        """
        learning = self.config.learning
        begun, saved = time.monotonic() - self.elapsed_s, time.monotonic()
        last = min(learning.epochs, until_epoch or learning.epochs)
        while self.epoch < last:
            before = self._state()
            losses = self._epoch(stopped)
            if losses is None:
                self._restore(before)
                break
            self.epoch += 1
            self.elapsed_s = time.monotonic() - begun
            rate = rate_at(learning, self.step, self.steps)
            speed = len(self.sampler.bank) * self.epoch / max(1e-9, self.elapsed_s)
            report.add("train", self.step, losses | {"rate": rate, "epoch": self.epoch, "poses_per_s": speed})
            if self.epoch % learning.validate_every == 0 or self.epoch == learning.epochs:
                self._look(report)
            if time.monotonic() - saved > checkpoint_s:
                self.save()
                saved = time.monotonic()
        self.elapsed_s = time.monotonic() - begun
        self.save()

    def _state(self) -> dict[str, Any]:
        """What an epoch changes, so that one that is broken off leaves nothing behind."""
        return copy.deepcopy(
            {
                "step": self.step,
                "weights": self.lifter.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "random": self._random(),
            }
        )

    def _restore(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.lifter.load_state_dict(state["weights"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self._set_random(state["random"])

    def _random(self) -> dict[str, torch.Tensor]:
        return {"generator": self.generator.get_state(), "torch": torch.get_rng_state()}

    def _set_random(self, state: dict[str, torch.Tensor]) -> None:
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["torch"])

    def _epoch(self, stopped: Callable[[], bool]) -> dict[str, float] | None:
        """One epoch's mean losses; ``None`` where it was stopped."""
        learning, n = self.config.learning, len(self.sampler.bank)
        size = self.batch_size
        order = torch.randperm(n, generator=self.generator, device=self.device)
        full = order.repeat(-(-self.steps_of_epoch * size // n))[: self.steps_of_epoch * size]
        sums = torch.zeros(3, device=self.device)
        autocast = torch.bfloat16 if learning.bf16 else None
        self.lifter.train()
        for rows in full.split(size):
            progress = self.step / self.steps
            for group in self.optimiser.param_groups:
                group["lr"] = rate_at(learning, self.step, self.steps)
            covariance = learning.covariance if progress >= learning.covariance_from else 0.0
            seen = see(self.lifter, self.sampler.sample(rows, self.generator))
            loss = loss_of(self.lifter, seen, covariance, autocast)
            self.optimiser.zero_grad(set_to_none=True)
            loss.total.backward()  # type: ignore[no-untyped-call]
            if learning.clip is not None:
                torch.nn.utils.clip_grad_norm_(self.lifter.parameters(), learning.clip)
            self._decay()
            self.optimiser.step()
            self.step += 1
            self.average.update(self.lifter, self.step)
            sums += torch.stack([loss.total.detach(), loss.distance_mm, loss.likelihood])
            if stopped():
                return None
        total, distance, likelihood = (sums / self.steps_of_epoch).tolist()
        return {"loss": total, "distance_mm": distance, "likelihood": likelihood}

    def _decay(self) -> None:
        """Decoupled weight decay, as AdamW's; the linear part, which is ridge regression already, is left alone."""
        decay = self.config.learning.weight_decay
        if not decay:
            return
        kept = set() if self.lifter.linear is None else {id(p) for p in self.lifter.linear.parameters()}
        rate = float(self.optimiser.param_groups[0]["lr"])
        with torch.no_grad():
            for parameter in self.lifter.parameters():
                if parameter.ndim > 1 and id(parameter) not in kept:
                    parameter.mul_(1 - rate * decay)

    def _look(self, report: Report | Silence) -> None:
        found = self.judge(self.validation, self.average.model, _VALIDATION_SEED)
        error = error_mm(found, self._lifted)
        report.add("val", self.step, {"mpjpe_mm": error, "best_mm": min(error, self.best_mm)})
        if error < self.best_mm - _LAST:
            self.best_mm, self.best_epoch = error, self.epoch
            self.best = {key: value.clone() for key, value in self.average.state_dict().items()}

    def judge(self, sampler: Sampler, lifter: torch.nn.Module, seed: int) -> Judged:
        """Answers to a part's samples, the same each time."""
        assert isinstance(lifter, Lifter)
        return judged(lifter, sampler, self.config.draws, seed)

    def finished(self) -> Lifter:
        """The lifter that the validation part liked best, its covariances made honest on that part."""
        lifter = Lifter(self.spec).to(self.device)
        lifter.load_state_dict(self.best)
        calibrate(lifter, self.validation, self.config.draws)
        return lifter.eval()

    def judge_test(self, lifter: Lifter) -> Judged | None:
        """Answers to the test part; ``None`` where there is none."""
        return None if self.test is None else self.judge(self.test, lifter, _TEST_SEED)

    def save(self) -> None:
        """Write the checkpoint."""
        if self.folder is None:
            return
        Saved(
            config=self.config,
            skeleton=self.skeleton.model_dump_json(),
            epoch=self.epoch,
            step=self.step,
            elapsed_s=self.elapsed_s,
            weights=self.lifter.state_dict(),
            average=self.average.state_dict(),
            optimiser=self.optimiser.state_dict(),
            random=self._random(),
            best=self.best,
            best_mm=self.best_mm,
            best_epoch=self.best_epoch,
        ).write(self.folder / CHECKPOINT)

    def resume(self, saved: Saved) -> None:
        """Go on where a checkpoint stands."""
        self.lifter.load_state_dict(saved.weights)
        self.average.load_state_dict(saved.average)
        self.optimiser.load_state_dict(saved.optimiser)
        self._set_random(saved.random)
        self.epoch, self.step, self.elapsed_s = saved.epoch, saved.step, saved.elapsed_s
        self.best = {key: value.to(self.device) for key, value in saved.best.items()}
        self.best_mm, self.best_epoch = saved.best_mm, saved.best_epoch
