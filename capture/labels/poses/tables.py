"""3D poses in tables: anipose's ``pose-3d`` CSV, DeepLabCut's 3D CSV and HDF5.

anipose has columns ``PART_x, PART_y, PART_z, PART_error, PART_ncams, PART_score``, and where it turned the poses into
a frame of the animal or its ground, ``M_ij`` and ``center_i``: X M^T - center is what stands there. With a rig they are
turned back into its world. DeepLabCut has three coordinates x, y, z for each body part. Neither says the unit, which
is that of the calibration.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from capture.labels.documents import peek, read_text
from capture.labels.poses.pandas_tables import coords_of, read_table
from capture.labels.poses.reading import How, in_order, made
from capture.labels.poses.skeletons import legs
from capture.labels.poses3d import Poses3D
from capture.labels.skeletons import skeleton_of
from rigpose.errors import ConfigError

TITLE = "anipose or DeepLabCut"
_AXES = ("x", "y", "z")


def recognises(path: Path) -> bool:
    """A table with three coordinates of each body part."""
    if not path.is_file():
        return False
    return set(_AXES) <= set(coords_of(path)) or bool(_parts(_first_row(path)))


def read(path: Path, how: How) -> Poses3D:
    """The poses of a table.

    Raises:
        ConfigError: It is no such table, or nobody says its unit.
        MissingError: It is HDF5 and h5py is not installed.
    """
    mm = how.millimetres(None, path)
    return _anipose(path, how, mm) if _parts(_first_row(path)) else _deeplabcut(path, how, mm)


def _first_row(path: Path) -> list[str]:
    return peek(path).partition("\n")[0].strip().split(",") if path.suffix.lower() == ".csv" else []


def _parts(columns: list[str]) -> list[str]:
    """Body parts that have all of x, y and z, in the order of columns."""
    known = set(columns)
    names = [column[:-2] for column in columns if column.endswith("_x")]
    return [name for name in names if {f"{name}_{axis}" for axis in _AXES} <= known]


def _anipose(path: Path, how: How, mm: float) -> Poses3D:
    rows = [row for row in csv.reader(io.StringIO(read_text(path))) if row]
    columns, body = rows[0], rows[1:]
    for number, row in enumerate(body, 2):
        if len(row) != len(columns):
            what = f"has {len(row)} columns instead of {len(columns)}"
            raise ConfigError(f"{path}, row {number}", what, "run anipose triangulate again")
    place = {name: index for index, name in enumerate(columns)}
    joints = _parts(columns)
    wanted = [f"{joint}_{axis}" for joint in joints for axis in _AXES]
    turned = [f"M_{i}{j}" for i in range(3) for j in range(3)] + [f"center_{i}" for i in range(3)]
    numbers = [*wanted, *(turned if set(turned) <= set(columns) else ()), *(("fnum",) if "fnum" in place else ())]
    table = np.full((len(body), len(numbers)), np.nan)
    for index, cells in enumerate(body):
        for column, name in enumerate(numbers):
            cell = cells[place[name]].strip()
            try:
                table[index, column] = float(cell) if cell else np.nan
            except ValueError:
                what = f"{name} is {cell!r} and no number"
                raise ConfigError(f"{path}, row {index + 2}", what, "correct that cell") from None
    position = table[:, : len(wanted)].reshape(-1, len(joints), 3)
    notes: tuple[str, ...] = ()
    if len(numbers) > len(wanted) + 1:
        matrix, centre = table[:1, len(wanted) :][:, :9].reshape(3, 3), table[0, len(wanted) + 9 : len(wanted) + 12]
        moved = not (np.allclose(matrix, np.eye(3)) and np.allclose(centre, 0))
        if moved and how.rig is not None:
            position = (position + centre) @ np.linalg.inv(matrix.T)
            notes = ("turned back from anipose's own frame into the world of the cameras",)
        elif moved:
            notes = ("positions are in the frame that anipose's reference points and axes made, not the cameras'",)
    frame = table[:, -1].astype(np.int64) if "fnum" in place else np.arange(len(body))
    return _made(path, how, joints, position * mm, frame, notes)


def _deeplabcut(path: Path, how: How, mm: float) -> Poses3D:
    table = read_table(path)
    if set(table.coords) != set(_AXES):
        raise ConfigError(
            path, f"has coordinates {', '.join(table.coords)} and not x, y, z", "give the table of 3D poses"
        )
    values = table.values[..., [table.coords.index(axis) for axis in _AXES]]
    frame, order = in_order(table.frame, str(path))
    parts = [
        _made(path, how, list(table.joints), values[order, index] * mm, frame, (), name)
        for index, name in enumerate(table.subjects)
    ]
    if len(parts) == 1:
        return parts[0]
    return made(
        path,
        skeleton=parts[0].skeleton,
        position_mm=np.concatenate([part.position_mm for part in parts]),
        rig=how.rig,
        subject=np.concatenate([part.subject for part in parts]),
        frame=np.tile(frame, len(parts)),
        rate_hz=parts[0].rate_hz,
        source=parts[0].source,
    )


def _made(
    path: Path,
    how: How,
    joints: list[str],
    position_mm: np.ndarray,
    frame: np.ndarray,
    notes: tuple[str, ...],
    subject: str = "",
) -> Poses3D:
    named = skeleton_of(joints, path, edges=legs(joints))
    return made(
        path,
        skeleton=how.ordered(named, path),
        position_mm=position_mm,
        rig=how.rig,
        subject=np.full(len(frame), subject or how.subject or path.stem),
        frame=frame,
        rate_hz=how.rate(None, path),
        source=TITLE,
        notes=notes,
    )
