"""EasyMocap: ``intri.yml`` and ``extri.yml`` in one folder, OpenCV's YAML, translations in metres."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from calib.camera import Camera
from calib.formats import holding, storage
from calib.formats.found import Found, Reading, lens_list, sized
from calib.formats.rotations import numbers, rotation_of, size_of
from rigpose.errors import ConfigError

TITLE = "EasyMocap"
HOLDS = holding.Holds(title=TITLE, dist=(5,), unit="m")
INTRI, EXTRI = "intri.yml", "extri.yml"


def recognises(path: Path) -> bool:
    """A folder with both files, or one of them."""
    folder = path if path.is_dir() else path.parent
    return (path.is_dir() or path.name in (INTRI, EXTRI)) and all((folder / name).is_file() for name in (INTRI, EXTRI))


def read_path(path: Path, how: Reading) -> Found:
    """The cameras that ``intri.yml`` names.

    Raises:
        ConfigError: A file, a camera or a key is missing, or a camera cannot be.
    """
    folder = path if path.is_dir() else path.parent
    intri, extri = storage.read(folder / INTRI), storage.read(folder / EXTRI)
    mm = how.millimetres("m", str(folder))
    names = intri.get("names") or extri.get("names")
    if not isinstance(names, list):
        names = [key[2:] for key in intri if key.startswith("K_")]
    cameras = [_camera(str(name), intri, extri, folder, mm) for name in names if str(name) != "none"]
    if not cameras:
        raise ConfigError(folder / INTRI, "names no camera", "add names")
    found, notes = sized(cameras, how, TITLE)
    return Found(found, {}, notes)


def _camera(name: str, intri: dict[str, Any], extri: dict[str, Any], folder: Path, mm: float) -> Camera:
    inside, outside = f"{folder / INTRI}, {name}", f"{folder / EXTRI}, {name}"

    def of(document: dict[str, Any], where: str, *keys: str) -> np.ndarray | None:
        for key in keys:
            if f"{key}_{name}" in document:
                return storage.matrix(document[f"{key}_{name}"], where, f"{key}_{name}")
        return None

    K = numbers(of(intri, inside, "K"), inside, f"K_{name}", (3, 3))
    dist = of(intri, inside, "dist", "D")
    turn = of(extri, outside, "R", "Rot")
    size = of(intri, inside, "W"), of(intri, inside, "H")
    return Camera(
        name=name,
        size=(0, 0) if size[0] is None or size[1] is None else size_of(size, inside),
        K=K,
        dist=lens_list([] if dist is None else dist, inside),
        rvec=rotation_of(turn, outside, f"R_{name}"),
        t=numbers(of(extri, outside, "T"), outside, f"T_{name}", (3,)) * mm,
    )


def write_path(cameras: tuple[Camera, ...], metadata: dict[str, Any], path: Path) -> tuple[str, ...]:
    """A folder with both files.

    Raises:
        ConfigError: The folder holds something, a lens does not fit, or a name is no word of its keys.
    """
    intri: dict[str, Any] = {"names": [camera.name for camera in cameras]}
    extri: dict[str, Any] = {"names": [camera.name for camera in cameras]}
    for camera in cameras:
        if not camera.name.replace("_", "").replace("-", "").isalnum():
            what = f"{camera.name!r} cannot stand in EasyMocap's keys"
            raise ConfigError(f"camera {camera.name}", what, "rename it with letters, digits and _")
        intri[f"K_{camera.name}"] = camera.K
        intri[f"dist_{camera.name}"] = holding.coefficients(camera, HOLDS)[None]
        intri[f"H_{camera.name}"], intri[f"W_{camera.name}"] = camera.size[1], camera.size[0]
        extri[f"R_{camera.name}"] = camera.rvec[:, None]
        extri[f"Rot_{camera.name}"] = camera.R
        extri[f"T_{camera.name}"] = camera.t[:, None] / 1000
    holding.new_folder(path)
    holding.write_new(path / INTRI, storage.write_yaml(intri))
    holding.write_new(path / EXTRI, storage.write_yaml(extri))
    return holding.dropped(cameras, metadata, HOLDS)
