"""What a process of a rig is told on its command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from engine.arguments import config_of, model_argument, replacing, rig_parser


def test_a_model_belongs_to_where_the_user_stands_and_a_zoo_name_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert model_argument("net.onnx") == str(tmp_path / "net.onnx")
    assert model_argument("discs") == "discs" and model_argument(None) is None


def test_options_replace_keys_of_the_file_whatever_is_in_them(tmp_path: Path) -> None:
    file = tmp_path / "rig.yaml"
    source = {"kind": "video", "file": "${data}/a.mp4"}
    file.write_text(yaml.safe_dump({"version": 1, "rig": {"file": "r.toml"}, "cameras": {"a": {"source": source}}}))
    options = rig_parser("p", "d", "e").parse_args([str(file), "--data", str(tmp_path), "--set", "rate=20"])
    config = config_of(options, {"engine.model": "/a: b #c.onnx", "force": None})
    assert config.engine.model == "/a: b #c.onnx" and config.rate == 20 and not config.force
    assert config.cameras["a"].source["file"] == str(tmp_path / "a.mp4")
    assert replacing({"a.b": None, "c": "x"}) == ['c="x"']
