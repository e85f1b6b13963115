"""How fast lifters train: the published network on 100,000 poses, and batches on the device against pose by pose."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks._lifting_loop import PoseByPose, step
from benchmarks._report import ROOT
from capture.labels.poses3d import Poses3D
from rigpose.config import validate
from training.lifting.config import LiftConfig, VirtualSection
from training.lifting.judging import error_mm
from training.lifting.loop import LiftTrainer
from training.lifting.losses import loss_of
from training.lifting.sources import virtual_poses
from training.lifting.splits import Split, split
from training.lifting.statistics import see
from training.report import Silence

BODIES, POSES = 1120, 100
"""1000 bodies train; the others choose and judge."""
EPOCHS = 30
LARGE, SMALL = 2048, 64
FOCAL_PX, NOISE_PX, DISTANCE_MM = 1000.0, 4.0, (2200.0, 5200.0)
SCENARIO = ROOT / "training" / "scenarios" / "mannequin_train.yaml"


def config(batch_size: int, epochs: int = EPOCHS, bf16: bool = False) -> LiftConfig:
    """The published network; with its batch also its schedule."""
    published = {"rate": 1e-3, "schedule": "stairs", "gamma": 0.96, "decay_steps": 100_000, "ema": 0.0}
    ours = {"rate": 3e-3, "schedule": "cosine", "ema": 0.99, "bf16": bf16}
    learning = {"epochs": epochs, "batch_size": batch_size, **(published if batch_size == SMALL else ours)}
    document = {
        "version": 1,
        "network": {"name": "speed", "kind": "liftpose", "dropout": 0.1, "by_spread": True},
        "poses": {"kind": "virtual", "scenario": str(SCENARIO), "bodies": BODIES, "poses": POSES, "rate_hz": 10},
        "split": {"by": "animal"},
        "view": {
            **{"kind": "unknown", "elevation_deg": [-5, 55], "roll_deg": [-10, 10], "aim": 0.15},
            **{"distance_mm": list(DISTANCE_MM), "focal_px": FOCAL_PX},
        },
        "noise": {"px": [NOISE_PX, NOISE_PX]},
        "learning": {**learning, "validate_every": 5},
    }
    return validate(document, LiftConfig, "benchmarks.lifting, speed")


def poses(bodies: int = BODIES) -> tuple[Poses3D, Split]:
    """Poses, of which 1000 bodies (100,000 poses) train."""
    section = config(SMALL).poses
    assert isinstance(section, VirtualSection)
    made = virtual_poses(section.model_copy(update={"bodies": bodies}))
    names = list(dict.fromkeys(made.subject.tolist()))
    kept = max(3, round(bodies * 60 / 1120))
    parts = split(
        made,
        config(SMALL).split.model_copy(
            update={"test": tuple(names[-kept:]), "validation": tuple(names[-2 * kept : -kept])}
        ),
    )
    return made, parts


@dataclass(frozen=True)
class Run:
    """A training: minutes, and the error on the test part."""

    minutes: float
    test_mm: float
    trainer: LiftTrainer


def train(made: Poses3D, parts: Split, batch_size: int, epochs: int = EPOCHS, bf16: bool = False) -> Run:
    """Train with a batch of this size; statistics and looks at the validation part are part of the time."""
    begun = time.monotonic()
    trainer = LiftTrainer(config(batch_size, epochs, bf16), made, parts, None, torch.device("cpu"))
    trainer.run(Silence())
    minutes = (time.monotonic() - begun) / 60
    found = trainer.judge_test(trainer.finished())
    assert found is not None
    return Run(minutes, error_mm(found, np.array(trainer.spec.lifted)), trainer)


@dataclass(frozen=True)
class Speeds:
    """Poses a second, of several turns each."""

    batched_samples: list[float]
    batched_steps: list[float]
    single_samples: list[float]
    single_steps: list[float]


def speeds(made: Poses3D, parts: Split, turns: int, seconds: float, bf16: bool = False) -> Speeds:
    """Augmentation alone, and with the step, batched and pose by pose, in turns in one run."""
    trainer = LiftTrainer(config(LARGE, 1, bf16), made, parts, None, torch.device("cpu"))
    lifter = trainer.lifter.train()
    single = PoseByPose(made.position_mm[parts.train], trainer.lifter, NOISE_PX, FOCAL_PX, DISTANCE_MM)
    autocast = torch.bfloat16 if bf16 else None
    found = Speeds([], [], [], [])

    def batched(with_step: bool) -> float:
        done, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < seconds:
            rows = torch.randint(len(trainer.sampler.bank), (LARGE,), generator=trainer.generator)
            seen = see(lifter, trainer.sampler.sample(rows, trainer.generator))
            if with_step:
                loss = loss_of(lifter, seen, 0.0, autocast)
                trainer.optimiser.zero_grad(set_to_none=True)
                loss.total.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(lifter.parameters(), 1.0)
                trainer.optimiser.step()
            done += LARGE
        return done / (time.perf_counter() - begun)

    def one_by_one(with_step: bool) -> float:
        done, begun = 0, time.perf_counter()
        for x, y in single.batches(SMALL):
            if with_step:
                step(lifter, trainer.optimiser, x, y)
            done += SMALL
            if time.perf_counter() - begun > seconds:
                break
        return done / (time.perf_counter() - begun)

    for _ in range(turns):
        found.batched_samples.append(batched(False))
        found.single_samples.append(one_by_one(False))
        found.batched_steps.append(batched(True))
        found.single_steps.append(one_by_one(True))
    return found
