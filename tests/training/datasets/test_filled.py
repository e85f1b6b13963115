"""What one camera's labels lack, the others' say: a joint that a picture hides has its place all the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.training.datasets.test_labelled import MOMENTS, NAMES, labels_in, position, the_rig
from training.datasets.gather import gather
from training.datasets.labelled import Labelled

LEFT_OUT = 7


def unlabelled(folder: Path, cameras: tuple[str, ...]) -> Labelled:
    """The labels of `test_labelled`, without one joint in some cameras."""
    whole = labels_in(folder, the_rig())
    frames = []
    for frame in whole.frames:
        points = frame.points.copy()
        points[:, LEFT_OUT] = np.nan if frame.camera in cameras else points[:, LEFT_OUT]
        frames.append(replace(frame, points=points))
    assert gather(replace(whole, frames=tuple(frames)), folder / "gathered", the_rig()) == MOMENTS
    return Labelled(folder / "gathered", "train", share=0)


def test_a_joint_that_two_cameras_place_is_known_and_hidden_in_the_third(tmp_path: Path) -> None:
    shots = unlabelled(tmp_path, ("top",))
    for key in shots.index:
        for name, view in zip(NAMES, shots.shot(key).views, strict=True):
            assert view.points is not None and view.hidden is not None
            wanted = view.camera.project(position(key.frame))[LEFT_OUT]
            assert np.linalg.norm(view.points[LEFT_OUT] - wanted) < 0.1
            assert view.hidden[LEFT_OUT] == (name == "top")


def test_one_that_a_single_camera_saw_stays_unknown_in_the_others(tmp_path: Path) -> None:
    shots = unlabelled(tmp_path, ("top", "side"))
    for view, name in zip(shots.shot(shots.index[0]).views, NAMES, strict=True):
        assert view.points is not None and view.hidden is not None
        assert np.isnan(view.points[LEFT_OUT]).all() == (name != "back")
        assert not view.hidden[LEFT_OUT]
