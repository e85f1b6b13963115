"""Precision: fp32 unless someone said otherwise, remembered a machine, a graph, a runtime."""

from __future__ import annotations

import json

import pytest

from engine import precision
from engine.document import find_model
from engine.graph import compose
from rigpose.errors import ConfigError


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "state_folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def graph():
    return compose(find_model("discs"), 2)


ALL = ("fp32", "fp16", "bf16", "int8")


def test_nobody_named_one_so_it_is_fp32(graph):
    assert precision.chosen(graph, None, "openvino", ALL) == "fp32"


def test_what_is_named_is_taken(graph):
    assert precision.chosen(graph, "bf16", "openvino", ALL) == "bf16"


def test_what_was_accepted_holds_for_this_graph_runtime_and_device_alone(graph):
    precision.accept(graph.graph_hash, "tensorrt", "fp16", "cuda:0", mm_p99=0.1)
    assert precision.chosen(graph, None, "tensorrt", ALL, "cuda:0") == "fp16"
    assert precision.chosen(graph, "fp32", "tensorrt", ALL, "cuda:0") == "fp32"
    assert precision.chosen(graph, None, "tensorrt", ALL, "cuda:1") == "fp32"
    assert precision.chosen(graph, None, "openvino", ALL) == "fp32"
    assert precision.accepted("0" * 16, "tensorrt", "cuda:0") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2, "accepted": {}}', '{"schema": 1}'])
def test_a_damaged_memory_means_fp32_and_can_be_written_again(graph, state, text):
    (state / "accepted.json").write_text(text)
    assert precision.chosen(graph, None, "openvino", ALL) == "fp32"
    precision.accept(graph.graph_hash, "openvino", "bf16")
    assert precision.chosen(graph, None, "openvino", ALL) == "bf16"
    assert json.loads((state / "accepted.json").read_text())["schema"] == 1


def test_an_unknown_or_impossible_one_is_refused_with_those_that_are_possible(graph):
    with pytest.raises(ConfigError, match="there is no precision fp8"):
        precision.chosen(graph, "fp8", "onnx", ALL)
    with pytest.raises(ConfigError, match="does not compute in fp16") as caught:
        precision.chosen(graph, "fp16", "onnx", ("fp32", "int8"))
    assert caught.value.remedy == "it computes in fp32, int8"


def test_a_network_of_low_precision_keeps_it(graph):
    from dataclasses import replace

    int8 = replace(graph, precision="int8")
    assert precision.chosen(int8, None, "onnx", ALL) == "int8"
    with pytest.raises(ConfigError, match="holds an int8 network"):
        precision.chosen(int8, "fp32", "onnx", ALL)
