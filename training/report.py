"""What a run says about itself while it goes: on the screen, as JSON lines and pictures, in TensorBoard where it is."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

log = logging.getLogger(__name__)


class Report:
    """Scalars and pictures of a run.

    Args:
        folder: The run's; ``scalars.jsonl`` and ``pictures`` grow in it, and TensorBoard's files where that is
            installed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = (folder / "scalars.jsonl").open("a", encoding="utf-8")
        self._board = _board(folder)

    def add(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Scalars of one step."""
        # JSON has no NaN.
        line = {key: value if math.isfinite(value) else None for key, value in values.items()}
        self._file.write(json.dumps({"kind": kind, "step": step, **line}) + "\n")
        self._file.flush()
        log.info("%s %6d  %s", kind, step, "  ".join(f"{key} {_short(value)}" for key, value in values.items()))
        if self._board is not None:
            for key, value in values.items():
                self._board.add_scalar(f"{kind}/{key}", value, step)

    def picture(self, kind: str, step: int, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        """A picture of one step, BGR."""
        file = self._folder / "pictures" / f"{kind}_{step:07d}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        if self._board is not None:
            self._board.add_image(f"{kind}/joints", picture[..., ::-1].copy(), step, dataformats="HWC")

    def close(self) -> None:
        """Write out what is held."""
        self._file.close()
        if self._board is not None:
            self._board.close()


class Silence:
    """The report of a process that is not the main one: nothing."""

    def add(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Nothing."""

    def picture(self, kind: str, step: int, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def _short(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("TensorBoard is not installed: scalars stand in %s only", folder / "scalars.jsonl")
        return None
    return SummaryWriter(str(folder))
