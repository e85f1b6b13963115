"""Bouguet's Camera Calibration Toolbox for MATLAB: ``Calib_Results.mat`` and ``Calib_Results_stereo.mat``.

``fc, cc, kc, alpha_c`` are OpenCV's focal lengths, principal point (pixels from 0), k1 k2 p1 p2 k3 and
the skew over the focal length. One camera's file has no place for it; the corners and board poses in
it serve to try the lens. A stereo file has the right camera's ``om`` and ``T`` from the left one.
Lengths are those of the squares, which the toolbox asks for in mm.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from calib.camera import Camera
from calib.formats import mat
from calib.formats.found import Found, Reading, Views, lens_list, sized
from calib.formats.rotations import numbers, rvec_of
from rigpose.errors import ConfigError, RigposeError

TITLE = "Bouguet's MATLAB toolbox"
_SIDES = ("left", "right")


def recognises(path: Path) -> bool:
    """A .mat file with the toolbox's names."""
    if path.suffix.lower() != ".mat":
        return False
    try:
        found = mat.load(path)
    except RigposeError:
        return False
    return {"fc", "cc", "kc"} <= set(found) or {"fc_left", "fc_right", "om", "T"} <= set(found)


def read_path(path: Path, how: Reading) -> Found:
    """One camera at the origin, or the stereo pair with the left one there.

    Raises:
        ConfigError: It is none of the toolbox's files, or a camera cannot be.
    """
    document = mat.load(path)
    where = str(path)
    mm = how.millimetres("mm", where)
    if "fc_left" in document:
        left, right = (_camera(document, f"_{side}", side, where) for side in _SIDES)
        turn = cv2.Rodrigues(numbers(document.get("om"), where, "om", (3,)))[0]
        shift = numbers(document.get("T"), where, "T", (3,)) * mm
        right = _placed(right, rvec_of(turn, where, "om"), shift)
        found, notes = sized((left, right), how, TITLE)
        return Found(found, {"world": "camera:left"}, notes)
    if "fc" not in document:
        raise ConfigError(path, "holds neither fc nor fc_left", "give Calib_Results.mat or Calib_Results_stereo.mat")
    name = path.stem.removeprefix("Calib_Results").strip("_") or "camera"
    camera = _camera(document, "", name, where)
    found, notes = sized((camera,), how, TITLE)
    notes += ("holds the lens only: no place in a rig, so the camera stands at the origin",)
    return Found(found, {}, notes, _views(document, where, mm))


def _camera(document: dict[str, Any], end: str, name: str, where: str) -> Camera:
    where = f"{where}, {name}"
    fc = numbers(document.get(f"fc{end}"), where, f"fc{end}", (2,))
    cc = numbers(document.get(f"cc{end}"), where, f"cc{end}", (2,))
    lean = float(numbers(document.get(f"alpha_c{end}", 0.0), where, f"alpha_c{end}", ()))
    nx, ny = (document.get(key) for key in ("nx", "ny"))
    size = (0, 0) if nx is None or ny is None else (int(np.ravel(nx)[0]), int(np.ravel(ny)[0]))
    return Camera(
        name=name,
        size=size,
        K=np.array([[fc[0], lean * fc[0], cc[0]], [0, fc[1], cc[1]], [0, 0, 1]]),
        dist=lens_list(numbers(document.get(f"kc{end}", []), where, f"kc{end}"), where),
        rvec=np.zeros(3),
        t=np.zeros(3),
    )


def _placed(camera: Camera, rvec: np.ndarray, t: np.ndarray) -> Camera:
    from dataclasses import replace

    return replace(camera, rvec=rvec, t=t)


def _views(document: dict[str, Any], where: str, mm: float) -> Views | None:
    """The corners of all boards, brought into the camera by the toolbox's own board poses."""
    px, points = [], []
    for key in document:
        number = key.removeprefix("x_")
        if not (
            key.startswith("x_")
            and number.isdigit()
            and {f"X_{number}", f"omc_{number}", f"Tc_{number}"} <= set(document)
        ):
            continue
        seen, board, turn, shift = (
            np.asarray(document[f"{name}_{number}"], dtype=np.float64) for name in ("x", "X", "omc", "Tc")
        )
        if seen.shape[:1] != (2,) or board.shape != (3, seen.shape[1]) or turn.size != 3 or not np.isfinite(turn).all():
            continue
        px.append(seen.T)
        points.append((cv2.Rodrigues(turn.ravel())[0] @ board).T + shift.ravel())
    if not px:
        return None
    return Views(f"corners of {len(px)} boards", np.concatenate(px)[None], np.concatenate(points) * mm)
