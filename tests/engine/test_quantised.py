"""Eight bits: made from the rig's pictures, between the cuts, kept by the hash of the graph."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from engine import precision, quantised
from engine.cut import parts
from engine.graph import OUTPUTS, compose
from engine.runtimes.onnx import OnnxRuntime
from rigpose.errors import ConfigError
from tests.engine import networks, reference
from tests.engine.test_graph import scene


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A graph, frame sets that it learns its ranges from, and its int8 forms."""
    folder = tmp_path_factory.mktemp("int8")
    located = networks.model(folder, "heatmap", batch="N")
    graph = compose(located, 3)
    rig, crops, affine = scene(located, 3)
    rng = np.random.default_rng(0)
    batches = [reference.feeds(rig, rng.permutation(crops.ravel()).reshape(crops.shape), affine) for _ in range(8)]
    patch = pytest.MonkeyPatch()
    patch.setattr(quantised, "state_folder", lambda: folder)
    patch.setattr(precision, "state_folder", lambda: folder)
    try:
        yield graph, batches, {signed: quantised.quantise(graph, batches, symmetric=signed) for signed in (False, True)}
    finally:
        patch.undo()


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_network_is_int8_and_nothing_else(made, symmetric):
    graph, _, forms = made
    proto = onnx.load_from_string(forms[symmetric].proto_bytes)
    onnx.checker.check_model(proto, full_check=True)
    found = parts(proto)
    operators = {name: [n.op_type for n in getattr(found, name).graph.node] for name in ("before", "network", "behind")}
    assert "QuantizeLinear" in operators["network"]
    assert not any("Quantize" in op for name in ("before", "behind") for op in operators[name])
    # What the peaks are read from is float.
    assert not any(
        n.op_type == "DequantizeLinear" and set(n.output) & set(found.passing) for n in found.network.graph.node
    )
    if symmetric:
        zeros = {n.input[2] for n in found.network.graph.node if n.op_type == "QuantizeLinear"}
        values = [onnx.numpy_helper.to_array(w) for w in found.network.graph.initializer if w.name in zeros]
        assert values and all(v.dtype == np.int8 and not v.any() for v in values)


def test_onnx_runtime_takes_it_by_name_and_says_so(made):
    graph, batches, forms = made
    runtime = OnnxRuntime(graph, threads=1, precision="int8")
    assert (runtime.precision, runtime.graph_hash) == ("int8", forms[False].graph_hash)
    assert runtime.graph_hash != graph.graph_hash
    expected = OnnxRuntime(graph, threads=1).run(batches[0])
    got = runtime.run(batches[0])
    assert set(got) == set(OUTPUTS)
    assert 0 < np.abs(got["confidence"] - expected["confidence"]).max() < 0.1


def test_it_is_found_again_and_is_the_same(made):
    graph, _, forms = made
    assert quantised.quantised(graph).graph_hash == forms[False].graph_hash
    assert quantised.quantised(graph).precision == "int8"


def test_without_one_the_command_that_makes_it_is_named(made, tmp_path, monkeypatch):
    monkeypatch.setattr(quantised, "state_folder", lambda: tmp_path)
    with pytest.raises(ConfigError, match="has no int8 form on this machine") as caught:
        OnnxRuntime(made[0], precision="int8")
    assert "rigpose build" in caught.value.remedy and "--precision int8" in caught.value.remedy


def test_too_few_pictures_are_refused(made):
    with pytest.raises(ConfigError, match="has 3 frame sets to learn ranges from"):
        quantised.quantise(made[0], made[1][:3])
