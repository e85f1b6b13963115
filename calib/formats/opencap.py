"""OpenCap: a folder per camera with ``cameraIntrinsicsExtrinsics.pickle``, mm, the board being the world."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from calib.camera import Camera
from calib.formats import pickles, text
from calib.formats.found import Found, Reading, lens_list
from calib.formats.rotations import numbers, rvec_of, size_of
from rigpose.errors import ConfigError

TITLE = "OpenCap"
FILE = "cameraIntrinsicsExtrinsics.pickle"


def recognises(path: Path) -> bool:
    """One such pickle, or a folder with some in its folders."""
    if path.is_dir():
        return bool(_files(path))
    return path.suffix == ".pickle" and "intrinsicMat" in text.peek(path)


def _files(folder: Path) -> list[Path]:
    return sorted(file for pattern in (FILE, f"*/{FILE}", f"*/*/{FILE}") for file in folder.glob(pattern))


def read_path(path: Path, how: Reading) -> Found:
    """All cameras of a session; a single pickle is one camera.

    Raises:
        ConfigError: A pickle holds something else than numbers, or a camera cannot be.
    """
    mm = how.millimetres("mm", str(path))
    files = _files(path) if path.is_dir() else [path]
    cameras = []
    for file in files:
        node = pickles.load(file)
        if not isinstance(node, Mapping):
            raise ConfigError(file, "holds no camera", f"give OpenCap's {FILE}")
        where = str(file)
        height, width = numbers(node.get("imageSize"), where, "imageSize", (2,))
        cameras.append(
            Camera(
                name=file.parent.name,
                size=size_of([width, height], where, "imageSize"),
                K=numbers(node.get("intrinsicMat"), where, "intrinsicMat", (3, 3)),
                dist=lens_list(numbers(node.get("distortion", []), where, "distortion"), where),
                rvec=rvec_of(node.get("rotation"), where, "rotation"),
                t=numbers(node.get("translation"), where, "translation", (3,)) * mm,
            )
        )
    note = "the world is OpenCap's upright board: `rigpose calibrate origin` sets it on the floor"
    return Found(tuple(cameras), {"world": "board"}, (note,))
