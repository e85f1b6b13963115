"""Our rig file: TOML that anipose can read, with what a rig needs beside it.

Per camera ``serial, sensor_size, roi_offset, binning, flip, lens``; ``[metadata]`` holds the format,
its schema, the units (always mm), the world and the ``calibration_id``.
"""

from __future__ import annotations

from typing import Any

from calib.camera import Camera
from calib.formats import tables
from rigpose.errors import ConfigError

NAME = "rigpose"
SCHEMA = 1
_TEXTS = ("serial", "flip", "lens")
_PAIRS = ("sensor_size", "roi_offset", "binning")
_FLIPS = ("none", "horizontal", "vertical", "both")


def matches(document: dict[str, Any]) -> bool:
    """A document that says so in its metadata."""
    metadata = document.get("metadata")
    return isinstance(metadata, dict) and metadata.get("format") == NAME


def read(document: dict[str, Any], units: str | None, where: str) -> tuple[tuple[Camera, ...], dict[str, Any]]:
    """Cameras and metadata.

    Raises:
        ConfigError: Another schema, or a camera that cannot be.
    """
    metadata = dict(document["metadata"])
    if metadata.get("schema") != SCHEMA:
        raise ConfigError(
            where, f"rig schema {metadata.get('schema')!r}, this program reads {SCHEMA}", "update rigpose"
        )
    mm = tables.millimetres_per(document, units, where, "")
    cameras = []
    for key, table in tables.camera_tables(document).items():
        place = f"{where}, [{key}]"
        more: dict[str, Any] = {name: str(table[name]) for name in _TEXTS if name in table}
        more |= {name: tables.pair(table, name, place) for name in _PAIRS if name in table}
        if more.get("flip", "none") not in _FLIPS:
            raise ConfigError(place, f"flip {more['flip']!r} is not known", f"give one of {', '.join(_FLIPS)}")
        cameras.append(tables.read_camera(key, table, mm, where, **more))
    for key in ("format", "schema", "units"):
        metadata.pop(key, None)
    return tuple(cameras), metadata


def document_of(cameras: tuple[Camera, ...], metadata: dict[str, Any], calibration_id: str) -> dict[str, Any]:
    """The document of a rig; numbers are written so that they are read back to the last bit."""
    document: dict[str, Any] = {}
    for index, camera in enumerate(cameras):
        table: dict[str, Any] = {
            "name": camera.name,
            "size": list(camera.size),
            "matrix": camera.K.tolist(),
            "distortions": camera.dist.tolist(),
            "rotation": camera.rvec.tolist(),
            "translation": camera.t.tolist(),
            "fisheye": camera.fisheye,
        }
        if camera.sensor_size is not None:
            table["sensor_size"] = list(camera.sensor_size)
        if (camera.roi_offset, camera.binning) != ((0, 0), (1, 1)):
            table |= {"roi_offset": list(camera.roi_offset), "binning": list(camera.binning)}
        table |= {name: getattr(camera, name) for name in _TEXTS if getattr(camera, name) not in ("", "none")}
        document[f"cam_{index}"] = table
    head = {"format": NAME, "schema": SCHEMA, "units": "mm", "calibration_id": calibration_id}
    document["metadata"] = {**metadata, **head}
    return document
