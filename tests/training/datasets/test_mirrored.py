"""A sample that is mirrored in all views is still seen by the same cameras: only the sides' names have changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calib.rig import RigArrays
from calib.triangulate import triangulate
from tests.training.datasets.test_labelled import SKELETON, labels_in, position, the_rig
from training.config import AugmentSection, CropSection
from training.crops import sides_changed
from training.datasets.gather import gather
from training.datasets.labelled import Labelled
from training.datasets.shots import ShotOrder, ShotSamples
from training.samples import Sample

PAIRS = ((0, 6), (1, 7), (2, 8))
UNCHANGED = AugmentSection(patch_share=0, gain=(1, 1), noise=0)
CROP = CropSection(turn_deg=20, stretch=0.2)


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    folder = tmp_path_factory.mktemp("mirrored")
    labels = labels_in(folder, the_rig())
    gather(replace(labels, skeleton=SKELETON.model_copy(update={"left_right": PAIRS})), folder / "gathered", the_rig())
    return Labelled(folder / "gathered", "train", share=0)


def sample(shots: Labelled, mirror: float) -> Sample:
    samples = ShotSamples(shots, CROP.model_copy(update={"mirror": mirror}), UNCHANGED, 3)
    return samples[ShotOrder(0, 0, shots.index[1], 0, 96)]


def test_its_points_still_lead_to_its_place(shots: Labelled) -> None:
    made = sample(shots, 1.0)
    raw = np.einsum("vij,vkj->vki", made.crop_to_image[..., :2].astype(float), made.points.astype(float))
    raw += made.crop_to_image[:, None, :, 2]
    arrays = RigArrays(*(getattr(made, name).astype(float) for name in RigArrays._fields))
    found = triangulate(raw, np.isfinite(raw).all(axis=-1).astype(float), arrays)
    known = np.isfinite(made.position_mm).all(axis=-1)
    assert known.sum() == 11
    assert np.abs(found - made.position_mm)[known].max() < 1


def test_left_is_where_right_was(shots: Labelled) -> None:
    names = sides_changed(len(SKELETON.joints), PAIRS)
    wanted = position(shots.index[1].frame)[names]
    assert np.nanmax(np.abs(sample(shots, 1.0).position_mm - wanted)) < 1
    assert np.linalg.det(sample(shots, 1.0).crop_to_image[..., :2].astype(float)).max() < 0


def test_without_it_nothing_is_mirrored(shots: Labelled) -> None:
    assert np.linalg.det(sample(shots, 0.0).crop_to_image[..., :2].astype(float)).min() > 0
    assert np.nanmax(np.abs(sample(shots, 0.0).position_mm - position(shots.index[1].frame))) < 1
