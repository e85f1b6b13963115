"""Published networks learn by their own criteria alone and answer as their graphs do."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from calib.rig import RigArrays
from capture.virtual.skeletons import HUMAN36M17
from rigpose.errors import ConfigError
from tests.training import tiny
from tests.training.papers import ALGEBRAIC, MAE, PLAIN, RANSAC, SMOOTH, VOLUMETRIC, config
from training import networks
from training.chances import Chances, chances
from training.config import CriterionSection, TrainingConfig
from training.losses import NO_CHANCES, Batch
from training.published import PublishedObjective


@cache
def drawn(size: int) -> Batch:
    return tiny.batch(size=size)


def batch(size: int = 64) -> Batch:
    """Two frame sets of three views, their tensors not shared with other tests."""
    there = drawn(size)
    return there._replace(
        **{key: getattr(there, key).clone() for key in there._fields if key not in ("rigs", "keys")},
        rigs=RigArrays(*(part.clone() for part in there.rigs)),
    )


def network(model: Mapping[str, Any]) -> Any:
    """With weights that make its answers differ from view to view and joint to joint."""
    torch.manual_seed(0)
    built: Any = networks.build(config(model, MAE if model["network"] == "volumetric" else SMOOTH).model, HUMAN36M17)
    with torch.no_grad():
        built.backbone.final_layer.weight.normal_(std=0.02)
    return built


def objective(model: Any, loss: Mapping[str, Any]) -> PublishedObjective:
    return PublishedObjective(model, CriterionSection.model_validate(loss))


@torch.no_grad()
def answer_of(model: Any, there: Batch, **more: Any) -> Any:
    """What the network says to each frame set by itself, through the graph's own door."""
    answers = []
    for b in range(len(there.crops)):
        rig = RigArrays(*(part[b] for part in there.rigs))
        weight = torch.ones(1, there.crops.shape[1])
        own = {key: value[b : b + 1] for key, value in more.items()}
        answers.append(model(there.crops[b : b + 1], there.crop_to_image[b : b + 1], weight, *rig, **own))
    return [torch.cat(parts) for parts in zip(*answers, strict=True)]


def root_of(there: Batch) -> torch.Tensor:
    return there.position_mm[:, 6]


def in_cm(answer: torch.Tensor, truth: torch.Tensor) -> np.ndarray:
    return (answer.detach().double().numpy() - truth.double().numpy()) * 0.1


class TestAlgebraic:
    @pytest.mark.parametrize("criterion", ["MSE", "MSESmooth", "MAE"])
    def test_learns_by_its_criterion_in_centimetres(self, criterion: str) -> None:
        model, there = network(ALGEBRAIC | PLAIN).eval(), batch()
        losses = objective(model, {"kind": "published", "criterion": criterion})(there, 1.0, NO_CHANCES, None)
        error = in_cm(answer_of(model, there)[2], there.position_mm)
        bent = np.where(error**2 > 400, np.abs(error**2) ** 0.1 * 400**0.9, error**2)
        wanted = {"MSE": error**2, "MSESmooth": bent, "MAE": np.abs(error)}[criterion].mean()
        assert losses.total.item() == pytest.approx(wanted, rel=2e-3)
        # A network of random weights is far off, so that the criteria differ.
        assert (error**2 > 400).any()
        assert losses._asdict()["error_mm"].item() > 100

    def test_its_confidences_learn_from_the_3d_error_alone(self) -> None:
        model, there = network(ALGEBRAIC).train(), batch(128)
        objective(model, SMOOTH)(there, 1.0, NO_CHANCES, None).total.backward()
        gradients = {name: p.grad for name, p in model.named_parameters()}
        assert all(g is not None and torch.isfinite(g).all() for g in gradients.values())
        assert gradients["backbone.alg_confidences.head.4.weight"].abs().sum() > 0
        assert gradients["backbone.conv1.weight"].abs().sum() > 0

    @pytest.mark.parametrize("parity", [False, True])
    def test_what_is_not_known_of_the_truth_is_not_learned_from(self, parity: bool) -> None:
        model = network(ALGEBRAIC | PLAIN | {"parity": parity}).eval()
        without, there = batch(), batch()
        there.position_mm[0, 3], there.position_mm[1, 9:] = torch.nan, torch.nan
        losses = objective(model, SMOOTH)(there, 1.0, NO_CHANCES, None)
        losses.total.backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters())
        error = in_cm(answer_of(model, without)[2], without.position_mm)
        known = torch.isfinite(there.position_mm).all(dim=-1).numpy()
        squared = error[known] ** 2
        wanted = np.where(squared > 400, squared**0.1 * 400**0.9, squared).mean()
        assert losses.total.item() == pytest.approx(wanted, rel=2e-3)

    def test_a_view_that_is_left_out_has_no_gradient(self) -> None:
        model, there = network(ALGEBRAIC | PLAIN).eval(), batch()
        left = torch.tensor([[1.0, 0, 1], [1.0, 0, 1]])
        whole = objective(model, SMOOTH)(there, 1.0, Chances(left), None).total
        there.crops[:, 1] = 0
        assert objective(model, SMOOTH)(there, 1.0, Chances(left), None).total.item() == pytest.approx(
            whole.item(), rel=1e-5
        )

    @pytest.mark.parametrize("parity", [False, True])
    def test_answers_as_its_graph_does(self, parity: bool) -> None:
        model, there = network(ALGEBRAIC | {"parity": parity}), batch(128)
        predicted = networks.predict(model, there)
        assert model.training
        points, confidence, position, _ = answer_of(model.eval(), there)
        assert np.allclose(predicted.position_mm, position.numpy(), atol=0.05, equal_nan=True)
        assert np.allclose(predicted.confidence, confidence.numpy(), atol=1e-5)
        assert not np.allclose(predicted.plain_mm, predicted.position_mm, atol=0.05)
        # Raw px over the crop's scale are crop px.
        raw = torch.einsum("bvik,bvjk->bvji", there.crop_to_image[..., :2], there.points)
        raw = raw + there.crop_to_image[:, :, None, :, 2]
        share = torch.linalg.vector_norm(points - raw, dim=-1) / there.crop_to_image[..., :1, 0] / 64 / 2
        inside = np.isfinite(predicted.error_share)
        assert inside.mean() > 0.5 and np.allclose(predicted.error_share[inside], share.numpy()[inside], rtol=1e-3)


class TestRansac:
    @pytest.mark.parametrize("parity", [False, True])
    def test_answers_each_frame_set_with_its_own_rig(self, parity: bool) -> None:
        model, there = network(RANSAC | {"parity": parity}), batch()
        predicted = networks.predict(model, there)
        _, agrees, position, _ = answer_of(model.eval(), there)
        assert np.allclose(predicted.position_mm, position.numpy(), atol=0.05, equal_nan=True)
        assert np.array_equal(predicted.confidence, agrees.numpy())
        assert np.isfinite(predicted.error_share).mean() > 0.5

    def test_has_nothing_to_learn(self) -> None:
        with pytest.raises(ConfigError, match="learns nothing") as caught:
            networks.objective(network(RANSAC), config(RANSAC))
        assert "\n" not in str(caught.value)


class TestVolumetric:
    def heat_at_truth(self, located: Any, truth: torch.Tensor) -> np.ndarray:
        _, heat, grid = located
        found = np.zeros(truth.shape[:2])
        for b, j in np.ndindex(*found.shape):
            voxels = grid[b].reshape(-1, 3).double().numpy()
            nearest = int(np.argmin(np.linalg.norm(voxels - truth[b, j].double().numpy(), axis=-1)))
            found[b, j] = heat[b, j].flatten()[nearest].item()
        return found

    def test_learns_by_its_criterion_and_the_voxel_of_each_joint(self) -> None:
        model, there = network(VOLUMETRIC).eval(), batch()
        theta = torch.tensor([0.4, 2.0])
        losses = objective(model, MAE)(there, 1.0, Chances(None, theta, torch.zeros(2, 3)), None)
        located = answer_of(model, there, base_mm=root_of(there), theta=theta)
        points = np.abs(in_cm(located[0], there.position_mm)).mean()
        volume = -np.log(self.heat_at_truth(located, there.position_mm) + 1e-6).mean()
        assert losses.points.item() == pytest.approx(points, rel=1e-3)
        assert losses.volume.item() == pytest.approx(volume, rel=1e-3)
        assert losses.total.item() == pytest.approx(points + 0.01 * volume, rel=1e-3)
        assert losses.base_mm.item() == 0

    def test_all_but_its_heatmaps_learns_and_what_is_not_known_teaches_nothing(self) -> None:
        model, there = network(VOLUMETRIC | {"aggregation": "conf_norm"}).train(), batch(128)
        there.position_mm[0, :3] = torch.nan
        there.position_mm[1] = torch.nan  # not even where it is
        losses = objective(model, MAE)(there, 1.0, NO_CHANCES, None)
        losses.total.backward()
        assert torch.isfinite(losses.total) and losses.total > 0
        for name, parameter in model.named_parameters():
            if name.startswith("backbone.final_layer"):
                assert not parameter.requires_grad and parameter.grad is None
            else:
                assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert model.process_features[0].weight.grad.abs().sum() > 0
        assert model.backbone.vol_confidences.head[4].weight.grad.abs().sum() > 0

    def test_a_cuboid_that_is_off_is_seen(self) -> None:
        model, there = network(VOLUMETRIC).eval(), batch()
        off = torch.tensor([[30.0, 0, 40], [0, 0, 0]])
        losses = objective(model, MAE)(there, 1.0, Chances(None, torch.zeros(2), off), None)
        assert losses.base_mm.item() == pytest.approx(25)
        located = answer_of(model, there, base_mm=root_of(there) + off)
        assert losses.points.item() == pytest.approx(np.abs(in_cm(located[0], there.position_mm)).mean(), rel=1e-3)

    def test_one_view_is_judged_from_the_root(self) -> None:
        model, there = network(VOLUMETRIC).eval(), batch()
        rigs = RigArrays(*(part[:, :1] if name != "world" else part for name, part in there.rigs._asdict().items()))
        views = {key: getattr(there, key)[:, :1] for key in ("crops", "crop_to_image", "points", "hidden")}
        one = there._replace(**views, rigs=rigs)
        located = answer_of(model, one, base_mm=root_of(one))
        answer, truth = (part.clone() for part in (located[0], one.position_mm))
        for pose in (answer, truth):
            root = pose[:, 6:7].clone()
            pose -= root
            pose[:, 6:7] = root
        losses = objective(model, MAE)(one, 1.0, NO_CHANCES, None)
        assert losses.points.item() == pytest.approx(np.abs(in_cm(answer, truth)).mean(), rel=1e-3)
        # The cuboid stands in the world whatever the criterion looks at.
        volume = -np.log(self.heat_at_truth(located, one.position_mm) + 1e-6).mean()
        assert losses.volume.item() == pytest.approx(volume, rel=1e-3)

    def test_answers_as_its_graph_does_and_says_nothing_of_pictures(self) -> None:
        model, there = network(VOLUMETRIC), batch()
        predicted = networks.predict(model, there)
        assert model.training
        located = answer_of(model.eval(), there, base_mm=root_of(there))
        assert np.allclose(predicted.position_mm, located[0].numpy(), atol=0.05)
        assert np.isnan(predicted.error_share).all() and np.isnan(predicted.plain_mm).all()

    def test_nobody_tells_it_the_truth(self) -> None:
        model, there = network(VOLUMETRIC), batch()
        elsewhere = torch.stack([root_of(there)[0] + 50, torch.full((3,), torch.nan)])
        predicted = networks.predict(model, there._replace(base_mm=elsewhere))
        located = answer_of(model.eval(), there, base_mm=elsewhere)
        assert np.allclose(predicted.position_mm[0], located[0][0].numpy(), atol=0.05)
        assert np.isnan(predicted.position_mm[1]).all() and np.isfinite(predicted.position_mm[0]).all()

    def test_the_cuboid_is_turned_at_random_in_training_and_moved_only_where_that_is_asked_for(self) -> None:
        turned = chances(config(VOLUMETRIC, MAE), 3, (4, 3))
        assert turned.view_weight is None and turned.theta is not None and len(set(turned.theta.tolist())) == 4
        assert turned.off_mm is not None and not turned.off_mm.any()
        moved = chances(config(VOLUMETRIC | {"off_mm": 100}, MAE), 3, (4, 3)).off_mm
        assert moved is not None and 20 < moved.abs().max() <= 100
        assert chances(config(ALGEBRAIC), 3, (4, 3)) == NO_CHANCES


class TestConfigs:
    def test_a_network_and_its_loss_are_of_one_kind(self) -> None:
        with pytest.raises(ConfigError, match="loss.kind must be published"):
            config(ALGEBRAIC, {})
        with pytest.raises(ConfigError, match="loss.kind must be ours"):
            tiny.config(loss=SMOOTH)
        with pytest.raises(ConfigError, match="its kind is none of ours and published"):
            config(ALGEBRAIC, {"kind": "other"})
        assert tiny.config(model=RANSAC).loss.kind == "ours"

    def test_keys_of_another_network_are_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"model.side_mm.*allowed are: backbone_weights, confidences, kind"):
            config(ALGEBRAIC | {"side_mm": 2000})
        with pytest.raises(ConfigError, match="ours, or published with the network algebraic"):
            config(ALGEBRAIC | {"network": "other"})
        with pytest.raises(ConfigError, match="volumetric_ce_weight is for volumetric"):
            config(ALGEBRAIC, MAE)
        with pytest.raises(ConfigError, match="least_views"):
            config(ALGEBRAIC, SMOOTH | {"least_views": 1})

    def test_a_cuboid_that_its_network_cannot_halve_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="multiple of 32"):
            config(VOLUMETRIC | {"v2v": None, "size": 48}, MAE)
        with pytest.raises(ConfigError, match="multiple of 2,"):
            config(VOLUMETRIC | {"size": 9}, MAE)

    def test_a_config_survives_its_checkpoint(self) -> None:
        for model, loss in ((ALGEBRAIC, SMOOTH), (VOLUMETRIC, MAE), (RANSAC, {})):
            whole = config(model, loss)
            assert TrainingConfig.model_validate(whole.model_dump(mode="json")) == whole
