"""`rigpose models` tells what a network says about itself."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from engine import zoo
from nodes.models import list_models, show_model
from rigpose.errors import ConfigError

DOCUMENT = {
    "schema": 1,
    "id": "two-dots",
    "domain": "synthetic",
    "licence": "Apache-2.0",
    "skeleton": {"name": "dots2", "joints": ["left", "right"], "edges": [[0, 1]], "left_right": [[0, 1]], "root": [0]},
    "input": {"name": "image", "layout": "NHWC", "dtype": "float32", "size": [64, 32], "mean": 127.5, "std": 127.5},
    "output": {"kind": "keypoints", "name": "points", "min_score": 0.25, "score": "prob"},
}


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A real ONNX file whose answer is two fixed keypoints, with its document beside it."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 32, 64, 3])
    points = helper.make_tensor_value_info("points", TensorProto.FLOAT, [1, 2, 3])
    value = helper.make_tensor("value", TensorProto.FLOAT, [1, 2, 3], [1.0, 2.0, 0.5, 3.0, 4.0, 0.5])
    node = helper.make_node("Constant", [], ["points"], value=value)
    graph = helper.make_graph([node], "dots", [image], [points])
    path = tmp_path / "dots.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    path.with_suffix(".yaml").write_text(yaml.safe_dump(DOCUMENT))
    return path


class TestShow:
    def test_tells_input_output_joints_and_origin(self, network: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert show_model(str(network)) == 0
        shown = "".join(capsys.readouterr().out.split())
        for text in ("two-dots", "64x32px", "keypoints:points", "0left,1right", "dots.yaml", "need--force"):
            assert text in shown

    def test_json_is_the_document_and_where_it_is_from(self, network: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert show_model(str(network.with_suffix(".yaml")), as_json=True) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["path"] == str(network) and answer["described_by"] == str(network.with_suffix(".yaml"))
        assert answer["skeleton"]["joints"] == ["left", "right"] and len(answer["sha256"]) == 64

    def test_a_network_that_nothing_describes_is_an_error_with_a_template(self, network: Path) -> None:
        network.with_suffix(".yaml").unlink()
        with pytest.raises(ConfigError, match="nothing describes this network"):
            show_model(str(network))

    def test_a_document_that_does_not_fit_is_an_error(self, network: Path) -> None:
        wrong = {**DOCUMENT, "input": {**DOCUMENT["input"], "size": [32, 64]}}  # type: ignore[dict-item]
        network.with_suffix(".yaml").write_text(yaml.safe_dump(wrong))
        with pytest.raises(ConfigError, match=r"input\.size"):
            show_model(str(network))

    @pytest.mark.data
    def test_the_networks_of_others_are_shown(self, models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for path in sorted(models_dir.glob("*.onnx")):
            assert show_model(str(path)) == 0
        assert "left_shoulder" in capsys.readouterr().out


class TestList:
    def test_names_every_model_of_the_zoo(
        self, network: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(zoo, "FOLDER", network.parent)
        assert list_models(as_json=True) == 0
        (row,) = json.loads(capsys.readouterr().out)["models"]
        assert (row["name"], row["id"], row["joints"], row["path"]) == ("dots", "two-dots", 2, str(network))

    def test_the_table_says_what_each_is(
        self, network: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(zoo, "FOLDER", network.parent)
        assert list_models() == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert "dots two-dots synthetic dots2 (2) 64x32 Apache-2.0" in shown

    def test_the_models_that_are_shipped_can_be_listed(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert list_models(as_json=True) == 0
        names = [row["name"] for row in json.loads(capsys.readouterr().out)["models"] if row["name"]]
        assert names == list(zoo.names())
