"""What cameras saw of a board: one array for all cameras and moments, how to keep it and which moments to use.

NaN means that a camera did not see a point of the board at that moment.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

from rigpose.errors import ConfigError

VERSION = 1
BROKEN_NPZ = (
    OSError, KeyError, ValueError, EOFError, NotImplementedError, RuntimeError, MemoryError,
    struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What numpy and zipfile raise on a file that is no .npz, or a damaged one."""
LEAST_POINTS = 4
"""Points of a plane in general position that fix its pose; fewer in a view say nothing."""
GRID = (6, 8)
"""Rows and columns of a coverage map: cells of about 160 px in a full HD picture, a few times a board's square."""
_WELL_LINKED = 15
"""Common moments of a pair beyond which another one is worth no more than another place in the picture."""


class Found(Protocol):
    """What a detector says of a picture: `calib.detect.Detection`."""

    @property
    def ids(self) -> np.ndarray:
        """(n,) numbers of the board's points."""

    @property
    def px(self) -> np.ndarray:
        """(n, 2) where they are."""


@dataclass(frozen=True, eq=False)
class BoardViews:
    """A board in front of V cameras at F moments.

    Attributes:
        target_mm: (N, 3) points of the board in its own frame (x along columns, y along rows, z into the board).
        names: V camera names.
        sizes: V picture sizes (width, height).
        frames: (F,) int64 number of each moment (frame number, tick), increasing.
        px: (V, F, N, 2) float64; NaN = not seen.
        board: The board in short text, where known.
        time_s: (V, F) when each camera exposed, seconds, NaN = not known; ``None`` = moments are simultaneous and
            evenly spaced as ``frames`` says.
        still: Whether the board was held still at each moment (stills, not a recording of a moving board).

    Raises:
        ConfigError: Shapes do not fit together, frames do not increase, or a target is not flat.
    """

    target_mm: Float[np.ndarray, "N 3"]
    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    frames: Int[np.ndarray, " F"]
    px: Float[np.ndarray, "V F N 2"]
    board: str = ""
    time_s: Float[np.ndarray, "V F"] | None = None
    still: bool = False

    def __post_init__(self) -> None:
        where = "board views"
        target = np.array(self.target_mm, dtype=np.float64)
        px = np.array(self.px, dtype=np.float64)
        frames = np.array(self.frames, dtype=np.int64)
        names = tuple(str(name) for name in self.names)
        sizes = tuple((int(w), int(h)) for w, h in self.sizes)
        if target.ndim != 2 or target.shape[1:] != (3,) or len(target) < LEAST_POINTS or not np.isfinite(target).all():
            raise ConfigError(where, f"a target of shape {list(target.shape)} is no board", "give (N, 3) points in mm")
        if np.ptp(target[:, 2]) > 1e-6 * max(np.ptp(target[:, :2], axis=0).max(), 1e-9):
            raise ConfigError(where, "the target is not flat (its z differ)", "give the points of one flat board")
        shape = (len(names), len(frames), len(target), 2)
        if px.shape != shape or len(sizes) != len(names):
            raise ConfigError(where, f"points of shape {list(px.shape)} for {list(shape)}", "correct the arrays")
        if len(set(names)) != len(names):
            raise ConfigError(where, "two cameras have one name", "give each camera its own name")
        if (np.diff(frames) <= 0).any():
            raise ConfigError(where, "frames do not increase", "sort them and merge those of one moment")
        # Half a point is none.
        px[~np.isfinite(px).all(axis=-1)] = np.nan
        if self.time_s is not None:
            time = np.array(self.time_s, dtype=np.float64)
            if time.shape != shape[:2]:
                raise ConfigError(where, f"times of shape {list(time.shape)}", f"give {list(shape[:2])}")
            time.flags.writeable = False
            object.__setattr__(self, "time_s", time)
        for array in (target, px, frames):
            array.flags.writeable = False
        for key, value in (("target_mm", target), ("px", px), ("frames", frames), ("names", names), ("sizes", sizes)):
            object.__setattr__(self, key, value)

    @cached_property
    def seen(self) -> Bool[np.ndarray, "V F N"]:
        """Which point was seen."""
        return ~np.isnan(self.px[..., 0])

    @cached_property
    def counts(self) -> Int[np.ndarray, "V F"]:
        """How many points each camera saw at each moment."""
        return self.seen.sum(axis=-1)

    @cached_property
    def usable(self) -> Bool[np.ndarray, "V F"]:
        """Views with enough points, not all in one line, to place the board."""
        usable = self.counts >= LEAST_POINTS
        # Collinear points fix no plane. The second singular value squared of the seen target points.
        seen = self.seen.astype(np.float64)
        flat = self.target_mm[:, :2] - self.target_mm[:, :2].mean(axis=0)
        n = np.maximum(seen.sum(axis=-1), 1)
        mean = seen @ flat / n[..., None]
        second = np.einsum("vfn,ni,nj->vfij", seen, flat, flat) / n[..., None, None]
        scatter = second - mean[..., :, None] * mean[..., None, :]
        least = np.linalg.eigvalsh(scatter)[..., 0]
        return usable & (least > (0.02 * np.ptp(flat, axis=0).max()) ** 2)

    def select(self, which: Any) -> BoardViews:
        """The moments of these indices (or of a mask)."""
        index = np.arange(len(self.frames))[which]
        time = None if self.time_s is None else self.time_s[:, index]
        return replace(self, frames=self.frames[index], px=self.px[:, index], time_s=time)

    def of(self, names: Sequence[str]) -> BoardViews:
        """The cameras of these names, in this order.

        Raises:
            ConfigError: A name is not there.
        """
        for name in names:
            if name not in self.names:
                raise ConfigError(f"camera {name}", "has no board views", f"there are {', '.join(self.names)}")
        index = [self.names.index(name) for name in names]
        time = None if self.time_s is None else self.time_s[index]
        sizes = tuple(self.sizes[i] for i in index)
        return replace(self, names=tuple(names), sizes=sizes, px=self.px[index], time_s=time)

    def without_empty(self) -> BoardViews:
        """Only moments at which some camera can place the board."""
        return self.select(self.usable.any(axis=0))

    def save(self, path: str | Path) -> None:
        """Write to an ``.npz``; whole or not at all."""
        path = Path(path)
        values: dict[str, Any] = {
            "version": VERSION,
            "target_mm": self.target_mm,
            "names": np.array(self.names),
            "sizes": np.array(self.sizes, dtype=np.int64).reshape(-1, 2),
            "frames": self.frames,
            "px": self.px,
            "board": np.array(self.board),
            "still": np.array(self.still),
        }
        if self.time_s is not None:
            values["time_s"] = self.time_s
        temporary = path.with_name(f".{path.name}.{os.getpid()}.npz")
        try:
            np.savez_compressed(temporary, **values)
            temporary.replace(path)
        except OSError as error:
            raise ConfigError(path, f"cannot be written: {error.strerror or error}", "check folder and space") from None
        finally:
            temporary.unlink(missing_ok=True)


def load_views(path: str | Path) -> BoardViews:
    """What `BoardViews.save` wrote.

    Raises:
        ConfigError: The file is missing, or holds no board views of a version that is known.
    """
    path = Path(path)
    remedy = "detect the board again"
    try:
        with np.load(path, allow_pickle=False) as data:
            if int(data["version"]) != VERSION:
                raise ConfigError(path, f"is of version {int(data['version'])}, this program reads {VERSION}", remedy)
            return BoardViews(
                target_mm=data["target_mm"],
                names=tuple(str(name) for name in data["names"]),
                sizes=tuple((int(w), int(h)) for w, h in data["sizes"]),
                frames=data["frames"],
                px=data["px"],
                board=str(data["board"]),
                time_s=data["time_s"] if "time_s" in data else None,
                still=bool(data["still"]),
            )
    except FileNotFoundError:
        raise ConfigError(path, "no such file", "check the path") from None
    except (*BROKEN_NPZ, TypeError):
        raise ConfigError(path, "holds no board views", remedy) from None


def views_of(
    target_mm: Float[np.ndarray, "N 3"],
    names: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    detections: Sequence[Mapping[int, Found | None]],
    *,
    board: str = "",
    times: Sequence[Mapping[int, float]] | None = None,
    still: bool = False,
) -> BoardViews:
    """Board views from what a detector found.

    Args:
        target_mm: Points of the board.
        names: V cameras.
        sizes: Of their pictures.
        detections: Per camera, number of the moment -> what was found (``None`` = nothing).
        board: In short text.
        times: Per camera, number of the moment -> seconds.
        still: Whether the board was held still at each moment.

    Returns:
        The moments at which any camera found something; the same moment must have the same number in all cameras.
    """
    found = [{int(k): d for k, d in of_camera.items() if d is not None and len(d.ids)} for of_camera in detections]
    frames = sorted(set().union(*found)) if found else []
    place = {frame: i for i, frame in enumerate(frames)}
    px = np.full((len(names), len(frames), len(target_mm), 2), np.nan)
    for v, of_camera in enumerate(found):
        for frame, detection in of_camera.items():
            ids = np.asarray(detection.ids, dtype=np.int64).ravel()
            inside = (ids >= 0) & (ids < len(target_mm))
            px[v, place[frame], ids[inside]] = np.asarray(detection.px, dtype=np.float64).reshape(-1, 2)[inside]
    time_s = None
    if times is not None:
        time_s = np.array([[of_camera.get(frame, np.nan) for frame in frames] for of_camera in times])
        time_s = time_s.reshape(len(names), len(frames))
    return BoardViews(target_mm, tuple(names), tuple(sizes), np.array(frames, dtype=np.int64), px, board, time_s, still)


def coverage(views: BoardViews, grid: tuple[int, int] = GRID) -> Int[np.ndarray, "V rows columns"]:
    """How many points lay in each cell of each camera's picture."""
    rows, columns = grid
    counts = np.zeros((len(views.names), rows * columns), dtype=np.int64)
    cells = _cells(views, grid)
    for v in range(len(views.names)):
        inside = cells[v][cells[v] >= 0]
        counts[v] = np.bincount(inside, minlength=rows * columns)
    return counts.reshape(-1, rows, columns)


def _cells(views: BoardViews, grid: tuple[int, int]) -> np.ndarray:
    """(V, F, N) number of the cell that each point lies in; -1 = not seen or outside."""
    rows, columns = grid
    size = np.array(views.sizes, dtype=np.float64).reshape(-1, 1, 1, 2)
    place = np.floor((views.px + 0.5) / np.maximum(size, 1) * (columns, rows))
    inside = np.asarray(((place >= 0) & (place < (columns, rows))).all(axis=-1))
    place = np.where(inside[..., None], place, 0).astype(np.int64)
    return np.where(inside, place[..., 1] * columns + place[..., 0], -1)


def shapes(views: BoardViews) -> Float[np.ndarray, "V F 3"]:
    """How each view's board looks: log of its size in the picture, and its slant along its columns and rows.

    Size is the root of the area that it covers over the root of the picture's; a slant is the relative change of scale
    across the board, signed: zero when it is parallel to the picture. NaN where the view is not usable. From the
    homography, so no lens is needed.
    """
    result = np.full((*views.counts.shape, 3), np.nan)
    target = views.target_mm[:, :2]
    middle, extent = target.mean(axis=0), np.maximum(np.ptp(target, axis=0), 1e-9)
    unit = ((target - middle) / extent).astype(np.float64)
    for v, f in np.argwhere(views.usable):
        seen = views.seen[v, f]
        homography, _ = cv2.findHomography(unit[seen], views.px[v, f, seen])
        if homography is None:
            continue
        area = abs(np.linalg.det(homography)) / max(abs(homography[2, 2]) ** 3, 1e-12)
        width, height = views.sizes[v]
        result[v, f] = (
            0.5 * np.log(max(area, 1e-12) / max(width * height, 1)),
            homography[2, 0] / homography[2, 2],
            homography[2, 1] / homography[2, 2],
        )
    return result


def choose(views: BoardViews, count: int) -> Int[np.ndarray, " n"]:
    """Indices of the moments that together cover most: picture, sizes, slants and pairs of cameras.

    Greedy: each moment brings views into bins (cells of each picture, sizes and slants of the board there, pairs of
    cameras that see it at once), and a bin is worth less the more it already holds.

    Args:
        views: Many moments of a recording, most of them alike.
        count: How many to take.

    Returns:
        Increasing indices, at most ``count``; moments at which no camera can place the board are never taken.
    """
    candidates = np.flatnonzero(views.usable.any(axis=0))
    if len(candidates) <= count:
        return candidates
    bins, worth = _bins(views.select(candidates))
    held = np.zeros(bins.shape[1])
    left = np.ones(len(candidates), dtype=bool)
    taken: list[int] = []
    while len(taken) < count:
        gain = bins @ (worth / (1 + held))
        gain[~left] = -np.inf
        best = int(gain.argmax())
        taken.append(best)
        left[best] = False
        held += bins[best]
    return candidates[np.sort(taken)]


def _bins(views: BoardViews) -> tuple[np.ndarray, np.ndarray]:
    """(F, B) how much of each bin a moment fills, and (B,) what a bin is worth."""
    n_views, n_frames = views.counts.shape
    cells = GRID[0] * GRID[1]
    where = _cells(views, GRID)
    share = np.zeros((n_frames, n_views, cells))
    v, f, n = np.nonzero((where >= 0) & views.usable[..., None])
    np.maximum.at(share, (f, v, where[v, f, n]), 1.0)
    look = shapes(views)
    # Octaves of size in halves, slants in steps of a fifth of the scale across the board.
    size = np.clip(np.floor(look[..., 0] / np.log(2) * 2), -12, 3)
    slant = np.clip(np.round(look[..., 1:] / 0.2), -2, 2)
    number = (size + 12) * 25 + (slant[..., 0] + 2) * 5 + slant[..., 1] + 2
    known = np.isfinite(number)
    kinds = np.zeros((n_frames, n_views, 16 * 25))
    v, f = np.nonzero(known)
    kinds[f, v, number[v, f].astype(np.int64)] = 1
    usable = views.usable.T.astype(np.float64)
    first, second = np.triu_indices(n_views, 1)
    pairs = usable[:, first] * usable[:, second]
    flat_share, flat_kinds = share.reshape(n_frames, -1), kinds.reshape(n_frames, -1)
    worth = np.concatenate([np.ones(flat_share.shape[1]), np.full(flat_kinds.shape[1], 6.0), np.full(len(first), 60.0)])
    # A pair's bin empties more slowly: it needs many common moments, each brings a small part.
    bins = np.concatenate([flat_share, flat_kinds, pairs / _WELL_LINKED], axis=1)
    return bins, worth


def wishes(views: BoardViews, grid: tuple[int, int] = GRID) -> tuple[str, ...]:
    """What is still missing in each camera's views, in words to act on; nothing when all is there.

    For a person who moves the board before the cameras: places of the picture without points, a board that was never
    slanted, one that was always as far away.
    """
    said: list[str] = []
    maps = coverage(views, grid) > 0
    look = shapes(views)
    for v, name in enumerate(views.names):
        n = int(views.usable[v].sum())
        if n < 5:
            said.append(f"{name}: {n} usable views of the board; show it more often")
            continue
        empty = [side for side, mask in _sides(grid) if maps[v][mask].mean() < 0.25]
        if empty:
            said.append(f"{name}: no points at the {', '.join(empty)} of the picture; hold the board there")
        kind = look[v][views.usable[v] & np.isfinite(look[v, :, 0])]
        if len(kind) and np.hypot(*np.ptp(kind[:, 1:], axis=0)) < 0.15:
            said.append(f"{name}: the board was never slanted; tilt it by 30 to 45 degrees to all sides")
        if len(kind) and np.ptp(kind[:, 0]) < np.log(1.4):
            said.append(f"{name}: the board was always as far away; bring it nearer and further")
    return tuple(said)


def _sides(grid: tuple[int, int]) -> list[tuple[str, np.ndarray]]:
    rows, columns = grid
    row, column = np.mgrid[:rows, :columns]
    return [
        ("left", column < columns / 4),
        ("right", column >= columns * 3 / 4),
        ("top", row < rows / 4),
        ("bottom", row >= rows * 3 / 4),
    ]
