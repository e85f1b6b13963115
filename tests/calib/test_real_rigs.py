"""What calibration must show on real recordings: the bars of the benchmark, as far as they need no peer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import _calibration_data as data_sets
from benchmarks._calibration_measure import measure, triangulated
from benchmarks._calibration_real import with_places
from benchmarks._calibration_synthetic import in_first_frame, lenses_of
from calib.check import check
from calib.convert import read_any
from calib.rig import read_rig
from calib.solve_rig import calibrate as calibrated

pytestmark = [pytest.mark.data, pytest.mark.slow, pytest.mark.timeout(900)]


def calibrate(*arguments: Any) -> Any:
    """An outcome with a rig."""
    outcome = calibrated(*arguments)
    assert outcome.rig is not None and outcome.spread is not None and outcome.rigidity is not None
    return outcome


@pytest.fixture(scope="module", autouse=True)
def kept():
    """Detections are kept between runs."""
    data_sets.keep_in_temporary_folder()


@pytest.fixture(scope="module")
def webcams(data_dir):
    return data_sets.webcams(data_dir)


@pytest.fixture(scope="module")
def mouse(data_dir):
    found = data_sets.mouse(data_dir)
    return found, calibrate(found.views)


def test_four_webcams_whose_lenses_are_known(webcams):
    found, given = webcams
    outcome = calibrate(found.views, lenses_of(given.cameras))
    assert outcome.spread.rms_px <= 1.15
    assert outcome.spread.rejected_share <= 0.03
    assert outcome.rigidity.rms_mm <= 1.1


def test_four_webcams_from_scratch(webcams):
    found, given = webcams
    outcome = calibrate(found.views)
    assert outcome.spread.median_px <= 0.75
    assert outcome.spread.rejected_share <= 0.03
    for camera, said in zip(outcome.rig.cameras, outcome.cameras, strict=True):
        off = np.abs(camera.K[[0, 1], [0, 1]] / given[camera.name].K[[0, 1], [0, 1]] - 1).max()
        assert off < 0.05 or said.focal_observable is False
    # These cameras take their pictures when they like, and one of them much later than the others: said, not hidden.
    assert outcome.verdict == "suspect"
    assert any("late" in reason.what or "early" in reason.what for reason in outcome.reasons)


def test_a_stereo_pair_is_what_matlab_found(data_dir):
    outcome = calibrate(data_sets.stereo(data_dir).views)
    assert outcome.verdict == "good"
    assert outcome.spread.rms_px <= 0.22 and outcome.spread.rejected_share <= 0.03
    first, second = in_first_frame(outcome.rig.cameras)
    assert np.linalg.norm(second.center_mm - first.center_mm) == pytest.approx(99.8, abs=0.2)
    for name, focal in data_sets.matlab_focal(data_dir).items():
        np.testing.assert_allclose(outcome.rig[name].K[[0, 1], [0, 1]], focal, rtol=0.005)


def test_the_mouse_arena_with_its_gross_errors_rejected(mouse, data_dir):
    found, outcome = mouse
    # Solved with the rig, no lens may fold within its picture.
    assert outcome.verdict == "good", str(outcome)
    assert {camera.intrinsics for camera in outcome.cameras} == {"with the rig"}
    assert not any("folds back" in reason.what for reason in outcome.reasons if reason.level != "note")
    assert outcome.spread.median_px <= 0.23 and outcome.spread.rms_px < 1
    assert outcome.spread.rejected_share <= 0.03
    # Every corner that at least two cameras saw, rejected ones too: nothing gross was fitted away.
    whole = measure(outcome.rig.cameras, found.views.px, found.views.target_mm)
    assert whole.median_px() < 0.23
    px = data_sets.mouse_keypoints(data_dir, outcome.rig.names)
    assert np.nanmedian(triangulated(outcome.rig.cameras, px)[1]) <= 6.1


def test_the_committed_file_of_the_mouse_arena_is_bad(mouse, data_dir):
    found, _ = mouse
    rig = read_rig(data_dir / "mouse4-sleap" / "calibration.toml", units="mm")
    for said in (check(rig).verdict, check(rig, boards=found.views).verdict):
        assert said.verdict == "bad"
        assert any(set(one.cameras) == {"side", "top"} and "identical" in one.what for one in said.findings)


@pytest.mark.parametrize(
    ("file", "most_px"), [("fly7-deepfly3d/df3d_reference.npz", 2.9), ("mouse6-dannce/label3d_mouse1.mat", 0.01)]
)
def test_imports_reproject(data_dir, file, most_px):
    found = read_any(data_dir / file).check
    assert found is not None and found.median_px <= most_px


def test_refinement_is_confirmed_by_another_network_and_by_the_scene(data_dir, models_dir):
    from benchmarks._calibration_keypoints import NETWORKS, SCENE_PX, balance_keypoints, scene_rig
    from calib.refine import confirm, confirmed, refine, scale_ratio

    mine, other = (balance_keypoints(data_dir, models_dir, network) for network in NETWORKS)
    refined = refine(mine.rig, mine.px, mine.confidence)
    assert refined.verdict == "unverified"
    px = np.where((mine.confidence >= refined.min_confidence)[..., None], mine.px, np.nan)
    before, after = (np.nanmedian(triangulated(rig.cameras, px)[1]) for rig in (mine.rig, refined.rig))
    assert after <= 2 / 3 * before
    assert scale_ratio(mine.rig.cameras, refined.rig.cameras) == pytest.approx(1, abs=0.01)
    given = scene_rig(data_dir)
    told = [
        confirm(other.rig, with_places(other.rig, refined.rig), other.px, other.confidence, what="another network"),
        confirm(given, with_places(given, refined.rig), SCENE_PX[:, None], what="scene points"),
    ]
    assert [one.verdict for one in told] == ["confirmed", "confirmed"]
    assert confirmed(refined, told).verdict == "good"


def test_refinement_by_a_poor_network_is_refuted(data_dir, models_dir):
    from benchmarks._calibration_keypoints import NETWORKS, SCENE_PX, balance_keypoints, scene_rig
    from calib.refine import confirm, confirmed, refine

    poor = balance_keypoints(data_dir, models_dir, NETWORKS[1])
    refined = refine(poor.rig, poor.px, poor.confidence)
    given = scene_rig(data_dir)
    told = confirm(given, with_places(given, refined.rig), SCENE_PX[:, None], what="scene points")
    assert told.verdict == "refuted"
    assert confirmed(refined, [told]).verdict in ("suspect", "bad")
