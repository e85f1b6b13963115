"""Files that are whole or not there at all, whatever happens while they are written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def write_json(
    path: Path, document: Mapping[str, Any], *, default: Callable[[object], object] | None = None, durable: bool = False
) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of it.

    Args:
        path: The file; its folder must exist.
        document: What it holds.
        default: Makes plain values of others.
        durable: Return only when the disk has it.

    Raises:
        OSError: The disk refuses it; the old file stands.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False, default=default) + "\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
