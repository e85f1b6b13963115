"""Sessions of ours as poses."""

from dataclasses import replace

import numpy as np
import pytest

from rigpose.errors import ConfigError
from rigpose.pose import LIFTED
from tests.capture.labels.poses.made import read
from tests.training.datasets.recording import NOISE_PX, RATE, record, world

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    return record(tmp_path_factory.mktemp("sessions"), seed=3, sets=12)


def test_joints_that_views_agree_on_are_where_they_were(session):
    poses, made = read(session), world(3)
    truth = np.stack([made.truth(frame / RATE).position_mm for frame in poses.frame])
    off = np.linalg.norm(poses.position_mm - truth, axis=-1)[poses.there]
    assert np.median(off) < 15 and poses.there.mean() > 0.5
    assert poses.rig.calibration_id == made.rig.calibration_id and poses.rate_hz == pytest.approx(RATE, rel=0.01)
    assert poses.skeleton == made.skeleton and poses.source == "rigpose session"
    assert (np.diff(poses.frame) == 1).all()


def test_what_the_network_saw_stands_beside(session):
    poses = read(session)
    of_views = np.isfinite(poses.points2d[..., 0])
    assert (of_views.sum(axis=1)[poses.there] >= 3).all() and not of_views.any(axis=1)[~poses.there].any()
    assert np.nanmedian(poses.reprojection_px()) < 3 * NOISE_PX


def test_what_was_lifted_is_not_measured(tmp_path):
    def lifted(subject, number):
        return replace(subject, how=np.where(np.arange(len(subject.how)) == 5, LIFTED, subject.how).astype(np.uint8))

    poses = read(record(tmp_path, seed=3, sets=4, change=lifted))
    assert not poses.there[:, 5].any() and poses.there.any()


def test_nothing_that_can_be_believed(tmp_path):
    def far(subject, number):
        return replace(subject, residual_px=subject.residual_px + 50)

    with pytest.raises(ConfigError, match="none of its 3 poses of .* can be believed"):
        read(record(tmp_path, seed=3, sets=3, change=far))
