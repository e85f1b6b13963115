"""Poses from another model belong to a moment, not to a place in a list."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from capture.virtual.skeletons import FLY38, HUMAN36M17
from rigpose.errors import ConfigError
from training.datasets.index import Key
from training.datasets.precalculated import read_precalculated, write_precalculated

KEYS = [Key("S9", "Walking-1", 0), Key("S9", "Walking-1", 64), Key("S11", "Eating-2", 0)]
POSES = np.arange(3 * 17 * 3, dtype=np.float32).reshape(3, 17, 3)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "val.npz"
    write_precalculated(path, KEYS, HUMAN36M17.joints, POSES)
    return path


def test_are_found_by_key_in_whatever_order_they_were_written(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    write_precalculated(other, KEYS[::-1], HUMAN36M17.joints, POSES[::-1])
    for key, pose in zip(KEYS, POSES, strict=True):
        assert np.array_equal(read_precalculated(file)[key], pose)
        assert np.array_equal(read_precalculated(other)[key], pose)


def test_missing_frames_are_one_error_that_names_them(file: Path) -> None:
    poses = read_precalculated(file)
    poses.require(KEYS)
    wanted = [*KEYS, Key("S9", "Walking-1", 128), Key("S9", "Sitting-1", 0), Key("S8", "Eating-2", 0)]
    with pytest.raises(ConfigError) as told:
        poses.require(wanted)
    assert told.value.where == str(file)
    assert told.value.what == ("lacks 3 of 6 frames: S9 Walking-1 frame 128; S9 Sitting-1 frame 0; S8 Eating-2 frame 0")
    with pytest.raises(ConfigError, match="lacks S9 Walking-1 frame 1"):
        poses[Key("S9", "Walking-1", 1)]


def test_more_than_what_is_needed_is_no_error(file: Path) -> None:
    read_precalculated(file).require(KEYS[:1])


def test_the_base_is_the_root_by_name(file: Path) -> None:
    poses = read_precalculated(file)
    root = poses.root_of(HUMAN36M17)
    assert root == (6,)
    assert np.array_equal(poses.base_mm(KEYS[1], root), POSES[1, 6])
    with pytest.raises(ConfigError, match="the root of fly38"):
        poses.root_of(FLY38)


def test_a_list_of_results_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "val.pkl"
    path.write_bytes(pickle.dumps({"keypoints_3d": POSES, "indexes": np.arange(3)}))
    with pytest.raises(ConfigError, match="by their place in a list.*training.prepare results"):
        read_precalculated(path)


def test_what_is_no_such_file_is_one_line(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_precalculated(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", schema=np.array(1))
    with pytest.raises(ConfigError, match="has no subjects"):
        read_precalculated(tmp_path / "other.npz")
    with np.load(file) as found:
        arrays = dict(found)
    np.savez(tmp_path / "short.npz", **(arrays | {"frame": arrays["frame"][:2]}))
    with pytest.raises(ConfigError, match="do not fit each other"):
        read_precalculated(tmp_path / "short.npz")
    np.savez(tmp_path / "new.npz", **(arrays | {"schema": np.array(2)}))
    with pytest.raises(ConfigError, match="schema 2"):
        read_precalculated(tmp_path / "new.npz")
    np.savez(tmp_path / "object.npz", **(arrays | {"joints": np.array([{}], dtype=object)}))
    with pytest.raises(ConfigError, match="is not a file of precalculated poses"):
        read_precalculated(tmp_path / "object.npz")


def test_a_moment_is_written_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="S9 Walking-1 frame 0 stands there twice"):
        write_precalculated(tmp_path / "x.npz", [KEYS[0], KEYS[0]], HUMAN36M17.joints, POSES[:2])
    with pytest.raises(ConfigError, match="give one pose for each moment"):
        write_precalculated(tmp_path / "x.npz", KEYS[:2], HUMAN36M17.joints, POSES)
    assert os.listdir(tmp_path) == []
