"""The volumetric model: what it computes, what it does with one view or none, and how it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from calib.rig import Rig, RigArrays  # noqa: E402
from engine.models.algebraic import Algebraic, Seen  # noqa: E402
from engine.models.volume import AGGREGATIONS  # noqa: E402
from engine.models.volumetric import Located, Volumetric  # noqa: E402
from tests.engine.models.reference import volumetric as reference  # noqa: E402
from tests.engine.models.test_v2v import randomised  # noqa: E402
from tests.engine.models.test_volume import BASE, arrays, rig  # noqa: E402

JOINTS, CROP, SIDE = 3, 64, 1500.0
NETWORK: dict[str, Any] = {
    "context": 4,
    "backbone": {"channels": (4, 4, 6, 8, 8), "blocks": (1, 1, 1, 1), "neck": 8, "features": 8},
}
CUBE: dict[str, Any] = {
    "root": (0, 2),
    "side_mm": SIDE,
    "size": 8,
    "channels": 3,
    "v2v": {"widths": (6, 8, 8), "squeeze": 6, "first": 6, "first_kernel": 3, "front": 0, "skips": 0, "decoders": 0}
    | {"back": 0},
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def model(**options: Any) -> Volumetric:
    torch.manual_seed(0)
    made = randomised(Volumetric(JOINTS, **(NETWORK | CUBE | options)), seed=1)
    with torch.no_grad():
        made.network.answer.weight.mul_(3)
    return made


def inputs(batch: int = 1, seed: int = 0) -> list[Any]:
    """Crops of noise that show the middle of each camera's picture, and no base."""
    generator = torch.Generator().manual_seed(seed)
    crops = torch.randint(0, 256, (batch, 4, CROP, CROP, 3), dtype=torch.uint8, generator=generator)
    matrix = torch.tensor([[6.0, 0.2, 128], [-0.3, 6.5, 40]]).repeat(batch, 4, 1, 1)
    matrix = matrix + 0.1 * torch.randn(matrix.shape, generator=generator)
    return [crops, matrix, torch.ones(batch, 4), *arrays(rig()), torch.zeros(batch, 3), torch.zeros(batch)]


def given(feed: list[Any], base: Any) -> list[Any]:
    batch = len(feed[0])
    return [*feed[:-2], torch.as_tensor(base, dtype=torch.float32).expand(batch, 3), torch.ones(batch)]


class TestForward:
    @pytest.mark.parametrize("aggregation", ["softmax", "conf_norm"])
    @pytest.mark.parametrize("absent", [None, 1])
    @pytest.mark.parametrize("based", [True, False])
    @pytest.mark.parametrize("sharpen", [False, True])
    def test_agrees_with_the_definition(self, aggregation: str, absent: int | None, based: bool, sharpen: bool) -> None:
        options = {"aggregation": aggregation, "sharpen": sharpen}
        network, feed = model(**options), inputs()
        if absent is not None:
            feed[2][:, absent] = 0
        if based:
            feed = given(feed, BASE + 40)
        with torch.no_grad():
            got = network(*feed)
            double = model(**options).double()
            pictures = (feed[0].flatten(0, 1).permute(0, 3, 1, 2).double() - 110) / 60
            maps, features = double.network(pictures)
            lifted = double.lift(features)
        state = {name: value.numpy() for name, value in double.state_dict().items()}
        points, confidence, position = reference.answer(
            maps.numpy(),
            lifted.numpy(),
            state,
            rig(),
            feed[1][0].double().numpy(),
            feed[2][0].numpy() > 0,
            CUBE | options | {"levels": 2},
            BASE + 40 if based else None,
        )
        assert np.abs(got.points3d[0].numpy() - position).max() < 0.01
        assert np.nanmax(np.abs(got.points2d[0].numpy() - points)) < 1e-2
        assert np.array_equal(np.isnan(got.points2d[0].numpy()), np.isnan(points))
        assert np.abs(got.confidence[0].numpy() - confidence).max() < 1e-4
        seen_at = np.stack([camera.project(position) for camera in rig().cameras])
        assert np.nanmax(np.abs(got.residual_px[0].numpy() - np.linalg.norm(seen_at - points, axis=-1))) < 0.02
        # The joints lie apart and in the cube: the volume says something.
        assert np.abs(position - position.mean(axis=0)).max() > 5

    def test_answers_with_the_shapes_of_the_contract(self) -> None:
        answer = model()(*inputs(batch=2))
        shapes = [(2, 4, 3, 2), (2, 4, 3), (2, 3, 3), (2, 4, 3), (2, 3, 6)]
        assert [tuple(tensor.shape) for tensor in answer] == shapes
        assert all(torch.isfinite(tensor).all() for tensor in answer)

    def test_an_absent_camera_has_no_say(self) -> None:
        feed = given(inputs(), BASE)
        feed[2][0, 3] = 0
        one = model()(*feed)
        feed[0] = feed[0].clone()
        feed[0][:, 3] = 255
        feed[1] = feed[1].clone()
        feed[1][:, 3] = 0
        other = model()(*feed)
        assert torch.equal(one.points3d, other.points3d)
        assert other.points2d[:, 3].isnan().all() and other.residual_px[:, 3].isnan().all()

    def test_a_single_view_answers_where_a_base_is_given(self) -> None:
        feed = inputs()
        feed[2] = torch.tensor([[0.0, 1, 0, 0]])
        assert model()(*feed).points3d.isnan().all()
        answer = model()(*given(feed, BASE))
        assert torch.isfinite(answer.points3d).all() and torch.isfinite(answer.residual_px[:, 1]).all()
        lone = [feed[0][:, 1:2], feed[1][:, 1:2], torch.ones(1, 1), *(array[1:2] for array in feed[3:7]), feed[7]]
        again = model()(*given([*lone, *feed[-2:]], BASE))
        assert torch.allclose(again.points3d, answer.points3d, atol=1e-2)

    @pytest.mark.parametrize("case", ["no camera", "no base", "a base that no camera sees"])
    def test_without_anything_to_see_there_is_no_answer(self, case: str) -> None:
        feed = given(inputs(batch=2), BASE)
        if case == "no camera":
            feed[2] = torch.tensor([[0.0, 0, 0, 0], [1, 1, 1, 1]])
        else:
            feed[-2] = torch.tensor(np.stack([BASE, BASE])).float()
            feed[-2][0] = torch.nan if case == "no base" else 1e7
        answer = model()(*feed)
        assert answer.points3d[0].isnan().all() and torch.isfinite(answer.points3d[1]).all()


def drawn(position_mm: np.ndarray, cameras: Rig, matrix: Any, wrong: int | None = None) -> Seen:
    """What a perfect network sees: peaks of 0.8 cells where the joints are, but for one view that is elsewhere."""
    logits = np.zeros((len(cameras), len(position_mm), CROP // 4, CROP // 4), np.float32)
    y, x = np.mgrid[: CROP // 4, : CROP // 4]
    for view, camera in enumerate(cameras.cameras):
        A = matrix[0, view].double().numpy()
        crop = np.linalg.solve(A[:, :2], (camera.project(position_mm) - A[:, 2]).T).T
        for joint, (u, v) in enumerate((crop + 0.5) / 4 - 0.5 if view != wrong else np.full((len(crop), 2), 3.0)):
            logits[view, joint] = -((x - u) ** 2 + (y - v) ** 2) / (2 * 0.8**2)
    views = len(cameras)
    return Seen(
        torch.from_numpy(logits),
        torch.zeros(views, len(position_mm), 2),
        torch.ones(views, len(position_mm)),
        torch.zeros(views, CUBE["channels"], CROP // 4, CROP // 4),
    )


class TestEvidence:
    TRUTH = BASE + np.array([[100.0, -150, 60], [-260, 40, 200], [20, 210, -190]])

    def locate(self, seen: Seen, weight: Any | None = None) -> Located:
        torch.manual_seed(0)
        beginner = Volumetric(JOINTS, **(NETWORK | CUBE | {"size": 32})).eval()
        base = torch.tensor(BASE[None]).float()
        return beginner.locate(seen, inputs()[1], torch.ones(1, 4) if weight is None else weight, arrays(rig()), base)

    def test_an_untrained_model_reads_the_joints_from_the_heatmaps(self) -> None:
        position = self.locate(drawn(self.TRUTH, rig(), inputs()[1])).position_mm[0].numpy(force=True)
        assert np.linalg.norm(position - self.TRUTH, axis=-1).max() < 30

    def test_one_view_that_is_wrong_and_sure_is_outvoted(self) -> None:
        position = self.locate(drawn(self.TRUTH, rig(), inputs()[1], wrong=2)).position_mm[0].numpy(force=True)
        assert np.linalg.norm(position - self.TRUTH, axis=-1).max() < 90

    def test_a_view_without_confidence_says_nothing(self) -> None:
        seen = drawn(self.TRUTH, rig(), inputs()[1], wrong=2)
        seen.confidence[2] = 0
        mute = self.locate(seen).position_mm
        gone = self.locate(drawn(self.TRUTH, rig(), inputs()[1]), torch.tensor([[1.0, 1, 0, 1]])).position_mm
        assert torch.allclose(mute, gone, atol=1e-2)


class TestTraining:
    @pytest.mark.parametrize(("aggregation", "sharpen"), [*((each, False) for each in AGGREGATIONS), ("softmax", True)])
    def test_every_weight_learns(self, aggregation: str, sharpen: bool) -> None:
        network = model(aggregation=aggregation, sharpen=sharpen).train()
        feed = inputs(batch=2)
        feed[2][0, 1] = 0
        seen = network.see(feed[0].flatten(0, 1))
        rigs = RigArrays(*(array.expand(2, *array.shape) for array in feed[3:8]))
        base = torch.tensor(np.stack([BASE, BASE])).float().requires_grad_()
        located = network.locate(seen, feed[1], feed[2], rigs, base)
        (located.position_mm - 1000).square().mean().mul(1e-6).backward()
        missing = {name for name, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()}
        assert not missing
        dead = {name for name, p in network.named_parameters() if p.ndim > 1 and not p.grad.any()}
        assert not dead
        assert base.grad is None

    def test_the_cube_turns_in_training_only(self) -> None:
        network, feed = model(), inputs()
        seen, base = network.see(feed[0].flatten(0, 1)), torch.tensor(BASE[None]).float()
        rest = (feed[1], feed[2], arrays(rig()), base)
        still = network.locate(seen, *rest).grid_mm
        assert torch.equal(still, network.eval().locate(seen, *rest).grid_mm)
        network.train()
        torch.manual_seed(5)
        turned = network.locate(seen, *rest).grid_mm
        assert not torch.allclose(turned, still, atol=1.0)
        # About the vertical through the base.
        assert torch.allclose(turned[..., 2], still[..., 2], atol=1e-3)
        assert torch.allclose(turned.flatten(1, 3).mean(dim=1), base, atol=1e-2)
        torch.manual_seed(5)
        assert torch.equal(turned, network.locate(seen, *rest).grid_mm)

    def test_a_rig_for_each_frame_set_is_the_same_as_one_for_all(self) -> None:
        network, feed = model(), inputs(batch=2)
        seen = network.see(feed[0].flatten(0, 1))
        base = torch.tensor(np.stack([BASE, BASE + 30])).float()
        one = network.locate(seen, feed[1], feed[2], RigArrays(*feed[3:8]), base)
        each = RigArrays(*(array.expand(2, *array.shape) for array in feed[3:8]))
        assert torch.allclose(
            network.locate(seen, feed[1], feed[2], each, base).position_mm, one.position_mm, atol=1e-2
        )

    @pytest.mark.parametrize("absent", [[0, 1, 2, 3], [1, 2, 3]])
    @pytest.mark.parametrize("sharpen", [False, True])
    def test_frame_sets_without_views_or_base_leave_finite_gradients(self, absent: list[int], sharpen: bool) -> None:
        network, feed = model(sharpen=sharpen).train(), inputs(batch=2)
        feed[2][0, absent] = 0
        base = torch.tensor(np.stack([BASE, BASE])).float()
        base[1, 0] = torch.nan
        seen = network.see(feed[0].flatten(0, 1))
        position = network.locate(seen, feed[1], feed[2], RigArrays(*feed[3:8]), base).position_mm
        found = torch.isfinite(position)
        assert not found[1].any() and found[0].all() == (len(absent) < 4)
        torch.where(found, position, 0.0).square().sum().mul(1e-6).backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in network.parameters())

    def test_begins_with_the_weights_of_an_algebraic_model(self) -> None:
        missing, unexpected = model().load_state_dict(Algebraic(JOINTS, **NETWORK).state_dict(), strict=False)
        assert not unexpected
        assert all(name.startswith(("lift.", "volume.", "log_gain")) for name in missing)
