"""A crop shows what lies where its matrix says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.frame import Frame
from engine.crop import Crop, Picture, around, whole


def frame(image: np.ndarray, pixel_format: str = "BGR8") -> Frame:
    height = image.shape[0] * 2 // 3 if pixel_format == "NV12" else image.shape[0]
    return Frame("a", 0, image, pixel_format, 0, "arrival", 0, (image.shape[1], height))  # type: ignore[arg-type]


def blob(size: tuple[int, int], at: tuple[float, float], sigma: float) -> np.ndarray:
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    level = 255 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * sigma**2))
    return np.repeat(np.round(level).astype(np.uint8)[..., None], 3, axis=2)


def centre_of_mass(image: np.ndarray) -> np.ndarray:
    level = image[..., 1].astype(float)
    x, y = np.meshgrid(np.arange(level.shape[1]), np.arange(level.shape[0]))
    return np.array([(level * x).sum(), (level * y).sum()]) / level.sum()


def to_nv12(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    i420 = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).ravel()
    pixels, quarter = height * width, height * width // 4
    chroma = np.stack([i420[pixels : pixels + quarter], i420[pixels + quarter :]], axis=-1)
    return np.concatenate([i420[:pixels], chroma.ravel()]).reshape(height * 3 // 2, width)


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.9, 3.3, 7.0])
@pytest.mark.parametrize("pixel_format", ["BGR8", "NV12"])
def test_a_blob_is_where_the_matrix_says_at_any_scale(scale: float, pixel_format: str) -> None:
    at = np.array([431.3, 297.8])
    image = blob((800, 600), (at[0], at[1]), 6 * scale)
    picture = Picture(frame(to_nv12(image) if pixel_format == "NV12" else image, pixel_format))
    out = np.zeros((96, 96, 3), np.uint8)
    matrix = picture.cut(Crop((425.0, 300.5), scale), out)
    # NV12 keeps 16 of 255 for black; it does not move the middle.
    seen = centre_of_mass(np.maximum(out.astype(int) - 20, 0))
    np.testing.assert_allclose(matrix @ [*seen, 1], at, atol=0.12 * max(scale, 1))


def test_colours_of_nv12_lie_where_the_brightness_lies() -> None:
    image = np.full((240, 320, 3), 128, np.uint8)
    cv2.circle(image, (150, 110), 30, (20, 30, 220), -1)
    crop, direct, through = Crop((140.0, 100.0), 2.5), np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64, 3), np.uint8)
    Picture(frame(image)).cut(crop, direct)
    Picture(frame(to_nv12(image), "NV12")).cut(crop, through)
    red = [
        centre_of_mass((out[..., 2:] > out[..., :1].astype(int) + 60).astype(np.uint8).repeat(3, 2))
        for out in (direct, through)
    ]
    np.testing.assert_allclose(red[0], red[1], atol=0.15)


def test_a_grey_picture_fills_all_channels_and_the_outside_is_black() -> None:
    out = np.full((8, 8, 3), 7, np.uint8)
    Picture(frame(np.full((20, 20), 90, np.uint8), "Mono8")).cut(Crop((0.0, 10.0), 1.0), out)
    assert (out[:, 4:] == 90).all() and (out[:, :3] == 0).all()


def test_a_large_reduction_averages_instead_of_picking() -> None:
    checker = (np.indices((400, 400)).sum(axis=0) % 2 * 255).astype(np.uint8)
    out = np.zeros((50, 50, 3), np.uint8)
    Picture(frame(checker, "Mono8")).cut(Crop((199.5, 199.5), 8.0), out)
    assert np.abs(out[5:-5, 5:-5].astype(float) - 127).max() < 30


@given(st.tuples(*[st.floats(-500, 500)] * 2), st.floats(1, 800), st.floats(1, 800), st.floats(1, 2))
def test_a_crop_around_a_box_holds_it(corner: tuple[float, float], width: float, height: float, margin: float) -> None:
    size = (192, 128)
    crop = around((*corner, corner[0] + width, corner[1] + height), size, margin)
    first = crop.matrix(size) @ [-0.5, -0.5, 1]
    last = crop.matrix(size) @ [191.5, 127.5, 1]
    assert (first <= np.add(corner, 1e-6)).all() and (last >= np.add(corner, (width, height)) - 1e-6).all()


def test_the_whole_picture_is_in_its_crop_edge_to_edge() -> None:
    crop = whole((640, 480), (192, 192))
    np.testing.assert_allclose(crop.matrix((192, 192)) @ [-0.5, 95.5, 1], [-0.5, 239.5])
    assert crop.scale == pytest.approx(640 / 192)
