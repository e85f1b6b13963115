"""MATLAB 7.3 files are read as the same variables in an older file are."""

from __future__ import annotations

import subprocess
import sys

import h5py
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from calib.convert import read_any
from calib.formats import mat
from rigpose.errors import ConfigError, MissingError
from tests.calib.formats import test_label3d
from tests.calib.formats.matlab73 import Writer, savemat73
from tests.calib.formats.rigs import BARREL, assert_same_cameras, check_of, rig_of
from tests.calib.scenes import cloud


def cell(*values):
    out = np.empty((len(values), 1), dtype=object)
    out[:, 0] = values
    return out


@pytest.fixture
def label3d(tmp_path, monkeypatch):
    """Label3D's file of a rig, once as version 7 and once as 7.3."""
    rig = rig_of(BARREL, BARREL, names=("Camera0", "Camera1"))
    points = cloud(rig, 20, 200)
    old = test_label3d.TestLabel3D().write(tmp_path / "old.mat", rig, points)
    kept = {}
    monkeypatch.setattr(test_label3d, "savemat", lambda path, variables: kept.update(variables))
    test_label3d.TestLabel3D().write(tmp_path / "unused.mat", rig, points)
    return rig, old, savemat73(tmp_path / "new.mat", kept)


def test_the_file_is_one_of_matlab(label3d):
    _, _, new = label3d
    data = new.read_bytes()
    assert data.startswith(b"MATLAB 7.3 MAT-file") and data[512:516] == b"\x89HDF"


def test_label3d_is_read_as_from_version_7(label3d):
    rig, old, new = label3d
    back = read_any(new, size=(1280, 1024))
    assert back.format == "label3d"
    assert_same_cameras(rig.cameras, back.rig.cameras)
    assert_same_cameras(read_any(old, size=(1280, 1024)).rig.cameras, back.rig.cameras)
    assert back.rig.names == ("Camera0", "Camera1")
    assert check_of(back).n == 2 * 19 and check_of(back).median_px < 1e-9


def test_all_that_scipy_makes_of_version_7(tmp_path):
    variables = {
        "wide": np.arange(6.0).reshape(2, 3),
        "row": np.arange(2000.0)[None],
        "deep": np.arange(24.0).reshape(2, 3, 4),
        "flag": np.array([[True, False]]),
        "text": "Größe",
        "cells": cell("a", np.eye(2), {"x": 1.0}),
        "one": {"K": np.eye(3), "name": "left", "inner": {"t": np.zeros((1, 3))}},
        "none": np.zeros((0, 3)),
        "whole": np.array([[1, -2]], np.int32),
    }
    savemat(tmp_path / "old.mat", variables)
    old, new = loadmat(tmp_path / "old.mat"), mat.load(savemat73(tmp_path / "new.mat", variables))
    assert set(new) == set(variables)

    def same(a, b):
        assert a.shape == b.shape
        if a.dtype.names:
            assert set(a.dtype.names) == set(b.dtype.names)
            for name in a.dtype.names:
                same(a[name], b[name])
        elif a.dtype == object:
            for x, y in zip(a.ravel(), b.ravel(), strict=True):
                same(x, y)
        else:
            np.testing.assert_array_equal(a, b)

    for name in variables:
        same(old[name], new[name])


def test_an_array_of_structs(tmp_path):
    found = mat.load(savemat73(tmp_path / "x.mat", {"cams": [{"f": 1.0, "n": "a"}, {"f": 2.0, "n": "b"}]}))["cams"]
    assert found.shape == (2, 1)
    assert [float(one["f"][0, 0]) for one in found.ravel()] == [1, 2]
    assert [str(one["n"][0]) for one in found.ravel()] == ["a", "b"]


def test_objects_are_left_out_and_said(tmp_path, caplog):
    writer = Writer(tmp_path / "x.mat")
    node = writer.file.create_dataset("when", data=np.zeros((1, 6), np.uint32))
    node.attrs["MATLAB_class"], node.attrs["MATLAB_object_decode"] = np.bytes_("datetime"), np.int32(3)
    found = mat.load(writer.save({"K": np.eye(3)}))
    assert set(found) == {"K"}
    assert "when: holds an object of class datetime" in caplog.text


def test_what_points_out_of_the_file_is_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.eye(3)
    writer = Writer(tmp_path / "x.mat")
    writer.file["params"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/secret")
    with pytest.raises(ConfigError, match="params lies elsewhere"):
        mat.load(writer.save({"K": np.eye(3)}))


def test_more_than_a_camera_file_holds_is_refused(tmp_path):
    """A megabyte of zeros in a few bytes is no reason to fill the memory."""
    writer = Writer(tmp_path / "x.mat")
    writer.file.create_dataset("big", shape=(2**17, 2**17), chunks=(2**10, 2**10), dtype="f8", compression="gzip")
    with pytest.raises(ConfigError, match="big is no array of a size"):
        mat.load(writer.save({}))


def test_a_cell_that_holds_itself_ends(tmp_path):
    writer = Writer(tmp_path / "x.mat")
    node = writer.file.create_dataset("loop", shape=(1, 1), dtype=h5py.ref_dtype)
    node[0, 0] = node.ref
    node.attrs["MATLAB_class"] = np.bytes_("cell")
    with pytest.raises(ConfigError, match="holds too much"):
        mat.load(writer.save({}))


def test_without_h5py_the_extra_is_named(label3d, monkeypatch):
    _, _, new = label3d
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingError, match=r"MATLAB 7\.3.*h5py.*rigpose\[calibrate\].*-v7") as error:
        read_any(new)
    assert "\n" not in str(error.value)


def test_damage_is_one_line(label3d, tmp_path):
    """In a process of its own: what a library does with broken numbers should not end the tests."""
    _, _, new = label3d
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from calib.formats import mat\n"
        "from rigpose.errors import ConfigError\n"
        "data, to = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])\n"
        "rng = np.random.default_rng(1)\n"
        "refused = 0\n"
        "for turn in range(300):\n"
        "    broken = bytearray(data[:rng.integers(512, len(data))] if turn % 3 == 0 else data)\n"
        "    for _ in range(rng.integers(1, 9)):\n"
        "        broken[rng.integers(512, min(len(broken), 6000) if turn % 2 else len(broken))] = rng.integers(256)\n"
        "    to.unlink(missing_ok=True)  # ext4 waits for the disk where a file is written over\n"
        "    to.write_bytes(broken)\n"
        "    try:\n"
        "        mat.load(to)\n"
        "    except ConfigError as error:\n"
        "        assert '\\n' not in str(error)\n"
        "        refused += 1\n"
        "print(refused)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, new, tmp_path / "broken.mat"], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50
