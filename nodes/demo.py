"""`rigpose demo`: a whole rig for some seconds, with nothing but this package.

It plays the real recording where ``RIGPOSE_DATA`` and ``RIGPOSE_MODELS`` have it, else one that it draws.
"""

from __future__ import annotations

import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

import rigpose
from nodes.launch import launch
from rigpose.resources import launch_file

log = logging.getLogger(__name__)

OUT = Path("runs") / "demo"
REAL_RATE = 15.0
DRAWN_FRAMES = 150
_RECORDING = "human4-balance"
_MODEL = "movenet_lightning_coco17.onnx"


@dataclass(frozen=True, slots=True)
class Play:
    """What the demo plays."""

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
    from capture.drawn import draw

    folder = Path(platformdirs.user_cache_dir("rigpose")) / f"drawn-{rigpose.__version__}-{DRAWN_FRAMES}"
    if not folder.is_dir():
        print("rigpose: drawing a recording of four cameras ...", flush=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            draw(Path(temporary) / "drawn", frames=DRAWN_FRAMES)
            try:
                (Path(temporary) / "drawn").rename(folder)
            except OSError:
                log.info("%s was drawn by another process", folder)
    return Play(launch_file(), folder, None, None)


def demo(seconds: float, out: Path = OUT) -> int:
    """Run the rig, keep its recording, summary and a picture of its last pose in ``out``."""
    play = real_recording() or drawn_recording()
    out.mkdir(parents=True, exist_ok=True)
    code = launch(
        play.config,
        data=play.data,
        model=play.model,
        mode="live",
        rate=play.rate,
        seconds=seconds,
        summary=out / "summary.json",
        record=True,
        record_to=out / "recordings",
    )
    print(f"summary: {out / 'summary.json'}")
    return code
