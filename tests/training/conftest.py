"""One thread: tests are small, and threads that wait for each other are slow where others work too."""

from __future__ import annotations

import cv2
import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
