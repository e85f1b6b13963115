"""Samples: what a lifter is shown is what the cameras of the rig see."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from calib import lens
from rigpose.errors import ConfigError
from tests.engine.lifters import RIG
from tests.training.lifting.made import CPU, TREE, generator, poses
from training.lifting.bank import Bank
from training.lifting.config import BodySection, NoiseSection, ViewSection
from training.lifting.samples import Sampler

SILENT = NoiseSection(px=(0.0, 0.0))


def sampler(window=1, view=None, body=None, weak=False, noise=SILENT, **keys):
    return Sampler(Bank(poses(20, **keys), window, CPU), TREE, view or ViewSection(), noise, body, weak)


def test_points_are_those_of_the_rigs_cameras_without_their_lenses():
    made = poses(20)
    sample = sampler().sample(torch.arange(20), generator())
    for row, view in enumerate(sample.camera.tolist()):
        camera = RIG.cameras[view]
        expected = camera.undistort(camera.project(made.position_mm[row]))
        assert np.allclose(sample.points[row, 0], expected, atol=2e-6)
        in_camera = made.position_mm[row] @ camera.R.T + camera.t
        assert np.allclose(sample.target_mm[row], in_camera, atol=2e-3)


def test_a_given_camera_is_taken():
    sample = sampler(view=ViewSection(cameras=("fish", "pin"))).sample(
        torch.arange(4), generator(), torch.tensor([0, 1, 0, 1])
    )
    assert sample.camera.tolist() == [2, 0, 2, 0]


def test_weak_samples_are_in_px():
    made = poses(20)
    view = ViewSection(cameras=("pin",))
    sample = sampler(view=view, weak=True).sample(torch.arange(20), generator())
    px = RIG["pin"].project(made.position_mm) - RIG["pin"].K[:2, 2]
    scale = np.array([620.0, 615.0]) / np.sqrt(620.0 * 615.0)
    assert np.allclose(sample.points[:, 0] * scale, px, atol=1e-2)


def test_a_parallel_projection_keeps_proportions():
    view = ViewSection(kind="unknown", parallel=True, distance_mm=(1000, 1000), focal_px=500)
    sample = sampler(view=view, weak=True).sample(torch.arange(20), generator())
    across = sample.points[:, 0] - sample.points[:, 0, :1]
    assert torch.allclose(across, 0.5 * (sample.target_mm - sample.target_mm[:, :1])[..., :2], atol=1e-2)


def test_windows_show_the_motion_of_the_subject_and_miss_frames_before_the_first():
    sample = sampler(window=3).sample(torch.arange(20), generator(), torch.zeros(20, dtype=torch.long))
    assert sample.points[0, :2].isnan().all() and torch.isfinite(sample.points[2:]).all()
    alone = sampler().sample(torch.arange(20), generator(), torch.zeros(20, dtype=torch.long))
    assert torch.allclose(sample.points[5, 0], alone.points[3, 0], atol=1e-6)


def test_measured_points_are_those_of_the_file():
    made = sampler(view=ViewSection(kind="measured", cameras=("bent",)), points=True)
    sample = made.sample(torch.arange(20), generator())
    assert made.bank.points2d is not None
    arrays = RIG.arrays()
    px = made.bank.points2d[:, 1].double().numpy()
    expected = lens.undistort(px[:, None], *(a[1:2] for a in arrays[:3]))[:, 0]
    assert np.allclose(sample.points[:, 0], expected, atol=1e-5)


def test_measured_points_must_be_there_and_cannot_have_other_bodies():
    with pytest.raises(ConfigError, match="have no 2D points"):
        sampler(view=ViewSection(kind="measured"))
    with pytest.raises(ConfigError, match="2D points are measured"):
        sampler(view=ViewSection(kind="measured"), points=True, body=BodySection(bones=0.1))


def test_the_same_seed_gives_the_same_samples():
    section = BodySection(bones=0.1, bend_deg=5, mirror=0.5, scale=(0.9, 1.1))
    noise = NoiseSection(px=(1.0, 3.0), missing=(0.0, 0.5), limb=0.3)
    made = sampler(view=ViewSection(kind="unknown"), body=section, noise=noise)
    first, again = (made.sample(torch.arange(20), generator(4)) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.nan_to_num(9.0), b.nan_to_num(9.0))
