"""Crops of a subject: how they lie in the picture, and what is done to them so that a network learns from more.

A crop is known by its matrix from crop px to raw px, (2, 3); in both (0, 0) is the centre of the first pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from training.config import AugmentSection, CropSection

MAX_ENLARGEMENT = 2.0
"""A crop is never enlarged more than this."""
_LEAST_BLUR = 0.3
"""px: less cannot be seen."""


def crop_matrix(
    seen: Float[np.ndarray, "J 2"],
    picture: tuple[int, int],
    size: int,
    config: CropSection,
    rng: np.random.Generator,
) -> Float[np.ndarray, "2 3"]:
    """The crop-to-image matrix about a subject, a little off as a tracker's prediction is."""
    known = seen[np.isfinite(seen).all(axis=-1)]
    shift = rng.uniform(-config.shift, config.shift, 2)
    wide = rng.random() < config.wide_share
    factor = rng.uniform(*(config.wide_scale if wide else config.scale))
    if len(known):
        low, high = known.min(axis=0), known.max(axis=0)
        # A subject that is hardly in the picture does not make the crop a thousand pictures wide.
        limit = 2.0 * np.array(picture, dtype=float)
        low, high = np.clip(low, -limit, 2 * limit), np.clip(high, -limit, 2 * limit)
    else:
        low, high = np.zeros(2), np.array(picture, dtype=float) - 1
    side = float((high - low).max()) * config.margin * factor
    scale = max(side / size, 1 / MAX_ENLARGEMENT)
    centre = (low + high) / 2 + shift * scale * size
    offset = centre - scale * (size - 1) / 2
    return np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])


def turned(
    matrix: Float[np.ndarray, "2 3"], size: int, config: CropSection, rng: np.random.Generator
) -> Float[np.ndarray, "2 3"]:
    """A crop's matrix with the crop turned and stretched about its centre; its area stays."""
    if not (config.turn_deg or config.stretch):
        return matrix
    turn, along = np.radians(rng.uniform(-config.turn_deg, config.turn_deg)), rng.uniform(0, np.pi)
    # Half of it along the axis and half across.
    stretch = np.exp(rng.uniform(-0.5, 0.5) * np.log1p(config.stretch))
    axis = _rotation(along)
    change = _rotation(turn) @ axis @ np.diag([stretch, 1 / stretch]) @ axis.T
    linear = matrix[:, :2] @ change
    middle = np.full(2, (size - 1) / 2)
    centre = matrix[:, :2] @ middle + matrix[:, 2]
    return np.column_stack([linear, centre - linear @ middle])


def mirrored(
    picture: UInt8[np.ndarray, "S S 3"], matrix: Float[np.ndarray, "2 3"]
) -> tuple[UInt8[np.ndarray, "S S 3"], Float[np.ndarray, "2 3"]]:
    """A crop as a mirror shows it, and its matrix, which knows: the way back to raw px stays exact.

    What stands left on the subject then looks like what stands right: `sides_changed` gives the joints their names.
    """
    size = picture.shape[1]
    flip = np.array([[-1.0, 0.0, size - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    return np.ascontiguousarray(picture[:, ::-1]), matrix @ flip


def sides_changed(joints: int, left_right: Sequence[tuple[int, int]]) -> Int[np.ndarray, " J"]:
    """For each joint of a mirrored subject the one that it was: left and right have changed their names.

    Args:
        joints: J.
        left_right: Pairs that exchange.
    """
    order = np.arange(joints)
    for left, right in left_right:
        order[left], order[right] = right, left
    return order


def _rotation(angle: float) -> Float[np.ndarray, "2 2"]:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def to_crop(points: Float[np.ndarray, "J 2"], matrix: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "J 2"]:
    """Raw px as crop px."""
    if matrix[0, 1] == 0 == matrix[1, 0]:
        return (points - matrix[:, 2]) / np.diag(matrix[:, :2])
    return (points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T


def patch(
    picture: UInt8[np.ndarray, "S S 3"],
    points: Float[np.ndarray, "J 2"],
    config: AugmentSection,
    rng: np.random.Generator,
) -> Bool[np.ndarray, " J"]:
    """Hide parts of a picture behind patches of one colour, in place; which joints are hidden by them."""
    hidden = np.zeros(len(points), dtype=bool)
    if rng.random() >= config.patch_share:
        return hidden
    size = len(picture)
    for _ in range(rng.integers(config.patches[0], config.patches[1] + 1)):
        centre, half = rng.uniform(0, size, 2), rng.uniform(*config.patch_size, 2) * size / 2
        colour = rng.integers(0, 256, 3)
        hidden |= cover(picture, points, centre, half, colour)
    return hidden


def cover(
    picture: UInt8[np.ndarray, "S S 3"],
    points: Float[np.ndarray, "J 2"],
    centre: np.ndarray,
    half: np.ndarray,
    colour: np.ndarray,
) -> Bool[np.ndarray, " J"]:
    """Paint one rectangle, in place; which joints lie under it."""
    low = np.clip(np.ceil(centre - half), 0, len(picture)).astype(int)
    high = np.clip(np.floor(centre + half) + 1, 0, len(picture)).astype(int)
    picture[low[1] : high[1], low[0] : high[0]] = colour
    with np.errstate(invalid="ignore"):
        return (np.abs(points - centre) <= half).all(axis=-1)


def relit(
    picture: UInt8[np.ndarray, "S S 3"], config: AugmentSection, rng: np.random.Generator
) -> UInt8[np.ndarray, "S S 3"]:
    """Another brightness, contrast and colour of the light, blur, and noise."""
    if config.blur:
        sigma = rng.uniform(0, config.blur)
        if sigma >= _LEAST_BLUR:
            picture = cv2.GaussianBlur(picture, (0, 0), sigma)
    gain, offset = rng.uniform(*config.gain), rng.uniform(-12, 12)
    table = np.arange(256) * gain
    if config.tint:
        table = table[:, None] * (1 + rng.uniform(-config.tint, config.tint, 3))
    picture = cv2.LUT(picture, np.clip(table + offset, 0, 255).astype(np.uint8).reshape(1, 256, -1))
    sigma = rng.uniform(0, config.noise)
    if sigma < 0.5:
        return picture
    # A hundred times faster than numpy's; seeded each time, so that its state is no one's history.
    cv2.setRNGSeed(int(rng.integers(2**31)))
    noise = cv2.randn(np.empty(picture.shape, dtype=np.int16), 0, sigma)
    return cv2.add(picture, noise, dtype=cv2.CV_8U)
