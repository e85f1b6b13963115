"""Anipose's calibration.toml: ``[cam_0]`` tables, translations in the units of its board."""

from __future__ import annotations

from typing import Any

from calib.camera import Camera
from calib.formats import tables

NAME = "anipose"


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
