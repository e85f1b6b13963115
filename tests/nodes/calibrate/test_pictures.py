"""Where the pictures of each camera are, however a user keeps them, and which belong together."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from nodes.calibrate.pictures import Film, ReelReader, find_film, sample
from rigpose.errors import ConfigError


def image(path: Path, level: int = 0, size: tuple[int, int] = (64, 48)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((size[1], size[0]), level, np.uint8))
    return path


def video(path: Path, n: int, rate: int = 10, first: int = 0) -> Path:
    """A video whose frame k is as bright as 8 (first + k)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(n):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64), 8 * (first + k), np.uint8), format="gray")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return path


def level(film: Film, camera: int, moment: int) -> float:
    reader = ReelReader(film.reels[camera])
    picture = reader.read(int(film.index[camera, moment]))
    reader.close()
    assert picture is not None
    return float(picture.mean())


class TestWhereTheyAre:
    def test_a_folder_with_one_video_for_each_camera(self, tmp_path: Path) -> None:
        for name in ("cam2", "cam10", "cam1"):
            video(tmp_path / f"{name}.mp4", 5)
        film = find_film(tmp_path)
        assert film.cameras == ("cam1", "cam2", "cam10")
        assert film.sizes == dict.fromkeys(film.cameras, (64, 48))
        assert film.matched == "equal frame numbers"
        assert np.array_equal(film.index, np.tile(np.arange(5), (3, 1)))
        assert film.times_s[0, 4] == pytest.approx(0.4)

    def test_a_folder_with_one_folder_of_images_for_each_camera(self, tmp_path: Path) -> None:
        for name in ("left", "right"):
            for number in (9, 10, 11):
                image(tmp_path / name / f"img_{number}.png", number)
        film = find_film(tmp_path)
        assert film.cameras == ("left", "right")
        assert film.matched == "equal numbers in file names"
        assert film.numbers.tolist() == [9, 10, 11]
        assert [level(film, 1, f) for f in range(3)] == [9, 10, 11]

    def test_images_may_lie_a_folder_deeper(self, tmp_path: Path) -> None:
        image(tmp_path / "top" / "boards" / "1.png")
        image(tmp_path / "side" / "boards" / "1.png")
        assert find_film(tmp_path).cameras == ("side", "top")

    def test_numbered_images_of_all_cameras_in_one_folder(self, tmp_path: Path) -> None:
        for name in ("left", "right"):
            for number in (1, 2, 14):
                image(tmp_path / f"{name}{number:02d}.jpg", number)
        film = find_film(tmp_path)
        assert film.cameras == ("left", "right") and film.numbers.tolist() == [1, 2, 14]

    def test_images_of_known_cameras_are_told_apart_by_their_names(self, tmp_path: Path) -> None:
        for name in ("cam01", "cam02"):
            image(tmp_path / f"{name}_scene.png")
        assert find_film(tmp_path, cameras=("cam01", "cam02")).cameras == ("cam01", "cam02")

    def test_a_folder_of_images_is_one_camera(self, tmp_path: Path) -> None:
        for number in range(3):
            image(tmp_path / "lens" / f"{number}.png")
        film = find_film(tmp_path / "lens")
        assert film.cameras == ("lens",) and film.n_moments == 3

    def test_a_pattern_says_where_the_name_stands(self, tmp_path: Path) -> None:
        for name in ("mid", "top"):
            video(tmp_path / name / "mouse.mp4", 3)
            for number in (0, 1):
                image(tmp_path / name / "boards" / f"{name}-20240101-{number}.jpg")
        film = find_film(f"{tmp_path}/{{camera}}/boards/*.jpg")
        assert film.cameras == ("mid", "top") and film.n_moments == 2
        film = find_film(f"{tmp_path}/{{camera}}/*.mp4")
        assert film.cameras == ("mid", "top") and film.n_moments == 3
        film = find_film(f"{tmp_path}/{{camera}}/boards")
        assert film.cameras == ("mid", "top") and not film.reels[0].is_video

    def test_each_camera_may_be_named(self, tmp_path: Path) -> None:
        a, b = video(tmp_path / "GOPR0001.mp4", 3), video(tmp_path / "GOPR0007.mp4", 3)
        film = find_film(None, {"front": b, "back": a})
        assert film.cameras == ("front", "back") and film.reels[0].files == (b,)

    @pytest.mark.parametrize("found", ["int_cam01_img", "CAM_1", "camera1", "cam-01"])
    def test_names_are_matched_with_those_of_the_rig(self, tmp_path: Path, found: str) -> None:
        image(tmp_path / found / "1.png")
        image(tmp_path / found.replace("1", "2") / "1.png")
        film = find_film(tmp_path, cameras=("cam01", "cam02", "cam03"))
        assert set(film.cameras) == {"cam01", "cam02"}
        assert any(f"{found} is cam01" in note for note in film.notes)

    def test_a_video_that_is_turned_is_read_as_it_should_be_seen(self, tmp_path: Path) -> None:
        plain = video(tmp_path / "plain.mp4", 3)
        turned = tmp_path / "turned.mp4"
        with av.open(str(plain)) as source, av.open(str(turned), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            stream.set_display_rotation(90) if hasattr(stream, "set_display_rotation") else pytest.skip("old PyAV")
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
        film = find_film(turned)
        assert film.reels[0].size == (48, 64) and level(film, 0, 1) == pytest.approx(8, abs=2)


class TestWhatCannotBe:
    def test_nothing_there_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="no such file or folder"):
            find_film(tmp_path / "nix")

    def test_an_empty_folder_lists_what_it_holds(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("x")
        with pytest.raises(ConfigError, match=r"holds no videos.*it holds notes\.txt.*--camera cam1=cam1\.mp4"):
            find_film(tmp_path)

    def test_images_beside_a_video_ask_which(self, tmp_path: Path) -> None:
        image(tmp_path / "cam1" / "1.png")
        video(tmp_path / "cam1" / "take.mp4", 2)
        with pytest.raises(ConfigError, match=r"1 images and 1 videos \(take\.mp4\).*\{camera\}"):
            find_film(tmp_path)

    def test_names_that_the_rig_does_not_know_are_listed(self, tmp_path: Path) -> None:
        image(tmp_path / "red" / "1.png")
        image(tmp_path / "blue" / "1.png")
        with pytest.raises(
            ConfigError, match="pictures of blue, red, but the rig knows cam1, cam2.*--camera cam1=PATH"
        ):
            find_film(tmp_path, cameras=("cam1", "cam2"))

    def test_a_pattern_that_nothing_fits(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="nothing has such a name"):
            find_film(f"{tmp_path}/{{camera}}/*.png")

    def test_a_broken_image_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "cam1").mkdir()
        (tmp_path / "cam1" / "1.png").write_bytes(b"no image")
        with pytest.raises(ConfigError, match=r"1\.png: cannot be read as an image"):
            find_film(tmp_path)

    def test_a_broken_video_is_named_without_a_key_of_another_file(self, tmp_path: Path) -> None:
        (tmp_path / "cam1.mp4").write_bytes(b"no video" * 100)
        with pytest.raises(ConfigError, match=r"cam1\.mp4: cannot be read as video"):
            find_film(tmp_path)

    def test_source_and_cameras_are_one_too_many(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="give one of them"):
            find_film(tmp_path, {"a": tmp_path})

    def test_a_damaged_image_among_others_is_left_out(self, tmp_path: Path) -> None:
        for number in (1, 3):
            image(tmp_path / "cam" / f"{number}.png")
        (tmp_path / "cam" / "2.png").write_bytes(b"x")
        image(tmp_path / "cam" / "4.png", size=(32, 32))
        film = find_film(tmp_path)
        reader = ReelReader(film.reels[0])
        assert [reader.read(i) is not None for i in range(4)] == [True, False, True, False]


class TestMoments:
    def test_a_missing_image_is_missing_at_its_moment_only(self, tmp_path: Path) -> None:
        for number in (1, 2, 3):
            image(tmp_path / "a" / f"{number}.png")
            if number != 2:
                image(tmp_path / "b" / f"{number}.png")
        film = find_film(tmp_path)
        assert film.index.tolist() == [[0, 1, 2], [0, -1, 1]]
        assert "1 of 3 numbers" in " ".join(film.notes)

    def test_images_without_common_numbers_are_refused_where_counts_differ(self, tmp_path: Path) -> None:
        for name, numbers in (("a", (1, 2)), ("b", (101, 102, 103))):
            for number in numbers:
                image(tmp_path / name / f"{number}.png")
        with pytest.raises(ConfigError, match="no numbers in the file names tell"):
            find_film(tmp_path)

    def test_different_lengths_of_videos_are_told(self, tmp_path: Path) -> None:
        video(tmp_path / "a.mp4", 5)
        video(tmp_path / "b.mp4", 7)
        film = find_film(tmp_path)
        assert film.index[0].tolist() == [0, 1, 2, 3, 4, -1, -1]
        assert "a 5, b 7" in " ".join(film.notes)

    def test_a_table_says_which_frames_belong_together(self, tmp_path: Path) -> None:
        video(tmp_path / "cam_0.mp4", 4)
        video(tmp_path / "cam_1.mp4", 3, first=1)
        # The recorder had counted from 20 on, and camera 1 missed the first moment.
        rows = ["sync_index,cam_id,frame_index,frame_time"]
        rows += [f"{20 + k},0,{20 + k},{100 + 0.1 * k}" for k in range(4)]
        rows += [f"{21 + k},1,{21 + k},{100.102 + 0.1 * k}" for k in range(3)]
        (tmp_path / "timestamps.csv").write_text("\n".join(rows))
        film = find_film(tmp_path)
        assert film.matched == "sync indices in timestamps.csv"
        assert film.numbers.tolist() == [20, 21, 22, 23]
        assert film.index.tolist() == [[0, 1, 2, 3], [-1, 0, 1, 2]]
        assert level(film, 0, 2) == pytest.approx(level(film, 1, 2), abs=2)
        assert "differ by 98.0 ms" not in " ".join(film.notes) and "2.0 ms in the median" in " ".join(film.notes)

    def test_a_table_of_times_alone(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            video(tmp_path / f"{name}.mp4", 4)
        rows = [
            "camera,frame,time_s",
            *(f"a,{k},{k / 10}" for k in range(4)),
            *(f"b,{k},{k / 10 + 0.11}" for k in range(4)),
        ]
        (tmp_path / "times.csv").write_text("\n".join(rows))
        film = find_film(tmp_path, timestamps=tmp_path / "times.csv")
        pairs = {(int(i), int(j)) for i, j in film.index.T if i >= 0 and j >= 0}
        assert pairs == {(1, 0), (2, 1), (3, 2)}

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "has the columns none"),
            ("camera,frame\na,0", "has the columns camera, frame"),
            ("camera,sync_index\na,zero", "line 2: 'zero' is no number"),
            ("camera,sync_index,frame\na,0,0\n", "has no row for camera b"),
            ("camera,sync_index,frame\na,0,0\na,1,1\na,2,99\nb,0,0", "frame 99 of camera a, which has 2"),
            ("camera,sync_index\n", "has no rows"),
        ],
    )
    def test_a_table_that_is_wrong_names_the_line_or_the_camera(self, tmp_path: Path, text: str, words: str) -> None:
        for name in ("a", "b"):
            video(tmp_path / f"{name}.mp4", 2)
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(ConfigError, match=words):
            find_film(tmp_path, timestamps=tmp_path / "t.csv")

    def test_a_spread_prefers_moments_that_more_cameras_saw(self, tmp_path: Path) -> None:
        for number in range(20):
            image(tmp_path / "a" / f"{number}.png")
            if number % 4 == 0:
                image(tmp_path / "b" / f"{number}.png")
        film = find_film(tmp_path)
        picked = film.spread(5)
        assert len(picked) == 5 and (film.index[:, picked] >= 0).all()
        assert len(film.spread(None)) == 20

    def test_a_sample_comes_from_every_camera(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            video(tmp_path / f"{name}.mp4", 12)
        names = [name for name, _ in sample(find_film(tmp_path), 3)]
        assert names == ["a"] * 3 + ["b"] * 3


@pytest.mark.data
class TestRealRecordings:
    def test_webcams_with_their_table(self, data_dir: Path) -> None:
        film = find_film(data_dir / "charuco4-webcams/calibration/extrinsic")
        assert film.cameras == ("cam_0", "cam_1", "cam_2", "cam_3")
        assert film.index.shape == (4, 111) and (film.index >= 0).all() and film.numbers[0] == 26

    def test_stills_of_a_mouse_rig(self, data_dir: Path) -> None:
        film = find_film(str(data_dir / "mouse4-sleap/{camera}/calibration_images/*.jpg"))
        assert film.cameras == ("back", "mid", "side", "top")
        assert film.numbers.tolist() == list(range(21)) and film.matched == "equal numbers in file names"

    def test_stereo_pairs(self, data_dir: Path) -> None:
        film = find_film(data_dir / "stereo-checkerboard")
        assert film.cameras == ("left", "right") and film.n_moments == 14
