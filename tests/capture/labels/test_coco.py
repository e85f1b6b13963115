from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from capture.labels import read_labels
from rigpose.errors import ConfigError
from tests.capture.labels.made import coco, picture, write_json


class TestPoints:
    def test_are_labelled_where_the_flag_says_so_and_hidden_where_it_is_one(self, tmp_path: Path) -> None:
        labels = read_labels(write_json(tmp_path / "labels.json", coco()))
        (frame,) = labels.frames
        first, second = frame.points
        assert first[:2].tolist() == [[10, 20], [12, 22]] and np.isnan(first[2]).all()
        assert second[[0, 2]].tolist() == [[30.5, 31], [33, 35]] and np.isnan(second[1]).all()
        assert frame.hidden.tolist() == [[False, True, False], [False, False, False]]
        assert frame.confidence.tolist() == [[1, 1, 0], [1, 0, 1]]
        assert labels.says_hidden and labels.unlabelled == 1

    def test_of_files_whose_flags_are_zero_and_one_are_seen(self, tmp_path: Path) -> None:
        document = coco()
        for annotation in document["annotations"]:
            annotation["keypoints"][2::3] = [min(flag, 1) for flag in annotation["keypoints"][2::3]]
        labels = read_labels(write_json(tmp_path / "labels.json", document))
        assert not labels.says_hidden and not labels.frames[0].hidden.any()
        assert labels.frames[0].labelled.sum() == 4
        assert labels.notes == ("labels.json has no flag 2, so its 1 is taken for labelled and seen",)

    def test_that_are_counted_from_the_corner_are_moved_and_boxes_are_not(self, tmp_path: Path) -> None:
        (frame,) = read_labels(write_json(tmp_path / "labels.json", coco()), origin="corner").frames
        assert frame.points[0, :2].tolist() == [[9.5, 19.5], [11.5, 21.5]]
        assert frame.boxes[0].tolist() == [8.5, 18.5, 13.5, 24.5]

    def test_lie_on_the_pixels_that_were_labelled(self, tmp_path: Path) -> None:
        picture(tmp_path / "images" / "a.png", [(10, 20), (12, 22)])
        labels = read_labels(write_json(tmp_path / "labels.json", coco()))
        ((frame, image),) = labels.images()
        assert image is not None
        for x, y in frame.points[0, :2].astype(int):
            assert image[y, x].tolist() == [255, 255, 255]

    def test_crowds_and_annotations_without_keypoints_do_not_count(self, tmp_path: Path) -> None:
        document = coco()
        document["annotations"][0]["iscrowd"] = 1
        document["annotations"].append({"id": 3, "image_id": 8, "category_id": 1, "bbox": [0, 0, 5, 5]})
        (frame,) = read_labels(write_json(tmp_path / "labels.json", document)).frames
        assert len(frame.points) == 1


class TestBoxes:
    def test_of_the_file_reach_from_pixel_edge_to_pixel_edge(self, tmp_path: Path) -> None:
        (frame,) = read_labels(write_json(tmp_path / "labels.json", coco())).frames
        # x 9, width 5: the pixels 9 to 13, whose surface begins half a pixel before the first one's centre.
        assert frame.boxes[0].tolist() == [8.5, 18.5, 13.5, 24.5]

    def test_that_are_missing_are_made_of_the_points(self, tmp_path: Path) -> None:
        (frame,) = read_labels(write_json(tmp_path / "labels.json", coco())).frames
        assert frame.boxes[1].tolist() == [30.5, 31, 33, 35]


class TestSkeleton:
    def test_has_bones_counted_from_one_and_sides_by_the_names(self, tmp_path: Path) -> None:
        skeleton = read_labels(write_json(tmp_path / "labels.json", coco())).skeleton
        assert skeleton.name == "mouse" and skeleton.joints == ("nose", "left_ear", "right_ear")
        assert skeleton.edges == ((0, 1), (0, 2)) and skeleton.left_right == ((1, 2),)

    def test_of_several_categories_the_labelled_one_is_taken(self, tmp_path: Path) -> None:
        document = coco()
        document["categories"].insert(0, {"id": 5, "name": "rat", "keypoints": ["nose"]})
        assert read_labels(write_json(tmp_path / "labels.json", document)).skeleton.name == "mouse"

    def test_two_labelled_categories_need_a_choice(self, tmp_path: Path) -> None:
        document = coco()
        document["categories"].append({"id": 5, "name": "rat", "keypoints": ["nose"]})
        document["annotations"].append({"id": 3, "image_id": 8, "category_id": 5, "keypoints": [1, 2, 2]})
        path = write_json(tmp_path / "labels.json", document)
        with pytest.raises(ConfigError, match="keypoints of mouse, rat .*--category mouse"):
            read_labels(path)
        labels = read_labels(path, category="rat")
        assert labels.skeleton.joints == ("nose",) and len(labels) == 1
        assert labels.notes == ("2 annotations of other categories are left out",)
        with pytest.raises(ConfigError, match="no keypoints of 'cat' .*mouse, rat"):
            read_labels(path, category="cat")


@pytest.mark.parametrize(
    ("file", "picture_name", "split"),
    [
        ("annotations/person_keypoints_val2017.json", "a.png", "val"),
        ("train/_annotations.coco.json", "a.png", "train"),
        ("all.json", "test/a.png", "test"),
        ("training.json", "a.png", "train"),
        ("labels.json", "constrained/a.png", None),
    ],
)
def test_the_split_is_what_the_names_say(tmp_path: Path, file: str, picture_name: str, split: str | None) -> None:
    document = coco()
    document["images"][0]["file_name"] = picture_name
    (frame,) = read_labels(write_json(tmp_path / "data" / file, document)).frames
    assert frame.split == split


def test_the_official_layout_has_its_pictures_beside_the_annotations(tmp_path: Path) -> None:
    picture(tmp_path / "val2017" / "a.png")
    path = write_json(tmp_path / "annotations" / "person_keypoints_val2017.json", coco())
    write_json(tmp_path / "annotations" / "captions_val2017.json", coco(categories=[], annotations=[]))
    write_json(tmp_path / "annotations" / "instances_val2017.json", {"info": {}, "annotations": [], "images": []})
    labels = read_labels(tmp_path)
    assert labels.files == (path,)
    assert labels.frames[0].picture.path == tmp_path / "val2017" / "a.png"


class TestErrors:
    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"annotations": 3}, "key annotations: is no list"),
            ({"categories": [{"id": 1, "name": "mouse"}]}, "no category with keypoints"),
            ({"images": [{"id": 7}]}, r"key images.0.file_name: is no name"),
            ({"images": [{"id": 1, "file_name": "a.png"}]}, r"key annotations.0.image_id: no image has that id"),
            (
                {"images": [{"id": 7, "file_name": "a"}, {"id": 7, "file_name": "b"}]},
                r"images.1.id: 7 stands there twice",
            ),
        ],
    )
    def test_name_the_key(self, tmp_path: Path, change: dict, problem: str) -> None:
        with pytest.raises(ConfigError, match=problem):
            read_labels(write_json(tmp_path / "labels.json", coco(**change)))

    @pytest.mark.parametrize(
        ("keypoints", "problem"),
        [
            ([1, 2, 2], "holds 3 numbers and not 9, three for each of 3 joints"),
            ([1, 2, 3] * 3, "the flag 3 is not 0, 1 or 2"),
            (["x"] * 9, "is no list of numbers"),
        ],
    )
    def test_name_the_annotation(self, tmp_path: Path, keypoints: list, problem: str) -> None:
        document = coco()
        document["annotations"][1]["keypoints"] = keypoints
        with pytest.raises(ConfigError, match=f"annotations.1.keypoints: {problem}"):
            read_labels(write_json(tmp_path / "labels.json", document))

    def test_nothing_labelled_is_one(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="labels nothing in any picture"):
            read_labels(write_json(tmp_path / "labels.json", coco(annotations=[])))
