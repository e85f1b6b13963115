"""Lenses that were found and then held: the rig is as unsure as they make it."""

from __future__ import annotations

import cv2
import numpy as np

from benchmarks._calibration_synthetic import errors_of, in_first_frame, models_of, scene_of, views_of_scene
from calib.bundle import Free
from calib.intrinsics import solve_intrinsics
from calib.lens_doubt import with_lens_doubt
from calib.solution import solve
from calib.solve_rig import Options, calibrate


def normalised(outcome, scene):
    """Errors of all positions over their deviations."""
    off = [
        (camera.center_mm - truth.center_mm) / np.array(said.position_deviation_mm)
        for camera, truth, said in zip(
            outcome.rig.cameras[1:], in_first_frame(scene.rig.cameras)[1:], outcome.cameras[1:], strict=True
        )
    ]
    return np.concatenate(off)


def test_deviations_cover_the_errors_that_held_lenses_make():
    scene = scene_of(5)
    models = models_of(scene.rig.cameras)
    outcome = calibrate(views_of_scene(scene), options=Options(models=models, intrinsics="hold"))
    assert {camera.intrinsics for camera in outcome.cameras} == {"from its own views"}
    # Up to 60 deviations where the lenses were taken for true.
    z = normalised(outcome, scene)
    assert np.abs(z).max() < 4
    assert 0.2 < np.sqrt(np.mean(z**2)) < 2
    # Cameras that are only known to centimetres are no good rig.
    assert outcome.verdict == "suspect"


def test_a_lens_too_rich_for_its_views_does_not_keep_the_others_from_being_freed():
    found = errors_of(5, given=False)
    assert max(np.abs(found.position).max(), np.abs(found.turn).max()) < 4
    assert found.worst_mm < 20


def test_given_lenses_add_nothing():
    scene = scene_of(0)
    views = views_of_scene(scene)
    cameras = in_first_frame(scene.rig.cameras)
    poses = scene.poses.copy()
    first = scene.rig.cameras[0]
    for pose in poses:
        pose[:3] = cv2.Rodrigues(first.R @ cv2.Rodrigues(pose[:3])[0])[0].ravel()
        pose[3:] = first.R @ pose[3:] + first.t
    free = (Free(),) * len(cameras)
    solution = solve(views, cameras, poses, free, views.seen & ~scene.outlier)
    assert with_lens_doubt(views, solution, (None,) * len(cameras), free) is solution
    # One whose own views were asked adds to every camera that hangs on it, and never takes away.
    lens = solve_intrinsics(views.of([cameras[1].name]))
    doubted = with_lens_doubt(views, solution, (None, lens, *[None] * (len(cameras) - 2)), free)
    added = doubted.adjusted.covariance - solution.adjusted.covariance
    assert np.linalg.eigvalsh(added / np.abs(added).max()).min() > -1e-9
    before, after = (one.adjusted.deviation(cameras[1].name).position_total_mm for one in (solution, doubted))
    assert after > 1.5 * before
