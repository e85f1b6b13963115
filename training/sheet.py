"""A picture of what a network sees: crops of a few samples with true and predicted joints, beside their heatmaps."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from training.losses import Batch
from training.predict import Look

SAMPLES = 3
VIEWS = 6
"""More of either would be too small to see anything."""
TILE = 192
TRUE = (60, 220, 60)
"""BGR of a ring about a true joint."""
PREDICTED = (40, 40, 255)
"""BGR of a dot at a predicted one."""
_APART = (160, 160, 160)
_FRACTION = 4
"""Bits behind the point in what OpenCV draws."""


def sheet(batch: Batch, look: Look) -> UInt8[np.ndarray, "H W 3"]:
    """One row a sample; for each view a crop, and beside it its heatmaps where there are any.

    A green ring is a true joint and a red dot a predicted one, with a line between them. Joints that are not known or
    lie outside of the crop are not drawn.

    Args:
        batch: On any device.
        look: Of the same batch.

    Returns:
        BGR.
    """
    crops, truth = batch.crops.cpu().numpy(), batch.points.cpu().numpy()
    rows = []
    for sample in range(min(SAMPLES, len(crops))):
        tiles = []
        for view in range(min(VIEWS, crops.shape[1])):
            tiles.append(_joints(crops[sample, view], truth[sample, view], look.points[sample, view]))
            if look.heat is not None:
                tiles.append(_heat(crops[sample, view], look.heat[sample, view]))
        rows.append(np.hstack(tiles))
    return np.vstack(rows)


def _enlarged(crop: UInt8[np.ndarray, "S S 3"]) -> UInt8[np.ndarray, "T T 3"]:
    how = cv2.INTER_AREA if len(crop) > TILE else cv2.INTER_LINEAR
    return cv2.resize(crop, (TILE, TILE), interpolation=how)


def _joints(
    crop: UInt8[np.ndarray, "S S 3"], truth: Float[np.ndarray, "J 2"], points: Float[np.ndarray, "J 2"]
) -> UInt8[np.ndarray, "T T 3"]:
    tile, size = _enlarged(crop), len(crop)
    # Pixel edge on pixel edge.
    true, predicted = ((np.asarray(px, np.float64) + 0.5) * (TILE / size) - 0.5 for px in (truth, points))
    shown = ((true > -0.5) & (true < TILE - 0.5)).all(axis=-1)
    for at, where in zip(true[shown], predicted[shown], strict=True):
        if np.isfinite(where).all():
            # A point that lies far off is drawn in its direction.
            where = at + (where - at) * min(1.0, 2 * TILE / max(1.0, float(np.linalg.norm(where - at))))
            cv2.line(tile, _px(at), _px(where), _APART, 1, cv2.LINE_AA, _FRACTION)
            cv2.circle(tile, _px(where), 2 << _FRACTION, PREDICTED, -1, cv2.LINE_AA, _FRACTION)
        cv2.circle(tile, _px(at), 4 << _FRACTION, TRUE, 1, cv2.LINE_AA, _FRACTION)
    return tile


def _heat(crop: UInt8[np.ndarray, "S S 3"], heat: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "T T 3"]:
    grey = cv2.cvtColor(cv2.cvtColor(_enlarged(crop), cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    share = cv2.resize(np.clip(heat, 0, 1).astype(np.float32), (TILE, TILE), interpolation=cv2.INTER_NEAREST)
    coloured = cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return cv2.addWeighted(grey, 0.4, coloured, 0.6, 0)


def _px(point: Float[np.ndarray, " 2"]) -> tuple[int, int]:
    x, y = np.rint(point * (1 << _FRACTION)).astype(int)
    return int(x), int(y)
