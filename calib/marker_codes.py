"""Markers of any dictionary at once: what could be a marker is read bit by bit and looked up everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt64

from calib import corners
from calib.boards import marker_dictionary

FAMILIES = (
    "4X4_1000",
    "5X5_1000",
    "6X6_1000",
    "7X7_1000",
    "APRILTAG_16h5",
    "APRILTAG_25h9",
    "APRILTAG_36h10",
    "APRILTAG_36h11",
    "ARUCO_MIP_36h12",
    "ARUCO_ORIGINAL",
)
"""One dictionary of each kind; OpenCV's smaller ones of 4X4 to 7X7 are the first part of these."""

WINDOWS_PX = (5, 15, 37)
MIN_SIDE_PX = 8.0


@dataclass(frozen=True, slots=True)
class Family:
    """Markers of one dictionary, drawn with one width of border."""

    dictionary: str
    border_bits: int


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A marker that was read.

    Attributes:
        number: Its number in the dictionary.
        px: (4, 2) its corners in the order in which OpenCV's detector would give them.
    """

    number: int
    px: Float[np.ndarray, "4 2"]


def quads(gray: np.ndarray) -> Float[np.ndarray, "n 4 2"]:
    """Everything dark with four corners, clockwise as seen in the picture; larger ones first."""
    full = marker_dictionary("4X4_50")
    # No candidate is in a dictionary of one marker, but all come back as rejected.
    one = cv2.aruco.Dictionary(full.bytesList[:1].copy(), full.markerSize, 0)
    found = []
    for window in WINDOWS_PX:
        parameters = cv2.aruco.DetectorParameters()
        parameters.minMarkerPerimeterRate = 0.02
        parameters.adaptiveThreshWinSizeMin = parameters.adaptiveThreshWinSizeMax = window
        markers, _, rejected = cv2.aruco.ArucoDetector(one, parameters).detectMarkers(gray)
        found += [np.reshape(quad, (4, 2)) for quad in [*markers, *rejected]]
    kept: list[np.ndarray] = []
    middles = np.zeros((0, 3))
    for quad in sorted(found, key=lambda q: -cv2.contourArea(q)):
        quad = quad.astype(np.float64)
        side = np.sqrt(cv2.contourArea(quad.astype(np.float32)))
        middle = quad.mean(axis=0)
        if side < MIN_SIDE_PX:
            continue
        same = np.abs(middles[:, :2] - middle).max(axis=-1) < 0.15 * side
        if (same & (np.abs(middles[:, 2] - side) < 0.15 * side)).any():
            continue
        middles = np.append(middles, [[*middle, side]], axis=0)
        kept.append(quad)
    return np.array(kept).reshape(-1, 4, 2)


def read(gray: np.ndarray, found: Float[np.ndarray, "n 4 2"]) -> dict[Family, list[Seen]]:
    """What the quads are in each dictionary; a quad that is no marker there is left out."""
    seen: dict[Family, list[Seen]] = {}
    sizes: dict[tuple[int, int], list[str]] = {}
    for name in FAMILIES:
        for border in (1, 2) if name.startswith("APRILTAG") else (1,):
            sizes.setdefault((marker_dictionary(name).markerSize, border), []).append(name)
    for (bits, border), names in sizes.items():
        codes, framed = _codes(gray, found, bits, border)
        for name in names:
            numbers, turns = _look_up(codes, name)
            entries = [
                Seen(int(number), np.roll(quad, -int(turn), axis=0))
                for number, turn, quad, ok in zip(numbers, turns, found, framed, strict=True)
                if ok and number >= 0
            ]
            if entries:
                seen[Family(name, border)] = entries
    return seen


def _codes(
    gray: np.ndarray, found: Float[np.ndarray, "n 4 2"], bits: int, border: int
) -> tuple[UInt64[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """The quads' inner bits in one number (white = 1, row by row), and whether they have a black border."""
    if not len(found):
        return np.zeros(0, np.uint64), np.zeros(0, bool)
    cells = bits + 2 * border
    inside = (np.arange(cells)[:, None] + np.array([0.35, 0.5, 0.65])).ravel()
    grid = np.stack(np.meshgrid(inside, inside), axis=-1).reshape(-1, 2).astype(np.float64)
    square = np.array([[0, 0], [cells, 0], [cells, cells], [0, cells]], np.float32)
    at = np.stack(
        [
            cv2.perspectiveTransform(grid[None], cv2.getPerspectiveTransform(square, quad.astype(np.float32)))[0]
            for quad in found
        ]
    )
    values = corners.sample(gray, at).reshape(-1, cells, 3, cells, 3).mean(axis=(2, 4))
    low, high = values.min(axis=(1, 2)), values.max(axis=(1, 2))
    white = values > ((low + high) / 2)[:, None, None]
    inner = white[:, border:-border, border:-border].reshape(len(found), -1)
    rim = np.ones((cells, cells), bool)
    rim[border:-border, border:-border] = False
    framed = (white[:, rim].mean(axis=-1) < 0.1) & (high - low > 20) & inner.any(axis=-1)
    return _packed(inner), framed


def _packed(bits: Bool[np.ndarray, "... k"]) -> UInt64[np.ndarray, " ..."]:
    return (bits.astype(np.uint64) << np.arange(bits.shape[-1], dtype=np.uint64)).sum(axis=-1, dtype=np.uint64)


@lru_cache(maxsize=16)
def _table(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes of a dictionary in all four turns, ascending, with the number and the turn of each."""
    dictionary = marker_dictionary(name)
    size, count = dictionary.markerSize, dictionary.bytesList.shape[0]
    bits = np.stack(
        [
            np.asarray(cv2.aruco.Dictionary.getBitsFromByteList(dictionary.bytesList[k : k + 1], size)).reshape(
                size, size
            )
            for k in range(count)
        ]
    ).astype(bool)
    # Turned once anticlockwise, the marker's first corner is the picture's fourth: the lower left.
    codes = np.stack([_packed(np.rot90(bits, turn, axes=(1, 2)).reshape(count, -1)) for turn in range(4)], axis=1)
    order = np.argsort(codes.ravel(), kind="stable")
    return codes.ravel()[order], order // 4, (-(order % 4)) % 4


def _look_up(codes: UInt64[np.ndarray, " n"], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Number (-1 = none) and turn of each code."""
    table, numbers, turns = _table(name)
    at = np.minimum(np.searchsorted(table, codes), len(table) - 1)
    hit = table[at] == codes
    return np.where(hit, numbers[at], -1), np.where(hit, turns[at], 0)
