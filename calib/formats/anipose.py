"""Anipose's calibration.toml: ``[cam_0]`` tables, translations in the units of its board.

FreeMoCap's files have the same layout, in mm.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from calib.camera import Camera
from calib.formats import holding, tables

NAME = "anipose"
TITLE = "anipose"
HOLDS = holding.Holds(title=TITLE, dist=(5, 8, 12, 14), unit="mm", fisheye=True, says_unit=False)


def matches(document: dict[str, Any]) -> bool:
    """Any document with tables that have matrix, rotation vector and translation."""
    found = tables.camera_tables(document)
    return bool(found) and all("rotation" in table and "translation" in table for table in found.values())


def read(document: dict[str, Any], units: str | None, where: str) -> tuple[tuple[Camera, ...], dict[str, Any]]:
    """Cameras and metadata; the unit (that of the board's squares) must be given."""
    mm = tables.millimetres_per(document, units, where, ": anipose writes the unit of the board's squares")
    found = tables.camera_tables(document)
    cameras = tuple(tables.read_camera(key, table, mm, where) for key, table in found.items())
    return cameras, dict(document.get("metadata", {}))


def write_path(cameras: tuple[Camera, ...], metadata: dict[str, Any], path: Path) -> tuple[str, ...]:
    """A calibration.toml in mm.

    Raises:
        ConfigError: The file exists, or a lens does not fit.
    """
    document: dict[str, Any] = {}
    for index, camera in enumerate(cameras):
        dist = holding.coefficients(camera, HOLDS)
        document[f"cam_{index}"] = tables.table_of(camera, dist, camera.t) | {"fisheye": camera.fisheye}
    error = metadata.get("error")
    document["metadata"] = {"adjusted": True, "error": float(error) if isinstance(error, int | float) else 0.0}
    holding.write_new(path, tables.toml_text(document, path))
    notes = holding.dropped(cameras, {k: v for k, v in metadata.items() if k not in ("error", "adjusted")}, HOLDS)
    if any(len(holding.coefficients(camera, HOLDS)) > 5 for camera in cameras):
        notes += ("aniposelib hands all coefficients to OpenCV, but its own bundle adjustment keeps only k1 and k2",)
    return notes
