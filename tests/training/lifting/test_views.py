"""Cameras: rotations, the rig's own, and those anywhere about a subject."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rigpose.errors import ConfigError
from tests.engine.lifters import RIG
from tests.training.lifting.made import CPU, bank, generator
from training.lifting.config import ViewSection
from training.lifting.views import Viewer, from_quaternion, rotation


def viewer(**keys):
    return Viewer(ViewSection(**keys), RIG, CPU)


def is_rotation(R):
    eye = torch.eye(3).expand(R.shape)
    return torch.allclose(R @ R.mT, eye, atol=1e-5) and torch.allclose(
        torch.linalg.det(R), torch.ones(len(R)), atol=1e-5
    )


def test_known_cameras_are_the_rigs():
    made = bank(1, n=10)
    views = viewer(cameras=("fish", "pin")).draw(made.middle, generator())
    assert set(views.camera.tolist()) == {0, 2}
    for row, camera in enumerate(views.camera.tolist()):
        wanted = RIG.cameras[camera]
        assert np.allclose(views.R[row], wanted.R, atol=1e-6)
        assert np.allclose(views.middle[row], wanted.R @ made.middle[row].double().numpy() + wanted.t, atol=1e-3)


def test_narrow_cameras_turn_the_subject_about_up_by_no_more_than_they_may():
    made = bank(1, n=200)
    views = viewer(kind="narrow", cameras=("pin",), turn_deg=(20, 0, 0)).draw(made.middle, generator())
    known = torch.as_tensor(RIG["pin"].R, dtype=torch.float32)
    turn = known.mT @ views.R
    assert is_rotation(views.R)
    assert torch.allclose(turn[:, 2], torch.tensor([0.0, 0, 1]).expand(200, 3), atol=1e-5)
    angle = torch.rad2deg(torch.atan2(turn[:, 1, 0], turn[:, 0, 0]))
    assert -20.01 < angle.min() < -10 and 10 < angle.max() < 20.01


@pytest.mark.parametrize("up", ["z", "-y", "x"])
def test_unknown_cameras_stand_within_their_ranges_and_look_at_the_subject(up):
    section = {"kind": "unknown", "up": up, "elevation_deg": (10, 40), "roll_deg": (0, 0), "distance_mm": (900, 1100)}
    views = viewer(**section, aim=0.0).draw(torch.zeros(500, 3), generator())
    assert is_rotation(views.R)
    centre = -(views.R.mT @ views.middle[..., None])[..., 0]
    axis = {"z": (0, 0, 1), "-y": (0, -1, 0), "x": (1, 0, 0)}[up]
    height = (centre * torch.tensor(axis, dtype=torch.float32)).sum(dim=-1)
    elevation = torch.rad2deg(torch.asin(height / centre.norm(dim=-1)))
    assert 9.9 < elevation.min() < 15 and 35 < elevation.max() < 40.1
    assert 900 <= centre.norm(dim=-1).min() and centre.norm(dim=-1).max() <= 1100.1
    # The picture's y points down.
    assert ((views.R[:, 1] * torch.tensor(axis, dtype=torch.float32)).sum(dim=-1) < 0).all()


def test_without_up_cameras_stand_anywhere():
    views = viewer(kind="unknown", up="any").draw(torch.zeros(4000, 3), generator())
    assert is_rotation(views.R)
    assert views.R.mean(dim=0).abs().max() < 0.05, "no direction is preferred"


def test_cameras_that_do_not_exist_are_named():
    with pytest.raises(ConfigError, match="no left"):
        viewer(cameras=("left",))
    with pytest.raises(ConfigError, match="poses have no cameras"):
        Viewer(ViewSection(), None, CPU)


def test_rotations_are_those_of_opencv():
    import cv2

    vectors = torch.randn(5, 3, generator=generator())
    for vector, made in zip(vectors, rotation(vectors), strict=True):
        assert np.allclose(made, cv2.Rodrigues(vector.double().numpy())[0], atol=1e-5)
    assert is_rotation(from_quaternion(torch.randn(5, 4, generator=generator())))
