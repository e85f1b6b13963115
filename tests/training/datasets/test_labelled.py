"""A lab's own labels, of any program, become samples: in 3D where several cameras were labelled."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from calib.camera import Camera
from calib.rig import Rig
from calib.rotation import vector_of
from capture.labels import LabelledFrame, Labels, Picture, read_labels, write_labels
from capture.labels.labels import frame_of
from rigpose.errors import ConfigError
from rigpose.skeleton import Skeleton
from tests.training.datasets import made
from tests.training.datasets.test_human36m import EXACT, right_colours
from training.datasets.gather import gather
from training.datasets.labelled import SPLITS, Labelled, held_out
from training.datasets.shots import ShotOrder, ShotSamples

SKELETON = Skeleton(name="mouse12", joints=tuple(f"joint_{number}" for number in range(12)), root=(0, 6))
SIZE = (400, 300)
NAMES = ("top", "side", "back")
MOMENTS = 6


def the_rig() -> Rig:
    poses = made.ring(3, 5200, 1500, np.array([0, 0, 800.0]))
    K = np.array([[420.0, 0, 200], [0, 420, 150], [0, 0, 1]])
    return Rig(
        tuple(
            Camera(name, SIZE, K, np.array([-0.1, 0.02, 0, 0]), vector_of(R), t)
            for name, (R, t) in zip(NAMES, poses, strict=True)
        )
    )


@pytest.fixture(scope="module")
def rig() -> Rig:
    return the_rig()


def position(moment: int, subject: int = 0) -> np.ndarray:
    return made.body(12, 10 * moment + subject, (300.0 * subject, 0.0, 800.0))


def labels_in(folder: Path, rig: Rig, subjects: tuple[str, ...] = ("",), noise_px: float = 0.0) -> Labels:
    """Pictures in a folder a camera, and what a person labelled in them."""
    rng = np.random.default_rng(0)
    frames: list[LabelledFrame] = []
    for camera in rig.cameras:
        for moment in range(MOMENTS):
            path = folder / camera.name / f"img{moment:03d}.png"
            drawn = made.picture(camera, position(moment))
            for other in range(1, len(subjects)):
                also = made.picture(camera, position(moment, other))
                drawn = np.where((also == 60).all(axis=-1, keepdims=True), drawn, also)
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), drawn)
            points = np.stack([camera.project(position(moment, number)) for number in range(len(subjects))])
            points += rng.normal(0, noise_px, points.shape)
            points[:, 3] = np.nan
            hidden = np.zeros(points.shape[:2], dtype=bool)
            hidden[:, 5] = camera.name == "back"
            frame = frame_of(Picture(str(path), path, size=SIZE), points, hidden=hidden, subjects=subjects)
            frames.append(replace(frame, camera=camera.name, moment=f"run/img{moment:03d}.png"))
    return Labels("rigpose", (folder / "labels.json",), SKELETON, tuple(frames), says_hidden=True)


@pytest.fixture(scope="module")
def gathered(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    assert gather(labels_in(folder, rig, noise_px=0.5), folder / "gathered", rig) == MOMENTS
    return folder / "gathered"


class TestWithARig:
    def test_labels_of_several_cameras_become_3d(self, gathered: Path) -> None:
        shots = Labelled(gathered, "train", share=0)
        assert shots.skeleton == SKELETON and len(shots.index) == MOMENTS
        for key in shots.index:
            found = shots.shot(key).position_mm
            assert np.isnan(found[3]).all()
            error = np.linalg.norm(np.delete(found - position(key.frame), 3, axis=0), axis=-1)
            assert np.isfinite(error).all() and error.mean() < 15
            assert shots.n_views(key) == 3 and shots.sequence(key) == "run"

    def test_samples_have_the_points_that_were_labelled(self, gathered: Path) -> None:
        shots = Labelled(gathered, "train", share=0)
        key = shots.index[2]
        section = EXACT.model_copy(update={"margin": 1.2})
        sample = ShotSamples(shots, section, None, 0)[ShotOrder(0, 0, key, 0, 256)]
        assert right_colours(sample)
        assert np.isnan(sample.points[:, 3]).all()
        assert sample.hidden[:, 5].tolist() == [False, False, True] and sample.hidden.sum() == 1
        again = sample.points.astype(float) @ sample.crop_to_image[0, :, :2].astype(float).T
        labelled = shots.shot(key).views[0].points
        assert labelled is not None
        first = again[0] + sample.crop_to_image[0, :, 2]
        assert np.nanmax(np.abs(first - labelled)) < 1e-2

    def test_moments_are_held_out_by_their_names(self, gathered: Path) -> None:
        train, val = Labelled(gathered, "train", share=0.3), Labelled(gathered, "val", share=0.3)
        assert 1 <= len(val.index) < MOMENTS and len(train.index) + len(val.index) == MOMENTS
        assert not set(train.index) & set(val.index)
        with pytest.raises(ConfigError, match="holds nothing for val"):
            Labelled(gathered, "val", share=0)

    def test_a_second_call_changes_nothing(self, gathered: Path, rig: Rig) -> None:
        before = {path: path.stat().st_mtime_ns for path in gathered.rglob("*") if path.is_file()}
        assert gather(labels_in(gathered.parent, rig, noise_px=0.5), gathered, rig) == MOMENTS
        assert {path: path.stat().st_mtime_ns for path in gathered.rglob("*") if path.is_file()} == before
        with pytest.raises(ConfigError, match="was begun with rig"):
            gather(labels_in(gathered.parent, rig), gathered)


def test_two_animals_are_told_apart_by_their_names(rig: Rig, tmp_path: Path) -> None:
    assert gather(labels_in(tmp_path, rig, subjects=("a", "b")), tmp_path / "named", rig) == 2 * MOMENTS
    shots = Labelled(tmp_path / "named", "train", share=0)
    assert shots.index.subjects == ("a", "b")
    for key in shots.index:
        wanted = position(key.frame, shots.index.subjects.index(key.subject))
        assert np.nanmax(np.abs(shots.shot(key).position_mm - wanted)) < 1
    # Without names nobody knows which is which in another picture.
    assert gather(labels_in(tmp_path, rig, subjects=("", "")), tmp_path / "bare", rig) == 2 * 3 * MOMENTS
    alone = Labelled(tmp_path / "bare", "train", share=0)
    assert Counter(alone.n_views(key) for key in alone.index) == {1: 2 * 3 * MOMENTS}
    assert np.isnan(alone.shot(alone.index[0]).position_mm).all()


def test_without_a_rig_each_picture_is_learned_from_in_2d(rig: Rig, tmp_path: Path) -> None:
    assert gather(labels_in(tmp_path, rig), tmp_path / "gathered") == 3 * MOMENTS
    shots = Labelled(tmp_path / "gathered", "train", share=0)
    sample = ShotSamples(shots, EXACT.model_copy(update={"margin": 1.2}), None, 0)[
        ShotOrder(0, 0, shots.index[4], 0, 256)
    ]
    assert sample.crops.shape == (1, 256, 256, 3) and np.isnan(sample.position_mm).all()
    assert np.isfinite(sample.K).all() and np.isfinite(sample.world).all()
    assert np.isfinite(np.delete(sample.points, 3, axis=1)).all()


def test_labels_of_our_own_file_go_the_whole_way(rig: Rig, tmp_path: Path) -> None:
    write_labels(labels_in(tmp_path, rig), tmp_path / "labels.json")
    assert gather(read_labels(tmp_path / "labels.json"), tmp_path / "gathered", rig) == MOMENTS
    shots = Labelled(tmp_path / "gathered", "train", share=0)
    assert np.nanmax(np.abs(shots.shot(shots.index[0]).position_mm - position(shots.index[0].frame))) < 1


def test_pictures_cut_out_of_what_a_camera_sees_keep_its_rays(rig: Rig, tmp_path: Path) -> None:
    whole = labels_in(tmp_path, rig)
    frames = []
    for frame in whole.frames:
        path = tmp_path / "cut" / f"{frame.camera}_{frame.picture.stated[-7:]}"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.asarray(cv2.imread(frame.picture.stated))[20:280, 30:390])
        picture = Picture(str(path), path, size=(360, 260), offset_px=(30, 20))
        frames.append(replace(frame, picture=picture, points=frame.points - [30, 20]))
    assert gather(replace(whole, frames=tuple(frames)), tmp_path / "gathered", rig) == MOMENTS
    shots = Labelled(tmp_path / "gathered", "train", share=0)
    shot = shots.shot(shots.index[1])
    assert np.nanmax(np.abs(shot.position_mm - position(1))) < 1
    for view in shot.views:
        assert view.points is not None
        assert np.nanmax(np.abs(view.camera.project(shot.position_mm) - view.points)) < 0.1


def test_what_cannot_be_is_one_line(rig: Rig, tmp_path: Path) -> None:
    labels = labels_in(tmp_path, rig)
    with pytest.raises(ConfigError, match=r"labels are of camera top, which the rig has not.*--cameras side,back"):
        gather(labels, tmp_path / "a", rig.select(["side", "back"]))
    smaller = rig.with_cameras(replace(camera, size=(399, 300)) for camera in rig.cameras)
    with pytest.raises(ConfigError, match="is 400x300, and camera top was calibrated for 399x300"):
        gather(labels, tmp_path / "b", smaller)
    lost = [replace(f, picture=replace(f.picture, path=None)) for f in labels.frames]
    with pytest.raises(ConfigError, match="no such picture, and none of the other 17.*--pictures"):
        gather(replace(labels, frames=tuple(lost)), tmp_path / "c", rig)
    # Some of them are a warning, and are left out.
    assert gather(replace(labels, frames=(*lost[:1], *labels.frames[1:])), tmp_path / "d", rig) == MOMENTS
    shots = Labelled(tmp_path / "d", "train", share=0)
    assert sorted(shots.n_views(key) for key in shots.index) == [2, 3, 3, 3, 3, 3]
    assert shots.counts.tolist() == [shots.n_views(key) for key in shots.index]


def test_a_split_that_the_labels_say_holds() -> None:
    said = np.array([SPLITS.index(name) for name in ("train", "val", "", "test", "train")])
    assert held_out("abcde", said, 0.5).tolist() == [False, True, False, True, False]


def test_moments_that_come_later_move_none_of_those_before() -> None:
    more = [f"run/img{number:04d}.png" for number in range(220)]
    none = np.zeros(220, dtype=int)
    before, after = held_out(more[:200], none[:200], 0.1), held_out(more, none, 0.1)
    assert 8 <= before.sum() <= 34 and np.array_equal(before, after[:200])
    # Both animals of a moment are in the same pictures.
    together = held_out([name for name in more[:50] for _ in range(2)], none[:100], 0.2)
    assert 0 < together.sum() < 50 and (together[::2] == together[1::2]).all()
    # With so few that chance would hold out none, one is.
    assert held_out(more[:3], none[:3], 1e-9).sum() == 1
