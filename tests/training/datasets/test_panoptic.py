"""Panoptic: scenes in centimetres with y downwards become bodies in millimetres with z upwards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from calib.rig import RigArrays
from calib.triangulate import triangulate
from rigpose.errors import ConfigError
from tests.training.datasets import made
from tests.training.datasets.test_human36m import EXACT, right_colours
from training.datasets.arrays import write_arrays
from training.datasets.index import Key
from training.datasets.panoptic import (
    LABELS,
    Panoptic,
    absent_file,
    bodies_in,
    detections_name,
    read_cameras,
)
from training.datasets.protocols import PANOPTIC15, PANOPTIC19, PROTOCOLS
from training.datasets.shots import ShotOrder, ShotSamples

TRAIN, VAL = "171204_pose3", "171204_pose5"
FRAMES = range(498, 504)
CAMERAS = made.Panoptic.cameras


def prepared(folder: Path, name: str, data: made.Panoptic, unknown: dict[int, tuple[int, ...]] | None = None) -> None:
    """What `training.prepare` makes of a sequence."""
    rows = []
    for ordinal, frame in enumerate(data.frames):
        for number, joints in bodies_in(data.scene(frame, (unknown or {}).get(frame, ())), "scene"):
            rows.append((frame, ordinal, number, joints))
    frame, ordinal, body, joints = zip(*rows, strict=True)
    write_arrays(
        folder / name / LABELS,
        frame=np.array(frame),
        ordinal=np.array(ordinal),
        body=np.array(body),
        joints19=np.stack(joints),
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> made.Panoptic:
    made_ = made.Panoptic(tmp_path_factory.mktemp("panoptic"), (TRAIN,), FRAMES)
    made_.pictures(TRAIN)
    prepared(made_.folder, TRAIN, made_)
    return made_


def part(data: made.Panoptic, **changes: object) -> Panoptic:
    options = {"sequences": (TRAIN,), "cameras": CAMERAS} | changes
    return Panoptic(data.folder, "train", **options)  # type: ignore[arg-type]


class TestScenes:
    def test_are_read_as_documented(self) -> None:
        # The toolbox's own example, its first two joints and the last.
        joints = [0.0] * 76
        joints[:8] = [-19.4528, -146.612, 1.46159, 0.724274, -40.4564, -163.091, -0.521563, 0.575897]
        joints[-4:] = [-30.0718, -167.264, 8.18371, 0.510041]
        text = json.dumps({"version": 0.7, "univTime": 53541.542, "bodies": [{"id": 3, "joints19": joints}]})
        ((number, found),) = bodies_in(text.encode(), "x")
        assert number == 3 and found.shape == (19, 4)
        assert found[1].tolist() == [-40.4564, -163.091, -0.521563, 0.575897]

    @pytest.mark.parametrize(
        "text", [b"", b"[]", b'{"bodies": [{"id": 0, "joints15": []}]}', b'{"bodies": 3}', b"\xff"]
    )
    def test_of_another_form_are_one_line(self, text: bytes) -> None:
        with pytest.raises(ConfigError, match="no scene with bodies of 19 joints"):
            bodies_in(text, "body3DScene_1.json")

    def test_a_body_stands_upright(self, data: made.Panoptic) -> None:
        shots = part(data)
        shot = shots.shot(shots.index[0])
        assert np.abs(shot.position_mm - data.position(500, 0)).max() < 1e-6

    def test_cameras_are_the_true_ones(self, data: made.Panoptic) -> None:
        cameras = read_cameras(data.folder / TRAIN / f"calibration_{TRAIN}.json")
        assert tuple(cameras) == CAMERAS
        points = data.position(499, 0)
        for true in data.rig:
            assert np.abs(cameras[true.name].project(points) - true.project(points)).max() < 1e-6


class TestParts:
    def test_have_the_protocols_frames(self, data: made.Panoptic) -> None:
        # The protocol begins with frame 500 here.
        assert list(part(data).index) == [Key("0", TRAIN, frame) for frame in range(500, 504)]

    def test_of_the_published_protocols(self) -> None:
        single, several = PROTOCOLS["learnable_triangulation"], PROTOCOLS["voxelpose"]
        assert len(single.parts["train"].sequences) == 7 and len(single.parts["val"].sequences) == 2
        assert single.parts["val"].cameras == ("00_02", "00_05", "00_13")
        assert len(several.parts["train"].sequences) == 10 and len(several.parts["val"].sequences) == 4
        assert (several.parts["train"].every, several.parts["val"].every) == (3, 12)
        assert several.parts["val"].cameras == ("00_03", "00_06", "00_12", "00_13", "00_23")
        for protocol in PROTOCOLS.values():
            assert not set(protocol.parts["train"].sequences) & set(protocol.parts["val"].sequences)
            for of in protocol.parts.values():
                assert all(a < b for ranges in of.sequences.values() for a, b in ranges)
        assert PANOPTIC15.joints == PANOPTIC19.joints[:15] and PANOPTIC19.joints[2] == "pelvis"

    def test_take_every_so_manieth_labelled_frame(self, tmp_path: Path) -> None:
        name = "160906_ian5"
        data = made.Panoptic(tmp_path, (name,), range(100, 140), bodies=2)
        prepared(tmp_path, name, data)
        shots = Panoptic(tmp_path, "val", protocol="voxelpose", sequences=(name,), cameras=CAMERAS)
        assert sorted(set(key.frame for key in shots.index)) == [100, 112, 124, 136]
        assert len(shots.index) == 7  # the second body comes later
        assert shots.shot(shots.index[0]).position_mm.shape == (15, 3)

    def test_that_are_not_prepared_are_named(self, data: made.Panoptic) -> None:
        with pytest.raises(ConfigError, match="lacks the prepared 171026_pose1, 171026_pose2.*leave them out"):
            part(data, sequences=())
        with pytest.raises(ConfigError, match="171204_pose5: is not in train of learnable_triangulation"):
            part(data, sequences=(VAL,))
        with pytest.raises(ConfigError, match="not calibrated for camera 00_15"):
            part(data, cameras=("00_03", "00_15"))


class TestJoints:
    def test_without_confidence_are_not_known(self, tmp_path: Path) -> None:
        data = made.Panoptic(tmp_path, (TRAIN,), FRAMES)
        data.pictures(TRAIN)
        prepared(tmp_path, TRAIN, data, {501: (0, 17)})
        shots = part(data)
        known = np.isfinite(shots.shot(Key("0", TRAIN, 501)).position_mm).all(axis=-1)
        assert np.flatnonzero(~known).tolist() == [0, 17]
        sample = ShotSamples(shots, EXACT, None, 0)[ShotOrder(0, 0, Key("0", TRAIN, 501), 0, 128)]
        assert np.isnan(sample.points[:, [0, 17]]).all() and np.isfinite(sample.crop_to_image).all()
        assert np.isfinite(np.delete(sample.points, [0, 17], axis=1)).all()

    def test_a_body_without_its_pelvis_has_no_shot(self, tmp_path: Path) -> None:
        data = made.Panoptic(tmp_path, (TRAIN,), FRAMES)
        prepared(tmp_path, TRAIN, data, {502: (2,)})
        assert [key.frame for key in part(data).index] == [500, 501, 503]


class TestViews:
    def test_count_where_enough_of_the_body_is_in_the_picture(self, data: made.Panoptic) -> None:
        shots = part(data)
        for key in shots.index:
            for camera in data.rig:
                px = camera.project(data.position(key.frame, 0))
                inside = ((px > -0.5) & (px < np.array(camera.size) - 0.5)).all(axis=-1).mean()
                there = camera.name in [view.camera.name for view in shots.shot(key).views]
                assert there == (inside >= 0.5)
            assert shots.n_views(key) == len(shots.shot(key).views)
        assert shots.counts.tolist() == [shots.n_views(key) for key in shots.index]

    def test_that_have_no_picture_are_left_out(self, tmp_path: Path) -> None:
        data = made.Panoptic(tmp_path, (TRAIN,), FRAMES)
        prepared(tmp_path, TRAIN, data)
        before = {key: part(data).n_views(key) for key in part(data).index}
        absent_file(tmp_path / TRAIN, "00_03").write_text("501\n")
        shots = part(data)
        names = [view.camera.name for view in shots.shot(Key("0", TRAIN, 501)).views]
        assert "00_03" not in names and len(names) == before[Key("0", TRAIN, 501)] - 1
        assert shots.n_views(Key("0", TRAIN, 500)) == before[Key("0", TRAIN, 500)]

    def test_of_a_detector_are_where_it_saw_something(self, tmp_path: Path) -> None:
        data = made.Panoptic(tmp_path, (TRAIN,), FRAMES)
        prepared(tmp_path, TRAIN, data)
        with np.load(tmp_path / TRAIN / LABELS) as found:
            arrays = dict(found)
        boxes = np.zeros((504, 5))
        boxes[500:503] = (10, 20, 110, 120, 0.9)
        for camera in CAMERAS:
            write_arrays(tmp_path / TRAIN / LABELS, **arrays)
            arrays[detections_name(camera)] = boxes
        write_arrays(tmp_path / TRAIN / LABELS, **arrays)
        shots = part(data, boxes="detections")
        assert [key.frame for key in shots.index] == [500, 501, 502]
        assert {view.box for view in shots.shot(shots.index[0]).views} == {(9.5, 19.5, 109.5, 119.5)}
        del arrays[detections_name("00_03")]
        write_arrays(tmp_path / TRAIN / LABELS, **arrays)
        with pytest.raises(ConfigError, match="no detections of camera 00_03"):
            part(data, boxes="detections")


class TestSamples:
    def test_show_the_joints_where_they_say_and_triangulate_to_the_truth(self, data: made.Panoptic) -> None:
        key = Key("0", TRAIN, 502)
        sample = ShotSamples(part(data), EXACT.model_copy(update={"margin": 1.2}), None, 0)[
            ShotOrder(0, 0, key, 0, 320)
        ]
        assert right_colours(sample)
        linear = sample.crop_to_image[:, :, :2].astype(float)
        raw = np.einsum("vij,vpj->vpi", linear, sample.points.astype(float)) + sample.crop_to_image[:, None, :, 2]
        rig = RigArrays(*(np.asarray(getattr(sample, name), dtype=float) for name in RigArrays._fields))
        answer = triangulate(raw, np.ones(raw.shape[:-1]), rig)
        assert np.abs(answer - data.position(502, 0)).max() < 0.5

    def test_of_two_bodies_are_about_each(self, tmp_path: Path) -> None:
        data = made.Panoptic(tmp_path, (TRAIN,), FRAMES, bodies=2)
        data.pictures(TRAIN)
        prepared(tmp_path, TRAIN, data)
        shots = part(data)
        both = [key for key in shots.index if key.frame == 503]
        assert [key.subject for key in both] == ["0", "1"]
        one, other = (ShotSamples(shots, EXACT, None, 0)[ShotOrder(0, 0, key, 1, 64)] for key in both)
        assert not np.allclose(one.crop_to_image, other.crop_to_image)
        assert np.abs(one.position_mm - other.position_mm).max() > 100
        assert shots.sequence(both[0]) == shots.sequence(both[1]) == TRAIN
        assert shots.reported(both[1]) == ("1", TRAIN)
