"""Whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rigpose.files import write_json


def test_a_document_is_written_and_replaced(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"a": 1})
    write_json(file, {"a": Path("ü")}, default=str, durable=True)
    assert json.loads(file.read_text(encoding="utf-8")) == {"a": "ü"}
    assert list(tmp_path.iterdir()) == [file], "nothing else stays"


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"a": 1})
    with pytest.raises(TypeError):
        write_json(file, {"a": object()})
    assert json.loads(file.read_text()) == {"a": 1} and list(tmp_path.iterdir()) == [file]
