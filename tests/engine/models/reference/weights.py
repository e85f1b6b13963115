"""Weights that are the same on every machine, for networks of any make that share their keys."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import cache

import numpy as np

# Of what the heatmaps and the volumes come from, so that their softmax is neither flat nor a single cell.
LOUDNESS = {"final_layer.weight": 0.04, "final_layer.bias": 0.02, "output_layer.weight": 3.0}


def seeded(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Float32 weights that keep a deep network's numbers near one; each follows from its key alone.

    `numpy.random.RandomState` is frozen: its numbers never change.
    """
    return {key: _weight(key, tuple(shape), seed) for key, shape in shapes.items()}


@cache
def _weight(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    kind = key.rsplit(".", 1)[-1]
    if kind == "num_batches_tracked":
        return np.array(1000, dtype=np.int64)
    normal = np.random.RandomState((zlib.crc32(key.encode()) + seed) % 2**32).standard_normal(shape)
    if kind == "running_var":
        value = np.exp(0.2 * normal)
    elif kind == "weight" and len(shape) > 1:
        is_transposed = "deconv_layers" in key or "decoder_upsample" in key
        # A cell of a transposed convolution is reached by 4 of 16 weights (2D, kernel 4), by 1 of 8 (3D, kernel 2).
        inputs = shape[0] * (4 if len(shape) == 4 else 1) if is_transposed else np.prod(shape[1:])
        value = normal * np.sqrt(2 / inputs)
    elif kind == "weight":
        value = 0.7 + 0.1 * normal
    else:
        value = 0.1 * normal
    loudness = next((factor for end, factor in LOUDNESS.items() if key.endswith(end)), 1.0)
    return (value * loudness).astype(np.float32)
