"""The command: what it says, what it leaves and how it ends."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from calib.camera import Camera
from calib.rig import Rig, write_rig
from calib.rotation import vector_of
from capture.labels import write_labels
from tests.training.datasets import made
from tests.training.datasets.test_labelled import labels_in
from tests.training.datasets.test_prepare_human36m import fetched, parameters
from tests.training.datasets.test_prepare_results import results
from training import prepare
from training.datasets.sections import Human36MSection, LabelsSection, opened


def test_human36m_is_ready_for_a_config(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = made.Human36M(tmp_path / "data")
    fetched(data)
    parameters(data)
    dest = tmp_path / "labels"
    with caplog.at_level(logging.INFO):
        assert prepare.main(["human36m", str(data.folder), str(dest), "--boxes", "joints"]) == 0
    line = caplog.messages[-1]
    assert line == f"in a config: data: {{kind: human36m, labels: {dest / 'labels.npz'}, root: {data.root}}}"
    assert "5 of 5 takes" in caplog.text
    shots, _ = opened(Human36MSection(kind="human36m", labels=dest / "labels.npz", root=data.root), "train")
    assert len(shots.index) == 4


def test_results_are_ready_for_a_config(tmp_path: Path) -> None:
    labels = made.Human36M(tmp_path, pictures=False).labels()
    shots = results(tmp_path / "val.pkl", labels)
    dest = tmp_path / "val.npz"
    called = ["results", str(tmp_path / "val.pkl"), str(dest), "--labels", str(labels), "--split", "val"]
    assert prepare.main(called) == 0
    section = Human36MSection(kind="human36m", labels=labels, root=tmp_path, precalculated_val=dest)
    assert section.precalculated_val == dest and len(shots.index) == 5


def test_labels_are_ready_for_a_config(tmp_path: Path) -> None:
    poses = made.ring(2, 5200, 1500, np.array([0, 0, 800.0]))
    K = np.array([[420.0, 0, 200], [0, 420, 150], [0, 0, 1]])
    rig = Rig(
        tuple(
            Camera(name, (400, 300), K, np.zeros(0), vector_of(R), t)
            for name, (R, t) in zip(("top", "side"), poses, strict=True)
        )
    )
    write_rig(rig, tmp_path / "rig.toml")
    write_labels(labels_in(tmp_path, rig), tmp_path / "labels.json")
    called = ["labels", str(tmp_path / "labels.json"), str(tmp_path / "dest"), "--rig", str(tmp_path / "rig.toml")]
    assert prepare.main(called) == 0
    shots, _ = opened(LabelsSection(kind="labels", root=tmp_path / "dest", share=0), "train")
    assert len(shots.index) == 6 and shots.n_views(shots.index[0]) == 2


def test_numbers_below_one_are_refused() -> None:
    with pytest.raises(SystemExit):
        prepare.arguments(["panoptic", "a", "b", "--every", "0"])


@pytest.mark.process
def test_an_error_is_one_line(root: Path, tmp_path: Path) -> None:
    called = [sys.executable, "-m", "training.prepare", "human36m", str(tmp_path / "none"), str(tmp_path / "dest")]
    answer = subprocess.run(called, cwd=root, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 2
    assert answer.stderr.startswith("rigpose: error: ") and answer.stderr.count("\n") == 1
