"""MATLAB 7.3 files, which are HDF5 behind 512 bytes of MATLAB's own, as `scipy.io.loadmat` would give older ones.

MATLAB's arrays run column by column, so HDF5 has their axes in reverse. Text is codes, a cell is a dataset of
references into ``/#refs#``, a struct is a group, an array of structs a group whose members are datasets of references,
and something empty is its shape. Attributes ``MATLAB_class``, ``MATLAB_empty`` and so on tell which is which.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from calib.formats.text import MOST_BYTES
from rigpose.errors import ConfigError, MissingError

_MOST_NODES = 200_000
_DEEPEST = 12
_OWN = ("#refs#", "#subsystem#")
_NUMERIC = {"double", "single", "logical", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}

log = logging.getLogger(__name__)


class _LeftOutError(ValueError):
    """What a variable holds that is not read."""


def load(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB 7.3 file; those that hold objects, functions or sparse matrices are left out.

    Raises:
        ConfigError: It is too large or damaged.
        MissingError: h5py is not installed.
    """
    try:
        import h5py  # here, for few files need it
    except ImportError:
        what = "is a MATLAB 7.3 file (HDF5), which needs h5py of the extra calibrate"
        remedy = 'pip install "rigpose[calibrate]", or save it in MATLAB with -v7'
        raise MissingError(path, what, remedy) from None

    variables = {}
    try:
        with h5py.File(path, "r", locking=False) as file:
            reader = _Reader(file)
            for name in file:
                if name in _OWN:
                    continue
                try:
                    variables[name] = reader.member(file, name, 0)
                except _LeftOutError as error:
                    log.warning("%s, %s: holds %s, which is not read: it is left out", path, name, error)
    except Exception as error:  # HDF5 raises what it likes on a broken file
        what = str(error) if isinstance(error, ValueError) and str(error) else type(error).__name__
        raise ConfigError(path, f"is no MATLAB 7.3 file that can be read: {what}", "save it with -v7") from None
    return variables


class _Reader:
    """One file's nodes, with an end to how many are read."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._nodes, self._bytes = 0, 0

    def member(self, group: Any, name: str, depth: int) -> Any:
        """What stands under a name in this very file."""
        import h5py

        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} lies elsewhere")
        return self._value(group[name], depth)

    def _value(self, node: Any, depth: int) -> Any:
        import h5py

        self._nodes += 1
        if self._nodes > _MOST_NODES or depth > _DEEPEST:
            raise ValueError("it holds too much for a camera file")
        kind = _text(node.attrs.get("MATLAB_class", b""))
        if "MATLAB_sparse" in node.attrs:
            raise _LeftOutError("a sparse matrix")
        if isinstance(node, h5py.Group):
            if kind not in ("struct", ""):
                raise _LeftOutError(f"an object of class {kind}")
            return self._struct(node, depth)
        if "MATLAB_object_decode" in node.attrs or kind not in ("cell", "char", "struct", "", *_NUMERIC):
            raise _LeftOutError(f"an object of class {kind or 'unknown'}")
        values = self._array(node)
        if node.attrs.get("MATLAB_empty", 0):
            return _empty(kind, values)
        if h5py.check_ref_dtype(node.dtype) is h5py.Reference:
            return self._cells(values, depth)
        if kind == "char":
            return _chars(values)
        if values.dtype.names == ("real", "imag"):
            return values["real"] + 1j * values["imag"]
        if values.dtype.kind not in "fiub":
            raise ValueError(f"{node.name} is no array of numbers")
        return values

    def _array(self, node: Any) -> np.ndarray:
        """A dataset with MATLAB's axes."""
        if node.external or node.is_virtual:
            raise ValueError(f"{node.name} lies in another file")
        self._bytes += node.size * node.dtype.itemsize if node.shape is not None else 0
        if node.shape is None or len(node.shape) > 8 or self._bytes > 4 * MOST_BYTES:
            raise ValueError(f"{node.name} is no array of a size that a camera file has")
        values = np.asarray(node[()]).T
        return values.reshape(values.shape + (1,) * (2 - values.ndim)) if values.ndim < 2 else values

    def _cells(self, references: np.ndarray, depth: int) -> np.ndarray:
        cells = np.empty(references.shape, dtype=object)
        for index in np.ndindex(references.shape):
            reference = references[index]
            if not reference:
                raise ValueError("a cell points nowhere")
            cells[index] = self._value(self._file[reference], depth + 1)
        return cells

    def _struct(self, group: Any, depth: int) -> np.ndarray:
        """A struct, or an array of structs: then each field is a dataset of references, which has no class."""
        import h5py

        names = [name for name in group if name not in _OWN]
        values = {name: self.member(group, name, depth + 1) for name in names}
        many = names and all(
            isinstance(group[name], h5py.Dataset)
            and "MATLAB_class" not in group[name].attrs
            and h5py.check_ref_dtype(group[name].dtype) is h5py.Reference
            for name in names
        )
        shape = values[names[0]].shape if many else (1, 1)
        structs = np.empty(shape, dtype=[(name, object) for name in names])
        for name in names:
            if not many:
                structs[name][0, 0] = values[name]
            elif values[name].shape == shape:
                structs[name] = values[name]
            else:
                raise ValueError(f"{group.name} has fields of different lengths")
        return structs


def _text(value: Any) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)


def _empty(kind: str, shape: np.ndarray) -> np.ndarray:
    sides = [int(side) for side in np.ravel(shape)]
    if len(sides) > 8 or min(sides, default=0) < 0 or 0 not in sides:
        raise ValueError(f"something empty of shape {sides}")
    return np.array([]) if kind == "char" else np.empty(sides, dtype=object if kind in ("cell", "struct") else float)


def _chars(codes: np.ndarray) -> np.ndarray:
    """(rows,) texts."""
    if codes.dtype.kind != "u" or codes.dtype.itemsize > 4:
        raise ValueError("a text that is none")
    flat = codes.reshape(len(codes), -1)
    rows = (row.astype("<u2").tobytes().decode("utf-16-le", "replace") for row in flat)
    return np.array(list(rows))
