"""Messages as bytes: MessagePack, arrays as little-endian bytes with dtype and shape.

Every message is a map whose header says ``v`` (protocol version), ``session_id``, ``node``,
``node_epoch`` (a UUID per process start) and ``seq``. Readers ignore keys that they do not know and
refuse versions that they do not know. Nothing is allocated before its size was checked, and nothing
here can execute what it reads.
"""

from __future__ import annotations

import math
from typing import Any

import msgpack
import numpy as np

from rigpose.errors import ProtocolError

PROTOCOL_VERSION = 1
MAX_BYTES = 256 * 1024 * 1024
MAX_DIMS = 6
MAX_ITEMS = 1 << 16
"""Of one list or map: a list is allocated by what it announces, before its items are read."""
_ARRAY = 1
_DTYPES = {
    np.dtype(name).str: np.dtype(name)
    for name in ("<f2", "<f4", "<f8", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "|b1")
}


def array_header(array: np.ndarray) -> tuple[str, tuple[int, ...]]:
    """The dtype string and shape by which an array travels."""
    return array.dtype.newbyteorder("<").str, array.shape


def check_array(dtype: object, shape: object, n_bytes: int) -> tuple[np.dtype, tuple[int, ...]]:
    """The dtype and shape of an array that was announced, if they are allowed and fit its bytes.

    Raises:
        ProtocolError: Unknown dtype, a wrong shape, or a size that is not that of the bytes.
    """
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise ProtocolError("message", f"array dtype {dtype!r} is not one of {sorted(_DTYPES)}")
    if not isinstance(shape, list | tuple) or len(shape) > MAX_DIMS:
        raise ProtocolError("message", f"array shape {shape!r} is not a list of at most {MAX_DIMS} sizes")
    if not all(isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= MAX_BYTES for size in shape):
        raise ProtocolError("message", f"array shape {shape!r} has a size out of bounds")
    expected = math.prod(shape) * _DTYPES[dtype].itemsize
    if expected != n_bytes or expected > MAX_BYTES:
        problem = f"array of shape {list(shape)} and dtype {dtype} needs {expected} bytes, got {n_bytes}"
        raise ProtocolError("message", problem)
    return _DTYPES[dtype], tuple(shape)


def _default(value: object) -> object:
    if isinstance(value, np.ndarray):
        dtype, shape = array_header(value)
        if dtype not in _DTYPES:
            raise TypeError(f"an array of {value.dtype} does not travel")
        data = np.ascontiguousarray(value, dtype=dtype).tobytes()
        return msgpack.ExtType(_ARRAY, msgpack.packb([dtype, list(shape), data]))
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} does not travel")


def _ext_hook(code: int, data: bytes) -> object:
    if code != _ARRAY:
        return msgpack.ExtType(code, data)
    parts = msgpack.unpackb(data, max_ext_len=0, max_map_len=0, max_array_len=MAX_DIMS)
    if not isinstance(parts, list) or len(parts) != 3 or not isinstance(parts[2], bytes):
        raise ProtocolError("message", "an array is not [dtype, shape, bytes]")
    dtype, shape = check_array(parts[0], parts[1], len(parts[2]))
    return np.frombuffer(parts[2], dtype=dtype).reshape(shape)


def pack(message: dict[str, Any]) -> bytes:
    """A message as bytes; numpy arrays and scalars, plain values, lists and maps may be in it."""
    return msgpack.packb(message, default=_default, use_bin_type=True)


def unpack(data: bytes | memoryview, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Bytes as a message; arrays are read-only views into the bytes.

    Raises:
        ProtocolError: Too large, not MessagePack, no map, or an array that lies about its size.
    """
    if len(data) > max_bytes:
        raise ProtocolError("message", f"{len(data)} bytes are more than the {max_bytes} allowed")
    try:
        message = msgpack.unpackb(
            data, ext_hook=_ext_hook, strict_map_key=True, max_array_len=MAX_ITEMS, max_map_len=MAX_ITEMS
        )
    except ProtocolError:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise ProtocolError("message", f"is not MessagePack: {error or type(error).__name__}") from None
    if not isinstance(message, dict):
        raise ProtocolError("message", "is not a map")
    return message


def header(session_id: str, node: str, node_epoch: str, seq: int) -> dict[str, Any]:
    """The header that every message of rigpose begins with."""
    return {"v": PROTOCOL_VERSION, "session_id": session_id, "node": node, "node_epoch": node_epoch, "seq": seq}


def check_header(message: dict[str, Any]) -> None:
    """Refuse a message of another version or without a header.

    Raises:
        ProtocolError: Says which field is wrong.
    """
    version = message.get("v")
    if version != PROTOCOL_VERSION:
        raise ProtocolError("message", f"protocol version {version!r}, this program speaks {PROTOCOL_VERSION}")
    for key, kind in (("session_id", str), ("node", str), ("node_epoch", str), ("seq", int)):
        if not isinstance(message.get(key), kind):
            raise ProtocolError("message", f"header field {key} is missing or not {kind.__name__}")
