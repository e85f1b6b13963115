"""2D points of whole films, as networks leave them: DeepLabCut's CSV or HDF5, SLEAP's ``.analysis.h5``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from capture.labels.poses.pandas_tables import coords_of, is_hdf5, read_table
from capture.labels.poses.reading import MOST_BYTES, texts
from capture.labels.poses.skeletons import legs
from capture.labels.skeletons import skeleton_of
from rigpose.errors import ConfigError, MissingError, RigposeError
from rigpose.extras import missing
from rigpose.skeleton import Skeleton

SUFFIXES = (".csv", ".h5", ".hdf5")
_KEYS = {"tracks", "node_names"}


@dataclass(frozen=True, slots=True, eq=False)
class Film:
    """What was seen in one camera's film.

    Attributes:
        skeleton: The joints.
        subjects: Names of individuals or tracks; one empty name where there is one animal.
        frame: (T,) numbers.
        points: (T, A, J, 2) px, NaN = not found.
        confidence: (T, A, J) in 0..1.
        program: That wrote it.
    """

    skeleton: Skeleton
    subjects: tuple[str, ...]
    frame: Int[np.ndarray, " T"]
    points: Float[np.ndarray, "T A J 2"]
    confidence: Float[np.ndarray, "T A J"]
    program: str


def recognises(path: Path) -> bool:
    """A table of x, y and likelihood, or SLEAP's export of tracks."""
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return False
    coords = coords_of(path)
    if coords:
        # Labels have no likelihood and are read as labels.
        return set(coords) == {"x", "y", "likelihood"}
    return is_hdf5(path) and _keys(path) >= _KEYS


def read(path: Path) -> Film:
    """The points of a film.

    Raises:
        ConfigError: It is no such file.
        MissingError: It is HDF5 and h5py is not installed.
    """
    return _deeplabcut(path) if coords_of(path) else _sleap(path)


def open_hdf5(path: Path) -> Any:
    """An HDF5 file to read from.

    Raises:
        ConfigError: It is none.
        MissingError: h5py is not installed.
    """
    try:
        import h5py  # here, for few files need it
    except ImportError:
        raise missing("h5py") or MissingError("h5py", "is not installed") from None
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        raise ConfigError(path, f"is no HDF5 file that can be read: {error}", "export it again") from None


def numbers_of(file: Any, key: str, path: Path, axes: int) -> np.ndarray:
    """A dataset of numbers as float64.

    Raises:
        ConfigError: It is missing, lies elsewhere, is too large, or has other axes.
    """
    dataset = file.get(key)
    if dataset is None or not hasattr(dataset, "shape"):
        raise ConfigError(path, f"has no {key}", "export it from SLEAP again")
    too_large = dataset.size * dataset.dtype.itemsize > MOST_BYTES
    if dataset.external or dataset.is_virtual or too_large or dataset.dtype.kind not in "fiu":
        raise ConfigError(path, f"{key} holds no numbers, lies elsewhere or is too large", "export it from SLEAP again")
    if dataset.ndim != axes:
        raise ConfigError(path, f"{key} has shape {list(dataset.shape)}, not {axes} axes", "export it from SLEAP again")
    return np.asarray(dataset[()], dtype=np.float64)


def _keys(path: Path) -> set[str]:
    try:
        with open_hdf5(path) as file:
            return set(file)
    except RigposeError:
        return set()


def _deeplabcut(path: Path) -> Film:
    table = read_table(path)
    x, y, score = (table.coords.index(name) for name in ("x", "y", "likelihood"))
    skeleton = skeleton_of(table.joints, path, edges=legs(table.joints))
    points = table.values[..., [x, y]]
    confidence = np.clip(np.nan_to_num(table.values[..., score]), 0, 1)
    return Film(skeleton, table.subjects, table.frame, points, confidence, "DeepLabCut")


def _sleap(path: Path) -> Film:
    """``tracks`` (A, 2, J, T) and ``point_scores`` (A, J, T), axes as h5py gives them."""
    with open_hdf5(path) as file:
        tracks = numbers_of(file, "tracks", path, 4)
        joints = texts(file["node_names"][()], path, "node_names")
        if tracks.shape[1:3] != (2, len(joints)):
            what = f"tracks has shape {list(tracks.shape)}, not tracks x 2 x {len(joints)} joints x frames"
            raise ConfigError(path, what, "export it from SLEAP again")
        scores = numbers_of(file, "point_scores", path, 3) if "point_scores" in file else np.ones(tracks[:, 0].shape)
        names = texts(file["track_names"][()], path, "track_names") if "track_names" in file else ()
        edges = numbers_of(file, "edge_inds", path, 2).astype(int) if "edge_inds" in file else np.zeros((0, 2), int)
    points = tracks.transpose(3, 0, 2, 1)
    if scores.shape != tracks[:, 0].shape:
        raise ConfigError(path, f"point_scores has shape {list(scores.shape)}", "export it from SLEAP again")
    # A point that a person set has no score.
    confidence = np.clip(np.where(np.isnan(scores), 1.0, scores), 0, 1).transpose(2, 0, 1)
    if len(names) != len(tracks):
        names = ("",) if len(tracks) == 1 else tuple(f"track_{index}" for index in range(len(tracks)))
    skeleton = skeleton_of(joints, path, edges=[(int(a), int(b)) for a, b in edges])
    return Film(skeleton, names, np.arange(len(points)), points, confidence, "SLEAP")
