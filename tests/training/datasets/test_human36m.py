"""Human3.6M: the published label file, its splits, and samples that show the joints where they say."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from calib.formats.human36m import MOST_LABEL_BYTES, to_opencv
from calib.rig import RigArrays
from calib.triangulate import triangulate
from rigpose.errors import ConfigError
from tests.training.datasets import made
from training.config import AugmentSection, CropSection
from training.datasets.human36m import ACTIONS, DAMAGED, Human36M, Labels, read_labels
from training.datasets.index import Key
from training.datasets.pictures import read_picture, undistorted
from training.datasets.shots import ShotOrder, ShotSamples
from training.samples import Sample

EXACT = CropSection(margin=1, shift=0, scale=(1, 1), wide_share=0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> made.Human36M:
    return made.Human36M(tmp_path_factory.mktemp("h36m"))


@pytest.fixture(scope="module")
def labels(data: made.Human36M) -> Labels:
    return read_labels(data.labels())


def right_colours(sample: Sample, least: float = 0.9) -> bool:
    """Whether the crops show each joint's own colour where the sample says that it is."""
    size = sample.crops.shape[1]
    wanted = made.colours(sample.points.shape[1])
    right = inside = 0
    for crop, points in zip(sample.crops, sample.points, strict=True):
        smooth = cv2.GaussianBlur(crop, (3, 3), 0).astype(int)
        for px, colour in zip(np.nan_to_num(points, nan=-9), wanted, strict=True):
            if (px > 3).all() and (px < size - 4).all():
                x, y = np.rint(px).astype(int)
                distance = np.linalg.norm(wanted - smooth[y, x], axis=-1)
                inside += 1
                right += int(distance.argmin() == np.flatnonzero((wanted == colour).all(axis=-1))[0])
    return inside > 20 and right >= least * inside


class TestLabels:
    def test_hold_what_was_written(self, data: made.Human36M, labels: Labels) -> None:
        assert len(labels.index) == len(data.position)
        for key, position in data.position.items():
            row = labels.index.row(Key(*key))
            assert row is not None and np.array_equal(labels.position_mm[row], position)
            boxes = [data.box(key, camera) for camera in data.cameras[key[0]]]
            assert labels.boxes[row].tolist() == [list(box) for box in boxes]

    def test_cameras_see_what_the_true_ones_see(self, data: made.Human36M, labels: Labels) -> None:
        # The file has single precision; a pixel of 5 m away is 4 mm.
        for subject, stood in zip(data.subjects, labels.calibration, strict=True):
            for camera, true in zip(stood, data.cameras[subject], strict=True):
                points = made.body(17, 3)
                assert np.abs(camera.project(points) - true.project(points)).max() < 0.01
                assert camera.size == true.size

    def test_nothing_in_the_file_is_run(self, tmp_path: Path) -> None:
        path = tmp_path / "human36m-multiview-labels-GTbboxes.npy"
        marker = tmp_path / "ran"

        class Harm:
            def __reduce__(self) -> tuple:
                return Path.touch, (marker,)

        np.save(path, np.array({"table": Harm()}, dtype=object))
        with pytest.raises(ConfigError, match="pickle that is not read"):
            read_labels(path)
        assert not marker.exists() and path.stat().st_size < MOST_LABEL_BYTES

    def test_another_file_is_one_line(self, tmp_path: Path) -> None:
        path = tmp_path / "other.npy"
        np.save(path, np.array({"subject_names": ["S1"]}, dtype=object))
        with pytest.raises(ConfigError, match="no Human3.6M label file"):
            read_labels(path)
        with pytest.raises(ConfigError, match="no such file"):
            read_labels(tmp_path / "missing.npy")
        (tmp_path / "labels.npz").write_bytes(b"no zip")
        with pytest.raises(ConfigError, match="is not a Human3.6M label file"):
            read_labels(tmp_path / "labels.npz")

    def test_of_sixteen_joints_are_refused(self, data: made.Human36M, tmp_path: Path) -> None:
        document = np.load(data.labels(), allow_pickle=True).item()
        table = document["table"]
        kinds = {"subject_idx": "i1", "action_idx": "i1", "frame_idx": "i2"}
        boxes = ("bbox_by_camera_tlbr", "i2", (4, 4))
        merged = np.empty(len(table), dtype=[*kinds.items(), ("keypoints", "f4", (16, 3)), boxes])
        for name in (*kinds, boxes[0]):
            merged[name] = table[name]
        merged["keypoints"] = table["keypoints"][:, :16]
        path = tmp_path / "older.npy"
        np.save(path, np.array(document | {"table": merged}, dtype=object))
        with pytest.raises(ConfigError, match="17 joints"):
            read_labels(path)

    def test_a_moment_that_stands_there_twice_is_named(self, data: made.Human36M, tmp_path: Path) -> None:
        document = np.load(data.labels(), allow_pickle=True).item()
        path = tmp_path / "twice.npy"
        table = np.concatenate([document["table"], document["table"][:1]])
        np.save(path, np.array(document | {"table": table}, dtype=object))
        with pytest.raises(ConfigError, match="S1 Directions-1 frame 0 stands there twice"):
            read_labels(path)


class TestSplits:
    def test_are_by_subject(self, data: made.Human36M, labels: Labels) -> None:
        assert {key.subject for key in Human36M(labels, data.root, "train").index} == {"S1"}
        assert {key.subject for key in Human36M(labels, data.root, "val").index} == {"S9", "S11"}

    def test_leave_out_the_shifted_takes_unless_asked(self, data: made.Human36M, labels: Labels) -> None:
        without, with_all = Human36M(labels, data.root, "val"), Human36M(labels, data.root, "val", with_damaged=True)
        assert set(with_all.index) - set(without.index) == {Key("S9", "Greeting-2", 0), Key("S9", "Greeting-2", 64)}
        assert all(take[1] in ACTIONS for take in DAMAGED) and len(ACTIONS) == 30

    def test_retain_some_of_the_validation(self, data: made.Human36M, labels: Labels) -> None:
        every, second = Human36M(labels, data.root, "val"), Human36M(labels, data.root, "val", retain_every=2)
        assert list(second.index) == list(every.index)[::2]
        assert len(Human36M(labels, data.root, "train", retain_every=2).index) == 4

    def test_without_anything_are_an_error(self, data: made.Human36M, labels: Labels) -> None:
        only = replace(labels, index=labels.index.select(np.arange(3)), position_mm=labels.position_mm[:3])
        only = replace(only, boxes=labels.boxes[:3])
        with pytest.raises(ConfigError, match="nothing for val"):
            Human36M(only, data.root, "val")
        with pytest.raises(ConfigError, match="knows no camera 5"):
            Human36M(labels, data.root, "val", cameras=("5",))


class TestViews:
    def test_an_empty_box_is_a_missing_view(self, data: made.Human36M, labels: Labels) -> None:
        part = Human36M(labels, data.root, "val")
        assert Counter(part.n_views(key) for key in part.index) == {4: 3, 3: 2}
        assert part.counts.tolist() == [len(part.shot(key).views) for key in part.index]
        shot = part.shot(Key("S11", "Directions-2", 64))
        assert [view.camera.name for view in shot.views] == list(made.NAMES[1:])

    def test_of_chosen_cameras(self, data: made.Human36M, labels: Labels) -> None:
        part = Human36M(labels, data.root, "val", cameras=made.NAMES[:1])
        # The moment that this camera missed is not there at all.
        assert {key.subject for key in part.index} == {"S9"}
        assert all(part.n_views(key) == 1 for key in part.index)

    def test_trials_are_one_action_in_reports_and_two_sequences(self, data: made.Human36M, labels: Labels) -> None:
        part = Human36M(labels, data.root, "train")
        assert {part.reported(key) for key in part.index} == {("S1", "Directions"), ("S1", "Walking")}
        assert {part.sequence(key) for key in part.index} == {"S1/Directions-1", "S1/Walking-2"}


def sample_of(
    part: Human36M, key: Key, size: int = 256, augment: AugmentSection | None = None, **crop: object
) -> Sample:
    section = EXACT.model_copy(update=crop)
    return ShotSamples(part, section, augment, seed=1)[ShotOrder(0, 0, key, 0, size)]


class TestSamples:
    key = Key("S1", "Directions-1", 5)

    def test_show_the_joints_where_they_say(self, data: made.Human36M, labels: Labels) -> None:
        sample = sample_of(Human36M(labels, data.root, "train"), self.key)
        assert sample.crops.shape == (4, 256, 256, 3) and not sample.hidden.any()
        assert right_colours(sample)
        assert np.array_equal(sample.position_mm, data.position[self.key])

    @pytest.mark.parametrize("pictures", ["raw", "undistort"])
    def test_triangulate_to_the_truth(self, data: made.Human36M, labels: Labels, pictures: str) -> None:
        sample = sample_of(Human36M(labels, data.root, "train", pictures=pictures), self.key)  # type: ignore[arg-type]
        linear = sample.crop_to_image[:, :, :2].astype(float)
        raw = np.einsum("vij,vpj->vpi", linear, sample.points.astype(float)) + sample.crop_to_image[:, None, :, 2]
        rig = RigArrays(*(np.asarray(getattr(sample, name), dtype=float) for name in RigArrays._fields))
        assert np.abs(triangulate(raw, np.ones(raw.shape[:-1]), rig) - sample.position_mm).max() < 0.5

    def test_freed_of_the_lens_show_the_joints_where_they_say(self, data: made.Human36M, labels: Labels) -> None:
        part = Human36M(labels, data.root, "train", pictures="undistort")
        sample = sample_of(part, self.key)
        assert not sample.dist.any() and right_colours(sample)
        # And elsewhere than through the lens.
        apart = np.abs(sample.points - sample_of(Human36M(labels, data.root, "train"), self.key).points)
        assert apart.max() > 1

    def test_of_pictures_that_were_freed_before_are_the_same(self, data: made.Human36M, labels: Labels) -> None:
        for view in range(4):
            source = data.file(*self.key[:2], made.NAMES[view], self.key.frame)
            target = Path(str(source).replace("imageSequence", "imageSequence-undistorted"))
            camera = labels.calibration[0][view]
            made.save(target, undistorted(read_picture(source, camera), camera))
        before = sample_of(Human36M(labels, data.root, "train", pictures="undistorted"), self.key)
        now = sample_of(Human36M(labels, data.root, "train", pictures="undistort"), self.key)
        assert np.array_equal(before.points, now.points) and np.array_equal(before.dist, now.dist)
        assert np.abs(before.crops.astype(int) - now.crops).mean() < 2

    def test_of_a_box_cover_its_pixels_exactly(self, data: made.Human36M, labels: Labels) -> None:
        sample = sample_of(Human36M(labels, data.root, "train"), self.key)
        for view, camera in enumerate(data.cameras["S1"]):
            left, top, right, _ = data.box(self.key, camera)
            first = sample.crop_to_image[view] @ np.array([-0.5, -0.5, 1])
            last = sample.crop_to_image[view] @ np.array([255.5, 255.5, 1])
            assert np.allclose(first, [left - 0.5, top - 0.5], atol=1e-3)
            assert np.isclose(last[0], right - 0.5, atol=1e-3)
            whole = cv2.imread(str(data.file(*self.key[:2], camera.name, self.key.frame)))
            padded = cv2.copyMakeBorder(whole, 300, 300, 300, 300, cv2.BORDER_CONSTANT)
            box = padded[top + 300 :, left + 300 :][: right - left, : right - left]
            assert np.array_equal(sample.crops[view], cv2.resize(box, (256, 256), interpolation=cv2.INTER_AREA))

    def test_about_the_joints_hold_them(self, data: made.Human36M, labels: Labels) -> None:
        part = Human36M(labels, data.root, "train", boxes="joints")
        sample = sample_of(part, self.key, margin=1.25)
        assert ((sample.points > 0) & (sample.points < 255)).all()
        assert np.abs((sample.points.min(axis=1) + sample.points.max(axis=1)) / 2 - 127.5).max() < 1.5

    def test_with_augmentation_still_show_the_joints_where_they_say(self, data: made.Human36M, labels: Labels) -> None:
        part = Human36M(labels, data.root, "train")
        crop: dict[str, Any] = {"margin": 1.1, "shift": 0.05, "scale": (0.9, 1.2), "turn_deg": 40, "stretch": 0.3}
        plain = AugmentSection(patch_share=0, noise=2, gain=(0.95, 1.05))
        sample = sample_of(part, self.key, augment=plain, **crop)
        assert sample.crop_to_image[0, 0, 1] != 0 and right_colours(sample)
        patched = sample_of(part, self.key, augment=AugmentSection(patch_share=1, patches=(5, 5)), **crop)
        assert patched.hidden.any() and not patched.hidden.all()

    def test_follow_from_seed_and_order_alone(self, data: made.Human36M, labels: Labels) -> None:
        part = Human36M(labels, data.root, "train")
        order = ShotOrder(2, 7, self.key, 2, 96)

        def crops(seed: int, order: ShotOrder) -> bytes:
            sample = ShotSamples(part, CropSection(turn_deg=10), AugmentSection(), seed)[order]
            assert len(sample.crops) == 2
            return sample.crops.tobytes()

        assert crops(1, order) == crops(1, order)
        assert crops(1, order) != crops(2, order)
        assert crops(1, order) != crops(1, order._replace(number=8))

    def test_of_one_view_look_as_far_as_the_rig(self, data: made.Human36M, labels: Labels) -> None:
        part = Human36M(labels, data.root, "train")
        sample = ShotSamples(part, EXACT, None, 1)[ShotOrder(0, 0, self.key, 1, 64)]
        assert sample.crops.shape[0] == 1 and np.isfinite(sample.world).all()
        assert 4000 < sample.world[3] < 6000

    def test_say_which_picture_is_missing_damaged_or_resized(
        self, data: made.Human36M, labels: Labels, tmp_path: Path
    ) -> None:
        broken = made.Human36M(tmp_path, pictures=False)
        file = broken.file("S1", "Walking-2", made.NAMES[0], 4)
        part = Human36M(labels, broken.root, "train", cameras=made.NAMES[:1])
        key = Key("S1", "Walking-2", 4)
        with pytest.raises(ConfigError, match=r"img_000005.jpg: no such picture"):
            sample_of(part, key)
        made.save(file, np.zeros((500, 501, 3), np.uint8))
        with pytest.raises(ConfigError, match="has 501x500 px, and camera 54138969 was calibrated for 1000x1002"):
            sample_of(part, key)
        file.write_bytes(b"\xff\xd8\xff nothing")
        with pytest.raises(ConfigError, match="no picture that can be decoded"):
            sample_of(part, key)


def test_undistortion_is_the_data_sets_own_model(labels: Labels) -> None:
    # The tangential terms are half of OpenCV's; taken for OpenCV's they are off by more than half a pixel.
    camera = labels.calibration[0][0]
    normalised = np.array([[0.3, 0.4], [-0.41, 0.38], [0.1, -0.44]])
    k1, k2, p1, p2, k3 = made.DIST.astype("f4").astype(float)
    x, y = normalised.T
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    bent = np.stack([x * radial + p1 * x * y + p2 * (x * x + r2), y * radial + p2 * x * y + p1 * (y * y + r2)], axis=-1)
    wanted = bent * np.diag(camera.K)[:2] + camera.K[:2, 2]
    world = (np.column_stack([normalised, np.ones(3)]) * 5000 - camera.t) @ camera.R
    assert np.abs(camera.project(world) - wanted).max() < 1e-6
    assert np.array_equal(camera.dist, to_opencv(made.DIST.astype("f4").astype(float)))


def test_a_published_file_survives_a_second_pickling(data: made.Human36M, tmp_path: Path) -> None:
    # Other versions of pickle's protocol and of numpy's module names are read, too.
    document = np.load(data.labels(), allow_pickle=True)
    path = tmp_path / "old.npy"
    header = data.labels().read_bytes()
    length = 10 + int.from_bytes(header[8:10], "little")
    path.write_bytes(header[:length] + pickle.dumps(document, protocol=2))
    assert len(read_labels(path).index) == len(data.position)
