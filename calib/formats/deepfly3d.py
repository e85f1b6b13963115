"""DeepFly3D's results and calibrations: a pickle of one dict a camera, or an npz with the same arrays.

Camera i has ``R, tvec, intr, distort``; beside them may stand ``points2d`` (cameras, frames, joints,
(row, column)) and ``points3d`` or ``points3d_wo_procrustes``. Its traps:

- 2D points are shares of the picture's height and width (older files: pixels, x before y). A joint
  that was not seen is (0, 0), or (0, 1) in the cameras whose pictures were mirrored.
- ``points3d`` may have been fitted to a template fly; those before that, ``points3d_wo_procrustes``,
  are what the cameras see.
- Its near-telecentric lenses (f about 16,000 px) leave the principal point free to be anything: the
  files hold (240, 480) for 960x480 pictures. The poses were solved with those numbers, so they stay;
  swapping them is wrong by 339 px.

No unit is written; its template makes them mm.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from calib.camera import Camera
from calib.formats import holding, pickles, text
from calib.formats.found import Found, Reading, Views, lens_list, sized
from calib.formats.rotations import numbers, rvec_of
from calib.observations import BROKEN_NPZ
from rigpose.errors import ConfigError

TITLE = "DeepFly3D"
HOLDS = holding.Holds(title=TITLE, dist=(5,), unit="mm", size=False, names=False)
SIZE = (960, 480)
"""Of the pictures, (width, height), by which DeepFly3D scales its points."""
_PICKLES = (".pkl", ".pickle")


def recognises(path: Path) -> bool:
    """A pickle with DeepFly3D's keys in its first bytes, or an npz with K, R and t."""
    if path.suffix.lower() in _PICKLES:
        head = text.peek(path)
        return "tvec" in head and "intr" in head and "intrinsicMat" not in head
    if path.suffix.lower() != ".npz":
        return False
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {"K", "R", "t"} <= set(arrays.files)
    except BROKEN_NPZ:
        return False


def read_path(path: Path, how: Reading) -> Found:
    """The cameras, and the points that the file holds of the fly.

    Raises:
        ConfigError: It holds no cameras, a pickle wants more than numbers, or a camera cannot be.
    """
    mm = how.millimetres("mm", str(path))
    arrays = arrays_of(path)
    n = len(arrays["K"])
    cameras = []
    for i in range(n):
        where = f"{path}, camera {i}"
        cameras.append(
            Camera(
                name=f"camera_{i}",
                size=(0, 0),
                K=numbers(arrays["K"][i], where, "intr", (3, 3)),
                dist=lens_list(arrays["dist"][i], where),
                rvec=rvec_of(arrays["R"][i], where),
                t=numbers(arrays["t"][i], where, "tvec", (3,)) * mm,
            )
        )
    found, notes = sized(cameras, how if how.size else Reading(size=SIZE), TITLE)
    if not how.size:
        notes += (f"took {SIZE[0]}x{SIZE[1]} for the pictures, as DeepFly3D does: --size says otherwise",)
    odd = [c.name for c in found if np.abs(c.K[:2, 2] - np.array(c.size[::-1]) / 2).max() < 0.05 * min(c.size)]
    if odd and found[0].size[0] != found[0].size[1]:
        notes += ("its principal point looks swapped, but its poses were solved with it: kept as it stands",)
    return Found(found, {"working_distance_mm": _distance(found)}, notes, _views(arrays, found, mm))


def _distance(cameras: tuple[Camera, ...]) -> float:
    """How far the cameras stand from the origin, which is the fly's template."""
    return float(np.median([np.linalg.norm(camera.t) for camera in cameras]))


def arrays_of(path: Path) -> dict[str, Any]:
    """``K, R, t, dist`` of all cameras, and what else the file has: ``points2d, points3d, points3d_wo_procrustes``.

    Raises:
        ConfigError: It holds no cameras, or a pickle wants more than numbers.
    """
    return _of_npz(path) if path.suffix.lower() == ".npz" else _of_pickle(path)


def _of_npz(path: Path) -> dict[str, Any]:
    text.read_bytes(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, Any] = {key: file[key] for key in file.files}
    except BROKEN_NPZ as error:
        raise ConfigError(path, f"is no npz of plain arrays: {error}", "check the file") from None
    missing = sorted({"K", "R", "t"} - set(arrays))
    if missing:
        raise ConfigError(path, f"has no {', '.join(missing)}", "give an npz with K, R, t and dist")
    arrays.setdefault("dist", np.zeros((len(arrays["K"]), 0)))
    arrays.setdefault("points2d", arrays.get("points2d_rowcol01"))
    return arrays


def _of_pickle(path: Path) -> dict[str, Any]:
    found = pickles.load(path)
    if not isinstance(found, Mapping):
        raise ConfigError(path, "holds no cameras", "give df3d_result.pkl or calib.pkl")
    nodes = {int(key): node for key, node in found.items() if _is_camera(key, node)}
    if sorted(nodes) != list(range(len(nodes))) or not nodes:
        raise ConfigError(
            path, f"holds the cameras {sorted(nodes)}", "give df3d_result.pkl after its 3D step, or calib.pkl"
        )
    columns = (("K", "intr"), ("R", "R"), ("t", "tvec"), ("dist", "distort"))
    arrays: dict[str, Any] = {}
    for name, key in columns:
        if any(key not in nodes[i] for i in nodes) and name != "dist":
            raise ConfigError(path, f"a camera has no {key}", "give df3d_result.pkl after its 3D step, or calib.pkl")
        arrays[name] = [np.zeros(0) if nodes[i].get(key) is None else np.ravel(nodes[i][key]) for i in sorted(nodes)]
    more = ("points2d", "points3d", "points3d_wo_procrustes", "heatmap_confidence")
    return arrays | {key: found.get(key) for key in more}


def _is_camera(key: Any, node: Any) -> bool:
    return isinstance(key, int | np.integer) and isinstance(node, Mapping) and "R" in node


def seen_px(points2d: np.ndarray, size: tuple[int, int] = SIZE) -> np.ndarray:
    """(V, ..., 2) raw px x, y of DeepFly3D's 2D points, NaN where a joint was not seen."""
    points = np.array(points2d, dtype=np.float64)
    share = np.nanmax(points, initial=0) <= 2
    unseen = (points[..., 0] == 0) & ((points[..., 1] == 0) | (share & (points[..., 1] == 1)))
    px = points[..., ::-1] * np.array(size) if share else points
    return np.where(unseen[..., None], np.nan, px)


def _views(arrays: Mapping[str, Any], cameras: tuple[Camera, ...], mm: float) -> Views | None:
    flat = arrays.get("points2d")
    deep = arrays.get("points3d_wo_procrustes")
    deep = arrays.get("points3d") if deep is None else deep
    if flat is None or deep is None:
        return None
    px, points = seen_px(np.asarray(flat), cameras[0].size), np.asarray(deep, dtype=np.float64) * mm
    if px.ndim != 4 or points.ndim != 3 or px.shape[:1] != (len(cameras),) or px.shape[1:3] != points.shape[:2]:
        return None
    points[~points.any(axis=-1)] = np.nan
    what = f"{points.shape[1]} joints in {points.shape[0]} frames"
    return Views(what, px.reshape(len(px), -1, 2), points.reshape(-1, 3))


def write_path(cameras: tuple[Camera, ...], metadata: dict[str, Any], path: Path) -> tuple[str, ...]:
    """A calibration pickle (.pkl), or an npz of the same arrays.

    Raises:
        ConfigError: The file exists, or a lens does not fit.
    """
    dist = np.stack([holding.coefficients(camera, HOLDS) for camera in cameras])
    K, R, t = (np.stack([getattr(camera, key) for camera in cameras]) for key in ("K", "R", "t"))
    if path.suffix.lower() == ".npz":
        buffer = io.BytesIO()
        np.savez(buffer, K=K, R=R, t=t, dist=dist)
        data = buffer.getvalue()
    elif path.suffix.lower() in _PICKLES:
        nodes = {i: {"R": R[i], "tvec": t[i], "intr": K[i], "distort": dist[i]} for i in range(len(cameras))}
        data = pickle.dumps(nodes, protocol=4)
    else:
        raise ConfigError(path, "is no name for DeepFly3D's files", "end it with .pkl or .npz")
    holding.write_new(path, data)
    return holding.dropped(cameras, metadata, HOLDS)
