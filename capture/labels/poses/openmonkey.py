"""OpenMonkeyStudio: a folder ``BatchN`` with ``camera.txt, intrinsic.txt, coords_3D.mat`` and, for 2D, more.

- ``camera.txt``: three lines of counts, then for each camera ``0 ID``, its centre C and three rows of R (world to
  camera), so t = -R C. ``intrinsic.txt``: for each ``0 ID``, three rows of K and two radial terms (COLMAP's RADIAL).
- ``coords_3D.mat``: ``coords`` (13 T, 4), frame and x, y, z, joint by joint.
- ``crop_para.mat``: ``crop`` (n, 6), frame, camera's ID, and left, top, width and height of the picture that was cut.
- ``Data.mat``, beside the batches: ``T.name`` of pictures, ``batch9a_000003120_18064162.jpg``, and ``T.data`` (n, 30):
  two zeros, height and width, then y before x of 13 joints in the picture that was cut.

Assumed, where the format does not say it: principal points count from the corner of the first pixel, as COLMAP has
them, and lie in the middle of the picture, which tells its size; 2D points count from the centre of the first pixel;
(0, 0) in 2D and (0, 0, 0) in 3D were not labelled. The scale is that of a structure from motion (0.86 from neck to hip
in what is published, too long for metres), so the unit is what the user says it is.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from calib.camera import Camera
from calib.formats import mat, text
from calib.formats.colmap import HALF_PX
from calib.formats.rotations import rvec_of
from calib.rig import Rig
from capture.labels.poses.reading import MOST_BYTES, How, absent_where_zero, in_order, made, matlab_struct, texts
from capture.labels.poses.skeletons import MACAQUE13
from capture.labels.poses3d import Poses3D
from rigpose.errors import ConfigError

TITLE = "OpenMonkeyStudio"
_POSES, _CAMERAS, _LENSES, _CROPS, _LABELS = (
    "coords_3D.mat",
    "camera.txt",
    "intrinsic.txt",
    "crop_para.mat",
    "Data.mat",
)
_REMEDY = "give the file as it was published"
_JOINTS = len(MACAQUE13.joints)
_PICTURE = re.compile(r"batch([0-9a-z]+)_(\d+)_(\d+)\.\w+", re.IGNORECASE)


def recognises(path: Path) -> bool:
    """A folder with the poses and the cameras of a batch."""
    return path.is_dir() and all((path / name).is_file() for name in (_POSES, _CAMERAS, _LENSES))


def read(path: Path, how: How) -> Poses3D:
    """The poses of a batch.

    Raises:
        ConfigError: A file is missing or does not follow its layout, or nobody says the unit.
    """
    mm = how.millimetres(None, path)
    how.own_cameras(path)
    rig = Rig(_cameras(path, how, mm), {"units": "mm"})
    frame, position = _positions(path / _POSES)
    notes = ["principal points count from the corner of the first pixel, as COLMAP's: half a pixel less here"]
    px = None
    if (path / _CROPS).is_file() and (path.parent / _LABELS).is_file():
        px = _points(path, rig, frame)
        notes.append("2D points count from the centre of the first pixel, which the format does not say")
    else:
        notes.append(f"no 2D points: {_CROPS} or {_LABELS} in the folder above is missing")
    return made(
        path,
        skeleton=MACAQUE13,
        position_mm=position * mm,
        rig=rig,
        points2d=px,
        subject=np.full(len(frame), how.subject or path.name),
        frame=frame,
        rate_hz=how.rate(None, path),
        source=TITLE,
        notes=tuple(notes),
    )


def _numbers(lines: list[str], where: str, *shape: int) -> np.ndarray:
    try:
        values = np.array([float(word) for line in lines for word in line.split()])
    except ValueError:
        raise ConfigError(where, "holds something that is no number", _REMEDY) from None
    if values.size != int(np.prod(shape)) or not np.isfinite(values).all():
        raise ConfigError(where, f"has {values.size} numbers, not {int(np.prod(shape))}", _REMEDY)
    return values.reshape(shape)


def _blocks(file: Path, skip: int) -> dict[str, tuple[str, list[str]]]:
    """Four lines of each camera by its ID, with where they stand."""
    lines = [(number, line) for number, line in enumerate(text.read_text(file).splitlines(), 1) if line.strip()][skip:]
    if len(lines) % 5 or not lines:
        raise ConfigError(file, f"has {len(lines)} lines of cameras, not five of each", _REMEDY)
    found: dict[str, tuple[str, list[str]]] = {}
    for start in range(0, len(lines), 5):
        number, head = lines[start]
        words = head.split()
        if len(words) != 2 or words[1] in found:
            raise ConfigError(f"{file}, line {number}", "is not 0 and the ID of a further camera", "correct that line")
        found[words[1]] = f"{file}, camera {words[1]}", [line for _, line in lines[start + 1 : start + 5]]
    return found


def _cameras(path: Path, how: How, mm: float) -> tuple[Camera, ...]:
    places, lenses = _blocks(path / _CAMERAS, 3), _blocks(path / _LENSES, 0)
    lacking = sorted(set(places) - set(lenses))
    if lacking:
        raise ConfigError(path / _LENSES, f"has no camera {lacking[0]}", f"{_CAMERAS} has it")
    cameras = []
    for name, (where, lines) in places.items():
        centre, R = _numbers(lines[:1], where, 3), _numbers(lines[1:], where, 3, 3)
        K = _numbers(lenses[name][1][:3], lenses[name][0], 3, 3)
        k1, k2 = _numbers(lenses[name][1][3:], lenses[name][0], 2)
        size = how.size or (round(2 * K[0, 2]), round(2 * K[1, 2]))
        K[:2, 2] -= HALF_PX
        rvec = rvec_of(R, where)
        cameras.append(Camera(name, size, K, np.array([k1, k2, 0.0, 0.0]), rvec, -R @ centre * mm))
    return tuple(cameras)


def _positions(file: Path) -> tuple[Int[np.ndarray, " T"], Float[np.ndarray, "T 13 3"]]:
    coords = np.asarray(mat.load(file, MOST_BYTES).get("coords", []))
    if coords.dtype.kind not in "fiu" or coords.ndim != 2 or coords.shape[1] != 4 or not len(coords):
        what = f"coords has shape {list(coords.shape)}, not {_JOINTS} rows a frame of frame, x, y, z"
        raise ConfigError(file, what, _REMEDY)
    if len(coords) % _JOINTS:
        what = f"coords has {len(coords)} rows, which are not {_JOINTS} of each frame"
        raise ConfigError(file, what, _REMEDY)
    table = coords.astype(np.float64).reshape(-1, _JOINTS, 4)
    if (table[..., 0] != table[:, :1, 0]).any():
        row = int(np.argmax((table[..., 0] != table[:, :1, 0]).any(axis=1)))
        what = f"rows {row * _JOINTS + 1} to {(row + 1) * _JOINTS} of coords are not of one frame"
        raise ConfigError(file, what, f"give {_JOINTS} rows of each frame")
    frame, order = in_order(table[:, 0, 0].astype(np.int64), f"{file}, coords")
    return frame, absent_where_zero(table[order][..., 1:])


def _points(path: Path, rig: Rig, frame: Int[np.ndarray, " T"]) -> Float[np.ndarray, "T V 13 2"]:
    """Labels of the batch's pictures, put back to where these were cut out."""
    crop = np.asarray(mat.load(path / _CROPS, MOST_BYTES).get("crop", []))
    if crop.dtype.kind not in "fiu" or crop.ndim != 2 or crop.shape[1] != 6:
        what = f"crop has shape {list(crop.shape)}, not n x 6"
        raise ConfigError(path / _CROPS, what, _REMEDY)
    corners = {(int(row[0]), str(int(row[1]))): row[2:4].astype(np.float64) for row in crop}
    names, data = _labels(path.parent / _LABELS)
    px = np.full((len(frame), len(rig), _JOINTS, 2), np.nan)
    place = {int(number): index for index, number in enumerate(frame)}
    view = {name: index for index, name in enumerate(rig.names)}
    batch = path.name.lower().removeprefix("batch")
    for name, row in zip(names, data, strict=True):
        match = _PICTURE.fullmatch(name.rpartition("/")[2])
        if match is None or match[1].lower() != batch:
            continue
        number, camera = int(match[2]), str(int(match[3]))
        if number in place and camera in view and (number, camera) in corners:
            points = row[4:].reshape(_JOINTS, 2)[:, ::-1].astype(np.float64)
            points[(points == 0).all(axis=-1)] = np.nan
            px[place[number], view[camera]] = points + corners[number, camera]
    return px


def _labels(file: Path) -> tuple[tuple[str, ...], Any]:
    document = mat.load(file, MOST_BYTES)
    node = matlab_struct(document["T"], f"{file}, T") if "T" in document else {}
    if not {"name", "data"} <= set(node):
        raise ConfigError(file, "has no T.name and T.data", _REMEDY)
    names, data = texts(node["name"], file, "T.name"), np.asarray(node["data"])
    if data.dtype.kind not in "fiu" or data.shape != (len(names), 4 + 2 * _JOINTS):
        what = f"T.data has shape {list(data.shape)}, not {[len(names), 4 + 2 * _JOINTS]}"
        raise ConfigError(file, what, _REMEDY)
    return names, data
