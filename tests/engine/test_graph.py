"""One graph: what a network answers view by view, decoded and triangulated by hand, in one call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.document import METADATA_KEY, find_model
from engine.graph import OUTPUTS, compose
from engine.runtimes import create
from rigpose.errors import ConfigError
from tests.calib.scenes import ring
from tests.engine import networks, reference

VIEWS = 4
POINT_PX = 2e-3
MM = 0.01


def scene(located, n_views=VIEWS, seed=0):
    """A rig and crops whose points lie near the middle of each camera's picture."""
    rng = np.random.default_rng(seed)
    width, height = located.document.input.size
    rig = ring(n_views, dist=(-0.12, 0.08, 0.001, -0.0005, 0.01))
    coarse = rng.integers(0, 256, (n_views, height // 8, width // 8, 3))
    crops = np.kron(coarse, np.ones((1, 8, 8, 1))).astype(np.uint8)
    centre = np.array([640.0, 512.0]) + rng.uniform(-40, 40, (n_views, 2))
    affine = np.zeros((n_views, 2, 3))
    affine[:, 0, 0], affine[:, 1, 1] = 2.3, 2.3
    affine[:, :, 2] = centre - 2.3 * np.array([width, height]) / 2
    return rig, crops, affine


def run(located, inputs, n_views=VIEWS, batch=1):
    runtime = create(compose(located, n_views, batch), threads=1)
    return runtime.run(inputs)


def assert_same(got, wanted, mm=MM):
    """A graph's answer for one subject against one by hand."""
    np.testing.assert_allclose(got["points2d"][0], wanted["points2d"], atol=POINT_PX)
    np.testing.assert_allclose(got["confidence"][0], wanted["confidence"], atol=1e-5)
    np.testing.assert_allclose(got["points3d"][0], wanted["points3d"], atol=mm)
    np.testing.assert_allclose(got["residual_px"][0], wanted["residual_px"], atol=5e-3)


KINDS: dict[str, dict[str, Any]] = {
    "heatmap": {},
    "heatmap NHWC RGB normalised": {
        "kind": "heatmap",
        "input": {
            "layout": "NHWC",
            "colour": "RGB",
            "mean": [0.4, 0.45, 0.5],
            "std": [0.2, 0.22, 0.25],
            "scale": 1 / 255,
        },
    },
    "heatmap of bytes, BGR": {"kind": "heatmap", "input": {"dtype": "uint8", "colour": "BGR", "layout": "NHWC"}},
    "heatmap of logits, from the centre": {"kind": "heatmap", "output": {"score": "logit", "half_pixel": False}},
    "heatmap of grey": {"kind": "heatmap", "input": {"colour": "GRAY", "mean": 127, "std": 60}},
    "heatmap of grey bytes": {"kind": "heatmap", "input": {"colour": "GRAY", "dtype": "uint8", "layout": "NHWC"}},
    "heatmap of bytes, stretched": {"kind": "heatmap", "input": {"dtype": "uint8", "scale": 1.4, "mean": 30}},
    "heatmap of whole numbers": {"kind": "heatmap", "input": {"dtype": "int32", "layout": "NHWC"}},
    "heatmap_offset": {"output": {"score": "logit"}, "input": {"scale": 1 / 255}},
    "heatmap_offset NHWC": {"kind": "heatmap_offset", "input": {"layout": "NHWC", "scale": 1 / 255}},
    "simcc": {"input": {"mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4]}},
    "keypoints": {"input": {"scale": 1 / 255}, "output": {"score": "logit"}},
    "keypoints yx of unit": {
        "kind": "keypoints",
        "input": {"scale": 1 / 255},
        "output": {"order": "yx", "unit": "unit"},
    },
    "keypoints without score": {"kind": "keypoints", "input": {"scale": 1 / 255}, "output": {"columns": 2}},
}


def kind_of(case):
    keys = dict(KINDS[case])
    return keys.pop("kind", case), keys


class TestEveryKindOfNetwork:
    @pytest.mark.parametrize("batch", [1, "N"])
    @pytest.mark.parametrize("case", KINDS)
    def test_equals_the_network_by_hand(self, tmp_path, case, batch):
        kind, keys = kind_of(case)
        located = networks.model(tmp_path, kind, batch=batch, **keys)
        rig, crops, affine = scene(located)
        got = run(located, reference.feeds(rig, crops, affine))
        wanted = reference.answer(located, rig, crops, affine)
        assert np.isfinite(wanted["points3d"]).mean() > 0.5
        assert_same(got, wanted)

    def test_half_precision_network_gets_and_gives_halves(self, tmp_path):
        located = networks.model(tmp_path, "heatmap", batch="N", input={"dtype": "float16", "scale": 1 / 255})
        rig, crops, affine = scene(located)
        graph = compose(located, VIEWS)
        got = create(graph, threads=1).run(reference.feeds(rig, crops, affine))
        wanted = reference.answer(located, rig, crops, affine)
        assert graph.precision == "fp16"
        # Halves round a flat top to another place now and then; what is a peak stays where it is.
        apart = np.abs(got["points2d"][0] - wanted["points2d"]).max(axis=-1)
        assert np.median(apart) < 0.02
        assert (apart < 0.5).mean() > 0.9
        assert got["points3d"].dtype == np.float32

    def test_several_subjects_are_as_many_single_ones(self, tmp_path):
        located = networks.model(tmp_path, "keypoints", batch=1, tail=True, input={"scale": 1 / 255})
        scenes = [scene(located, seed=seed) for seed in range(3)]
        rig = scenes[0][0]
        single = [run(located, reference.feeds(rig, crops, affine)) for _, crops, affine in scenes]
        inputs = reference.feeds(rig, scenes[0][1], scenes[0][2])
        for key, index in (("crops", 1), ("crop_to_image", 2)):
            inputs[key] = np.stack([item[index] for item in scenes]).astype(inputs[key].dtype)
        inputs["view_weight"] = np.ones((3, VIEWS), np.float32)
        together = run(located, inputs, batch=3)
        for name in OUTPUTS:
            np.testing.assert_allclose(together[name], np.concatenate([one[name] for one in single]), atol=1e-3)

    @pytest.mark.parametrize("network_batch", ["N", 1])
    def test_any_number_of_subjects_where_the_network_allows_it(self, tmp_path, network_batch):
        located = networks.model(tmp_path, "heatmap", batch=network_batch)
        rig, crops, affine = scene(located)
        runtime = create(compose(located, VIEWS, batch=None), threads=1)
        one = reference.feeds(rig, crops, affine)
        two = {
            k: np.concatenate([v, v]) if k in ("crops", "crop_to_image", "view_weight") else v for k, v in one.items()
        }
        assert runtime.run(one)["points3d"].shape == (1, networks.JOINTS, 3)
        np.testing.assert_array_equal(*runtime.run(two)["points3d"])


class TestBatchOfOne:
    def test_weights_stand_once_however_many_views(self, tmp_path):
        located = networks.model(tmp_path, "keypoints", batch=1, tail=True, weights=200_000)
        one, eight = compose(located, 1), compose(located, 8)
        assert len(one.proto_bytes) > 800_000
        assert len(eight.proto_bytes) < len(one.proto_bytes) + 50_000

    def test_only_what_needs_it_is_put_in_once_for_each_view(self, tmp_path):
        located = networks.model(tmp_path, "keypoints", batch=1, tail=True)
        nodes = onnx.load_from_string(compose(located, 8).proto_bytes).graph.node
        assert sum(node.op_type == "Conv" for node in nodes) == 2
        assert sum(node.op_type == "Elu" for node in nodes) == 8

    def test_any_number_is_refused_where_a_part_needs_to_know_it(self, tmp_path):
        located = networks.model(tmp_path, "keypoints", batch=1, tail=True)
        with pytest.raises(ConfigError, match="has its batch fixed at one"):
            compose(located, 4, batch=None)

    def test_another_fixed_batch_is_refused(self, tmp_path):
        located = networks.model(tmp_path, "heatmap", batch=3)
        with pytest.raises(ConfigError, match="takes 3 pictures at once, but there are 4"):
            compose(located, 4)
        assert compose(located, 3).n_views == 3

    def test_a_branch_inside_the_network_sees_its_own_view(self, tmp_path):
        content = networks.document("keypoints", input={"scale": 1 / 255})
        proto = networks.network(content)
        # If the first picture value is positive double the rows, else negate them: an If that reads from outside.
        out = proto.graph.node[-1].output[0]
        proto.graph.node[-1].output[0] = "plain"
        branches = {}
        for name, factor in (("then_branch", 2.0), ("else_branch", -1.0)):
            value = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)
            weight = numpy_helper.from_array(np.array(factor, np.float32), f"{name}_factor")
            node = helper.make_node("Mul", ["plain", f"{name}_factor"], [f"{name}_out"])
            branches[name] = helper.make_graph([node], name, [], [value], [weight])
        proto.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "half"))
        proto.graph.node.extend(
            [
                helper.make_node("ReduceMean", ["picture"], ["mean"], keepdims=0),
                helper.make_node("Greater", ["mean", "half"], ["bright"]),
                helper.make_node("If", ["bright"], [out], **branches),
            ]
        )
        located = networks.save(tmp_path, content, proto)
        rig, crops, affine = scene(located)
        crops[::2] //= 3
        crops[1::2] = 255 - crops[1::2] // 3
        got = run(located, reference.feeds(rig, crops, affine))
        assert_same(got, reference.answer(located, rig, crops, affine), mm=0.05)


class TestViews:
    def test_an_absent_view_says_nothing_and_the_others_go_on(self, tmp_path):
        located = networks.model(tmp_path)
        rig, crops, affine = scene(located)
        weight = np.array([1.0, 0.0, 1.0, 1.0])
        got = run(located, reference.feeds(rig, crops, affine, weight))
        assert np.isnan(got["points2d"][0, 1]).all()
        assert (got["confidence"][0, 1] == 0).all()
        assert np.isnan(got["residual_px"][0, 1]).all()
        assert_same(got, reference.answer(located, rig, crops, affine, weight))

    def test_what_stands_in_an_absent_view_does_not_matter(self, tmp_path):
        located = networks.model(tmp_path)
        rig, crops, affine = scene(located)
        inputs = reference.feeds(rig, crops, affine, [1, 1, 0, 1])
        wanted = run(located, inputs)
        inputs["crop_to_image"] = inputs["crop_to_image"].copy()
        inputs["crop_to_image"][0, 2] = np.nan
        got = run(located, inputs)
        for name in OUTPUTS:
            np.testing.assert_array_equal(got[name], wanted[name])

    def test_one_view_gives_points_and_no_position(self, tmp_path):
        located = networks.model(tmp_path)
        rig, crops, affine = scene(located, 1)
        got = run(located, reference.feeds(rig, crops, affine), n_views=1)
        assert np.isfinite(got["points2d"]).all()
        assert np.isnan(got["points3d"]).all()
        assert np.isnan(got["residual_px"]).all()

    def test_a_joint_below_the_score_keeps_its_point_and_has_no_say(self, tmp_path):
        located = networks.model(tmp_path)
        rig, crops, affine = scene(located)
        scores = run(located, reference.feeds(rig, crops, affine))["confidence"][0]
        middle = float(np.median(scores))
        strict = networks.model(tmp_path, name="strict", output={"min_score": middle})
        got = run(strict, reference.feeds(rig, crops, affine))
        assert_same(got, reference.answer(strict, rig, crops, affine))
        np.testing.assert_array_equal(got["confidence"][0], scores)
        assert np.isfinite(got["points2d"]).all()
        enough = (scores >= middle).sum(axis=0) >= 2
        np.testing.assert_array_equal(np.isfinite(got["points3d"][0]).all(axis=-1), enough)
        assert 0 < enough.sum() < len(enough) or enough.any()


class TestNetworkOfAnotherTime:
    @pytest.mark.parametrize("opset", [11, 13, 16])
    def test_an_older_network_is_brought_up(self, tmp_path, opset):
        content = networks.document("heatmap")
        proto = networks.network(content)
        proto.opset_import[0].version = opset
        onnx.checker.check_model(proto)
        located = networks.save(tmp_path, content, proto)
        rig, crops, affine = scene(located)
        graph = compose(located, VIEWS)
        assert onnx.load_from_string(graph.proto_bytes).opset_import[0].version == 17
        assert_same(
            create(graph, threads=1).run(reference.feeds(rig, crops, affine)),
            reference.answer(located, rig, crops, affine),
        )

    @pytest.mark.parametrize("kind", ["heatmap", "heatmap_offset", "simcc", "keypoints"])
    @pytest.mark.parametrize("opset", [18, 20, 22, 23])
    def test_a_newer_network_keeps_its_opset_and_the_heads_their_meaning(self, tmp_path, kind, opset):
        keys = {"input": {"scale": 1 / 255}}
        old = networks.model(tmp_path, kind, **keys)
        new = networks.model(tmp_path, kind, opset=opset, name="new", **keys)
        rig, crops, affine = scene(old)
        graph = compose(new, VIEWS)
        proto = onnx.load_from_string(graph.proto_bytes)
        onnx.checker.check_model(proto, full_check=True)
        assert proto.opset_import[0].version == opset
        got, wanted = (
            create(g, threads=1).run(reference.feeds(rig, crops, affine)) for g in (graph, compose(old, VIEWS))
        )
        for name in OUTPUTS:
            np.testing.assert_allclose(got[name], wanted[name], rtol=1e-6, atol=1e-4)

    def test_a_network_that_cannot_be_converted_says_so(self, tmp_path):
        content = networks.document("heatmap")
        proto = networks.network(content)
        proto.opset_import[0].version = 11
        proto.graph.node[-1].op_type = "Crop"  # an operator that no later opset knows
        located = networks.save(tmp_path, content, proto)
        with pytest.raises(ConfigError, match="is of opset 11") as caught:
            compose(located, VIEWS)
        assert "opset 17 or later" in caught.value.remedy


class TestIdentity:
    def test_the_same_parts_give_the_same_bytes(self, tmp_path):
        located = networks.model(tmp_path)
        again = find_model(located.path)
        assert compose(located, 4).graph_hash == compose(again, 4).graph_hash
        assert compose(located, 4).graph_hash != compose(located, 3).graph_hash

    def test_the_hash_is_of_the_bytes(self, tmp_path):
        import hashlib

        graph = compose(networks.model(tmp_path), 2)
        assert graph.graph_hash == hashlib.sha256(graph.proto_bytes).hexdigest()[:16]

    def test_the_document_travels_in_the_graph(self, tmp_path):
        located = networks.model(tmp_path)
        proto = onnx.load_from_string(compose(located, 2).proto_bytes)
        metadata = {entry.key: entry.value for entry in proto.metadata_props}
        assert json.loads(metadata[METADATA_KEY])["id"] == located.document.id

    @pytest.mark.parametrize("kind", ["heatmap", "heatmap_offset", "simcc", "keypoints"])
    def test_the_named_tensors_part_network_and_geometry(self, tmp_path, kind):
        located = networks.model(tmp_path, kind)
        proto = onnx.shape_inference.infer_shapes(onnx.load_from_string(compose(located, VIEWS).proto_bytes))
        inner = {v.name: v.type.tensor_type for v in proto.graph.value_info}
        for name in ("net_input", "head_in"):
            assert inner[name].elem_type == TensorProto.FLOAT
            assert inner[name].shape.dim[0].dim_value == VIEWS
        after = {"head_in"}
        for node in proto.graph.node:
            if after & set(node.input):
                after |= set(node.output)
        # All that the outputs learn from the network comes through the one cut.
        beyond = [node for node in proto.graph.node if set(node.output) & after and node.output[0] != "head_in"]
        assert not any(name.startswith("net/out") for node in beyond for name in node.input if name not in after)

    def test_composing_for_no_view_is_refused(self, tmp_path):
        with pytest.raises(ConfigError, match="0 views"):
            compose(networks.model(tmp_path), 0)


class TestWholeGraph:
    def whole(self, folder, n_views=3):
        graph = compose(networks.model(folder), n_views)
        proto = onnx.load_from_string(graph.proto_bytes)
        content = json.loads(proto.metadata_props[0].value)
        content["output"] = {"kind": "graph", "min_score": 0.1}
        helper.set_model_props(proto, {METADATA_KEY: json.dumps(content)})
        path = folder / "whole.onnx"
        onnx.save(proto, path)
        return find_model(path), graph

    def test_is_used_as_it_is(self, tmp_path):
        located, graph = self.whole(tmp_path)
        rig, crops, affine = scene(located, 3)
        inputs = reference.feeds(rig, crops, affine)
        again = compose(located, 3)
        assert again.proto_bytes == located.path.read_bytes()
        got, wanted = create(again, threads=1).run(inputs), create(graph, threads=1).run(inputs)
        for name in OUTPUTS:
            np.testing.assert_array_equal(got[name], wanted[name])

    def test_for_another_number_of_views_it_is_refused(self, tmp_path):
        located, _ = self.whole(tmp_path)
        with pytest.raises(ConfigError, match="3 views|4 views"):
            compose(located, 4)

    def test_a_plain_network_that_says_it_is_one_is_refused(self, tmp_path):
        content = networks.document("heatmap")
        proto = networks.network(content)
        content["output"] = {"kind": "graph", "min_score": 0.1}
        located = networks.save(tmp_path, content, proto)
        with pytest.raises(ConfigError, match="has no input crops"):
            compose(located, 4)


BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "onnxscript", "open3d"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
import numpy as np
from engine.document import find_model
from engine.graph import compose
from engine.runtimes import create
graph = compose(find_model("discs"), 4)
runtime = create(graph)
runtime.warmup()
shapes = {"crops": (1, 4, *graph.crop_shape), "crop_to_image": (1, 4, 2, 3), "view_weight": (1, 4), "K": (4, 3, 3),
          "dist": (4, 14), "fisheye": (4,), "Rt": (4, 3, 4), "world": (4,)}
out = runtime.run({k: np.zeros(s, np.uint8 if k == "crops" else np.float32) for k, s in shapes.items()})
assert out["points3d"].shape == (1, graph.joints, 3)
assert not {"torch", "onnxscript"} & set(sys.modules)
print(graph.graph_hash)
"""


@pytest.mark.process
def test_composing_and_running_need_no_torch(root):
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED],
        cwd=root,
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    # The same parts are the same graph in another process too.
    assert done.stdout.strip() == compose(find_model("discs"), 4).graph_hash


@pytest.mark.data
class TestRealNetworks:
    def crops(self, data_dir, located):
        """One real moment of human4-balance: the person's crop in each of the four cameras."""
        import cv2

        from calib.fit import fit_camera
        from calib.rig import read_rig

        folder = data_dir / "human4-balance"
        rig = read_rig(next(folder.rglob("Calib_qualisys.toml")), units="m")
        videos = sorted(folder.rglob("*.mp4"))
        width, height = located.document.input.size
        cameras, crops, affine = [], [], []
        for camera, video in zip(rig.cameras, videos, strict=True):
            capture = cv2.VideoCapture(str(video))
            image = capture.read()[1]
            capture.release()
            size = (image.shape[1], image.shape[0])
            camera = camera if size == camera.size else fit_camera(camera, size, "letterbox")
            cameras.append(camera)
            # Around the middle of what the four cameras see, large enough for a person.
            centre = camera.project(rig.working[0][None])[0]
            side = 1500.0
            scale = side / width
            matrix = np.array([[scale, 0, centre[0] - side / 2], [0, scale, centre[1] - side / 2]])
            crops.append(cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_AREA | cv2.WARP_INVERSE_MAP))
            affine.append(matrix)
        return rig.with_cameras(cameras), np.stack(crops), np.stack(affine)

    @pytest.mark.parametrize("name", ["movenet_lightning_coco17", "hourglass_heatmap14"])
    def test_equals_the_network_view_by_view(self, data_dir, models_dir, name):
        located = find_model(models_dir / f"{name}.onnx")
        rig, crops, affine = self.crops(data_dir, located)
        got = run(located, reference.feeds(rig, crops, affine))
        wanted = reference.answer(located, rig, crops, affine)
        assert np.isfinite(wanted["points3d"]).all(axis=-1).mean() > 0.7
        # The network's own numbers are the same to the last bit; 1 crop px is 8 raw px here.
        np.testing.assert_allclose(got["points2d"][0], wanted["points2d"], atol=5e-3)
        assert_same(got | {"points2d": wanted["points2d"][None]}, wanted, mm=0.1)

    @pytest.mark.parametrize("name", ["movenet_lightning_coco17", "hourglass_heatmap14"])
    def test_is_composed_within_a_second_and_stays_small(self, models_dir, name):
        located = find_model(models_dir / f"{name}.onnx")
        start = time.perf_counter()
        graph = compose(located, 4)
        assert time.perf_counter() - start < 1
        assert len(graph.proto_bytes) < 1.2 * located.path.stat().st_size + 100_000

    def test_quantised_network_is_batched_to_the_last_bit(self, models_dir):
        located = find_model(models_dir / "movenet_lightning_coco17.onnx")
        rng = np.random.default_rng(0)
        crops = rng.integers(0, 256, (4, 24, 24, 3)).repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)
        rig = ring(4)
        affine = np.tile(np.eye(2, 3), (4, 1, 1))
        got = run(located, reference.feeds(rig, crops, affine))
        plain = reference.session(located.path.read_bytes())
        for view, crop in enumerate(crops):
            y, x, score = plain.run(None, {located.document.input.name: crop[None, ..., ::-1]})[0][0, 0].T
            unit = np.stack([x, y], axis=-1).astype(np.float32)
            np.testing.assert_array_equal(got["confidence"][0, view], score)
            np.testing.assert_allclose(got["points2d"][0, view], unit * 192 - 0.5, atol=1e-5)
