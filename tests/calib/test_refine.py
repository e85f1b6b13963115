"""Refining and confirming on subjects whose cameras are known."""

import numpy as np
import pytest

from benchmarks._rigs import moved, point_scene
from calib.refine import confirm, confirmed, refine, scale_ratio
from rigpose.errors import ConfigError


def sure(px, value=0.9):
    return np.where(np.isfinite(px[..., 0]), value, 0.0)


@pytest.fixture(scope="module")
def scene():
    return point_scene(11, 4, 80, 12, sigma_px=2.0, outliers=0.05)


@pytest.fixture(scope="module")
def hit(scene):
    return moved(scene.rig, "cam02", turned_deg=1.5, moved_mm=25.0, seed=3)


@pytest.fixture(scope="module")
def refined(scene, hit):
    return refine(hit, scene.px, sure(scene.px))


def test_a_camera_that_was_hit_is_put_back_and_the_others_stay(scene, refined):
    moves = {one.camera: one for one in refined.moves}
    assert moves["cam02"].moved_mm > 15 and moves["cam02"].turned_deg > 1.2
    for name in ("cam01", "cam03", "cam04"):
        assert moves[name].moved_mm < 5 and moves[name].turned_deg < 0.3
    off = np.linalg.norm(refined.rig["cam02"].center_mm - scene.rig["cam02"].center_mm)
    assert off < 4 * max(moves["cam02"].moved_deviation_mm, 0.5)


def test_the_residual_falls_to_the_noise_and_the_scale_stays(refined):
    assert refined.after.median_px < 0.6 * refined.before.median_px
    assert refined.after.median_px < 2.5
    assert refined.held_out_after < 0.6 * refined.held_out_before
    assert refined.scale_ratio == pytest.approx(1, abs=0.01)


def test_it_is_unverified_and_names_its_parent(hit, refined):
    assert refined.verdict == "unverified"
    assert "bias" in refined.findings[-1].what
    assert refined.rig.metadata["parent"] == hit.calibration_id != refined.rig.calibration_id
    assert refined.rig.metadata["verdict"] == "unverified"


def test_lenses_stay_as_they_are(hit, refined):
    for old, new in zip(hit.cameras, refined.rig.cameras, strict=True):
        np.testing.assert_array_equal(old.K, new.K)
        np.testing.assert_array_equal(old.dist, new.dist)


def test_what_was_not_fitted_confirms_it(scene, hit, refined):
    other = point_scene(12, rig=scene.rig, n_joints=9, sigma_px=3.0)
    said = confirm(hit, refined.rig, other.px, sure(other.px), what="another network")
    assert said.verdict == "confirmed" and said.high < 1
    final = confirmed(refined, [said])
    assert final.verdict == "good" and final.rig.metadata["verdict"] == "good"
    assert "another network" in final.rig.metadata["confirmed_by"][0]
    assert final.rig.calibration_id == refined.rig.calibration_id


def test_a_networks_bias_in_a_view_is_found_out():
    scene = point_scene(13, 4, 80, 12, sigma_px=2.0, outliers=0.0)
    biased = scene.px + np.array([[0.0, 0], [14, -9], [0, 0], [0, 0]])[:, None, None]
    wrong = refine(scene.rig, biased, sure(biased))
    assert wrong.verdict == "unverified" and wrong.after.median_px < 0.75 * wrong.before.median_px
    other = point_scene(14, rig=scene.rig, n_joints=10, sigma_px=2.0, outliers=0.0)
    said = confirm(scene.rig, wrong.rig, other.px)
    assert said.verdict == "refuted"
    assert confirmed(wrong, [said]).verdict == "suspect"


def test_a_rig_that_is_right_has_nothing_to_refine():
    scene = point_scene(15, 4, 80, 12, sigma_px=2.0)
    result = refine(scene.rig, scene.px, sure(scene.px))
    assert result.verdict == "suspect"
    assert "nothing to refine" in result.findings[0].remedy


def test_the_surer_half_is_what_counts():
    scene = point_scene(18, 4, 60, 12, sigma_px=1.0, outliers=0.0)
    rng = np.random.default_rng(0)
    doubtful = rng.random(scene.px.shape[:-1]) < 0.5
    px = scene.px + np.where(doubtful[..., None], rng.normal(0, 40, scene.px.shape), 0)
    hit = moved(scene.rig, "cam03", turned_deg=1.0)
    result = refine(
        hit, px, np.where(doubtful, rng.uniform(0, 0.3, doubtful.shape), rng.uniform(0.6, 1, doubtful.shape))
    )
    assert result.min_confidence > 0.2
    assert result.after.median_px < 1.5


def test_too_few_keypoints_are_refused_in_one_line():
    scene = point_scene(19, 3, 4, 5)
    with pytest.raises(ConfigError, match="at least 50"):
        refine(scene.rig, scene.px, sure(scene.px))
    one = scene.rig.select(["cam01"])
    with pytest.raises(ConfigError, match="one camera alone"):
        refine(one, scene.px[:1], sure(scene.px[:1]))


def test_the_scale_is_the_median_ratio_of_distances(scene):
    assert scale_ratio(scene.rig.cameras, scene.rig.cameras) == pytest.approx(1)
