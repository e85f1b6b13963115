from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from capture.labels import read_labels
from rigpose.errors import ConfigError
from tests.capture.labels.made import CONFIG, MANY, deeplabcut, picture, write


class TestProject:
    def test_has_the_joints_and_bones_of_its_config_whatever_the_order_in_a_table(self, tmp_path: Path) -> None:
        labels = read_labels(deeplabcut(tmp_path / "project"))
        assert labels.format == "DeepLabCut" and labels.skeleton.name == "reach"
        assert labels.skeleton.joints == ("snout", "leftear", "rightear")
        assert labels.skeleton.edges == ((0, 1), (0, 2)) and labels.skeleton.left_right == ((1, 2),)
        side, top = labels.frames
        assert top.points[0, :2].tolist() == [[10, 20], [12.5, 22]] and np.isnan(top.points[0, 2]).all()
        assert side.points[0, :2].tolist() == [[3, 4], [1, 2]] and np.isnan(side.points[0, 2]).all()
        assert labels.unlabelled == 1 and top.labeller == "Ada"

    def test_may_be_named_by_its_folder_its_config_or_one_table(self, tmp_path: Path) -> None:
        project = deeplabcut(tmp_path / "project")
        assert len(read_labels(project / "config.yaml")) == 2
        assert len(read_labels(project / "labeled-data")) == 2
        assert len(read_labels(project / "labeled-data" / "run1_top" / "CollectedData_Ada.csv")) == 1
        assert len(read_labels(project / "labeled-data" / "run1_top" / "CollectedData_Ada.h5")) == 1

    def test_finds_its_pictures_and_their_pixels(self, tmp_path: Path) -> None:
        labels = read_labels(deeplabcut(tmp_path / "project"))
        assert not labels.missing
        for frame, image in labels.images(labels.frames[1:]):
            x, y = frame.points[0, 0].astype(int)
            assert image is not None and image[y, x].tolist() == [255, 255, 255]

    def test_of_two_scorers_reads_the_one_of_the_config(self, tmp_path: Path) -> None:
        project = deeplabcut(tmp_path / "project")
        table = project / "labeled-data" / "run1_top" / "CollectedData_Ada.csv"
        write(table.with_name("CollectedData_Bob.csv"), table.read_text().replace("Ada", "Bob"))
        assert {frame.labeller for frame in read_labels(project).frames} == {"Ada"}
        with pytest.raises(
            ConfigError, match=r"CollectedData_Bob.csv: labels .*img003.png as .*CollectedData_Ada.csv does"
        ):
            read_labels(table.parent)

    def test_says_where_pictures_that_were_cut_out_lie(self, tmp_path: Path) -> None:
        side, top = read_labels(deeplabcut(tmp_path / "project")).frames
        assert side.picture.offset_px == (16, 8) and top.picture.offset_px == (0, 0)

    def test_does_not_take_a_region_that_the_pictures_were_not_cut_out_to(self, tmp_path: Path) -> None:
        project = deeplabcut(tmp_path / "project")
        picture(project / "labeled-data" / "run1_side" / "img003.png", size=(80, 56))
        side, _ = read_labels(project).frames
        assert side.picture.offset_px == (0, 0)

    def test_tells_cameras_by_a_pattern_and_moments_across_them(self, tmp_path: Path) -> None:
        labels = read_labels(deeplabcut(tmp_path / "project"), cameras=["top", "side"])
        assert labels.cameras == ("side", "top")
        assert [sorted(frames) for frames in labels.moments().values()] == [["side", "top"]]

    def test_without_labels_says_what_is_missing(self, tmp_path: Path) -> None:
        write(tmp_path / "config.yaml", CONFIG)
        with pytest.raises(ConfigError, match=r"no folder of labeled-data holds a CollectedData_\*.csv"):
            read_labels(tmp_path)


class TestSeveralAnimals:
    def test_are_subjects_and_the_arena_is_none(self, tmp_path: Path) -> None:
        labels = read_labels(write(tmp_path / "labeled-data" / "pair" / "CollectedData_Ada.csv", MANY))
        assert labels.skeleton.joints == ("snout", "tail")
        first, second = labels.frames
        assert first.subjects == ("m1", "m2") and second.subjects == ("m2",)
        assert first.points[1, 0].tolist() == [5, 6] and np.isnan(first.points[1, 1]).all()
        assert second.points.tolist() == [[[7, 8], [9, 10]]]
        assert labels.unlabelled == 1
        assert labels.notes == ("other body parts are left out (corner): --category single reads those alone",)

    def test_beside_which_something_is_labelled_once(self, tmp_path: Path) -> None:
        path = write(tmp_path / "labeled-data" / "pair" / "CollectedData_Ada.csv", MANY)
        labels = read_labels(path, category="single")
        assert labels.skeleton.joints == ("corner",) and len(labels) == 3
        assert all(frame.points.tolist() == [[[60, 40]]] for frame in labels.frames)
        with pytest.raises(ConfigError, match="no category 'mouse' .*or give single"):
            read_labels(path, category="mouse")

    def test_of_a_project_whose_config_says_multi(self, tmp_path: Path) -> None:
        text = CONFIG.replace("bodyparts:", "bodyparts: MULTI!\nmultianimalbodyparts:").replace(
            "- snout\n", "- tail\n- snout\n", 1
        )
        write(tmp_path / "config.yaml", text)
        write(tmp_path / "labeled-data" / "pair" / "CollectedData_Ada.csv", MANY)
        assert read_labels(tmp_path).skeleton.joints == ("tail", "snout", "leftear", "rightear")


class TestErrors:
    def test_an_h5_alone_says_how_to_make_the_table(self, tmp_path: Path) -> None:
        (tmp_path / "CollectedData_Ada.h5").write_bytes(b"\x89HDF")
        with pytest.raises(ConfigError, match=r"no CollectedData_Ada.csv beside it, .*read_hdf"):
            read_labels(tmp_path / "CollectedData_Ada.h5")

    @pytest.mark.parametrize(
        ("old", "new", "problem"),
        [
            ("bodyparts,", "parts,", "does not begin with rows scorer, bodyparts and coords"),
            (",5,6,,,", ",five,6,,,", r"row 5: snout is 'five' and no number"),
            ("img2.png,,", "img2.png,", "row 6: has 12 columns instead of 13"),
            ("coords,,,x,y,", "coords,,,x,x,", "snout has no columns x and y"),
        ],
    )
    def test_name_the_row(self, tmp_path: Path, old: str, new: str, problem: str) -> None:
        path = write(tmp_path / "CollectedData_Ada.csv", MANY.replace(old, new, 1))
        with pytest.raises(ConfigError, match=problem):
            read_labels(path)

    def test_pictures_that_are_gone_are_no_error_but_known(self, tmp_path: Path) -> None:
        project = deeplabcut(tmp_path / "project")
        (project / "labeled-data" / "run1_top" / "img003.png").unlink()
        labels = read_labels(project)
        assert labels.missing == ("labeled-data/run1_top/img003.png",)
        elsewhere = picture(tmp_path / "kept" / "run1_top" / "img003.png")
        assert read_labels(project, pictures=tmp_path / "kept").frames[1].picture.path == elsewhere
