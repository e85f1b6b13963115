"""CMU Panoptic Studio: many cameras about a dome, one or several people, 19 joints; centimetres, y downwards.

Here its world is millimetres with z upwards, as everywhere in rigpose. A subject is a body's number in its sequence
(the same person may get another one later), an action is a sequence. Prepared by `training.prepare`: for each sequence
the calibration as it was downloaded, ``labels.npz`` and ``hdImgs/00_03/00_03_00000123.jpg``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from calib.camera import Camera
from calib.formats import panoptic as calibration
from calib.formats.found import Reading
from calib.formats.rotations import rvec_of
from rigpose.errors import ConfigError
from training.datasets.arrays import read_arrays
from training.datasets.index import Index, Key, describe
from training.datasets.protocols import PROTOCOLS, PanopticBoxes, Part, ProtocolName, Ranges, Split, part_of
from training.datasets.shots import Shot, View

log = logging.getLogger(__name__)

MM_PER_CM = 10.0
Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""From the data set's axes to ours: x stays, z is where y was not."""
LABELS = "labels.npz"
LABEL_ARRAYS = ("frame", "ordinal", "body", "joints19")
N_JOINTS = 19


def bodies_in(data: bytes, where: object) -> list[tuple[int, Float[np.ndarray, "19 4"]]]:
    """The bodies of one ``body3DScene_*.json``: number, and x, y, z in cm and confidence of each joint.

    Raises:
        ConfigError: It is no such file.
    """
    try:
        document = json.loads(data)
        found = []
        for body in document["bodies"]:
            joints = np.array(body["joints19"], dtype=np.float64).reshape(N_JOINTS, 4)
            if not np.isfinite(joints).all():
                raise ValueError
            found.append((int(body["id"]), joints))
        return found
    except (KeyError, TypeError, ValueError, UnicodeDecodeError):
        remedy = "download hdPose3d_stage1_coco19 again: the older format with 15 joints is not read"
        raise ConfigError(where, "is no scene with bodies of 19 joints", remedy) from None


def read_cameras(path: Path) -> dict[str, Camera]:
    """The HD cameras of a calibration, millimetres and z upwards.

    Raises:
        ConfigError: It is no calibration of the data set.
    """
    found = calibration.read_path(path, Reading(pick="hd")).cameras
    # x = R X + t with X of the data set's axes, which is Z_UP^T times ours.
    return {camera.name: replace(camera, rvec=rvec_of(camera.R @ Z_UP.T, camera.name)) for camera in found}


def in_ranges(frame: Int[np.ndarray, " N"], ranges: Ranges) -> Bool[np.ndarray, " N"]:
    """Which frames count."""
    if not ranges:
        return np.ones(len(frame), dtype=bool)
    return np.any([(frame >= first) & (frame < end) for first, end in ranges], axis=0)


def chosen_frames(part: Part, sequence: str, found: Mapping[str, np.ndarray]) -> Bool[np.ndarray, " N"]:
    """Which rows of a sequence's labels a split has."""
    return in_ranges(found["frame"], part.sequences[sequence]) & (found["ordinal"] % part.every == 0)


def detections_name(camera: str) -> str:
    """Of the array with a camera's detections in ``labels.npz``."""
    return f"boxes_{camera}"


def absent_file(sequence: Path, camera: str) -> Path:
    """The file that lists the frames of which a camera has no picture."""
    return sequence / f"hdImgs_{camera}.absent"


@dataclass(slots=True)
class _Sequence:
    """Rows of one sequence.

    Attributes:
        name: Its folder.
        cameras: Those of the split.
        frame: (N,)
        body: (N,)
        position_mm: (N, J, 3).
        boxes: (N, C, 4) edges; NaN where the joints' box is meant.
        present: (N, C).
    """

    name: str
    cameras: tuple[Camera, ...]
    frame: np.ndarray
    body: np.ndarray
    position_mm: np.ndarray
    boxes: np.ndarray
    present: np.ndarray = field(init=False)


class Panoptic:
    """A part of the data set; `training.datasets.shots.Shots`.

    A body whose pelvis is not known has no shot, for nothing could be said of it. A view counts where enough of the
    body's joints lie in the picture.

    Args:
        root: The prepared folder.
        split: Of the protocol.
        protocol: Sequences, frames, cameras and joints.
        sequences: Only these of the protocol's; empty = all.
        cameras: Others than the protocol's; empty = those.
        boxes: About the joints, or of a detector.
        min_confidence: Below it a joint is not known.
        inside: Share of the known joints that must lie in a picture.

    Raises:
        ConfigError: A sequence or camera is missing, or nothing is left.
    """

    def __init__(
        self,
        root: Path,
        split: Split,
        *,
        protocol: ProtocolName = "learnable_triangulation",
        sequences: Sequence[str] = (),
        cameras: Sequence[str] = (),
        boxes: PanopticBoxes = "joints",
        min_confidence: float = 0.1,
        inside: float = 0.5,
    ) -> None:
        self.name = f"Panoptic {split}"
        self.skeleton = PROTOCOLS[protocol].skeleton
        part = part_of(protocol, split, sequences, cameras)
        self._root, self._boxes, self._min_confidence, self._inside = root, boxes, min_confidence, inside
        lacking = [name for name in part.sequences if not (root / name / LABELS).is_file()]
        if lacking:
            remedy = f"python -m training.prepare panoptic, or leave {'it' if len(lacking) == 1 else 'them'} out"
            raise ConfigError(root, f"lacks the prepared {', '.join(lacking)}", remedy)
        self._sequences = [self._read(name, part) for name in part.sequences]
        bodies = sorted({int(body) for sequence in self._sequences for body in sequence.body})
        self.counts = np.concatenate([sequence.present.sum(axis=-1) for sequence in self._sequences])
        lengths = [len(sequence.frame) for sequence in self._sequences]
        self._first = np.concatenate([[0], np.cumsum(lengths)])
        if not self._first[-1]:
            raise ConfigError(root, f"holds no body that {self.name} could use", "check cameras and sequences")
        columns = (
            np.searchsorted(bodies, np.concatenate([sequence.body for sequence in self._sequences])),
            np.repeat(np.arange(len(lengths)), lengths),
            np.concatenate([sequence.frame for sequence in self._sequences]),
        )
        try:
            self.index = Index([str(body) for body in bodies], [s.name for s in self._sequences], *columns)
        except ValueError as error:
            raise ConfigError(root, f"body {error}", "prepare that sequence again") from None

    def _read(self, name: str, part: Part) -> _Sequence:
        path = self._root / name / LABELS
        found = read_arrays(path, LABEL_ARRAYS, "a prepared Panoptic sequence")
        all_cameras = read_cameras(self._root / name / f"calibration_{name}.json")
        lacking = [camera for camera in part.cameras if camera not in all_cameras]
        if lacking:
            raise ConfigError(path.parent, f"was not calibrated for camera {lacking[0]}", "leave that camera out")
        cameras = tuple(all_cameras[camera] for camera in part.cameras)
        joints = found["joints19"].astype(np.float64)[:, : len(self.skeleton.joints)]
        known = joints[..., 3] > self._min_confidence
        position = np.where(known[..., None], joints[..., :3] @ Z_UP.T * MM_PER_CM, np.nan)
        rows = np.flatnonzero(chosen_frames(part, name, found) & known[:, list(self.skeleton.root)].all(axis=-1))
        sequence = _Sequence(
            name,
            cameras,
            found["frame"][rows].astype(np.int64),
            found["body"][rows].astype(np.int64),
            position[rows],
            np.full((len(rows), len(cameras), 4), np.nan),
        )
        sequence.present = self._seen(sequence)
        if self._boxes == "detections":
            for column, camera in enumerate(cameras):
                of = _detected(found, camera.name, sequence.frame, path)
                sequence.boxes[:, column] = of
                sequence.present[:, column] &= np.isfinite(of).all(axis=-1)
        for column, camera in enumerate(cameras):
            sequence.present[:, column] &= ~np.isin(sequence.frame, _absent(self._root / name, camera.name))
        kept = np.flatnonzero(sequence.present.any(axis=-1))
        if len(kept) < len(rows):
            log.info("%s: %d of %d bodies are in no camera's picture", path.parent, len(rows) - len(kept), len(rows))
        for key in ("frame", "body", "position_mm", "boxes", "present"):
            setattr(sequence, key, getattr(sequence, key)[kept])
        return sequence

    def _seen(self, sequence: _Sequence) -> Bool[np.ndarray, "N C"]:
        """Which cameras have enough of a body in their picture."""
        known = np.isfinite(sequence.position_mm).all(axis=-1)
        seen = []
        for camera in sequence.cameras:
            px = camera.project(sequence.position_mm)
            with np.errstate(invalid="ignore"):
                within = ((px > -0.5) & (px < np.array(camera.size) - 0.5)).all(axis=-1)
            seen.append(within.sum(axis=-1) >= self._inside * known.sum(axis=-1))
        return np.stack(seen, axis=-1)

    def _place(self, key: Key) -> tuple[_Sequence, int]:
        row = self.index.row(key)
        if row is None:
            raise ConfigError(self._root, f"has no body {describe([key])} in {self.name}", "check the key")
        number = int(np.searchsorted(self._first, row, side="right")) - 1
        return self._sequences[number], row - int(self._first[number])

    def n_views(self, key: Key) -> int:
        """How many cameras see enough of a body."""
        sequence, row = self._place(key)
        return int(sequence.present[row].sum())

    def shot(self, key: Key) -> Shot:
        """What is known of a body at a moment."""
        sequence, row = self._place(key)
        views = []
        for column in np.flatnonzero(sequence.present[row]):
            camera = sequence.cameras[column]
            picture = self._root / key.action / "hdImgs" / camera.name / f"{camera.name}_{key.frame:08d}.jpg"
            left, top, right, bottom = (float(edge) for edge in sequence.boxes[row, column])
            views.append(View(camera, picture, None if np.isnan(left) else (left, top, right, bottom)))
        return Shot(sequence.position_mm[row], tuple(views))

    def reported(self, key: Key) -> tuple[str, str]:
        """The body's number and its sequence."""
        return key.subject, key.action

    def sequence(self, key: Key) -> str:
        """The sequence: bodies in it are not independent either."""
        return key.action


def _detected(found: dict[str, np.ndarray], camera: str, frame: np.ndarray, path: Path) -> np.ndarray:
    """(N, 4) edges of the detected boxes; NaN where nothing was detected."""
    name = detections_name(camera)
    if name not in found:
        remedy = "prepare with --detections, or set boxes: joints"
        raise ConfigError(path, f"holds no detections of camera {camera}", remedy)
    boxes = found[name].astype(np.float64)
    there = frame < len(boxes)
    of = np.full((len(frame), 4), np.nan)
    of[there] = boxes[frame[there], :4] - 0.5
    # An empty box, and one of a detector that does not believe in it, is none.
    of[(of[:, 2] <= of[:, 0]) | (of[:, 3] <= of[:, 1])] = np.nan
    return of


def _absent(sequence: Path, camera: str) -> list[int]:
    file = absent_file(sequence, camera)
    return [int(line) for line in file.read_text().split()] if file.is_file() else []
