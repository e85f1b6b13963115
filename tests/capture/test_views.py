"""One picture, several cameras: regions and mirrors, in every pixel format."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.frame import Frame, PixelFormat
from capture.pixels import to_bgr
from capture.views import View, Views
from rigpose.errors import ConfigError
from rigpose.keypoints import Keypoints

WIDTH, HEIGHT = 64, 48


def smooth_picture() -> np.ndarray:
    small = np.random.default_rng(0).integers(40, 216, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def encoded(bgr: np.ndarray, pixel_format: PixelFormat) -> np.ndarray:
    if pixel_format == "BGR8":
        return bgr
    if pixel_format == "JPEG":
        return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].reshape(-1)
    if pixel_format == "BayerRG8":
        mosaic = np.empty(bgr.shape[:2], np.uint8)
        mosaic[0::2, 0::2], mosaic[1::2, 1::2] = bgr[0::2, 0::2, 2], bgr[1::2, 1::2, 0]
        mosaic[0::2, 1::2], mosaic[1::2, 0::2] = bgr[0::2, 1::2, 1], bgr[1::2, 0::2, 1]
        return mosaic
    if pixel_format == "NV12":
        planar = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)
        chroma = planar[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
        return np.vstack([planar[:HEIGHT], np.stack(chroma, axis=-1).reshape(HEIGHT // 2, WIDTH)])
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    shift = {"Mono8": 0, "Mono10": 2, "Mono12": 4, "Mono16": 8}[pixel_format]
    return grey if shift == 0 else grey.astype(np.uint16) << shift


def frame(image: np.ndarray | None, pixel_format: PixelFormat = "BGR8", **values: object) -> Frame:
    return Frame("node", 4, image, pixel_format, 10, "schedule", 11, (WIDTH, HEIGHT), tick=3, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("pixel_format", ["BGR8", "Mono8", "Mono10", "Mono12", "Mono16", "NV12", "BayerRG8", "JPEG"])
@pytest.mark.parametrize("flip", ["none", "horizontal", "vertical"])
@pytest.mark.parametrize("region", [(0, 0, 64, 48), (8, 4, 40, 30), (7, 5, 31, 27)])
def test_a_view_shows_its_part_of_the_picture(pixel_format: PixelFormat, flip: str, region: tuple[int, ...]) -> None:
    source = frame(encoded(smooth_picture(), pixel_format), pixel_format)
    x, y, width, height = region
    expected = to_bgr(source)[y : y + height, x : x + width]
    expected = {"none": expected, "horizontal": expected[:, ::-1], "vertical": expected[::-1]}[flip]
    (view,) = Views("node", {"left": View(region=region, flip=flip)}).split(source)  # type: ignore[arg-type]
    assert (view.camera, view.size, view.tick, view.seq) == ("left", (width, height), 3, 4)
    difference = np.abs(to_bgr(view).astype(int) - expected)[2:-2, 2:-2]
    assert difference.max() <= 2


def test_offsets_are_those_of_the_sensor() -> None:
    source = frame(np.zeros((HEIGHT, WIDTH, 3), np.uint8), roi_offset=(100, 50), binning=(2, 2))
    top, whole = Views("node", {"top": View(region=(10, 6, 20, 20), flip="vertical"), "all": View()}).split(source)
    assert (top.roi_offset, top.flip) == ((120, 62), "vertical")
    assert (whole.roi_offset, whole.flip, whole.size) == ((100, 50), "none", (WIDTH, HEIGHT))


def test_the_only_view_of_a_source_is_its_frame() -> None:
    source = frame(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    assert Views("node", {"node": View()}).split(source)[0] is source


@given(x=st.floats(0, WIDTH - 1), y=st.floats(0, HEIGHT - 1), flip=st.sampled_from(["none", "horizontal", "vertical"]))
def test_points_move_with_the_pixels(x: float, y: float, flip: str) -> None:
    source = frame(None, points=Keypoints(np.array([[x, y]]), np.array([0.5])))
    views = Views("node", {"a": View(region=(20, 10, 30, 25), flip=flip)})  # type: ignore[arg-type]
    (view,) = views.split(source)
    assert view.points is not None
    inside = 19.5 <= x < 49.5 and 9.5 <= y < 34.5
    assert bool(view.points.seen[0]) == inside
    if inside:
        expected = [29 - (x - 20) if flip == "horizontal" else x - 20, 24 - (y - 10) if flip == "vertical" else y - 10]
        np.testing.assert_allclose(view.points.points[0], expected, atol=1e-9)
    else:
        assert view.points.confidence[0] == 0


def test_a_region_outside_the_picture_is_one_clear_line() -> None:
    views = Views("top camera", {"mirror": View(region=(40, 0, 40, 48))})
    with pytest.raises(ConfigError, match=r"top camera.*views.mirror.region \[40, 0, 40, 48\].*64x48") as error:
        views.sizes((WIDTH, HEIGHT))
    assert "\n" not in str(error.value)


def test_sizes_are_known_before_a_frame_comes() -> None:
    views = Views("node", {"a": View(region=(0, 0, 10, 20)), "b": View()})
    assert views.sizes((WIDTH, HEIGHT)) == {"a": (10, 20), "b": (WIDTH, HEIGHT)}
    assert views.names == ("a", "b")


def test_nothing_is_written_into_the_source(tmp_path: Path) -> None:
    image = smooth_picture()
    image.flags.writeable = False
    for name in ("none", "horizontal"):
        Views("node", {"a": View(region=(1, 1, 9, 9), flip=name)}).split(frame(image))  # type: ignore[arg-type]
    np.testing.assert_array_equal(image, smooth_picture())
