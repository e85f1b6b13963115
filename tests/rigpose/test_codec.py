"""Messages survive the way, and bytes that are no message never do harm."""

from __future__ import annotations

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rigpose import codec
from rigpose.errors import ProtocolError

DTYPES = st.sampled_from(["<f4", "<f8", "u1", "<u2", "<i4", "<i8", "?"])


@given(hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)))
def test_any_array_comes_back_with_its_dtype_shape_and_values(array: np.ndarray) -> None:
    back = codec.unpack(codec.pack({"a": array}))["a"]
    assert back.dtype == array.dtype and back.shape == array.shape
    np.testing.assert_array_equal(back, array)


def test_a_big_endian_or_strided_array_travels_as_its_values() -> None:
    array = np.arange(12, dtype=">f8").reshape(3, 4)[:, ::2]
    back = codec.unpack(codec.pack({"a": array}))["a"]
    assert back.dtype == np.dtype("<f8")
    np.testing.assert_array_equal(back, array)


def test_the_bytes_are_ordinary_messagepack() -> None:
    assert msgpack.unpackb(codec.pack({"text": "é", "n": 3, "list": [1, None]})) == {
        "text": "é",
        "n": 3,
        "list": [1, None],
    }


def test_what_has_no_meaning_for_others_does_not_travel() -> None:
    with pytest.raises(TypeError):
        codec.pack({"a": object()})
    with pytest.raises(TypeError):
        codec.pack({"a": np.array([object()])})


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_map_or_a_protocol_error(data: bytes) -> None:
    try:
        assert isinstance(codec.unpack(data), dict)
    except ProtocolError:
        pass


@given(st.data())
def test_a_message_with_changed_bytes_never_raises_anything_else(data: st.DataObject) -> None:
    message = bytearray(codec.pack({**codec.header("s", "n", "e", 1), "a": np.zeros((2, 3), np.float32)}))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        codec.check_header(codec.unpack(bytes(message)))
    except ProtocolError:
        pass


def _array_extension(dtype: str, shape: list[int], data: bytes) -> bytes:
    return msgpack.packb({"a": msgpack.ExtType(1, msgpack.packb([dtype, shape, data]))})


@pytest.mark.parametrize(
    ("dtype", "shape", "data"),
    [
        ("<f4", [2**40], b"1234"),  # a size that would fill the memory
        ("<f4", [-1], b"1234"),
        ("<f4", [2], b"1234"),  # fewer bytes than announced
        ("|O8", [1], b"12345678"),  # objects are code
        ("<f4", [1] * 7, b"1234"),
        ("<f4", ["1"], b"1234"),
    ],
)
def test_an_array_that_lies_is_refused_before_anything_is_allocated(dtype: str, shape: list[int], data: bytes) -> None:
    with pytest.raises(ProtocolError):
        codec.unpack(_array_extension(dtype, shape, data))


def test_more_bytes_than_allowed_are_refused() -> None:
    with pytest.raises(ProtocolError, match="more than the 10 allowed"):
        codec.unpack(b"x" * 11, max_bytes=10)


def test_an_unknown_version_is_refused_and_an_unknown_key_is_not() -> None:
    message = codec.header("session", "cam01", "epoch", 7)
    codec.check_header({**message, "later": "addition"})
    with pytest.raises(ProtocolError, match="version 2"):
        codec.check_header({**message, "v": 2})
    with pytest.raises(ProtocolError, match="seq"):
        codec.check_header({**message, "seq": "7"})


@pytest.mark.parametrize("head", [b"\xdd\x7f\xff\xff\xff", b"\xdf\x7f\xff\xff\xff", b"\xdd\x00\x10\x00\x00"])
def test_a_list_or_map_that_announces_more_than_any_message_has_is_refused(head: bytes) -> None:
    with pytest.raises(ProtocolError):
        codec.unpack(b"\x81\xa1a" + head + bytes(2_000_000))
