"""Recordings that can be played without a camera: the real one where it is at hand, one that is drawn anywhere."""

from __future__ import annotations

import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

import rigpose
from rigpose.resources import launch_file

log = logging.getLogger(__name__)

REAL_RATE = 15.0
DRAWN_FRAMES = 150
_RECORDING = "human4-balance"
_MODEL = "movenet_lightning_coco17.onnx"


@dataclass(frozen=True, slots=True)
class Play:
    """A recording and how to play it."""

    config: Path
    data: Path
    model: str | None
    rate: float | None


def real_recording() -> Play | None:
    """The real recording and its network, where this machine has them."""
    data, models = os.environ.get("RIGPOSE_DATA"), os.environ.get("RIGPOSE_MODELS")
    if not data or not models:
        return None
    folder, model = Path(data) / _RECORDING, Path(models) / _MODEL
    config = Path(rigpose.__file__).resolve().parent.parent / "examples" / "human4.yaml"
    if folder.is_dir() and model.is_file() and config.is_file():
        return Play(config, folder, str(model), REAL_RATE)
    return None


def drawn_recording() -> Play:
    """A recording that is drawn once and kept in the user's cache."""
    from capture.drawn import draw_recording

    folder = Path(platformdirs.user_cache_dir("rigpose")) / f"drawn-{rigpose.__version__}-{DRAWN_FRAMES}"
    if not folder.is_dir():
        print("rigpose: drawing a recording of four cameras ...", flush=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            draw_recording(Path(temporary) / "drawn", frames=DRAWN_FRAMES)
            try:
                (Path(temporary) / "drawn").rename(folder)
            except OSError:
                log.info("%s was drawn by another process", folder)
    return Play(launch_file(), folder, None, None)
