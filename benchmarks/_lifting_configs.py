"""The lifters that the benchmark trains, settled on the validation parts of the exams, never on what judges."""

from __future__ import annotations

from typing import Any

from benchmarks._lifting_exams import FLY_NOISE_PX, MOUSE_NOISE_PX
from benchmarks._report import ROOT
from rigpose.config import load, validate
from training.lifting.config import LiftConfig

_NO_FILES = {"kind": "files", "files": ["given"]}
FLY_MEMBERS = 1
"""Lifters of the fly whose mean is judged."""
MANNEQUIN = ROOT / "training" / "configs" / "lift_mannequin.yaml"


def _config(name: str, document: dict[str, Any]) -> LiftConfig:
    return validate({"version": 1, "poses": _NO_FILES, **document}, LiftConfig, f"benchmarks.lifting, {name}")


FLY = _config(
    "fly",
    {
        "network": {
            **{"name": "fly", "kind": "masked", "width": 512, "stages": 2, "dropout": 0.2},
            **{"by_spread": False, "roots": "legs"},
        },
        "noise": {"px": [FLY_NOISE_PX, FLY_NOISE_PX]},
        "learning": {"epochs": 30, "batch_size": 128, "rate": 0.001, "weight_decay": 0.05, "ema": 0.99},
    },
)

MOUSE = _config(
    "mouse",
    {
        "network": {"name": "mouse", "kind": "masked", "width": 256, "stages": 1, "dropout": 0.2},
        "noise": {"px": [MOUSE_NOISE_PX, MOUSE_NOISE_PX]},
        "view": {"kind": "narrow", "turn_deg": [180, 8, 8]},
        "body": {"mirror": 0.5, "bones": 0.03, "bend_deg": 10, "scale": [0.95, 1.05]},
        "learning": {
            "epochs": 400,
            "batch_size": 128,
            "rate": 0.001,
            "weight_decay": 0.02,
            "ema": 0.99,
            "validate_every": 20,
        },
    },
)


def mannequin(**network: Any) -> LiftConfig:
    """The shipped mannequin's lifter; keys change its network."""
    config = load(MANNEQUIN, LiftConfig)
    return config.model_copy(update={"network": config.network.model_copy(update=network)})
