"""Published weights as a beginning: strictly, with a backbone alone, and for other joints."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.models.algebraic import Algebraic
from engine.models.pose_resnet import PoseResNet
from engine.models.published import PublishedAlgebraic, PublishedRansac, PublishedVolumetric
from rigpose.errors import ConfigError
from training.pretrained import published_weights, with_backbone

V2V = {"widths": (4, 8), "squeeze": 0, "first": 4, "first_kernel": 3}


def algebraic(joints: int = 5, confidences: bool = True) -> PublishedAlgebraic:
    return PublishedAlgebraic(joints, layers=18, confidences=confidences)


def volumetric(joints: int = 5) -> PublishedVolumetric:
    return PublishedVolumetric(joints, layers=18, size=8, v2v=V2V)


def saved(path: Path, state: Mapping[str, Any], prefix: str = "module.") -> Path:
    torch.save({f"{prefix}{key}": value for key, value in state.items()}, path)
    return path


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


class TestPublished:
    def test_all_weights_are_those_of_the_file(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        for make in (algebraic, volumetric):
            there, model = make(), make()
            state = published_weights(saved(tmp_path / "weights.pth", there.state_dict()), model)
            for key, value in there.state_dict().items():
                assert torch.equal(state[key], value) and torch.equal(model.state_dict()[key], value), key
        assert not told(caplog)

    def test_of_more_joints_the_first_are_kept(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        there, model = algebraic(7), algebraic(4)
        state = published_weights(saved(tmp_path / "w.pth", there.state_dict()), model)
        for layer in ("backbone.final_layer", "backbone.alg_confidences.head.4"):
            for key in (f"{layer}.weight", f"{layer}.bias"):
                assert torch.equal(state[key], there.state_dict()[key][:4])
        assert torch.equal(state["backbone.conv1.weight"], there.backbone.conv1.weight)
        assert len(told(caplog)) == 2 and all("w.pth" in line and "first 4 of its 7" in line for line in told(caplog))

    def test_of_fewer_joints_those_layers_begin_anew(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        there, model = volumetric(3), volumetric(6)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        state = published_weights(saved(tmp_path / "w.pth", there.state_dict()), model)
        for key in ("backbone.final_layer.weight", "volume_net.output_layer.weight", "volume_net.output_layer.bias"):
            assert torch.equal(state[key], before[key])
        assert torch.equal(state["process_features.0.weight"], there.process_features[0].weight)
        assert [line.partition(": ")[2] for line in told(caplog)] == [
            "backbone.final_layer: begins anew, it had 3",
            "volume_net.output_layer: begins anew, it had 3",
        ]

    def test_what_is_to_be_judged_has_the_joints_of_its_file(self, tmp_path: Path) -> None:
        file = saved(tmp_path / "w.pth", algebraic(7).state_dict())
        with pytest.raises(ConfigError, match=r"w.pth: is not of this network: they have .* of shape \[7,"):
            published_weights(file, algebraic(4), strict=True)
        assert published_weights(file, algebraic(7), strict=True)

    def test_another_network_is_refused_by_the_file_s_name(self, tmp_path: Path) -> None:
        file = saved(tmp_path / "w.pth", algebraic().state_dict())
        for model in (volumetric(), algebraic(confidences=False)):
            with pytest.raises(ConfigError, match=r"w.pth: is not of this network: they (lack|have)") as caught:
                published_weights(file, model)
            assert "\n" not in str(caught.value)
        with pytest.raises(ConfigError, match="model.kind: published"):
            published_weights(file, Algebraic(5))
        with pytest.raises(ConfigError, match="no such file"):
            published_weights(tmp_path / "missing.pth", volumetric())


class TestBackbone:
    def test_is_that_of_the_file_and_the_rest_as_it_was(self, tmp_path: Path) -> None:
        there, model = PoseResNet(18, 9), volumetric(5)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        state = with_backbone(saved(tmp_path / "pose.pth", there.state_dict(), prefix=""), model)
        for key, value in there.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                assert torch.equal(state[f"backbone.{key}"], value[:5] if key.startswith("final") else value), key
        assert torch.equal(state["process_features.0.weight"], before["process_features.0.weight"])

    def test_may_come_from_a_whole_network_or_a_run_of_one(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        there = algebraic()
        torch.save({"schema": 1, "average": there.state_dict(), "weights": {}}, tmp_path / "checkpoint.pt")
        for file in (saved(tmp_path / "w.pth", there.state_dict()), tmp_path / "checkpoint.pt"):
            model = PublishedRansac(5, layers=18)
            state = with_backbone(file, model)
            assert torch.equal(state["backbone.layer4.1.conv2.weight"], there.backbone.layer4[1].conv2.weight)
            assert torch.equal(state["backbone.final_layer.weight"], there.backbone.final_layer.weight)
        again = algebraic()
        head = again.backbone.alg_confidences.head[4].weight.clone()  # type: ignore[union-attr]
        bare = {key: value for key, value in there.state_dict().items() if "confidences" not in key}
        state = with_backbone(saved(tmp_path / "bare.pth", bare), again)
        assert torch.equal(state["backbone.alg_confidences.head.4.weight"], head)
        assert caplog.records[-1].getMessage() == "the backbone begins with bare.pth, but for alg_confidences"

    def test_of_another_depth_is_refused_by_the_file_s_name(self, tmp_path: Path) -> None:
        file = saved(tmp_path / "pose.pth", PoseResNet(34, 5).state_dict())
        with pytest.raises(ConfigError, match="pose.pth"):
            with_backbone(file, PublishedAlgebraic(5, layers=50))
