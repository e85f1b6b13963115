"""Losses: what they reward, and that they are learned from through the triangulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from calib.rig import RigArrays
from calib.triangulate import triangulate
from capture.virtual.skeletons import HUMAN36M17
from engine.models.algebraic import Algebraic, to_image, triangulate_each
from tests.training import tiny
from training.chances import Chances
from training.config import LossSection
from training.losses import _volume_loss, alone, heatmap_loss, losses, position_weight
from training.networks import build


def model(**changes: object) -> Algebraic:
    torch.manual_seed(0)
    return Algebraic(17, **(tiny.config().model.arguments() | changes))  # type: ignore[arg-type]


def test_samples_with_rigs_of_their_own_are_triangulated_as_one_by_one() -> None:
    batch = tiny.batch(3)
    image = to_image(torch.nan_to_num(batch.points), batch.crop_to_image) + torch.randn(3, 3, 17, 2)
    weight = torch.rand(3, 3, 17) + 0.1
    together = triangulate_each(image, weight, batch.rigs)
    for number in range(3):
        rig = RigArrays(*(np.asarray(array[number], dtype=np.float64) for array in batch.rigs))
        alone = triangulate(image[number].double().numpy(), weight[number].double().numpy(), rig)
        assert np.nanmax(np.abs(alone - together[number].numpy())) < 1.0  # float32 against float64, wild rays


def test_the_truth_is_found_again_from_its_points() -> None:
    batch = tiny.batch(3)
    image = to_image(batch.points, batch.crop_to_image)
    found = triangulate_each(image, torch.ones(3, 3, 17), batch.rigs)
    assert torch.linalg.vector_norm(found - batch.position_mm, dim=-1).nanquantile(0.95) < 2.0


def test_the_3d_error_teaches_the_confidences() -> None:
    """A view that lies is trusted less after a step along the gradient, the others more."""
    batch = tiny.batch(1)
    image = to_image(torch.nan_to_num(batch.points), batch.crop_to_image)
    image[:, 0] += 15
    confidence = torch.full((1, 3, 17), 0.5, requires_grad=True)
    found = triangulate_each(image, confidence, batch.rigs)
    error = torch.linalg.vector_norm(found - batch.position_mm, dim=-1).nanmedian()
    error.backward()  # type: ignore[no-untyped-call]
    assert confidence.grad is not None and torch.isfinite(confidence.grad).all()
    assert confidence.grad[0, 0].sum() > 0 > confidence.grad[0, 1:].sum()


def test_every_weight_gets_a_finite_gradient() -> None:
    network = model().train()
    losses(network, tiny.batch(), LossSection()).total.backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    assert network.head.judge.weight.grad.abs().max() > 0


def test_without_confidences_the_3d_error_reaches_the_points_alone() -> None:
    network = model(confidences=False).train()
    only_3d = LossSection(heatmap=0, point=0, confidence=0, position=1)
    losses(network, tiny.batch(), only_3d).total.backward()  # type: ignore[no-untyped-call]
    assert network.head.judge.weight.grad.abs().max() == 0
    assert network.network.answer.weight.grad.abs().max() > 0


@pytest.mark.parametrize("case", ["nothing in the crop", "everything hidden", "one view", "points at infinity"])
def test_hard_samples_give_finite_losses_and_gradients(case: str) -> None:
    batch, view_weight = tiny.batch(), None
    if case == "nothing in the crop":
        batch = batch._replace(points=torch.full_like(batch.points, torch.nan))
    elif case == "everything hidden":
        batch = batch._replace(hidden=torch.ones_like(batch.hidden))
    elif case == "one view":
        view_weight = torch.tensor([[1.0, 0, 0], [0, 0, 0]])
    else:
        # Parallel rays: the same camera three times.
        rigs = RigArrays(*(a[:, :1].expand_as(a).clone() if a.ndim > 2 else a for a in batch.rigs))
        batch = batch._replace(rigs=rigs)
    network = model().train()
    answer = losses(network, batch, LossSection(), chances=Chances(view_weight))
    answer.total.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(answer.total)
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


class TestVolumetric:
    """The same losses, with the 3D points from a cube of voxels."""

    VOLUME = {"size": 8, "channels": 4, "v2v": {"widths": (4, 8), "squeeze": 0, "first": 4}}

    def model(self, **changes: object) -> Algebraic:
        torch.manual_seed(0)
        config = tiny.config(model={**tiny.config().model.model_dump(), "volume": {**self.VOLUME, **changes}})
        return build(config.model, HUMAN36M17)

    def test_every_weight_gets_a_finite_gradient(self) -> None:
        network = self.model().train()
        losses(network, tiny.batch(), LossSection()).total.backward()  # type: ignore[no-untyped-call]
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert network.volume.output_layer.weight.grad.abs().max() > 0  # type: ignore[union-attr]

    def test_the_volume_loss_is_least_for_the_right_voxel_however_the_cube_is_turned(self) -> None:
        batch, network = tiny.batch(), self.model(size=16).eval()
        chances = Chances(theta=torch.tensor([0.4, 2.5]), off_mm=torch.tensor([[90.0, -40, 30]] * 2))
        seen = network.see(batch.crops.flatten(0, 1))
        base = batch.position_mm[:, list(HUMAN36M17.root)].mean(dim=1) + chances.off_mm
        ones = torch.ones(batch.points.shape[:2])
        cube = network.locate(seen, batch.crop_to_image, ones, batch.rigs, base, chances.theta)  # type: ignore[operator]
        # As close to a joint as a voxel can be, by looking at all of them.
        apart = torch.cdist(batch.position_mm, cube.grid_mm.flatten(1, 3))
        peaked = torch.zeros_like(cube.logits).flatten(2).scatter(2, apart.argmin(dim=-1, keepdim=True), 50.0)
        right = cube._replace(logits=peaked.unflatten(2, cube.logits.shape[2:]))
        assert apart.amin(dim=-1).max() < 2500 / 15
        assert _volume_loss(right, batch, alone) < 1e-3
        for axis in (2, 3, 4):
            assert _volume_loss(right._replace(logits=right.logits.roll(1, dims=axis)), batch, alone) > 10

    @pytest.mark.parametrize("case", ["no truth", "one view", "no view", "outside of the cube"])
    def test_hard_samples_give_finite_losses_and_gradients(self, case: str) -> None:
        batch, chances = tiny.batch(), Chances()
        if case == "no truth":
            batch = batch._replace(position_mm=torch.full_like(batch.position_mm, torch.nan))
        elif case == "one view":
            chances = Chances(torch.tensor([[1.0, 0, 0], [0, 0, 1]]))
        elif case == "no view":
            chances = Chances(torch.zeros(2, 3))
        else:
            chances = Chances(off_mm=torch.full((2, 3), 1e5))
        network = self.model().train()
        answer = losses(network, batch, LossSection(), chances=chances)
        answer.total.backward()  # type: ignore[no-untyped-call]
        assert torch.isfinite(answer.total)
        assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_the_heatmap_loss_is_least_for_the_gaussian_itself() -> None:
    points = torch.tensor([[[21.5, 33.5]]])  # the centre of cell (5, 8)
    x, y = torch.arange(16.0), torch.arange(16.0)
    right = -0.5 * ((x[None] - 5) ** 2 + (y[:, None] - 8) ** 2)
    one = torch.ones(1, 1)
    best = heatmap_loss(right[None, None], one, points)
    assert abs(best.item()) < 1e-5
    assert heatmap_loss(right.roll(1, dims=1)[None, None], one, points) > 0.3
    assert heatmap_loss(torch.zeros(1, 1, 16, 16), one, points) > 2


def test_the_3d_loss_comes_in_gradually() -> None:
    config = LossSection(position_from=0.2, position_full=0.4)
    assert [round(position_weight(config, p), 3) for p in (0, 0.2, 0.3, 0.4, 1)] == [0, 0, 0.5, 1, 1]


@pytest.mark.slow
def test_one_batch_can_be_learned() -> None:
    """The whole chain learns: in seventy steps the 3D error of one batch falls to a third."""
    torch.manual_seed(0)
    sizes = {"channels": (8, 12, 16, 24, 32), "blocks": (1, 1, 1, 1), "neck": 24, "features": 24}
    batch, network = tiny.batch(2), Algebraic(17, context=8, backbone=sizes)
    optimiser = torch.optim.AdamW(network.parameters(), lr=4e-3)
    errors = []
    for _ in range(70):
        answer = losses(network.train(), batch, LossSection())
        optimiser.zero_grad()
        answer.total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        errors.append(answer.error_mm.item())
    assert np.mean(errors[-5:]) < errors[0] / 3
