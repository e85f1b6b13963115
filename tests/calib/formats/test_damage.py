"""Damaged files of every format are an error in one line or a rig, and never end the process."""

import io
import re

import numpy as np
import pytest
from scipy.io import savemat

from calib.convert import read_any
from calib.formats import mat
from rigpose.errors import ConfigError, RigposeError
from tests.calib.formats.test_round_trips import ALL, written

INSTEAD = [b"nan", b"inf", b'""', b"{}", b"[1,2]", b"1e400", b"-5", b"abc", b"null"]


def damaged(data, rng):
    """The bytes cut off, with some changed, some missing, or with something else in the place of a number."""
    data = bytearray(data)
    kind = rng.integers(4)
    if kind == 0:
        return bytes(data[: rng.integers(len(data))])
    if kind == 1:
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(len(data))] = rng.integers(256)
    elif kind == 2:
        start = int(rng.integers(len(data)))
        del data[start : start + int(rng.integers(1, 60))]
    elif numbers := list(re.finditer(rb"[-\d.e+]{3,}", bytes(data))):
        found = numbers[rng.integers(len(numbers))]
        data[found.start() : found.end()] = INSTEAD[rng.integers(len(INSTEAD))]
    return bytes(data)


@pytest.mark.parametrize("name", ALL)
def test_damage_is_one_line(name, tmp_path):
    rng = np.random.default_rng(sum(name.encode()))
    _, path, _ = written(tmp_path, name)
    files = [path] if path.is_file() else sorted(path.iterdir())
    for _ in range(12):
        file = files[rng.integers(len(files))]
        whole = file.read_bytes()
        file.write_bytes(damaged(whole, rng))
        try:
            read_any(path, name, None if name == "rigpose" else "m")
        except RigposeError as error:
            assert "\n" not in str(error)
        file.write_bytes(whole)


class TestMat:
    """scipy's reader ends the process on some of these."""

    def plain(self):
        cell = np.empty((2, 1), object)
        cell[0, 0], cell[1, 0] = {"K": np.eye(3), "name": "left"}, {"K": np.eye(3) * 1j, "name": "r"}
        buffer = io.BytesIO()
        savemat(buffer, {"params": cell, "n": 3, "text": "abc"}, do_compression=False)
        return buffer.getvalue()

    def test_what_scipy_writes_and_matlab_compresses_is_let_through(self):
        mat.check(self.plain())
        buffer = io.BytesIO()
        savemat(buffer, {"a": np.zeros((3, 4), np.uint8), "b": "x" * 100}, do_compression=True)
        mat.check(buffer.getvalue())

    def test_every_changed_byte_is_found_or_harmless(self, tmp_path):
        data = self.plain()
        rng = np.random.default_rng(3)
        for _ in range(400):
            broken = bytearray(data)
            for _ in range(rng.integers(1, 4)):
                broken[rng.integers(128, len(broken))] = rng.integers(256)
            (tmp_path / "x.mat").write_bytes(broken)
            try:
                mat.load(tmp_path / "x.mat")
            except ConfigError as error:
                assert "\n" not in str(error)

    def test_a_compressed_variable_that_would_fill_the_memory_is_refused(self):
        import zlib

        bomb = zlib.compress(bytes(200 * 2**20), 9)
        data = self.plain()[:128] + (15).to_bytes(4, "little") + len(bomb).to_bytes(4, "little") + bomb
        with pytest.raises(ValueError, match="too large"):
            mat.check(data)

    def test_objects_and_sparse_matrices_are_not_let_through(self):
        from scipy.sparse import eye_array

        buffer = io.BytesIO()
        savemat(buffer, {"s": eye_array(3).tocsc()})
        with pytest.raises(ValueError, match="sparse"):
            mat.check(buffer.getvalue())
