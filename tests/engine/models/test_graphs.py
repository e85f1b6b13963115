"""A volumetric model as one graph: ONNX Runtime answers what torch does, for any number of frame sets and views."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from engine.models.algebraic import Algebraic  # noqa: E402
from engine.models.graphs import HEAD_IN, NET_INPUT, as_onnx, inputs_of, outputs_of  # noqa: E402
from tests.engine.models.tensorrt import objections  # noqa: E402
from tests.engine.models.test_volume import BASE  # noqa: E402
from tests.engine.models.test_volumetric import CROP, given, inputs, model  # noqa: E402

# Exporting takes half a minute, more where others work too.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def proto() -> Any:
    torch.set_num_threads(1)
    return as_onnx(model(sharpen=True), CROP)


@pytest.fixture(scope="module")
def session(proto: Any) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("case", ["all views", "one absent", "two frame sets", "a base", "one view and a base", "none"])
def test_onnx_runtime_agrees_with_torch(session: onnxruntime.InferenceSession, case: str) -> None:
    feed = inputs(batch=2 if case == "two frame sets" else 1)
    if case == "one absent":
        feed[2][:, 2] = 0
    if case in ("a base", "one view and a base"):
        feed = given(feed, BASE + 25)
    if case == "one view and a base":
        feed = [feed[0][:, 1:2], feed[1][:, 1:2], feed[2][:, 1:2], *(array[1:2] for array in feed[3:7]), *feed[7:]]
    if case == "none":
        feed[2][:] = 0
    network = model(sharpen=True)
    with torch.no_grad():
        expected = network(*feed)
    named = dict(zip(inputs_of(network), (tensor.numpy() for tensor in feed), strict=True))
    got = dict(zip(outputs_of(network), session.run(list(outputs_of(network)), named), strict=True))
    limits = {"points2d": 1e-3, "confidence": 1e-5, "points3d": 0.05, "residual_px": 1e-2, "covariance_mm2": 2.0}
    for name, limit in limits.items():
        want = getattr(expected, name).numpy()
        assert got[name].shape == want.shape
        assert np.array_equal(np.isnan(got[name]), np.isnan(want)), name
        assert np.nanmax(np.abs(got[name] - want), initial=0) < limit, name
    assert np.isnan(got["points3d"]).any() == (case == "none")


def test_tensorrt_takes_all_its_operators(proto: Any) -> None:
    onnx.checker.check_model(proto, full_check=True)
    assert objections(proto) == []
    assert [opset.version for opset in proto.opset_import if not opset.domain] == [18]


def test_the_cut_between_network_and_geometry_has_its_names(proto: Any) -> None:
    made = {name: node for node in proto.graph.node for name in node.output}
    assert made[HEAD_IN].op_type == "Concat"
    assert [node.op_type for node in proto.graph.node if NET_INPUT in node.input] == ["Conv"]
    # Nothing of the backbone is read behind the cut but through it.
    before, waiting = set(), [HEAD_IN]
    while waiting:
        node = made.get(waiting.pop())
        if node is not None and node.name not in before:
            before.add(node.name)
            waiting += node.input
    outside = [node for node in proto.graph.node if node.name not in before]
    pictures = {name for node in proto.graph.node if node.name in before for name in node.output} - {HEAD_IN}
    read = {name for node in outside for name in node.input} & pictures
    assert not {made[name].op_type for name in read} & {"Conv", "BatchNormalization", "Clip", "Add", "Resize"}


def test_weights_keep_their_names(proto: Any) -> None:
    found = {weight.name: tuple(weight.dims) for weight in proto.graph.initializer}
    for name, value in model(sharpen=True).state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert found[name] == tuple(value.shape), name


def test_the_file_tells_nothing_of_this_machine(proto: Any) -> None:
    assert b".py" not in proto.SerializeToString()


def test_an_algebraic_model_over_a_pose_resnet_is_a_graph_too() -> None:
    """0.01 mm with every view and with one absent, no operator that TensorRT lacks; the lite one: test_export."""
    torch.manual_seed(0)
    network = Algebraic(3, context=4, backbone={"kind": "pose_resnet", "layers": 18}).eval()
    made = as_onnx(network, CROP)
    onnx.checker.check_model(made)
    assert [value.name for value in made.graph.input] == list(inputs_of(network))
    assert objections(made) == []
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    for absent in ([], [2]):
        feed = inputs()[:8]
        feed[2][:, absent] = 0
        with torch.no_grad():
            want = network(*feed).points3d.numpy()
        named = dict(zip(inputs_of(network), (tensor.numpy() for tensor in feed), strict=True))
        assert np.abs(session.run(["points3d"], named)[0] - want).max() < 0.01


def test_what_tensorrt_lacks_is_named(proto: Any) -> None:
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    made.graph.node.add(op_type="NonMaxSuppression", input=["points3d"], output=["far"])
    made.graph.node.add(op_type="Transpose", input=["crops"], output=["turned"])
    made.graph.node.add(op_type="ReduceMax", input=["points3d", "world"], output=["largest"])
    found = objections(made)
    assert "NonMaxSuppression is not supported" in found and "Transpose of UINT8" in found
    assert "ReduceMax: axes are no initialiser" in found
