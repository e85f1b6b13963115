"""What tests of processes share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder for run directories: the paths of sockets must be short."""
    with tempfile.TemporaryDirectory(prefix="rp") as folder:
        yield Path(folder)
