"""What the ``prepare`` commands share: a folder that remembers what it is for, and lines that say how far it is."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rigpose.errors import ConfigError
from rigpose.files import write_json

log = logging.getLogger(__name__)

MARK = "preparing.json"
_EVERY_S = 10.0


def begin(dest: Path, options: Mapping[str, Any]) -> None:
    """Make the folder, or see that what was begun in it is the same.

    Args:
        dest: Where a data set is prepared.
        options: Plain values that decide what comes out.

    Raises:
        ConfigError: Something else was begun there, or the folder cannot be made.
    """
    mark = dest / MARK
    try:
        dest.mkdir(parents=True, exist_ok=True)
        if not mark.is_file():
            write_json(mark, dict(options))
            return
        before = json.loads(mark.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(dest, f"cannot be written: {error.strerror}", "give another folder") from None
    except ValueError:
        raise ConfigError(mark, "is damaged", "delete it, or give another folder") from None
    now = json.loads(json.dumps(dict(options)))
    for key in now:
        if before.get(key) != now[key]:
            what = f"was begun with {key} {before.get(key)}, this is {now[key]}"
            raise ConfigError(dest, what, "give the same options, or another folder")


class Progress:
    """Lines that say how far a long work is, not more often than every ten seconds.

    Args:
        total: Pieces of work.
        what: What a piece is, in the plural.
    """

    def __init__(self, total: int, what: str) -> None:
        self._total, self._what = total, what
        self._done = self._skipped = 0
        self._begun = self._said = time.monotonic()

    def skipped(self, count: int = 1) -> None:
        """Pieces that were there already."""
        self._skipped += count

    def did(self, where: object, count: int = 1) -> None:
        """Pieces that are done now."""
        self._done += count
        now = time.monotonic()
        finished = self._done + self._skipped
        if now - self._said < _EVERY_S and finished < self._total:
            return
        self._said = now
        left = (now - self._begun) / max(1, self._done) * (self._total - finished)
        rest = f", about {_duration(left)} left" if finished < self._total else ""
        log.info("%s: %d of %d %s%s", where, finished, self._total, self._what, rest)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(1, minutes)} min"
