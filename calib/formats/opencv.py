"""What OpenCV programs write with FileStorage (YAML, XML, JSON): one camera a file, a stereo pair, or ours.

Nobody fixed the keys, so the spellings of OpenCV's samples, of ROS's camera_info and of common
tools are all known. A file that names no pose gives a camera that was not placed. We write one file
for the whole rig, ``cameras`` being a list of such maps, or a folder with one file a camera.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from calib.camera import Camera
from calib.formats import holding, storage
from calib.formats.found import Found, Reading, lens_list, sized
from calib.formats.rotations import numbers, rotation_of, size_of
from rigpose.errors import ConfigError

TITLE = "OpenCV YAML or XML"
HOLDS = holding.Holds(title="OpenCV's file", dist=(5, 8, 12, 14), unit="mm", fisheye=True)
SUFFIXES = (".yml", ".yaml", ".xml", ".json")

_MATRIX = tuple(
    "camera_matrix cameraMatrix Camera_Matrix CameraMatrix intrinsic_matrix intrinsics mtx K M intrinsic".split()
)
_LENS = tuple(
    "distortion_coefficients Distortion_Coefficients dist_coeffs distCoeffs dist_coeff distortion_coeffs "
    "distortion dist D distCoef".split()
)
_TURN = ("rvec", "rotation_vector", "R", "rotation_matrix", "rotation", "rvecs")
_SHIFT = ("tvec", "translation_vector", "T", "t", "translation", "tvecs")
_WIDTH = ("image_width", "image_Width", "width", "w")
_HEIGHT = ("image_height", "image_Height", "height", "h")
_SIZE = ("image_size", "imageSize", "resolution", "size", "img_shape")
_FISHEYE = ("fisheye_model", "fisheye", "use_fisheye")
_FISHEYE_MODELS = ("fisheye", "equidistant", "kannala_brandt")


def recognises(path: Path) -> bool:
    """A document, or a folder of documents, with a camera matrix."""
    if path.is_dir():
        return any(recognises(file) for file in _files(path))
    if path.suffix.lower() not in SUFFIXES:
        return False
    try:
        document = storage.read(path)
    except ConfigError:
        return False
    return bool(_maps(document)) or "M1" in document


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())


def _first(node: dict[str, Any], keys: tuple[str, ...]) -> tuple[str, Any]:
    for key in keys:
        if key in node:
            return key, node[key]
    return keys[0], None


def _is_camera(node: Any) -> bool:
    return isinstance(node, dict) and _first(node, _MATRIX)[1] is not None


def _maps(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The camera maps of a document with the names that their places give them."""
    listed = document.get("cameras")
    if isinstance(listed, list):
        return [(f"cam{i}", node) for i, node in enumerate(listed) if _is_camera(node)]
    if isinstance(listed, dict):
        document = listed
    if _is_camera(document):
        return [("", document)]
    return [(key, node) for key, node in document.items() if _is_camera(node)]


def read_path(path: Path, how: Reading) -> Found:
    """The camera or cameras of a file, or of all files of a folder.

    Raises:
        ConfigError: No camera is there, or one cannot be.
    """
    cameras: list[Camera] = []
    placed = False
    for file in _files(path) if path.is_dir() else [path]:
        document = storage.read(file)
        units = document.get("units")
        if "M1" in document or "M2" in document:
            cameras += _stereo(file, document, how)
            placed = True
            continue
        for name, node in _maps(document):
            camera, has_pose = _camera(node, name or file.stem, how, units, str(file))
            cameras.append(camera)
            placed |= has_pose
    if not cameras:
        raise ConfigError(path, "holds no camera matrix", f"it needs one of the keys {', '.join(_MATRIX[:4])}")
    found, notes = sized(cameras, how, TITLE)
    if not placed:
        notes += ("holds the lens only: no rotation and translation, so the cameras stand at the origin",)
    return Found(found, {}, notes)


def _camera(node: dict[str, Any], name: str, how: Reading, units: Any, where: str) -> tuple[Camera, bool]:
    name = str(node.get("name") or node.get("camera_name") or name)
    where = f"{where}, camera {name}"
    key, K = _first(node, _MATRIX)
    K = numbers(storage.matrix(K, where, key), where, key, (3, 3))
    key, dist = _first(node, _LENS)
    dist = np.zeros(0) if dist is None else lens_list(storage.matrix(dist, where, key), where)
    turn_key, turn = _first(node, _TURN)
    shift_key, shift = _first(node, _SHIFT)
    placed = turn is not None and shift is not None
    rvec, t = np.zeros(3), np.zeros(3)
    if placed:
        mm = how.millimetres(str(node.get("units") or units or "") or None, where)
        rvec = rotation_of(storage.matrix(turn, where, turn_key), where, turn_key)
        t = numbers(storage.matrix(shift, where, shift_key), where, shift_key, (3,)) * mm
    camera = Camera(
        name=name, size=_size(node, where), K=K, dist=dist, rvec=rvec, t=t, fisheye=_is_fisheye(node, where)
    )
    return camera, placed


def _size(node: dict[str, Any], where: str) -> tuple[int, int]:
    width, height = _first(node, _WIDTH)[1], _first(node, _HEIGHT)[1]
    if width is None or height is None:
        key, both = _first(node, _SIZE)
        if both is None:
            return 0, 0
        return size_of(storage.matrix(both, where, key), where, key)
    return size_of([width, height], where)


def _is_fisheye(node: dict[str, Any], where: str) -> bool:
    key, said = _first(node, _FISHEYE)
    model = str(node.get("distortion_model") or node.get("model") or "").lower()
    if said is None:
        return model in _FISHEYE_MODELS
    if str(said).lower() not in ("0", "1", "true", "false"):
        raise ConfigError(where, f"{key} is {said!r}", "write 0 or 1")
    return str(said).lower() in ("1", "true")


def _stereo(file: Path, document: dict[str, Any], how: Reading) -> list[Camera]:
    """A pair as OpenCV's stereo sample writes it: M1 D1 M2 D2, with R T there or in extrinsics.yml beside it."""
    pose = document
    if "R" not in document:
        beside = file.with_name(f"extrinsics{file.suffix}")
        if not beside.exists():
            raise ConfigError(file, "holds a stereo pair without R and T", f"put {beside.name} beside it")
        pose = storage.read(beside)
    cameras = []
    for name, number in (("left", 1), ("right", 2)):
        where = f"{file}, {name}"
        K = numbers(storage.matrix(document.get(f"M{number}"), where, f"M{number}"), where, f"M{number}", (3, 3))
        dist = lens_list(storage.matrix(document.get(f"D{number}", []), where, f"D{number}"), where)
        rvec, t = np.zeros(3), np.zeros(3)
        if number == 2:
            mm = how.millimetres(str(document.get("units") or "") or None, str(file))
            rvec = rotation_of(storage.matrix(pose.get("R"), where, "R"), where)
            t = numbers(storage.matrix(pose.get("T"), where, "T"), where, "T", (3,)) * mm
        cameras.append(Camera(name=name, size=_size(document, where), K=K, dist=dist, rvec=rvec, t=t))
    return cameras


def document_of(camera: Camera) -> dict[str, Any]:
    """One camera as the map that OpenCV's calibration sample writes, with its pose and unit."""
    width, height = camera.size
    return {
        "name": camera.name,
        "units": HOLDS.unit,
        "image_width": width,
        "image_height": height,
        "fisheye_model": int(camera.fisheye),
        "camera_matrix": camera.K,
        "distortion_coefficients": holding.coefficients(camera, HOLDS)[:, None],
        "rvec": camera.rvec[:, None],
        "tvec": camera.t[:, None],
    }


def write_path(cameras: tuple[Camera, ...], metadata: dict[str, Any], path: Path) -> tuple[str, ...]:
    """One file for all (.yml, .yaml, .xml), or a folder with one ``NAME.yml`` a camera.

    Raises:
        ConfigError: It is there already, or a lens does not fit.
    """
    documents = [document_of(camera) for camera in cameras]
    if path.suffix.lower() == ".xml":
        holding.write_new(path, storage.write_xml({"cameras": documents}))
    elif path.suffix.lower() in (".yml", ".yaml"):
        holding.write_new(path, storage.write_yaml({"cameras": documents}))
    elif path.suffix:
        raise ConfigError(path, "is no name for OpenCV's files", "end it with .yml or .xml, or give a folder")
    else:
        holding.new_folder(path)
        for camera, document in zip(cameras, documents, strict=True):
            holding.write_new(path / f"{camera.name}.yml", storage.write_yaml(document))
        return holding.dropped(cameras, metadata, HOLDS) + holding.by_file_name(cameras, HOLDS)
    return holding.dropped(cameras, metadata, HOLDS)
