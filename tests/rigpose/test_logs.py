"""Logs are JSON lines in the run directory, and never fill a disk."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigpose import logs


@pytest.fixture(autouse=True)
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    yield logger
    for handler in set(logger.handlers) - set(handlers):
        handler.close()
    logger.handlers[:], logger.level = handlers, level


def test_each_record_is_one_json_object_with_its_traceback(tmp_path: Path) -> None:
    logs.log_to(tmp_path, "engine", console=False)
    logging.getLogger("engine.serve").info("two\nlines")
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("engine.serve").exception("failed")
    first, second = [json.loads(line) for line in (tmp_path / "engine.jsonl").read_text().splitlines()]
    assert (first["level"], first["logger"], first["message"]) == ("info", "engine.serve", "two\nlines")
    assert "ValueError: broken" in second["traceback"]


def test_a_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST_BYTES", 2000)
    logs.log_to(tmp_path, "engine", console=False)
    for index in range(200):
        logging.getLogger("engine").warning("message %d", index)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 5000
    assert "message 199" in (tmp_path / "engine.jsonl").read_text()
