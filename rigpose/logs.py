"""Logs: readable on the screen, JSON lines per node in the run directory, bounded however long a rig runs."""

from __future__ import annotations

import json
import logging
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path

MOST_BYTES = 10_000_000
"""Of a log file; one older file is kept beside it."""


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(record.created)) + f".{record.msecs:03.0f}",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def log_to(folder: Path | None, node: str, *, console: bool = True, level: int = logging.INFO) -> None:
    """Send this process's log to a file of the run directory, and to the screen where nobody else shows it."""
    root = logging.getLogger()
    root.setLevel(level)
    if folder is not None:
        file = folder / f"{node}.jsonl"
        handler = RotatingFileHandler(file, maxBytes=MOST_BYTES, backupCount=1, encoding="utf-8")
        handler.setFormatter(JsonLines())
        root.addHandler(handler)
    if console:
        screen = logging.StreamHandler()
        screen.setFormatter(logging.Formatter(f"%(asctime)s {node}: %(levelname)s %(message)s", "%H:%M:%S"))
        root.addHandler(screen)
