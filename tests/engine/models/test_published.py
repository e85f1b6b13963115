"""The published networks: against what their public code answered, and against float64 numpy in both modes.

The golden values were made by scripts/golden_published.py, which runs that code beside on the same weights.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from calib.camera import Camera  # noqa: E402
from calib.rig import Rig, RigArrays  # noqa: E402
from engine.models import parity, ransac  # noqa: E402
from engine.models.pose_resnet import PoseResNet  # noqa: E402
from engine.models.published import (  # noqa: E402
    PublishedAlgebraic,
    PublishedRansac,
    PublishedVolumetric,
    hottest,
)
from engine.models.volume import Projection, unproject  # noqa: E402
from rigpose.errors import ConfigError  # noqa: E402
from tests.calib.scenes import svd_triangulate  # noqa: E402
from tests.engine.models.reference import layers3d, triangulation, volume  # noqa: E402
from tests.engine.models.reference.layers import Weights  # noqa: E402
from tests.engine.models.reference.networks import pose_resnet  # noqa: E402
from tests.engine.models.reference.weights import seeded  # noqa: E402

WITHIN_MM = 0.01
LENS = (-0.2, 0.1, 0.002, -0.001, 0.02)
J = 5
SIZE, SIDE_MM = 8, 1500.0
SMALL_V2V: dict[str, Any] = {"widths": (6, 8, 8), "first": 4, "first_kernel": 3}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@cache
def golden() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "golden" / "published.npz") as values:
        return dict(values)


def rig(dist: tuple[float, ...] = ()) -> Rig:
    values = golden()
    return Rig(
        tuple(
            Camera(f"cam{v}", (1000, 1000), K, np.array(dist), cv2.Rodrigues(R)[0].ravel(), t)
            for v, (K, R, t) in enumerate(zip(values["K"], values["R"], values["t"], strict=True))
        )
    )


def inputs(dist: tuple[float, ...] = (), samples: slice = slice(None), dtype: Any = torch.float32) -> list[Any]:
    """The inputs of the contract for the golden scene."""
    crops, matrix = golden()["crops"][samples], golden()["crop_to_image"][samples]
    present = np.ones(crops.shape[:2])
    arrays = [torch.from_numpy(array).to(dtype) for array in (matrix, present, *rig(dist).arrays())]
    return [torch.from_numpy(crops), *arrays]


def filled(model: Any) -> Any:
    state = seeded({key: tuple(value.shape) for key, value in model.state_dict().items()})
    model.load_state_dict({key: torch.from_numpy(np.asarray(value)) for key, value in state.items()})
    return model.eval()


def weights_of(model: Any, at: str = "backbone.") -> Weights:
    return Weights({key: value.numpy() for key, value in model.state_dict().items()}, at)


def off_mm(found: Any, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found.numpy() - expected, axis=-1).max())


class TestGolden:
    """Parity answers what the public code answered, both in float64."""

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("alg", {}),
            ("alg_no_conf", {"confidences": False}),
            ("alg_mass", {"softmax": False}),
            pytest.param("alg_50", {"layers": 50}, marks=pytest.mark.slow),
            pytest.param("alg_caffe", {"layers": 50, "style": "caffe"}, marks=pytest.mark.slow),
        ],
    )
    @torch.no_grad()
    def test_algebraic(self, name: str, options: dict[str, Any]) -> None:
        only = slice(1) if "layers" in options else slice(None)
        values = {key: value[only] for key, value in golden().items() if key.startswith(f"{name}.")}
        to_image = golden()["crop_to_image"][only]
        model = filled(PublishedAlgebraic(**({"layers": 18} | options), parity=True)).double()
        crops, matrix, present, *_ = given = inputs((), only, torch.float64)
        answer = model(*given)
        expected = values[f"{name}.points2d"] @ to_image[..., :2].swapaxes(-1, -2) + to_image[..., None, :, 2]
        assert np.abs(answer.points2d.numpy() - expected).max() < 1e-4
        share = model.weights(answer.confidence, present).numpy()
        assert np.abs(share - values[f"{name}.confidence"]).max() < 1e-5
        assert off_mm(answer.points3d, values[f"{name}.points3d"]) < WITHIN_MM

    @torch.no_grad()
    def test_ransac(self) -> None:
        model = filled(PublishedRansac(layers=18, parity=True)).double()
        given = inputs(dtype=torch.float64)
        answer = model(*given)
        in_crop = hottest(model.maps(given[0].flatten(0, 1)).heatmaps) * 4
        assert np.array_equal(in_crop.reshape(golden()["ransac.points2d"].shape).numpy(), golden()["ransac.points2d"])
        # Its optimiser stops where the cost changes by a hundred-millionth: where along a flat valley that is, depends
        # on the processor's last bits.
        off = np.linalg.norm(answer.points3d.numpy() - golden()["ransac.points3d"], axis=-1)
        assert off.max() < 5 * WITHIN_MM and np.quantile(off, 0.9) < WITHIN_MM

    def test_consensus_on_points_with_outliers(self) -> None:
        values = golden()
        sizes = {int(mask).bit_count() for mask in values["consensus.inliers"]}
        assert sizes == {2, 3, 4} and len(values["consensus.points"]) > 30, "sets of all sizes are in it"
        for number, points in enumerate(values["consensus.points"]):
            for refine, name in ((True, "points3d"), (False, "linear3d")):
                position, inliers = ransac.published(points, values["consensus.matrices"], refine=refine)
                assert np.linalg.norm(position - values[f"consensus.{name}"][number]) < WITHIN_MM
                assert sum(1 << v for v in np.flatnonzero(inliers)) == values["consensus.inliers"][number]

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("way", "options", "turned"),
        [
            ("softmax", {}, False),
            ("conf_norm", {}, True),
            ("sum", {"vertical": "y"}, True),
            ("max", {"panoptic_in_human36m": True}, False),
            ("conf", {"softmax": False, "multiplier": 0.0001}, False),
        ],
    )
    @torch.no_grad()
    def test_volumetric(self, way: Any, options: dict[str, Any], turned: bool) -> None:
        model = filled(PublishedVolumetric(layers=18, size=32, aggregation=way, parity=True, **options)).double()
        # One sample tells as much as two, but for the turns.
        only = slice(None) if way == "conf_norm" else slice(1)
        theta = torch.from_numpy(golden()["vol.theta"][only]) if turned else None
        found = model(*inputs((), only, torch.float64), torch.from_numpy(golden()["base_mm"][only]), theta)
        assert np.abs(found.grid_mm[:, 3, 5, 7].numpy() - golden()[f"vol_{way}.corner_mm"][only]).max() < 1e-3
        heat = golden()[f"vol_{way}.heat"][only]
        assert np.abs(found.heat[:, :, ::8, ::8, ::8].numpy() - heat).max() < 1e-4 * np.abs(heat).max()
        assert off_mm(found.points3d, golden()[f"vol_{way}.points3d"][only]) < WITHIN_MM

    @pytest.mark.parametrize("way", ["sum", "max", "softmax", "conf"])
    def test_unprojection_with_voxels_behind_cameras(self, way: Any) -> None:
        names = ("features", "grid_mm", "matrices", "confidence")
        features, grid, matrices, confidence = (torch.from_numpy(golden()[f"unprojection.{name}"]) for name in names)
        found = unproject(features, grid, Projection(matrices, swapped=True), way, confidence, parity=True)
        assert np.abs(found.numpy() - golden()[f"unprojection.{way}"]).max() < 1e-6


@cache
def seen(as_published: bool) -> tuple[Any, ...]:
    """Heatmaps, features and confidences of the first sample, by numpy; weights depend on their keys alone."""
    whole = PoseResNet(18, J, alg_confidences=True, vol_confidences=32)
    state = seeded({f"backbone.{key}": tuple(value.shape) for key, value in whole.state_dict().items()})
    return pose_resnet(Weights(state, "backbone."), triangulation.normalised(golden()["crops"][:1], as_published))


class TestAgainstNumpy:
    """Both modes against independent float64 numpy; without parity through lenses."""

    @torch.no_grad()
    def test_algebraic_in_parity(self) -> None:
        model = filled(PublishedAlgebraic(J, layers=18, parity=True))
        heatmaps, _, confidence, _ = seen(True)
        matrix = golden()["crop_to_image"][0]
        matrices = [triangulation.projection(c, m) for c, m in zip(rig().cameras, matrix, strict=True)]
        points = np.array([[triangulation.point_of(h, True) for h in view] for view in heatmaps])
        expected = [triangulation.dlt(points[:, j], triangulation.shares(confidence[:, j]), matrices) for j in range(5)]
        assert off_mm(model(*inputs(samples=slice(1))).points3d[0], np.array(expected)) < WITHIN_MM

    @pytest.mark.parametrize(("confidences", "softmax"), [(True, True), (False, False)])
    @torch.no_grad()
    def test_algebraic(self, confidences: bool, softmax: bool) -> None:
        model = filled(PublishedAlgebraic(J, layers=18, confidences=confidences, softmax=softmax))
        heatmaps, _, confidence, _ = seen(False)
        in_crop = np.array([[triangulation.point_of(h, False, softmax) for h in view] for view in heatmaps])
        matrix = golden()["crop_to_image"][0]
        raw = in_crop @ matrix[..., :2].swapaxes(-1, -2) + matrix[:, None, :, 2]
        lensed = rig(LENS)
        expected = svd_triangulate(lensed, raw, confidence if confidences else None)
        answer = model(*inputs(LENS, slice(1)))
        assert np.abs(answer.points2d[0].numpy() - raw).max() < 2e-3
        assert off_mm(answer.points3d[0], expected) < WITHIN_MM
        residual = [
            [np.linalg.norm(triangulation.projected(camera, X) - raw[v, j]) for j, X in enumerate(expected)]
            for v, camera in enumerate(lensed.cameras)
        ]
        assert np.abs(answer.residual_px[0].numpy() - np.array(residual)).max() < 0.01

    @torch.no_grad()
    def test_ransac(self) -> None:
        model = filled(PublishedRansac(J, layers=18))
        heatmaps, *_ = seen(False)
        in_crop = np.array([[triangulation.point_of(h, False) for h in view] for view in heatmaps])
        matrix = golden()["crop_to_image"][0]
        raw = in_crop @ matrix[..., :2].swapaxes(-1, -2) + matrix[:, None, :, 2]
        px_in_crop = 1 / np.sqrt(np.linalg.det(matrix[..., :2]))
        answer = model(*inputs(LENS, slice(1)))
        for j in range(3):
            expected, chosen = triangulation.consensus(raw[:, j], px_in_crop, rig(LENS), svd_triangulate)
            assert np.flatnonzero(answer.confidence[0, :, j].numpy()).tolist() == chosen
            assert off_mm(answer.points3d[0, j], expected) < WITHIN_MM

    @pytest.mark.parametrize(
        ("as_published", "way"),
        [(True, "softmax"), (True, "conf_norm"), (False, "softmax"), (False, "conf_norm"), (False, "max")],
    )
    @torch.no_grad()
    def test_volumetric(self, as_published: bool, way: Any) -> None:
        model = PublishedVolumetric(
            J, layers=18, size=SIZE, side_mm=SIDE_MM, aggregation=way, v2v=SMALL_V2V, parity=as_published
        )
        filled(model)
        _, features, _, confidence = seen(as_published)
        weights = weights_of(model, "process_features.0.")
        features = weights.convolve(features)
        base, theta = golden()["base_mm"][0], 0.9
        places = volume.grid(base, SIDE_MM, SIZE, theta)
        matrix = golden()["crop_to_image"][0]
        if as_published:
            scale = np.diag([0.25, 0.25, 1])
            matrices = [scale @ triangulation.projection(c, m) for c, m in zip(rig().cameras, matrix, strict=True)]
            volumes = volume.unproject_as_published(features, places, matrices, way, confidence)
        else:
            volumes = volume.unproject(features, places, rig(LENS).cameras, matrix, np.ones(4), way, confidence)
        logits = layers3d.v2v(
            volumes, {k: v.astype(float) for k, v in weights_of(model).state.items()}, 2, "volume_net."
        )
        expected = volume.soft_argmax_3d(logits, places)
        given = inputs(() if as_published else LENS, slice(1))
        found = model(*given, torch.from_numpy(base[None]).float(), torch.tensor([theta]))
        assert off_mm(found.points3d[0], expected) < WITHIN_MM
        assert np.std(expected, axis=0).max() > 1, "the joints do not all lie in the middle"


class TestConsensus:
    def scene(self, noise: float = 1.0, outlier: float = 0.0) -> tuple[Rig, np.ndarray, np.ndarray]:
        here = rig(LENS)
        random = np.random.default_rng(3)
        truth = random.uniform(-400, 400, (6, 9, 3)) + (0, 0, 900)
        px = np.stack([camera.project(truth) for camera in here.cameras], axis=1) + random.normal(
            0, noise, (6, 4, 9, 2)
        )
        px[:, 1, ::2] += outlier
        return here, truth, px

    def test_finds_the_view_that_lies(self) -> None:
        here, truth, px = self.scene(outlier=200.0)
        found = ransac.consensus(px, np.full((6, 4), 0.3), here.arrays())
        assert not found.inliers[:, 1, ::2].any()
        assert found.inliers[:, [0, 2, 3]].all() and found.inliers[:, 1, 1::2].all()
        assert np.linalg.norm(found.position_mm - truth, axis=-1).max() < 25

    def test_a_point_that_few_see_is_made_from_those_or_not_at_all(self) -> None:
        here, truth, px = self.scene(noise=0.0)
        px[:, 2:, 0] = np.nan
        px[:, 1:, 1] = np.nan
        found = ransac.consensus(px, np.ones((6, 4)), here.arrays())
        assert np.linalg.norm(found.position_mm - truth, axis=-1)[:, [0, 2, 3, 4, 5, 6, 7, 8]].max() < 1e-5
        assert np.isnan(found.position_mm[:, 1]).all() and not found.inliers[:, 1:, 1].any()
        alone = Rig(here.cameras[:1])
        assert np.isnan(ransac.consensus(px[:, :1], np.ones((6, 1)), alone.arrays()).position_mm).all()

    def test_a_view_that_does_not_see_it_is_as_if_it_were_not_there(self) -> None:
        here, _, px = self.scene(noise=3.0)
        keep = [0, 1, 3]
        three = ransac.consensus(px[:, keep], np.full((6, 3), 0.3), Rig(tuple(here.cameras[v] for v in keep)).arrays())
        px[:, 2] = np.nan
        found = ransac.consensus(px, np.full((6, 4), 0.3), here.arrays())
        assert np.array_equal(found.inliers[:, keep], three.inliers)
        assert np.linalg.norm(found.position_mm - three.position_mm, axis=-1).max() < 1e-3

    def test_a_view_that_is_off_a_little_pulls_less_than_its_square(self) -> None:
        here, truth, px = self.scene(noise=0.3, outlier=60.0)
        px_in_crop = np.full((6, 4), 0.3)
        mild = ransac.consensus(px, px_in_crop, here.arrays())
        quadratic = ransac.consensus(px, px_in_crop, here.arrays(), huber_px=1e6)
        assert mild.inliers.all() and quadratic.inliers.all()
        error = [np.linalg.norm(a.position_mm - truth, axis=-1)[:, ::2].mean() for a in (mild, quadratic)]
        assert error[0] < 0.5 * error[1]


class TestNothingIsNotANumber:
    """What may happen to a rig that runs, in value and gradient."""

    def model(self, kind: Any = PublishedAlgebraic, **options: Any) -> Any:
        return filled(kind(3, layers=18, **options))

    @pytest.mark.parametrize("as_published", [True, False])
    def test_an_absent_camera_is_as_if_it_were_not_there(self, as_published: bool) -> None:
        model = self.model(parity=as_published)
        given = inputs(samples=slice(1))
        given[2] = torch.tensor([[1.0, 1, 0, 1]])
        given[0] = given[0].clone()
        given[0][:, 2] = 0
        given[1] = given[1].clone()
        given[1][:, 2] = 0
        crops, matrix, present, K, dist, fisheye, Rt, world = inputs(samples=slice(1))
        keep = [0, 1, 3]
        three = model(
            crops[:, keep], matrix[:, keep], present[:, keep], K[keep], dist[keep], fisheye[keep], Rt[keep], world
        )
        answer = model(*given)
        assert torch.allclose(answer.points3d, three.points3d, atol=1e-3)
        assert answer.points2d[0, 2].isnan().all() and not answer.confidence[0, 2].any()
        answer.points3d.square().sum().backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)

    @pytest.mark.parametrize(
        ("as_published", "way"),
        [*[(True, way) for way in ("softmax", "max", "sum", "conf", "conf_norm")], (False, "softmax")],
    )
    def test_an_absent_camera_says_nothing_in_the_volume(self, as_published: bool, way: Any) -> None:
        model = self.model(
            PublishedVolumetric, size=SIZE, side_mm=SIDE_MM, aggregation=way, v2v=SMALL_V2V, parity=as_published
        )
        model.backbone.requires_grad_(False)
        base = torch.from_numpy(golden()["base_mm"][:1]).float()
        given = inputs(samples=slice(1))
        crops, matrix, present, K, dist, fisheye, Rt, world = given
        keep = [0, 1, 3]
        expected = model(
            crops[:, keep], matrix[:, keep], present[:, keep], K[keep], dist[keep], fisheye[keep], Rt[keep], world, base
        )
        given[2] = torch.tensor([[1.0, 1, 0, 1]])
        given[0] = 255 - given[0]
        given[0][:, keep] = crops[:, keep]
        found = model(*given, base)
        assert torch.allclose(found.points3d, expected.points3d, atol=2e-3)
        found.points3d.square().sum().backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)

    @pytest.mark.parametrize("as_published", [True, False])
    def test_volumes_without_base_or_views(self, as_published: bool) -> None:
        model = self.model(PublishedVolumetric, size=SIZE, side_mm=SIDE_MM, v2v=SMALL_V2V, parity=as_published)
        model.backbone.requires_grad_(False)
        given = inputs()
        given[2] = torch.tensor([[1.0, 1, 1, 1], [0, 0, 0, 0]])
        base = torch.tensor([[float("nan"), 0, 0], [0, 0, 900]])
        found = model(*given, base)
        assert found.points3d.isnan().all()
        assert found.grid_mm.isfinite().all() and found.heat.isfinite().all()
        torch.where(found.points3d.isnan(), 0.0, found.points3d).sum().backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)

    def test_one_view_alone_has_a_volume(self) -> None:
        model = self.model(PublishedVolumetric, size=SIZE, side_mm=SIDE_MM, v2v=SMALL_V2V)
        given = inputs(samples=slice(1))
        given[2] = torch.tensor([[0.0, 1, 0, 0]])
        with torch.no_grad():
            assert model(*given, torch.from_numpy(golden()["base_mm"][:1]).float()).points3d.isfinite().all()

    def test_parity_refuses_a_volume_seen_through_lenses(self) -> None:
        model = self.model(PublishedVolumetric, size=SIZE, v2v=SMALL_V2V, parity=True)
        with pytest.raises(ConfigError, match="looks through undistorted pictures"):
            model(*inputs(LENS), torch.zeros(2, 3))

    def test_points_found_through_lenses_are_undistorted_in_parity(self) -> None:
        """The linear answer of distorted points is that of the same points in undistorted pictures."""
        truth = torch.tensor([[[100.0, -50, 900], [-300, 200, 1200]]])
        model = PublishedAlgebraic(2, layers=18, confidences=False, parity=True)
        here = rig(LENS)
        raw = np.stack([camera.project(truth.numpy()[0]) for camera in here.cameras])[None]
        _, matrix, present, *arrays = inputs(LENS, slice(1))
        in_crop = torch.from_numpy(raw).float() - matrix[..., None, :, 2]
        in_crop = torch.matmul(in_crop, torch.linalg.inv(matrix[..., :2]).transpose(-1, -2))
        found = model.triangulate(in_crop, torch.ones(1, 4, 2), matrix, present, RigArrays(*arrays))
        assert off_mm(found, truth.numpy()) < 0.02

    @pytest.mark.parametrize("as_published", [True, False])
    def test_a_rig_for_each_sample(self, as_published: bool) -> None:
        model = PublishedAlgebraic(3, layers=18, parity=as_published)
        random = torch.Generator().manual_seed(0)
        in_crop = torch.rand(2, 4, 3, 2, generator=random) * 20 + torch.tensor([70.0, 55])
        confidence = torch.rand(2, 4, 3, generator=random)
        _, matrix, present, *arrays = inputs()
        rig_of_all = RigArrays(*arrays)
        each = RigArrays(*(torch.stack([a, a]) for a in arrays))
        one = model.triangulate(in_crop, confidence, matrix, present, rig_of_all)
        assert torch.allclose(model.triangulate(in_crop, confidence, matrix, present, each), one, atol=1e-2)


class TestLinear:
    """The triangulation of parity."""

    def gradient(self, points: Any, weight: Any) -> tuple[Any, Any]:
        matrices = torch.from_numpy(golden()["consensus.matrices"][None])
        points, weight = points.double().requires_grad_(), weight.double().requires_grad_()
        found = parity.linear_mm(points, weight, matrices[:, : points.shape[1]])
        torch.where(found.isfinite(), found, 0.0).sum().backward()
        assert points.grad.isfinite().all() and weight.grad.isfinite().all()
        return found.detach(), (points.grad, weight.grad)

    def test_is_the_null_vector_of_an_svd(self) -> None:
        values = golden()
        points = torch.from_numpy(values["consensus.points"]).permute(1, 0, 2)[None]
        weight = torch.rand(points.shape[:3], generator=torch.Generator().manual_seed(0)) + 0.01
        found, _ = self.gradient(points, weight)
        for j in range(40):
            expected = triangulation.dlt(
                values["consensus.points"][j], weight[0, :, j].numpy(), values["consensus.matrices"]
            )
            assert np.linalg.norm(found[0, j].numpy() - expected) < 1e-4

    def test_its_gradient_is_that_of_differences(self) -> None:
        points = torch.from_numpy(golden()["consensus.points"][:2]).permute(1, 0, 2)[None].double()
        matrices = torch.from_numpy(golden()["consensus.matrices"][None])
        weight = torch.tensor([0.9, 0.2, 0.5, 0.7]).reshape(1, 4, 1).repeat(1, 1, 2).double()
        check = torch.autograd.gradcheck
        assert check(
            lambda p, w: parity.linear_mm(p, w, matrices),
            (points.requires_grad_(), weight.requires_grad_()),
            eps=1e-4,
            atol=1e-4,
            rtol=1e-4,
        )

    def test_parallel_rays_end_in_nan_with_a_finite_gradient(self) -> None:
        P = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
        matrices = torch.tensor(np.stack([P, P + np.array([[0, 0, 0, -500.0], [0] * 4, [0] * 4])]))[None]
        points = torch.zeros(1, 2, 1, 2, dtype=torch.float64, requires_grad=True)
        found = parity.linear_mm(points, torch.ones(1, 2, 1), matrices)
        assert found.isnan().all()
        torch.where(found.isnan(), 0.0, found).sum().backward()
        assert points.grad.isfinite().all()

    def test_nobody_and_one_alone(self) -> None:
        points = torch.from_numpy(golden()["consensus.points"][:3]).permute(1, 0, 2)[None].clone()
        points[0, 1:, 0] = torch.nan
        points[0, :, 1] = torch.nan
        found, _ = self.gradient(points, torch.ones(1, 4, 3))
        assert found[0, :2].isnan().all() and found[0, 2].isfinite().all()
        found, _ = self.gradient(points, torch.zeros(1, 4, 3))
        assert found.isnan().all()

    def test_no_confidence_at_all_counts_all_views_alike(self) -> None:
        confidence = torch.zeros(1, 4, 2, requires_grad=True)
        share = parity.share(confidence, torch.tensor([[1.0, 1, 0, 1]]))
        assert torch.allclose(share[0, [0, 1, 3]], torch.full((3, 2), 1e-5)) and not share[0, 2].any()
        share.sum().backward()
        assert confidence.grad.isfinite().all()
