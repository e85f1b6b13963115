"""Voxels: where they are, what the views say of them, and nothing that is not a number."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from calib.camera import Camera  # noqa: E402
from calib.rig import Rig, RigArrays  # noqa: E402
from engine.models.volume import (  # noqa: E402
    AGGREGATIONS,
    Lenses,
    Projection,
    cuboid,
    soft_argmax_3d,
    unproject,
    widest,
)
from tests.engine.models.reference import volume as reference  # noqa: E402

SIDE, SIZE = 1500.0, 6
BASE = np.array([120.0, -60.0, 900.0])
PINHOLE = [-0.18, 0.06, 0.001, -0.002, -0.01]
WHOLE = [-0.12, 0.05, 0.002, 0.001, 0.01, 0.02, -0.01, 0.001, 0.002, -0.001, 0.001, 0.002, 0.02, -0.03]
FISH = [0.03, -0.01, 0.002, -0.001]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def looking_at(point, centre, name, dist=(), fisheye=False):
    forward = (point - centre) / np.linalg.norm(point - centre)
    right = np.cross([0, 0, -1.0], forward)
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(forward, right), forward])
    import cv2

    K = np.array([[700.0, 0, 322], [0, 690, 244], [0, 0, 1]])
    return Camera(name, (640, 480), K, np.array(dist), cv2.Rodrigues(R)[0].ravel(), -R @ centre, fisheye=fisheye)


def rig() -> Rig:
    centres = np.array([[3200, 200, 1500], [-100, 3000, 1200], [-2800, -900, 1900], [500, -3300, 700.0]])
    lenses = [(PINHOLE, False), ([], False), (FISH, True), (WHOLE, False)]
    made = zip(centres, lenses, strict=True)
    return Rig(tuple(looking_at(BASE, c, f"cam{i}", d, f) for i, (c, (d, f)) in enumerate(made)))


def arrays(rig: Rig, dtype=torch.float32) -> RigArrays:
    return RigArrays(*(torch.as_tensor(a, dtype=dtype) for a in rig.arrays()))


def scene(channels=3, width=14, height=10, batch=1, seed=0):
    """Features, and crops of 56 x 40 px that show the middle of each picture, turned a little and not square."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(batch, 4, channels, height, width)).astype(np.float32)
    matrix = np.array([[4.0, 0.6, 200], [-0.5, 5.0, 130]])
    matrices = np.tile(matrix, (batch, 4, 1, 1)) + rng.normal(size=(batch, 4, 2, 3)) * 0.1
    return features, matrices.astype(np.float32)


class TestCuboid:
    @pytest.mark.parametrize("vertical", ["z", "y"])
    def test_is_a_turned_cube_about_its_base(self, vertical) -> None:
        base = torch.tensor(np.stack([BASE, -BASE]))
        theta = torch.tensor([0.7, -2.0], dtype=torch.float64)
        got = cuboid(base, SIDE, SIZE, theta, vertical)
        for sample in range(2):
            want = reference.grid(base[sample].numpy(), SIDE, SIZE, theta[sample].item(), vertical)
            assert np.abs(got[sample].numpy() - want).max() < 1e-9

    def test_without_a_turn_runs_along_the_axes_of_the_world(self) -> None:
        got = cuboid(torch.tensor(BASE[None], dtype=torch.float32), SIDE, SIZE)
        assert np.abs(got[0].numpy() - reference.grid(BASE, SIDE, SIZE)).max() < 1e-3
        # Corners included.
        assert torch.allclose(got[0, 0, 0, 0], torch.tensor(BASE - SIDE / 2, dtype=torch.float32))
        assert torch.allclose(got[0, -1, 0, -1], torch.tensor(BASE + [SIDE / 2, -SIDE / 2, SIDE / 2]).float())

    def test_each_sample_may_have_its_size(self) -> None:
        side = torch.tensor([10.0, 20.0])
        got = cuboid(torch.zeros(2, 3), side, 4)
        assert torch.equal((got.amax(dim=(1, 2, 3)) - got.amin(dim=(1, 2, 3)))[:, 0], side)


class TestUnproject:
    @pytest.mark.parametrize("aggregation", AGGREGATIONS)
    @pytest.mark.parametrize("absent", [None, 2])
    def test_agrees_with_the_definition(self, aggregation, absent) -> None:
        features, matrices = scene()
        cameras = rig()
        present = np.array([view != absent for view in range(4)])
        confidence = np.random.default_rng(5).uniform(0.1, 1, (1, 4, 3))
        theta = 0.4
        want = reference.unproject(
            features[0].astype(np.float64),
            reference.grid(BASE, SIDE, SIZE, theta),
            cameras.cameras,
            matrices[0].astype(np.float64),
            present,
            aggregation,
            confidence[0],
        )
        grid = cuboid(torch.tensor(BASE[None], dtype=torch.float32), SIDE, SIZE, torch.tensor([theta]))
        to_map = Lenses(arrays(cameras), torch.from_numpy(matrices), torch.from_numpy(present[None].astype(np.float32)))
        got = unproject(
            torch.from_numpy(features), grid, to_map, aggregation, torch.from_numpy(confidence).float()
        ).numpy()[0]
        assert np.abs(got - want).max() < 2e-4
        assert (want != 0).mean() > 0.3 and (want == 0).mean() > 0.05

    def test_a_rig_for_each_sample_is_the_same_as_one_by_one(self) -> None:
        features, matrices = scene(batch=2)
        both = [arrays(rig()), arrays(rig().with_cameras(rig().cameras[::-1]))]
        stacked = RigArrays(*(torch.stack(pair) for pair in zip(*both, strict=True)))
        grid = cuboid(torch.tensor(np.stack([BASE, BASE + 50])).float(), SIDE, SIZE)
        together = unproject(
            torch.from_numpy(features), grid, Lenses(stacked, torch.from_numpy(matrices), torch.ones(2, 4))
        )
        for sample in range(2):
            part = slice(sample, sample + 1)
            to_map = Lenses(both[sample], torch.from_numpy(matrices[part]), torch.ones(1, 4))
            alone = unproject(torch.from_numpy(features[part]), grid[part], to_map)
            assert torch.allclose(together[part], alone, atol=1e-5)

    def test_what_lies_beyond_the_fold_of_a_lens_is_not_seen(self) -> None:
        """A barrel polynomial folds back: a voxel far to the side would appear in the picture."""
        K = np.array([[400.0, 0, 320], [0, 400, 240], [0, 0, 1]])
        camera = Camera("cam", (640, 480), K, np.array([-0.3, 0, 0, 0]), np.zeros(3), np.zeros(3))
        lone = arrays(Rig((camera,)))
        fold = float(np.sqrt(1 / 0.9))  # where the derivative of r - 0.3 r^3 is 0
        assert widest(lone).item() == pytest.approx(fold, abs=4 / 96)
        to_map = Lenses(lone, torch.tensor([[[[16.0, 0, 7.5], [0, 16.0, 7.5]]]]), torch.ones(1, 1))
        inside, beyond = ([0.9 * fold * 1000, 0, 1000], [1.75 * 1000, 0, 1000])
        places = to_map.places(torch.tensor([[inside, beyond]]), 10, 8)
        assert places.seen.tolist() == [[[True, False]]]

    def test_parity_agrees_with_the_definition(self) -> None:
        features, _ = scene(seed=1)
        rng = np.random.default_rng(2)
        matrices = []
        for camera in rig().cameras:
            K = np.array([[20.0, 0, 7], [0, 18.0, 5], [0, 0, 1]])
            matrices.append(K @ np.concatenate([camera.R, camera.t[:, None]], axis=1))
        confidence = rng.uniform(0.1, 1, (1, 4, 3))
        places = reference.grid(BASE, SIDE, SIZE)
        grid = cuboid(torch.tensor(BASE[None], dtype=torch.float32), SIDE, SIZE)
        to_map = Projection(torch.tensor(np.array(matrices)[None], dtype=torch.float32), swapped=True)
        for aggregation in AGGREGATIONS:
            want = reference.unproject_as_published(
                features[0].astype(np.float64), places, matrices, aggregation, confidence[0]
            )
            got = unproject(
                torch.from_numpy(features), grid, to_map, aggregation, torch.from_numpy(confidence).float(), parity=True
            )
            assert np.abs(got[0].numpy() - want).max() < 2e-4, aggregation

    def test_an_unknown_aggregation_or_no_confidence_is_refused(self) -> None:
        features, matrices = (torch.from_numpy(a) for a in scene())
        to_map = Lenses(arrays(rig()), matrices, torch.ones(1, 4))
        grid = cuboid(torch.tensor(BASE[None], dtype=torch.float32), SIDE, SIZE)
        with pytest.raises(ValueError, match="softmax"):
            unproject(features, grid, to_map, "mean")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="needs confidences"):
            unproject(features, grid, to_map, "conf")


class TestNothingIsNaN:
    """Values and gradients are finite where a voxel or a camera is nowhere."""

    @pytest.mark.parametrize("aggregation", AGGREGATIONS)
    @pytest.mark.parametrize(
        "case", ["behind", "in the camera", "infinity", "no camera", "no matrix", "no confidence", "one camera"]
    )
    def test_value_and_gradient(self, aggregation, case) -> None:
        features, matrices = (torch.from_numpy(a) for a in scene())
        features.requires_grad_()
        confidence = torch.full((1, 4, 3), 0.5)
        base, weight = torch.tensor(BASE[None], dtype=torch.float32), torch.ones(1, 4)
        if case == "behind":
            base = torch.tensor([[9000.0, 0, 0]])
        elif case == "in the camera":
            base = torch.tensor(rig().cameras[0].center_mm[None], dtype=torch.float32)
        elif case == "infinity":
            base = torch.tensor([[1e12, -1e12, 3e11]])
        elif case in ("no camera", "no matrix"):
            weight = torch.zeros(1, 4)
            matrices = matrices * (0 if case == "no matrix" else 1)
        elif case == "no confidence":
            confidence = torch.zeros(1, 4, 3)
        elif case == "one camera":
            weight = torch.tensor([[0.0, 1, 0, 0]])
        base.requires_grad_()
        confidence.requires_grad_()
        grid = cuboid(base, SIDE, SIZE)
        volume = unproject(features, grid, Lenses(arrays(rig()), matrices, weight), aggregation, confidence)
        position = soft_argmax_3d(volume, grid, 3.0)
        assert torch.isfinite(volume).all() and torch.isfinite(position).all()
        (volume.square().sum() + (position * 1e-3).square().sum()).backward()
        for leaf in (features, base, confidence):
            assert leaf.grad is None or torch.isfinite(leaf.grad).all()
        if case in ("infinity", "no camera", "no matrix"):
            assert not volume.any()

    def test_gradients_are_those_of_differences(self) -> None:
        features, matrices = (torch.from_numpy(a).double() for a in scene(channels=2))
        confidence = torch.rand(1, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        grid = cuboid(torch.tensor(BASE[None]), SIDE, 3)
        to_map = Lenses(arrays(rig(), torch.float64), matrices, torch.ones(1, 4))

        def answer(features, confidence):
            volume = unproject(features, grid, to_map, "conf_norm", confidence)
            return soft_argmax_3d(volume, grid) / 1000

        assert torch.autograd.gradcheck(answer, (features.requires_grad_(), confidence.requires_grad_()))


class TestSoftArgmax:
    def test_agrees_with_the_definition(self) -> None:
        rng = np.random.default_rng(0)
        volumes = rng.normal(size=(2, 3, SIZE, SIZE, SIZE)).astype(np.float32)
        grid = cuboid(torch.tensor(np.stack([BASE, -BASE])).float(), SIDE, SIZE, torch.tensor([0.2, 1.0]))
        got = soft_argmax_3d(torch.from_numpy(volumes), grid, 7.0).numpy()
        for sample in range(2):
            want = reference.soft_argmax_3d(volumes[sample], grid[sample].double().numpy(), 7.0)
            assert np.abs(got[sample] - want).max() < 1e-2

    def test_a_far_origin_of_the_world_costs_no_more_than_its_rounding(self) -> None:
        base = torch.tensor([[1e5, -1e5, 5e4]])
        volumes = torch.randn(1, 2, 32, 32, 32, generator=torch.Generator().manual_seed(0))
        grid = cuboid(base, SIDE, 32)
        got = soft_argmax_3d(volumes, grid).numpy()[0]
        want = reference.soft_argmax_3d(volumes[0].numpy(), grid[0].double().numpy())
        assert np.abs(got - want).max() < 0.02
