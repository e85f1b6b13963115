"""Frames for the tests of messages and sockets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from capture.frame import Frame

WHO = ("session", "node", "epoch")


def picture(width: int = 64, height: int = 48, value: int = 7) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def make(image: np.ndarray | None = None, **values: Any) -> Frame:
    image = picture() if image is None else image
    full: dict[str, Any] = {
        "camera": "cam1",
        "seq": 3,
        "image": image,
        "pixel_format": "BGR8",
        "exposed_ns": 2**60 + 1,
        "exposed_from": "schedule",
        "host_ns": 2**60 + 5,
        "size": image.shape[1::-1],
        "node_epoch": "epoch",
    }
    return Frame(**{**full, **values})


def same(got: Frame, sent: Frame) -> None:
    assert replace(got, image=None, points=None, received_ns=0) == replace(sent, image=None, points=None)
    for name in ("image", "points"):
        assert (getattr(got, name) is None) == (getattr(sent, name) is None)
    if sent.image is not None:
        np.testing.assert_array_equal(got.image, sent.image)
    if sent.points is not None and got.points is not None:
        np.testing.assert_allclose(got.points.points, sent.points.points, rtol=1e-6)
        np.testing.assert_allclose(got.points.confidence, sent.points.confidence, rtol=1e-6)
