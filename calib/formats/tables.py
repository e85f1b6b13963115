"""What the TOML formats share: one table a camera with name, size, matrix, distortions, rvec and t."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from calib.camera import Camera
from rigpose.errors import ConfigError

MM_PER = {"mm": 1.0, "cm": 10.0, "m": 1000.0}


def camera_tables(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The tables of a document that describe a camera, in the file's order."""
    return {
        key: table
        for key, table in document.items()
        if isinstance(table, dict) and key != "metadata" and "matrix" in table
    }


def millimetres_per(document: dict[str, Any], units: str | None, where: str, hint: str) -> float:
    """How many mm one unit of the file is.

    Args:
        document: May say so in ``metadata.units``.
        units: What the user says: mm, cm or m.
        where: The file.
        hint: What the remedy adds about this format.

    Raises:
        ConfigError: Nobody says it, both do and differ, or it is no unit that we know.
    """
    stated = document.get("metadata", {}).get("units") if isinstance(document.get("metadata"), dict) else None
    for value, place in ((stated, f"{where}, metadata.units"), (units, "--units")):
        if value is not None and value not in MM_PER:
            raise ConfigError(place, f"{value!r} is no unit known here", "give mm, cm or m")
    if stated and units and stated != units:
        raise ConfigError(
            where, f"metadata.units says {stated}, --units says {units}", "drop --units or correct the file"
        )
    chosen = units or stated
    if chosen is None:
        remedy = f'give --units mm|cm|m (in a config: units: mm), or write units = "mm" under [metadata]{hint}'
        raise ConfigError(where, "does not say in which unit its translations are", remedy)
    return MM_PER[chosen]


def _numbers(table: dict[str, Any], key: str, where: str) -> np.ndarray:
    try:
        return np.array(table[key], dtype=np.float64)
    except KeyError:
        raise ConfigError(where, f"has no {key}", f"add {key}") from None
    except (TypeError, ValueError):
        raise ConfigError(where, f"{key} is not an array of numbers", "correct it") from None


def pair(table: dict[str, Any], key: str, where: str) -> tuple[int, int] | None:
    """Two whole numbers (floats without a fraction count), ``None`` where the key is absent."""
    if key not in table:
        return None
    values = _numbers(table, key, where)
    if values.shape != (2,) or not np.isfinite(values).all() or (values != np.round(values)).any():
        raise ConfigError(where, f"{key} is not two whole numbers", f"write {key} = [a, b]")
    return int(values[0]), int(values[1])


def read_camera(key: str, table: dict[str, Any], mm: float, where: str, **more: Any) -> Camera:
    """One camera's table.

    Raises:
        ConfigError: Names the file, the table and the key.
    """
    where = f"{where}, [{key}]"
    dist = _numbers(table, "distortions", where).ravel() if "distortions" in table else np.zeros(0)
    try:
        return Camera(
            name=str(table.get("name", key)),
            size=pair(table, "size", where) or (0, 0),
            K=_numbers(table, "matrix", where),
            dist=dist,
            rvec=_numbers(table, "rotation", where).ravel(),
            t=_numbers(table, "translation", where).ravel() * mm,
            fisheye=bool(table.get("fisheye", False)),
            **more,
        )
    except ConfigError as error:
        if error.where.startswith(where):
            raise
        raise ConfigError(where, error.what, error.remedy) from None


def table_of(camera: Camera, dist: np.ndarray, t: np.ndarray) -> dict[str, Any]:
    """A camera as the table that anipose and its kin have; every number with all its digits."""
    return {
        "name": camera.name,
        "size": list(camera.size),
        "matrix": camera.K.tolist(),
        "distortions": dist.tolist(),
        "rotation": camera.rvec.tolist(),
        "translation": t.tolist(),
    }


def toml_text(document: dict[str, Any], path: Path) -> str:
    """A document as TOML.

    Raises:
        ConfigError: It holds what TOML cannot.
    """
    import tomli_w  # here, for a training machine has a rig and never writes one

    try:
        return tomli_w.dumps(document)
    except TypeError as error:
        raise ConfigError(path, f"cannot be written as TOML: {error}") from None
