"""Each finder looks where its name says."""

from __future__ import annotations

import numpy as np
import pytest

from capture.frame import Frame
from engine.config import FinderSection
from engine.crop import Picture
from engine.finder import create
from rigpose.errors import ConfigError

SIZE = (96, 96)


def picture(image: np.ndarray) -> Picture:
    return Picture(Frame("a", 0, image, "Mono8", 0, "arrival", 0, (image.shape[1], image.shape[0])))


def box(crop) -> np.ndarray:  # type: ignore[no-untyped-def]
    matrix = crop.matrix(SIZE)
    return np.array([*(matrix @ [-0.5, -0.5, 1]), *(matrix @ [95.5, 95.5, 1])])


def test_full_looks_at_everything_and_leaves_an_absent_view_out() -> None:
    rounds = list(
        create(FinderSection(), SIZE, ("a", "b"), 1.2).rounds([picture(np.zeros((100, 200), np.uint8)), None])
    )
    assert len(rounds) == 1 and rounds[0][1] is None
    x0, y0, x1, y1 = box(rounds[0][0])
    assert x0 <= -0.49 and y0 <= -0.49 and x1 >= 199.49 and y1 >= 99.49


def test_tiles_cover_every_pixel_and_overlap() -> None:
    finder = create(FinderSection(kind="tiles", tiles=3), SIZE, ("a",), 1.2)
    rounds = list(finder.rounds([picture(np.zeros((300, 400), np.uint8))]))
    assert len(rounds) == 1 + 9
    covered = np.zeros((300, 400), int)
    for crops in rounds[1:]:
        x0, y0, x1, y1 = np.clip(box(crops[0]) + 0.5, 0, [400, 300, 400, 300]).astype(int)
        covered[y0:y1, x0:x1] += 1
    assert covered.min() >= 1 and covered.max() >= 4


def test_motion_looks_where_something_moves() -> None:
    finder = create(FinderSection(kind="motion"), SIZE, ("a",), 1.5)
    still = np.random.default_rng(0).integers(90, 110, (480, 640)).astype(np.uint8)
    for _ in range(30):
        finder.watch([picture(still)])
    moved = still.copy()
    moved[200:260, 400:440] = 250
    finder.watch([picture(moved)])
    (crops,) = finder.rounds([picture(moved)])
    x0, y0, x1, y1 = box(crops[0])
    assert x0 <= 400 and y0 <= 200 and x1 >= 439 and y1 >= 259
    assert x1 - x0 < 200, "the crop is that of the moving part, not of the picture"


def test_motion_looks_everywhere_while_nothing_moves() -> None:
    finder = create(FinderSection(kind="motion"), SIZE, ("a",), 1.5)
    for _ in range(30):
        finder.watch([picture(np.full((100, 100), 99, np.uint8))])
    (crops,) = finder.rounds([picture(np.full((100, 100), 99, np.uint8))])
    assert crops[0] is not None and crops[0].scale == pytest.approx(100 / 96)


def test_fixed_looks_at_its_boxes_and_refuses_a_camera_that_is_not_there() -> None:
    section = FinderSection(kind="fixed", boxes={"a": (10, 20, 30, 30)})
    (crops,) = create(section, SIZE, ("a",), 1.5).rounds([picture(np.zeros((100, 100), np.uint8))])
    np.testing.assert_allclose(box(crops[0]), [0.5, 10.5, 48.5, 58.5])  # never enlarged more than twice
    with pytest.raises(ConfigError, match="engine.finder.boxes.*camera a.*cameras are b"):
        create(section, SIZE, ("b",), 1.5)
