"""Labelled pictures as one PNG: a tile a picture, its subjects cut out with their points and bones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from capture.labels import LabelledFrame, Labels
from nodes.scene import SIDE_COLOURS
from rigpose.errors import RigposeError
from rigpose.skeleton import Skeleton

TILE = (320, 240)
MOST = 20
_MARGIN = 0.25
_SHIFT = 4
LINE = 16
"""Height of a tile's line of text, px."""


def write_sheet(labels: Labels, png: Path, most: int = MOST) -> int:
    """Draw some of the pictures that were found, evenly chosen over all cameras and the whole of the labels.

    Points are filled discs, hidden ones rings; colours say left, right and middle.

    Returns:
        How many tiles there are.

    Raises:
        RigposeError: No picture was found, or the file cannot be written.
    """
    chosen = _chosen(labels, most)
    tiles = [_tile(frame, image, labels.skeleton) for frame, image in labels.images(chosen) if image is not None]
    if not tiles:
        what = f"none of the {len(labels)} labelled pictures was found"
        raise RigposeError(png, f"holds nothing: {what}", "name their folder: --pictures FOLDER")
    columns = int(np.ceil(np.sqrt(len(tiles))))
    shown = min(len(chosen), len(tiles))
    write_tiles(tiles, columns, png)
    return shown


def write_tiles(tiles: Sequence[np.ndarray], columns: int, png: Path) -> None:
    """Tiles row by row as one picture.

    Raises:
        RigposeError: It cannot be written.
    """
    tiles = [*tiles, *[np.zeros_like(tiles[0])] * (-len(tiles) % columns)]
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    png.parent.mkdir(parents=True, exist_ok=True)
    if png.suffix.lower() not in (".png", ".jpg") or not cv2.imwrite(str(png), np.vstack(rows)):
        raise RigposeError(png, "cannot be written", "check the folder, and give a name that ends in .png")


def titled(tile: np.ndarray, text: str) -> np.ndarray:
    """The tile with a line of text at its top."""
    cv2.rectangle(tile, (0, 0), (TILE[0], LINE), (0, 0, 0), cv2.FILLED)
    cv2.putText(tile, text[-48:], (3, LINE - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.37, (255, 255, 255), 1, cv2.LINE_AA)
    return tile


def _chosen(labels: Labels, most: int) -> list[LabelledFrame]:
    there = [frame for frame in labels.frames if frame.picture.path is not None]
    cameras = {camera: [frame for frame in there if frame.camera == camera] for camera in labels.cameras}
    cameras = {camera: frames for camera, frames in cameras.items() if frames}
    each = max(1, most // max(len(cameras), 1))
    picked: list[LabelledFrame] = []
    for frames in list(cameras.values())[:most]:
        picked += [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, min(each, len(frames))).astype(int))]
    return picked


def _tile(frame: LabelledFrame, image: UInt8[np.ndarray, "H W 3"], skeleton: Skeleton) -> np.ndarray:
    matrix = _crop(frame)
    tile = _cut(image, matrix)
    for points, hidden in zip(frame.points, frame.hidden, strict=True):
        draw(tile, points @ matrix[:, :2].T + matrix[:, 2], hidden, skeleton)
    picture = frame.picture
    name = picture.stated.rpartition("/")[2] + ("" if picture.index is None else f" #{picture.index}")
    text = f"{frame.camera}: {name}" if frame.camera and frame.camera not in name else name
    return titled(tile, text)


def _cut(image: UInt8[np.ndarray, "H W 3"], matrix: Float[np.ndarray, "2 3"]) -> np.ndarray:
    scale, shift = matrix[0, 0], matrix[:, 2]
    if scale < 1:
        # Reduced as a whole first, pixel edge on pixel edge, for a warp alone would skip pixels.
        size = [max(1, round(scale * side)) for side in image.shape[1::-1]]
        exact = np.array(size) / image.shape[1::-1]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        matrix = np.column_stack([np.diag(scale / exact), shift - (scale - scale / exact) / 2])
    return cv2.warpAffine(image, matrix, TILE, flags=cv2.INTER_LINEAR)


def _crop(frame: LabelledFrame) -> Float[np.ndarray, "2 3"]:
    """From picture px to tile px: all subjects with a margin, below the line of text."""
    known = np.concatenate([frame.boxes[:, :2], frame.boxes[:, 2:], frame.points.reshape(-1, 2)])
    known = known[np.isfinite(known).all(axis=-1)]
    low, high = known.min(axis=0), known.max(axis=0)
    side = np.maximum(high - low, 8.0) * (1 + 2 * _MARGIN)
    room = np.array([TILE[0], TILE[1] - LINE])
    scale = float((room / side).min())
    shift = (room - 1) / 2 + (0, LINE) - scale * (low + high) / 2
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])


def draw(tile: np.ndarray, px: Float[np.ndarray, "J 2"], hidden: Bool[np.ndarray, " J"], skeleton: Skeleton) -> None:
    """Bones as lines, seen joints as discs and hidden ones as rings, in the colours of their sides."""
    known = np.isfinite(px).all(axis=-1)
    fine = np.rint(np.nan_to_num(np.clip(px, -1e4, 1e4)) * 2**_SHIFT).astype(int)
    for a, b in skeleton.edges:
        if known[a] and known[b]:
            start, end = (tuple(map(int, fine[joint])) for joint in (a, b))
            cv2.line(tile, start, end, (200, 200, 200), 1, cv2.LINE_AA, _SHIFT)
    for joint in np.flatnonzero(known):
        red, green, blue = (round(255 * value) for value in SIDE_COLOURS[skeleton.sides[joint]])
        centre, radius = tuple(map(int, fine[joint])), 3 << _SHIFT
        cv2.circle(tile, centre, radius, (0, 0, 0), 3, cv2.LINE_AA, _SHIFT)
        thickness = 1 if hidden[joint] else cv2.FILLED
        cv2.circle(tile, centre, radius, (blue, green, red), thickness, cv2.LINE_AA, _SHIFT)
