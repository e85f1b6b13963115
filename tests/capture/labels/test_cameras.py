from __future__ import annotations

from pathlib import Path

import pytest

from capture.labels import read_labels
from rigpose.errors import ConfigError
from tests.capture.labels.made import coco, write_json

ONE = {"category_id": 1, "keypoints": [10, 20, 2, 12, 22, 2, 14, 24, 2]}


def labels_of(folder: Path, *names: str) -> Path:
    """A COCO file with one mouse in each picture."""
    images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    annotations = [{"id": i, "image_id": i, **ONE} for i in range(len(names))]
    return write_json(folder / "labels.json", coco(images=images, annotations=annotations))


class TestCameras:
    def test_are_folders_by_default_named_by_what_differs(self, tmp_path: Path) -> None:
        labels = read_labels(labels_of(tmp_path, "run1/cam_a_day1/1.png", "run1/cam_b_day1/1.png"))
        assert labels.cameras == ("a", "b")
        assert "each video or folder of pictures counts as a camera" in labels.notes[-1]
        assert [sorted(frames) for frames in labels.moments().values()] == [["a", "b"]]

    def test_are_told_by_folders_above_where_the_last_ones_are_alike(self, tmp_path: Path) -> None:
        labels = read_labels(labels_of(tmp_path, "left/images/1.png", "right/images/1.png"))
        assert labels.cameras == ("left", "right")

    def test_are_names_that_stand_anywhere_as_a_whole(self, tmp_path: Path) -> None:
        names = ("Cam1/s1/1.png", "s1_cam10/1.png", "s2/cam1-0002.png")
        labels = read_labels(labels_of(tmp_path, *names), cameras=["cam1", "cam10"])
        assert [frame.camera for frame in labels.frames] == ["cam1", "cam10", "cam1"]

    def test_are_the_same_with_and_without_a_line_between(self, tmp_path: Path) -> None:
        names = ("cam01_json/1.png", "cam-02/1.png", "cam_03.left/1.png")
        labels = read_labels(labels_of(tmp_path, *names), cameras=["cam_01", "cam_02", "cam03"])
        assert [frame.camera for frame in labels.frames] == ["cam_01", "cam_02", "cam03"]
        assert len(labels.moments()) == 3

    def test_are_what_stands_in_a_pattern(self, tmp_path: Path) -> None:
        names = ("x/s1_top/1.png", "x/s1_side/1.png", "x/s2_top/2.png")
        labels = read_labels(labels_of(tmp_path, *names), cameras=["*_{camera}/*"])
        assert labels.cameras == ("top", "side")
        assert [len(frames) for frames in labels.moments().values()] == [2, 1]

    def test_are_one_that_nobody_needs_to_name(self, tmp_path: Path) -> None:
        labels = read_labels(labels_of(tmp_path, "1.png", "2.png"))
        assert labels.cameras == ("",) and not labels.notes and len(labels.moments()) == 2

    @pytest.mark.parametrize(
        ("cameras", "problem"),
        [
            (["top", "front"], "s1_side/1.png is of none of the cameras top, front"),
            (["s1", "side"], "s1_side/1.png is of s1 and of side"),
            (["run_{camera}"], r"s1_side/1.png does not fit run_\{camera\}"),
            (["side", "side"], "are not names that differ"),
        ],
    )
    def test_that_do_not_fit_are_an_error_that_names_the_picture(
        self, tmp_path: Path, cameras: list[str], problem: str
    ) -> None:
        with pytest.raises(ConfigError, match=problem):
            read_labels(labels_of(tmp_path, "s1_side/1.png"), cameras=cameras)


def test_a_moment_is_the_same_on_whatever_disk_its_pictures_were(tmp_path: Path) -> None:
    labels = read_labels(labels_of(tmp_path, "D:/films/top/1.png", "E:/films/side/1.png"), cameras=["top", "side"])
    assert len(labels.moments()) == 1
