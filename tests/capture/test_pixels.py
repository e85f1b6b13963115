"""What an image's bytes mean, and the way to BGR."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture.frame import Frame, PixelFormat
from capture.pixels import PIXEL_FORMATS, bgr_region, image_shape, jpeg_size, to_bgr
from rigpose.errors import ProtocolError

WIDTH, HEIGHT = 64, 48


def random_image(pixel_format: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if pixel_format == "JPEG":
        picture = cv2.resize(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8), (WIDTH, HEIGHT))
        return cv2.imencode(".jpg", picture)[1].reshape(-1)
    known = image_shape(pixel_format, (WIDTH, HEIGHT))
    assert known is not None
    most = {"Mono10": 1023, "Mono12": 4095, "Mono16": 65535}.get(pixel_format, 255)
    return rng.integers(0, most, known[1]).astype(known[0])


def frame(image: np.ndarray | None, pixel_format: str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Frame:
    kind: PixelFormat = pixel_format  # type: ignore[assignment]
    return Frame("cam1", 0, image, kind, 0, "schedule", 0, size)


@pytest.mark.parametrize("pixel_format", PIXEL_FORMATS)
@settings(max_examples=25, deadline=None)
@given(x=st.integers(0, WIDTH - 1), y=st.integers(0, HEIGHT - 1), data=st.data())
def test_a_region_is_that_part_of_the_whole(pixel_format: str, x: int, y: int, data: st.DataObject) -> None:
    width, height = data.draw(st.integers(1, WIDTH - x)), data.draw(st.integers(1, HEIGHT - y))
    source = frame(random_image(pixel_format), pixel_format)
    whole = to_bgr(source)
    assert whole.shape == (HEIGHT, WIDTH, 3) and whole.dtype == np.uint8
    region = bgr_region(source, x, y, width, height)
    inner = slice(2, -2) if pixel_format == "BayerRG8" else slice(None)  # its rim is interpolated from less
    np.testing.assert_array_equal(region[inner, inner], whole[y : y + height, x : x + width][inner, inner])


@pytest.mark.parametrize(
    ("pixel_format", "white"), [("Mono8", 255), ("Mono10", 1023), ("Mono12", 4095), ("Mono16", 65535)]
)
def test_white_is_white_at_every_depth(pixel_format: str, white: int) -> None:
    known = image_shape(pixel_format, (WIDTH, HEIGHT))
    assert known is not None
    assert (to_bgr(frame(np.full(known[1], white, known[0]), pixel_format)) == 255).all()
    assert (to_bgr(frame(np.full(known[1], white // 2, known[0]), pixel_format)) == 127).all()


def test_bayer_red_is_red() -> None:
    mosaic = np.zeros((HEIGHT, WIDTH), np.uint8)
    mosaic[0::2, 0::2] = 200  # RG: the first pixel of the first row is red
    np.testing.assert_array_equal(to_bgr(frame(mosaic, "BayerRG8"))[10, 10], [0, 0, 200])


def test_bgr_is_not_copied() -> None:
    image = random_image("BGR8")
    assert np.shares_memory(to_bgr(frame(image, "BGR8")), image)


def test_points_are_no_pixels() -> None:
    with pytest.raises(ProtocolError, match="camera cam1: the frame carries points"):
        to_bgr(frame(None, "BGR8"))


def test_an_unsupported_format_lists_the_supported() -> None:
    with pytest.raises(ProtocolError, match="'YUV411' is not one of Mono8, .*JPEG"):
        to_bgr(frame(random_image("BGR8"), "YUV411"))
    with pytest.raises(ProtocolError, match="YUV411"):
        image_shape("YUV411", (2, 2))


@pytest.mark.parametrize("region", [(-1, 0, 5, 5), (0, 0, 65, 5), (60, 0, 5, 5), (0, 47, 5, 2), (0, 0, 0, 5)])
def test_a_region_outside_is_an_error(region: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="not inside 64x48"):
        bgr_region(frame(random_image("BGR8"), "BGR8"), *region)


class TestJpeg:
    def test_its_size_is_known_before_it_is_decoded(self) -> None:
        assert jpeg_size(random_image("JPEG")) == (WIDTH, HEIGHT)
        assert jpeg_size(np.frombuffer(b"\x89PNG\r\n\x1a\n" + bytes(50), np.uint8)) is None

    def test_one_that_lies_about_its_size_is_not_decoded(self) -> None:
        data = random_image("JPEG").tobytes()
        at = data.index(b"\xff\xc0") + 5
        bomb = data[:at] + struct.pack(">HH", 65000, 65000) + data[at + 4 :]
        with pytest.raises(ProtocolError, match=r"the JPEG is \(65000, 65000\), its header says \(64, 48\)"):
            to_bgr(frame(np.frombuffer(bomb, np.uint8), "JPEG"))

    @settings(max_examples=100, deadline=None)
    @given(data=st.binary(max_size=400), cut=st.integers(0, 3000), start=st.booleans())
    def test_broken_ones_are_refused(self, data: bytes, cut: int, start: bool) -> None:
        whole = random_image("JPEG").tobytes()
        content = whole[:cut] + data if start else data
        try:
            bgr = to_bgr(frame(np.frombuffer(content, np.uint8), "JPEG"))
        except ProtocolError:
            return
        assert bgr.shape == (HEIGHT, WIDTH, 3)
