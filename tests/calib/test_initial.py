"""First poses of a rig, and what a flat board leaves open."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmarks import _rigs
from calib.initial import start
from calib.observations import BoardViews
from calib.sight import BoardPoses, board_poses, sight_of


def begin(rig, target_mm, px, exchange=None):
    """The start from views; with the two poses of some views exchanged."""
    views = BoardViews(target_mm, rig.names, tuple(c.size for c in rig.cameras), np.arange(px.shape[1]), px)
    sight = sight_of(views, rig.cameras)
    poses = board_poses(sight, target_mm, views.usable)
    if exchange is not None:
        changed = []
        for values in (poses.R, poses.t, poses.information):
            values = values.copy()
            values[exchange] = values[exchange][:, ::-1]
            changed.append(values)
        poses = BoardPoses(changed[0], changed[1], poses.chi2, changed[2], poses.kept, poses.known, poses.two)
    return start(sight, poses, target_mm, rig.names)


def errors(stance, rig):
    """Degrees and share of the working distance of each camera, relative to the first."""
    first = rig.cameras[0]
    degrees, shares = [], []
    for R, t, camera in zip(stance.R, stance.t, rig.cameras, strict=True):
        true_R = camera.R @ first.R.T
        true_t = camera.t - true_R @ first.t
        degrees.append(np.degrees(np.linalg.norm(R - true_R) / np.sqrt(2)))
        shares.append(np.linalg.norm(R.T @ t - true_R.T @ true_t) / _rigs.REACH_MM)
    return np.array(degrees), np.array(shares)


@pytest.mark.parametrize(("cameras", "fisheye"), [(2, False), (4, False), (4, True), (6, "mixed"), (12, False)])
def test_the_start_is_near_the_truth_in_spite_of_gross_errors(cameras, fisheye):
    scene = _rigs.board_scene(cameras, cameras, 60, fisheye=fisheye)
    found, graph, _ = begin(scene.rig, scene.target_mm, scene.px)
    assert graph.connected
    degrees, shares = errors(found.stance, scene.rig)
    assert degrees.max() < 0.5 and shares.max() < 0.01
    assert degrees[0] < 1e-9 and shares[0] < 1e-9


def test_boards_stand_where_they_stood():
    scene = _rigs.board_scene(7, 4, 30)
    found, _, _ = begin(scene.rig, scene.target_mm, scene.px)
    first = scene.rig.cameras[0]
    for f, pose in enumerate(found.poses):
        if np.isfinite(pose).all():
            true_R = first.R @ cv2.Rodrigues(scene.poses[f, :3])[0]
            off = cv2.Rodrigues(pose[:3])[0] @ true_R.T
            assert np.degrees(np.linalg.norm(cv2.Rodrigues(off)[0])) < 2


def test_mirrored_poses_in_half_of_the_views_are_outvoted():
    scene = _rigs.board_scene(8, 3, 40, outliers=0.0)
    target = scene.target_mm * 0.3
    px = small(scene, target)
    exchange = np.random.default_rng(0).random(px.shape[:2]) < 0.4
    found, _, _ = begin(scene.rig, target, px, exchange)
    degrees, _ = errors(found.stance, scene.rig)
    assert degrees.max() < 2


def small(scene, target, sigma_px=0.2):
    """The views of a smaller board on the same way."""
    rng = np.random.default_rng(1)
    px = np.full((*scene.px.shape[:2], len(target), 2), np.nan)
    for f, pose in enumerate(scene.poses):
        R = cv2.Rodrigues(pose[:3])[0]
        world = target @ R.T + pose[3:]
        for v, camera in enumerate(scene.rig.cameras):
            if np.isfinite(scene.px[v, f]).any():
                px[v, f] = camera.project(world) + rng.normal(0, sigma_px, (len(target), 2))
    return px


def test_a_board_that_never_turns_leaves_a_pair_contested():
    """Moved but not turned, a small board has a mirrored pose that is the same at all moments."""
    rig = _rigs.make_rig(3, 2)
    target = _rigs.board_points(5, 4, 12.0)
    rng = np.random.default_rng(0)
    facing = rig.cameras[0].R.T @ cv2.Rodrigues(np.array([0.35, 0.3, 0.0]))[0]
    px = np.zeros((2, 25, len(target), 2))
    for f in range(25):
        world = target @ facing.T + rng.uniform(-100, 100, 3)
        for v, camera in enumerate(rig.cameras):
            px[v, f] = camera.project(world) + rng.normal(0, 0.4, (len(target), 2))
    _, _, links = begin(rig, target, px)
    assert links[0].contested
    turned = np.degrees(np.linalg.norm(links[0].with_rival().R - links[0].R) / np.sqrt(2))
    assert turned > 10


def test_cameras_that_share_no_moment_are_not_joined():
    scene = _rigs.board_scene(9, 4, 40)
    px = scene.px.copy()
    px[:2, :20] = np.nan
    px[2:, 20:] = np.nan
    found, graph, _ = begin(scene.rig, scene.target_mm, px)
    assert found is None
    assert graph.groups == ((0, 1), (2, 3)) and graph.missing
