"""A picture that is asked for again is not decoded again, and no more is held than was allowed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calib.camera import Camera
from rigpose.errors import ConfigError
from training.datasets.kept import Kept
from training.datasets.pictures import cut

SIZE = (40, 30)
BYTES = 3 * SIZE[0] * SIZE[1]


def camera() -> Camera:
    return Camera("top", SIZE, np.eye(3), np.zeros(0), np.zeros(3), np.zeros(3))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((SIZE[1], SIZE[0], 3), 50 * number, np.uint8))
    return paths


def test_is_read_once_while_there_is_room(files: list[Path]) -> None:
    kept = Kept(2 * BYTES)
    first = kept(files[0], camera())
    files[0].unlink()
    assert kept(files[0], camera()) is first


def test_what_was_not_used_for_longest_makes_room(files: list[Path]) -> None:
    kept = Kept(2 * BYTES)
    first, second = kept(files[0], camera()), kept(files[1], camera())
    assert kept(files[0], camera()) is first
    kept(files[2], camera())
    assert kept(files[0], camera()) is first
    assert kept(files[1], camera()) is not second


def test_without_room_each_is_read_each_time(files: list[Path]) -> None:
    kept = Kept(0)
    first = kept(files[1], camera())
    assert kept(files[1], camera()) is not first and (first == 50).all()
    files[1].unlink()
    with pytest.raises(ConfigError, match="no such picture"):
        kept(files[1], camera())


def test_nobody_can_spoil_what_is_held(files: list[Path]) -> None:
    picture = Kept(BYTES)(files[2], camera())
    with pytest.raises(ValueError, match="read-only"):
        picture[0, 0] = 0
    turned = np.array([[0.5, 0.2, 3.0], [-0.2, 0.5, 5.0]])
    assert cut(picture, turned, 32).max() == 100 == cut(picture, np.eye(3)[:2], 32).max()
