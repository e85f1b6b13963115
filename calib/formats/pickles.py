"""Foreign pickles without their danger: nothing in them is imported, called or handed to numpy's own loaders.

What a pickle says about numpy arrays is caught by stand-ins below and made into arrays from checked
shapes, types and bytes. Dicts, lists, texts and numbers need nothing else; whatever else a pickle
wants is an error.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np

from calib.formats.text import MOST_BYTES, read_bytes
from rigpose.errors import ConfigError

_PLAIN = re.compile(r"[|<>=]?([biuf][1248]|[SU]\d{1,4})")
_RECORD = re.compile(r"[|]?V\d{1,6}")
_OBJECT = re.compile(r"[|]?O8?")
_PLACES = ("PUT", "BINPUT", "LONG_BINPUT")
_DEEPEST = 20
_MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")


class _Type:
    """In the place of numpy.dtype: numbers, text, records of these, or values; what it is of is set afterwards."""

    def __init__(self, code: Any = None, align: Any = False, copy: Any = False) -> None:
        code = code.decode("ascii") if isinstance(code, bytes) else code
        if not isinstance(code, str) or not any(known.fullmatch(code) for known in (_PLAIN, _RECORD, _OBJECT)):
            raise pickle.UnpicklingError(f"an array of type {code!r}")
        self.code = code.lstrip("|<>=")
        self.order = "="
        self.of_values = bool(_OBJECT.fullmatch(code))
        self._made: np.dtype | None = None

    def __setstate__(self, state: tuple) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        if order not in ("|", "<", ">", "="):
            raise pickle.UnpicklingError("an array of an unknown byte order")
        self.order = order
        part, names, fields = state[2:5]
        if part is not None:
            base, shape = part
            self._made = np.dtype((base.dtype, tuple(int(side) for side in np.atleast_1d(shape))))
        elif fields is not None:
            # numpy's own constructor checks that the fields lie in the record.
            made = [(fields[name][0].dtype, int(fields[name][1])) for name in names]
            formats, offsets = [each[0] for each in made], [each[1] for each in made]
            self._made = np.dtype(
                {"names": list(names), "formats": formats, "offsets": offsets, "itemsize": int(self.code[1:])}
            )

    @property
    def dtype(self) -> np.dtype:
        if self._made is not None:
            return self._made
        if self.of_values or self.code.startswith("V"):
            raise pickle.UnpicklingError("an array of objects")
        return np.dtype(("<" if self.order == "|" else self.order) + self.code)


class _Array:
    """In the place of numpy.ndarray: filled by ``__setstate__``, taken out by `_opened`."""

    def __init__(self, *ignored: Any) -> None:
        self.value: Any = None

    def __setstate__(self, state: tuple) -> None:
        shape, kind, fortran, data = state[-4:]
        if isinstance(kind, _Type) and kind.of_values and isinstance(data, list):
            # Values, each read like the rest: a list of them, or the one of an array without sides.
            self.value = data[0] if shape == () and len(data) == 1 else data
            return
        self.value = _filled(data, kind, shape, "F" if fortran else "C")


def _filled(data: Any, kind: Any, shape: Any, order: str) -> np.ndarray:
    if not isinstance(kind, _Type) or not isinstance(shape, tuple) or not all(isinstance(n, int) for n in shape):
        raise pickle.UnpicklingError("an array that is none")
    raw = data.encode("latin-1") if isinstance(data, str) else data
    if not isinstance(raw, bytes | bytearray) or min(shape, default=0) < 0 or order not in ("C", "F"):
        raise pickle.UnpicklingError("an array of objects")
    if len(raw) != math.prod(shape) * kind.dtype.itemsize:
        raise pickle.UnpicklingError("an array whose bytes do not fill its shape")
    return np.frombuffer(raw, kind.dtype).reshape(shape, order=order).copy()  # type: ignore[call-overload]


def _reconstruct(kind: Any, shape: Any, letter: Any) -> _Array:
    return _Array()


def _frombuffer(data: Any, kind: Any, shape: Any, order: str) -> _Array:
    array = _Array()
    array.value = _filled(bytes(data), kind, shape, order)
    return array


def _scalar(kind: Any, data: Any = None) -> Any:
    return _filled(data, kind, (), "C")[()]


def _encode(data: str, encoding: str = "latin1") -> bytes:
    if encoding.replace("-", "").lower() not in ("latin1", "iso88591"):
        raise pickle.UnpicklingError("bytes in another encoding")
    return data.encode("latin-1")


_NUMPY = {
    "ndarray": _Array,
    "dtype": _Type,
    "_reconstruct": _reconstruct,
    "scalar": _scalar,
    "_frombuffer": _frombuffer,
}
_MADE: dict[tuple[str, str], Any] = {(module, name): made for module in _MODULES for name, made in _NUMPY.items()}
_MADE["_codecs", "encode"] = _encode
_MADE["collections", "OrderedDict"] = dict


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _MADE[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it wants {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to something outside")


def _opened(value: Any, known: dict[int, Any], depth: int = 0) -> Any:
    """The value with arrays in the place of stand-ins; what stands there twice is opened once."""
    if depth > _DEEPEST:
        raise pickle.UnpicklingError("it is nested too deep")
    if isinstance(value, _Array | dict | list | tuple):
        if id(value) not in known:
            known[id(value)] = _opened_anew(value, known, depth)
        return known[id(value)]
    if isinstance(value, str | bytes | int | float | np.generic) or value is None:
        return value
    raise pickle.UnpicklingError(f"it holds a {type(value).__name__}")


def _opened_anew(value: Any, known: dict[int, Any], depth: int) -> Any:
    if isinstance(value, _Array):
        if value.value is None:
            raise pickle.UnpicklingError("an array without content")
        return value.value if isinstance(value.value, np.ndarray) else _opened(value.value, known, depth + 1)
    if isinstance(value, dict):
        return {key: _opened(item, known, depth + 1) for key, item in value.items()}
    return [_opened(item, known, depth + 1) for item in value]


def _look_over(data: bytes) -> None:
    """Refuse numbers that make the unpickler itself fill the memory: places in its memo far beyond what was kept."""
    for count, (code, argument, _) in enumerate(pickletools.genops(data)):
        if code.name in _PLACES and not 0 <= int(argument or 0) <= count:
            raise pickle.UnpicklingError("a place in its memory that cannot be")


def load_npy(path: Path, most_bytes: int) -> Any:
    """The value that ``numpy.save`` pickled into a .npy file because it is no plain array.

    Raises:
        ConfigError: As `load`, or it is no such file.
    """
    data = read_bytes(path, most_bytes)
    length = int.from_bytes(data[8:10], "little")
    if data[:7] != b"\x93NUMPY\x01" or b"'|O'" not in data[10 : 10 + length]:
        raise ConfigError(path, "is no .npy file with a pickled value", "give the file that numpy.save wrote")
    return loads(data[10 + length :], path)


def load(path: Path, most_bytes: int = MOST_BYTES) -> Any:
    """The value in a pickle of dicts, lists, texts, numbers and numpy arrays of numbers.

    Raises:
        ConfigError: It wants anything else, or is no pickle.
    """
    return loads(read_bytes(path, most_bytes), path)


def loads(data: bytes, path: Path) -> Any:
    """As `load`, of bytes that stand somewhere in a file.

    Raises:
        ConfigError: As `load`.
    """
    try:
        # Python 2 wrote bytes where there is text now; latin-1 keeps numpy's.
        _look_over(data)
        return _opened(_Restricted(io.BytesIO(data), encoding="latin1").load(), {})
    except pickle.UnpicklingError as error:
        what = f"is a pickle that is not read: {error}"
        raise ConfigError(path, what, "only dicts, lists, numbers and arrays are safe to read") from None
    except Exception as error:  # a broken pickle may raise anything
        raise ConfigError(path, f"is no pickle that can be read: {type(error).__name__}", "check the file") from None
