"""The rig's YAML: what it says together must be possible, and every process reads the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.config import load_system, write_config
from rigpose.errors import ConfigError


def write(folder: Path, **changes: Any) -> Path:
    file = folder / "rig.yaml"
    document = {
        "version": 1,
        "rig": {"file": "rig.toml"},
        "cameras": {"side": {"source": {"kind": "video", "file": "videos/side.mp4"}}},
    }
    file.write_text(yaml.safe_dump({**document, **changes}))
    return file


def test_paths_belong_to_the_file_and_stay_when_it_is_written_elsewhere(tmp_path: Path) -> None:
    system = load_system(write(tmp_path, engine={"model": "nets/a.onnx"}))
    assert system.rig.file == tmp_path / "rig.toml" and system.engine.model == str(tmp_path / "nets/a.onnx")
    elsewhere = tmp_path / "run" / "config.yaml"
    elsewhere.parent.mkdir()
    write_config(system, elsewhere)
    assert load_system(elsewhere) == system
    assert system.record.to == tmp_path / "recordings", "also where the file does not say it"


def test_a_zoo_name_is_no_path(tmp_path: Path) -> None:
    assert load_system(write(tmp_path, engine={"model": "discs"})).engine.model == "discs"


def test_one_source_may_give_several_cameras(tmp_path: Path) -> None:
    views = {"left": {"region": [0, 0, 320, 480]}, "mirror": {"region": [320, 0, 320, 480], "flip": "horizontal"}}
    source = {"kind": "video", "file": "a.mp4"}
    system = load_system(write(tmp_path, cameras={"box": {"source": source, "views": views, "fit": "crop"}}))
    assert system.camera_names == ("left", "mirror") and system.owners == {"left": "box", "mirror": "box"}
    assert system.fit_of("mirror") == "crop"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cameras": {f"c{i}": {"source": {"kind": "video", "file": "a.mp4"}} for i in range(33)}}, "33.*at most 32"),
        ({"cameras": {"a": {"source": {"file": "a.mp4"}}}}, "kind"),
        (
            {
                "cameras": {
                    "a": {"source": {"kind": "video", "file": "a.mp4"}, "views": {"b": {}}},
                    "b": {"source": {"kind": "video", "file": "a.mp4"}},
                }
            },
            "camera b is given by two sources",
        ),
        ({"version": 2}, "version"),
    ],
    ids=["more cameras than bits", "a source of no kind", "a camera given twice", "another version"],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        load_system(write(tmp_path, **changes))
