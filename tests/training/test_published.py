"""Published networks learn by their own criteria alone and answer as their graphs do."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from calib.rig import RigArrays
from capture.virtual.skeletons import HUMAN36M17
from engine.models.published import PublishedAlgebraic, PublishedVolumetric
from rigpose.errors import ConfigError
from tests.training import tiny
from training import networks
from training.chances import Chances, chances
from training.checkpoint import read_checkpoint
from training.config import CriterionSection, TrainingConfig
from training.loop import CHECKPOINT
from training.losses import NO_CHANCES, Batch
from training.published import PublishedObjective
from training.report import Silence

ALGEBRAIC = {"kind": "published", "name": "alg", "network": "algebraic", "layers": 18}
RANSAC = {"kind": "published", "name": "ransac", "network": "ransac", "layers": 18}
V2V = {"widths": [4, 8], "squeeze": 0, "first": 4}
VOLUMETRIC = {"kind": "published", "name": "vol", "network": "volumetric", "layers": 18, "size": 8, "v2v": V2V}
SMOOTH = {"kind": "published", "criterion": "MSESmooth"}
MAE = {"kind": "published", "criterion": "MAE", "volumetric_ce_weight": 0.01}
PUBLISHED_RATES = {"rate": 1e-4, "weight_decay": 0, "warmup": 0, "decay_from": 1, "clip": None, "ema": 0}
PLAIN = {"confidences": False}


def config(model: Mapping[str, Any], loss: Mapping[str, Any] = SMOOTH, **changes: Any) -> TrainingConfig:
    return tiny.config(model=dict(model), loss=dict(loss), **changes)


@cache
def made(size: int) -> Batch:
    return tiny.batch(size=size)


def batch(size: int = 64) -> Batch:
    """Two frame sets of three views, their tensors not shared with other tests."""
    there = made(size)
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

    def test_has_nothing_to_learn(self, tmp_path: Path) -> None:
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

    def test_the_cuboid_is_turned_at_random_in_training_and_moved_only_where_that_is_asked_for(self) -> None:
        drawn = chances(config(VOLUMETRIC, MAE), 3, (4, 3))
        assert drawn.view_weight is None and drawn.theta is not None and len(set(drawn.theta.tolist())) == 4
        assert drawn.off_mm is not None and not drawn.off_mm.any()
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

    def test_the_published_network_is_what_stands_without_numbers(self) -> None:
        section = config({"kind": "published", "name": "vol", "network": "volumetric"}, MAE).model
        with torch.device("meta"):
            model = networks.build(section, HUMAN36M17)
        assert isinstance(model, PublishedVolumetric)
        assert sum(p.numel() for p in model.parameters()) == 80_588_050
        section = config({"kind": "published", "name": "alg", "network": "algebraic"}).model
        with torch.device("meta"):
            algebraic = networks.build(section, HUMAN36M17)
        assert isinstance(algebraic, PublishedAlgebraic)
        assert sum(p.numel() for p in algebraic.parameters()) == 79_521_890


class TestRuns:
    RATES = PUBLISHED_RATES | {"rates": {"process_features": 1e-3, "volume_net": 2e-3}}

    def trainer(self, folder: Path, **changes: Any) -> Any:
        return tiny.trainer(folder, model=VOLUMETRIC, loss=MAE, **({"optimiser": self.RATES, "steps": 3} | changes))

    def test_parts_learn_at_their_own_rates_and_the_heatmaps_not_at_all(self, tmp_path: Path) -> None:
        trainer = self.trainer(tmp_path)
        before = copy.deepcopy(trainer.model.state_dict())
        trainer.run(Silence(), until_step=1)
        moved = {
            name: (parameter - before[name]).abs().max().item() for name, parameter in trainer.model.named_parameters()
        }
        # The first step of Adam is as long as the rate.
        for part, rate in (("backbone.conv1", 1e-4), ("process_features", 1e-3), ("volume_net.output_layer", 2e-3)):
            steps = [value for name, value in moved.items() if name.startswith(part)]
            assert max(steps) == pytest.approx(rate, rel=0.02), part
        assert moved["backbone.final_layer.weight"] == 0
        # Without a running average the last weights are what is kept.
        for name, value in trainer.average.model.named_parameters():
            assert torch.equal(value, trainer.model.get_parameter(name)), name

    def test_a_part_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"optimiser.rates.*no part volume.*its parts are backbone"):
            self.trainer(tmp_path, optimiser=PUBLISHED_RATES | {"rates": {"volume": 1e-3}})

    @pytest.mark.slow
    def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(self, tmp_path: Path) -> None:
        whole, first = self.trainer(tmp_path / "whole"), self.trainer(tmp_path / "broken")
        whole.run(Silence())
        first.run(Silence(), until_step=2)
        second = self.trainer(tmp_path / "broken")
        second.resume(read_checkpoint(tmp_path / "broken" / CHECKPOINT))
        second.run(Silence())
        assert (whole.step, second.step, second.skipped) == (3, 3, 0)
        for name, value in whole.model.state_dict().items():
            assert torch.equal(value, second.model.state_dict()[name]), name

    def test_in_lower_precision_the_geometry_stays_whole(self, tmp_path: Path) -> None:
        trainer = tiny.trainer(
            tmp_path, model=ALGEBRAIC | PLAIN, loss=SMOOTH, precision_cpu="bf16", optimiser=PUBLISHED_RATES, steps=1
        )
        model, there = trainer.model, batch()
        exact = trainer.objective(there, 1.0, NO_CHANCES, None)
        lower = trainer.objective(there, 1.0, NO_CHANCES, torch.bfloat16)
        assert lower.total.dtype == torch.float32
        assert lower.total.item() != exact.total.item()
        assert lower.error_share.item() == pytest.approx(exact.error_share.item(), abs=0.05)
        trainer.run(Silence())
        assert (trainer.step, trainer.skipped) == (1, 0)
        assert all(torch.isfinite(p).all() for p in model.parameters())

    def test_gradients_are_clipped_only_where_that_is_asked_for(self, tmp_path: Path) -> None:
        norms = {}
        for clip in (None, 1e-3):
            trainer = tiny.trainer(
                tmp_path, model=ALGEBRAIC | PLAIN, loss=SMOOTH, optimiser=PUBLISHED_RATES | {"clip": clip}
            )
            trainer._step(batch(), 0.5)
            norms[clip] = float(torch.stack([p.grad.norm() for p in trainer.model.parameters()]).norm())
        assert norms[1e-3] == pytest.approx(1e-3, rel=1e-3) and norms[None] > 0.01
