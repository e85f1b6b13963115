"""Poses in an npz of plain arrays: our own, and what people save with ``numpy.savez``.

===================  ==================  ==========================================================================
key                  shape               what
===================  ==================  ==========================================================================
``position_mm``      (T, J, 3)           positions, NaN = missing; ``_cm`` and ``_m`` say other units. Read as well:
                                         ``positions, points, points3d, points_3d, keypoints3d, poses3d``, with or
                                         without such an ending; without, ``units`` (a text) or the user says it
``joints``           (J,) texts          names; read as well: ``names, joint_names, keypoints, node_names, bodyparts``
``edges``            (E, 2) int          bones, as indices; optional, read as well: ``bones, edge_inds``
``left_right``       (P, 2) int          pairs of joints left and right; optional, else by the names
``root``             (R,) int            joints whose mean is the root; optional
``skeleton``         text                its name; optional
``rate_hz``          ()                  frames a second; optional, read as well: ``fps``
``frame``            (T,) int            number of each moment; optional, read as well: ``frames``
``subject``          (T,) or ()          texts or whole numbers; optional, read as well: ``subjects, animal``
``points2d``         (T, V, J, 2)        raw px, NaN = not seen; optional
``confidence``       (T, V, J)           of points2d; optional
``rig``              text                the cameras: our TOML itself, or the path of a rig file; or as arrays:
``K, dist, rvec, t`` (V, ...)            OpenCV's, with ``R`` (V, 3, 3) instead of rvec as well, t in the unit of the
                                         positions, and optional ``cameras`` (V,) names, ``size`` (V, 2) px
===================  ==================  ==========================================================================
"""

from __future__ import annotations

import io
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from calib.camera import Camera
from calib.formats import rigpose_toml
from calib.formats.found import Reading, lens_list, sized
from calib.formats.rotations import numbers, rvec_of
from calib.formats.tables import MM_PER, toml_text
from calib.observations import BROKEN_NPZ
from calib.rig import Rig, read_rig, rig_of_document
from capture.labels.poses.reading import How, fitting, made, positions, texts
from capture.labels.poses.skeletons import legs
from capture.labels.poses3d import Poses3D
from capture.labels.skeletons import skeleton_of
from rigpose.errors import ConfigError
from rigpose.skeleton import Skeleton

TITLE = "npz"
_DEEP = ("position", "positions", "points", "points3d", "points_3d", "keypoints3d", "poses3d")
_NAMES = ("joints", "names", "joint_names", "keypoints", "node_names", "bodyparts")
_EDGES = ("edges", "bones", "edge_inds")
_RATES, _FRAMES, _SUBJECTS = ("rate_hz", "fps"), ("frame", "frames"), ("subject", "subjects", "animal")
_ENDINGS = {f"{name}_{unit}": unit for name in _DEEP for unit in MM_PER}


def recognises(path: Path) -> bool:
    """An npz with positions under a key of ours."""
    return path.is_file() and bool(set(keys_of(path)) & {*_ENDINGS, *_DEEP})


def keys_of(path: Path) -> tuple[str, ...]:
    """Names of the arrays in an npz; none for any other file."""
    try:
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                return ()
        with np.load(path, allow_pickle=False) as arrays:
            return tuple(arrays.files)
    except BROKEN_NPZ:
        return ()


def read(path: Path, how: How) -> Poses3D:
    """The poses of a file.

    Raises:
        ConfigError: It is no npz of plain arrays, has no positions or several, says no unit, or its arrays do not go
            together.
    """
    arrays = arrays_of(path)
    key = _one(arrays, path, (*_ENDINGS, *_DEEP), "positions")
    if key is None:
        raise ConfigError(path, f"has no positions, but {', '.join(arrays)}", "save them as position_mm")
    stated = _ENDINGS.get(key) or (str(arrays["units"]) if "units" in arrays else None)
    mm = how.millimetres(stated, f"{path}, {key}")
    position = positions(arrays[key], path, key) * mm
    n, joints = position.shape[:2]
    rig, notes = _rig(arrays, path, how, mm)
    if rig is not None:
        how.own_cameras(path)
    rig = how.rig if rig is None else rig
    return made(
        path,
        skeleton=_skeleton(arrays, path, how, joints),
        position_mm=position,
        rig=rig,
        points2d=None if rig is None or "points2d" not in arrays else arrays["points2d"],
        confidence=None if rig is None or "points2d" not in arrays else arrays.get("confidence"),
        subject=_subject(arrays, path, how, n),
        frame=_whole(arrays, _FRAMES, path, n),
        rate_hz=how.rate(_scalar(arrays, _RATES, path), path),
        source=TITLE,
        notes=notes,
    )


def arrays_of(path: Path) -> dict[str, Any]:
    """All arrays of an npz.

    Raises:
        ConfigError: It is none, or holds objects.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except BROKEN_NPZ as error:
        raise ConfigError(path, f"is no npz of plain arrays: {error}", "save it with numpy.savez, no objects") from None


def _one(arrays: Mapping[str, Any], path: Path, names: tuple[str, ...], what: str) -> str | None:
    found = [name for name in names if name in arrays]
    if len(found) > 1:
        raise ConfigError(path, f"has {what} under several keys: {', '.join(found)}", "keep one of them")
    return found[0] if found else None


def _skeleton(arrays: Mapping[str, Any], path: Path, how: How, n: int) -> Skeleton:
    names = _one(arrays, path, _NAMES, "names of joints")
    if how.skeleton is not None or names is None:
        return how.joints(n, path)
    joints = texts(arrays[names], path, names)
    edges = _one(arrays, path, _EDGES, "bones")
    bones = legs(joints) if edges is None else _pairs(arrays[edges], path, edges)
    pairs = _pairs(arrays["left_right"], path, "left_right") if "left_right" in arrays else None
    root = tuple(int(one) for one in np.ravel(arrays["root"])) if "root" in arrays else None
    name = str(arrays["skeleton"]) if "skeleton" in arrays else ""
    try:
        skeleton = skeleton_of(joints, path, name=name, edges=bones, left_right=pairs, root=root)
    except ValueError as error:
        raise ConfigError(path, f"its skeleton cannot be: {error}", "correct left_right and root") from None
    return fitting(skeleton, n, f"{path}, {names}")


def _pairs(values: Any, path: Path, key: str) -> tuple[tuple[int, int], ...]:
    array = np.asarray(values)
    if array.size == 0:
        return ()
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iu":
        raise ConfigError(path, f"{key} is no list of pairs of joint numbers", "save it as (n, 2) whole numbers")
    return tuple((int(a), int(b)) for a, b in array)


def _scalar(arrays: Mapping[str, Any], names: tuple[str, ...], path: Path) -> float | None:
    key = _one(arrays, path, names, "a rate")
    if key is None:
        return None
    if np.size(arrays[key]) != 1 or np.asarray(arrays[key]).dtype.kind not in "fiu":
        raise ConfigError(path, f"{key} is not one number", "save it as one number")
    return float(np.ravel(arrays[key])[0])


def _whole(arrays: Mapping[str, Any], names: tuple[str, ...], path: Path, n: int) -> np.ndarray:
    key = _one(arrays, path, names, "frame numbers")
    if key is None:
        return np.arange(n)
    array = np.asarray(arrays[key])
    if array.shape != (n,) or array.dtype.kind not in "iu":
        raise ConfigError(path, f"{key} is not {n} whole numbers, one a pose", "correct it")
    return array


def _subject(arrays: Mapping[str, Any], path: Path, how: How, n: int) -> np.ndarray:
    key = _one(arrays, path, _SUBJECTS, "subjects")
    if how.subject is not None or key is None:
        return np.full(n, path.stem if how.subject is None else how.subject)
    array = np.asarray(arrays[key])
    if array.dtype.kind not in "iuU" or array.shape not in ((), (n,)):
        raise ConfigError(path, f"{key} is not {n} names or whole numbers, one a pose", "correct it")
    return np.broadcast_to(array, (n,)).copy()


def _rig(arrays: Mapping[str, Any], path: Path, how: How, mm: float) -> tuple[Rig | None, tuple[str, ...]]:
    if "rig" in arrays:
        text = str(arrays["rig"])
        if "\n" not in text:
            return read_rig(path.parent / text), ()
        try:
            return rig_of_document(tomllib.loads(text), rigpose_toml, None, path), ()
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path}, rig", f"is not TOML: {error}", "write the file again") from None
    if "K" not in arrays:
        return None, ()
    turned = "rvec" if "rvec" in arrays else "R"
    lacking = [key for key in (turned, "t") if key not in arrays]
    if lacking:
        raise ConfigError(path, f"has K and no {', '.join(lacking)}", "save K, dist, rvec and t, or leave K out")
    K = numbers(arrays["K"], str(path), "K")
    n = len(K) if K.ndim == 3 else 0
    names = texts(arrays["cameras"], path, "cameras") if "cameras" in arrays else tuple(f"camera_{i}" for i in range(n))
    sizes = np.asarray(arrays.get("size", np.zeros((n, 2), dtype=int)))
    if len(names) != n or sizes.shape != (n, 2) or any(len(arrays[key]) != n for key in (turned, "t")):
        raise ConfigError(
            path, f"K is of {n} cameras, and other arrays of cameras are not", "save one of each a camera"
        )
    cameras = []
    for i in range(n):
        where = f"{path}, camera {i}"
        vector = numbers(arrays[turned][i], where, turned, (3,) if turned == "rvec" else (3, 3))
        cameras.append(
            Camera(
                name=names[i],
                size=(int(sizes[i, 0]), int(sizes[i, 1])),
                K=numbers(K[i], where, "K", (3, 3)),
                dist=lens_list(arrays["dist"][i], where) if "dist" in arrays else np.zeros(0),
                rvec=vector if turned == "rvec" else rvec_of(vector, where),
                t=numbers(arrays["t"][i], where, "t", (3,)) * mm,
            )
        )
    found, notes = sized(cameras, Reading(size=how.size), TITLE)
    return Rig(found, {"units": "mm"}), notes


def write_poses3d(poses: Poses3D, path: Path | str) -> None:
    """Write our own npz; reading it gives the same poses and cameras to the last bit.

    Raises:
        ConfigError: The file exists, or it cannot be written.
    """
    path = Path(path)
    skeleton = poses.skeleton
    arrays: dict[str, Any] = {
        "position_mm": poses.position_mm,
        "joints": np.array(skeleton.joints),
        "edges": np.array(skeleton.edges, dtype=np.int64).reshape(-1, 2),
        "left_right": np.array(skeleton.left_right, dtype=np.int64).reshape(-1, 2),
        "root": np.array(skeleton.root, dtype=np.int64),
        "skeleton": np.array(skeleton.name),
        "frame": poses.frame,
        "subject": poses.subject,
    }
    if poses.rate_hz is not None:
        arrays["rate_hz"] = np.array(poses.rate_hz)
    if poses.rig is not None:
        rig = poses.rig
        document = rigpose_toml.document_of(rig.cameras, rig.metadata, rig.calibration_id)
        arrays["rig"] = np.array(toml_text(document, path))
    for key in ("points2d", "confidence"):
        if getattr(poses, key) is not None:
            arrays[key] = getattr(poses, key)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.exists():
            raise ConfigError(path, "exists, and is not overwritten", "give another name")
        temporary.write_bytes(buffer.getvalue())
        os.replace(temporary, path)
    except OSError as error:
        raise ConfigError(path, f"cannot be written: {error.strerror}", "check the folder") from None
    finally:
        temporary.unlink(missing_ok=True)
