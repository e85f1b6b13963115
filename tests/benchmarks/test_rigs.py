import numpy as np
import pytest

from benchmarks._rigs import board_scene, make_rig, moved, point_scene
from calib.quality import judge


@pytest.mark.parametrize(("n_cameras", "fisheye"), [(2, False), (4, True), (6, "mixed"), (12, False)])
def test_a_board_is_seen_by_neighbours_at_once_and_by_all_cameras_in_turn(n_cameras, fisheye):
    scene = board_scene(1, n_cameras, fisheye=fisheye)
    seen = np.isfinite(scene.px[..., 0]).any(axis=-1)
    assert seen.sum(axis=1).min() >= 8
    together = [(seen[a] & seen[a + 1]).sum() for a in range(n_cameras - 1)]
    assert min(together) >= 4
    assert [camera.fisheye for camera in scene.rig.cameras][-1] is (fisheye is not False)


def test_the_noise_and_the_outliers_are_those_asked_for():
    scene = board_scene(2, 4, sigma_px=0.4, outliers=0.1)
    off = (scene.px - scene.clean_px)[~scene.outlier]
    assert np.nanstd(off) == pytest.approx(0.4, rel=0.05)
    there = np.isfinite(scene.px[..., 0])
    assert scene.outlier.sum() / there.sum() == pytest.approx(0.1, abs=0.02)
    assert np.linalg.norm((scene.px - scene.clean_px)[scene.outlier], axis=-1).min() > 10


def test_a_seed_is_a_scene():
    one, two, other = board_scene(5, 3, 10), board_scene(5, 3, 10), board_scene(6, 3, 10)
    np.testing.assert_array_equal(one.px, two.px)
    assert one.rig.calibration_id == two.rig.calibration_id != other.rig.calibration_id


def test_a_delayed_camera_sees_the_board_where_it_was():
    plain = board_scene(3, 3, 20)
    late = board_scene(3, 3, 20, delay_frames=(0, 1, 0))
    np.testing.assert_array_equal(plain.clean_px[[0, 2]], late.clean_px[[0, 2]])
    shift = np.linalg.norm(late.clean_px[1] - plain.clean_px[1], axis=-1)
    assert 1 < np.nanmedian(shift) < 60


def test_a_subject_is_seen_from_all_sides():
    scene = point_scene(1, 5)
    assert scene.px.shape == (5, 100, 15, 2)
    assert np.isfinite(scene.px[..., 0]).mean() > 0.7


def test_these_rigs_have_no_fault_of_their_own():
    assert [judge(make_rig(seed, 2 + seed % 11, "mixed")).verdict for seed in range(12)].count("bad") == 0


def test_a_moved_camera_is_moved_by_what_was_said():
    rig = make_rig(0, 4)
    hit = moved(rig, "cam02", turned_deg=2.0, moved_mm=15.0)
    assert np.linalg.norm(hit["cam02"].center_mm - rig["cam02"].center_mm) == pytest.approx(15)
    cosine = (np.trace(hit["cam02"].R @ rig["cam02"].R.T) - 1) / 2
    assert np.degrees(np.arccos(cosine)) == pytest.approx(2)
    assert (
        hit.select(["cam01", "cam03", "cam04"]).calibration_id == rig.select(["cam01", "cam03", "cam04"]).calibration_id
    )
