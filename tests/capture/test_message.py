"""The message of a frame: what is sent arrives, what is malformed is refused and nothing is allocated for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture.frame import Counters, EndOfFrames, Frame, PixelFormat
from capture.message import decode_frame, encode_end, encode_frame, encode_push
from rigpose import codec
from rigpose.errors import ProtocolError
from rigpose.keypoints import Keypoints
from tests.capture.frames import WHO, make, same


@pytest.mark.parametrize("pixel_format", ["Mono8", "Mono10", "Mono12", "Mono16", "BayerRG8", "BGR8", "NV12", "JPEG"])
def test_every_pixel_format_travels(pixel_format: PixelFormat) -> None:
    shape: tuple[int, ...] = {"BGR8": (48, 64, 3), "NV12": (72, 64), "JPEG": (777,)}.get(pixel_format, (48, 64))
    dtype = np.uint16 if pixel_format in ("Mono10", "Mono12", "Mono16") else np.uint8
    image = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    sent = make(image, pixel_format=pixel_format, size=(64, 48))
    header, body = encode_frame(sent, *WHO, 0)
    assert body is not None
    got = decode_frame([header, body.data.cast("B")], 1)
    assert isinstance(got, Frame)
    same(got, sent)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"v": 99}, "protocol version"),
        ({"size": [64, 49]}, "is not uint8 of shape"),
        ({"size": [16385, 48]}, "size"),
        ({"size": [0, 0]}, "size"),
        ({"size": [64.0, 48]}, "size"),
        ({"shape": [1 << 40, 1 << 40, 3]}, "out of bounds"),
        ({"shape": [48, 64, 4]}, "needs 12288 bytes"),
        ({"dtype": "O"}, "dtype"),
        ({"pixel_format": "RGB8"}, "pixel format"),
        ({"pixel_format": "Mono8"}, "is not uint8 of shape"),
        ({"camera": 5}, "camera"),
        ({"camera": "x" * 5000}, "camera"),
        ({"frame": -1}, "frame"),
        ({"frame": True}, "frame"),
        ({"exposed_ns": 1.5}, "exposed_ns"),
        ({"exposed_from": "guess"}, "exposed_from"),
        ({"counters": [1, 2, 3]}, "counters"),
        ({"counters": [1, 2, 3, -1]}, "counters"),
        ({"binning": [0, 1]}, "binning"),
        ({"flip": []}, "flip"),
        ({"video": ["a", "b"]}, "video"),
        ({"tick": "1"}, "tick"),
        ({"node_epoch": None}, "node_epoch"),
    ],
)
def test_a_header_that_lies_is_refused(change: dict[str, Any], complaint: str) -> None:
    header, body = encode_frame(make(), *WHO, 0)
    assert body is not None
    message = codec.unpack(header) | change
    with pytest.raises(ProtocolError, match=complaint):
        decode_frame([codec.pack(message), body.tobytes()], 0)


def test_points_of_the_wrong_shape_are_refused() -> None:
    header, _ = encode_frame(replace(make(), image=None, points=Keypoints(np.zeros((2, 2)), np.zeros(2))), *WHO, 0)
    message = codec.unpack(header)
    for change in ({"points": np.zeros((3, 2))}, {"points": np.zeros((2, 3))}, {"points": 5}, {"confidence": None}):
        with pytest.raises(ProtocolError, match="points"):
            decode_frame([codec.pack(message | change)], 0)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_bytes_whatever_do_more_than_be_refused(data: st.DataObject) -> None:
    """Noise, cut and twisted messages, and maps of any content raise ProtocolError or give a frame."""
    header, body = encode_frame(make(), *WHO, 0)
    assert body is not None
    kind = data.draw(st.sampled_from(["noise", "twisted", "map"]))
    if kind == "noise":
        parts = data.draw(st.lists(st.binary(max_size=300), max_size=4))
    elif kind == "twisted":
        twisted = bytearray(header)
        for _ in range(data.draw(st.integers(1, 4))):
            twisted[data.draw(st.integers(0, len(twisted) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, len(twisted)))
        parts = [bytes(twisted[:cut] if data.draw(st.booleans()) else twisted), body.tobytes()]
    else:
        value = st.recursive(
            st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=8,
        )
        message = codec.unpack(header)
        for key in data.draw(st.lists(st.sampled_from(sorted(message)), min_size=1, max_size=3)):
            message[key] = data.draw(value)
        parts = [msgpack.packb(message), body.tobytes()]
    try:
        got = decode_frame(parts, 0)
    except ProtocolError as error:
        assert "\n" not in str(error)
    else:
        assert got is None or isinstance(got, EndOfFrames) or got.image is None or got.image.nbytes == body.nbytes


def test_the_last_word_and_a_push_travel() -> None:
    end = EndOfFrames("cam1", "epoch", -1, Counters(5, 1, 4, 0))
    assert decode_frame([encode_end(end, "session", "node")], 0) == end
    assert decode_frame([encode_push(*WHO, 7), bytes(1000)], 0) is None


@pytest.mark.parametrize("n_parts", [0, 3, 64])
def test_a_message_of_other_parts_is_refused(n_parts: int) -> None:
    header, _ = encode_frame(make(), *WHO, 0)
    with pytest.raises(ProtocolError, match="parts instead of one or two"):
        decode_frame([header] * n_parts, 0)


def test_points_that_are_no_place_are_not_seen_and_none_outvotes_the_others() -> None:
    points = np.array([[1, 2], [np.inf, 2], [np.nan, np.nan], [5, 6], [7, 8]], np.float32)
    confidence = np.array([1e30, 0.5, 0.5, np.nan, -1], np.float32)
    sent = replace(make(np.zeros((4, 4, 3), np.uint8), size=(4, 4)), image=None, points=Keypoints(points, confidence))
    header, _ = encode_frame(sent, *WHO, 0)
    got = decode_frame([header], 1)
    assert isinstance(got, Frame) and got.points is not None
    np.testing.assert_array_equal(got.points.seen, [True, False, False, False, False])
    np.testing.assert_array_equal(got.points.confidence, [1, 0, 0, 0, 0])
