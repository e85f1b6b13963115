"""Markers of every dictionary, read without knowing which it is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from calib import marker_codes
from calib.boards import read_board
from calib.pattern import draw


@pytest.mark.parametrize("family", marker_codes.FAMILIES)
def test_markers_of_every_dictionary_are_read_with_opencvs_corners(family: str) -> None:
    board = read_board(f"aprilgrid:3x2:40:0.4:{family}:plain")
    picture = draw(board, 2.0)
    seen = marker_codes.read(picture, marker_codes.quads(picture))
    entries = seen[marker_codes.Family(family, 1)]
    assert sorted(entry.number for entry in entries) == list(range(6))
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, f"DICT_{family}"))
    quads, numbers, _ = cv2.aruco.ArucoDetector(dictionary).detectMarkers(picture)
    theirs = {int(number): np.reshape(quad, (4, 2)) for number, quad in zip(np.ravel(numbers), quads, strict=True)}
    for entry in entries:
        np.testing.assert_allclose(entry.px, theirs[entry.number], atol=2.5)
