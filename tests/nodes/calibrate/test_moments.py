"""Which pictures of several cameras belong together: by their numbers, by their names or by a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodes.calibrate.pictures import find_film
from rigpose.errors import ConfigError
from tests.nodes.calibrate.reels import image, level, video


def test_a_missing_image_is_missing_at_its_moment_only(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        image(tmp_path / "a" / f"{number}.png")
        if number != 2:
            image(tmp_path / "b" / f"{number}.png")
    film = find_film(tmp_path)
    assert film.index.tolist() == [[0, 1, 2], [0, -1, 1]]
    assert "1 of 3 numbers" in " ".join(film.notes)


def test_images_without_common_numbers_are_refused_where_counts_differ(tmp_path: Path) -> None:
    for name, numbers in (("a", (1, 2)), ("b", (101, 102, 103))):
        for number in numbers:
            image(tmp_path / name / f"{number}.png")
    with pytest.raises(ConfigError, match="no numbers in the file names tell"):
        find_film(tmp_path)


def test_different_lengths_of_videos_are_told(tmp_path: Path) -> None:
    video(tmp_path / "a.mp4", 5)
    video(tmp_path / "b.mp4", 7)
    film = find_film(tmp_path)
    assert film.index[0].tolist() == [0, 1, 2, 3, 4, -1, -1]
    assert "a 5, b 7" in " ".join(film.notes)


def test_a_table_says_which_frames_belong_together(tmp_path: Path) -> None:
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


def test_a_table_of_times_alone(tmp_path: Path) -> None:
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
def test_a_table_that_is_wrong_names_the_line_or_the_camera(tmp_path: Path, text: str, words: str) -> None:
    for name in ("a", "b"):
        video(tmp_path / f"{name}.mp4", 2)
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ConfigError, match=words):
        find_film(tmp_path, timestamps=tmp_path / "t.csv")
