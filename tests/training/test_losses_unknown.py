"""What nobody labelled and what is not known in 3D has no part in any loss, and leaves every gradient finite."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from capture.virtual.skeletons import HUMAN36M17
from engine.models.algebraic import Algebraic, Seen
from tests.training import sets, tiny
from training import networks
from training.config import LossSection
from training.losses import Batch, Losses, extent_mm, losses

JOINTS = len(HUMAN36M17.joints)
SIZE = 32
CASES = settings(max_examples=12, deadline=None, derandomize=True)


@cache
def whole() -> Batch:
    return tiny.batch(2, SIZE)


def model(volumetric: bool = False) -> Algebraic:
    torch.manual_seed(0)
    changes = {"volume": sets.VOLUME} if volumetric else {}
    built = networks.build(tiny.config(model=tiny.config().model.model_dump() | changes).model, HUMAN36M17)
    assert isinstance(built, Algebraic)
    return built.train()


def without(batch: Batch, points: torch.Tensor, position: torch.Tensor) -> Batch:
    """A batch whose points (B, V, J) and positions (B, J) are not known where these are true."""
    place = torch.where(position[..., None], torch.nan, batch.position_mm)
    root = place[:, list(HUMAN36M17.root)].mean(dim=1)
    return batch._replace(
        points=torch.where(points[..., None], torch.nan, batch.points), position_mm=place, base_mm=root
    )


def unknown(shape: tuple[int, ...], share: float, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape) < share)


def taught(network: Algebraic, batch: Batch) -> Losses:
    answer = losses(network, batch, LossSection())
    answer.total.backward()  # type: ignore[no-untyped-call]
    return answer


def check_finite(network: Algebraic, answer: Losses) -> None:
    assert all(torch.isfinite(value) for value in answer[:-2])
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


shares = st.sampled_from([0.0, 0.3, 0.9, 1.0])


@pytest.mark.parametrize("volumetric", [False, True])
@given(in_2d=shares, in_3d=shares, views=st.integers(1, 3), seed=st.integers(0, 2**31))
@CASES
def test_any_gaps_give_finite_losses_and_gradients(
    volumetric: bool, in_2d: float, in_3d: float, views: int, seed: int
) -> None:
    batch = whole()
    few = {name: getattr(batch, name)[:, :views] for name in ("crops", "crop_to_image", "points", "hidden")}
    rigs = batch.rigs._replace(
        **{name: getattr(batch.rigs, name)[:, :views] for name in ("K", "dist", "fisheye", "Rt")}
    )
    batch = batch._replace(**few, rigs=rigs)
    points, position = unknown((2, views, JOINTS), in_2d, seed), unknown((2, JOINTS), in_3d, seed + 1)
    network = model(volumetric)
    answer = taught(network, without(batch, points, position))
    check_finite(network, answer)
    if in_3d == 1 or (views == 1 and not volumetric):
        assert answer.position == 0 == answer.volume
    if in_2d == 1:
        assert answer.heatmap == answer.point == answer.confidence == 0
    elif in_2d == 0:
        assert answer.heatmap > 0 and answer.point > 0


class Watched(Algebraic):
    """Holds what it saw, to look at its gradients."""

    seen: Seen

    def see(self, pictures: torch.Tensor, autocast: torch.dtype | None = None) -> Seen:
        self.seen = super().see(pictures, autocast)
        for part in (self.seen.logits, self.seen.points, self.seen.confidence):
            part.retain_grad()
        return self.seen


@given(seed=st.integers(0, 2**31))
@CASES
def test_a_joint_that_is_not_known_teaches_nothing(seed: int) -> None:
    torch.manual_seed(0)
    network = Watched(JOINTS, **tiny.config().model.arguments()).train()
    position = unknown((2, JOINTS), 0.4, seed)
    points = unknown((2, 3, JOINTS), 0.4, seed + 1) | position[:, None]
    taught(network, without(whole(), points, position))
    nowhere = (points & position[:, None]).flatten(0, 1)
    for part in (network.seen.logits, network.seen.points, network.seen.confidence):
        assert part.grad is not None
        slope = part.grad.flatten(2).abs().sum(dim=-1) if part.ndim > 2 else part.grad.abs()
        assert (slope[nowhere] == 0).all()
        assert (slope[~points.flatten(0, 1)] > 0).any()


def test_a_joint_that_is_labelled_in_no_picture_is_still_learned_in_3d() -> None:
    torch.manual_seed(0)
    network = Watched(JOINTS, **tiny.config().model.arguments()).train()
    points = torch.zeros(2, 3, JOINTS, dtype=torch.bool)
    points[:, :, 4] = True
    taught(network, without(whole(), points, torch.zeros(2, JOINTS, dtype=torch.bool)))
    assert network.seen.points.grad is not None
    assert network.seen.points.grad[:, 4].abs().sum() > 0


@given(share=st.floats(0, 1), seed=st.integers(0, 2**31))
@CASES
def test_extents_are_those_of_what_is_known(share: float, seed: int) -> None:
    position = whole().position_mm
    gone = unknown((2, JOINTS), share, seed)
    found = extent_mm(torch.where(gone[..., None], torch.nan, position), ~gone)
    for sample, hidden, extent in zip(position.numpy(), gone.numpy(), found.tolist(), strict=True):
        known = sample[~hidden]
        assert extent == pytest.approx(float(np.ptp(known, axis=0).max()) if len(known) else 0.0)
