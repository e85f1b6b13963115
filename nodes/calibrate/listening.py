"""What was gathered so far of a running rig, while it is listened to: a bar, or a line now and then."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from rigpose.pose import PoseSet

EVERY_S = 5.0
"""Between two lines where there is no terminal."""


class Listening:
    """Counts frame sets and joints; a context manager that shows them on stderr.

    Args:
        seconds: How long is listened, from the first pose on.
        wanted: Joints that two cameras or more must have seen.
        quiet: Show nothing.
        console: Where; default: stderr.

    Attributes:
        sets: Frame sets that came.
        joints: Joints in them that two cameras or more saw.
    """

    def __init__(self, seconds: float, wanted: int, *, quiet: bool = False, console: Console | None = None) -> None:
        self.sets = self.joints = 0
        self._seconds, self._wanted, self._quiet = seconds, wanted, quiet
        self._console = console or Console(stderr=True)
        self._first: float | None = None
        self._said = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[words]}"),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )
        self._row = self._bar.add_task("listening", total=seconds, words=self.words)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._bar.stop()
        if kind is None:
            self._say()

    @property
    def words(self) -> str:
        """What was gathered and what is wanted."""
        if self._first is None:
            return "waiting for the first pose"
        heard = min(time.monotonic() - self._first, self._seconds)
        return (
            f"{self.sets} frame sets, {self.joints} joints that two cameras saw (at least {self._wanted} are needed), "
            f"{heard:.0f} of {self._seconds:.0f} s"
        )

    def add(self, pose: PoseSet | None) -> None:
        """Count a pose set; ``None`` = nothing came for a while."""
        if pose is not None:
            self._first = self._first or time.monotonic()
            self.sets += 1
            for subject in pose.subjects:
                if subject.points2d is not None:
                    seen = np.isfinite(np.asarray(subject.points2d)).all(axis=-1)
                    if subject.confidence2d is not None:
                        seen = seen & (np.asarray(subject.confidence2d) > 0)
                    self.joints += int((seen.sum(axis=0) >= 2).sum())
        done = 0.0 if self._first is None else time.monotonic() - self._first
        self._bar.update(self._row, completed=min(done, self._seconds), words=self.words)
        if time.monotonic() - self._said >= EVERY_S:
            self._say()

    def _say(self) -> None:
        self._said = time.monotonic()
        if not self._quiet and not self._console.is_terminal:
            self._console.print(f"listening: {self.words}", soft_wrap=True, highlight=False)
