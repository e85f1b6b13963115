"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from typing import Any


def until(ready: Any, seconds: float = 5.0) -> bool:
    """Whether something became true in time."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True
