"""A subject, a rig and runs so small that they take a second."""

from __future__ import annotations

import numpy as np
import torch

from calib.rig import Rig
from capture.labels.poses3d import Poses3D
from rigpose.config import validate
from tests.engine.lifters import RIG, TWO_LEGS
from training.lifting.bank import Bank, Tree, roots_of
from training.lifting.config import LiftConfig

CPU = torch.device("cpu")
SKELETON = TWO_LEGS
TREE = Tree.of(SKELETON, roots_of(SKELETON, "legs"))
ONE_TREE = Tree.of(SKELETON, roots_of(SKELETON, {}))


def poses(n: int = 60, animals: int = 1, rig: Rig | None = RIG, seed: int = 0, points: bool = False) -> Poses3D:
    """Two legs that swing, each animal's of its own length; frames follow each other."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(animals):
        length = rng.uniform(0.8, 1.2)
        phase = np.linspace(0, 4 * np.pi, n) + rng.uniform(0, 6)
        position = np.zeros((n, 6, 3))
        for leg, side in enumerate((-1, 1)):
            swing = 0.7 * np.sin(phase + np.pi * leg)
            bend = 0.5 + 0.4 * np.cos(2 * phase)
            coxa = np.tile([side * 150.0, 0, 300], (n, 1))
            upper = 300 * length * np.stack([0.2 * side + 0 * swing, np.sin(swing), -np.cos(swing)], axis=-1)
            lower = 350 * length * np.stack([0.1 * swing, np.sin(swing - bend), -np.cos(swing - bend)], axis=-1)
            position[:, 3 * leg] = coxa
            position[:, 3 * leg + 1] = coxa + upper
            position[:, 3 * leg + 2] = coxa + upper + lower
        parts.append(position)
    position = np.concatenate(parts)
    seen = None
    if points and rig is not None:
        seen = np.stack([camera.project(position) for camera in rig.cameras], axis=1)
    return Poses3D(
        skeleton=SKELETON,
        position_mm=position,
        rig=rig,
        points2d=seen,
        subject=np.repeat([f"animal{number}" for number in range(animals)], n),
        frame=np.tile(np.arange(n), animals),
        rate_hz=100.0,
    )


def bank(window: int = 1, **keys: object) -> Bank:
    """Of `poses`."""
    return Bank(poses(**keys), window, CPU)  # type: ignore[arg-type]


def generator(seed: int = 0) -> torch.Generator:
    """On the CPU."""
    return torch.Generator().manual_seed(seed)


def config(kind: str = "masked", **changes: object) -> LiftConfig:
    """Of a tiny run; ``network__width=8`` changes keys of a section."""
    document: dict[str, object] = {
        "version": 1,
        "network": {
            "name": "tiny",
            "kind": kind,
            "width": 32,
            "window": 3 if kind == "temporal" else 1,
            "dropout": 0.0,
        },
        "poses": {"kind": "virtual", "scenario": "none.yaml"},
        "learning": {"epochs": 4, "batch_size": 16, "rate": 0.003, "ema": 0.9},
        "noise": {"px": [1.0, 1.0]},
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            document[section] = {**document.get(section, {}), name: value}  # type: ignore[dict-item]
        else:
            document[section] = value
    return validate(document, LiftConfig, "test")
