"""A list of poses gets keys only where it is certain whose they are."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from rigpose.errors import ConfigError
from tests.training.datasets import made
from training.datasets.human36m import Human36M, read_labels
from training.datasets.precalculated import read_precalculated
from training.datasets.prepare_results import prepare


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.Human36M(tmp_path_factory.mktemp("h36m"), pictures=False).labels()


def results(path: Path, labels: Path, shift: int = 0, **part: object) -> Human36M:
    """What learnable triangulation leaves: in the order of its batches."""
    shots = Human36M(read_labels(labels), Path(), "val", **part)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    truth = np.stack([shots.shot(key).position_mm for key in shots.index])
    places = rng.permutation(len(truth))
    poses = np.roll(truth, shift, axis=0)[places] + rng.normal(0, 15, truth.shape)
    path.write_bytes(pickle.dumps({"keypoints_3d": poses.astype(np.float32), "indexes": places}))
    return shots


def test_each_pose_gets_its_moment(labels: Path, tmp_path: Path) -> None:
    shots = results(tmp_path / "val.pkl", labels, with_damaged=True)
    assert prepare(tmp_path / "val.pkl", labels, tmp_path / "val.npz", "val", with_damaged=True) == len(shots.index)
    poses = read_precalculated(tmp_path / "val.npz")
    poses.require(shots.index)
    for key in shots.index:
        assert np.abs(poses[key] - shots.shot(key).position_mm).max() < 100


def test_another_number_is_an_error_that_says_what_would_fit(labels: Path, tmp_path: Path) -> None:
    results(tmp_path / "val.pkl", labels, with_damaged=True)
    with pytest.raises(ConfigError, match=r"holds 7 poses, Human3.6M val of .* has 5 moments \(--split val --with-dam"):
        prepare(tmp_path / "val.pkl", labels, tmp_path / "val.npz", "val")
    results(tmp_path / "thin.pkl", labels, retain_every=2)
    with pytest.raises(ConfigError, match=r"\(--split val --retain-every 2 has as many\)"):
        prepare(tmp_path / "thin.pkl", labels, tmp_path / "val.npz", "val")
    assert not (tmp_path / "val.npz").exists()


def test_the_right_number_in_another_order_is_told_by_the_poses(tmp_path: Path) -> None:
    data = made.Human36M(tmp_path, pictures=False)
    for number, (key, position) in enumerate(data.position.items()):
        data.position[key] = position + np.array([700 * (number % 3 - 1), 0, 0], dtype=np.float32)
    labels = data.labels()
    results(tmp_path / "good.pkl", labels)
    prepare(tmp_path / "good.pkl", labels, tmp_path / "good.npz", "val")
    results(tmp_path / "shifted.pkl", labels, shift=1)
    with pytest.raises(ConfigError, match="within 500 mm of the labelled poses in 0% of the frames"):
        prepare(tmp_path / "shifted.pkl", labels, tmp_path / "val.npz", "val")


def test_what_is_no_list_is_one_line(labels: Path, tmp_path: Path) -> None:
    file = tmp_path / "val.pkl"
    file.write_bytes(pickle.dumps({"poses": 3}))
    with pytest.raises(ConfigError, match="holds no keypoints_3d and indexes"):
        prepare(file, labels, tmp_path / "val.npz", "val")
    file.write_bytes(pickle.dumps({"keypoints_3d": np.zeros((5, 17, 3)), "indexes": np.array([0, 1, 2, 3, 3])}))
    with pytest.raises(ConfigError, match="indexes that are not 0, 1, 2"):
        prepare(file, labels, tmp_path / "val.npz", "val")
    file.write_bytes(pickle.dumps({"keypoints_3d": np.zeros((5, 4, 3)), "indexes": np.arange(5)}))
    with pytest.raises(ConfigError, match=r"shape \[5, 4, 3\]"):
        prepare(file, labels, tmp_path / "val.npz", "val")
