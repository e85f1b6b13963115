"""On a CPU voxels are looked up by a sparse product: numbers and gradients are those of the plain way."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from engine.models import sparse_lookup  # noqa: E402
from engine.models.volume import AGGREGATIONS, Places, aggregate, look_up, together  # noqa: E402

HEIGHT, WIDTH, VIEWS, SIDES = 5, 7, 3, (4, 3, 5)


@pytest.fixture(autouse=True)
def several_pieces(monkeypatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(sparse_lookup, "VOXELS", 22)


def work(channels: int, batch: int = 2):
    """Maps, places of which a third lies outside or on the border, and confidences; in float64."""
    draw = torch.Generator().manual_seed(3)
    features = torch.randn(batch, VIEWS, channels, HEIGHT, WIDTH, generator=draw, dtype=torch.float64)
    size = torch.tensor([WIDTH, HEIGHT])
    cells = torch.rand(batch, VIEWS, 60, 2, generator=draw, dtype=torch.float64) * (size + 1) - 1
    cells[:, :, :3] = torch.tensor([[-1.0, 0.0], [WIDTH - 1.0, HEIGHT - 1.0], [float(WIDTH), 2.0]])
    seen = torch.rand(batch, VIEWS, 60, generator=draw) > 0.3
    seen[0, :, 7] = False
    cells[~seen] = -2.0
    return features.requires_grad_(), Places(cells, seen), torch.rand(batch, VIEWS, channels, generator=draw).double()


@pytest.mark.parametrize("parity", [False, True])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_numbers_and_gradients_are_those_of_the_plain_way(aggregation, parity) -> None:
    features, places, confidence = work(6)
    trust = confidence[..., :4]
    assert sparse_lookup.fits(features, places.cells)
    got = together(features, places, SIDES, aggregation, trust, parity=parity, summed=2)
    values = look_up(features, places, SIDES)
    want = aggregate(values[:, :, :4], places, aggregation, trust, parity=parity), values[:, :, 4:].sum(dim=1)
    weights = [torch.arange(part.numel(), dtype=torch.float64).reshape(part.shape).sin() for part in want]
    for mine, plain in zip(got, want, strict=True):
        assert (mine - plain).abs().max() < 1e-12
        assert plain.abs().max() > 1
    assert (got[0][0, :, 7] == 0).all()
    slopes = [
        torch.autograd.grad(sum((part * w).sum() for part, w in zip(answer, weights, strict=True)), features)[0]
        for answer in (got, want)
    ]
    assert (slopes[0] - slopes[1]).abs().max() < 1e-12 * slopes[1].abs().max()


def test_the_gradient_is_the_slope() -> None:
    features, places, _ = work(2, batch=1)
    assert torch.autograd.gradcheck(lambda maps: together(maps, places, SIDES, "softmax")[0], (features,))


def test_with_a_gradient_to_the_places_the_plain_way_is_taken() -> None:
    features, places, _ = work(2)
    places = places._replace(cells=places.cells.requires_grad_())
    found, _ = together(features, places, SIDES, "sum")
    (slope,) = torch.autograd.grad(found.sum(), places.cells)
    assert slope.abs().max() > 0
