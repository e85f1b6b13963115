"""JARVIS-MoCap: a folder with one OpenCV YAML a camera, matrices as MATLAB has them (transposed), mm.

Keys ``intrinsicMatrix`` (K transposed), ``distortionCoefficients``, ``R`` (world to camera,
transposed) and ``T``. The world is the primary camera, whose pose is the identity.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from calib.camera import Camera
from calib.formats import holding, storage, text
from calib.formats.found import Found, Reading, lens_list, sized
from calib.formats.rotations import numbers, rvec_of
from rigpose.errors import ConfigError

TITLE = "JARVIS"
HOLDS = holding.Holds(title=TITLE, dist=(5,), unit="mm", size=False)
_KEY = "intrinsicMatrix"


def recognises(path: Path) -> bool:
    """A folder of YAML files, or one of them, with JARVIS's key."""
    files = _files(path) if path.is_dir() else [path]
    return any(_KEY in text.peek(file) for file in files if file.suffix.lower() in (".yaml", ".yml"))


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in (".yaml", ".yml") and file.is_file())


def read_path(path: Path, how: Reading) -> Found:
    """All cameras of the folder; a file stands for the folder that it is in.

    Raises:
        ConfigError: No camera is there, or one cannot be.
    """
    folder = path if path.is_dir() else path.parent
    mm = how.millimetres("mm", str(folder))
    cameras = []
    for file in _files(folder):
        document = storage.read(file)
        if _KEY not in document:
            continue
        where = str(file)
        K = numbers(storage.matrix(document[_KEY], where, _KEY), where, _KEY, (3, 3)).T
        dist = lens_list(
            storage.matrix(document.get("distortionCoefficients", []), where, "distortionCoefficients"), where
        )
        R = numbers(storage.matrix(document.get("R"), where, "R"), where, "R", (3, 3)).T
        t = numbers(storage.matrix(document.get("T"), where, "T"), where, "T", (3,)) * mm
        cameras.append(Camera(name=file.stem, size=(0, 0), K=K, dist=dist, rvec=rvec_of(R, where), t=t))
    if not cameras:
        raise ConfigError(folder, "holds no camera of JARVIS", "give the calibration set's folder")
    found, notes = sized(cameras, how, TITLE)
    primary = [c.name for c in found if not c.rvec.any() and not c.t.any()]
    return Found(found, {"world": f"camera:{primary[0]}"} if len(primary) == 1 else {}, notes)


def write_path(cameras: tuple[Camera, ...], metadata: dict[str, Any], path: Path) -> tuple[str, ...]:
    """A folder with one ``NAME.yaml`` a camera.

    Raises:
        ConfigError: The folder holds something, or a lens does not fit.
    """
    documents = [
        {
            _KEY: camera.K.T,
            "distortionCoefficients": holding.coefficients(camera, HOLDS)[None],
            "R": camera.R.T,
            "T": camera.t[:, None],
        }
        for camera in cameras
    ]
    holding.new_folder(path)
    for camera, document in zip(cameras, documents, strict=True):
        holding.write_new(path / f"{camera.name}.yaml", storage.write_yaml(document))
    beyond = np.array([np.abs(holding.coefficients(camera, HOLDS)[2:]).max(initial=0) for camera in cameras])
    notes = holding.dropped(cameras, metadata, HOLDS) + holding.by_file_name(cameras, HOLDS)
    if beyond.any():
        notes += ("JARVIS's HybridNet uses k1 and k2 only: the other coefficients are written, but it ignores them",)
    return notes
