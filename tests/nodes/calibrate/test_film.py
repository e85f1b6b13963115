"""Pictures of a film, read and picked."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from nodes.calibrate.film import ReelReader, sample
from nodes.calibrate.pictures import find_film
from tests.nodes.calibrate.reels import image, level, video


def test_a_video_that_is_turned_is_read_as_it_should_be_seen(tmp_path: Path) -> None:
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


def test_a_damaged_image_among_others_is_left_out(tmp_path: Path) -> None:
    for number in (1, 3):
        image(tmp_path / "cam" / f"{number}.png")
    (tmp_path / "cam" / "2.png").write_bytes(b"x")
    image(tmp_path / "cam" / "4.png", size=(32, 32))
    film = find_film(tmp_path)
    reader = ReelReader(film.reels[0])
    assert [reader.read(i) is not None for i in range(4)] == [True, False, True, False]


def test_a_spread_prefers_moments_that_more_cameras_saw(tmp_path: Path) -> None:
    for number in range(20):
        image(tmp_path / "a" / f"{number}.png")
        if number % 4 == 0:
            image(tmp_path / "b" / f"{number}.png")
    film = find_film(tmp_path)
    picked = film.spread(5)
    assert len(picked) == 5 and (film.index[:, picked] >= 0).all()
    assert len(film.spread(None)) == 20


def test_a_sample_comes_from_every_camera(tmp_path: Path) -> None:
    for name in ("a", "b"):
        video(tmp_path / f"{name}.mp4", 12)
    names = [name for name, _ in sample(find_film(tmp_path), 3)]
    assert names == ["a"] * 3 + ["b"] * 3
