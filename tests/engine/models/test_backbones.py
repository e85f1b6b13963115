"""Backbones by name: what stands on them is the same."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from engine.models.algebraic import Algebraic  # noqa: E402
from engine.models.backbone import LiteBackbone  # noqa: E402
from engine.models.backbones import ResNetBackbone, backbone  # noqa: E402
from engine.models.pose_resnet import PoseResNet  # noqa: E402
from rigpose.errors import ConfigError  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def test_without_a_kind_it_is_the_lite_one() -> None:
    """Exported networks say their backbone's sizes and no kind."""
    made = backbone({"channels": (4, 4, 6, 8, 8), "blocks": (1, 1, 1, 1), "neck": 8, "features": 8})
    assert isinstance(made, LiteBackbone) and made.features == 8
    assert isinstance(backbone({"kind": "lite"}), LiteBackbone)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="lite, pose_resnet"):
        backbone({"kind": "hrnet"})


def test_a_pose_resnet_keeps_its_names_and_its_features() -> None:
    torch.manual_seed(0)
    whole = PoseResNet(18, joints=3).eval()
    trunk = backbone({"kind": "pose_resnet", "layers": 18}).eval()
    assert isinstance(trunk, ResNetBackbone) and trunk.features == 256
    missing, unexpected = trunk.load_state_dict(whole.state_dict(), strict=False)
    assert not missing and set(unexpected) == {"final_layer.weight", "final_layer.bias"}
    picture = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(trunk(picture), whole(picture).features)


@pytest.mark.parametrize("kind", [{"kind": "pose_resnet", "layers": 18}, {"kind": "lite", "features": 24}])
def test_a_network_sees_alike_on_each_of_them(kind) -> None:
    torch.manual_seed(0)
    model = Algebraic(5, context=4, backbone=kind)
    seen = model.see(torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8))
    assert seen.logits.shape == (2, 5, 16, 16) and seen.points.shape == (2, 5, 2) and seen.confidence.shape == (2, 5)
    assert seen.features is not None and seen.features.shape == (2, model.network.backbone.features, 16, 16)
    (seen.points.sum() + seen.confidence.sum()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters() if p.ndim > 1)
