"""Kalibr's camchain: each camera's pose is given from the one before, metres, ``radtan`` or ``equidistant``.

Kalibr knows no world. As mrcal does, we write the first camera's pose as its ``T_cn_cnm1``; Kalibr's
own tools do not look at it there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from calib.camera import Camera
from calib.formats import holding, text
from calib.formats.found import Found, Reading, lens_list
from calib.formats.rotations import numbers, rvec_of, size_of
from rigpose.errors import ConfigError

TITLE = "Kalibr"
HOLDS = holding.Holds(title=TITLE, dist=(4,), unit="m", fisheye=True)


def recognises(path: Path) -> bool:
    """YAML with Kalibr's keys."""
    head = text.peek(path) if path.suffix.lower() in (".yaml", ".yml") else ""
    return "camera_model:" in head and "intrinsics:" in head and "cam0:" in head


def read_path(path: Path, how: Reading) -> Found:
    """The chain's cameras in its order.

    Raises:
        ConfigError: A link is missing, a model is none of ours, or a camera cannot be.
    """
    document = text.read_yaml(path)
    if not isinstance(document, dict):
        raise ConfigError(path, "holds no cameras", "give Kalibr's camchain")
    keys = [key for key, node in document.items() if isinstance(node, dict) and "intrinsics" in node]
    mm = how.millimetres("m", str(path))
    cameras = []
    R, t = np.eye(3), np.zeros(3)
    for index, key in enumerate(keys):
        node, where = document[key], f"{path}, {key}"
        if "T_cn_cnm1" in node:
            link = numbers(node["T_cn_cnm1"], where, "T_cn_cnm1", (4, 4))
            step = cv2.Rodrigues(rvec_of(link[:3, :3], where, "T_cn_cnm1"))[0]
            R, t = step @ R, step @ t + link[:3, 3] * mm
        elif index:
            raise ConfigError(where, "has no T_cn_cnm1", "calibrate the whole chain, or remove that camera")
        cameras.append(_camera(_name(key, node), node, R, t, where))
    if not cameras:
        raise ConfigError(path, "holds no cameras", "give Kalibr's camchain")
    named = len({camera.name for camera in cameras}) == len(cameras)
    if not named:
        cameras = [_renamed(camera, key) for camera, key in zip(cameras, keys, strict=True)]
    first = document[keys[0]]
    metadata = {} if "T_cn_cnm1" in first else {"world": f"camera:{cameras[0].name}"}
    notes = ("left out T_cam_imu: a rig has no inertial unit",) if "T_cam_imu" in first else ()
    return Found(tuple(cameras), metadata, notes)


def _name(key: str, node: dict[str, Any]) -> str:
    """The first part of the camera's ROS topic, as people name them there; else Kalibr's key."""
    parts = [part for part in str(node.get("rostopic", "")).split("/") if part]
    return parts[0] if len(parts) > 1 else key


def _renamed(camera: Camera, name: str) -> Camera:
    from dataclasses import replace

    return replace(camera, name=name)


def _camera(name: str, node: dict[str, Any], R: np.ndarray, t: np.ndarray, where: str) -> Camera:
    model, bent = str(node.get("camera_model")), str(node.get("distortion_model", "none"))
    if model != "pinhole" or bent not in ("radtan", "equidistant", "equi", "none"):
        what = f"camera_model {model} with distortion_model {bent} has no counterpart in OpenCV's models"
        raise ConfigError(where, what, "calibrate with pinhole-radtan or pinhole-equi")
    fu, fv, pu, pv = numbers(node["intrinsics"], where, "intrinsics", (4,))
    dist = numbers(node.get("distortion_coeffs", []), where, "distortion_coeffs").ravel()
    return Camera(
        name=name,
        size=size_of(node.get("resolution"), where, "resolution"),
        K=np.array([[fu, 0, pu], [0, fv, pv], [0, 0, 1]]),
        dist=lens_list(dist, where) if bent != "none" else np.zeros(0),
        rvec=rvec_of(R, where),
        t=t,
        fisheye=bent.startswith("equi"),
    )


def write_path(cameras: tuple[Camera, ...], metadata: dict[str, Any], path: Path) -> tuple[str, ...]:
    """The chain in the rig's order.

    Raises:
        ConfigError: The file exists, or a lens does not fit.
    """
    lines = []
    R, t = np.eye(3), np.zeros(3)
    for index, camera in enumerate(cameras):
        dist = holding.coefficients(camera, HOLDS)
        step = camera.R @ R.T
        shift = (camera.t - step @ t) / 1000
        lines += [f"cam{index}:", "  camera_model: pinhole"]
        lines += [f"  intrinsics: [{text.float_text(camera.K[[0, 1, 0, 1], [0, 1, 2, 2]])}]"]
        lines += [f"  distortion_model: {'equidistant' if camera.fisheye else 'radtan'}"]
        lines += [f"  distortion_coeffs: [{text.float_text(dist)}]"]
        if index or camera.rvec.any() or camera.t.any():
            rows = [*np.column_stack([step, shift]), (0, 0, 0, 1)]
            lines += ["  T_cn_cnm1:", *(f"  - [{text.float_text(row)}]" for row in rows)]
        lines += [f"  resolution: [{camera.size[0]}, {camera.size[1]}]", f"  rostopic: /{camera.name}/image_raw"]
        R, t = camera.R, camera.t
    holding.write_new(path, "\n".join(lines) + "\n")
    notes = holding.dropped(cameras, metadata, HOLDS)
    if cameras[0].rvec.any() or cameras[0].t.any():
        notes += ("Kalibr has no world: it stands as T_cn_cnm1 of cam0, which Kalibr's own tools ignore",)
    return notes
