"""Cameras that are moved while a biased network watches a subject."""

import numpy as np
import pytest

from benchmarks._rigs import make_rig, moved, point_scene
from calib.drift import DriftWatch

JOINTS = 12


def film(rig, seen_by, n_frames, seed, start=0, bias_px=8.0, sigma_px=3.0):
    """Frames (T, V, J, 2) of a subject that walks, as cameras see it that may stand elsewhere than the rig says."""
    scene = point_scene(seed, rig=rig, n_frames=start + n_frames, n_joints=JOINTS, outliers=0.0)
    rng = np.random.default_rng([seed, start])
    bias = np.random.default_rng(seed).normal(0, bias_px, (len(rig), 1, JOINTS, 2))
    points = scene.points_mm[start:]
    px = np.stack([camera.project(points) for camera in seen_by.cameras]) + bias
    px += rng.normal(0, sigma_px, px.shape)
    px[rng.random(px.shape[:-1]) < 0.2] = np.nan
    wrong = rng.random(px.shape[:-1]) < 0.03
    px[wrong] += rng.uniform(-150, 150, (int(wrong.sum()), 2))
    return np.moveaxis(px, 0, 1)


def watched(rig, *parts, **options):
    watch = DriftWatch(rig, window=20, learn=8, **options)
    for part in parts:
        for number, px in enumerate(part):
            watch.add(px, time_s=number / 30)
    return watch


@pytest.mark.parametrize("n_cameras", [3, 4, 6])
def test_the_camera_that_moved_is_named_with_how_much_and_since_when(n_cameras):
    rig = make_rig(5, n_cameras)
    name = rig.names[1]
    hit = moved(rig, name, turned_deg=1.0, seed=2)
    watch = watched(rig, film(rig, rig, 240, seed=5), film(rig, hit, 100, seed=5, start=240))
    state = watch.state()
    assert state.moved == (name,) and not state.suspected and not state.steady
    drift = state.cameras[1]
    there = hit[name].project(np.zeros(3)) - rig[name].project(np.zeros(3))
    assert drift.shift_px == pytest.approx(np.linalg.norm(there), rel=0.35)
    assert 0.5 < drift.turned_deg < 1.3
    assert drift.since_frame == 240
    assert name in str(state) and "240" in str(state)


@pytest.mark.parametrize("seed", range(6))
def test_a_steady_bias_of_the_network_is_no_drift(seed):
    rig = make_rig(seed, 2 + seed)
    watch = watched(rig, film(rig, rig, 500, seed=seed))
    assert watch.state().learned and watch.state().steady, str(watch.state())


def test_before_it_has_learned_it_says_so():
    rig = make_rig(1, 3)
    watch = watched(rig, film(rig, rig, 100, seed=1))
    state = watch.state()
    assert not state.learned and state.share_learned == pytest.approx(5 / 8)
    assert "learning" in str(state)


def test_of_two_cameras_it_cannot_be_told_which_moved():
    rig = make_rig(2, 2)
    hit = moved(rig, "cam02", turned_deg=2.0, seed=4)
    state = watched(rig, film(rig, rig, 240, seed=2), film(rig, hit, 100, seed=2, start=240)).state()
    assert state.moved == () and state.suspected == ("cam01", "cam02")
    assert "cannot be told" in str(state)


def test_two_cameras_that_moved_are_both_named():
    rig = make_rig(3, 6)
    hit = moved(moved(rig, "cam01", turned_deg=1.5, seed=1), "cam05", turned_deg=1.5, seed=7)
    state = watched(rig, film(rig, rig, 240, seed=3), film(rig, hit, 100, seed=3, start=240)).state()
    assert state.moved == ("cam01", "cam05")


def test_a_camera_that_is_put_back_is_well_again():
    rig = make_rig(4, 4)
    hit = moved(rig, "cam03", turned_deg=1.5, seed=1)
    watch = watched(rig, film(rig, rig, 240, seed=4), film(rig, hit, 80, seed=4, start=240))
    assert watch.state().moved == ("cam03",)
    for px in film(rig, rig, 60, seed=4, start=320):
        watch.add(px)
    assert watch.state().steady


def test_frames_without_a_subject_do_not_count():
    rig = make_rig(1, 3)
    watch = DriftWatch(rig, window=2, learn=2)
    nothing = np.full((3, JOINTS, 2), np.nan)
    assert not any(watch.add(nothing) for _ in range(10))
    alone = film(rig, rig, 4, seed=1)
    assert not watch.add(alone[0], weight=np.zeros((3, JOINTS)))
    assert [watch.add(px) for px in alone] == [False, True, False, True]
    assert watch.state().frames == 4
