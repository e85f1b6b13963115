"""Caliscope's camera_array.toml: ``[cameras.0]`` tables, rotation as a matrix, metres."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from calib.camera import Camera
from calib.formats import tables
from rigpose.errors import ConfigError

NAME = "caliscope"


def matches(document: dict[str, Any]) -> bool:
    """A ``cameras`` table of camera tables."""
    found = document.get("cameras")
    return (
        isinstance(found, dict) and bool(found) and all(isinstance(t, dict) and "matrix" in t for t in found.values())
    )


def read(document: dict[str, Any], units: str | None, where: str) -> tuple[tuple[Camera, ...], dict[str, Any]]:
    """Cameras that the file does not ignore; the unit (caliscope's own is metres) must be given."""
    mm = tables.millimetres_per(
        document, units, where, "; it looks like caliscope's format, which is in metres: --units m"
    )
    cameras = []
    for key, table in document["cameras"].items():
        place = f"{where}, [cameras.{key}]"
        if table.get("ignore"):
            continue
        if table.get("rotation_count", 0) % 4:
            raise ConfigError(
                place, "its pictures are turned by quarters, which is not read yet", "turn the video and calibrate"
            )
        rotation = table.get("rotation")
        if rotation is None:
            raise ConfigError(place, "has no rotation: the camera was not placed", "set ignore = true or calibrate it")
        matrix = np.array(rotation, dtype=np.float64)
        if matrix.shape == (3, 3):
            table = {**table, "rotation": cv2.Rodrigues(matrix)[0].ravel()}
        cameras.append(tables.read_camera(f"cameras.{key}", {"name": f"cam_{key}", **table}, mm, where))
    return tuple(cameras), {}
