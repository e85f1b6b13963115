"""3D poses as one PNG: each pose along three axes, and what a camera saw of it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from capture.labels import Poses3D
from nodes.label_sheet import LINE, TILE, draw, titled, write_tiles
from rigpose.skeleton import Skeleton

MOST = 5
_PLANES = ((0, 1), (0, 2), (1, 2))
_ROOM = 0.9
_MARK = (80, 220, 255)


def write_sheet(poses: Poses3D, png: Path, most: int = MOST) -> int:
    """Draw some poses, evenly chosen: a row each, seen along z, y and x, and by the camera that saw most of it.

    All are drawn to one scale, and a bar says how long it is. In the camera's picture discs are joints reprojected,
    crosses are the 2D points.

    Returns:
        How many poses there are.

    Raises:
        RigposeError: The file cannot be written.
    """
    rows = np.flatnonzero(poses.there.sum(axis=1) >= max(1, poses.there.shape[1] // 2))
    rows = np.flatnonzero(poses.there.any(axis=1)) if not len(rows) else rows
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))]
    scale = _scale(poses.position_mm[rows])
    tiles = []
    for row in rows:
        for a, b in _PLANES:
            points = poses.position_mm[row][:, [a, b]] * (1, -1)
            tile = _tile(points, scale, poses.skeleton)
            text = f"{poses.subject[row]} #{poses.frame[row]}: {'xyz'[a]} right, {'xyz'[b]} up"
            tiles.append(titled(_bar(tile, scale), text))
        if poses.points2d is not None:
            tiles.append(_seen(poses, int(row)))
    write_tiles(tiles, len(tiles) // len(rows), png)
    return len(rows)


def _scale(position_mm: Float[np.ndarray, "T J 3"]) -> float:
    """Px per mm at which the largest pose fits its tile."""
    reach = np.nanmax(position_mm, axis=1) - np.nanmin(position_mm, axis=1)
    room = _ROOM * min(TILE[0], TILE[1] - LINE)
    return room / max(float(np.nanmax(reach)), 1e-9)


def _middle(points: Float[np.ndarray, "J 2"]) -> Float[np.ndarray, " 2"]:
    return (np.nanmax(points, axis=0) + np.nanmin(points, axis=0)) / 2


def _tile(points: Float[np.ndarray, "J 2"], scale: float, skeleton: Skeleton) -> np.ndarray:
    tile = np.full((TILE[1], TILE[0], 3), 40, np.uint8)
    centre = np.array([TILE[0] / 2, (TILE[1] + LINE) / 2])
    draw(tile, scale * (points - _middle(points)) + centre, np.zeros(len(points), dtype=bool), skeleton)
    return tile


def _bar(tile: np.ndarray, scale: float) -> np.ndarray:
    """A round length of about a quarter of the tile."""
    most = TILE[0] / 4 / scale
    power = 10.0 ** np.floor(np.log10(most))
    length = power * max(step for step in (1, 2, 5) if step * power <= most)
    y, end = TILE[1] - 8, 8 + round(length * scale)
    cv2.line(tile, (8, y), (end, y), (255, 255, 255), 1)
    cv2.putText(
        tile, f"{length:g} mm", (end + 4, y + 4), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (255, 255, 255), 1, cv2.LINE_AA
    )
    return tile


def _seen(poses: Poses3D, row: int) -> np.ndarray:
    assert poses.points2d is not None and poses.rig is not None
    seen = np.isfinite(poses.points2d[row, :, :, 0])
    v = int(seen.sum(axis=1).argmax())
    camera = poses.rig.cameras[v]
    shown, px = camera.project(poses.position_mm[row]), poses.points2d[row, v]
    both = np.concatenate([shown, px])
    both = both[np.isfinite(both).all(axis=-1)]
    if not len(both):
        return titled(np.full((TILE[1], TILE[0], 3), 40, np.uint8), f"{camera.name}: nothing seen")
    reach = float((both.max(axis=0) - both.min(axis=0)).max())
    scale = _ROOM * min(TILE[0], TILE[1] - LINE) / max(reach, 1e-9)
    centre = np.array([TILE[0] / 2, (TILE[1] + LINE) / 2])
    tile = np.full((TILE[1], TILE[0], 3), 20, np.uint8)
    middle = _middle(both)
    draw(tile, scale * (shown - middle) + centre, np.zeros(len(shown), dtype=bool), poses.skeleton)
    for x, y in (scale * (px[seen[v]] - middle) + centre).round().astype(int):
        cv2.drawMarker(tile, (int(x), int(y)), _MARK, cv2.MARKER_TILTED_CROSS, 7, 1)
    return titled(tile, f"{camera.name}: {seen[v].sum()} of {len(shown)} joints seen")
