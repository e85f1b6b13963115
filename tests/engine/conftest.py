"""What tests of GPUs share."""

from __future__ import annotations

import pytest

from engine.gpu.driver import Gpu, driver


@pytest.fixture
def gpu() -> Gpu:
    """The first GPU, or a skip that says why there is none."""
    if not driver().gpus:
        pytest.skip(driver().problem)
    return driver().gpus[0]
