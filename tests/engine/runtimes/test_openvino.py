"""OpenVINO answers what ONNX Runtime does, and computes in low precision before the cut alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

pytest.importorskip("openvino")

from engine import precision, quantised  # noqa: E402
from engine.document import find_model  # noqa: E402
from engine.graph import HEAD_IN, OUTPUTS, compose  # noqa: E402
from engine.runtimes import Runtime  # noqa: E402
from engine.runtimes.onnx import OnnxRuntime  # noqa: E402
from engine.runtimes.openvino import OpenVinoRuntime  # noqa: E402
from rigpose.errors import ConfigError, RigposeError  # noqa: E402
from tests.engine import networks, reference  # noqa: E402
from tests.engine.test_graph import scene  # noqa: E402


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "state_folder", lambda: tmp_path)
    monkeypatch.setattr(quantised, "state_folder", lambda: tmp_path)


def made(tmp_path, kind, views=3, **keys):
    located = find_model(kind) if kind == "mannequin17_occluded" else networks.model(tmp_path, kind, **keys)
    rig, crops, affine = scene(located, views)
    return compose(located, views), reference.feeds(rig, crops, affine)


@pytest.mark.parametrize("kind", ["keypoints", "heatmap", "heatmap_offset", "simcc", "mannequin17_occluded"])
def test_it_answers_what_onnx_runtime_does(tmp_path, kind):
    graph, feeds = made(tmp_path, kind)
    feeds["view_weight"][0, 1] = 0
    runtime = OpenVinoRuntime(graph, threads=1)
    runtime.warmup()
    expected, got = OnnxRuntime(graph, threads=1).run(feeds), runtime.run(feeds)
    assert isinstance(runtime, Runtime)
    assert (runtime.name, runtime.precision, runtime.graph_hash) == ("openvino", "fp32", graph.graph_hash)
    for name, limit in {"points2d": 0.02, "confidence": 1e-4, "points3d": 0.2, "residual_px": 0.05}.items():
        np.testing.assert_array_equal(np.isnan(got[name]), np.isnan(expected[name]))
        assert np.nanmax(np.abs(got[name] - expected[name]), initial=0) < limit, name


def test_other_sizes_are_compiled_for_themselves(tmp_path):
    graph, feeds = made(tmp_path, "mannequin17_occluded")
    runtime, expected = OpenVinoRuntime(graph, threads=1), OnnxRuntime(graph, threads=1)
    for batch in (1, 2, 1):
        repeated = {name: np.repeat(a, batch, 0) if name in ("crops", "crop_to_image", "view_weight") else a
                    for name, a in feeds.items()}  # fmt: skip
        np.testing.assert_allclose(runtime.run(repeated)["points2d"], expected.run(repeated)["points2d"], atol=0.02)


def test_answers_do_not_share_memory_with_later_ones(tmp_path):
    graph, feeds = made(tmp_path, "heatmap")
    runtime = OpenVinoRuntime(graph, threads=1)
    first = runtime.run(feeds)
    kept = {name: value.copy() for name, value in first.items()}
    runtime.run(feeds | {"crops": 255 - feeds["crops"]})
    for name in OUTPUTS:
        np.testing.assert_array_equal(first[name], kept[name])


def test_the_hint_of_bf16_goes_to_the_model_before_the_cut_alone(tmp_path):
    graph, feeds = made(tmp_path, "mannequin17_occluded")
    runtime = OpenVinoRuntime(graph, threads=1, precision="bf16")
    runtime.run(feeds)
    (pieces,) = runtime._ready.values()
    hints = [piece._request.get_compiled_model().get_property("INFERENCE_PRECISION_HINT") for piece in pieces]
    assert [hint.get_type_name() for hint in hints][1] == "f32"
    assert [[value.name for value in proto.graph.output] for proto, _ in runtime._pieces] == [[HEAD_IN], list(OUTPUTS)]
    # On the same maps the geometry answers as ONNX Runtime's does, to fp32.
    front, behind = (proto for proto, _ in runtime._pieces)
    maps = pieces[0]({name: feeds[name] for name in ("crops", "crop_to_image")})
    session = reference.session(behind.SerializeToString())
    wanted = session.run(["points3d"], {v.name: ({**feeds, **maps})[v.name] for v in session.get_inputs()})[0]
    np.testing.assert_allclose(runtime.run(feeds)["points3d"], wanted, atol=0.2)
    assert front.graph.output[0].name == HEAD_IN


def test_int8_is_the_network_that_was_quantised_here(tmp_path):
    graph, feeds = made(tmp_path, "heatmap", batch="N")
    with pytest.raises(ConfigError, match="has no int8 form"):
        OpenVinoRuntime(graph, precision="int8")
    form = quantised.quantise(graph, [feeds] * 8)
    runtime = OpenVinoRuntime(graph, threads=1, precision="int8")
    assert (runtime.precision, runtime.graph_hash) == ("int8", form.graph_hash)
    expected = OnnxRuntime(graph, threads=1).run(feeds)
    assert np.abs(runtime.run(feeds)["confidence"] - expected["confidence"]).max() < 0.1


def test_what_does_not_fit_is_one_line(tmp_path):
    graph, feeds = made(tmp_path, "heatmap")
    runtime = OpenVinoRuntime(graph, threads=1)
    with pytest.raises(RigposeError, match="graph input K: has shape"):
        runtime.run(feeds | {"K": feeds["K"][:1]})
    proto = onnx.load_from_string(graph.proto_bytes)
    proto.graph.node[0].op_type = "NoSuchOperator"
    from dataclasses import replace

    with pytest.raises(ConfigError, match="OpenVINO .* cannot load its graph") as caught:
        OpenVinoRuntime(replace(graph, proto_bytes=proto.SerializeToString())).run(feeds)
    assert "\n" not in str(caught.value)
