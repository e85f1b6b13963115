"""Torch runs every graph that ONNX Runtime runs, from the file alone, and answers the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

torch = pytest.importorskip("torch")

from engine import precision  # noqa: E402
from engine.config import load_system  # noqa: E402
from engine.document import find_model  # noqa: E402
from engine.gpu.captured import Captured  # noqa: E402
from engine.graph import OUTPUTS, compose  # noqa: E402
from engine.runtimes import Runtime, create  # noqa: E402
from engine.runtimes.feeds import Feeds  # noqa: E402
from engine.runtimes.onnx import OnnxRuntime  # noqa: E402
from engine.runtimes.torch import TorchRuntime, staged  # noqa: E402
from engine.runtimes.torch_program import Program, on  # noqa: E402
from engine.sampling import graph_inputs  # noqa: E402
from rigpose.errors import ConfigError, MissingError, RigposeError  # noqa: E402
from tests.engine import networks, reference  # noqa: E402
from tests.engine.runtimes.capturable import Capturable  # noqa: E402
from tests.engine.test_graph import scene  # noqa: E402

CPU = torch.device("cpu")
OURS = ("mannequin17_occluded", "mannequin17_volumetric", "discs")


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "state_folder", lambda: tmp_path)


def made(tmp_path, kind, views=3, **keys):
    located = find_model(kind) if kind in OURS else networks.model(tmp_path, kind, **keys)
    rig, crops, affine = scene(located, views)
    return compose(located, views), reference.feeds(rig, crops, affine)


@pytest.mark.parametrize("kind", ["keypoints", "heatmap", "heatmap_offset", "simcc", "mannequin17_occluded", "discs"])
def test_it_answers_what_onnx_runtime_does(tmp_path, kind):
    graph, feeds = made(tmp_path, kind)
    feeds["view_weight"][0, 1] = 0
    runtime = TorchRuntime(graph, threads=1, device="cpu")
    expected, got = OnnxRuntime(graph, threads=1).run(feeds), runtime.run(feeds)
    assert isinstance(runtime, Runtime)
    assert (runtime.name, runtime.precision, runtime.device) == ("torch", "fp32", "cpu")
    assert runtime.graph_hash == graph.graph_hash
    for name, limit in {"points2d": 0.01, "confidence": 1e-4, "points3d": 0.1, "residual_px": 0.02}.items():
        np.testing.assert_array_equal(np.isnan(got[name]), np.isnan(expected[name]))
        assert np.nanmax(np.abs(got[name] - expected[name]), initial=0) < limit, name


def test_other_sizes_get_programs_of_their_own(tmp_path):
    graph, feeds = made(tmp_path, "mannequin17_occluded")
    runtime, expected = TorchRuntime(graph, threads=1, device="cpu"), OnnxRuntime(graph, threads=1)
    for batch in (1, 3, 1, 2):
        repeated = {name: np.repeat(a, batch, 0) if name in ("crops", "crop_to_image", "view_weight") else a
                    for name, a in feeds.items()}  # fmt: skip
        got, wanted = runtime.run(repeated), expected.run(repeated)
        assert got["points3d"].shape == (batch, 17, 3)
        np.testing.assert_allclose(got["points2d"], wanted["points2d"], atol=0.01)


def test_answers_do_not_share_memory_with_later_ones(tmp_path):
    graph, feeds = made(tmp_path, "heatmap")
    runtime = TorchRuntime(graph, threads=1, device="cpu")
    runtime.warmup()
    first = runtime.run(feeds)
    kept = {name: value.copy() for name, value in first.items()}
    runtime.run(feeds | {"crops": 255 - feeds["crops"]})
    for name in OUTPUTS:
        np.testing.assert_array_equal(first[name], kept[name])


def test_bf16_is_between_the_cuts_alone(tmp_path):
    graph, feeds = made(tmp_path, "heatmap", batch="N")
    runtime = create(graph, "torch", threads=1, precision="bf16", device="cpu")
    expected, got = OnnxRuntime(graph, threads=1).run(feeds), runtime.run(feeds)
    assert runtime.precision == "bf16"
    assert 0 < np.abs(got["confidence"] - expected["confidence"]).max() < 0.05
    assert {value.dtype for value in got.values()} == {np.dtype(np.float32)}


def test_a_missing_input_and_a_wrong_shape_are_named(tmp_path):
    graph, feeds = made(tmp_path, "heatmap")
    runtime = TorchRuntime(graph, threads=1, device="cpu")
    with pytest.raises(RigposeError, match="graph input K: is missing"):
        runtime.run({name: value for name, value in feeds.items() if name != "K"})
    with pytest.raises(RigposeError, match="graph input K: has shape"):
        runtime.run(feeds | {"K": feeds["K"][:1]})


def test_a_gpu_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(MissingError, match="has no GPU"):
        TorchRuntime(made(tmp_path, "heatmap")[0], device="cuda")


def test_channels_last_as_on_a_gpu_changes_nothing(tmp_path):
    graph, feeds = made(tmp_path, "mannequin17_occluded")
    proto = onnx.load_from_string(graph.proto_bytes)
    plain, last = (Captured(staged(proto, feeds, CPU, last=flag), feeds, CPU)(feeds) for flag in (False, True))
    for name in OUTPUTS:
        np.testing.assert_allclose(last[name], plain[name], atol=0.05)


@pytest.mark.parametrize("kind", ["keypoints", "heatmap", "simcc", "mannequin17_occluded", "mannequin17_volumetric"])
def test_nothing_in_it_asks_the_device_for_a_value_so_that_a_cuda_graph_can_hold_it(tmp_path, kind):
    graph, feeds = made(tmp_path, kind)
    feeds = {**Feeds(graph).blank(1), **feeds}
    work = staged(onnx.load_from_string(graph.proto_bytes), feeds, CPU, last=True)
    given = on(CPU, feeds)
    with Capturable() as watched, torch.no_grad():
        work(given)
    assert watched.calls > 100 and not watched.refused


def test_the_watch_knows_what_cannot_be_captured():
    x = torch.arange(4.0)
    for call in (lambda: x[x > 1], lambda: float(x.sum()), lambda: x.nonzero(), lambda: x + torch.tensor(1.0)):
        with Capturable() as watched:
            call()
        assert watched.refused


def one(op, inputs, outputs=("out",), opset=17, **attributes):
    """A model of one operator; arrays named ``c*`` are constants."""
    arrays = {name: np.asarray(array) for name, array in inputs.items()}
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items() if name.startswith("c")]
    fed = {name: array for name, array in arrays.items() if not name.startswith("c")}
    graph = helper.make_graph(
        [helper.make_node(op, list(inputs), list(outputs), **attributes)], "g",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in fed.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs], constants,
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    inferred = onnx.shape_inference.infer_shapes(proto)
    return inferred, fed


X = np.random.default_rng(0).normal(size=(2, 4, 6, 5)).astype(np.float32)
W = np.random.default_rng(1).normal(size=(8, 4, 3, 3)).astype(np.float32)
V = np.random.default_rng(2).normal(size=(4, 6, 3, 3)).astype(np.float32)
F2 = np.array([1, 1, 2, 2], np.float32)
G = np.random.default_rng(3).uniform(-1.2, 1.2, (2, 3, 2, 2)).astype(np.float32)
ONES = np.ones(8, np.float32)


def I(values):  # noqa: E743
    """Whole numbers, as shapes and indices are."""
    return np.array(values, np.int64)


CASES: dict[str, Any] = {
    "conv that pads one side": ("Conv", {"x": X, "cw": W}, {"pads": [0, 1, 2, 0], "strides": [2, 1]}),
    "conv that keeps the size": ("Conv", {"x": X, "cw": W}, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "conv dilated": ("Conv", {"x": X, "cw": W, "cb": ONES}, {"dilations": [2, 1], "pads": [2, 1] * 2}),
    "conv of groups": ("Conv", {"x": X, "cw": W[:, :2]}, {"group": 2}),
    "transposed conv": ("ConvTranspose", {"x": X, "cw": V}, {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "transposed conv, more behind": ("ConvTranspose", {"x": X, "cw": V}, {"strides": [2, 2], "output_padding": [1, 1]}),
    "max pool": ("MaxPool", {"x": X}, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "max pool, one side": ("MaxPool", {"x": X}, {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 1, 1]}),
    "average pool": ("AveragePool", {"x": X}, {"kernel_shape": [3, 2], "pads": [1, 0, 1, 0]}),
    "average pool, one side": ("AveragePool", {"x": X}, {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]}),
    "resize nearest": ("Resize", {"x": X, "": np.zeros(0), "cs": F2}, {"mode": "nearest", "nearest_mode": "floor",
                       "coordinate_transformation_mode": "asymmetric"}),
    "resize nearest, half pixel": ("Resize", {"x": X, "": np.zeros(0), "cs": F2 * F2}, {"mode": "nearest"}),
    "resize linear": ("Resize", {"x": X, "": np.zeros(0), "cs": F2}, {"mode": "linear"}),
    "resize linear, corners": ("Resize", {"x": X, "": np.zeros(0), "cs": F2},
                               {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
    "slice backwards": ("Slice", {"x": X, "c0": I([4, 0]), "c1": I([-9, 3]), "c2": I([2, 3]), "c3": I([-2, 1])}, {}),
    "gather rows": ("Gather", {"x": X, "ci": I([[0, -1], [2, 1]])}, {"axis": 2}),
    "gather by data": ("Gather", {"x": X, "i": I([1, -1])}, {"axis": 1}),
    "gather elements": ("GatherElements", {"x": X, "i": I(np.arange(4).reshape(2, 2, 1, 1))}, {"axis": 3}),
    "gather nd": ("GatherND", {"x": X, "i": I([[0, 1], [1, 3]])}, {}),
    "split": ("Split", {"x": X, "cs": I([1, 3])}, {"axis": 1}),
    "pad with a number": ("Pad", {"x": X, "cp": I([0, 0, 1, 2, 0, 0, 3, 0]), "cv": np.float32(2)}, {}),
    "pad by reflection": ("Pad", {"x": X, "cp": I([0, 0, 1, 2, 0, 0, 3, 1])}, {"mode": "reflect"}),
    "softmax": ("Softmax", {"x": X}, {"axis": 1}),
    "arg max": ("ArgMax", {"x": X}, {"axis": -1, "keepdims": 0}),
    "top k": ("TopK", {"x": X, "ck": I([3])}, {"axis": 2}),
    "reduce": ("ReduceMean", {"x": X}, {"axes": [1, 3], "keepdims": 0}),
    "reduce all": ("ReduceSum", {"x": X}, {}),
    "gemm": ("Gemm", {"x": X[0, 0], "cb": X[1, 0], "cc": X[0, 0, 0, :1]}, {"transA": 1, "alpha": 0.5, "beta": 2.0}),
    "quantise a channel": ("QuantizeLinear", {"x": X, "cs": F2 / 10, "cz": np.zeros(4, np.int8)}, {"axis": 1}),
    "dequantise": ("DequantizeLinear", {"x": (X * 20).astype(np.int8), "cs": np.float32(0.1), "cz": np.int8(3)}, {}),
    "divide whole numbers": ("Div", {"x": I([7, -7, 8]), "cd": I([2, 2, -3])}, {}),
    "squeeze": ("Squeeze", {"x": X[:1, :, :1]}, {}),
    "unsqueeze": ("Unsqueeze", {"x": X, "ca": I([0, -1])}, {}),
    "expand": ("Expand", {"x": X[:, :1], "cs": I([1, 4, 1, 1])}, {}),
    "clip": ("Clip", {"x": X, "": np.zeros(0), "ch": np.float32(0.5)}, {}),
    "hard sigmoid": ("HardSigmoid", {"x": X}, {"alpha": 0.3}),
    "is inf": ("IsInf", {"x": np.array([np.inf, -np.inf, 0], np.float32)}, {"detect_negative": 0}),
    "grid sample": ("GridSample", {"x": X, "g": G}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", list(CASES))
def test_an_operator_means_what_onnx_runtime_says(case):
    op, inputs, attributes = CASES[case]
    outputs = {"Split": ("a", "b"), "TopK": ("a", "b")}.get(op, ("out",))
    proto, fed = one(op, {name: array for name, array in inputs.items()}, outputs, **attributes)
    expected = reference.session(proto.SerializeToString()).run(None, fed)
    program, given = Program(proto, on(CPU, fed)), on(CPU, fed)
    with Capturable() as watched:
        got = program(given)
    assert not watched.refused
    for name, value in zip(outputs, expected, strict=True):
        assert got[name].numpy().dtype == value.dtype
        np.testing.assert_allclose(got[name].numpy(), value, rtol=1e-4, atol=1e-5)


def test_an_operator_that_is_not_known_is_named():
    proto, fed = one("Celu", {"x": X})
    with pytest.raises(ConfigError, match="knows no operator Celu"):
        Program(proto, on(CPU, fed))


def test_sizes_that_depend_on_the_pictures_are_refused():
    proto, fed = one("Reshape", {"x": X, "s": I([2, -1])})
    with pytest.raises(ConfigError, match="that is not constant"):
        Program(proto, on(CPU, fed))


def test_shapes_are_constants_and_cost_no_call():
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "c"], ["n"]),
        helper.make_node("Reshape", ["x", "n"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["a", "b"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)], [numpy_helper.from_array(I([1, 0]), "c")],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    fed = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}
    program = Program(proto, on(CPU, fed))
    assert len(program._steps) == 1
    np.testing.assert_array_equal(program(on(CPU, fed))["out"].numpy(), fed["x"].reshape(3, 2))


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["movenet_lightning_coco17", "hourglass_heatmap14"])
def test_foreign_networks_run_as_well(data_dir, models_dir, root, name):
    settings = [f"engine.model={models_dir / name}.onnx", "rate=30"]
    config = load_system(root / "examples" / "human4.yaml", data=data_dir / "human4-balance", assignments=settings)
    (feeds,) = graph_inputs(config, 1)
    graph = compose(find_model(str(config.engine.model)), 4)
    expected, got = OnnxRuntime(graph, threads=1).run(feeds), TorchRuntime(graph, threads=1, device="cpu").run(feeds)
    seen = expected["confidence"] > 0.3
    assert seen.mean() > 0.3

    def away(one, other):
        return np.median(np.abs(one["points2d"] - other["points2d"])[seen])

    if graph.precision == "fp32":
        assert away(got, expected) < 0.05
        assert np.abs(got["confidence"] - expected["confidence"]).max() < 1e-3
    else:
        # One step of an int8 network moves a point by a cell: ONNX Runtime differs from itself by its optimisations.
        plain = reference.session(graph.proto_bytes, optimised=False)
        itself = dict(zip(OUTPUTS, plain.run(list(OUTPUTS), feeds), strict=True))
        assert away(got, itself) < 1.5 * away(expected, itself)


@pytest.mark.gpu
def test_on_a_gpu_a_captured_graph_answers_what_onnx_runtime_does(tmp_path, gpu):
    graph, feeds = made(tmp_path, "mannequin17_occluded", views=4)
    runtime = TorchRuntime(graph)
    assert runtime.device.startswith("cuda")
    expected, got = OnnxRuntime(graph).run(feeds), runtime.run(feeds)
    np.testing.assert_allclose(got["points2d"], expected["points2d"], atol=0.05)
    assert graph.graph_hash == runtime.graph_hash
