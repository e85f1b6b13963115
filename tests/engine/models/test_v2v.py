"""V2V: what the published network computes under its names, and forms of other sizes."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from engine.models.v2v import SMALL, V2V  # noqa: E402
from tests.engine.models.reference import layers3d  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def randomised(model, seed=0):
    """Batch statistics, scales and biases that are not the initial ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
                value.uniform_(0.6, 1.4, generator=generator)
            elif name.endswith(("running_mean", "bias")):
                value.normal_(std=0.1, generator=generator)
            elif value.ndim > 1:
                value.normal_(std=value[0].numel() ** -0.5, generator=generator)
    return model.eval()


def test_the_published_form_has_its_size_and_names() -> None:
    with torch.device("meta"):
        state = V2V(32, 17).state_dict()
    assert len(state) == 359
    parameters = [v.numel() for k, v in state.items() if "running" not in k and "num_batches" not in k]
    assert sum(parameters) == 11_944_353
    assert tuple(state["front_layers.0.block.0.weight"].shape) == (16, 32, 7, 7, 7)
    assert tuple(state["front_layers.1.skip_con.0.weight"].shape) == (32, 16, 1, 1, 1)
    assert tuple(state["encoder_decoder.encoder_res2.skip_con.0.weight"].shape) == (128, 64, 1, 1, 1)
    assert tuple(state["encoder_decoder.decoder_upsample1.block.0.weight"].shape) == (64, 32, 2, 2, 2)
    assert tuple(state["back_layers.2.block.0.weight"].shape) == (32, 32, 1, 1, 1)
    assert tuple(state["output_layer.weight"].shape) == (17, 32, 1, 1, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"first": 4, "first_kernel": 5},
        {"squeeze": 4, "first": 6, "first_kernel": 3, "front": 0, "skips": 0, "decoders": 2, "back": 0},
    ],
)
def test_agrees_with_the_definition(options) -> None:
    model = randomised(V2V(5, 3, widths=(6, 8, 10), **options))
    volume = torch.randn(1, 5, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        got = model(volume)[0].numpy()
    state = {name: value.double().numpy() for name, value in model.state_dict().items()}
    want = layers3d.v2v(volume[0].double().numpy(), state, levels=2)
    assert np.abs(want).max() > 0.1
    assert np.abs(got - want).max() < 1e-4 * np.abs(want).max()


def test_group_normalisation_knows_nothing_of_the_batch() -> None:
    torch.manual_seed(0)
    model = V2V(3, 2, **(SMALL | {"norm": "group"})).train()
    volumes = torch.randn(2, 3, 16, 16, 16)
    with torch.no_grad():
        assert torch.allclose(model(volumes)[:1], model(volumes[:1]), atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        SMALL,
        SMALL | {"norm": "group"},
        {"widths": (4, 8), "squeeze": 2, "first": 2, "front": 1, "skips": 2, "decoders": 0},
    ],
)
def test_other_forms_train(options) -> None:
    torch.manual_seed(0)
    model = V2V(3, 2, **options)
    side = 2 * model.multiple
    answer = model(torch.randn(2, 3, side, side, side))
    assert answer.shape == (2, 2, side, side, side)
    answer.square().mean().backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.any() for p in model.parameters() if p.ndim > 1)


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 4"):
        V2V(1, 1, widths=(2, 2, 2), first=2, first_kernel=3)(torch.zeros(1, 1, 6, 8, 8))
    with pytest.raises(ValueError, match="widths"):
        V2V(1, 1, widths=(2, 2), first=3, front=0)
