"""What tests of the way of a frame on a GPU share."""

from __future__ import annotations

import pytest

from tests.engine.gpu.host_kernel import HostKernel


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> HostKernel:
    """The preprocessing kernel, compiled for this machine's processor."""
    return HostKernel(tmp_path_factory.mktemp("kernel"))
