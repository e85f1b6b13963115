"""Pictures as cameras store them."""

from __future__ import annotations

import cv2
import numpy as np


def nv12_of(image: np.ndarray) -> np.ndarray:
    """A BGR picture of even size as NV12."""
    height, width = image.shape[:2]
    planes = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420)
    chroma = planes[height:].reshape(2, -1).T.reshape(height // 2, width)
    return np.ascontiguousarray(np.concatenate([planes[:height], chroma]))
