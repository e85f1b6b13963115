"""Caliscope's camera_array.toml: ``[cameras.0]`` tables, rotation as a matrix or a vector, metres.

Its predecessor's config.toml has the same tables as ``[cam_0]`` with a ``cam_id``. ``rotation_count``
turns pictures for caliscope's screen and trackers only: its cameras belong to the video as it is.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from calib.camera import Camera
from calib.formats import holding, tables
from calib.formats.found import Views
from calib.formats.rotations import rotation_of
from calib.formats.text import read_text
from rigpose.errors import ConfigError

NAME = "caliscope"
TITLE = "caliscope"
HOLDS = holding.Holds(title=TITLE, dist=(5, 8, 12, 14), unit="m", fisheye=True, says_unit=False, names=False)


def _tables(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = document.get("cameras")
    if isinstance(found, dict):
        inner = {key: t for key, t in found.items() if isinstance(t, dict)}
        return inner if inner and all("matrix" in t or "size" in t for t in inner.values()) else {}
    old = {key: t for key, t in document.items() if isinstance(t, dict) and "cam_id" in t and "matrix" in t}
    return {str(t["cam_id"]): t for t in old.values()}


def matches(document: dict[str, Any]) -> bool:
    """A ``cameras`` table of camera tables, or the older layout's."""
    return any("matrix" in table for table in _tables(document).values())


def read(document: dict[str, Any], units: str | None, where: str) -> tuple[tuple[Camera, ...], dict[str, Any]]:
    """Cameras that the file does not ignore; the unit (caliscope's own is metres) must be given."""
    mm = tables.millimetres_per(
        document, units, where, "; it looks like caliscope's format, which is in metres: --units m"
    )
    cameras = []
    for key, table in _tables(document).items():
        place = f"{where}, [cameras.{key}]"
        if table.get("ignore"):
            continue
        # Older versions wrote what they did not know as the text "null".
        table = {name: value for name, value in table.items() if value != "null"}
        if table.get("rotation") is None or table.get("translation") is None or "matrix" not in table:
            raise ConfigError(place, "has no rotation: the camera was not placed", "set ignore = true or calibrate it")
        table = {**table, "rotation": rotation_of(table["rotation"], place, "rotation")}
        cameras.append(tables.read_camera(f"cameras.{key}", {"name": f"cam_{key}", **table}, mm, where))
    return tuple(cameras), {}


def quarters(document: dict[str, Any]) -> dict[str, int]:
    """Clockwise quarters by which caliscope shows each camera's pictures, by camera name."""
    found = {str(t.get("name", f"cam_{k}")): t.get("rotation_count", 0) for k, t in _tables(document).items()}
    return {name: count % 4 for name, count in found.items() if isinstance(count, int) and count % 4}


def views(path: Path, cameras: tuple[Camera, ...], mm: float) -> Views | None:
    """Points of caliscope's project beside the file: ``calibration/extrinsic/*/xyz_*.csv`` and ``xy_*.csv``."""
    for deep in sorted(path.parent.glob("calibration/extrinsic/*/xyz_*.csv")):
        flat = deep.with_name(deep.name.replace("xyz_", "xy_", 1))
        if not flat.is_file():
            continue
        try:
            points = {_moment(row): [float(row[f"{axis}_coord"]) for axis in "xyz"] for row in _rows(deep)}
            column = {moment: index for index, moment in enumerate(points)}
            view = {camera.name: index for index, camera in enumerate(cameras)}
            px = np.full((len(cameras), len(points), 2), np.nan)
            for row in _rows(flat):
                index, moment = view.get(f"cam_{row['cam_id']}"), _moment(row)
                if index is not None and moment in column:
                    px[index, column[moment]] = float(row["img_loc_x"]), float(row["img_loc_y"])
        except (KeyError, TypeError, ValueError):
            continue
        if np.isfinite(px).any():
            return Views(f"{len(points)} points of {deep.name}", px, np.array(list(points.values())) * mm)
    return None


def _rows(file: Path) -> Iterator[dict[str, str]]:
    return csv.DictReader(io.StringIO(read_text(file)))


def _moment(row: dict[str, str]) -> tuple[str, ...]:
    return row["sync_index"], row.get("object_id", "0"), row["keypoint_id"]


def write_path(cameras: tuple[Camera, ...], metadata: dict[str, Any], path: Path) -> tuple[str, ...]:
    """A camera_array.toml in metres.

    Raises:
        ConfigError: The file exists, or a lens does not fit.
    """
    inner: dict[str, Any] = {}
    for index, camera in enumerate(cameras):
        table = tables.table_of(camera, holding.coefficients(camera, HOLDS), camera.t / 1000)
        del table["name"]
        rest = {"cam_id": index, "rotation_count": 0, "ignore": False, "fisheye": camera.fisheye}
        inner[str(index)] = table | rest
    holding.write_new(path, tables.toml_text({"cameras": inner}, path))
    if [camera.name for camera in cameras] == [f"cam_{i}" for i in range(len(cameras))]:
        from dataclasses import replace

        return holding.dropped(cameras, metadata, replace(HOLDS, names=True))
    return holding.dropped(cameras, metadata, HOLDS)
