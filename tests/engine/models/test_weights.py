"""Published weights: what is read, what is refused, and that each published file fits its model to the last key."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from engine.models import published, weights  # noqa: E402
from engine.models.pose_resnet import PoseResNet  # noqa: E402
from engine.models.published import PublishedAlgebraic, PublishedRansac, PublishedVolumetric  # noqa: E402
from rigpose.errors import ConfigError  # noqa: E402

MODELS = {"PoseResNet": PoseResNet} | {name: getattr(published, name) for name in dir(published) if "Published" in name}


def shapes(model: Any) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


@pytest.fixture
def small() -> Any:
    torch.manual_seed(0)
    return PublishedAlgebraic(4, layers=18)


class TestManifests:
    """The tensors of the published files, as their public code makes them."""

    @pytest.mark.parametrize(
        ("name", "tensors", "parameters"),
        [
            ("human36m_alg", 970, 79_521_890),
            ("human36m_vol_softmax", 1311, 80_588_050),
            ("pose_resnet_human36m", 950, 68_639_585),
        ],
    )
    def test_each_model_has_the_keys_and_shapes_of_its_file(self, name: str, tensors: int, parameters: int) -> None:
        known = weights.manifest(name)
        with torch.device("meta"):
            model = MODELS[known.model](**known.arguments)
        assert shapes(model) == known.shapes
        assert len(known.shapes) == tensors
        assert sum(p.numel() for p in model.parameters()) == parameters

    def test_counts_of_the_other_networks(self) -> None:
        with torch.device("meta"):
            assert len(shapes(PoseResNet(50))) == 338
            assert sum(p.numel() for p in PoseResNet(50).parameters()) == 33_999_697
            alone = PublishedAlgebraic(confidences=False)
            assert shapes(alone) == shapes(PublishedRansac())
            judged = shapes(PublishedVolumetric(aggregation="conf"))
        assert judged["backbone.vol_confidences.head.4.weight"] == (32, 256)
        assert set(judged) - set(weights.manifest("human36m_vol_softmax").shapes) == {
            key for key in judged if key.startswith("backbone.vol_confidences.")
        }

    def test_are_recognised_with_and_without_counted_batches(self) -> None:
        known = weights.manifest("pose_resnet_human36m")
        state = {key: torch.empty(shape, device="meta") for key, shape in known.shapes.items()}
        assert weights.recognise(state) == known
        assert weights.recognise({k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}) == known
        del state["bn1.bias"]
        assert weights.recognise(state) is None


class TestRead:
    @pytest.mark.parametrize("zipped", [True, False])
    @pytest.mark.parametrize("wrapped", [True, False])
    def test_reads_what_distributed_training_left(
        self, small: Any, tmp_path: Path, zipped: bool, wrapped: bool
    ) -> None:
        state = OrderedDict((f"module.{key}", value) for key, value in small.state_dict().items())
        document = {"state_dict": state, "epoch": 3} if wrapped else state
        torch.save(document, tmp_path / "weights.pth", _use_new_zipfile_serialization=zipped)
        found = weights.read_weights(tmp_path / "weights.pth")
        assert list(found) == list(small.state_dict())
        other = PublishedAlgebraic(4, layers=18)
        weights.load(other, found)
        assert all(torch.equal(a, b) for a, b in zip(other.parameters(), small.parameters(), strict=True))

    def test_only_a_prefix_is_taken_off(self, tmp_path: Path) -> None:
        torch.save({"a.module.b": torch.zeros(1)}, tmp_path / "w.pth")
        assert list(weights.read_weights(tmp_path / "w.pth")) == ["a.module.b"]

    def test_runs_no_code(self, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> tuple[Any, ...]:
                return (Path.touch, (tmp_path / "touched",))

        torch.save({"a": Evil()}, tmp_path / "evil.pth")
        (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Evil(), protocol=2))
        for name in ("evil.pth", "plain.pkl"):
            with pytest.raises(ConfigError, match="cannot be read as weights"):
                weights.read_weights(tmp_path / name)
        assert not (tmp_path / "touched").exists()

    @pytest.mark.parametrize(
        ("document", "line"),
        [
            ([1, 2], "holds no state dict"),
            ({}, "holds no state dict"),
            ({"a": torch.zeros(1), "epoch": 3}, "holds epoch, which is no tensor"),
        ],
    )
    def test_refuses_other_files_in_one_line(self, tmp_path: Path, document: Any, line: str) -> None:
        torch.save(document, tmp_path / "w.pth")
        with pytest.raises(ConfigError, match=line) as caught:
            weights.read_weights(tmp_path / "w.pth")
        assert "\n" not in str(caught.value) and str(tmp_path / "w.pth") in str(caught.value)

    def test_refuses_what_is_not_there(self, tmp_path: Path) -> None:
        for path in (tmp_path / "none.pth", tmp_path):
            with pytest.raises(ConfigError, match="no such file"):
                weights.read_weights(path)
        (tmp_path / "text.pth").write_text("<html>gone</html>")
        with pytest.raises(ConfigError, match="cannot be read as weights"):
            weights.read_weights(tmp_path / "text.pth")


class TestLoad:
    def test_is_strict(self, small: Any) -> None:
        state = dict(small.state_dict())
        del state["backbone.conv1.weight"]
        state["extra"] = torch.zeros(1)
        state["backbone.bn1.bias"] = torch.zeros(3)
        before = {key: value.clone() for key, value in small.state_dict().items()}
        with pytest.raises(ConfigError) as caught:
            weights.load(small, state)
        assert str(caught.value) == (
            "weights: they lack backbone.conv1.weight and have extra too many and have backbone.bn1.bias of shape [3], "
            "the model [64] (build the model that they are of)"
        )
        assert all(torch.equal(before[key], value) for key, value in small.state_dict().items())

    def test_says_what_the_weights_are_of(self, small: Any) -> None:
        known = weights.manifest("human36m_vol_softmax")
        state = {key: torch.empty(shape, device="meta") for key, shape in known.shapes.items()}
        with pytest.raises(ConfigError, match=r"human36m_vol_softmax, for PublishedVolumetric\(parity=True\)"):
            weights.load(small, state)

    def test_files_of_old_versions_do_not_count_batches(self, small: Any) -> None:
        state = {k: v + 1 for k, v in small.state_dict().items() if not k.endswith("num_batches_tracked")}
        weights.load(small, state)
        assert all(torch.equal(small.state_dict()[key], value) for key, value in state.items())


class TestBackbone:
    def test_takes_the_first_17_of_33_heatmaps(self) -> None:
        torch.manual_seed(0)
        source, model = PoseResNet(18, 33), PoseResNet(18, 17, alg_confidences=True)
        state = {f"module.backbone.{key}": value for key, value in source.state_dict().items()}
        left = weights.load_backbone(model, state)
        assert torch.equal(model.final_layer.weight, source.final_layer.weight[:17])
        assert torch.equal(model.final_layer.bias, source.final_layer.bias[:17])
        assert torch.equal(model.layer4[1].bn2.running_var, source.layer4[1].bn2.running_var)
        assert left and all(key.startswith("alg_confidences.") for key in left)

    def test_keeps_its_own_heatmaps_where_the_file_has_fewer(self) -> None:
        torch.manual_seed(0)
        source, model = PoseResNet(18, 3), PoseResNet(18, 5)
        own = model.final_layer.weight[3:].clone()
        assert weights.load_backbone(model, source.state_dict()) == ()
        assert torch.equal(model.final_layer.weight[:3], source.final_layer.weight)
        assert torch.equal(model.final_layer.weight[3:], own)

    def test_begins_with_a_classifier(self) -> None:
        source = {k: v for k, v in PoseResNet(18).state_dict().items() if not k.startswith(("deconv", "final"))}
        left = weights.load_backbone(PoseResNet(18), source | {"fc.weight": torch.zeros(1000, 512)})
        assert left and all(key.startswith(("deconv_layers.", "final_layer.")) for key in left)

    def test_refuses_other_depths(self) -> None:
        with pytest.raises(ConfigError, match=r"they lack layer1.2.conv1.weight \(give those of a pose ResNet"):
            weights.load_backbone(PoseResNet(34), PoseResNet(18).state_dict())
        with pytest.raises(ConfigError, match=r"they have layer1.0.conv1.weight of shape \[64, 64, 1, 1\], the model"):
            weights.load_backbone(PoseResNet(34), PoseResNet(50).state_dict())
