from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.labels import Labels, read_labels, write_labels
from capture.labels.labels import Picture, frame_of
from rigpose.errors import ConfigError
from rigpose.skeleton import Skeleton
from tests.capture.labels.made import coco, deeplabcut, openpose, person, picture, write_json

SKELETON = Skeleton(name="mouse", joints=("nose", "left_ear", "right_ear"), edges=((0, 1),), left_right=((1, 2),))
MINIMAL = {
    "rigpose": "labels",
    "schema": 1,
    "skeleton": {"name": "mouse", "joints": ["nose", "tail"]},
    "frames": [{"picture": "a.png", "subjects": [{"points": [[1, 2.5], None]}]}],
}


def same(a: Labels, b: Labels) -> None:
    assert a.skeleton == b.skeleton and len(a) == len(b)
    assert (a.says_hidden, a.gives_boxes) == (b.says_hidden, b.gives_boxes)
    for one, other in zip(a.frames, b.frames, strict=True):
        for key in ("points", "hidden", "confidence", "boxes", "by_network"):
            np.testing.assert_array_equal(getattr(one, key), getattr(other, key))
        for key in ("subjects", "camera", "moment", "split", "labeller"):
            assert getattr(one, key) == getattr(other, key)
        assert one.picture.path == other.picture.path
        for key in ("index", "dataset", "size", "offset_px"):
            assert getattr(one.picture, key) == getattr(other.picture, key)


def test_a_file_needs_hardly_anything(tmp_path: Path) -> None:
    (frame,) = read_labels(write_json(tmp_path / "labels.json", MINIMAL)).frames
    assert frame.points[0, 0].tolist() == [1, 2.5] and np.isnan(frame.points[0, 1]).all()
    assert frame.confidence.tolist() == [[1, 0]] and not frame.by_network.any()


class TestWritten:
    """What is written is read again as it was."""

    def test_of_other_formats(self, tmp_path: Path) -> None:
        picture(tmp_path / "coco" / "a.png")
        for name, path in (
            ("coco", write_json(tmp_path / "coco" / "train.json", coco())),
            ("dlc", deeplabcut(tmp_path / "dlc")),
            ("openpose", write_json(tmp_path / "pose" / "run_1.json", openpose(person({0: (1, 2), 9: (3, 4)})))),
        ):
            labels = read_labels(path)
            write_labels(labels, tmp_path / f"{name}.json")
            same(labels, read_labels(tmp_path / f"{name}.json"))

    @given(
        xy=st.lists(st.floats(-1e5, 1e5) | st.none(), min_size=12, max_size=12),
        flags=st.lists(st.booleans(), min_size=8, max_size=8),
        sure=st.lists(st.floats(0.01, 1), min_size=6, max_size=6),
    )
    def test_of_any_numbers(self, tmp_path_factory: pytest.TempPathFactory, xy: list, flags: list, sure: list) -> None:
        points = np.array([np.nan if value is None else value for value in xy]).reshape(2, 3, 2)
        if not np.isfinite(points).all(axis=-1).any():
            return
        folder = tmp_path_factory.mktemp("own")
        stated = Picture("b/run_top.mp4", None, 3, None, (640, 480), (5, 6))
        frame = frame_of(
            stated,
            points,
            hidden=np.reshape(flags[:6], (2, 3)),
            confidence=np.reshape(sure, (2, 3)),
            subjects=["a", "b"],
            by_network=np.array(flags[6:]),
            camera="top",
            split="val",
            labeller="Ada",
        )
        labels = Labels("x", (), SKELETON, (replace(frame, moment="run_{camera}#3"),), says_hidden=True)
        write_labels(labels, folder / "labels.json")
        same(labels, read_labels(folder / "labels.json", predictions="always"))

    def test_nothing_is_overwritten(self, tmp_path: Path) -> None:
        path = write_json(tmp_path / "labels.json", MINIMAL)
        with pytest.raises(ConfigError, match="exists already"):
            write_labels(read_labels(path), path)
        with pytest.raises(ConfigError, match="no such folder"):
            write_labels(read_labels(path), tmp_path / "none" / "labels.json")


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        (
            "points",
            [[1, 2]],
            r"frames.0: key subjects.0.points: has 1 entries for 2 joints",
        ),
        ("points", [[1, float("nan")], None], "finite"),
        ("hidden", [2], "there are 2 joints"),
        ("confidence", [1], "subjects.0.confidence: has 1 entries for 2 joints"),
        ("colour", 3, "colour: is not a key that exists here"),
    ],
)
def test_an_error_names_the_key(tmp_path: Path, key: str, value: object, problem: str) -> None:
    document = json.loads(json.dumps(MINIMAL))
    document["frames"][0]["subjects"][0][key] = value
    with pytest.raises(ConfigError, match=problem):
        read_labels(write_json(tmp_path / "labels.json", document))


def test_a_later_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="key schema"):
        read_labels(write_json(tmp_path / "labels.json", MINIMAL | {"schema": 2}))
