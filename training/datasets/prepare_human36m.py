"""From what h36m-fetch leaves of Human3.6M to a label file: poses, cameras and boxes of all its pictures.

Read are ``processed/S1/Directions-1/annot.h5`` (the 32 joints in each camera's coordinates), the pictures' names
beside it, and ``camera-parameters.json`` (karfly/human36m-camera-parameters). Boxes come from the data set's masks
(``S1/MySegmentsMat/ground_truth_bb``), from a detector, or from the joints. The pictures stay where they are.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from calib.camera import Camera
from calib.formats import human36m as cameras_format
from calib.formats import text
from calib.formats.found import Reading
from rigpose.errors import ConfigError
from training.datasets.arrays import read_arrays, write_arrays
from training.datasets.human36m import ACTIONS, CAMERAS, JOINTS_OF_32, SUBJECTS, write_labels
from training.datasets.preparing import Progress, begin

log = logging.getLogger(__name__)

Boxes = Literal["masks", "joints", "detections"]
LABELS = "labels.npz"
MASKS = Path("MySegmentsMat") / "ground_truth_bb"
_ALL_SUBJECTS = tuple(sorted((*SUBJECTS["train"], *SUBJECTS["val"]), key=lambda name: int(name[1:])))
_AGREE_MM = 2.0
"""Cameras that give the same joint further apart than this are not the ones of the poses."""
_MARGIN = 1.25
_PART = ("frame", "position_mm", "boxes")


@dataclass(frozen=True, slots=True)
class Take:
    """One recording: a subject and an action's trial."""

    folder: Path
    subject: str
    action: str

    @property
    def name(self) -> str:
        """For files and lines."""
        return f"{self.subject}_{self.action}"


BoxesOf = Callable[[Take, Camera, Int[np.ndarray, " N"], Float[np.ndarray, "N 17 3"]], Int[np.ndarray, "N 4"]]
"""Boxes of a camera's pictures: left, top, right, bottom in whole px, right and bottom excluded."""


def prepare(
    source: Path,
    dest: Path,
    *,
    cameras: Path | None = None,
    boxes: Boxes = "masks",
    metadata: Path | None = None,
    detections: tuple[Path, Path] | None = None,
) -> Path:
    """Make the label file; a second call goes on where the first one was broken off.

    Args:
        source: The folder that holds ``processed``, or that itself.
        dest: Where ``labels.npz`` is made.
        cameras: ``camera-parameters.json``; by default in the source.
        boxes: Where they come from.
        metadata: The data set's ``metadata.xml``, which names the files of the masks; by default in the source.
        detections: A detector's boxes as JSON, and the list of the pictures that they are of.

    Returns:
        The label file.

    Raises:
        ConfigError: Something is missing or does not fit; one line says what.
    """
    root = source / "processed" if (source / "processed").is_dir() else source
    takes = _takes(root)
    rigs = {
        subject: _rig(cameras or source / "camera-parameters.json", subject) for subject in {t.subject for t in takes}
    }
    target = dest / LABELS
    begin(dest, {"data set": "Human3.6M", "source": str(root.resolve()), "boxes": boxes})
    if target.is_file():
        log.info("%s: is there already", target)
        return target
    boxes_of = _box_source(boxes, root, metadata or source / "metadata.xml", detections)
    parts = dest / "parts"
    parts.mkdir(exist_ok=True)
    progress = Progress(len(takes), "takes")
    for take in takes:
        part = parts / f"{take.name}.npz"
        if part.is_file():
            progress.skipped()
            continue
        write_arrays(part, **_labels_of(take, rigs[take.subject], boxes_of))
        progress.did(take.name)
    write_labels(target, _together(takes, parts, rigs))
    for take in takes:
        (parts / f"{take.name}.npz").unlink()
    parts.rmdir()
    return target


def _takes(root: Path) -> list[Take]:
    found = [
        Take(root / subject / action, subject, action)
        for subject in _ALL_SUBJECTS
        for action in ACTIONS
        if (root / subject / action).is_dir()
    ]
    if not found:
        raise ConfigError(root, "holds no take such as S1/Directions-1", "give the folder that h36m-fetch made")
    if len(found) < len(_ALL_SUBJECTS) * len(ACTIONS):
        log.warning("%s: holds %d of the %d takes", root, len(found), len(_ALL_SUBJECTS) * len(ACTIONS))
    return found


def _rig(path: Path, subject: str) -> tuple[Camera, ...]:
    if not path.is_file():
        remedy = "get it from karfly/human36m-camera-parameters and name it with --cameras"
        raise ConfigError(path, "no such file", remedy)
    known = {camera.name: camera for camera in cameras_format.read_path(path, Reading(pick=subject)).cameras}
    lacking = [name for name in CAMERAS if name not in known]
    if lacking:
        raise ConfigError(path, f"has no camera {lacking[0]}", "give camera-parameters.json as it was published")
    return tuple(known[name] for name in CAMERAS)


def _labels_of(take: Take, rig: tuple[Camera, ...], boxes_of: BoxesOf) -> dict[str, np.ndarray]:
    frame, position = _poses(take, rig)
    boxes = np.zeros((len(frame), len(rig), 4), dtype=np.int32)
    for column, camera in enumerate(rig):
        there = _pictures(take, camera.name, frame)
        if there.any():
            boxes[there, column] = boxes_of(take, camera, frame[there], position[there])
    if not boxes.any():
        raise ConfigError(take.folder, "has no pictures for its poses", "run h36m-fetch again for that take")
    return {"frame": frame, "position_mm": position.astype(np.float32), "boxes": boxes}


def _poses(take: Take, rig: tuple[Camera, ...]) -> tuple[Int[np.ndarray, " N"], Float[np.ndarray, "N 17 3"]]:
    """Frames from zero on, and the joints in the world."""
    import h5py  # here, for only this needs it

    path = take.folder / "annot.h5"
    try:
        with h5py.File(path) as file:
            pose, number, of = (np.asarray(file[key]) for key in ("pose/3d", "frame", "camera"))
    except FileNotFoundError:
        raise ConfigError(path, "no such file", "run h36m-fetch again for that take") from None
    except (OSError, KeyError):
        raise ConfigError(path, "is no file of h36m-fetch", "run it again for that take") from None
    if pose.shape != (len(number), 32, 3) or of.shape != number.shape:
        raise ConfigError(path, f"holds poses of shape {list(pose.shape)}, not [N, 32, 3]", "run h36m-fetch again")
    frames = np.unique(number)
    found = np.full((len(rig), len(frames), len(JOINTS_OF_32), 3), np.nan)
    for row, camera in enumerate(rig):
        mine = of == int(camera.name)
        places = np.searchsorted(frames, number[mine])
        found[row, places] = (pose[mine][:, JOINTS_OF_32] - camera.t) @ camera.R
    known = np.isfinite(found).all(axis=(2, 3)).any(axis=0)
    if not known.all():
        raise ConfigError(path, "holds poses of none of the four cameras", "run h36m-fetch again for that take")
    position = np.nanmedian(found, axis=0)
    apart = float(np.nanmax(np.abs(found - position)))
    if apart > _AGREE_MM:
        what = f"places a joint {apart:.0f} mm apart from camera to camera"
        raise ConfigError(path, what, "give the camera-parameters.json of this data set")
    # The first picture is number 1.
    return frames.astype(np.int64) - 1, position


def _pictures(take: Take, camera: str, frame: np.ndarray) -> Bool[np.ndarray, " N"]:
    """Which frames have a picture."""
    folder = take.folder / "imageSequence" / camera
    try:
        names = {entry.name for entry in os.scandir(folder)}
    except OSError:
        names = set()
    there = np.array([f"img_{number + 1:06d}.jpg" in names for number in frame.tolist()])
    if not there.all():
        log.warning("%s: has %d of the take's %d pictures", folder, int(there.sum()), len(frame))
    return there


def _together(takes: list[Take], parts: Path, rigs: Mapping[str, tuple[Camera, ...]]) -> dict[str, np.ndarray]:
    found = [read_arrays(parts / f"{take.name}.npz", _PART, "a part of the labels") for take in takes]
    subjects = [subject for subject in _ALL_SUBJECTS if subject in rigs]
    lengths = [len(part["frame"]) for part in found]
    own = {s: [cameras_format.of_opencv(camera) for camera in rigs[s]] for s in subjects}
    return {
        "subject_names": np.array(subjects),
        "action_names": np.array(ACTIONS),
        "camera_names": np.array(CAMERAS),
        "R": np.array([[camera.R for camera in rigs[s]] for s in subjects]),
        "t": np.array([[camera.t for camera in rigs[s]] for s in subjects]),
        "K": np.array([[camera.K for camera in rigs[s]] for s in subjects]),
        "dist": np.array([own[s] for s in subjects]),
        "subject": np.repeat([subjects.index(take.subject) for take in takes], lengths),
        "action": np.repeat([ACTIONS.index(take.action) for take in takes], lengths),
        **{key: np.concatenate([part[key] for part in found]) for key in _PART},
    }


def squared(boxes: Float[np.ndarray, "N 4"]) -> Int[np.ndarray, "N 4"]:
    """Boxes widened to squares of whole px about their centres, as in the published label files."""
    left, top, right, bottom = np.asarray(boxes, dtype=np.float64).T
    side = np.rint(np.maximum(right - left, bottom - top))
    narrow = right - left < bottom - top
    x = np.where(narrow, np.rint((left + right) / 2 - side / 2), np.rint(left))
    y = np.where(narrow, np.rint(top), np.rint((top + bottom) / 2 - side / 2))
    return np.stack([x, y, x + side, y + side], axis=-1).astype(np.int64)


def _box_source(kind: Boxes, root: Path, metadata: Path, detections: tuple[Path, Path] | None) -> BoxesOf:
    if kind == "joints":
        return _about_joints
    if kind == "masks":
        return _Masks(root, metadata)
    if detections is None:
        raise ConfigError(
            "--boxes detections", "need --detections", "give the detector's JSON and the list of pictures"
        )
    return _Detections(*detections)


def _about_joints(
    take: Take, camera: Camera, frame: np.ndarray, position: Float[np.ndarray, "N 17 3"]
) -> Int[np.ndarray, "N 4"]:
    px = camera.project(position) + 0.5
    low, high = np.nanmin(px, axis=1), np.nanmax(px, axis=1)
    grown = (high - low).max(axis=-1, keepdims=True) * (_MARGIN - 1) / 2
    return squared(np.concatenate([low - grown, high + grown], axis=-1))


class _Masks:
    """Boxes of the data set's own masks, one HDF5 file a take and camera."""

    def __init__(self, root: Path, metadata: Path) -> None:
        self._root = root
        self._names = _file_names(metadata)

    def __call__(
        self, take: Take, camera: Camera, frame: np.ndarray, position: Float[np.ndarray, "N 17 3"]
    ) -> Int[np.ndarray, "N 4"]:
        import h5py

        path = self._file(take, camera.name)
        try:
            with h5py.File(path) as file:
                masks = file["Masks"]
                found = np.array([_bounds(np.asarray(file[masks[number, 0]]), path, number) for number in frame])
        except (OSError, KeyError, ValueError, IndexError, TypeError):
            what = f"is damaged, or holds no masks up to frame {int(frame.max())}"
            raise ConfigError(path, what, "download it again, or use --boxes joints") from None
        return squared(found)

    def _file(self, take: Take, camera: str) -> Path:
        folder = self._root / take.subject / MASKS
        short = self._names.get((take.subject, take.action))
        if short is None:
            what = f"names no file for {take.subject} {take.action}"
            raise ConfigError("metadata.xml", what, "give the data set's own, or use --boxes joints")
        path = folder / f"{short}.{camera}.mat"
        if not path.is_file():
            remedy = "download MySegmentsMat of that subject, or use --boxes joints"
            raise ConfigError(path, "no such file", remedy)
        return path


def _bounds(mask: np.ndarray, path: Path, number: int) -> tuple[int, int, int, int]:
    # MATLAB's columns are HDF5's rows: (width, height).
    columns, rows = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if len(columns) < 2 or len(rows) < 2:
        raise ConfigError(path, f"has an empty mask of frame {number}", "use --boxes joints")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _file_names(path: Path) -> dict[tuple[str, str], str]:
    """What the files of each take are called: ``Directions 1`` and so on, by subject and action."""
    if not path.is_file():
        remedy = "give the data set's metadata.xml with --metadata (h36m-fetch has it), or use --boxes joints"
        raise ConfigError(path, "no such file", remedy)
    root = text.read_xml(path)
    try:
        header, *rows = [[cell.text or "" for cell in row] for row in root.findall("mapping/tr")]
        actions = [cell.text or "" for cell in _only(root.find("actionnames"))]
        found = {}
        for number, trial, *files in rows:
            if number.isdigit() and int(number) <= len(actions):
                for subject, file in zip(header[2:], files, strict=False):
                    found[subject, f"{actions[int(number) - 1]}-{trial}"] = file
        return found
    except (ValueError, TypeError):
        raise ConfigError(path, "is not the data set's metadata.xml", "download it again") from None


def _only(element: Any) -> Any:
    if element is None:
        raise ValueError
    return element


class _Detections:
    """Boxes of a detector: a JSON list of left, top, right, bottom and score, and as many lines that name pictures."""

    def __init__(self, boxes: Path, pictures: Path) -> None:
        self._path = boxes
        found = text.read_json(boxes) if boxes.stat().st_size <= text.MOST_BYTES else _large_json(boxes)
        lines = pictures.read_text(encoding="utf-8").split("\n")
        names = [line.strip() for line in lines if line.strip()]
        if not isinstance(found, list) or len(found) != len(names):
            said = len(found) if isinstance(found, list) else "no list of"
            raise ConfigError(
                boxes, f"holds {said} boxes, {pictures.name} names {len(names)} pictures", "give both of one run"
            )
        try:
            values = np.array([box[:4] for box in found], dtype=np.float64).reshape(-1, 4)
        except (TypeError, ValueError, IndexError):
            raise ConfigError(boxes, "is no list of left, top, right, bottom and score", "check the file") from None
        self._boxes = {tuple(Path(name).parts[-5:-3]) + Path(name).parts[-2:]: row for row, name in enumerate(names)}
        # The last pixel is in the box.
        self._squares = squared(values + [0, 0, 1, 1])

    def __call__(
        self, take: Take, camera: Camera, frame: np.ndarray, position: Float[np.ndarray, "N 17 3"]
    ) -> Int[np.ndarray, "N 4"]:
        keys = [(take.subject, take.action, camera.name, f"img_{number + 1:06d}.jpg") for number in frame.tolist()]
        lacking = [key for key in keys if key not in self._boxes]
        if lacking:
            what = f"has no box of {len(lacking)} pictures, the first is {'/'.join(lacking[0])}"
            raise ConfigError(self._path, what, "detect in all pictures, or use --boxes joints")
        return self._squares[[self._boxes[key] for key in keys]]


def _large_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        raise ConfigError(path, "is not JSON", "give the detector's own file") from None
