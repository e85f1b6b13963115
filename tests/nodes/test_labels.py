"""What is said of labels is what is in them, and what is drawn lies where it was labelled."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from capture.labels import read_labels
from nodes.cli import app
from nodes.label_sheet import TILE, write_sheet
from nodes.labels import labels, summary
from rigpose.errors import RigposeError
from tests.capture.labels.made import coco, deeplabcut, picture, write_json


class TestSummary:
    def test_counts_each_joint_and_what_is_hidden(self, tmp_path: Path) -> None:
        facts = summary(read_labels(write_json(tmp_path / "train.json", coco())))
        assert facts["joints"] == [
            {"name": "nose", "labelled": 2, "hidden": 0},
            {"name": "left_ear", "labelled": 1, "hidden": 1},
            {"name": "right_ear", "labelled": 1, "hidden": 0},
        ]
        assert (facts["pictures"], facts["unlabelled"], facts["subjects"], facts["most_subjects"]) == (1, 1, 2, 2)
        assert facts["splits"] == {"train": 1} and facts["missing"] == ["a.png"]

    def test_tells_boxes_by_their_longer_side(self, tmp_path: Path) -> None:
        box = summary(read_labels(write_json(tmp_path / "labels.json", coco())))["box_px"]
        # 5 x 6 px from the file, 2.5 x 4 px made of two points.
        assert (box["from"], box["median"]) == ("file", 5.0)

    def test_counts_cameras_and_moments(self, tmp_path: Path) -> None:
        facts = summary(read_labels(deeplabcut(tmp_path), cameras=["top", "side"]))
        assert facts["cameras"] == [
            {"name": "side", "pictures": 1, "missing": 0},
            {"name": "top", "pictures": 1, "missing": 0},
        ]
        assert facts["moments"] == {"all": 1, "by_cameras": {"2": 1}}
        assert facts["labellers"] == {"Ada": 2}


class TestCommand:
    def test_prints_what_a_user_asks_first(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        project = deeplabcut(tmp_path)
        (project / "labeled-data" / "run1_top" / "img003.png").unlink()
        assert labels(project, cameras="top, side") == 0
        said = capsys.readouterr().out
        for part in (
            *("DeepLabCut: reach, 3 joints, 2 bones, 1 pairs left and right", "2 labelled pictures, 2 subjects"),
            *("1 further pictures without labels", "snout", "100 %", "1 moments: 1 in 2 cameras", "labellers: Ada 2"),
            "1 pictures are missing: labeled-data/run1_top/img003.png",
        ):
            assert part in " ".join(said.split()), said

    def test_prints_json(self, tmp_path: Path) -> None:
        path = write_json(tmp_path / "labels.json", coco())
        answer = CliRunner().invoke(app, ["labels", str(path), "--json"])
        assert answer.exit_code == 0
        assert json.loads(answer.stdout)["skeleton"]["joints"] == ["nose", "left_ear", "right_ear"]

    def test_writes_our_own_file(self, tmp_path: Path) -> None:
        path = write_json(tmp_path / "labels.json", coco())
        answer = CliRunner().invoke(app, ["labels", str(path), "--write", str(tmp_path / "own.json")])
        assert answer.exit_code == 0 and read_labels(tmp_path / "own.json").format == "rigpose"

    def test_ends_with_one_line_about_what_is_no_labels(self, tmp_path: Path) -> None:
        answer = CliRunner().invoke(app, ["labels", str(tmp_path)])
        assert answer.exit_code == 2
        assert answer.stderr.startswith("rigpose: error: ") and answer.stderr.count("\n") == 1


class TestSheet:
    def test_draws_points_where_they_were_labelled(self, tmp_path: Path) -> None:
        document = coco()
        document["annotations"] = document["annotations"][:1]
        picture(tmp_path / "a.png")
        found = read_labels(write_json(tmp_path / "labels.json", document))
        assert write_sheet(found, tmp_path / "sheet.png") == 1
        sheet = cv2.imread(str(tmp_path / "sheet.png"))
        assert sheet is not None and sheet.shape[1::-1] == TILE
        # Nose and left ear: what differs from each other lies along (2, 2) px of the picture.
        white = np.argwhere((sheet[20:] > 220).all(axis=-1)).mean(axis=0)[::-1]
        blue = np.argwhere((sheet[20:, :, 0] > 200) & (sheet[20:, :, 2] < 120)).mean(axis=0)[::-1]
        step = blue - white
        assert step[0] > 20 and step[0] == pytest.approx(step[1], abs=1.5)

    def test_reduces_large_pictures_onto_their_points(self, tmp_path: Path) -> None:
        # A white square of 80 px about (400, 300), labelled at its corners, in a tile a fraction of its size.
        image = np.zeros((900, 1200, 3), np.uint8)
        image[260:341, 360:441] = 255
        cv2.imwrite(str(tmp_path / "a.png"), image)
        document = coco(images=[{"id": 7, "file_name": "a.png"}])
        points = [100, 100, 2, 1000, 800, 2, 400, 300, 2]
        document["annotations"] = [{"id": 1, "image_id": 7, "category_id": 1, "keypoints": points}]
        found = read_labels(write_json(tmp_path / "labels.json", document))
        write_sheet(found, tmp_path / "sheet.png")
        sheet = cv2.imread(str(tmp_path / "sheet.png"))
        assert sheet is not None
        square = np.argwhere((sheet[20:] > 250).all(axis=-1))
        orange = np.argwhere((sheet[20:, :, 2] > 200) & (sheet[20:, :, 0] < 130))
        middle = (square.min(axis=0) + square.max(axis=0)) / 2
        assert np.abs(orange.mean(axis=0) - middle).max() < 1.5

    def test_of_many_pictures_shows_some_of_each_camera(self, tmp_path: Path) -> None:
        names = [f"{camera}/{index}.png" for camera in ("top", "side") for index in range(9)]
        for name in names:
            picture(tmp_path / name)
        keypoints = [10, 20, 2, 12, 22, 2, 14, 24, 2]
        document = coco(
            images=[{"id": i, "file_name": name} for i, name in enumerate(names)],
            annotations=[{"id": i, "image_id": i, "category_id": 1, "keypoints": keypoints} for i in range(18)],
        )
        found = read_labels(write_json(tmp_path / "labels.json", document))
        assert write_sheet(found, tmp_path / "sheet.png", most=6) == 6

    def test_without_pictures_says_so(self, tmp_path: Path) -> None:
        found = read_labels(write_json(tmp_path / "labels.json", coco()))
        with pytest.raises(RigposeError, match="none of the 1 labelled pictures was found"):
            write_sheet(found, tmp_path / "sheet.png")

    @pytest.mark.data
    def test_of_a_real_mouse(self, data_dir: Path, tmp_path: Path) -> None:
        found = read_labels(data_dir / "mouse4-sleap")
        assert write_sheet(found, tmp_path / "sheet.png", most=4) == 4
