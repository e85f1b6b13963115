from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from capture.labels.labels import Picture
from capture.labels.pictures import Finder, PictureReader
from rigpose.errors import ConfigError
from tests.capture.labels.made import picture, video


class TestFinder:
    @pytest.mark.parametrize(
        "stated", ["D:\\work\\films\\a.png", "/home/ada/films/a.png", "films/a.png", "a.png", "./films/a.png"]
    )
    def test_knows_a_file_by_its_last_parts(self, tmp_path: Path, stated: str) -> None:
        there = picture(tmp_path / "films" / "a.png")
        assert Finder([tmp_path, tmp_path / "films"]).find(stated) == there

    def test_prefers_the_name_that_agrees_in_more_folders(self, tmp_path: Path) -> None:
        picture(tmp_path / "1.png")
        there = picture(tmp_path / "day2" / "1.png")
        assert Finder([tmp_path]).find("/data/day2/1.png") == there

    def test_takes_no_file_for_two_names(self, tmp_path: Path) -> None:
        picture(tmp_path / "1.png")
        finder = Finder([tmp_path])
        assert finder.find("day1/1.png") == tmp_path / "1.png"
        assert finder.find("day2/1.png") is None

    def test_takes_a_full_path_as_it_stands(self, tmp_path: Path) -> None:
        there = picture(tmp_path / "far" / "1.png")
        picture(tmp_path / "near" / "1.png")
        assert Finder([tmp_path / "near"]).find(str(there)) == there

    @pytest.mark.parametrize("stated", ["", "a\0b", "/", "x" * 5000])
    def test_finds_nothing_by_what_is_no_name(self, tmp_path: Path, stated: str) -> None:
        assert Finder([tmp_path]).find(stated) is None


class TestReader:
    def test_gives_nothing_for_what_is_missing_damaged_or_behind_the_end(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(b"no picture")
        film = video(tmp_path / "a.mp4", 3)
        with PictureReader() as reader:
            assert reader.read(Picture("a.png")) is None
            assert reader.read(Picture("a.png", tmp_path / "a.png")) is None
            assert reader.read(Picture("a.mp4", film, 3)) is None
            assert reader.read(Picture("a.mp4", film, 2)) is not None

    def test_refuses_pictures_of_another_size_than_was_labelled(self, tmp_path: Path) -> None:
        path = picture(tmp_path / "a.png")
        with PictureReader() as reader:
            assert reader.read(Picture("a.png", path, size=(64, 48))) is not None
            with pytest.raises(ConfigError, match="is 64x48, but was 128x96 when it was labelled"):
                reader.read(Picture("a.png", path, size=(128, 96)))

    def test_turns_a_picture_as_it_was_when_it_was_labelled(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        ok, coded = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))
        assert ok
        # An EXIF block of one entry: orientation (0x0112), 6 = turned by a quarter.
        entry = bytes.fromhex("0112000300000001") + bytes.fromhex("00060000")
        tiff = b"MM\0*" + bytes.fromhex("00000008") + bytes.fromhex("0001") + entry + bytes(4)
        block = b"Exif\0\0" + tiff
        data = coded.tobytes()
        path.write_bytes(data[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + data[2:])
        with PictureReader() as reader:
            for size in ((48, 64), (64, 48)):
                image = reader.read(Picture("a.jpg", path, size=size))
                assert image is not None and image.shape[1::-1] == size

    def test_reads_many_videos_in_turn(self, tmp_path: Path) -> None:
        films = [video(tmp_path / f"{i}.mp4", 3) for i in range(6)]
        with PictureReader() as reader:
            for index in (2, 0):
                for film in films:
                    image = reader.read(Picture(film.name, film, index))
                    assert image is not None and image.mean() == pytest.approx(20 * index, abs=5)
