"""The command: what it says, what it leaves and how it ends."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.datasets import made
from tests.training.datasets.test_prepare_human36m import fetched, parameters
from tests.training.datasets.test_prepare_results import results
from training import prepare
from training.datasets.sections import Human36MSection, opened


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


def test_numbers_below_one_are_refused() -> None:
    with pytest.raises(SystemExit):
        prepare.arguments(["panoptic", "a", "b", "--every", "0"])


@pytest.mark.process
def test_an_error_is_one_line(root: Path, tmp_path: Path) -> None:
    called = [sys.executable, "-m", "training.prepare", "human36m", str(tmp_path / "none"), str(tmp_path / "dest")]
    answer = subprocess.run(called, cwd=root, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 2
    assert answer.stderr.startswith("rigpose: error: ") and answer.stderr.count("\n") == 1
