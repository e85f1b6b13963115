"""Kinds of networks: each is built, learns and answers through the same three functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from capture.virtual.skeletons import HUMAN36M17
from engine.models.algebraic import Algebraic
from engine.models.volumetric import Volumetric
from tests.training import tiny
from training import networks
from training.losses import NO_CHANCES

VOLUME = {"size": 8, "channels": 4, "v2v": {"widths": [4, 8], "squeeze": 0, "first": 4}}
KINDS: dict[str, tuple[type[torch.nn.Module], dict[str, object]]] = {
    "algebraic": (Algebraic, {}),
    "volumetric": (Volumetric, {"volume": VOLUME}),
}


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_is_built_learns_and_answers(name: str) -> None:
    kind, changes = KINDS[name]
    config = tiny.config(model=tiny.config().model.model_dump() | changes)
    model, batch = networks.build(config.model, HUMAN36M17), tiny.batch()
    assert type(model) is kind
    answer = networks.objective(model, config)(batch, 1.0, NO_CHANCES, None)
    answer.total.backward()
    assert answer._fields[0] == "total" and all(value.ndim == 0 for value in answer)
    assert sum(float(p.grad.abs().sum()) for p in model.parameters() if p.grad is not None) > 0
    predicted = networks.predict(model, batch)
    assert predicted.position_mm.shape == (2, 17, 3)
    assert np.array_equal(predicted.truth_mm, batch.position_mm.numpy())
    assert model.training


def test_sections_say_what_the_loop_must_know() -> None:
    plain = tiny.config().model
    cube = tiny.config(model=plain.model_dump() | {"volume": VOLUME | {"off_mm": 40}}).model
    assert (plain.volumetric, plain.off_mm) == (False, 0)
    assert (cube.volumetric, cube.off_mm) == (True, 40)


@pytest.mark.parametrize("name", KINDS)
def test_weights_for_pictures_are_laid_out_for_them_and_nothing_else_changes(name: str) -> None:
    config = tiny.config(model=tiny.config().model.model_dump() | KINDS[name][1])
    model, batch = networks.build(config.model, HUMAN36M17), tiny.batch()
    before = networks.predict(model, batch).position_mm
    placed = networks.placed(model, tiny.CPU)
    assert placed is model
    for weight in model.parameters():
        kept = torch.channels_last if weight.ndim == 4 and weight.shape[2:] != (1, 1) else torch.contiguous_format
        assert weight.is_contiguous(memory_format=kept)
    assert np.allclose(networks.predict(model, batch).position_mm, before, atol=1e-1)
