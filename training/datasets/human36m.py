"""Human3.6M: seven subjects, four cameras, fifteen actions twice each; 17 joints, millimetres.

Labels are read from the published label file (``human36m-multiview-labels-*.npy``, a pickle, of which nothing is run)
or from the ``labels.npz`` that `training.prepare` makes; both hold cameras, poses and boxes, and name the pictures in
the folder that h36m-fetch calls ``processed``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from calib.camera import Camera
from calib.formats import pickles
from calib.formats.human36m import MOST_LABEL_BYTES, SIZES, to_opencv
from calib.formats.rotations import rvec_of
from capture.virtual.skeletons import HUMAN36M17
from rigpose.errors import ConfigError
from training.datasets.arrays import read_arrays, texts, write_arrays
from training.datasets.index import Index, Key, describe
from training.datasets.pictures import without_lens
from training.datasets.protocols import Human36MBoxes, Human36MPictures, Split
from training.datasets.shots import Shot, View

SUBJECTS: dict[str, tuple[str, ...]] = {"train": ("S1", "S5", "S6", "S7", "S8"), "val": ("S9", "S11")}
CAMERAS = tuple(SIZES)
ACTIONS = tuple(
    f"{action}-{trial}"
    for action in (
        *("Directions", "Discussion", "Eating", "Greeting", "Phoning", "Posing", "Purchases", "Sitting"),
        *("SittingDown", "Smoking", "TakingPhoto", "Waiting", "Walking", "WalkingDog", "WalkingTogether"),
    )
    for trial in (1, 2)
)
DAMAGED = frozenset({("S9", "Greeting-2"), ("S9", "SittingDown-2"), ("S9", "Waiting-1")})
"""Takes whose true poses are shifted against the pictures, by 20 cm and more."""
JOINTS_OF_32 = (3, 2, 1, 6, 7, 8, 0, 12, 13, 15, 27, 26, 25, 17, 18, 19, 14)
"""Which of the data set's 32 joints the 17 are, in their order."""

_ARRAYS = (
    *("subject_names", "action_names", "camera_names", "R", "t", "K", "dist"),
    *("subject", "action", "frame", "position_mm", "boxes"),
)
_N = len(JOINTS_OF_32)


@dataclass(frozen=True, eq=False)
class Labels:
    """What a label file holds.

    Attributes:
        path: The file.
        cameras: Names, in the order of the C axis.
        calibration: (S, C) cameras, as they stood for each subject.
        index: The N moments.
        position_mm: (N, 17, 3).
        boxes: (N, C, 4) left, top, right, bottom in whole px, right and bottom excluded; empty = no such view.
    """

    path: Path
    cameras: tuple[str, ...]
    calibration: tuple[tuple[Camera, ...], ...]
    index: Index
    position_mm: Float[np.ndarray, "N 17 3"]
    boxes: Int[np.ndarray, "N C 4"]


def read_labels(path: Path) -> Labels:
    """A label file, the published one (``.npy``) or ours (``.npz``).

    Raises:
        ConfigError: It is missing, of another layout, or holds a moment twice.
    """
    found = _published(path) if path.suffix.lower() == ".npy" else read_arrays(path, _ARRAYS, "a Human3.6M label file")
    subjects, actions, cameras = (texts(found[f"{name}_names"]) for name in ("subject", "action", "camera"))
    position, boxes = found["position_mm"], found["boxes"]
    n = len(found["frame"])
    if position.shape != (n, _N, 3):
        told = f"poses of shape {list(position.shape[1:])}, not [{_N}, 3]"
        raise ConfigError(path, f"holds {told}", "give a label file with 17 joints: the older ones have 16")
    if boxes.shape != (n, len(cameras), 4) or found["R"].shape[:2] != (len(subjects), len(cameras)):
        raise ConfigError(path, "has not one box and one camera for each of its names", "make it again")
    try:
        index = Index(subjects, actions, found["subject"], found["action"], found["frame"])
    except ValueError as error:
        raise ConfigError(path, str(error), "make it again") from None
    calibration = tuple(
        tuple(_camera(found, s, c, name, f"{path}, {subject}, camera {name}") for c, name in enumerate(cameras))
        for s, subject in enumerate(subjects)
    )
    return Labels(path, cameras, calibration, index, position, boxes.astype(np.int64))


def _published(path: Path) -> dict[str, np.ndarray]:
    """The arrays of the published file, by our names."""
    wrong = ConfigError(path, "is no Human3.6M label file", "give human36m-multiview-labels-*.npy")
    document = pickles.load_npy(path, MOST_LABEL_BYTES)
    try:
        table, cameras = document["table"], document["cameras"]
        names = {f"{key}_names": np.array([str(n) for n in document[f"{key}_names"]]) for key in _NAMED}
        top, left, bottom, right = np.moveaxis(table["bbox_by_camera_tlbr"].astype(np.int64), -1, 0)
        return names | {
            **{key: cameras[key] for key in ("R", "t", "K", "dist")},
            "subject": table["subject_idx"],
            "action": table["action_idx"],
            "frame": table["frame_idx"],
            "position_mm": table["keypoints"],
            "boxes": np.stack([left, top, right, bottom], axis=-1),
        }
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise wrong from None


_NAMED = ("subject", "action", "camera")


def _camera(found: dict[str, Any], subject: int, camera: int, name: str, where: str) -> Camera:
    try:
        return Camera(
            name=name,
            size=SIZES.get(name, (0, 0)),
            K=found["K"][subject, camera],
            dist=to_opencv(found["dist"][subject, camera].astype(np.float64)),
            rvec=rvec_of(found["R"][subject, camera], where),
            t=np.asarray(found["t"][subject, camera], dtype=np.float64).reshape(3),
        )
    except ValueError:
        raise ConfigError(where, "holds no camera", "make the label file again") from None


def write_labels(path: Path, found: dict[str, np.ndarray]) -> None:
    """Write our label file.

    Args:
        path: An ``.npz``.
        found: ``subject_names, action_names, camera_names``; ``R, t, K, dist`` (S, C, ...), ``dist`` in the data set's
            own model (k1, k2, p1, p2, k3); ``subject, action, frame`` (N,); ``position_mm``, ``boxes`` as in `Labels`.
    """
    write_arrays(path, **{name: found[name] for name in _ARRAYS})


class Human36M:
    """A part of the data set; `training.datasets.shots.Shots`.

    Args:
        labels: Poses, cameras and boxes.
        root: The folder with ``S1/Directions-1/imageSequence/54138969/img_000001.jpg``.
        split: The published one: by subject.
        pictures: ``raw`` = as the camera took them, ``undistort`` = the same, freed of the lens as they are read,
            ``undistorted`` = those that were freed before, in ``imageSequence-undistorted``.
        boxes: Where the subject is: the label file's word, or about the joints.
        with_damaged: Whether the three takes of S9 with shifted poses are validated on.
        retain_every: Of the validation's moments, every so manieth.
        cameras: Names; empty = all.

    Raises:
        ConfigError: The labels hold nothing of that part, or no such camera.
    """

    skeleton = HUMAN36M17

    def __init__(
        self,
        labels: Labels,
        root: Path,
        split: Split,
        *,
        pictures: Human36MPictures = "raw",
        boxes: Human36MBoxes = "labels",
        with_damaged: bool = False,
        retain_every: int = 1,
        cameras: Sequence[str] = (),
    ) -> None:
        self.name = f"Human3.6M {split}"
        self._labels, self._root, self._pictures, self._boxes = labels, root, pictures, boxes
        unknown = [name for name in cameras if name not in labels.cameras]
        if unknown:
            raise ConfigError(labels.path, f"knows no camera {unknown[0]}", f"it knows {', '.join(labels.cameras)}")
        self._cameras = [i for i, name in enumerate(labels.cameras) if not cameras or name in cameras]
        subject = np.array(labels.index.subjects)[labels.index.subject]
        keep = np.isin(subject, SUBJECTS[split])
        if split == "val" and not with_damaged:
            take = np.char.add(np.char.add(subject, "/"), np.array(labels.index.actions)[labels.index.action])
            keep &= ~np.isin(take, [f"{who}/{what}" for who, what in DAMAGED])
        rows = np.flatnonzero(keep)
        if split == "val":
            rows = rows[::retain_every]
        counts = self._present(labels.boxes[rows]).sum(axis=-1)
        self._rows, self.counts = rows[counts > 0], counts[counts > 0]
        if not len(self._rows):
            wanted = ", ".join(SUBJECTS[split])
            raise ConfigError(labels.path, f"holds nothing for {split}", f"it needs one of the subjects {wanted}")
        self.index = labels.index.select(self._rows)
        self._undistorted = tuple(tuple(without_lens(camera) for camera in stood) for stood in labels.calibration)

    def _present(self, boxes: np.ndarray) -> np.ndarray:
        """(..., C) which of the chosen cameras have a view."""
        chosen = boxes[..., self._cameras, :]
        return (chosen[..., 3] > chosen[..., 1]) & (chosen[..., 2] > chosen[..., 0])

    def _row(self, key: Key) -> int:
        row = self.index.row(key)
        if row is None:
            raise ConfigError(self._labels.path, f"has no {describe([key])} in {self.name}", "check the key")
        return int(self._rows[row])

    def n_views(self, key: Key) -> int:
        """How many cameras have a picture of a moment."""
        return int(self._present(self._labels.boxes[self._row(key)]).sum())

    def shot(self, key: Key) -> Shot:
        """What is known of a moment."""
        row = self._row(key)
        labels = self._labels
        subject = int(labels.index.subject[row])
        present = self._present(labels.boxes[row])
        chosen = [camera for camera, there in zip(self._cameras, present, strict=True) if there]
        return Shot(
            labels.position_mm[row].astype(np.float64),
            tuple(self._view(key, subject, row, camera) for camera in chosen),
        )

    def _view(self, key: Key, subject: int, row: int, camera: int) -> View:
        freed = self._pictures == "undistorted"
        folder = "imageSequence-undistorted" if freed else "imageSequence"
        path = self._root / key.subject / key.action / folder / self._labels.cameras[camera]
        left, top, right, bottom = (float(edge) - 0.5 for edge in self._labels.boxes[row, camera])
        return View(
            (self._undistorted if freed else self._labels.calibration)[subject][camera],
            path / f"img_{key.frame + 1:06d}.jpg",
            (left, top, right, bottom) if self._boxes == "labels" else None,
            self._pictures == "undistort",
        )

    def reported(self, key: Key) -> tuple[str, str]:
        """Subject, and action without the trial: the two of them are one row of the published tables."""
        return key.subject, key.action.rpartition("-")[0] or key.action

    def sequence(self, key: Key) -> str:
        """Subject and trial."""
        return f"{key.subject}/{key.action}"
