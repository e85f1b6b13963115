"""A real person that four cameras saw, whose calibration is off: refined, and judged by what was not fitted."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks._calibration_keypoints import SCENE_PX, balance_keypoints
from calib.refine import Confirmation, Refined, confirm, confirmed, refine
from calib.rig import read_rig

pytestmark = pytest.mark.data

SURE, DOUBTFUL = "movenet_lightning_coco17", "hourglass_heatmap14"


def of_scene(data_dir, before, after) -> Confirmation:
    """By marks on the floor of the empty room, read off pictures of the calibrated size."""
    given = read_rig(data_dir / "human4-balance" / "calibration" / "Calib_qualisys.toml", units="m")
    rigs = [
        given.with_cameras(
            replace(camera, rvec=rig[camera.name].rvec, t=rig[camera.name].t) for camera in given.cameras
        )
        for rig in (before, after)
    ]
    return confirm(rigs[0], rigs[1], SCENE_PX[:, None], what="scene points")


@pytest.fixture(scope="module")
def seen(data_dir, models_dir):
    return {network: balance_keypoints(data_dir, models_dir, network) for network in (SURE, DOUBTFUL)}


@pytest.fixture(scope="module")
def refined(seen) -> Refined:
    return refine(seen[SURE].rig, seen[SURE].px, seen[SURE].confidence)


@pytest.mark.slow
def test_the_residual_of_the_keypoints_falls_by_a_third(refined):
    assert refined.after.median_px <= 2 / 3 * refined.before.median_px
    # Of all keypoints, the doubtful ones too, the network's own noise is the larger part.
    assert refined.all_after.median_px < 0.8 * refined.all_before.median_px
    assert refined.held_out_after < 0.75 * refined.held_out_before


@pytest.mark.slow
def test_the_scale_stays(refined):
    assert refined.scale_ratio == pytest.approx(1, abs=0.01)


@pytest.mark.slow
def test_alone_it_is_unverified(refined):
    assert refined.verdict == "unverified"


@pytest.mark.slow
def test_the_other_network_and_the_scene_confirm_it(data_dir, seen, refined):
    before = seen[SURE].rig
    other = confirm(before, refined.rig, seen[DOUBTFUL].px, seen[DOUBTFUL].confidence, what=DOUBTFUL)
    scene = of_scene(data_dir, before, refined.rig)
    assert other.after_px < other.before_px and other.verdict != "refuted"
    assert scene.verdict == "confirmed", str(scene)
    assert confirmed(refined, [other, scene]).verdict == "good"


@pytest.mark.slow
def test_a_network_that_hardly_sees_the_person_refines_nothing(data_dir, seen):
    mine = seen[DOUBTFUL]
    result = refine(mine.rig, mine.px, mine.confidence)
    assert result.verdict in ("bad", "suspect")
    assert of_scene(data_dir, mine.rig, result.rig).verdict == "refuted"
    assert np.isfinite(result.after.median_px)
