"""sleap-anipose's ``points3d.h5``: ``tracks`` (T, animals, J, 3), without names, rate or unit.

Names of joints come from SLEAP's own files of the films (``.slp``, ``.analysis.h5``) below the same folder, where these
have as many, or from the user.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from capture.labels.poses.films import numbers_of, open_hdf5
from capture.labels.poses.films import read as read_film
from capture.labels.poses.pandas_tables import is_hdf5
from capture.labels.poses.reading import How, fitting, made
from capture.labels.poses3d import Poses3D
from rigpose.errors import ConfigError, RigposeError
from rigpose.skeleton import Skeleton

TITLE = "sleap-anipose"


def recognises(path: Path) -> bool:
    """HDF5 with tracks in 3D and no names."""
    if not path.is_file() or not is_hdf5(path):
        return False
    try:
        with open_hdf5(path) as file:
            tracks = file.get("tracks")
            return tracks is not None and "node_names" not in file and getattr(tracks, "ndim", 0) == 4
    except RigposeError:
        return False


def read(path: Path, how: How) -> Poses3D:
    """The poses of all animals, one after the other.

    Raises:
        ConfigError: ``tracks`` has other axes, or nobody says the unit.
        MissingError: h5py is not installed.
    """
    mm = how.millimetres(None, path)
    with open_hdf5(path) as file:
        tracks = numbers_of(file, "tracks", path, 4)
    n, animals, joints, axes = tracks.shape
    if axes != 3:
        what = f"tracks has shape {list(tracks.shape)}, not frames x animals x joints x 3"
        raise ConfigError(path, what, "give points3d.h5 as slap-triangulate wrote it")
    name = how.subject or path.parent.name or path.stem
    names = [name] if animals == 1 else [f"{name}_{animal}" for animal in range(animals)]
    return made(
        path,
        skeleton=_skeleton(path, joints, how),
        position_mm=tracks.transpose(1, 0, 2, 3).reshape(-1, joints, 3) * mm,
        rig=how.rig,
        subject=np.repeat(np.array(names), n),
        frame=np.tile(np.arange(n), animals),
        rate_hz=how.rate(None, path),
        source=TITLE,
    )


def _skeleton(path: Path, n: int, how: How) -> Skeleton:
    if how.skeleton is None:
        for file in sorted(path.parent.rglob("*.analysis.h5")):
            try:
                found = read_film(file).skeleton
            except RigposeError:
                continue
            if len(found.joints) == n:
                return found
        return how.joints(n, path)
    return fitting(how.skeleton, n, path)
