"""Pose2Sim's calibration TOML: anipose's tables with float sizes and four coefficients, in metres.

Its documentation says metres, its files do not; since they look like anipose's, the unit must be
given all the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from calib.camera import Camera
from calib.formats import anipose, holding, tables

NAME = "pose2sim"
TITLE = "Pose2Sim"
_NEXT_TO_NONE = 0.005
HOLDS = holding.Holds(title=TITLE, dist=(4,), unit="m", says_unit=False)


def matches(document: dict[str, Any]) -> bool:
    """Anipose's tables whose sizes are floats."""
    return anipose.matches(document) and all(
        isinstance(table.get("size"), list) and all(isinstance(n, float) for n in table["size"])
        for table in tables.camera_tables(document).values()
    )


def read(document: dict[str, Any], units: str | None, where: str) -> tuple[tuple[Camera, ...], dict[str, Any]]:
    """Cameras and metadata."""
    mm = tables.millimetres_per(
        document, units, where, "; it looks like Pose2Sim's format, which is in metres: --units m"
    )
    found = tables.camera_tables(document)
    cameras = tuple(tables.read_camera(key, table, mm, where) for key, table in found.items())
    return cameras, dict(document.get("metadata", {}))


def remarks(cameras: tuple[Camera, ...]) -> tuple[str, ...]:
    """A line on a distortion that is next to none in every camera: that of Qualisys, divided by 64."""
    if not all(camera.dist.any() and np.abs(camera.dist[:2]).max() < _NEXT_TO_NONE for camera in cameras):
        return ()
    what = "the distortion is next to none in every camera: Pose2Sim divides that of Qualisys by 64, by mistake"
    return (f"{what}; if the rig is from QTM, convert its .qca.txt instead",)


def write_path(cameras: tuple[Camera, ...], metadata: dict[str, Any], path: Path) -> tuple[str, ...]:
    """A Calib.toml in metres.

    Raises:
        ConfigError: The file exists, or a lens does not fit.
    """
    document: dict[str, Any] = {}
    for camera in cameras:
        table = tables.table_of(camera, holding.coefficients(camera, HOLDS), camera.t / 1000)
        document[camera.name] = table | {"size": [float(n) for n in camera.size], "fisheye": False}
    document["metadata"] = {"adjusted": False, "error": 0.0}
    holding.write_new(path, tables.toml_text(document, path))
    return holding.dropped(cameras, {k: v for k, v in metadata.items() if k not in ("error", "adjusted")}, HOLDS)
