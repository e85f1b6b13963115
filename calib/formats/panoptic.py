"""CMU Panoptic Studio's ``calibration_*.json``: 480 VGA and 31 HD cameras, centimetres, ``x = K (R X + t)``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from calib.camera import Camera
from calib.formats import holding, text
from calib.formats.found import Found, Reading, lens_list
from calib.formats.rotations import numbers, rvec_of, size_of
from rigpose.errors import ConfigError

TITLE = "CMU Panoptic"
HOLDS = holding.Holds(title=TITLE, dist=(5,), unit="cm")
_PREFERRED = ("hd", "vga")


def recognises(path: Path) -> bool:
    """JSON with Panoptic's keys."""
    head = text.peek(path) if path.suffix.lower() == ".json" else ""
    return '"cameras"' in head and '"distCoef"' in head


def read_path(path: Path, how: Reading) -> Found:
    """The cameras of one type: the one picked, else hd where there are several.

    Raises:
        ConfigError: No camera of that type is there, or one cannot be.
    """
    document = text.read_json(path)
    listed = document.get("cameras") if isinstance(document, dict) else None
    if not isinstance(listed, list) or not all(isinstance(node, dict) for node in listed):
        raise ConfigError(path, "has no list of cameras", "give Panoptic's calibration_*.json")
    mm = how.millimetres("cm", str(path))
    kinds = [str(node.get("type", "")) for node in listed]
    kind = how.pick or next((k for k in _PREFERRED if k in kinds), kinds[0] if kinds else "")
    cameras = tuple(_camera(node, mm, str(path)) for node, of in zip(listed, kinds, strict=True) if of == kind)
    if not cameras:
        raise ConfigError(path, f"has no camera of type {kind!r}", f"--pick one of {', '.join(sorted(set(kinds)))}")
    others = {other: kinds.count(other) for other in sorted(set(kinds) - {kind})}
    left = ", ".join(f"{count} of type {other}" for other, count in others.items())
    notes = (f"took the {len(cameras)} cameras of type {kind}, left {left}: --pick chooses",) if others else ()
    return Found(cameras, {}, notes)


def _camera(node: dict[str, Any], mm: float, where: str) -> Camera:
    name = str(node.get("name", f"{node.get('panel', 0):02}_{node.get('node', 0):02}"))
    where = f"{where}, camera {name}"
    return Camera(
        name=name,
        size=size_of(node.get("resolution"), where, "resolution"),
        K=numbers(node.get("K"), where, "K", (3, 3)),
        dist=lens_list(numbers(node.get("distCoef", []), where, "distCoef"), where),
        rvec=rvec_of(node.get("R"), where),
        t=numbers(node.get("t"), where, "t", (3,)) * mm,
    )


def write_path(cameras: tuple[Camera, ...], metadata: dict[str, Any], path: Path) -> tuple[str, ...]:
    """All cameras as type hd.

    Raises:
        ConfigError: The file exists, or a lens does not fit.
    """
    nodes = [
        {
            "name": camera.name,
            "type": "hd",
            "resolution": list(camera.size),
            "panel": 0,
            "node": index,
            "K": camera.K.tolist(),
            "distCoef": holding.coefficients(camera, HOLDS).tolist(),
            "R": camera.R.tolist(),
            "t": (camera.t / 10)[:, None].tolist(),
        }
        for index, camera in enumerate(cameras)
    ]
    document = {"calibDataSource": "rigpose", "cameras": nodes}
    holding.write_new(path, json.dumps(document, indent=1) + "\n")
    return holding.dropped(cameras, metadata, HOLDS)
