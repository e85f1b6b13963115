from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import sleap_io

from capture.labels import read_labels
from rigpose.errors import ConfigError, MissingError
from tests.capture.labels.made import SIZE, picture, video

PEOPLE = np.array([[10.0, 20.0], [12.5, 22.0], [np.nan, np.nan]])
NETWORK = np.array([[30.0, 31.0], [32.0, 33.0], [34.0, 35.0]])


def skeleton(**more: Any) -> Any:
    return sleap_io.Skeleton(["nose", "EarL", "EarR"], edges=[("nose", "EarL"), ("nose", "EarR")], **more)


def of_person(bones: Any, points: np.ndarray = PEOPLE, **more: Any) -> Any:
    return sleap_io.Instance.from_numpy(points, bones, **more)


def of_network(bones: Any, points: np.ndarray = NETWORK) -> Any:
    return sleap_io.PredictedInstance.from_numpy(points, bones, point_scores=np.array([0.9, 0.5, 1.2]), score=0.8)


def save(path: Path, frames: list[tuple[Any, int, list[Any]]], **more: Any) -> Path:
    """A project with (video, index, instances) each."""
    labelled = [sleap_io.LabeledFrame(video=film, frame_idx=index, instances=those) for film, index, those in frames]
    sleap_io.save_slp(sleap_io.Labels(labelled, **more), str(path), verbose=False)
    return path


@pytest.fixture
def film(tmp_path: Path) -> Any:
    return sleap_io.Video.from_filename(str(video(tmp_path / "films" / "run_top.mp4", 6)))


class TestPoints:
    def test_are_those_that_people_set(self, tmp_path: Path, film: Any) -> None:
        bones = skeleton()
        track = sleap_io.Track("Minnie")
        path = save(tmp_path / "labels.slp", [(film, 4, [of_person(bones, track=track), of_network(bones)])])
        labels = read_labels(path)
        (frame,) = labels.frames
        assert frame.points.shape == (1, 3, 2)
        np.testing.assert_array_equal(frame.points[0], PEOPLE)
        assert frame.subjects == ("Minnie",) and frame.confidence.tolist() == [[1, 1, 0]]
        assert not frame.by_network.any() and not labels.notes
        assert frame.picture.index == 4 and frame.picture.path == tmp_path / "films" / "run_top.mp4"

    def test_of_a_network_count_where_nobody_set_any(self, tmp_path: Path, film: Any) -> None:
        path = save(tmp_path / "labels.slp", [(film, 0, [of_network(skeleton())])])
        labels = read_labels(path)
        assert labels.frames[0].by_network.tolist() == [True]
        assert labels.frames[0].confidence[0].tolist() == pytest.approx([0.9, 0.5, 1.0])
        assert labels.notes[0].startswith("a network set all points")
        with pytest.raises(ConfigError, match="holds only points that a network set"):
            read_labels(path, predictions="never")

    def test_of_a_network_are_left_out_beside_another_file_of_people(self, tmp_path: Path, film: Any) -> None:
        save(tmp_path / "a.slp", [(film, 0, [of_network(skeleton())])])
        save(tmp_path / "b.slp", [(film, 1, [of_person(skeleton())])])
        labels = read_labels(tmp_path)
        assert [frame.picture.index for frame in labels.frames] == [1] and labels.unlabelled == 1
        assert len(read_labels(tmp_path, predictions="always")) == 2

    def test_that_a_person_corrected_count_once(self, tmp_path: Path, film: Any) -> None:
        bones = skeleton()
        guess, other = of_network(bones), of_network(bones, NETWORK + 5)
        path = save(tmp_path / "labels.slp", [(film, 0, [of_person(bones, from_predicted=guess), guess, other])])
        (frame,) = read_labels(path, predictions="always").frames
        assert frame.by_network.tolist() == [False, True]
        np.testing.assert_allclose(frame.points[1], NETWORK + 5)

    def test_of_files_that_count_from_the_corner_are_moved_to_the_centre(self, tmp_path: Path, film: Any) -> None:
        path = save(tmp_path / "labels.slp", [(film, 0, [of_person(skeleton())])])
        with h5py.File(path, "r+") as file:
            file["metadata"].attrs["format_id"] = 1.0
            # The score of a track came later; before it a row ended with its points.
            rows = file["instances"][...]
            del file["instances"]
            file["instances"] = rows[[name for name in rows.dtype.names if name != "tracking_score"]].copy()
        np.testing.assert_array_equal(read_labels(path).frames[0].points[0], PEOPLE - 0.5)


class TestSkeleton:
    def test_has_the_pairs_of_the_file_left_first(self, tmp_path: Path, film: Any) -> None:
        bones = skeleton(symmetries=[("EarR", "EarL")], name="mouse")
        found = read_labels(save(tmp_path / "labels.slp", [(film, 0, [of_person(bones)])])).skeleton
        assert (found.name, found.joints) == ("mouse", ("nose", "EarL", "EarR"))
        assert found.edges == ((0, 1), (0, 2)) and found.left_right == ((1, 2),)

    def test_takes_the_pairs_from_names_where_the_file_has_none(self, tmp_path: Path, film: Any) -> None:
        found = read_labels(save(tmp_path / "labels.slp", [(film, 0, [of_person(skeleton())])])).skeleton
        assert found.left_right == ((1, 2),)


class TestPictures:
    def test_of_a_video_are_read_by_their_index(self, tmp_path: Path, film: Any) -> None:
        path = save(tmp_path / "labels.slp", [(film, index, [of_person(skeleton())]) for index in (5, 1)])
        levels = [(frame.picture.index, int(image.mean())) for frame, image in read_labels(path).images()]  # type: ignore[union-attr]
        assert [index for index, _ in levels] == [1, 5]
        assert levels[0][1] == pytest.approx(20, abs=5) and levels[1][1] == pytest.approx(100, abs=5)

    def test_of_a_video_of_another_machine_are_found_beside_the_file(self, tmp_path: Path) -> None:
        elsewhere = sleap_io.Video(filename="D:\\films\\day1\\run.mp4", open_backend=False)
        path = save(tmp_path / "labels.slp", [(elsewhere, 0, [of_person(skeleton())])])
        assert read_labels(path).missing == ("D:/films/day1/run.mp4",)
        video(tmp_path / "day1" / "run.mp4", 2)
        assert read_labels(path).frames[0].picture.path == tmp_path / "day1" / "run.mp4"

    def test_of_a_package_are_in_it_in_their_colours(self, tmp_path: Path) -> None:
        images = [str(picture(tmp_path / f"{i}.png", [(10, 20)])) for i in range(3)]
        film = sleap_io.Video.from_filename(images)
        labelled = sleap_io.LabeledFrame(video=film, frame_idx=2, instances=[of_person(skeleton())])
        path = tmp_path / "labels.pkg.slp"
        sleap_io.save_slp(sleap_io.Labels([labelled]), str(path), embed="user", verbose=False)
        for name in images:
            Path(name).unlink()
        moved = path.rename(tmp_path / "moved.pkg.slp")
        ((frame, image),) = read_labels(moved).images()
        assert frame.picture.path == moved and image is not None and image.shape == (SIZE[1], SIZE[0], 3)
        assert image[20, 10].tolist() == [255, 255, 255] and image.sum() == 3 * 255

    def test_of_a_list_of_files_are_files(self, tmp_path: Path) -> None:
        images = [str(picture(tmp_path / f"{i}.png", [(i, i)])) for i in range(3)]
        film = sleap_io.Video.from_filename(images)
        labels = read_labels(save(tmp_path / "labels.slp", [(film, 2, [of_person(skeleton())])]))
        ((frame, image),) = labels.images()
        assert frame.picture.path == tmp_path / "2.png" and frame.picture.index is None
        assert image is not None and image[2, 2].tolist() == [255, 255, 255]


def test_a_recording_session_names_the_cameras(tmp_path: Path) -> None:
    films = [sleap_io.Video.from_filename(str(video(tmp_path / name, 2))) for name in ("x1.mp4", "y9.mp4")]
    cameras = [sleap_io.Camera(name=name) for name in ("top", "side")]
    session = sleap_io.RecordingSession(camera_group=sleap_io.CameraGroup(cameras=cameras))
    for camera, film in zip(cameras, films, strict=True):
        session.add_video(film, camera)
    bones = skeleton()
    path = save(tmp_path / "labels.slp", [(film, 0, [of_person(bones)]) for film in films], sessions=[session])
    labels = read_labels(path)
    assert labels.cameras == ("top", "side")


class TestErrors:
    @pytest.mark.parametrize("make", [lambda path: path.write_bytes(b"no"), lambda path: h5py.File(path, "w").close()])
    def test_what_is_no_sleap_file_is_told_in_one_line(self, tmp_path: Path, make: Callable[[Path], None]) -> None:
        make(tmp_path / "labels.slp")
        with pytest.raises(ConfigError, match=r"labels.slp: cannot be read as a SLEAP file: [^\n]+"):
            read_labels(tmp_path / "labels.slp")

    def test_without_sleap_io_the_extra_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "labels.slp").write_bytes(b"no")
        monkeypatch.setitem(__import__("sys").modules, "sleap_io", None)
        with pytest.raises(MissingError, match=r"extra labels .*rigpose\[labels\]"):
            read_labels(tmp_path / "labels.slp")


@pytest.mark.data
class TestMouse:
    """A mouse in four cameras, labelled by a network and proofread: `mouse4-sleap`."""

    def test_has_four_cameras_that_share_their_moments(self, data_dir: Path) -> None:
        labels = read_labels(data_dir / "mouse4-sleap")
        assert labels.cameras == ("back", "mid", "side", "top") and len(labels) == 480 and not labels.missing
        moments = labels.moments()
        assert len(moments) == 120 and all(len(frames) == 4 for frames in moments.values())
        assert labels.skeleton.left_right == ((2, 1), (10, 11), (12, 13))

    def test_agrees_with_the_export_that_sleap_made_of_it(self, data_dir: Path) -> None:
        for camera in ("top", "side"):
            labels = read_labels(data_dir / "mouse4-sleap" / camera)
            with h5py.File(data_dir / "mouse4-sleap" / camera / f"minimal_{camera}_proofread.analysis.h5") as file:
                tracks = np.asarray(file["tracks"])[0].transpose(2, 1, 0)
                names = [name.decode() for name in file["node_names"]]
            assert list(labels.skeleton.joints) == names
            for frame in labels.frames:
                assert frame.picture.index is not None
                np.testing.assert_allclose(frame.points[0], tracks[frame.picture.index], atol=1e-4)
