"""Boards with markers: find the markers, then the corners between them, then doubt both."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Int

from calib import corners, tag_sides
from calib.boards import Board, marker_dictionary

WINDOWS_PX = (5, 15, 37)
"""Sides of the neighbourhoods whose mean parts black from white when markers are looked for."""

STRAY_SHARE = 0.05
"""So many of the markers, and always one, may be misread; a legacy layout differs in few of them from a new one."""

WINDOW = 0.85
"""Half the side of the window in which a corner is refined, as a share of the way to the next marker."""

MIN_CONTRAST = 8.0
"""Grey levels between the black and the white squares at a corner."""


@lru_cache(maxsize=64)
def _detector(dictionary: str, first: int, count: int, border_bits: int) -> Any:
    """OpenCV's detector for a board's markers alone: comparing with all of a dictionary is what takes the time."""
    full = marker_dictionary(dictionary)
    wanted = np.ascontiguousarray(full.bytesList[first : first + count])
    parameters = cv2.aruco.DetectorParameters()
    parameters.markerBorderBits = border_bits
    parameters.minMarkerPerimeterRate = 0.02
    parameters.adaptiveThreshWinSizeMin = WINDOWS_PX[0]
    parameters.adaptiveThreshWinSizeMax = WINDOWS_PX[0]
    return cv2.aruco.ArucoDetector(cv2.aruco.Dictionary(wanted, full.markerSize, full.maxCorrectionBits), parameters)


def find_markers(
    gray: np.ndarray, dictionary: str, first: int, count: int, border_bits: int = 1
) -> dict[int, Float[np.ndarray, "4 2"]]:
    """The markers in a picture: number and corners in OpenCV's order; a number seen at two places is left out.

    Args:
        gray: uint8 (H, W).
        dictionary: Of the markers.
        first: The lowest number to look for.
        count: How many numbers from there on.
        border_bits: Width of the black border in bits.
    """
    detector = _detector(dictionary, first, count, border_bits)
    found: dict[int, np.ndarray] = {}
    twice: set[int] = set()
    for window in WINDOWS_PX:
        parameters = detector.getDetectorParameters()
        parameters.adaptiveThreshWinSizeMin = parameters.adaptiveThreshWinSizeMax = window
        detector.setDetectorParameters(parameters)
        quads, numbers, _ = detector.detectMarkers(gray)
        for quad, number in zip(quads, [] if numbers is None else numbers.ravel(), strict=True):
            quad, number = quad.reshape(4, 2).astype(np.float64), int(number) + first
            if number not in found:
                found[number] = quad
            elif np.linalg.norm(quad.mean(axis=0) - found[number].mean(axis=0)) > np.ptp(quad, axis=0).max() / 4:
                twice.add(number)
    return {number: quad for number, quad in found.items() if number not in twice}


def find(gray: np.ndarray, board: Board) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 2"]]:
    """Numbers and places of a ChArUco's or an aprilgrid's points; empty where nothing is found."""
    markers = find_markers(gray, board.dictionary, board.first_id, board.marker_count, board.border_bits)
    return points_from_markers(gray, board, markers)


def points_from_markers(
    gray: np.ndarray, board: Board, markers: Mapping[int, Float[np.ndarray, "4 2"]]
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 2"]]:
    """The points that markers lead to."""
    known = consistent(board, markers)
    if not known:
        return np.zeros(0, int), np.zeros((0, 2))
    places = np.concatenate([board.markers[number] for number in known])
    px = np.concatenate([markers[number] for number in known])
    if board.kind == "aprilgrid" and board.layout == "plain":
        return tag_sides.find(gray, board, places, px)
    return _meetings(gray, board, places, px)


def consistent(board: Board, markers: Mapping[int, Float[np.ndarray, "4 2"]]) -> list[int]:
    """The markers that lie to each other as the board says: the largest such group, if it holds most of them.

    A marker says where its neighbours' centres must be, to about a quarter of the way to them. One marker alone
    is not believed: a code of four by four bits is soon found in a curtain.
    """
    numbers = [number for number in markers if number in board.markers]
    if len(numbers) < 2:
        return numbers if board.marker_count == 1 else []
    places = np.stack([board.markers[number] for number in numbers])
    px = np.stack([markers[number] for number in numbers])
    centres, centres_px = places.mean(axis=1), px.mean(axis=1)
    agree = np.zeros((len(numbers), len(numbers)), bool)
    for i in range(len(numbers)):
        matrix = cv2.getPerspectiveTransform(
            (places[i] - centres[i]).astype(np.float32), (px[i] - centres_px[i]).astype(np.float32)
        )
        told = cv2.perspectiveTransform((centres - centres[i])[None], matrix)[0] + centres_px[i]
        apart = np.linalg.norm(centres_px - centres_px[i], axis=-1)
        with np.errstate(invalid="ignore"):
            agree[i] = np.linalg.norm(told - centres_px, axis=-1) < 0.3 * apart
        # Far away a small marker's homography says little.
        agree[i, np.argsort(np.linalg.norm(centres - centres[i], axis=-1))[9:]] = False
    agree &= agree.T
    groups: list[set[int]] = []
    for i in range(len(numbers)):
        members = {i, *np.flatnonzero(agree[i]).tolist()}
        apart_groups = []
        for group in groups:
            if group & members:
                members |= group
            else:
                apart_groups.append(group)
        groups = [*apart_groups, members]
    largest = max(groups, key=len)
    against = len(numbers) - len(largest)
    if len(largest) < 2 or against > max(1, STRAY_SHARE * len(numbers)) or against > 0.3 * len(numbers):
        return []
    return [numbers[i] for i in sorted(largest)]


def _meetings(
    gray: np.ndarray, board: Board, places: Float[np.ndarray, "m 2"], px: Float[np.ndarray, "m 2"]
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 2"]]:
    """Corners where two black and two white squares meet.

    They are told by the markers around them, moved to the edges, then told by each other: so are those found
    whose markers could not be read.
    """
    points = board.points_mm[:, :2]
    reach_mm = _reach_mm(board)
    # A corner that touches a found marker is told by it; one further away only guessed.
    touching = reach_mm if board.kind == "charuco" else 1e-6 * board.square_mm
    ids = np.flatnonzero(np.abs(points[:, None] - places).max(axis=-1).min(axis=-1) < 1.01 * touching)
    if not len(ids):
        return ids, np.zeros((0, 2))
    ids, found = _confirmed(gray, board, ids, corners.local_maps(points[ids], places, px, 16))
    ids, found = corners.without_strays(points, board.square_mm, ids, found)
    for _ in range(4):
        missing = np.setdiff1d(np.arange(board.count), ids)
        known = points[ids]
        if not len(missing) or len(ids) < 6:
            break
        step = np.abs(points[missing][:, None] - known).max(axis=-1).min(axis=-1)
        missing = missing[step < 1.01 * board.square_mm]
        more, more_px = _confirmed(gray, board, missing, corners.local_maps(points[missing], known, found, 8))
        if not len(more):
            break
        ids, found = corners.without_strays(
            points, board.square_mm, np.append(ids, more), np.append(found, more_px, axis=0)
        )
    return ids, found


def _reach_mm(board: Board) -> float:
    """How far along both axes from a corner its four squares are plain."""
    if board.kind == "charuco":
        return (board.square_mm - board.marker_mm) / 2
    return min(_border_mm(board), board.square_mm - board.marker_mm)


def _border_mm(board: Board) -> float:
    bits = marker_dictionary(board.dictionary).markerSize + 2 * board.border_bits
    return board.marker_mm * board.border_bits / bits


def _confirmed(
    gray: np.ndarray,
    board: Board,
    ids: Int[np.ndarray, " n"],
    told: corners.LocalMaps,
) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, "k 2"]]:
    """The corners whose squares have the right colours, where their edges meet."""
    reach_mm = _reach_mm(board)
    window, limit = WINDOW * told.clear(_other_edges(board)), 0.15 * told.side(board.square_mm)
    usable = np.isfinite(window) & np.isfinite(told.px).all(axis=-1) & (window > 0)
    ids, window, limit = ids[usable], window[usable], limit[usable]
    start, right, down = told.px[usable], told.right[usable] * reach_mm, told.down[usable] * reach_mm
    px = corners.refine(gray, start, window)
    with np.errstate(invalid="ignore"):
        keep = np.linalg.norm(px - start, axis=-1) < np.maximum(limit, 1.5)
    ids, px, right, down = ids[keep], px[keep], right[keep], down[keep]
    bright = corners.contrast(gray, px, right, down) * np.where(_black_lower_right(board, ids), -1, 1)
    keep = bright > np.maximum(MIN_CONTRAST, 0.2 * np.median(bright) if len(bright) else 0)
    return ids[keep], px[keep]


def _black_lower_right(board: Board, ids: Int[np.ndarray, " n"]) -> np.ndarray:
    """Whether the square to the lower right of a corner is black."""
    if board.kind == "aprilgrid":
        return ids % 2 == 0
    row, column = np.divmod(ids, board.grid[0])
    return ((row + column) % 2 == 0) == board.black_first


def _other_edges(board: Board) -> Float[np.ndarray, "k 2"]:
    """Points of the nearest edges that do not run through a corner; on two sides, the others are mirror images."""
    reach = (board.square_mm - board.marker_mm) / 2 if board.kind == "charuco" else _border_mm(board)
    along = np.linspace(reach, reach + board.marker_mm, 9)
    ray = np.stack([np.full_like(along, reach), along], axis=-1)
    wedge = np.concatenate([ray, ray[:, ::-1]])
    wedges = np.concatenate([wedge, wedge * [1, -1]])
    if board.kind == "charuco":
        return wedges
    gap = board.square_mm - board.marker_mm
    line = np.stack([np.full(9, gap), np.linspace(-gap, gap, 9)], axis=-1)
    return np.concatenate([wedges, line, line[:, ::-1]])
