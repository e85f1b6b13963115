"""What is random in a step follows from the seed and the step, whoever draws it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rigpose.errors import ConfigError
from tests.training import tiny
from training.chances import chances, view_weights
from training.config import TrainingConfig
from training.processes import Group

VOLUME = {"size": 8, "channels": 4}


def config(volumetric: bool = True, **loss: object) -> TrainingConfig:
    model = tiny.config().model.model_dump() | {"volume": VOLUME if volumetric else None}
    return tiny.config(model=model, loss=loss)


def test_left_out_views_leave_two_at_least() -> None:
    weights = view_weights((200, 4), 0.5, np.random.default_rng(0))
    assert weights is not None
    left = weights.sum(axis=1)
    assert left.min() == 2 and 60 < (left < 4).sum() < 140
    assert view_weights((5, 2), 0.5, np.random.default_rng(0)) is None


def test_a_volumetric_network_may_be_left_with_one() -> None:
    drawn = chances(config(view_dropout=1.0, least_views=1), 3, (300, 4))
    assert drawn.view_weight is not None
    assert set(drawn.view_weight.sum(dim=1).tolist()) == {1.0, 2.0, 3.0}
    with pytest.raises(ConfigError, match="least_views"):
        config(volumetric=False, least_views=1)


def test_the_cube_is_turned_and_moved_only_where_there_is_one() -> None:
    drawn = chances(config(), 3, (100, 4))
    assert drawn.theta is not None and drawn.off_mm is not None
    assert 0 <= drawn.theta.min() < 1 and 5 < drawn.theta.max() < 2 * np.pi
    assert drawn.off_mm.shape == (100, 3) and 100 < drawn.off_mm.abs().max() <= 150
    assert chances(config(volumetric=False), 3, (100, 4))[1:] == (None, None)


def test_a_cube_that_its_network_cannot_halve_is_refused_with_the_config() -> None:
    model = tiny.config().model.model_dump() | {"volume": {"size": 36}}
    with pytest.raises(ConfigError, match="multiple of 8"):
        tiny.config(model=model)
    shallow = {"size": 36, "v2v": {"widths": (8, 16, 16)}}
    assert tiny.config(model=model | {"volume": shallow}).model.volumetric


def test_processes_draw_their_parts_of_one_batch() -> None:
    whole = chances(config(view_dropout=0.7), 9, (6, 4))
    parts = [chances(config(view_dropout=0.7), 9, (2, 4), Group(rank, 3)) for rank in range(3)]
    for name in whole._fields:
        for rank, part in enumerate(parts):
            assert torch.equal(getattr(part, name), getattr(whole, name)[rank::3])
    assert not torch.equal(whole.theta, chances(config(view_dropout=0.7), 10, (6, 4)).theta)  # type: ignore[arg-type]
