"""Poses of files are read by all that a user can say of them."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

pytest.importorskip("torch")

from capture.labels.poses.reader import read_poses3d  # noqa: E402
from rigpose.errors import ConfigError  # noqa: E402
from tests.training.lifting.made import SKELETON, poses  # noqa: E402
from training.lifting.config import FilesSection  # noqa: E402
from training.lifting.sources import poses_of  # noqa: E402


@pytest.fixture
def file(tmp_path):
    made = poses(40)
    np.savez(tmp_path / "poses.npz", position=made.position_mm / 10, joints=np.array(SKELETON.joints))
    return tmp_path / "poses.npz"


def test_what_the_reader_takes_can_be_said_in_a_config():
    taken = set(inspect.signature(read_poses3d).parameters) - {"path"}
    assert taken == set(FilesSection.model_fields) - {"kind", "files"}
    defaults = {name: p.default for name, p in inspect.signature(read_poses3d).parameters.items() if name != "path"}
    said = FilesSection(files=("a.npz",)).model_dump(exclude={"kind", "files"})
    assert {name: said[name] for name in taken} == defaults


def test_what_a_file_does_not_say_is_said_beside_it(file):
    found = poses_of(FilesSection(files=(file,), units="cm", subject="fly_7", rate_hz=80))
    np.testing.assert_allclose(found.position_mm, poses(40).position_mm, rtol=1e-5, atol=1e-3)
    assert set(found.subject.tolist()) == {"fly_7"} and found.rate_hz == 80
    with pytest.raises(ConfigError, match="mm"):
        poses_of(FilesSection(files=(file,)))
