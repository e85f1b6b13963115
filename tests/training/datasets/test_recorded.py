"""What was recorded is learned from: pictures out of its videos, and poses that several views agree on."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from capture.session import SessionReader
from capture.views import View
from rigpose.config import validate
from rigpose.errors import ConfigError, RigposeError
from rigpose.pose import LIFTED
from tests.capture.poses import stride, subject
from tests.training.datasets import recording
from training.config import CropSection
from training.datasets.pictures import read_picture
from training.datasets.recorded import Held, Recorded, blocks
from training.datasets.sections import RecordedSection, opened
from training.datasets.shots import ShotOrder, ShotSamples, picture_files
from training.datasets.stills import Still, read_still
from training.datasets.takes import Quality, believable, read_take

SETS = 24
LOST = ((3, 1), (7, 0))
CROP = CropSection(shift=0, scale=(1, 1), wide_share=0)
ALL = Held(share=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder of one session, in which two frames were lost."""
    found = tmp_path_factory.mktemp("sessions")
    recording.record(found, sets=SETS, lost=LOST)
    return found


@pytest.fixture(scope="module")
def shots(folder) -> Recorded:
    return Recorded(folder, "train", held=ALL)


class TestMoments:
    def test_each_set_is_one_with_the_pictures_of_its_frames(self, shots) -> None:
        world = recording.world()
        assert len(shots.index) == SETS
        assert [key.frame for key in shots.index] == list(range(SETS))
        assert shots.skeleton.joints == world.skeleton.joints
        for key in (shots.index[3], shots.index[20]):
            shot = shots.shot(key)
            names = [name for v, name in enumerate(world.rig.names) if (key.frame, v) not in LOST]
            assert [view.camera.name for view in shot.views] == names
            assert shots.n_views(key) == len(names) == shots.counts[shots.index.row(key)]
            for view in shot.views:
                picture = read_picture(view.picture, view.camera).astype(float)
                v = world.rig.names.index(view.camera.name)
                off = [
                    np.abs(picture - world.render(v, (key.frame + step) / recording.RATE)).mean() for step in (-1, 0, 1)
                ]
                # The codec and the camera's noise change little, a fifth of a second much.
                assert off[1] < 6 and off[1] < min(off[0], off[2])

    def test_the_truth_is_what_was_recorded(self, shots, folder) -> None:
        world = recording.world()
        poses = list(SessionReader(next(folder.iterdir())).poses())
        errors = []
        for key in shots.index:
            position, recorded = shots.shot(key).position_mm, poses[key.frame].subjects[0].position_mm
            known = np.isfinite(position).all(axis=-1)
            assert known.mean() >= 0.5
            assert np.array_equal(position[known], recorded[known])
            errors.append(np.linalg.norm(position - world.truth(key.frame / recording.RATE).position_mm, axis=-1))
        assert np.nanpercentile(errors, 95) < 15

    def test_a_sample_reprojects_to_what_was_recorded(self, shots, folder) -> None:
        key = shots.index[10]
        sample = ShotSamples(shots, CROP, None, seed=0)[ShotOrder(0, 0, key, 0, 64)]
        (pose,) = SessionReader(next(folder.iterdir())).pose(key.frame).subjects
        assert pose.points2d is not None
        raw = (
            np.einsum("vij,vkj->vki", sample.crop_to_image[..., :2], sample.points)
            + sample.crop_to_image[:, None, :, 2]
        )
        residual = np.linalg.norm(raw - pose.points2d, axis=-1)
        both = np.isfinite(sample.position_mm).all(axis=-1) & np.isfinite(pose.points2d).all(axis=-1)
        assert both.sum() > 40
        np.testing.assert_allclose(residual[both], pose.residual_px[both], atol=1e-2)
        assert np.isnan(raw[:, ~np.isfinite(sample.position_mm).all(axis=-1)]).all()

    def test_the_networks_own_points_are_learned_where_they_are_asked_for(self, folder) -> None:
        seen = Recorded(folder, "train", held=ALL, points="seen")
        key = seen.index[10]
        (pose,) = SessionReader(next(folder.iterdir())).pose(key.frame).subjects
        assert pose.points2d is not None
        shot = seen.shot(key)
        for v, view in enumerate(shot.views):
            known = np.isfinite(shot.position_mm).all(axis=-1) & np.isfinite(pose.points2d[v]).all(axis=-1)
            assert view.points is not None and view.box is not None
            assert np.array_equal(view.points[known], pose.points2d[v][known])
            assert np.isnan(view.points[~known]).all()

    def test_moments_of_a_subject_keep_their_distance(self, folder) -> None:
        thinned = Recorded(folder, "train", held=ALL, every_s=1.0)
        assert [key.frame for key in thinned.index] == [0, 5, 10, 15, 20]

    def test_a_set_goes_to_another_process(self, shots) -> None:
        again = pickle.loads(pickle.dumps(shots))
        assert list(again.index) == list(shots.index)
        assert read_still(again.shot(again.index[5]).views[0].picture).shape == (240, 320, 3)

    def test_of_a_recording_that_was_killed_all_is_there_that_its_videos_kept(self, folder, tmp_path) -> None:
        whole = next(folder.iterdir())
        path = tmp_path / whole.name
        shutil.copytree(whole, path)
        log, video = path / "session.mcap", path / "cam2.mp4"
        log.write_bytes(log.read_bytes()[:-2000])
        video.write_bytes(video.read_bytes()[: video.stat().st_size * 6 // 10])
        killed = Recorded(path, "train", held=ALL)
        shown = [{view.camera.name for view in killed.shot(key).views} for key in killed.index]
        there = ["cam2" in names for names in shown]
        assert there[0] and not there[-1] and sum(there) >= 5
        for key in killed.index:
            for view in killed.shot(key).views:
                assert read_picture(view.picture, view.camera).shape == (240, 320, 3)


class TestQuality:
    def test_what_does_not_agree_is_not_believed(self) -> None:
        pose = subject(stride(0.3))
        assert believable(pose, Quality()).all()
        residual = pose.residual_px.copy()
        residual[:, 2] = 8.0
        residual[0, 3] = 80.0  # rejected: its bit is not set
        views = pose.views.copy()
        views[3], views[4] = 0b1110, 0b0011
        confidence = pose.confidence.copy()
        confidence[5] = 0.3
        how = pose.how.copy()
        how[6] = LIFTED
        position = pose.position_mm.copy()
        position[7] = np.nan
        worse = replace(pose, residual_px=residual, views=views, confidence=confidence, how=how, position_mm=position)
        assert np.flatnonzero(~believable(worse, Quality())).tolist() == [2, 4, 5, 6, 7]
        lax = Quality(max_residual_px=10, min_views=2, min_confidence=0.1)
        assert np.flatnonzero(~believable(worse, lax)).tolist() == [6, 7]

    def test_moments_without_enough_joints_and_lost_subjects_do_not_count(self, tmp_path) -> None:
        def change(pose, number):
            if number == 1:
                return replace(pose, state="lost")
            if number == 2:
                return replace(pose, confidence=np.where(np.arange(17) < 12, 0.1, 0.9).astype(np.float32))
            return pose

        take = read_take(recording.record(tmp_path, sets=4, change=change), Quality())
        assert take.sets.tolist() == [0, 3]


class TestParts:
    def test_a_lone_session_is_cut_into_blocks_with_gaps(self) -> None:
        times = np.arange(0, 100, 0.5)
        part = blocks(times, 100.0, Held(share=0.2, block_s=5, gap_s=1))
        held = times[part == 1]
        assert len(held) / len(times) == pytest.approx(0.2)
        nearest = np.abs(times[part == 0][:, None] - held).min()
        assert nearest >= 1.0
        assert (part == -1).sum() == 4 * 3
        # Blocks, not single frames.
        assert (np.diff(held) > 0.6).sum() == 3

    def test_both_parts_are_there_and_nothing_is_in_both(self, folder) -> None:
        held = Held(share=0.25, gap_s=0.3)
        train, val = (set(Recorded(folder, split, held=held).index) for split in ("train", "val"))
        assert val and train and not train & val
        assert min(abs(a.frame - b.frame) for a in train for b in val) >= 2
        assert len(train) + len(val) < SETS

    def test_of_several_sessions_each_belongs_to_one_part(self, tmp_path) -> None:
        paths = [recording.record(tmp_path, seed=seed, sets=2) for seed in range(3)]
        train, val = (Recorded(tmp_path, split) for split in ("train", "val"))
        assert not set(train.index.actions) & set(val.index.actions)
        assert set(train.index.actions) | set(val.index.actions) == {path.name for path in paths}
        named = Recorded(tmp_path, "val", held=Held(sessions=(paths[1].name,)))
        assert {named.sequence(key) for key in named.index} == {paths[1].name}
        with pytest.raises(ConfigError, match="has no session other .*val_sessions may be"):
            Recorded(tmp_path, "val", held=Held(sessions=("other",)))


class TestErrors:
    def test_a_folder_without_a_session_is_told(self, tmp_path) -> None:
        with pytest.raises(ConfigError, match="holds no session"):
            Recorded(tmp_path, "train")

    def test_a_part_without_a_moment_is_told(self, folder) -> None:
        with pytest.raises(ConfigError, match="holds nothing for val: 24 moments in all"):
            Recorded(folder, "val", held=ALL)

    def test_poses_alone_are_no_data_set(self, tmp_path) -> None:
        path = recording.record(tmp_path, sets=1, file=Path("nowhere.mp4"))
        with pytest.raises(ConfigError, match="no such picture|no such video"):
            opened(RecordedSection(kind="recorded", root=path, share=0), "train")

    def test_poses_of_another_calibration_are_told(self, tmp_path, folder) -> None:
        path = recording.record(tmp_path, sets=2)
        document = path / "session.json"
        text = document.read_text()
        K = recording.world().rig.cameras[0].K
        document.write_text(text.replace(str(float(K[0, 0])), str(float(K[0, 0]) + 1)))
        assert document.read_text() != text
        with pytest.raises(ConfigError, match="2 sets were made with another calibration"):
            read_take(path, Quality())

    def test_nothing_to_be_believed_is_told_with_what_may_be_asked_for(self, folder) -> None:
        with pytest.raises(ConfigError, match=r"none of its 24 poses .*max_residual_px"):
            Recorded(folder, "train", quality=Quality(max_residual_px=0.01))

    def test_another_skeleton_is_told(self, folder) -> None:
        with pytest.raises(ConfigError, match="has no skeleton mouse12 .it has"):
            Recorded(folder, "train", skeleton="mouse12")

    def test_a_damaged_session_is_told(self, tmp_path, folder) -> None:
        shutil.copytree(next(folder.iterdir()), tmp_path / "copy")
        (tmp_path / "copy" / "session.mcap").unlink()
        with pytest.raises(RigposeError, match="has no session.mcap"):
            Recorded(tmp_path, "train")


class TestStills:
    def test_any_order_gives_the_same_pictures(self, folder) -> None:
        video = next(next(folder.iterdir()).glob("*.mp4"))
        rising = [read_still(Still(video, number)).copy() for number in range(20)]
        for number in (13, 2, 19, 0, 7):
            assert np.array_equal(read_still(Still(video, number)), rising[number])

    def test_a_camera_may_be_a_part_of_the_picture(self, folder) -> None:
        video = next(next(folder.iterdir()).glob("*.mp4"))
        whole = read_still(Still(video, 4)).copy()
        part = read_still(Still(video, 4, View(region=(20, 10, 100, 80), flip="horizontal")))
        assert np.array_equal(part, whole[10:90, 20:120][:, ::-1])

    def test_what_is_not_there_is_told(self, folder, tmp_path) -> None:
        video = next(next(folder.iterdir()).glob("*.mp4"))
        with pytest.raises(ConfigError, match="picture 900: is missing or damaged"):
            read_still(Still(video, 900))
        with pytest.raises(ConfigError, match="no such video"):
            read_still(Still(tmp_path / "none.mp4", 0))
        (tmp_path / "bad.mp4").write_bytes(b"no video")
        with pytest.raises(ConfigError, match="cannot be read as video"):
            read_still(Still(tmp_path / "bad.mp4", 0))


def test_a_config_names_it(folder) -> None:
    section = validate({"kind": "recorded", "root": str(folder), "share": 0.25, "gap_s": 0.3}, RecordedSection, "run")
    train, _ = opened(section, "train")
    val, _ = opened(section, "val")
    assert len(train.index) > len(val.index) > 0
    assert {path.suffix for path in picture_files(train)} == {".mp4"}
