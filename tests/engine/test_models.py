"""The networks: shapes, where the soft-argmax points, and the outputs of the contract."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from engine.models.algebraic import Algebraic, Head, to_image  # noqa: E402
from engine.models.backbone import DEEPEST, STRIDE, InvertedResidual, LiteBackbone  # noqa: E402

SMALL: dict[str, Any] = {"channels": (4, 4, 6, 8, 8), "blocks": (1, 1, 1, 1), "neck": 8, "features": 8}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


class TestBackbone:
    @pytest.mark.parametrize("size", [(64, 64), (96, 128)])
    def test_gives_maps_at_a_quarter_of_the_size(self, size: tuple[int, int]) -> None:
        maps = LiteBackbone(**SMALL)(torch.zeros(2, 3, *size))
        assert maps.shape == (2, 8, size[0] // STRIDE, size[1] // STRIDE)

    def test_every_place_sees_far(self) -> None:
        """What stands at one corner reaches the map at the other: a limb is told by the body that it hangs on."""
        torch.manual_seed(0)
        picture = torch.randn(1, 3, 96, 96, requires_grad=True)
        backbone = LiteBackbone(**SMALL).train()
        backbone(picture)[0, :, 12, 12].square().sum().backward()
        reached = picture.grad.abs().sum(dim=(0, 1)) > 0
        assert reached[:DEEPEST, :DEEPEST].any() and reached[-DEEPEST:, -DEEPEST:].any()

    def test_has_no_transposed_convolution_and_only_relu6(self) -> None:
        kinds = {type(module).__name__ for module in Algebraic(17).modules()}
        assert "ConvTranspose2d" not in kinds
        assert not kinds & {"SiLU", "GELU", "Hardswish"}

    def test_a_block_begins_as_the_identity(self) -> None:
        backbone = LiteBackbone(**(SMALL | {"blocks": (2, 1, 1, 1)})).train()
        block = next(m for m in backbone.modules() if isinstance(m, InvertedResidual) and m.adds)
        x = torch.rand(2, 4, 8, 8)
        assert torch.equal(block(x), x)

    def test_is_small_enough_for_a_file_of_6_mb(self) -> None:
        assert sum(p.numel() for p in Algebraic(38).parameters()) * 4 < 4_000_000


class TestHead:
    def head(self) -> Head:
        torch.manual_seed(0)
        return Head(joints=2, context=3).eval()

    def test_points_at_the_centre_of_the_hottest_cell(self) -> None:
        maps = torch.zeros(1, 5, 12, 16)
        maps[0, 0, 3, 7] = maps[0, 1, 11, 0] = 60
        points = self.head()(maps).points
        # Cell i covers px 4 i to 4 i + 3, whose middle is 4 i + 1.5.
        assert torch.allclose(points, torch.tensor([[[29.5, 13.5], [1.5, 45.5]]]), atol=1e-4)

    def test_points_between_cells_that_are_equally_hot(self) -> None:
        maps = torch.zeros(1, 5, 12, 16)
        maps[0, :, 3, 7:9] = 60
        assert torch.allclose(self.head()(maps).points[0, 0], torch.tensor([31.5, 13.5]), atol=1e-4)

    def test_confidence_lies_between_0_and_1_and_reads_maps_and_shape(self) -> None:
        head, generator = self.head(), torch.Generator().manual_seed(0)
        maps = torch.randn(4, 5, 12, 16, generator=generator)
        confidence = head(maps).confidence
        assert ((confidence > 0) & (confidence < 1)).all()
        other = maps.clone()
        other[:, 2:] += 1
        assert not torch.allclose(head(other).confidence, confidence)
        sharper = maps.clone()
        sharper[:, :2] *= 5
        assert not torch.allclose(head(sharper).confidence, confidence)

    def test_a_flat_map_has_finite_gradients(self) -> None:
        maps = torch.zeros(1, 5, 12, 16, requires_grad=True)
        seen = self.head()(maps)
        (seen.points.sum() + seen.confidence.sum()).backward()
        assert torch.isfinite(maps.grad).all()


def test_crop_px_become_raw_px() -> None:
    matrix = torch.tensor([[[2.0, 0, 10], [0, 3, -5]]])
    assert to_image(torch.tensor([[[1.0, 2]]]), matrix).tolist() == [[[12, 1]]]


class TestAlgebraic:
    def inputs(self, views: int = 3) -> tuple[Any, ...]:
        angle = torch.arange(views) * 1.3
        zero, one = torch.zeros(views), torch.ones(views)
        R = torch.stack([angle.cos(), zero, -angle.sin(), zero, one, zero, angle.sin(), zero, angle.cos()], dim=-1)
        Rt = torch.cat([R.reshape(views, 3, 3), torch.tensor([0.0, 0, 1]).repeat(views, 1)[..., None]], dim=-1)
        K = torch.tensor([[64.0, 0, 32], [0, 64, 32], [0, 0, 1]]).repeat(views, 1, 1)
        generator = torch.Generator().manual_seed(0)
        crops = torch.randint(0, 256, (2, views, 64, 64, 3), dtype=torch.uint8, generator=generator)
        matrix = torch.tensor([[1.0, 0, 0], [0, 1, 0]]).repeat(2, views, 1, 1)
        weight = torch.ones(2, views)
        return crops, matrix, weight, K, torch.zeros(views, 14), zero, Rt, torch.tensor([0.0, 0, 0, 1000])

    def model(self, **options: bool) -> Algebraic:
        torch.manual_seed(0)
        return Algebraic(5, context=4, backbone=SMALL, **options).eval()

    def test_answers_with_the_shapes_of_the_contract(self) -> None:
        answer = self.model()(*self.inputs())
        assert [tuple(tensor.shape) for tensor in answer] == [(2, 3, 5, 2), (2, 3, 5), (2, 5, 3), (2, 3, 5)]

    def test_an_absent_camera_changes_nothing_but_its_share(self) -> None:
        inputs = list(self.inputs())
        inputs[2] = torch.tensor([[1.0, 1, 0], [1, 1, 1]])
        one = self.model()(*inputs)
        inputs[0] = inputs[0].clone()
        inputs[0][0, 2] = 0
        other = self.model()(*inputs)
        assert torch.equal(one.points3d, other.points3d)
        assert one.points2d[0, 2].isnan().all() and not one.confidence[0, 2].any()
        assert one.points2d[0, :2].isfinite().all()

    def test_confidences_weigh_the_views_unless_they_are_off(self) -> None:
        inputs = self.inputs()
        with torch.no_grad():
            on, off = self.model(), self.model(confidences=False)
            for model in (on, off):
                model.head.judge.weight.mul_(30)
            assert torch.equal(on(*inputs).points2d, off(*inputs).points2d)
            assert not torch.allclose(on(*inputs).points3d, off(*inputs).points3d)
