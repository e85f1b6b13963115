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
    # OpenCV takes a block's chroma from its first pixel: give it blocks that are their mean.
    half = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    blocks = cv2.cvtColor(half.repeat(2, axis=0).repeat(2, axis=1), cv2.COLOR_BGR2YUV_I420).ravel()
    luma = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420)[:height]
    pixels, quarter = height * width, height * width // 4
    chroma = np.stack([blocks[pixels : pixels + quarter], blocks[pixels + quarter :]], axis=-1)
    return np.concatenate([luma.ravel(), chroma.ravel()]).reshape(height * 3 // 2, width)


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
    middles = []
    for picture in (Picture(frame(image)), Picture(frame(to_nv12(image), "NV12"))):
        out = np.zeros((64, 64, 3), np.uint8)
        matrix = picture.cut(Crop((140.0, 100.0), 2.5), out)
        red = (out[..., 2:] > out[..., :1].astype(int) + 60).astype(np.uint8).repeat(3, 2)
        middles.append(matrix @ [*centre_of_mass(red), 1])
    np.testing.assert_allclose(middles[0], middles[1], atol=0.3)
    np.testing.assert_allclose(middles[0], [150, 110], atol=0.3)


def test_a_grey_picture_fills_all_channels_and_the_outside_is_black() -> None:
    out = np.full((8, 8, 3), 7, np.uint8)
    matrix = Picture(frame(np.full((20, 20), 90, np.uint8), "Mono8")).cut(Crop((0.0, 10.0), 1.0), out)
    outside = np.arange(8) + matrix[0, 2] < 0
    assert 3 <= outside.sum() <= 5
    assert (out[:, ~outside] == 90).all() and (out[:, outside] == 0).all()


@pytest.mark.parametrize("pixel_format", ["BGR8", "NV12", "Mono8"])
@pytest.mark.parametrize("center", [(5.0, 3.0), (-40.0, 20.0), (9000.0, 0.0), (60.0, 50.0)])
@pytest.mark.parametrize("scale", [0.5, 3.0, 60.0])
def test_any_box_gives_a_crop_inside_outside_or_far_larger(
    pixel_format: str, center: tuple[float, float], scale: float
) -> None:
    image = np.full((100, 120, 3), 200, np.uint8)
    pixels = {"BGR8": image, "NV12": to_nv12(image), "Mono8": image[..., 0]}[pixel_format]
    out = np.full((32, 48, 3), 77, np.uint8)
    matrix = Picture(frame(pixels, pixel_format)).cut(Crop(center, scale), out)
    u, v = np.meshgrid(np.arange(48), np.arange(32))
    x, y = np.moveaxis(np.stack([u, v, np.ones_like(u)], -1) @ matrix.T, -1, 0)
    step = matrix[0, 0]
    inside = (x > step) & (y > step) & (x < 119 - step) & (y < 99 - step)
    outside = (x < -step - 1) | (y < -step - 1) | (x > 120 + step) | (y > 100 + step)
    assert (np.abs(out[inside].astype(int) - 200) <= 3).all()
    assert (out[outside] <= 3).all()


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
