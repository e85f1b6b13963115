"""A mirrored crop knows where it is from, and its subject's left and right have changed their names."""

from __future__ import annotations

import cv2
import numpy as np

from capture.virtual.skeletons import HUMAN36M17
from training.config import AugmentSection
from training.crops import mirrored, relit, sides_changed, to_crop

SIZE = 64
MATRIX = np.array([[1.5, 0.2, 30.0], [-0.1, 1.4, 12.0]])


def test_each_pixel_of_a_mirrored_crop_leads_back_to_where_it_was() -> None:
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    picture[20, 11] = 255
    flipped, matrix = mirrored(picture, MATRIX)
    raw = MATRIX @ [11, 20, 1]
    x, y = to_crop(raw[None], matrix)[0]
    assert np.allclose((x, y), (SIZE - 1 - 11, 20), atol=1e-9)
    assert (flipped[round(y), round(x)] == 255).all() and flipped.sum() == 3 * 255


def test_twice_mirrored_is_as_before() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    again, matrix = mirrored(*mirrored(picture, MATRIX))
    assert np.array_equal(again, picture) and np.allclose(matrix, MATRIX)


def test_sides_change_and_the_middle_stays() -> None:
    order = sides_changed(17, HUMAN36M17.left_right)
    for left, right in HUMAN36M17.left_right:
        assert (order[left], order[right]) == (right, left)
    for joint, side in enumerate(HUMAN36M17.sides):
        assert side != "middle" or order[joint] == joint
    assert np.array_equal(order[order], np.arange(17))


def test_blur_is_at_most_what_the_config_says() -> None:
    still = AugmentSection(gain=(1, 1), noise=0, blur=0)
    blurred = still.model_copy(update={"blur": 1.5})
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    picture[32, 32] = 200
    spreads = []
    for seed in range(40):
        # The same light in both: it is drawn after the blur.
        seen = relit(picture, blurred, np.random.default_rng(seed)).astype(float)
        seen -= seen[0, 0]
        y, x = np.mgrid[:SIZE, :SIZE] - 32.0
        spreads.append(float((seen[..., 0] * (x**2 + y**2)).sum() / 2 / seen[..., 0].sum()) ** 0.5)
    assert max(spreads) < 1.6 and min(spreads) < 0.3
    sharpest = cv2.GaussianBlur(picture, (0, 0), 1.5).max()
    assert relit(picture, still, np.random.default_rng(0)).max() > 2 * sharpest
