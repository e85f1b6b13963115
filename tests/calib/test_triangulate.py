"""The closed form against the truth, against a float64 SVD, and in float32."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calib.rig import Rig, RigArrays, read_rig
from calib.triangulate import residuals, triangulate, triangulate_with_residuals
from tests.calib.scenes import cloud, fly_rig, narrow_pair, ring, svd_triangulate, views


def noisy(rig, n, extent_mm, sigma_px, seed=0):
    rng = np.random.default_rng(seed + 1)
    points = cloud(rig, n, extent_mm, seed)
    px = views(rig, points)
    return points, px + rng.normal(0, sigma_px, px.shape) if sigma_px else px, rng.uniform(0.3, 1, px.shape[:2])


def distance(a, b):
    return np.linalg.norm(a - b, axis=-1)


def as_torch(arrays, dtype=torch.float64):
    return RigArrays(*(torch.tensor(a, dtype=dtype) for a in arrays))


rigs = st.builds(
    ring,
    st.integers(2, 12),
    radius_mm=st.floats(50, 20000),
    focal_px=st.floats(300, 20000),
    spread=st.floats(1.0, 6.0),
    origin_mm=st.tuples(*[st.floats(-1e5, 1e5)] * 3),
)


class TestTriangulate:
    @settings(max_examples=40, deadline=None)
    @given(rig=rigs, seed=st.integers(0, 99))
    def test_projecting_and_triangulating_returns_the_point(self, rig, seed):
        unit = rig.working[1]
        points = cloud(rig, 10, 0.2 * unit, seed)
        found = triangulate(views(rig, points), np.ones((len(rig), 10)), rig.arrays())
        # 1e-13 of 100 m is what OpenCV's own float64 projection loses there.
        assert distance(found, points).max() < 1e-8 * unit + 1e-6

    @settings(max_examples=20, deadline=None)
    @given(shift=st.tuples(*[st.floats(-1e5, 1e5)] * 3), scale=st.floats(1e-3, 1e3), seed=st.integers(0, 9))
    def test_moving_the_world_and_scaling_units_move_the_answer_alike(self, shift, scale, seed):
        rig = ring(4)
        _, px, weight = noisy(rig, 8, 500, 3, seed)
        moved = ring(4, radius_mm=4000 * scale, height_mm=700 * scale, origin_mm=shift)
        here = triangulate(px, weight, rig.arrays())
        there = triangulate(px, weight, moved.arrays())
        np.testing.assert_allclose(there, here * scale + shift, atol=1e-6 * scale + 1e-8)

    @settings(max_examples=20, deadline=None)
    @given(order=st.permutations(range(5)), seed=st.integers(0, 9))
    def test_the_order_of_the_cameras_does_not_matter(self, order, seed):
        rig = ring(5)
        _, px, weight = noisy(rig, 8, 500, 3, seed)
        order = list(order)
        other = Rig(tuple(rig.cameras[i] for i in order))
        np.testing.assert_allclose(
            triangulate(px[order], weight[order], other.arrays()), triangulate(px, weight, rig.arrays()), atol=1e-8
        )

    @pytest.mark.parametrize("n", range(2, 13))
    def test_is_the_svd_from_two_to_twelve_views(self, n):
        rig = ring(n, spread=3.0)
        _, px, weight = noisy(rig, 40, 600, 4)
        found = triangulate(px, weight, rig.arrays())
        np.testing.assert_allclose(found, svd_triangulate(rig, px, weight), atol=1e-6)

    def test_unseen_views_do_not_count_however_they_are_marked(self):
        rig = ring(4)
        _, px, weight = noisy(rig, 6, 500, 3)
        a = rig.arrays()
        first = RigArrays(a.K[:3], a.dist[:3], a.fisheye[:3], a.Rt[:3], a.world)
        three = triangulate(px[:3], weight[:3], first)
        nan, zero = px.copy(), weight.copy()
        nan[3] = np.nan
        zero[3] = 0
        np.testing.assert_allclose(triangulate(nan, weight, rig.arrays()), three, atol=1e-9)
        np.testing.assert_allclose(triangulate(px, zero, rig.arrays()), three, atol=1e-9)

    def test_with_one_view_there_is_no_answer(self):
        rig = ring(3)
        _, px, weight = noisy(rig, 2, 500, 0)
        px[1:, 0] = np.nan
        weight[:, 1] = 0
        assert np.isnan(triangulate(px, weight, rig.arrays())).all()

    def test_leading_axes_are_batched(self):
        rig = ring(4)
        _, px, weight = noisy(rig, 12, 500, 3)
        one = triangulate(px, weight, rig.arrays())
        batch = np.moveaxis(px.reshape(4, 2, 3, 2, 2), 0, 2), np.moveaxis(weight.reshape(4, 2, 3, 2), 0, 2)
        np.testing.assert_allclose(triangulate(*batch, rig.arrays()).reshape(12, 3), one, atol=1e-9)


FLOAT32 = {
    # rig, extent, noise, p99 allowed against the SVD in mm
    "four cameras at 4 m": (ring(4), 800, 2, 0.001),
    "world origin 5 m away": (ring(4, origin_mm=(3000, -4000, 500)), 800, 2, 0.001),
    "world origin 170 m away": (
        ring(4, origin_mm=(1e5, 1e5, 1e5)),
        800,
        2,
        0.008,
    ),  # = the resolution of a float32 there
    "twelve cameras": (ring(12), 800, 2, 0.001),
    "fly": (fly_rig(), 1.5, 2, 0.001),
    "strong barrel": (ring(4, focal_px=700, dist=(-0.28, 0, 0, 0)), 800, 1, 0.001),
    "parallel pair, 8 px": (narrow_pair(True), 500, 8, 0.2),
    "converging pair, 8 px": (narrow_pair(False), 500, 8, 0.2),
}


class TestFloat32:
    @pytest.mark.parametrize("name", FLOAT32)
    def test_is_the_float64_svd(self, name):
        rig, extent, sigma, allowed = FLOAT32[name]
        _, px, weight = noisy(rig, 300, extent, sigma)
        found = triangulate(px.astype(np.float32), weight.astype(np.float32), rig.arrays().astype(np.float32))
        assert found.dtype == np.float32
        assert np.percentile(distance(found, svd_triangulate(rig, px, weight)), 99) < allowed

    def test_raw_millimetres_without_the_normalisation_fail_by_metres(self):
        rig = ring(4, origin_mm=(20000, 0, 0))
        points, px, weight = noisy(rig, 300, 800, 0)
        arrays = rig.arrays()
        poses = np.stack([np.column_stack([camera.R, camera.t]) for camera in rig.cameras])
        raw = arrays._replace(Rt=poses, world=np.array([0.0, 0, 0, 1])).astype(np.float32)
        with np.errstate(all="ignore"):
            found = triangulate(px.astype(np.float32), weight.astype(np.float32), raw)
        assert np.nanmedian(distance(found, points)) > 1000


class TestResiduals:
    def test_are_distances_in_raw_pixels(self):
        rig = ring(3, dist=(-0.2, 0.03, 0.001, 0.001, 0))
        points = cloud(rig, 5, 300)
        px = views(rig, points)
        px[1, 2] += (3, 4)
        px[0, 1] = np.nan
        expected = np.zeros((3, 5))
        expected[1, 2], expected[0, 1] = 5, np.nan
        np.testing.assert_allclose(residuals(px, points, rig.arrays()), expected, atol=1e-6)

    def test_of_a_point_behind_a_camera_is_nan(self):
        rig = ring(3)
        behind = rig.cameras[0].center_mm - 50 * rig.cameras[0].axis
        found = residuals(np.zeros((3, 1, 2)), behind[None], rig.arrays())
        assert np.isnan(found[0]).all()
        assert np.isfinite(found[1:]).any()


class TestOneSource:
    def test_numpy_and_torch_agree(self):
        rig = ring(5, dist=(-0.2, 0.03, 0.001, 0.001, 0))
        _, px, weight = noisy(rig, 20, 600, 3)
        px[2, 3] = np.nan
        ours = triangulate_with_residuals(px, weight, rig.arrays())
        theirs = triangulate_with_residuals(torch.tensor(px), torch.tensor(weight), as_torch(rig.arrays()))
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(b.numpy(), a, atol=1e-8)

    def test_torch_export_traces_it(self):
        class Head(torch.nn.Module):
            def forward(self, points, weight, K, dist, fisheye, Rt, world):
                return triangulate_with_residuals(points, weight, RigArrays(K, dist, fisheye, Rt, world))

        rig = ring(4)
        _, px, weight = noisy(rig, 7, 600, 3)
        values = (torch.tensor(px[None]), torch.tensor(weight[None]), *as_torch(rig.arrays()))
        exported = torch.export.export(Head(), values).module()
        other = (torch.tensor(px[None] + 2), *values[1:])
        np.testing.assert_allclose(
            exported(*other)[0].numpy(), triangulate(px + 2, weight, rig.arrays())[None], atol=1e-8
        )

    def test_gradients_flow_to_points_and_weights(self):
        rig = ring(4)
        _, px, weight = noisy(rig, 5, 500, 3)
        px[0, 0] = np.nan
        points = torch.tensor(px, requires_grad=True)
        weights = torch.tensor(weight, requires_grad=True)
        triangulate(points, weights, as_torch(rig.arrays())).sum().backward()
        seen = np.isfinite(px).all(axis=-1)
        assert torch.isfinite(weights.grad).all()
        assert torch.isfinite(points.grad[torch.tensor(seen)]).all()


@pytest.mark.data
class TestRealBoard:
    def test_corners_of_a_real_board_keep_their_distances(self, data_dir):
        rig = read_rig(data_dir / "charuco4-corners/camera_array.toml", "m")
        table = np.loadtxt(
            data_dir / "charuco4-corners/calibration/extrinsic/CHARUCO/xy_CHARUCO.csv", delimiter=",", skiprows=1
        )
        frames = np.unique(table[:, 0])
        px = np.full((len(frames), 4, 12, 2), np.nan)
        px[np.searchsorted(frames, table[:, 0]), table[:, 1].astype(int), table[:, 3].astype(int)] = table[:, 4:6]
        board = np.full((12, 3), np.nan)
        board[table[:, 3].astype(int)] = table[:, 6:9] * 1000
        found = triangulate(px, np.ones(px.shape[:3]), rig.arrays())
        a, b = np.triu_indices(12, 1)
        error = distance(found[:, a], found[:, b]) - distance(board[a], board[b])
        error = error[np.isfinite(error)]
        assert len(error) > 1000
        # Webcams synchronised to milliseconds; the recording's own cameras give 1.16 mm rms.
        assert np.sqrt(np.mean(error**2)) < 1.3
