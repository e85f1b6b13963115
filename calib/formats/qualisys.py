"""Qualisys Track Manager's calibration export, ``*.qca.txt``: XML in 1/64 px and mm.

``transform`` holds the camera's place and, row by row, the rotation from world to a camera that
looks along its -z axis with y up; OpenCV's camera is that one turned by 180 degrees about x.
Focal lengths, centres and the sensor are in 1/64 px of the whole sensor, of which ``fov_video`` is
the part in the video; (0, 0) is the centre of the first pixel. The distortion coefficients are
OpenCV's. (Pose2Sim divides them by 64 as well; board images of its own demo rig say that this is a
mistake: they give k1 = -0.05, k2 = 0.13, which is what the file says.)

``viewrotation`` is how QTM turns a camera's view on the screen. The intrinsics belong to the
unturned picture; for video that was turned upright read with ``upright``. QTM's manual does not say
which way the angle counts, so of the two quarters that it allows the one is taken that brings the
world's z to the top of the picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np

from calib.camera import Camera
from calib.formats import holding, text
from calib.formats.found import Found, Reading, lens_list
from calib.formats.rotations import numbers, rvec_of, size_of
from calib.turn import turned, upright_turn
from rigpose.errors import ConfigError

TITLE = "Qualisys"
HOLDS = holding.Holds(title=TITLE, dist=(5,), unit="mm")
SUBPIXELS = 64
VIDEO_MODELS = ("video", "hybrid", "none")
"""Words in ``model`` of cameras that film; the others see markers only."""

_AXES = np.diag([1.0, -1.0, -1.0])
_UP = np.array([0.0, 0.0, 1.0])
_CLEAR = 0.8


def recognises(path: Path) -> bool:
    """XML with QTM's elements."""
    head = text.peek(path) if path.suffix.lower() in (".txt", ".xml", ".qca") else ""
    return "<calibration" in head and "centerPointU" in head and "<transform" in head


def read_path(path: Path, how: Reading) -> Found:
    """The cameras that film; where none says so, all that are active.

    Raises:
        ConfigError: No camera is there, one lacks an element, or cannot be.
    """
    root = text.read_xml(path)
    mm = how.millimetres("mm", str(path))
    elements = root.findall("cameras/camera")
    active = [e for e in elements if e.get("active", "1") == "1" and e.get("calibrated", "true").lower() != "false"]
    films = [e for e in active if any(word in e.get("model", "none").lower() for word in VIDEO_MODELS)] or active
    notes = _left_out(elements, active, films)
    cameras = []
    for element in films:
        camera = _camera(element, mm, str(path))
        angle = int(float(element.get("viewrotation", 0))) % 360
        if angle and how.upright:
            quarters = _quarters(camera, angle, str(path))
            camera = turned(camera, quarters)
            notes.append(f"{camera.name}: viewrotation {angle}, pictures turned clockwise by {90 * quarters} degrees")
        elif angle:
            size = f"{camera.size[0]}x{camera.size[1]}"
            what = f"{camera.name}: viewrotation {angle}, read for unturned pictures of {size}"
            notes.append(f"{what}: if the video is upright, give --upright")
        cameras.append(camera)
    if not cameras:
        raise ConfigError(path, "holds no calibrated camera", "export the calibration from QTM again")
    below = [camera.name for camera in cameras if camera.center_mm[2] <= 0]
    if below:
        notes.append(f"{', '.join(below)} below z = 0: the world is not said to stand on the floor with z up")
    return Found(tuple(cameras), {} if below else {"world": "floor"}, tuple(notes))


def _left_out(elements: list, active: list, films: list) -> list[str]:
    notes = []
    idle = [e.get("serial", "?") for e in elements if e not in active]
    blind = [e.get("serial", "?") for e in active if e not in films]
    if idle:
        notes.append(f"left out {', '.join(idle)}: not active or not calibrated")
    if blind:
        notes.append(f"left out {', '.join(blind)}: marker cameras, which do not film")
    return notes


def _attribute(element: ElementTree.Element, tag: str, key: str, where: str, default: float | None = None) -> float:
    child = element.find(tag)
    value = default if child is None else child.get(key, default)
    return float(numbers(value, where, f"{tag} {key}", ()))


def _camera(element: ElementTree.Element, mm: float, where: str) -> Camera:
    name = element.get("serial", "")
    where = f"{where}, camera {name}"

    def intrinsic(key: str, default: float | None = None) -> float:
        return _attribute(element, "intrinsic", key, where, default)

    view = "fov_video" if element.find("fov_video") is not None else "fov_marker"
    left, top, right, bottom = (_attribute(element, view, side, where) for side in ("left", "top", "right", "bottom"))
    K = np.eye(3)
    K[0, 0], K[1, 1] = intrinsic("focalLengthU") / SUBPIXELS, intrinsic("focalLengthV") / SUBPIXELS
    K[0, 2] = intrinsic("centerPointU") / SUBPIXELS - left
    K[1, 2] = intrinsic("centerPointV") / SUBPIXELS - top
    K[0, 1] = intrinsic("skew", 0.0) / SUBPIXELS
    radial = [intrinsic(f"radialDistortion{i}") for i in (1, 2, 3)]
    tangential = [intrinsic(f"tangentalDistortion{i}") for i in (1, 2)]
    axes = [[_attribute(element, "transform", f"r{row}{column}", where) for column in "123"] for row in "123"]
    R = _AXES @ np.array(axes)
    center = np.array([_attribute(element, "transform", axis, where) for axis in "xyz"]) * mm
    rvec = rvec_of(R, where, "transform")
    camera = Camera(
        name=name or "camera",
        serial=name,
        size=size_of([right - left + 1, bottom - top + 1], where, view),
        K=K,
        dist=lens_list([*radial[:2], *tangential, radial[2]], where),
        rvec=rvec,
        t=np.zeros(3),
    )
    # With the cleaned rotation, so that the camera stands where the file says.
    object.__setattr__(camera, "t", -camera.R @ center)
    return camera


def _quarters(camera: Camera, angle: int, where: str) -> int:
    if angle % 90:
        raise ConfigError(where, f"{camera.name} has viewrotation {angle}", "QTM knows 0, 90, 180 and 270")
    if angle == 180:
        return 2
    quarters, share = upright_turn(camera, _UP)
    if quarters % 2 == 0 or share < _CLEAR:
        what = f"{camera.name} has viewrotation {angle}, but its rotation says that the picture stands otherwise"
        raise ConfigError(where, what, "read without --upright and turn neither video nor camera")
    return quarters


def write_path(cameras: tuple[Camera, ...], metadata: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Cameras as unturned views of the whole sensor.

    Raises:
        ConfigError: The file exists, or a lens does not fit.
    """
    body = "".join(_element(camera) for camera in cameras)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<calibration created="" qtm-version="none" type="regular"'
    holding.write_new(path, f'{head} source="rigpose">\n  <cameras>\n{body}  </cameras>\n</calibration>\n')
    notes = holding.dropped([_without_serial(camera) for camera in cameras], metadata, HOLDS)
    return notes


def _without_serial(camera: Camera) -> Camera:
    from dataclasses import replace

    return replace(camera, serial="")


def _element(camera: Camera) -> str:
    k1, k2, p1, p2, k3 = holding.coefficients(camera, HOLDS)
    width, height = camera.size
    place, axes = camera.center_mm, _AXES @ camera.R
    transform = {axis: value for axis, value in zip("xyz", place, strict=True)}
    transform |= {f"r{i + 1}{j + 1}": axes[i, j] for i in range(3) for j in range(3)}
    intrinsic = {
        "sensorMinU": 0, "sensorMaxU": SUBPIXELS * (width - 1), "sensorMinV": 0, "sensorMaxV": SUBPIXELS * (height - 1),
        "focalLengthU": SUBPIXELS * camera.K[0, 0], "focalLengthV": SUBPIXELS * camera.K[1, 1],
        "centerPointU": SUBPIXELS * camera.K[0, 2], "centerPointV": SUBPIXELS * camera.K[1, 2], "skew": 0,
        "radialDistortion1": k1, "radialDistortion2": k2, "radialDistortion3": k3,
        "tangentalDistortion1": p1, "tangentalDistortion2": p2,
    }  # fmt: skip
    views = "".join(
        f'      <{view} left="0" top="0" right="{width - 1}" bottom="{height - 1}"/>\n'
        for view in ("fov_marker", "fov_marker_max", "fov_video", "fov_video_max")
    )
    name = quoteattr(camera.name)
    # Pose2Sim and others insist on the residual and the count of points.
    facts = 'active="1" avg-residual="0" point-count="0" model="none" viewrotation="0"'
    head = f"    <camera {facts} serial={name}>\n{views}"
    return f"{head}      <transform {_listed(transform)}/>\n      <intrinsic {_listed(intrinsic)}/>\n    </camera>\n"


def _listed(values: dict[str, Any]) -> str:
    return " ".join(f'{key}="{float(value)!r}"' for key, value in values.items())
