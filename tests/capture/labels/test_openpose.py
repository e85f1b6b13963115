from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from capture.labels import read_labels
from rigpose.errors import ConfigError
from tests.capture.labels.made import openpose, person, picture, video, write_json

STANDING_25 = {0: (30, 5), 1: (30, 12), 5: (36, 12), 8: (30, 25), 15: (29, 4), 21: (33, 45)}
STANDING_25B = {0: (30, 5), 1: (31, 4), 5: (36, 12), 11: (32, 25), 15: (33, 43), 21: (33, 45)}


class TestPoints:
    def test_are_people_with_scores_and_zero_means_not_found(self, tmp_path: Path) -> None:
        write_json(tmp_path / "cam1" / "run_000000000012_keypoints.json", openpose(person(STANDING_25), person({})))
        write_json(tmp_path / "cam1" / "run_000000000013_keypoints.json", openpose())
        labels = read_labels(tmp_path / "cam1")
        (frame,) = labels.frames
        assert frame.points.shape == (1, 25, 2) and frame.by_network.all() and labels.unlabelled == 1
        assert frame.points[0, 8].tolist() == [30, 25] and np.isnan(frame.points[0, 2]).all()
        assert frame.confidence[0, 8] == pytest.approx(0.9) and frame.confidence[0, 2] == 0
        assert frame.picture.index == 12

    def test_that_a_person_set_are_none_of_them(self, tmp_path: Path) -> None:
        path = write_json(tmp_path / "run_12_keypoints.json", openpose(person(STANDING_25)))
        with pytest.raises(ConfigError, match="holds only points that a network set"):
            read_labels(path, predictions="never")


class TestSkeleton:
    @pytest.mark.parametrize(("points", "name"), [(STANDING_25, "body25"), (STANDING_25B, "body25b")])
    def test_of_25_points_is_told_by_where_they_lie(self, tmp_path: Path, points: dict, name: str) -> None:
        path = write_json(tmp_path / "run_1.json", openpose(person(points)))
        labels = read_labels(path)
        assert labels.skeleton.name == name and any(f"took {name}" in note for note in labels.notes)

    @pytest.mark.parametrize("seen", [(0, 1, 5), (0, 15, 21)])
    def test_is_told_by_a_part_of_them(self, tmp_path: Path, seen: tuple[int, ...]) -> None:
        for points, name in ((STANDING_25, "body25"), (STANDING_25B, "body25b")):
            part = {joint: points[joint] for joint in seen}
            path = write_json(tmp_path / name / "run_1.json", openpose(person(part)))
            assert read_labels(path).skeleton.name == name

    def test_is_what_the_user_says(self, tmp_path: Path) -> None:
        path = write_json(tmp_path / "run_1.json", openpose(person(STANDING_25)))
        assert read_labels(path, skeleton="body25b").skeleton.joints[15] == "left_ankle"
        with pytest.raises(ConfigError, match="has 25 points a person, coco18 has 18"):
            read_labels(path, skeleton="coco18")
        with pytest.raises(ConfigError, match="known are body25, body25b, coco18, mpi15"):
            read_labels(path, skeleton="coco")

    def test_of_18_points_is_known_and_of_19_is_not(self, tmp_path: Path) -> None:
        path = write_json(tmp_path / "a" / "run_1.json", openpose(person({4: (1, 2)}, 18)))
        assert read_labels(path).skeleton.joints[4] == "right_wrist"
        with pytest.raises(ConfigError, match="has 19 points a person"):
            read_labels(write_json(tmp_path / "b" / "run_1.json", openpose(person({4: (1, 2)}, 19))))

    def test_is_one_in_a_folder(self, tmp_path: Path) -> None:
        write_json(tmp_path / "run_1.json", openpose(person({4: (1, 2)}, 18)))
        write_json(tmp_path / "run_2.json", openpose(person({4: (1, 2)})))
        with pytest.raises(ConfigError, match="has people of 18, 25 points"):
            read_labels(tmp_path)


class TestPictures:
    def test_are_frames_of_the_video_that_is_named_like_the_folder(self, tmp_path: Path) -> None:
        for camera in ("cam01", "cam02"):
            video(tmp_path / "videos" / f"{camera}.mp4", 4)
            for index in (0, 3):
                name = f"Walk_{camera}.{index:05d}.json"
                write_json(tmp_path / "pose" / f"{camera}_json" / name, openpose(person(STANDING_25)))
        labels = read_labels(tmp_path / "pose")
        assert labels.cameras == ("cam01", "cam02") and not labels.missing
        assert {(f.picture.path.name, f.picture.index) for f in labels.frames if f.picture.path} == {
            *(("cam01.mp4", 0), ("cam01.mp4", 3), ("cam02.mp4", 0), ("cam02.mp4", 3))
        }
        assert [len(frames) for frames in labels.moments().values()] == [2, 2]

    def test_are_pictures_of_the_same_name_where_there_are(self, tmp_path: Path) -> None:
        picture(tmp_path / "img7.png")
        labels = read_labels(write_json(tmp_path / "img7_keypoints.json", openpose(person(STANDING_25))))
        assert labels.frames[0].picture.path == tmp_path / "img7.png" and labels.frames[0].picture.index is None

    def test_that_are_nowhere_are_missing(self, tmp_path: Path) -> None:
        labels = read_labels(write_json(tmp_path / "run_7.json", openpose(person(STANDING_25))))
        assert len(labels.missing) == 1


def test_a_file_that_is_damaged_is_named(tmp_path: Path) -> None:
    path = write_json(tmp_path / "run_7.json", openpose([1.0, 2.0]))
    with pytest.raises(ConfigError, match=r"people.0.pose_keypoints_2d: holds 2 numbers and not three numbers a joint"):
        read_labels(path)


@pytest.mark.data
def test_a_real_folder_of_four_cameras(data_dir: Path) -> None:
    labels = read_labels(data_dir / "human4-static" / "S00_P00_T00_StaticTrial" / "pose")
    assert labels.skeleton.name == "body25b" and labels.cameras == ("cam01", "cam02", "cam03", "cam04")
    assert len(labels) == 48 and not labels.missing and len(labels.moments()) == 12
