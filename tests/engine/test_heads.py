"""The committed heads: they are what their functions export, and as exact in float32 as need be."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calib.rig import RigArrays
from calib.triangulate import residuals, triangulate
from engine import decode
from engine.export_heads import HEAD_TABLE, HEADS, export
from tests.calib.scenes import cloud, fly_rig, narrow_pair, ring, svd_triangulate, views
from tests.engine import reference

DECODERS = [name for name in HEAD_TABLE if name != "geometry"]


def examples(name, seed=0):
    """Inputs of a head in sizes that it was not exported with."""
    rng = np.random.default_rng(seed)
    sizes: dict[Any, int] = {"B": 3, "V": 5, "J": 7, "N": 6, "C": 3, "h": 23, "w": 31, "2*J": 14}
    shapes = {key: tuple(int(sizes.get(d, d)) for d in shape) for key, shape in HEAD_TABLE[name].inputs.items()}
    return {key: np.asarray(rng.random(shape), np.float32) for key, shape in shapes.items()}


def geometry_inputs(rig, points, confidence, weight=None, min_score=0.3):
    """Inputs for crops that are the raw picture halved and moved; points (B, V, J, 2) raw px."""
    b, v = points.shape[:2]
    affine = np.zeros((b, v, 2, 3))
    affine[..., 0, 0] = affine[..., 1, 1] = 2
    affine[..., 2] = np.random.default_rng(1).uniform(0, 300, (b, v, 2))
    values = {
        "crop_points": (points - affine[:, :, None, :, 2]) / 2,
        "crop_confidence": confidence,
        "crop_to_image": affine,
        "view_weight": np.ones((b, v)) if weight is None else weight,
        **rig.arrays()._asdict(),
        "min_score": np.array(min_score),
    }
    return {key: np.asarray(value, np.float32) for key, value in values.items()}


@pytest.fixture(scope="module")
def geometry():
    session = reference.session((HEADS / "geometry.onnx").read_bytes())
    return lambda inputs: dict(zip(HEAD_TABLE["geometry"].outputs, session.run(None, inputs), strict=True))


class TestCommittedFiles:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", HEAD_TABLE)
    def test_exporting_again_gives_the_same(self, name):
        pytest.importorskip("torch")
        pytest.importorskip("onnxscript")
        logging.disable(logging.WARNING)  # torch names each torchvision operator that it does without
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                again = export(name)
        finally:
            logging.disable(logging.NOTSET)
        inputs = examples(name)
        committed = reference.session((HEADS / f"{name}.onnx").read_bytes()).run(None, inputs)
        now = reference.session(again.SerializeToString()).run(None, inputs)
        for one, other in zip(committed, now, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("name", HEAD_TABLE)
    def test_is_small_and_bears_no_trace_of_where_it_was_made(self, root, name):
        path = HEADS / f"{name}.onnx"
        data = path.read_bytes()
        assert len(data) < 64_000
        assert str(root).encode() not in data
        assert b".py" not in data
        onnx.checker.check_model(onnx.load_from_string(data), full_check=True)

    @pytest.mark.parametrize("name", DECODERS)
    def test_decodes_as_its_function_does(self, name):
        inputs = examples(name)
        got = reference.session((HEADS / f"{name}.onnx").read_bytes()).run(None, inputs)
        wanted = getattr(decode, name)(*(value.astype(np.float64) for value in inputs.values()))
        for one, other in zip(got, wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-4)


class TestGeometry:
    @settings(max_examples=25, deadline=None)
    @given(seed=st.integers(0, 10_000), n_views=st.integers(2, 8), subjects=st.integers(1, 3))
    def test_float32_is_within_a_hundredth_of_a_millimetre(self, geometry, seed, n_views, subjects):
        rng = np.random.default_rng(seed)
        rig = ring(n_views, spread=2 * np.pi if n_views > 2 else 2.0, dist=(-0.2, 0.1, 0.001, -0.0005, 0.02))
        truth = np.stack([cloud(rig, 17, 800, seed + i) for i in range(subjects)])
        points = np.stack([views(rig, one) for one in truth]) + rng.normal(0, 2, (subjects, n_views, 17, 2))
        confidence = rng.uniform(0.31, 1, points.shape[:-1])
        got = geometry(geometry_inputs(rig, points, confidence))
        for one, px, weight in zip(got["points3d"], points, confidence, strict=True):
            np.testing.assert_allclose(one, svd_triangulate(rig, px, weight), atol=0.01)
        wanted = residuals(points, triangulate(points, confidence, rig.arrays()), rig.arrays())
        np.testing.assert_allclose(got["residual_px"], wanted, atol=0.01)
        np.testing.assert_allclose(got["points2d"], points, atol=1e-3)

    @pytest.mark.parametrize(
        "rig, extent, mm", [(fly_rig(), 1.0, 1e-4), (narrow_pair(False), 500, 0.05), (ring(12), 900, 0.01)]
    )
    def test_holds_on_rigs_of_all_kinds(self, geometry, rig, extent, mm):
        points = views(rig, cloud(rig, 17, extent))[None]
        points = points + np.random.default_rng(0).normal(0, 0.5, points.shape)
        got = geometry(geometry_inputs(rig, points, np.ones(points.shape[:-1])))
        np.testing.assert_allclose(got["points3d"][0], svd_triangulate(rig, points[0]), atol=mm)

    def test_the_world_may_lie_far_away(self, geometry):
        near, far = ring(4), ring(4, origin_mm=(1e5, -1e5, 2e4))
        points = views(near, cloud(near, 17, 800))[None]
        points = points + np.random.default_rng(0).normal(0, 2, points.shape)
        ones = np.ones(points.shape[:-1])
        here, there = (geometry(geometry_inputs(rig, points, ones)) for rig in (near, far))
        shift = np.array([1e5, -1e5, 2e4])
        np.testing.assert_allclose(there["points3d"], here["points3d"] + shift, atol=0.02)
        np.testing.assert_allclose(there["residual_px"], here["residual_px"], atol=0.01)

    @pytest.mark.parametrize("absent", range(4))
    def test_an_absent_view_is_left_out(self, geometry, absent):
        rig = ring(4, dist=(-0.2, 0.1, 0.001, -0.0005, 0.02))
        points = views(rig, cloud(rig, 17, 800))[None] + np.random.default_rng(0).normal(0, 2, (1, 4, 17, 2))
        weight = np.ones((1, 4))
        weight[0, absent] = 0
        confidence = np.random.default_rng(1).uniform(0.31, 1, (1, 4, 17))
        got = geometry(geometry_inputs(rig, points, confidence, weight))
        wanted = svd_triangulate(rig, points[0], confidence[0] * weight[0][:, None])
        np.testing.assert_allclose(got["points3d"][0], wanted, atol=0.01)
        assert np.isnan(got["points2d"][0, absent]).all()
        assert np.isnan(got["residual_px"][0, absent]).all()
        assert (got["confidence"][0, absent] == 0).all()

    def test_weights_of_views_and_confidence_multiply(self, geometry):
        rig = ring(4)
        points = views(rig, cloud(rig, 17, 800))[None] + np.random.default_rng(0).normal(0, 4, (1, 4, 17, 2))
        weight = np.array([[1.0, 0.5, 0.25, 1.0]])
        confidence = np.random.default_rng(1).uniform(0.31, 1, (1, 4, 17))
        got = geometry(geometry_inputs(rig, points, confidence, weight))
        np.testing.assert_allclose(
            got["points3d"][0], svd_triangulate(rig, points[0], confidence[0] * weight[0][:, None]), atol=0.01
        )

    @pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 1e30])
    def test_what_is_not_a_number_stays_with_its_own_joint(self, geometry, poison):
        rig = ring(4)
        points = views(rig, cloud(rig, 17, 800))[None]
        inputs = geometry_inputs(rig, points, np.ones((1, 4, 17)))
        clean = geometry(inputs)
        inputs["crop_points"][0, 2, 5] = poison
        inputs["crop_confidence"][0, 1, 9] = np.nan
        got = geometry(inputs)
        others = np.ones(17, bool)
        others[[5, 9]] = False
        np.testing.assert_array_equal(got["points3d"][0, others], clean["points3d"][0, others])
        np.testing.assert_array_equal(got["residual_px"][0][:, others], clean["residual_px"][0][:, others])
        # The joint whose confidence is no number is solved from the other three views.
        assert got["confidence"][0, 1, 9] == 0
        assert np.abs(got["points3d"][0, 9] - clean["points3d"][0, 9]).max() < 0.05

    def test_fewer_than_two_views_give_no_position(self, geometry):
        rig = ring(4)
        points = views(rig, cloud(rig, 3, 800))[None]
        confidence = np.ones((1, 4, 3))
        confidence[0, 1:, 0] = 0.1
        confidence[0, :, 1] = 0.0
        got = geometry(geometry_inputs(rig, points, confidence))
        assert np.isnan(got["points3d"][0, :2]).all()
        assert np.isnan(got["residual_px"][0, :, :2]).all()
        assert np.isfinite(got["points3d"][0, 2]).all()
        assert np.isfinite(got["points2d"]).all()

    def test_is_the_function_of_calib(self, geometry):
        rig = ring(4, dist=(-0.2, 0.1, 0.001, -0.0005, 0.02))
        points = views(rig, cloud(rig, 17, 800))[None] + 1.0
        confidence = np.ones((1, 4, 17))
        got = geometry(geometry_inputs(rig, points, confidence))
        arrays = RigArrays(*rig.arrays())
        np.testing.assert_allclose(got["points3d"], triangulate(points, confidence, arrays), atol=0.01)


def test_every_head_loads_in_the_oldest_graph_it_may_meet():
    """Opset 17 needs the axes of a reduction as an attribute: what `engine.graph` makes of them must load."""
    from onnx import helper

    from engine.opsets import head_for

    for name in HEAD_TABLE:
        graph = head_for(name, 17)
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(proto, full_check=True)
        inputs = examples(name)
        old = reference.session(proto.SerializeToString()).run(None, inputs)
        new = onnxruntime.InferenceSession((HEADS / f"{name}.onnx").read_bytes()).run(None, inputs)
        for one, other in zip(old, new, strict=True):
            np.testing.assert_array_equal(one, other)
