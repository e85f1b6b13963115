"""The kernel's arithmetic, built for the CPU, against OpenCV and the CPU's own crops; and its twin in torch."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

torch = pytest.importorskip("torch")

from capture.frame import Frame, PixelFormat  # noqa: E402
from capture.sources.pictures import nv12_of  # noqa: E402
from engine.crop import Crop, Picture, placed  # noqa: E402
from engine.gpu.crops import NORM, VIEW, TorchCrops, describe, matrices  # noqa: E402

SIZE = (40, 32)
CPU = torch.device("cpu")


def norm_of(scale=(1.0, 1.0, 1.0), shift=(0.0, 0.0, 0.0), order=(0, 1, 2), channels=3):
    norm = np.zeros(1, NORM)
    norm["scale"], norm["shift"], norm["order"], norm["channels"] = scale, shift, order, channels
    return norm


def picture(height=90, width=120, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    shape = (height, width, 3) if channels == 3 else (height, width)
    # Smooth, as pictures are: what lies between pixels is then more than noise.
    return cv2.GaussianBlur(rng.integers(0, 256, shape).astype(np.uint8), (5, 5), 1.2)


def described(crops, pictures, border=cv2.BORDER_CONSTANT, size=SIZE, nv12=()):
    return describe(crops, [p.shape for p in pictures], [p.ctypes.data for p in pictures], size, border, nv12)


def kernel_crops(kernel, crops, pictures, norm=None, border=cv2.BORDER_CONSTANT, size=SIZE, nv12=()):
    norm = norm_of() if norm is None else norm
    planes = np.full((len(pictures), int(norm["channels"][0]), size[1], size[0]), np.nan, np.float32)
    return kernel.run(described(crops, pictures, border, size, nv12), norm, planes)


def cut_on_the_cpu(crop, image, border, size=SIZE, nv12=False):
    out = np.zeros((size[1], size[0], 3), np.uint8)
    pixel_format: PixelFormat = "NV12" if nv12 else "BGR8" if image.ndim == 3 else "Mono8"
    shape = (image.shape[1], image.shape[0] * 2 // 3) if nv12 else image.shape[1::-1]
    frame = Frame("a", 0, image, pixel_format, 0, "arrival", 0, shape)
    matrix = Picture(frame).cut(crop, out, border)
    return out.transpose(2, 0, 1).astype(np.float32), matrix


def test_structures_have_the_compiler_s_sizes(kernel):
    assert kernel.sizes == (VIEW.itemsize, NORM.itemsize)


@pytest.mark.parametrize("border", [cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101])
def test_a_pixel_is_opencv_s_affine_sample(kernel, border):
    """A turned and squeezed crop, partly outside; OpenCV in float, without its rounding to 1/32 px."""
    image, size = picture(), SIZE
    matrix = np.array([[1.7, 0.4, -12.3], [-0.3, 2.1, 8.9]])
    views = described([Crop((60.0, 45.0), 1.0)], [image], border)
    views["to_image"], views["spread"] = matrix.ravel(), 0.0
    got = kernel.run(views, norm_of(), np.zeros((1, 3, size[1], size[0]), np.float32))[0]
    # warpAffine rounds places, so that the reference is the sum of four shifted pictures, looked up by OpenCV.
    y, x = np.mgrid[: size[1], : size[0]]
    at = np.einsum("ij,jhw->ihw", matrix[:, :2], np.stack([x, y]).astype(float)) + matrix[:, 2][:, None, None]
    left, top = np.floor(at[0]), np.floor(at[1])
    ax, ay = (at[0] - left)[..., None], (at[1] - top)[..., None]

    def texel(dx, dy):
        places = (left + dx).astype(np.float32), (top + dy).astype(np.float32)
        return cv2.remap(image.astype(np.float32), *places, cv2.INTER_NEAREST, borderMode=border, borderValue=0)

    wanted = (texel(0, 0) * (1 - ax) + texel(1, 0) * ax) * (1 - ay) + (texel(0, 1) * (1 - ax) + texel(1, 1) * ax) * ay
    np.testing.assert_allclose(got, wanted.transpose(2, 0, 1), atol=0.01)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("border", [cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101])
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.37, 2.6])
def test_a_crop_is_that_of_the_cpu_without_its_rounding(kernel, channels, border, scale):
    image = picture(channels=channels)
    crop = Crop((58.3, 44.1), scale)
    got = kernel_crops(kernel, [crop], [image], border=border)[0]
    wanted, matrix = cut_on_the_cpu(crop, image, border)
    np.testing.assert_array_equal(placed(crop, SIZE)[0], matrix)
    # The CPU's samples end at the box, whose rim is therefore its own; and it rounds once, or twice where it averages.
    off = np.abs(got - wanted)[:, 1:-1, 1:-1]
    assert off.max() <= 1.51
    assert off.mean() < 0.5


@pytest.mark.parametrize("border, mode", [
    (cv2.BORDER_CONSTANT, "grid-constant"), (cv2.BORDER_REPLICATE, "nearest"), (cv2.BORDER_REFLECT_101, "mirror"),
])  # fmt: skip
def test_a_pixel_of_nv12_is_of_what_scipy_samples_in_each_plane(kernel, border, mode):
    """A turned and squeezed crop, partly outside, in double precision."""
    image = nv12_of(picture())
    matrix = np.array([[1.7, 0.4, -12.3], [-0.3, 2.1, 8.9]])
    views = described([Crop((60.0, 45.0), 1.0)], [image], border, nv12={0})
    views["to_image"], views["spread"] = matrix.ravel(), 0.0
    got = kernel.run(views, norm_of(), np.zeros((1, 3, SIZE[1], SIZE[0]), np.float32))[0]
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    at = np.einsum("ij,jhw->ihw", matrix[:, :2], np.stack([x, y]).astype(float)) + matrix[:, 2][:, None, None]

    def sampled(plane, places, fill):
        return map_coordinates(plane.astype(float), places[::-1], order=1, mode=mode, cval=fill)

    luma, chroma = image[:90], image[90:].reshape(45, 60, 2)
    light = 1.164 * np.maximum(sampled(luma, at, 16) - 16, 0)
    u, v = (sampled(chroma[..., k], at / 2 - 0.25, 128) - 128 for k in (0, 1))
    wanted = np.stack([light + 2.018 * u, light - 0.391 * u - 0.813 * v, light + 1.596 * v]).clip(0, 255)
    np.testing.assert_allclose(got, wanted, atol=0.01)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.37, 2.6])
def test_a_crop_of_nv12_is_that_of_the_cpu(kernel, scale):
    # The CPU has one value of chroma for two by two pixels of the crop; here each is between its neighbours.
    image = nv12_of(cv2.GaussianBlur(picture(), (31, 31), 6.0))
    crop = Crop((58.0, 44.0), scale)
    got = kernel_crops(kernel, [crop], [image], nv12={0})[0]
    wanted, matrix = cut_on_the_cpu(crop, image, cv2.BORDER_CONSTANT, nv12=True)
    assert np.abs(placed(crop, SIZE)[0] - matrix).max() <= 1
    off = np.abs(got - wanted)[:, 1:-1, 1:-1]
    assert off.mean() < 1.0


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_colours_of_nv12_are_opencv_s(kernel, yuv):
    image = np.concatenate([np.full((20, 30), yuv[0]), np.tile(yuv[1:], (10, 15))]).astype(np.uint8)
    wanted = cv2.cvtColor(image, cv2.COLOR_YUV2BGR_NV12)[0, 0]
    got = kernel_crops(kernel, [Crop((15.0, 10.0), 0.5)], [image], size=(8, 8), nv12={0})[0]
    np.testing.assert_allclose(got.reshape(3, -1), np.tile(wanted[:, None], (1, 64)), atol=1.01)


def test_the_chroma_of_nv12_lies_where_its_luma_lies(kernel):
    # A red square in grey; its middle in brightness is its middle in colour, at any place between the pixels.
    image = np.full((90, 120, 3), 90, np.uint8)
    image[40:60, 50:80] = (40, 40, 220)
    got = kernel_crops(kernel, [Crop((64.5, 49.5), 1.5)], [nv12_of(image)], size=(48, 40), nv12={0})[0]
    difference = got[2] - got[0]
    y, x = np.mgrid[:40, :48]
    middle = np.array([(x * difference).sum(), (y * difference).sum()]) / difference.sum()
    np.testing.assert_allclose(middle, [23.5, 19.5], atol=0.1)


def test_nv12_beyond_its_border_is_black(kernel):
    image = nv12_of(np.full((40, 40, 3), 200, np.uint8))
    got = kernel_crops(kernel, [Crop((-60.0, 20.0), 1.0)], [image], nv12={0})
    np.testing.assert_array_equal(got, np.zeros_like(got))


@given(
    st.floats(-20, 140), st.floats(-20, 110), st.floats(0.5, 4.0),
    st.sampled_from([cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101]), st.sampled_from([1, 2, 3]),
    st.sampled_from([1, 3]),
)  # fmt: skip
def test_torch_s_twin_is_the_kernel(kernel, x, y, scale, border, channels, wanted):
    nv12 = {0} if channels == 2 else set()
    image, crop = nv12_of(picture()) if nv12 else picture(channels=channels), Crop((x, y), scale)
    norm = norm_of((0.02, 0.03, 0.01), (-1.0, 0.5, 2.0), (2, 1, 0) if wanted == 3 else (0, 0, 0), wanted)
    views = described([crop], [image], border, nv12=nv12)
    got = TorchCrops(SIZE, norm, border, CPU, nv12)(
        [torch.from_numpy(image)], torch.from_numpy(matrices(views)), torch.from_numpy(views["spread"].copy()),
        torch.ones(1),
    )  # fmt: skip
    expected = kernel_crops(kernel, [crop], [image], norm, border, nv12=nv12)
    np.testing.assert_allclose(got.numpy(), expected, atol=2e-3)


def test_all_views_at_once_each_of_its_own_size_and_an_absent_one_is_black(kernel):
    pictures = [picture(60, 80), picture(70, 50, channels=1, seed=1), picture(90, 90, seed=2)]
    crops = [Crop((40, 30), 1.5), Crop((20, 20), 2.5), None]
    norm = norm_of((0.5, 0.5, 0.5), (3.0, 3.0, 3.0))
    got = kernel_crops(kernel, crops, pictures, norm)
    for view in range(2):
        alone = kernel_crops(kernel, crops[view : view + 1], pictures[view : view + 1], norm)
        np.testing.assert_array_equal(got[view], alone[0])
    np.testing.assert_array_equal(got[2], np.full_like(got[2], 3.0))


def test_channels_are_put_in_order_and_normalised(kernel):
    image, crop = picture(), Crop((60.0, 45.0), 1.0)
    plain = kernel_crops(kernel, [crop], [image])[0]
    got = kernel_crops(kernel, [crop], [image], norm_of((0.1, 0.2, 0.4), (1, 2, 3), (2, 1, 0)))[0]
    for place, source, scale, shift in ((0, 2, 0.1, 1), (1, 1, 0.2, 2), (2, 0, 0.4, 3)):
        np.testing.assert_allclose(got[place], plain[source] * scale + shift, rtol=1e-5, atol=1e-4)
    gray = kernel_crops(kernel, [crop], [image], norm_of(order=(0, 0, 0), channels=1))[0]
    np.testing.assert_allclose(gray[0], np.tensordot([0.114, 0.587, 0.299], plain, axes=1), atol=1e-3)
