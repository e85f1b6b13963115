"""MATLAB files: 5 to 7 through scipy, looked over first, for scipy's reader trusts their numbers; 7.3 through h5py.

A damaged or hostile file can make `scipy.io.loadmat` read beyond its tables and end the process. So
every element's type, length and count is checked here before scipy sees the file; what camera files
hold is plain arrays, text, cells and structs, and nothing else is let through.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from calib.formats import mat73
from calib.formats.text import MOST_BYTES, read_bytes
from rigpose.errors import ConfigError

_HEADER = 128
_COMPRESSED, _MATRIX = 15, 14
_NUMBERS = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
_TEXTS = {1: 1, 2: 1, 3: 2, 4: 2, 16: 1, 17: 2, 18: 4}
_CELL, _STRUCT, _CHAR, _FIRST_NUMERIC, _LAST_NUMERIC = 1, 2, 4, 6, 15
_COMPLEX = 0x0800
_DEEPEST = 12


class DamagedError(ValueError):
    """What is wrong, for a person."""


def load(path: Path, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """The variables of a .mat file, as `scipy.io.loadmat` gives them.

    Args:
        path: The file.
        most_bytes: Of the file, and of what it unpacks to.

    Raises:
        ConfigError: It is no such file, is damaged, or holds objects, functions or sparse matrices.
        MissingError: It is a MATLAB 7.3 file, which is HDF5, and h5py is not installed.
    """
    from scipy import io as scipy_io  # here, for it is slow to import and few files need it

    data = read_bytes(path, most_bytes)
    if data[:10] == b"MATLAB 7.3" or data[:4] == b"\x89HDF":
        return mat73.load(path)
    try:
        check(data, most_bytes)
        return scipy_io.loadmat(io.BytesIO(data), squeeze_me=False)
    except DamagedError as error:
        raise ConfigError(path, f"is no .mat file that can be read: {error}", "save it with -v7") from None
    except Exception as error:  # scipy raises what it likes on a broken file
        what = f"is no .mat file that can be read: {type(error).__name__}"
        raise ConfigError(path, what, "save it with -v7") from None


def check(data: bytes, most_bytes: int = MOST_BYTES) -> None:
    """Look over all elements of a file, which may unpack to so many bytes.

    Raises:
        ValueError: Says what is damaged, or what is not let through.
    """
    if len(data) < _HEADER or data[126:128] not in (b"IM", b"MI"):
        raise DamagedError("it has no header of MATLAB 5 to 7")
    _Walk("<" if data[126:128] == b"IM" else ">", most_bytes).variables(memoryview(data)[_HEADER:])


class _Walk:
    def __init__(self, order: str, most_bytes: int) -> None:
        self._tag, self._small = struct.Struct(f"{order}II"), struct.Struct(f"{order}I")
        self._order, self._most = order, most_bytes
        self._unpacked = 0

    def _element(self, data: memoryview) -> tuple[int, memoryview, memoryview]:
        """Type and content of the first element, and what follows it."""
        if len(data) < 8:
            raise DamagedError("it is cut off")
        kind, size = self._tag.unpack_from(data)
        if kind >> 16:
            # A small element has its length and up to four bytes in the tag.
            kind, size = kind & 0xFFFF, kind >> 16
            if size > 4:
                raise DamagedError("a small element is too long")
            return kind, data[4 : 4 + size], data[8:]
        if size > len(data) - 8:
            raise DamagedError("it is cut off")
        end = 8 + size if kind == _COMPRESSED else 8 + -(-size // 8) * 8
        return kind, data[8 : 8 + size], data[end:]

    def variables(self, data: memoryview) -> None:
        while len(data):
            kind, content, data = self._element(data)
            if kind == _COMPRESSED:
                kind, content, rest = self._element(self._inflated(content))
                if len(rest):
                    raise DamagedError("something follows a compressed variable")
            if kind != _MATRIX:
                raise DamagedError(f"an element of type {kind} stands where a variable should")
            self._matrix(content, 0)

    def _inflated(self, content: memoryview) -> memoryview:
        inflater = zlib.decompressobj()
        try:
            inner = inflater.decompress(content, self._most - self._unpacked)
        except zlib.error:
            raise DamagedError("its compressed data are damaged") from None
        if not inflater.eof:
            raise DamagedError("it is cut off or too large")
        self._unpacked += len(inner)
        return memoryview(inner)

    def _plain(self, data: memoryview, kinds: dict[int, int], what: str) -> tuple[memoryview, int, memoryview]:
        kind, content, rest = self._element(data)
        if kind not in kinds or len(content) % kinds[kind]:
            raise DamagedError(f"{what} has type {kind}")
        return content, len(content) // kinds[kind], rest

    def _matrix(self, data: memoryview, depth: int) -> None:
        if not len(data):
            return
        if depth > _DEEPEST:
            raise DamagedError("it is nested too deep")
        flags, n, data = self._plain(data, {6: 4}, "the flags")
        if n != 2:
            raise DamagedError("the flags are too short")
        (flag,) = self._small.unpack_from(flags)
        shape, n, data = self._plain(data, {5: 4}, "the shape")
        sides = np.frombuffer(shape, f"{self._order}i4").tolist()
        count = math.prod(sides)
        if n < 2 or n > 8 or min(sides) < 0 or count > self._most:
            raise DamagedError(f"a shape of {sides}")
        _, _, data = self._plain(data, {1: 1, 2: 1, 16: 1}, "a name")
        kind = flag & 0xFF
        if kind == _CELL:
            data = self._matrices(data, count, depth)
        elif kind == _STRUCT:
            data = self._struct(data, count, depth)
        elif kind == _CHAR:
            data = self._values(data, _TEXTS, None)
        elif _FIRST_NUMERIC <= kind <= _LAST_NUMERIC:
            for _ in range(2 if flag & _COMPLEX else 1):
                data = self._values(data, _NUMBERS, count)
        else:
            raise DamagedError(f"it holds an object, a function or a sparse matrix (class {kind})")
        if len(data):
            raise DamagedError("something follows a variable's end")

    def _values(self, data: memoryview, kinds: dict[int, int], count: int | None) -> memoryview:
        _, n, data = self._plain(data, kinds, "an array")
        if count is not None and n != count:
            raise DamagedError(f"an array of {count} numbers holds {n}")
        return data

    def _matrices(self, data: memoryview, count: int, depth: int) -> memoryview:
        if count * 8 > len(data):
            raise DamagedError("it is cut off")
        for _ in range(count):
            kind, content, data = self._element(data)
            if kind != _MATRIX:
                raise DamagedError(f"an element of type {kind} stands in a cell or struct")
            self._matrix(content, depth + 1)
        return data

    def _struct(self, data: memoryview, count: int, depth: int) -> memoryview:
        length, n, data = self._plain(data, {5: 4}, "the length of field names")
        (each,) = struct.unpack_from(f"{self._order}i", length) if n == 1 else (0,)
        names, n, data = self._plain(data, {1: 1}, "field names")
        if not 0 < each <= 1024 or n % each:
            raise DamagedError("field names of no length")
        fields = [bytes(names[i : i + each]).split(b"\0")[0] for i in range(0, n, each)]
        if len(set(fields)) != len(fields) or not all(name.isidentifier() for name in map(bytes.decode, fields)):
            raise DamagedError("field names that are none")
        return self._matrices(data, count * len(fields), depth)
