"""Detected keypoints: as wrong as they are meant to be, and honest where they are meant to be."""

from __future__ import annotations

import pytest
import torch

from tests.training.lifting.made import CPU, TREE, generator
from training.lifting.config import NoiseSection
from training.lifting.detector import Detector

TRUE = torch.rand(4000, 1, 6, 2, generator=generator(3)) * torch.tensor([1.0, 2.0])
PX = torch.full((4000,), 0.01)


def detect(true=TRUE, px=PX, **keys):
    return Detector(NoiseSection(**keys), TREE, CPU).detect(true, px, generator())


def test_noise_is_in_raw_px():
    off = detect().points - TRUE
    assert off.std().item() == pytest.approx(0.02, rel=0.03)


def test_noise_may_be_a_share_of_the_subject():
    off = detect(of_extent=(0.05, 0.05)).points - TRUE
    extent = (TRUE.amax(dim=(1, 2)) - TRUE.amin(dim=(1, 2))).amax(dim=-1)
    assert (off / extent[:, None, None, None]).std().item() == pytest.approx(0.05, rel=0.03)


def test_without_gaps_all_is_seen_and_with_equal_noise_confidences_say_nothing():
    found = detect(confidence_tells=0.0)
    assert torch.isfinite(found.points).all() and (found.confidence == 1).all()


def test_confidences_fall_with_the_noise():
    found = detect(between_joints=1.0, confidence_tells=1.0)
    off = (found.points - TRUE).norm(dim=-1)
    sure = found.confidence > found.confidence.median()
    assert off[sure].mean() < 0.6 * off[~sure].mean()


def test_the_share_that_is_missing_is_drawn_and_three_are_left():
    found = detect(missing=(0.3, 0.3))
    gone = found.confidence == 0
    assert gone.float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert torch.equal(gone, found.points.isnan().all(dim=-1))
    assert (~gone).sum(dim=-1).min() >= 3
    assert (~detect(missing=(0.95, 0.95)).points.isnan().any(dim=-1)).sum(dim=-1).min() == 3


def test_a_limb_is_missing_as_a_whole():
    gone = detect(limb=1.0).confidence[:, 0] == 0
    assert (gone[:, 1] <= gone[:, 2]).all(), "a knee takes its tip along"
    assert gone.any(dim=-1).float().mean() > 0.9


def test_a_subject_half_out_of_the_picture_misses_what_lies_beyond_a_line():
    gone = detect(edge=1.0).confidence[:, 0] == 0
    assert 0.05 < gone.float().mean() < 0.5


def test_coarse_pictures_round():
    points = detect(px=torch.full((4000,), 1.0), coarse_px=(0.25, 0.25)).points
    assert torch.allclose(points / 0.25, (points / 0.25).round(), atol=1e-4)


def test_what_is_not_known_is_not_seen():
    true = TRUE.clone()
    true[:, :, 2] = torch.nan
    found = detect(true, missing=(0.5, 0.5), limb=0.5, edge=0.5)
    assert found.points[:, :, 2].isnan().all() and (found.confidence[:, :, 2] == 0).all()
    assert (found.confidence > 0).sum(dim=-1).min() >= 3


def test_joints_of_a_window_are_missing_for_a_while():
    true = TRUE[:500].repeat(1, 9, 1, 1)
    gone = detect(true, PX[:500], missing=(0.4, 0.4)).confidence == 0
    assert gone.float().mean().item() == pytest.approx(0.36, abs=0.04)
    assert gone.all(dim=1).float().mean() > 0.1
