"""Frame sets in, poses out: on a drawn recording whose truth is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from calib.rig import Rig, read_rig
from capture.drawn import SKELETON, draw_recording
from capture.frame import Frame, FrameSet
from engine.assembly import build_pipeline
from engine.config import SystemConfig, load_system
from engine.pipeline import Pipeline
from rigpose.errors import ConfigError
from rigpose.keypoints import Keypoints
from rigpose.pose import HOW, REASONS, SyncInfo

FRAMES = 20
DRAWN = Path(__file__).parents[2] / "examples" / "drawn.yaml"
CAMERAS = ("cam1", "cam2", "cam3", "cam4")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline") / "drawn"
    draw_recording(folder, frames=FRAMES)
    return folder


@pytest.fixture(scope="module")
def truth(recording: Path) -> np.ndarray:
    return np.load(recording / "truth.npz")["position_mm"]


@pytest.fixture(scope="module")
def pictures(recording: Path) -> list[list[np.ndarray]]:
    """By frame and view."""

    def read(camera: str) -> Iterator[np.ndarray]:
        video = cv2.VideoCapture(str(recording / f"{camera}.mp4"))
        while (got := video.read())[0]:
            yield got[1]

    return [list(views) for views in zip(*[read(camera) for camera in CAMERAS], strict=True)]


def config(recording: Path, *assignments: str) -> SystemConfig:
    return load_system(DRAWN, data=recording, assignments=["rate=30", *assignments])


def make(recording: Path, *assignments: str) -> Pipeline:
    return build_pipeline(config(recording, *assignments))[0]


def frame(view: int, image: np.ndarray | None, tick: int, **changes: Any) -> Frame:
    size = (640, 480) if image is None else (image.shape[1], image.shape[0])
    values: dict[str, Any] = {
        "camera": CAMERAS[view], "seq": tick, "image": image, "pixel_format": "BGR8", "exposed_ns": tick * 33_000_000,
        "exposed_from": "schedule", "host_ns": 0, "size": size, "tick": tick, "received_ns": 1, "node_epoch": "e",
    }  # fmt: skip
    return Frame(**{**values, **changes})


def a_set(images: list[np.ndarray], tick: int, absent: tuple[int, ...] = ()) -> FrameSet:
    frames = tuple(None if view in absent else frame(view, image, tick) for view, image in enumerate(images))
    return FrameSet(CAMERAS, frames, SyncInfo("trigger", 0, tick), 2, tick)


def error_mm(pose_set: Any, truth: np.ndarray) -> np.ndarray:
    return np.linalg.norm(pose_set.subjects[0].position_mm - truth[pose_set.sync.tick], axis=-1)


def test_a_subject_is_found_then_tracked_and_lies_where_it_truly_is(
    recording: Path, pictures: list[list[np.ndarray]], truth: np.ndarray
) -> None:
    pipeline = make(recording)
    errors = []
    for tick in range(FRAMES):
        pose_set = pipeline.process(a_set(pictures[tick], tick))
        (subject,) = pose_set.subjects
        assert subject.state == ("found" if tick == 0 else "tracked") and subject.skeleton == "discs"
        errors.append(error_mm(pose_set, truth))
    assert np.nanmedian(errors) < 3 and np.isfinite(errors).mean() > 0.95


def test_every_joint_says_how_it_was_got_or_why_not(recording: Path, pictures: list[list[np.ndarray]]) -> None:
    subject = make(recording).process(a_set(pictures[0], 0)).subjects[0]
    measured = subject.measured
    assert {HOW[h] for h in subject.how[measured]} == {"triangulated"}
    assert all(
        HOW[h] == "none" and REASONS[r] for h, r in zip(subject.how[~measured], subject.reason[~measured], strict=True)
    )
    assert np.isfinite(subject.covariance_mm2[measured]).all()
    assert (np.bitwise_count(subject.views[measured]) >= 2).all()


def test_poses_go_on_with_fewer_views_and_name_those_that_are_missing(
    recording: Path, pictures: list[list[np.ndarray]], truth: np.ndarray
) -> None:
    pipeline = make(recording)
    for tick in range(4):
        pipeline.process(a_set(pictures[tick], tick))
    pose_set = pipeline.process(a_set(pictures[4], 4, absent=(1,)))
    assert pose_set.missing == ("cam2",) and pose_set.status == "ok"
    assert (pose_set.subjects[0].views & 2 == 0).all()
    assert np.nanmedian(error_mm(pose_set, truth)) < 5
    assert np.isnan(pose_set.subjects[0].residual_px[1]).all()


def test_a_set_with_fewer_views_than_the_method_needs_is_incomplete(
    recording: Path, pictures: list[list[np.ndarray]]
) -> None:
    pose_set = make(recording).process(a_set(pictures[0], 0, absent=(0, 1, 2)))
    assert pose_set.status == "incomplete" and pose_set.subjects == ()


def test_nothing_is_found_in_an_empty_arena_and_that_is_a_pose_set_too(recording: Path) -> None:
    empty = [np.full((480, 640, 3), 128, np.uint8)] * 4
    pose_set = make(recording).process(a_set(empty, 0))
    assert pose_set.status == "ok" and pose_set.subjects == ()


def test_a_subject_that_leaves_is_lost_after_some_sets_and_found_again(
    recording: Path, pictures: list[list[np.ndarray]]
) -> None:
    pipeline = make(recording, "engine.tracker.lost_after=3")
    empty = [np.full((480, 640, 3), 128, np.uint8)] * 4
    pipeline.process(a_set(pictures[0], 0))
    states = []
    for tick in range(1, 6):
        pose_set = pipeline.process(a_set(empty, tick))
        states.append(pose_set.subjects[0].state if pose_set.subjects else "-")
        assert not any(subject.measured.any() for subject in pose_set.subjects)
    assert states == ["tracked", "tracked", "lost", "-", "-"]
    assert pipeline.process(a_set(pictures[6], 6)).subjects[0].state == "found"


def test_crops_that_follow_the_wrong_thing_are_found_out(
    recording: Path, pictures: list[list[np.ndarray]], truth: np.ndarray
) -> None:
    pipeline = make(recording, "engine.tracker.verify_s=0.001", "engine.tracker.lost_after=1000")
    first = pipeline.process(a_set(pictures[0], 0))
    # The track is made to believe in a place far from the subject, where nothing is.
    elsewhere = replace(first.subjects[0], position_mm=first.subjects[0].position_mm + 1200)
    pipeline._track.begin(elsewhere, 0, pipeline._track.quality)
    wrong = pipeline.process(a_set(pictures[1], 1))
    assert not (wrong.subjects and (error_mm(wrong, truth) < 50).any())
    told: list[str] = []
    pipeline.on_warning = told.append
    steps = 0
    while not pipeline.verify():
        steps += 1
        assert pipeline.verification_due and steps < 20
    assert told and np.nanmedian(error_mm(pipeline.process(a_set(pictures[2], 2)), truth)) < 5


def test_the_check_leaves_a_right_track_alone(recording: Path, pictures: list[list[np.ndarray]]) -> None:
    pipeline = make(recording, "engine.tracker.verify_s=0.001")
    for tick in range(3):
        pipeline.process(a_set(pictures[tick], tick))
    steps = [pipeline.verify() for _ in range(5)]
    assert not any(steps)


@pytest.mark.parametrize("kind", ["full", "{kind: tiles, tiles: 2}", "motion", "fixed"])
def test_each_finder_finds_the_subject(
    kind: str, recording: Path, pictures: list[list[np.ndarray]], truth: np.ndarray
) -> None:
    finder = kind if kind.startswith("{") else f"{{kind: {kind}}}"
    pipeline = make(recording, f"engine.finder={finder}")
    pose_set = pipeline.process(a_set(pictures[0], 0))
    assert np.nanmedian(error_mm(pose_set, truth)) < 10


def test_cameras_may_send_points_instead_of_pixels(recording: Path, truth: np.ndarray) -> None:
    rig = read_rig(recording / "rig.toml")
    pipeline = make(recording)
    frames = []
    for view, camera in enumerate(rig.cameras):
        points = camera.project(truth[0])
        frames.append(frame(view, None, 0, points=Keypoints(points, np.ones(len(points)))))
    pose_set = pipeline.process(FrameSet(CAMERAS, tuple(frames), SyncInfo("trigger", 0, 0), 2, 0))
    assert error_mm(pose_set, truth).max() < 0.01


def test_points_and_pixels_may_come_together(
    recording: Path, pictures: list[list[np.ndarray]], truth: np.ndarray
) -> None:
    points = read_rig(recording / "rig.toml").cameras[0].project(truth[0])
    frames = [frame(view, image, 0) for view, image in enumerate(pictures[0])]
    frames[0] = frame(0, None, 0, points=Keypoints(points, np.ones(len(points))))
    pose_set = make(recording).process(FrameSet(CAMERAS, tuple(frames), SyncInfo("trigger", 0, 0), 2, 0))
    assert np.nanmedian(error_mm(pose_set, truth)) < 5
    np.testing.assert_allclose(pose_set.subjects[0].points2d[0], points, atol=1e-3)  # type: ignore[index]


def test_points_of_another_skeleton_are_one_clear_error(recording: Path) -> None:
    short = Keypoints(np.zeros((3, 2)), np.ones(3))
    frames = tuple(frame(view, None, 0, points=short) for view in range(4))
    with pytest.raises(ConfigError, match=f"camera cam1.*3 points.*{len(SKELETON.joints)} joints"):
        make(recording).process(FrameSet(CAMERAS, frames, SyncInfo("trigger", 0, 0), 2, 0))


def test_pictures_that_do_not_fit_the_calibration_are_refused(recording: Path) -> None:
    other = [np.zeros((240, 320, 3), np.uint8)] * 4
    with pytest.raises(ConfigError, match="cam1.*320x240.*crop | scale | letterbox"):
        make(recording).process(a_set(other, 0))


def test_pictures_of_half_the_size_give_the_same_poses_where_the_config_says_so(
    recording: Path, pictures: list[list[np.ndarray]], truth: np.ndarray
) -> None:
    halves = [cv2.resize(image, (320, 240), interpolation=cv2.INTER_AREA) for image in pictures[0]]
    fits = [f"cameras.{name}.fit=scale" for name in CAMERAS]
    assert np.nanmedian(error_mm(make(recording, *fits).process(a_set(halves, 0)), truth)) < 10


def test_smoothing_stands_beside_the_measurement(recording: Path, pictures: list[list[np.ndarray]]) -> None:
    plain, smooth = make(recording), make(recording, "engine.smooth=true")
    for tick in range(5):
        a = plain.process(a_set(pictures[tick], tick)).subjects[0]
        b = smooth.process(a_set(pictures[tick], tick)).subjects[0]
        np.testing.assert_array_equal(a.position_mm, b.position_mm)
        assert a.filtered_mm is None and b.filtered_mm is not None
    assert b.filtered_mm is not None and not np.allclose(b.filtered_mm, b.position_mm, equal_nan=True)


def test_the_order_of_cameras_does_not_change_a_pose(recording: Path, pictures: list[list[np.ndarray]]) -> None:
    system = config(recording)
    turned = system.model_copy(update={"cameras": dict(reversed(system.cameras.items()))})
    one = build_pipeline(system)[0].process(a_set(pictures[0], 0)).subjects[0]
    frames = tuple(frame(view, pictures[0][view], 0) for view in (3, 2, 1, 0))
    other = build_pipeline(turned)[0].process(
        FrameSet(tuple(reversed(CAMERAS)), frames, SyncInfo("trigger", 0, 0), 2, 0)
    )
    np.testing.assert_allclose(other.subjects[0].position_mm, one.position_mm, atol=0.05)


def test_a_rig_is_a_rig_of_the_sources_cameras_only(recording: Path, pictures: list[list[np.ndarray]]) -> None:
    system = config(recording)
    three = system.model_copy(update={"cameras": {n: c for n, c in system.cameras.items() if n != "cam1"}})
    pipeline, _ = build_pipeline(three)
    assert isinstance(pipeline.geometry.rig, Rig) and pipeline.geometry.rig.names == CAMERAS[1:]


def test_another_device_than_the_calibrated_one_is_refused(recording: Path, pictures: list[list[np.ndarray]]) -> None:
    built = make(recording)
    rig = built.geometry.calibration
    known = rig.with_cameras(replace(camera, serial=f"S{i}") for i, camera in enumerate(rig.cameras))
    pipeline = Pipeline(known, built.document, built.runtime, config(recording))
    pipeline.process(a_set(pictures[0], 0))
    swapped = a_set(pictures[1], 1)
    first = replace(swapped.frames[0], serial="S1")  # type: ignore[type-var]
    with pytest.raises(ConfigError, match="cam1.*S1.*S0"):
        pipeline.process(replace(swapped, frames=(first, *swapped.frames[1:])))
