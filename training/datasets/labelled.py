"""A lab's own labels as a data set: pictures with points that people set, and 3D where several cameras were labelled.

`training.datasets.gather` makes the folder that is read here, from whatever program labelled. What is learned in 2D is
the labelled points themselves; the 3D truth is their triangulation, which also says where a joint is in a picture in
which nobody labelled it because something hides it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from calib.camera import Camera
from calib.rig import read_rig
from rigpose.config import validate
from rigpose.errors import ConfigError
from rigpose.skeleton import Skeleton
from training.datasets.arrays import read_arrays, texts
from training.datasets.index import Index, Key, describe
from training.datasets.shots import Shot, View

LABELS = "labels.npz"
RIG = "rig.toml"
SPLITS = ("", "train", "val", "test")
ARRAYS = (
    *("skeleton", "subjects", "actions", "moments", "subject", "action", "frame", "split", "position_mm", "first"),
    *("view_camera", "view_picture", "view_size", "view_offset", "view_points", "view_hidden", "view_box", "cameras"),
)
_FOCAL = 1.2
"""Of a camera that nobody calibrated, over the longer side of its pictures: only 2D is learned through it."""


def picture_name(number: int) -> str:
    """Of a picture in the folder."""
    return f"pictures/{number:06d}.png"


class Labelled:
    """A part of a gathered folder; `training.datasets.shots.Shots`.

    Where the labels say which pictures are for training, that holds: ``val`` and ``test`` are validated on, the rest
    is trained on. Else some moments are held out, each by its own name, so that labels that come later change nothing
    about those before.

    Args:
        root: What `training.datasets.gather` made.
        split: Of it.
        share: About how much is held out where the labels do not say it.

    Raises:
        ConfigError: It is no such folder, or nothing is in that part.
    """

    def __init__(self, root: Path, split: Literal["train", "val"], *, share: float = 0.1) -> None:
        self.name = f"labels {split}"
        self._root = root
        path = root / LABELS
        found = read_arrays(path, ARRAYS, "a folder of gathered labels")
        self.skeleton = _skeleton(found["skeleton"], path)
        try:
            whole = Index(
                texts(found["subjects"]), texts(found["actions"]), found["subject"], found["action"], found["frame"]
            )
        except ValueError as error:
            raise ConfigError(path, str(error), "gather the labels again") from None
        held = held_out(texts(found["moments"]), found["split"], share)
        self._rows = np.flatnonzero(held if split == "val" else ~held)
        if not len(self._rows):
            raise ConfigError(path, f"holds nothing for {split}", "label more, or change the share that is held out")
        self.index = whole.select(self._rows)
        self.counts = np.diff(found["first"])[self._rows]
        self._found = found
        rig = read_rig(root / RIG) if (root / RIG).is_file() else None
        self._names = texts(found["cameras"])
        self._calibrated = None if rig is None else {camera.name: camera for camera in rig.cameras}
        self._cameras: dict[tuple[int, ...], Camera] = {}

    def _row(self, key: Key) -> int:
        row = self.index.row(key)
        if row is None:
            raise ConfigError(self._root, f"has no {describe([key])} in {self.name}", "check the key")
        return int(self._rows[row])

    def n_views(self, key: Key) -> int:
        """How many cameras' pictures were labelled."""
        row = self._row(key)
        return int(self._found["first"][row + 1] - self._found["first"][row])

    def shot(self, key: Key) -> Shot:
        """What is known of a moment."""
        row = self._row(key)
        views = range(int(self._found["first"][row]), int(self._found["first"][row + 1]))
        position = self._found["position_mm"][row].astype(np.float64)
        return Shot(position, tuple(self._view(view, position) for view in views))

    def _view(self, view: int, position: Float[np.ndarray, "J 3"]) -> View:
        """A picture with its points; what nobody could label in it lies where other cameras' labels put it, hidden."""
        found = self._found
        box = found["view_box"][view]
        camera, points, hidden = self._camera(view), found["view_points"][view].astype(np.float64), found["view_hidden"]
        left = ~np.isfinite(points).all(axis=-1)
        points = np.where(left[:, None], camera.project(position), points)
        return View(
            camera,
            self._root / picture_name(int(found["view_picture"][view])),
            tuple(float(edge) for edge in box) if np.isfinite(box).all() else None,  # type: ignore[arg-type]
            points=points,
            hidden=hidden[view] | (left & np.isfinite(points).all(axis=-1)),
        )

    def _camera(self, view: int) -> Camera:
        """The camera of a picture that may be a part of what it sees; the same object each time."""
        found = self._found
        camera, size, offset = (found[key][view] for key in ("view_camera", "view_size", "view_offset"))
        key = (int(camera), *size.tolist(), *offset.tolist())
        if key not in self._cameras:
            name = self._names[int(camera)]
            width, height = (int(side) for side in size)
            if self._calibrated is None:
                focal = _FOCAL * max(width, height)
                K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
                made = Camera(name, (width, height), K, np.zeros(0), np.zeros(3), np.zeros(3))
            else:
                made = part_of_picture(self._calibrated[name], (width, height), offset)
            self._cameras[key] = made
        return self._cameras[key]

    def reported(self, key: Key) -> tuple[str, str]:
        """The subject, and the recording."""
        return key.subject, key.action

    def sequence(self, key: Key) -> str:
        """The recording."""
        return key.action


def part_of_picture(camera: Camera, size: tuple[int, int], offset: np.ndarray) -> Camera:
    """The camera for pictures that were cut out of what it sees."""
    if size == camera.size and not offset.any():
        return camera
    K = camera.K.copy()
    K[:2, 2] -= offset
    return replace(camera, K=K, size=size)


def held_out(moments: Sequence[str], split: Int[np.ndarray, " N"], share: float) -> Bool[np.ndarray, " N"]:
    """Which rows are for validation.

    Args:
        moments: The names of the rows' moments; all subjects of a moment are in the same pictures.
        split: Index into `SPLITS`, as the labels say it.
        share: Of the moments that are held out where they do not.
    """
    said = np.isin(split, [SPLITS.index("val"), SPLITS.index("test")])
    if said.any():
        return said
    drawn = {moment: _draw(moment) for moment in moments}
    # A moment's own draw decides, so that moments that are labelled later move none; one at least is held out.
    least = min(drawn.values(), default=0.0) if share > 0 and len(drawn) > 1 else -1.0
    return np.array([drawn[moment] < share or drawn[moment] == least for moment in moments], dtype=bool)


def _draw(name: str) -> float:
    """A number from 0 to 1 that only depends on a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def _skeleton(text: np.ndarray, path: Path) -> Skeleton:
    try:
        document = json.loads(str(text))
    except ValueError:
        raise ConfigError(path, "has no skeleton that can be read", "gather the labels again") from None
    return validate(document, Skeleton, path)
