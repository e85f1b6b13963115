"""Freed memory stays with the process where glibc can be asked for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import resource, sys
import numpy as np
from training.memory import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else False
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(24 << 20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
np.ones(24 << 20, np.uint8)
print(kept, faults())
"""


def answer(word: str) -> tuple[str, int]:
    done = subprocess.run([sys.executable, "-c", CODE, word], capture_output=True, text=True, check=True, timeout=60)
    kept, faults = done.stdout.split()
    return kept, int(faults)


@pytest.mark.process
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_blocks_that_are_freed_and_taken_again_are_not_faulted_in_again() -> None:
    kept, few = answer("keep")
    if kept == "False":
        pytest.skip("this system's C library has no mallopt")
    assert few < 0.2 * max(answer("leave")[1], 5000)
