"""DeepLabCut's tables of points, 2D or 3D, as its programs and anipose write them: CSV, or pandas's HDF5.

Columns have levels (scorer, individuals where there are several, body parts, coordinates), rows are frames. In HDF5 a
frame's names of columns are a pickle of tuples of texts, which goes through the restricted unpickler.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from calib.formats import pickles
from capture.labels.documents import peek, read_text
from capture.labels.poses.reading import MOST_BYTES
from rigpose.errors import ConfigError, MissingError, RigposeError
from rigpose.extras import missing

_LEVELS = ("scorer", "individuals", "bodyparts", "coords")
_SUFFIXES = (".h5", ".hdf5", ".hdf")
_REMEDY = "export it from DeepLabCut again"


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Points of one film or recording.

    Attributes:
        subjects: Individuals; one empty name where the table has none.
        joints: Body parts, in order.
        coords: ``x, y, likelihood`` or ``x, y, z``.
        frame: (T,) the rows' numbers.
        values: (T, A, J, C) NaN where a cell is empty or a column is not there.
    """

    subjects: tuple[str, ...]
    joints: tuple[str, ...]
    coords: tuple[str, ...]
    frame: Int[np.ndarray, " T"]
    values: Float[np.ndarray, "T A J C"]


def coords_of(path: Path) -> tuple[str, ...]:
    """The coordinates of a table's columns; none for a file that is no such table."""
    try:
        return tuple(dict.fromkeys(column[-1] for column in _columns(path)))
    except RigposeError:
        return ()


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 does."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"\x89HDF"
    except OSError:
        return False


def read_table(path: Path) -> Table:
    """A table with all its columns.

    Raises:
        ConfigError: It is no such table.
        MissingError: It is HDF5 and h5py is not installed.
    """
    if is_hdf5(path):
        columns, frame, cells = _of_hdf5(path)
    else:
        columns, frame, cells = _of_csv(path)
    subjects = tuple(dict.fromkeys(column[-3] if len(column) == 4 else "" for column in columns))
    joints = tuple(dict.fromkeys(column[-2] for column in columns))
    coords = tuple(dict.fromkeys(column[-1] for column in columns))
    values = np.full((len(cells), len(subjects), len(joints), len(coords)), np.nan)
    for index, column in enumerate(columns):
        subject = subjects.index(column[-3] if len(column) == 4 else "")
        values[:, subject, joints.index(column[-2]), coords.index(column[-1])] = cells[:, index]
    return Table(subjects, joints, coords, frame, values)


def _columns(path: Path) -> list[tuple[str, ...]]:
    if is_hdf5(path):
        h5py = _h5py()
        try:
            with h5py.File(path, "r", locking=False) as file:
                return _names(_frame_of(file, path), path)
        except RigposeError:
            raise
        except Exception as error:  # HDF5 raises what it likes on a broken file
            raise ConfigError(path, f"is no HDF5 file that can be read: {type(error).__name__}", _REMEDY) from None
    head = peek(path)
    if not head.startswith(_LEVELS):
        raise ConfigError(path, "does not begin with rows scorer, bodyparts and coords", _REMEDY)
    return _header(_rows("\n".join(head.splitlines()[:5]), path), path)[0]


def _rows(text: str, path: Path) -> list[list[str]]:
    try:
        return list(csv.reader(io.StringIO(text)))
    except csv.Error as error:
        raise ConfigError(path, f"is no table of commas: {error}", _REMEDY) from None


def _header(rows: Sequence[Sequence[str]], path: Path) -> tuple[list[tuple[str, ...]], int]:
    """Columns, and how many rows name them."""
    names = [row[0].strip() for row in rows if row]
    count = next((i for i, name in enumerate(names) if name not in _LEVELS), len(names))
    if "bodyparts" not in names[:count] or "coords" not in names[:count]:
        raise ConfigError(path, "does not begin with rows scorer, bodyparts and coords", _REMEDY)
    order = [names.index(level) for level in _LEVELS if level in names[:count]]
    width = len(rows[0])
    if any(len(rows[i]) != width for i in order):
        raise ConfigError(path, "has rows of names that differ in length", _REMEDY)
    return [tuple(rows[i][column].strip() for i in order) for column in range(1, width)], count


def _of_csv(path: Path) -> tuple[list[tuple[str, ...]], np.ndarray, np.ndarray]:
    rows = _rows(read_text(path), path)
    columns, count = _header(rows[:5], path)
    body = [row for row in rows[count:] if row]
    cells = np.full((len(body), len(columns)), np.nan)
    frame = np.zeros(len(body), dtype=np.int64)
    for place, row in enumerate(body):
        where = f"{path}, row {place + count + 1}"
        if len(row) != len(columns) + 1:
            raise ConfigError(where, f"has {len(row)} columns instead of {len(columns) + 1}", _REMEDY)
        try:
            frame[place] = int(float(row[0]))
        except ValueError:
            raise ConfigError(where, f"begins with {row[0]!r} and no frame number", _REMEDY) from None
        try:
            cells[place] = [float(cell) if cell.strip() else np.nan for cell in row[1:]]
        except ValueError:
            raise ConfigError(where, "holds something that is no number", "correct that row") from None
    return columns, frame, cells


def _h5py() -> Any:
    try:
        import h5py  # here, for few files need it
    except ImportError:
        raise missing("h5py") or MissingError("h5py", "is not installed") from None
    return h5py


def _of_hdf5(path: Path) -> tuple[list[tuple[str, ...]], np.ndarray, np.ndarray]:
    h5py = _h5py()
    try:
        with h5py.File(path, "r", locking=False) as file:
            group = _frame_of(file, path)
            columns = _names(group, path)
            if "table" in group:
                dataset = _bounded(group["table"], path)[()]
                blocks = [name for name in dataset.dtype.names if name.startswith("values_block")]
                if len(blocks) != 1:
                    raise ConfigError(
                        path, f"has {len(blocks)} blocks of columns instead of one", "give the CSV beside it"
                    )
                frame, cells = dataset["index"], dataset[blocks[0]]
            elif "block1_values" in group:
                raise ConfigError(path, "has several blocks of columns instead of one", "give the CSV beside it")
            else:
                frame, cells = _bounded(group["axis1"], path)[()], _bounded(group["block0_values"], path)[()]
                cells = cells if cells.shape == (len(frame), len(columns)) else cells.T
    except RigposeError:
        raise
    except Exception as error:  # HDF5 raises what it likes on a broken file
        raise ConfigError(
            path, f"is no HDF5 file of pandas that can be read: {type(error).__name__}", _REMEDY
        ) from None
    if frame.dtype.kind not in "iu" or cells.dtype.kind not in "fiu" or cells.shape != (len(frame), len(columns)):
        what = f"has values of shape {list(cells.shape)} for {len(frame)} frames and {len(columns)} columns"
        raise ConfigError(path, what, "give the CSV beside it")
    return columns, frame.astype(np.int64), cells.astype(np.float64)


def _bounded(dataset: Any, path: Path) -> Any:
    if dataset.external or dataset.is_virtual or dataset.size * dataset.dtype.itemsize > MOST_BYTES:
        raise ConfigError(path, f"{dataset.name} lies in another file or is too large", _REMEDY)
    return dataset


def _frame_of(file: Any, path: Path) -> Any:
    """The one data frame in a file."""
    kinds = {name: str(_text(file[name].attrs.get("pandas_type", b""))) for name in file}
    frames = [name for name, kind in kinds.items() if kind in ("frame_table", "frame")]
    if len(frames) != 1:
        raise ConfigError(path, f"holds {len(frames)} data frames of pandas instead of one", _REMEDY)
    return file[frames[0]]


def _names(group: Any, path: Path) -> list[tuple[str, ...]]:
    if "non_index_axes" in group.attrs:
        axes = pickles.loads(bytes(group.attrs["non_index_axes"]), path)
        columns = axes[0][1] if isinstance(axes, list) and axes and len(axes[0]) == 2 else None
    else:
        levels = int(group.attrs.get("axis0_nlevels", 0))
        names = [[_text(one) for one in group[f"axis0_level{i}"][()]] for i in range(levels)]
        codes = [group[f"axis0_label{i}"][()] for i in range(levels)]
        columns = [[names[i][int(code)] for i, code in enumerate(one)] for one in zip(*codes, strict=True)]
    if not isinstance(columns, list) or not columns or any(len(one) not in (3, 4) for one in columns):
        raise ConfigError(path, "has columns that are not named scorer, body part and coordinate", _REMEDY)
    return [tuple(str(_text(level)) for level in column) for column in columns]


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
