from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from capture.labels import read_labels
from rigpose.errors import ConfigError
from tests.capture.labels.made import MANY, coco, deeplabcut, write, write_json


class TestFolder:
    def test_of_several_files_is_one_set_of_labels(self, tmp_path: Path) -> None:
        write_json(tmp_path / "train.json", coco())
        other = coco(images=[{"id": 7, "file_name": "c.png"}])
        other["annotations"] = other["annotations"][:1]
        other["categories"][0] |= {"keypoints": ["right_ear", "nose", "left_ear"], "skeleton": []}
        write_json(tmp_path / "val.json", other)
        labels = read_labels(tmp_path)
        assert [frame.split for frame in labels.frames] == ["train", "val"]
        # The joints of the second file come in the order of the first.
        assert labels.skeleton.joints == ("nose", "left_ear", "right_ear")
        val = labels.frames[1].points[0]
        assert val[[0, 2]].tolist() == [[12, 22], [10, 20]] and np.isnan(val[1]).all()
        assert labels.frames[1].hidden[0].tolist() == [True, False, False]

    def test_of_other_joints_is_refused(self, tmp_path: Path) -> None:
        write_json(tmp_path / "a.json", coco())
        other = coco(images=[{"id": 7, "file_name": "c.png"}])
        other["annotations"] = [{"id": 1, "image_id": 7, "category_id": 1, "keypoints": [1, 2, 2]}]
        other["categories"][0] |= {"keypoints": ["tail"], "skeleton": []}
        write_json(tmp_path / "b.json", other)
        with pytest.raises(
            ConfigError, match=r"b.json: has other joints than .*a.json: left_ear, nose, right_ear, tail"
        ):
            read_labels(tmp_path)

    def test_that_labels_a_picture_twice_is_refused(self, tmp_path: Path) -> None:
        write_json(tmp_path / "v1.json", coco())
        write_json(tmp_path / "v2.json", coco())
        with pytest.raises(ConfigError, match=r"v2.json: labels a.png as .*v1.json does \(name the file that counts\)"):
            read_labels(tmp_path)

    def test_of_several_formats_is_refused(self, tmp_path: Path) -> None:
        deeplabcut(tmp_path / "dlc")
        write_json(tmp_path / "coco" / "labels.json", coco())
        with pytest.raises(
            ConfigError,
            match=r"several formats \(COCO: coco/labels.json; DeepLabCut: dlc/.*Ada.csv, .*name one of them",
        ):
            read_labels(tmp_path)

    def test_without_labels_names_what_is_known(self, tmp_path: Path) -> None:
        write_json(tmp_path / "settings.json", {"a": 1})
        with pytest.raises(ConfigError, match="no labels that are known here .*SLEAP, DeepLabCut"):
            read_labels(tmp_path)

    def test_leaves_hidden_folders_alone(self, tmp_path: Path) -> None:
        write_json(tmp_path / "labels.json", coco())
        write_json(tmp_path / ".old" / "labels.json", coco())
        assert len(read_labels(tmp_path)) == 1


class TestFile:
    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("run.analysis.h5", "give the .slp that it is made of"),
            ("runDLC_resnet50.csv", "CollectedData_SCORER.csv holds labels"),
            ("notes.txt", "name the file of labels"),
        ],
    )
    def test_that_is_no_labels_says_what_would_be(self, tmp_path: Path, name: str, hint: str) -> None:
        write(tmp_path / name, "text")
        with pytest.raises(ConfigError, match=hint):
            read_labels(tmp_path / name)

    def test_that_is_missing_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="labels.json: no such file or folder"):
            read_labels(tmp_path / "labels.json")

    @pytest.mark.parametrize("text", ['{"images": [', '{"annotations": [' + "[" * 100_000, '\ufeff{"images": [}'])
    def test_that_is_damaged_is_told_in_one_line(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(ConfigError, match=r"labels.json: is (not JSON|nested too deep)[^\n]*$"):
            read_labels(write(tmp_path / "labels.json", text))

    def test_that_says_where_it_counts_from_is_not_overruled(self, tmp_path: Path) -> None:
        path = write(tmp_path / "CollectedData_Ada.csv", MANY)
        with pytest.raises(ConfigError, match="--origin: is known of files of DeepLabCut"):
            read_labels(path, origin="corner")

    def test_needs_a_folder_of_pictures_that_is_there(self, tmp_path: Path) -> None:
        path = write_json(tmp_path / "labels.json", coco())
        with pytest.raises(ConfigError, match="films: is no folder"):
            read_labels(path, pictures=tmp_path / "films")


@pytest.mark.slow
@pytest.mark.process
def test_reading_a_table_loads_no_library_of_other_formats(tmp_path: Path, root: Path) -> None:
    path = write(tmp_path / "CollectedData_Ada.csv", MANY)
    code = f"""
import sys
from capture.labels import read_labels
assert len(read_labels({str(path)!r})) == 2
print([name for name in ("sleap_io", "h5py", "pandas", "onnxruntime", "torch") if name in sys.modules])
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=60)
    assert answer.stdout.strip() == "[]", answer.stderr
