"""3D poses out of a file or a folder of any format that is known here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Literal

from calib.formats.tables import MM_PER
from calib.quality import judge
from calib.rig import Rig, read_rig
from capture.labels.poses.pandas_tables import is_hdf5
from capture.labels.poses.reading import How
from capture.labels.poses.skeletons import skeleton_at
from capture.labels.poses3d import Poses3D
from rigpose.errors import ConfigError, MissingError
from rigpose.extras import is_there, missing
from rigpose.skeleton import Skeleton

FORMATS = MappingProxyType(
    {
        "deepfly3d": "capture.labels.poses.deepfly3d",
        "npz": "capture.labels.poses.npz",
        "label3d": "capture.labels.poses.label3d",
        "dannce": "capture.labels.poses.dannce",
        "capture": "capture.labels.poses.matched",
        "openmonkey": "capture.labels.poses.openmonkey",
        "table": "capture.labels.poses.tables",
        "tracks3d": "capture.labels.poses.tracks3d",
        "session": "capture.labels.poses.recorded",
        "2d": "capture.labels.poses.views",
    }
)
"""Module of each format by the name that a user gives, in the order in which they are asked."""
FLAT = "2d"
"""The format of files whose poses a rig makes."""


def read_poses3d(
    path: Path | str,
    *,
    format: str | None = None,
    units: str | None = None,
    rig: Rig | Path | str | None = None,
    rig_units: str | None = None,
    skeleton: Skeleton | Path | str | None = None,
    rate_hz: float | None = None,
    subject: str | None = None,
    size: tuple[int, int] | None = None,
    cameras: Sequence[str] = (),
    pick: str | None = None,
    predictions: Literal["alone", "always", "never"] = "alone",
    min_confidence: float = 0.5,
    accept_bad_rig: bool = False,
) -> Poses3D:
    """Read 3D poses, with their cameras and 2D points where the file has them.

    Args:
        path: A file or a folder.
        format: One of `FORMATS`; ``None`` = told by the content.
        units: mm, cm or m, of files that do not say it.
        rig: The cameras, or their file, for 2D points of several cameras, and for 3D poses that come without.
        rig_units: Of a rig file that does not say it.
        skeleton: Of files that name no joints: a file that does, or names with commas between.
        rate_hz: Frames a second, of files that do not say it.
        subject: Who it is, of files with one subject.
        size: (width, height) px of the pictures, of files that have cameras without it.
        cameras: As in `capture.labels.read_labels`, of 2D points.
        pick: Which part of a file that holds several: an animal, a skeleton.
        predictions: As in `capture.labels.read_labels`, of 2D points.
        min_confidence: A 2D point with less of it is not triangulated from.
        accept_bad_rig: Triangulate with a rig that `calib.quality` calls bad.

    Raises:
        ConfigError: It is no such file, does not follow its format, or does not say what only a user knows.
        MissingError: The format needs an extra.
    """
    path = Path(path)
    if units is not None and units not in MM_PER:
        raise ConfigError("--units", f"{units!r} is no unit known here", f"give {', '.join(MM_PER)}")
    if not path.exists():
        raise ConfigError(path, "no such file or folder", "check the path")
    module = module_of(path, format)
    given = rig if isinstance(rig, Rig) or rig is None else read_rig(rig, rig_units)
    joints = skeleton if isinstance(skeleton, Skeleton) or skeleton is None else skeleton_at(str(skeleton))
    how = How(
        units, given, joints, rate_hz, subject, size, tuple(cameras), pick, predictions, min_confidence, accept_bad_rig
    )
    poses: Poses3D = module.read(path, how)
    if not poses.there.any():
        raise ConfigError(path, f"holds no joint in any of its {len(poses)} poses", "give a file with poses in it")
    wrong = [] if poses.rig is None else [one for one in judge(poses.rig).findings if one.level == "bad"]
    return replace(poses, notes=(*poses.notes, *(f"cameras: {finding}" for finding in wrong))) if wrong else poses


def module_of(path: Path, format: str | None = None) -> ModuleType:
    """The module that reads a path.

    Raises:
        ConfigError: No format has that name, or none knows what is there.
    """
    if format is not None:
        if format not in FORMATS:
            raise ConfigError("--format", f"{format!r} is not known", f"give one of {', '.join(FORMATS)}")
        return import_module(FORMATS[format])
    for place in FORMATS.values():
        module = import_module(place)
        if module.recognises(path):
            return module
    if is_hdf5(path) and not is_there("h5py"):
        raise missing("h5py") or MissingError("h5py", "is not installed")
    raise ConfigError(path, "holds no 3D poses that are known here", f"formats are {', '.join(FORMATS)}")


def holds_poses3d(path: Path) -> bool:
    """Whether there are 3D poses, not 2D points that a rig would make some of."""
    return any(import_module(place).recognises(path) for name, place in FORMATS.items() if name != FLAT)
