"""A picture has a twin on the device from the moment that it is whole; where there is none, it is copied later."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from engine.gpu.device import TorchDevice  # noqa: E402
from engine.gpu.twins import Twins  # noqa: E402

CPU = torch.device("cpu")


def picture(buffer, value, shape=(4, 6, 3)):
    """A picture in a buffer, as a receiver leaves it."""
    view = buffer[: int(np.prod(shape))].reshape(shape)
    view[...] = value
    view.flags.writeable = False
    return view


def pixels(twins, given):
    """What a picture's twin holds."""
    twin = twins.of(given)
    assert twin is not None
    return twin.pixels


def test_the_twin_of_a_picture_is_the_last_that_was_uploaded_from_its_place():
    twins = Twins(TorchDevice(CPU), CPU, nullcontext)
    buffer, other = np.zeros(100, np.uint8), np.zeros(100, np.uint8)
    first = picture(buffer, 3)
    assert twins.of(first) is None
    twins.upload(first)
    twins.upload(picture(other, 9))
    assert (pixels(twins, first) == 3).all() and pixels(twins, first).shape == (4, 6, 3)
    second = picture(buffer, 5, (3, 5))
    # A camera whose pictures have become smaller: the one before it is no longer there.
    twins.upload(second)
    assert (pixels(twins, second) == 5).all() and twins.of(first) is None
    assert (pixels(twins, picture(other, 9)) == 9).all()


def test_a_larger_picture_in_the_same_place_gets_a_larger_twin():
    twins = Twins(TorchDevice(CPU), CPU, nullcontext)
    buffer = np.zeros(100, np.uint8)
    twins.upload(picture(buffer, 1, (2, 2)))
    large = picture(buffer, 2, (9, 9))
    twins.upload(large)
    assert (pixels(twins, large) == 2).all()


def test_uploads_are_made_in_the_device_s_context():
    inside = []

    @contextmanager
    def context():
        inside.append(True)
        yield
        inside.pop()

    class Device(TorchDevice):
        def upload(self, target, source):
            assert inside
            super().upload(target, source)

    twins = Twins(Device(CPU), CPU, context)
    given = picture(np.zeros(100, np.uint8), 7)
    twins.upload(given)
    assert twins.of(given) is not None and not inside


def test_a_device_without_room_is_said_once_and_what_was_there_is_not_taken_for_what_came(caplog):
    class Full(TorchDevice):
        full = False

        def upload(self, target, source):
            if self.full:
                raise MemoryError("out of memory")
            super().upload(target, source)

    device = Full(CPU)
    twins = Twins(device, CPU, nullcontext)
    buffer, other = np.zeros(100, np.uint8), np.zeros(100, np.uint8)
    twins.upload(picture(buffer, 1))
    twins.upload(picture(other, 1))
    device.full = True
    for _ in range(2):
        for memory in (buffer, other):
            new = picture(memory, 2)
            twins.upload(new)
            assert twins.of(new) is None
    assert len([message for message in caplog.messages if "when their set is complete (out of memory)" in message]) == 1
