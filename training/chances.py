"""What is random in a step besides its samples: views that are left out, and how the cube of voxels lies.

All of it follows from the run's seed and the step, and is drawn for the whole batch in each process that shares it, so
that runs resume and are shared out exactly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.config import TrainingConfig
from training.processes import ALONE, Group

_STREAM = 1


class Chances(NamedTuple):
    """Of the B samples of a batch.

    Attributes:
        view_weight: (B, V) 0 = the 3D loss does not see that view; ``None`` = it sees all.
        theta: (B,) turn of the cube in radians, and
        off_mm: (B, 3) what is added to its middle; ``None`` where there is no cube.
    """

    view_weight: Tensor | None = None
    theta: Tensor | None = None
    off_mm: Tensor | None = None


def chances(config: TrainingConfig, step: int, shape: tuple[int, int], group: Group = ALONE) -> Chances:
    """The chances of one step.

    Args:
        config: The run's.
        step: Its number.
        shape: Samples of this process, and their views.
        group: Who share the batch.
    """
    rng = np.random.default_rng([config.seed, step, _STREAM])
    batch, views = shape[0] * group.size, shape[1]
    weights = view_weights((batch, views), config.loss.view_dropout, rng, config.loss.least_views)
    drawn = [weights]
    if config.model.volumetric:
        # Where another model calculated it, it has an error of its own.
        off = config.model.off_mm if config.data.true_base else 0.0
        drawn += [rng.uniform(0, 2 * np.pi, batch), rng.uniform(-off, off, (batch, 3))]
    mine = slice(group.rank, None, group.size)
    return Chances(*(None if all_ is None else torch.from_numpy(all_[mine].astype(np.float32)) for all_ in drawn))


def view_weights(
    shape: tuple[int, int], share: float, generator: np.random.Generator, least: int = 2
) -> np.ndarray | None:
    """(B, V) of zeros and ones: in a share of the samples only some views, so many at least, are left.

    Returns:
        ``None`` where there is nothing to leave out.
    """
    batch, views = shape
    if share == 0 or views <= least:
        return None
    weights = np.ones(shape, dtype=np.float32)
    for row in np.flatnonzero(generator.random(batch) < share):
        gone = generator.choice(views, generator.integers(1, views - least + 1), replace=False)
        weights[row, gone] = 0
    return weights
