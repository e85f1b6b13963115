"""The pose ResNets: against float64 numpy, the shapes of every depth, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from engine.models.pose_resnet import FEATURES, STRIDE, PoseResNet  # noqa: E402
from rigpose.errors import ConfigError  # noqa: E402
from tests.engine.models.reference.layers import Weights  # noqa: E402
from tests.engine.models.reference.networks import pose_resnet  # noqa: E402
from tests.engine.models.reference.weights import seeded  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def with_seeded(model: Any, seed: int = 0) -> Any:
    """The model with the weights that every machine draws, and those weights."""
    state = seeded({key: tuple(value.shape) for key, value in model.state_dict().items()}, seed)
    model.load_state_dict({key: torch.from_numpy(np.asarray(value)) for key, value in state.items()})
    return model.eval(), state


@pytest.mark.parametrize(
    ("layers", "style", "size"), [(18, "simple", (128, 160)), (50, "simple", (128, 128)), (50, "caffe", (128, 128))]
)
def test_agrees_with_float64_numpy(layers: int, style: Any, size: tuple[int, int]) -> None:
    model, state = with_seeded(PoseResNet(layers, 5, style, alg_confidences=True, vol_confidences=32))
    picture = np.random.RandomState(1).standard_normal((1, 3, *size)).astype(np.float32)
    expected = pose_resnet(Weights(state), picture.astype(np.float64), caffe=style == "caffe")
    with torch.no_grad():
        found = model(torch.from_numpy(picture))
    for ours, theirs in zip(found, expected, strict=True):
        assert np.abs(ours.numpy() - theirs).max() < 1e-5 * np.abs(theirs).max()
    assert 0.05 < np.std(expected[1]) < 20, "the weights are chosen so that nothing fades or explodes"


def test_the_two_styles_differ() -> None:
    picture = torch.ones(1, 3, 64, 64)
    simple, caffe = (with_seeded(PoseResNet(50, 3, style))[0] for style in ("simple", "caffe"))
    assert list(simple.state_dict()) == list(caffe.state_dict())
    assert not torch.allclose(simple(picture).heatmaps, caffe(picture).heatmaps, rtol=1e-2)


@pytest.mark.parametrize("layers", [18, 34, 50, 101])
def test_maps_have_a_quarter_of_the_size(layers: int) -> None:
    with torch.no_grad():
        maps = PoseResNet(layers, 7).eval()(torch.zeros(2, 3, 64, 96))
    assert maps.heatmaps.shape == (2, 7, 64 // STRIDE, 96 // STRIDE)
    assert maps.features.shape == (2, FEATURES, 64 // STRIDE, 96 // STRIDE)
    assert maps.alg_confidence is None and maps.vol_confidence is None


def test_an_untrained_one_answers_with_quiet_heatmaps_and_learns_everywhere() -> None:
    torch.manual_seed(0)
    model = PoseResNet(18, 3, alg_confidences=True).train()
    maps = model(torch.randn(2, 3, 128, 128))
    assert maps.heatmaps.detach().abs().max() < 0.1
    (maps.heatmaps.square().sum() + maps.alg_confidence.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"layers": 20}, "layers: no pose ResNet has 20 (one of 18, 34, 50, 101, 152)"),
        ({"layers": 50, "style": "cafe"}, "style: cafe is none (simple or caffe)"),
        (
            {"layers": 18, "style": "caffe"},
            "style: 18 layers have no bottleneck for caffe's stride (50 or more)",
        ),
    ],
)
def test_refuses_what_does_not_exist(arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PoseResNet(**arguments)
    assert str(caught.value) == line


def test_refuses_pictures_that_would_give_maps_of_another_size_or_nan() -> None:
    judging = PoseResNet(18, 3, alg_confidences=True).eval()
    with pytest.raises(ConfigError, match="96 x 128 px leave nothing to a confidence head"):
        judging(torch.zeros(1, 3, 128, 96))
    with pytest.raises(ConfigError, match="100 x 128 px is not what the network divides by 32"):
        judging(torch.zeros(1, 3, 128, 100))
