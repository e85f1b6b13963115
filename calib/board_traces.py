"""What pictures show of a board by themselves: markers of any dictionary, grids of any size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from calib import marker_codes
from calib.marker_codes import Family

GRID_SEARCH_PX = 800
"""Longer side of the pictures in which grids are looked for."""


@dataclass(frozen=True, slots=True, eq=False)
class MarkerView:
    """What one picture shows of one family of markers."""

    family: Family
    inverted: bool
    mirrored: bool
    markers: dict[int, np.ndarray]

    @property
    def group(self) -> tuple[Family, bool, bool]:
        """Views of one group may be of one board."""
        return self.family, self.inverted, self.mirrored


def markers_seen(grays: Sequence[np.ndarray]) -> list[MarkerView]:
    """The markers of every dictionary in every picture, as it is, inverted and mirrored."""
    views = []
    for gray in grays:
        for inverted in (False, True):
            bright = cv2.bitwise_not(gray) if inverted else gray
            quads = marker_codes.quads(bright)
            for mirrored in (False, True):
                picture, found = bright, quads
                if mirrored:
                    picture = flipped(bright)
                    found = quads[:, ::-1] * [-1, 1] + [gray.shape[1] - 1, 0]
                for family, entries in marker_codes.read(picture, found).items():
                    often = Counter(entry.number for entry in entries)
                    markers = {entry.number: entry.px for entry in entries if often[entry.number] == 1}
                    views.append(MarkerView(family, inverted, mirrored, markers))
    return views


def grouped(seen: Sequence[MarkerView]) -> list[tuple[tuple[Family, bool, bool], list[dict[int, np.ndarray]]]]:
    """The pictures' markers by what they may belong to; the richest first."""
    groups: dict[tuple[Family, bool, bool], list[dict[int, np.ndarray]]] = {}
    for view in seen:
        groups.setdefault(view.group, []).append(view.markers)
    return sorted(groups.items(), key=lambda group: -sum(map(len, group[1])))


def richest_group(seen: Sequence[MarkerView]) -> set[tuple[Family, bool, bool]]:
    """The group with the most markers; empty where there are none."""
    return {group for group, _ in grouped(seen)[:1]}


def grid_seen(gray: np.ndarray) -> tuple[int, int] | None:
    """(columns, rows) of the largest chessboard that can be followed in a picture, as it lies there."""
    small = at_most(gray, GRID_SEARCH_PX)
    flags = cv2.CALIB_CB_LARGER | cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_NORMALIZE_IMAGE
    found, _, meta = cv2.findChessboardCornersSBWithMeta(small, (3, 3), flags)
    if not found or meta.shape[0] * meta.shape[1] <= 9:
        return None
    return meta.shape[1], meta.shape[0]


def at_most(gray: np.ndarray, longer_px: int) -> np.ndarray:
    """The picture, made smaller where its longer side is longer than that."""
    scale = longer_px / max(gray.shape)
    return cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else gray


def flipped(gray: np.ndarray) -> np.ndarray:
    """The picture as in a mirror."""
    return np.ascontiguousarray(gray[:, ::-1])
