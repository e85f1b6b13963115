"""Recordings of one ``.mat`` a camera: CAPTURE's rats under 20 markers, and what DANNCE read before Label3D's files.

A folder ``data_3d_e1`` has ``1_cam1_data.mat`` and so on, each with ``data_2d`` (T, 2J), ``data_3d`` (T, 3J) in mm and
``data_sampleID`` (T,), which matches moments between cameras. Beside it, ``calibration_e1`` has a file a camera,
``hires_cam1_params*.mat`` (K, r, t transposed, ``RDistort, TDistort``; see `calib.formats.label3d`); both may lie in
one folder as well. Pixels count from 1, NaN is a marker that was not seen, and frames are sample numbers: those of
CAPTURE's motion capture, of which the cameras have some. A folder of several recordings that were calibrated apart
is read one by one: ``pick`` names it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from calib.camera import Camera
from calib.formats import label3d, mat
from calib.formats.found import Reading
from calib.rig import Rig
from capture.labels.poses.reading import MOST_BYTES, How, fitting, made, mat_names, matlab_rows
from capture.labels.poses.skeletons import RAT20, skeleton_beside
from capture.labels.poses3d import Poses3D, concatenate
from rigpose.errors import ConfigError

TITLE = "CAPTURE"
_DATA = re.compile(r".*cam(?:era)?_?(\d+).*_data\.mat", re.IGNORECASE)
_PARAMS = re.compile(r".*cam(?:era)?_?(\d+)_params.*\.mat", re.IGNORECASE)
_AGREE_MM = 1e-3


def recognises(path: Path) -> bool:
    """A folder, or one of folders, with files of cameras that hold points in 2D and 3D."""
    if not path.is_dir():
        return False
    first = next((files for files in map(_files, _folders(path)) if files), None)
    return first is not None and {"data_2d", "data_3d"} <= mat_names(next(iter(first.values())))


def _folders(path: Path) -> list[Path]:
    return [path, *sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))]


def _files(folder: Path, pattern: re.Pattern[str] = _DATA) -> dict[int, Path]:
    """The file of each camera's number, in the order of numbers."""
    found = [(int(match[1]), file) for file in sorted(folder.glob("*.mat")) if (match := pattern.fullmatch(file.name))]
    return dict(sorted(found))


def read(path: Path, how: How) -> Poses3D:
    """The poses of a recording, or of several with one calibration.

    Raises:
        ConfigError: There is no calibration, cameras disagree, or recordings were calibrated apart and none is picked.
        MissingError: A file is of MATLAB 7.3 and h5py is not installed.
    """
    folders = [folder for folder in _folders(path) if _files(folder)]
    names = [_name(folder) for folder in folders]
    if how.pick is not None:
        if how.pick not in names:
            raise ConfigError("--pick", f"{how.pick!r} is no recording of {path}", f"there are {', '.join(names)}")
        folders = [folders[names.index(how.pick)]]
    parts = [_recording(folder, path, how) for folder in folders]
    rigs = {None if part.rig is None else part.rig.calibration_id for part in parts}
    if len(rigs) > 1:
        raise ConfigError(path, "holds recordings that were calibrated apart", f"--pick one of {', '.join(names)}")
    return concatenate(parts)


def _name(folder: Path) -> str:
    """``e1`` of ``data_3d_e1``."""
    return folder.name.removeprefix("data_3d_")


def _recording(folder: Path, top: Path, how: How) -> Poses3D:
    mm = how.millimetres(how.units or "mm", folder)
    files = _files(folder)
    rig, notes = _rig(folder, top, tuple(files), how)
    samples, deep, flat = {}, {}, {}
    for number, file in files.items():
        document = mat.load(file, MOST_BYTES)
        deep[number] = matlab_rows(document.get("data_3d"), 3, f"{file}, data_3d")
        flat[number] = matlab_rows(document.get("data_2d"), 2, f"{file}, data_2d") - label3d.ONE_BASED
        ids = np.ravel(np.asarray(document.get("data_sampleID", [])))
        if ids.dtype.kind not in "fiu" or not len(ids) == len(deep[number]) == len(flat[number]):
            what = f"has {len(deep[number])} rows in 3D, {len(flat[number])} in 2D and {len(ids)} in data_sampleID"
            raise ConfigError(file, what, "give the file as its program wrote it")
        samples[number] = ids.astype(np.int64)
    joints = {points.shape[1] for points in (*deep.values(), *flat.values())}
    if len(joints) > 1:
        raise ConfigError(
            folder, f"has files of {' and of '.join(map(str, sorted(joints)))} joints", "give one subject's"
        )
    n_joints = joints.pop()
    frame = np.unique(np.concatenate(list(samples.values())))
    position = np.full((len(frame), n_joints, 3), np.nan)
    px = np.full((len(frame), len(files), n_joints, 2), np.nan)
    for view, (number, file) in enumerate(files.items()):
        rows = np.searchsorted(frame, samples[number])
        if len(np.unique(rows)) < len(rows):
            raise ConfigError(f"{file}, data_sampleID", "has one number twice", "keep one of its rows")
        known = position[rows]
        if np.nanmax(np.abs(known - deep[number]), initial=0) * mm > _AGREE_MM:
            raise ConfigError(
                f"{file}, data_3d", "is not what the other cameras' files have", "give one recording's files"
            )
        position[rows] = np.where(np.isnan(known), deep[number], known)
        px[rows, view] = flat[number]
    skeleton = skeleton_beside(next(iter(files.values())), n_joints, how)
    if how.skeleton is None and n_joints == len(RAT20.joints) and skeleton.joints[0] == "joint_0":
        skeleton = fitting(RAT20, n_joints, folder)
    return made(
        folder,
        skeleton=skeleton,
        position_mm=position * mm,
        rig=rig,
        points2d=px,
        subject=np.full(len(frame), how.subject or top.name),
        frame=frame,
        rate_hz=how.rate(None, folder),
        source=TITLE,
        notes=notes,
    )


def _rig(folder: Path, top: Path, numbers: Sequence[int], how: How) -> tuple[Rig, tuple[str, ...]]:
    if how.rig is not None:
        if len(how.rig) != len(numbers):
            what = f"has files of {len(numbers)} cameras, and the rig has {len(how.rig)}"
            raise ConfigError(folder, what, "give the rig of this recording")
        return how.rig, ()
    near = [folder, *_folders(folder)[1:]]
    if folder != top:
        same = top / f"calibration_{_name(folder)}"
        near += [same] if same.is_dir() else [one for one in _folders(top)[1:] if "calib" in one.name.lower()]
    else:
        same = folder.parent / f"calibration_{_name(folder)}"
        near += [same] if same.is_dir() else []
    found = next((files for files in (_files(one, _PARAMS) for one in near) if set(numbers) <= set(files)), None)
    if found is None:
        what = f"has no calibration of its cameras {', '.join(map(str, numbers))}"
        raise ConfigError(
            folder, what, f"put hires_camN_params.mat into calibration_{_name(folder)} beside it, or --rig"
        )
    cameras: list[Camera] = []
    notes: dict[str, None] = {}
    for number in numbers:
        one = label3d.read_path(found[number], Reading(units=how.units, size=how.size))
        cameras.append(replace(one.cameras[0], name=f"cam{number}"))
        notes |= dict.fromkeys(note for note in one.notes if note.startswith("principal"))
    return Rig(tuple(cameras)), tuple(notes)
