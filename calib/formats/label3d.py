"""Label3D and DANNCE ``.mat`` files: MATLAB's row vectors, one-based pixels, two or three radial terms, mm.

``params`` is a cell of structs ``K, RDistort, TDistort, r, t`` with ``[X 1] [r; t] K = s [x y 1]``,
so all matrices are OpenCV's transposed. MATLAB calls the centre of the first pixel (1, 1): principal
points and ``data_2d`` are one less here. ``K`` may have a skew. ``labelData`` holds 2D and 3D labels,
on which the cameras are tried. A folder of ``*cam*_params.mat`` with one camera each is read as well.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from calib.camera import Camera
from calib.formats import holding, mat
from calib.formats.found import Found, Reading, Views, lens_list, sized
from calib.formats.rotations import numbers, rvec_of
from rigpose.errors import ConfigError

TITLE = "Label3D"
HOLDS = holding.Holds(title=TITLE, dist=(5,), unit="mm", size=False, skew=True)
ONE_BASED = 1.0
_FIELDS = ("K", "RDistort", "TDistort", "r", "t")


def recognises(path: Path) -> bool:
    """A .mat file, or a folder of ``*_params.mat``."""
    if path.is_dir():
        return bool(_params_files(path))
    return path.suffix.lower() == ".mat"


def _params_files(folder: Path) -> list[Path]:
    def natural(file: Path) -> list:
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file.name)]

    return sorted(folder.glob("*_params.mat"), key=natural)


def read_path(path: Path, how: Reading) -> Found:
    """The cameras, and the labels that the file holds.

    Raises:
        ConfigError: It holds no cameras, or one cannot be.
        MissingError: It is a MATLAB 7.3 file and h5py is not installed.
    """
    mm = how.millimetres("mm", str(path))
    if path.is_dir():
        files = _params_files(path)
        cameras = [
            _camera(_one(mat.load(file), file), file.stem.removesuffix("_params"), mm, str(file)) for file in files
        ]
        return _found(cameras, how, None)
    document = mat.load(path)
    if "params" not in document:
        return _found([_camera(_one(document, path), path.stem.removesuffix("_params"), mm, str(path))], how, None)
    structs = [_struct(cell, f"{path}, params") for cell in document["params"].ravel()]
    names = [str(np.ravel(cell)[0]) for cell in np.ravel(document.get("camnames", []))]
    if len(names) != len(structs):
        names = [f"Camera{i + 1}" for i in range(len(structs))]
    cameras = [_camera(node, name, mm, str(path)) for node, name in zip(structs, names, strict=True)]
    return _found(cameras, how, _views(document, len(cameras), mm))


def _found(cameras: list[Camera], how: Reading, views: Views | None) -> Found:
    found, notes = sized(cameras, how, TITLE)
    notes = ("principal points are one pixel less than in the file: MATLAB counts from 1", *notes)
    skewed = [f"{camera.name} {camera.K[0, 1]:.3g}" for camera in found if camera.skew]
    if skewed:
        notes += (f"K has a skew (px: {', '.join(skewed)}), which hardly any other program knows",)
    return Found(found, {}, notes, views)


def _one(document: dict[str, Any], path: Path) -> dict[str, Any]:
    if not {"K", "r", "t"} <= set(document):
        raise ConfigError(path, "holds no cameras (neither params nor K, r, t)", "give Label3D's or DANNCE's .mat")
    return document


def _struct(cell: Any, where: str) -> dict[str, Any]:
    inner = np.ravel(cell)
    names = inner.dtype.names if isinstance(inner, np.ndarray) else None
    if not names or not len(inner):
        raise ConfigError(where, "is no cell of structs", "give Label3D's or DANNCE's .mat")
    return {name: inner[0][name] for name in names}


def _camera(node: dict[str, Any], name: str, mm: float, where: str) -> Camera:
    where = f"{where}, camera {name}"
    K = numbers(node.get("K"), where, "K", (3, 3))
    r = numbers(node.get("r"), where, "r", (3, 3))
    t = numbers(node.get("t"), where, "t", (3,))
    if K[2, :2].any() or not K[:2, 2].any():
        K, r = K.T, r.T
    elif K[:2, 2].any():
        raise ConfigError(where, "K is OpenCV's and not MATLAB's (transposed)", "transpose K and r as Label3D has them")
    K = K.copy()
    K[:2, 2] -= ONE_BASED
    radial = numbers(node.get("RDistort", []), where, "RDistort").ravel()
    tangential = numbers(node.get("TDistort", []), where, "TDistort").ravel()
    if len(radial) > 3 or len(tangential) > 2:
        what = f"{len(radial)} radial and {len(tangential)} tangential terms"
        raise ConfigError(where, what, "give at most three and two")
    k1, k2, k3 = np.pad(radial, (0, 3 - len(radial)))
    p1, p2 = np.pad(tangential, (0, 2 - len(tangential)))
    dist = lens_list([k1, k2, p1, p2, k3], where)
    return Camera(name=name, size=(0, 0), K=K, dist=dist, rvec=rvec_of(r, where, "r"), t=t * mm)


def _views(document: dict[str, Any], n: int, mm: float) -> Views | None:
    """Labels, where each camera has as many in the picture as in space."""
    cells = np.ravel(document.get("labelData", []))
    if len(cells) != n:
        return None
    px, points = [], None
    for cell in cells:
        node = _struct(cell, "labelData")
        flat, deep = (np.asarray(node.get(key, []), dtype=np.float64) for key in ("data_2d", "data_3d"))
        if flat.ndim != 2 or deep.ndim != 2 or 3 * flat.size != 2 * deep.size or not flat.size:
            return None
        px.append(flat.reshape(-1, 2) - ONE_BASED)
        points = deep.reshape(-1, 3) * mm
    assert points is not None
    return Views(f"{len(points)} labels", np.stack(px), points)


def write_path(cameras: tuple[Camera, ...], metadata: dict[str, Any], path: Path) -> tuple[str, ...]:
    """A .mat (version 5) with ``params`` and ``camnames``.

    Raises:
        ConfigError: The file exists, or a lens does not fit.
    """
    from scipy import io as scipy_io

    params = np.empty((len(cameras), 1), dtype=object)
    names = np.empty((1, len(cameras)), dtype=object)
    for index, camera in enumerate(cameras):
        k1, k2, p1, p2, k3 = holding.coefficients(camera, HOLDS)
        K = camera.K.copy()
        K[:2, 2] += ONE_BASED
        values = (K.T, np.array([[k1, k2, k3]]), np.array([[p1, p2]]), camera.R.T, camera.t[None])
        params[index, 0] = dict(zip(_FIELDS, values, strict=True))
        names[0, index] = camera.name
    buffer = io.BytesIO()
    scipy_io.savemat(buffer, {"params": params, "camnames": names}, do_compression=True)
    holding.write_new(path, buffer.getvalue())
    return holding.dropped(cameras, metadata, HOLDS)
