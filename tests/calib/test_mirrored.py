"""A camera that was placed by the mirrored pose of a board is told from one that was moved."""

from __future__ import annotations

import pytest

from benchmarks._calibration_faults import mirrored_file, turned_since
from benchmarks._calibration_synthetic import scene_of, views_of_scene
from benchmarks._rigs import moved
from calib.check import check


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_a_camera_placed_by_the_mirrored_pose_is_named(seed):
    said = mirrored_file(seed)
    assert said.verdict == "bad"
    assert said.names("mirrored pose")


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_camera_that_was_turned_is_not_called_mirrored(seed):
    said = turned_since(seed)
    assert said.verdict == "bad"
    assert not any("mirrored" in finding.what for finding in said.findings)


def test_nor_is_one_that_stands_far_off():
    scene = scene_of(3)
    rig = moved(scene.rig, "cam02", turned_deg=30, moved_mm=600, seed=1)
    findings = check(rig, boards=views_of_scene(scene)).verdict.findings
    assert findings and not any("mirrored" in finding.what for finding in findings)
