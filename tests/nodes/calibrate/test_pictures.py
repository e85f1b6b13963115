"""Where the pictures of each camera are, however a user keeps them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nodes.calibrate.pictures import find_film
from rigpose.errors import ConfigError
from tests.nodes.calibrate.reels import image, level, video


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
