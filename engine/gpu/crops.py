"""What the preprocessing kernel is told of each picture and of the network, and its twin in torch.

One launch makes the input of the network from the raw pictures of all views: affine crop, bilinear, normalised, float
planes. The crop is that of `engine.crop.Picture.cut`, with the whole pixels to which it moves a box, but without its
rounding to eight bits.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from engine.crop import Crop, placed

VIEW = np.dtype(
    [
        ("pixels", np.uint64), ("width", np.int32), ("height", np.int32), ("pitch", np.int32), ("channels", np.int32),
        ("to_image", np.float32, 6), ("spread", np.float32), ("border", np.int32),
    ]
)  # fmt: skip
"""``RigposeView`` of crop.h."""
NORM = np.dtype([("scale", np.float32, 3), ("shift", np.float32, 3), ("order", np.int32, 3), ("channels", np.int32)])
"""``RigposeNorm`` of crop.h."""
BORDERS = {cv2.BORDER_CONSTANT: 0, cv2.BORDER_REPLICATE: 1, cv2.BORDER_REFLECT_101: 2}
GRAY = (0.114, 0.587, 0.299)
_SPREAD = 0.25
_NV12 = 2
"""Channels of such a picture, to the kernel."""
_BLACK_LUMA, _NO_CHROMA = 16.0, 128.0


def describe(
    crops: Sequence[Crop | None],
    shapes: Sequence[tuple[int, ...]],
    addresses: Sequence[int],
    size: tuple[int, int],
    border: int = cv2.BORDER_CONSTANT,
    nv12: Collection[int] = (),
) -> np.ndarray:
    """What the kernel is told of each view.

    Args:
        crops: Where to look; ``None`` = the camera is absent.
        shapes: Of each picture's array: (H, W) mono, (H, W, 3) BGR, (3 H / 2, W) NV12.
        addresses: Of each picture's first byte, where the kernel runs.
        size: (width, height) of the crops.
        border: As OpenCV names it.
        nv12: Views whose pictures are NV12.
    """
    views = np.zeros(len(crops), VIEW)
    for index, (view, crop, shape, address) in enumerate(zip(views, crops, shapes, addresses, strict=True)):
        bytes_per_pixel = 1 if len(shape) == 2 else shape[2]
        view["width"], view["pitch"], view["border"] = shape[1], shape[1] * bytes_per_pixel, BORDERS[border]
        if index in nv12:
            view["height"], view["channels"] = shape[0] * 2 // 3, _NV12
        else:
            view["height"], view["channels"] = shape[0], bytes_per_pixel
        view["to_image"] = np.eye(2, 3).ravel()
        if crop is not None:
            matrix, dense = placed(crop, size)
            view["to_image"] = matrix.ravel()
            view["spread"] = _SPREAD if dense else 0.0
            view["pixels"] = address
    return views


def matrices(views: np.ndarray) -> Float[np.ndarray, "V 2 3"]:
    """The crop-to-image matrices of described views."""
    return views["to_image"].reshape(-1, 2, 3).astype(np.float32)


class TorchCrops:
    """The kernel in torch, on any device: what runs where PyCUDA is not installed, and in tests.

    Args:
        size: (width, height) of the crops.
        norm: Of `norm_of`.
        border: As OpenCV names it.
        device: Of the pictures.
        nv12: Views whose pictures are NV12.
    """

    def __init__(
        self,
        size: tuple[int, int],
        norm: np.ndarray,
        border: int,
        device: torch.device,
        nv12: Collection[int] = (),
    ) -> None:
        width, height = size
        self._nv12 = frozenset(nv12)
        self._border, self._channels = BORDERS[border], int(norm["channels"][0])
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        self._x, self._y = x.to(device, torch.float32), y.to(device, torch.float32)
        sides = (-1, 1, 1)
        self._scale, self._shift = (
            torch.tensor(norm[name][0, : self._channels]).reshape(sides).to(device) for name in ("scale", "shift")
        )
        self._order = [int(channel) for channel in norm["order"][0]]
        self._gray = torch.tensor(GRAY, device=device)

    def __call__(
        self,
        pictures: Sequence[UInt8[Tensor, "H W *C"]],
        to_image: Float[Tensor, "V 2 3"],
        spread: Float[Tensor, " V"],
        present: Float[Tensor, " V"],
    ) -> Float[Tensor, "V C h w"]:
        """The network's input; nothing here looks at a value.

        Args:
            pictures: As they came: mono, BGR or NV12.
            to_image: From crop px to raw px.
            spread: Of `VIEW`.
            present: 0 = the camera is absent.
        """
        planes = [
            self._one(picture, to_image[view], spread[view], view in self._nv12) * present[view]
            for view, picture in enumerate(pictures)
        ]
        return torch.stack(planes) * self._scale + self._shift

    def _one(self, picture: Tensor, matrix: Tensor, spread: Tensor, nv12: bool) -> Tensor:
        total = 0.0
        # Without a spread these are four times the same sample: one list of calls for both.
        for dx, dy in ((-1, -1), (1, -1), (-1, 1), (1, 1)):
            x, y = self._x + dx * spread, self._y + dy * spread
            at_x = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
            at_y = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
            total = total + (self._nv12_at if nv12 else self._bilinear)(picture, at_x, at_y)
        values = 0.25 * total  # (h, w) or (h, w, 3)
        assert isinstance(values, Tensor)
        if values.ndim == 2:
            return values.expand(self._channels, *values.shape)
        if self._channels == 1:
            return (values * self._gray).sum(dim=-1)[None]
        return torch.stack([values[..., channel] for channel in self._order])

    def _nv12_at(self, picture: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """BGR (h, w, 3) of an NV12 picture, as ``rigpose_sample`` of crop.h."""
        height, width = picture.shape[0] * 2 // 3, picture.shape[1]
        luma, chroma = picture[:height], picture[height:].reshape(height // 2, width // 2, 2)
        light = 1.164 * (self._bilinear(luma, x, y, _BLACK_LUMA) - _BLACK_LUMA).clamp(min=0)
        uv = self._bilinear(chroma, 0.5 * x - 0.25, 0.5 * y - 0.25, _NO_CHROMA) - _NO_CHROMA
        u, v = uv[..., 0], uv[..., 1]
        bgr = torch.stack([light + 2.018 * u, light - 0.391 * u - 0.813 * v, light + 1.596 * v], dim=-1)
        return bgr.clamp(0, 255)

    def _bilinear(self, picture: Tensor, x: Tensor, y: Tensor, fill: float = 0.0) -> Tensor:
        left, top = x.floor(), y.floor()
        across, down = x - left, y - top
        if picture.ndim == 3:
            across, down = across[..., None], down[..., None]
        column, row = left.to(torch.int64), top.to(torch.int64)
        corners = [self._texel(picture, column + dx, row + dy, fill) for dy in (0, 1) for dx in (0, 1)]
        above, below = torch.lerp(corners[0], corners[1], across), torch.lerp(corners[2], corners[3], across)
        return torch.lerp(above, below, down)

    def _texel(self, picture: Tensor, column: Tensor, row: Tensor, fill: float) -> Tensor:
        height, width = picture.shape[:2]
        at_x, at_y = self._inside(column, width), self._inside(row, height)
        values = picture.reshape(height * width, -1).index_select(0, (at_y * width + at_x).reshape(-1)).float()
        values = values.reshape(*column.shape, *picture.shape[2:])
        if self._border:
            return values
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        inside = inside[..., None] if picture.ndim == 3 else inside
        return values.masked_fill(~inside, fill)

    def _inside(self, place: Tensor, size: int) -> Tensor:
        if self._border != BORDERS[cv2.BORDER_REFLECT_101] or size == 1:
            return place.clamp(0, size - 1)
        folded = place.remainder(2 * (size - 1))
        return torch.minimum(folded, 2 * (size - 1) - folded)
