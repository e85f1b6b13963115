"""What h36m-fetch leaves becomes a label file, resumably, and the same as the published one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from calib.formats.human36m import of_opencv
from rigpose.errors import ConfigError
from tests.training.datasets import made
from tests.training.datasets.test_human36m import EXACT, right_colours
from training.datasets import prepare_human36m
from training.datasets.human36m import JOINTS_OF_32, Human36M, read_labels
from training.datasets.index import Key
from training.datasets.prepare_human36m import prepare, squared
from training.datasets.shots import ShotOrder, ShotSamples

METADATA = """<?xml version="1.0" encoding="utf-8"?>
<a>
  <mapping>
    <tr><td>Action</td><td>subaction</td><td>S1</td><td>S9</td><td>S11</td></tr>
    <tr><td>1</td><td>1</td><td>_ALL 1</td><td>_ALL 1</td><td>_ALL 1</td></tr>
    <tr><td>2</td><td>1</td><td>Directions 1</td><td>Directions 1</td><td>Directions 1</td></tr>
    <tr><td>2</td><td>2</td><td>Directions</td><td>Directions</td><td>Directions</td></tr>
    <tr><td>3</td><td>2</td><td>Greeting</td><td>Greeting</td><td>Greeting 2</td></tr>
    <tr><td>4</td><td>1</td><td>Walking 1</td><td>Walking 1</td><td>Walking 1</td></tr>
    <tr><td>4</td><td>2</td><td>Walking</td><td>Walking</td><td>Walking</td></tr>
    <tr><td></td><td></td><td></td><td></td><td></td></tr>
  </mapping>
  <actionnames><li>_ALL</li><li>Directions</li><li>Greeting</li><li>Walking</li></actionnames>
</a>
"""
FILES = {"Directions-1": "Directions 1", "Directions-2": "Directions", "Greeting-2": "Greeting"}
FILES |= {"Walking-1": "Walking 1", "Walking-2": "Walking"}


def fetched(data: made.Human36M) -> None:
    """What h36m-fetch writes beside the pictures."""
    for subject, action, frames in data.takes:
        found: dict[str, list] = {"pose/3d": [], "frame": [], "camera": []}
        for camera in data.cameras[subject]:
            if (subject, action, camera.name) in data.lacks:
                continue
            for frame in frames:
                pose = np.full((32, 3), 7.0)
                pose[list(JOINTS_OF_32)] = data.position[subject, action, frame].astype(float) @ camera.R.T + camera.t
                found["pose/3d"].append(pose)
                found["frame"].append(frame + 1)
                found["camera"].append(int(camera.name))
        with h5py.File(data.root / subject / action / "annot.h5", "w") as file:
            for name, values in found.items():
                file[name] = np.array(values)


def parameters(data: made.Human36M) -> Path:
    rig = data.cameras["S1"]
    document = {
        "intrinsics": {c.name: {"calibration_matrix": c.K.tolist(), "distortion": of_opencv(c).tolist()} for c in rig},
        "extrinsics": {
            subject: {c.name: {"R": c.R.tolist(), "t": c.t[:, None].tolist()} for c in cameras}
            for subject, cameras in data.cameras.items()
        },
    }
    path = data.folder / "camera-parameters.json"
    path.write_text(json.dumps(document))
    return path


def masks(data: made.Human36M) -> dict[tuple[str, str, int, str], tuple[int, int, int, int]]:
    """The data set's masks, and the boxes of them: left, top, right, bottom."""
    boxes = {}
    rng = np.random.default_rng(4)
    for subject, action, frames in data.takes:
        folder = data.root / subject / "MySegmentsMat" / "ground_truth_bb"
        folder.mkdir(parents=True, exist_ok=True)
        for camera in data.cameras[subject]:
            with h5py.File(folder / f"{FILES[action]}.{camera.name}.mat", "w") as file:
                width, height = camera.size
                empty = file.create_dataset("#refs#/a", data=np.zeros((2, 2), np.uint8))
                refs = np.full((max(frames) + 1, 1), empty.ref, dtype=h5py.ref_dtype)
                for frame in frames:
                    left, top = (int(value) for value in rng.integers(100, 400, 2))
                    right, bottom = left + int(rng.integers(150, 300)), top + int(rng.integers(150, 300))
                    mask = np.zeros((height, width), np.uint8)
                    mask[top:bottom, left:right] = 1
                    # MATLAB writes columns first.
                    refs[frame, 0] = file.create_dataset(f"#refs#/b{frame}", data=mask.T, compression="gzip").ref
                    boxes[subject, action, frame, camera.name] = (left, top, right, bottom)
                file.create_dataset("Masks", data=refs, dtype=h5py.ref_dtype)
    return boxes


def square_by_hand(left: int, top: int, right: int, bottom: int) -> list[int]:
    """As the published label files have them: the short side grows about its centre."""
    width, height = right - left, bottom - top
    if height < width:
        top = round((top + bottom) * 0.5 - width * 0.5)
        return [left, top, right, top + width]
    left = round((left + right) * 0.5 - height * 0.5)
    return [left, top, left + height, bottom]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> made.Human36M:
    data = made.Human36M(tmp_path_factory.mktemp("fetched"))
    fetched(data)
    parameters(data)
    (data.folder / "metadata.xml").write_text(METADATA)
    return data


class TestLabels:
    def test_are_those_of_the_published_file(self, data: made.Human36M, tmp_path: Path) -> None:
        boxes = masks(data)
        ours, theirs = read_labels(prepare(data.folder, tmp_path)), read_labels(data.labels())
        assert set(ours.index) == set(theirs.index)
        for key in theirs.index:
            row, other = ours.index.row(key), theirs.index.row(key)
            assert row is not None and other is not None
            assert np.abs(ours.position_mm[row] - theirs.position_mm[other]).max() < 1e-3
            for column, name in enumerate(made.NAMES):
                missing = (key.subject, key.action, name) in data.lacks
                wanted = [0, 0, 0, 0] if missing else square_by_hand(*boxes[key.subject, key.action, key.frame, name])
                assert ours.boxes[row, column].tolist() == wanted
        for subject in ("S1", "S9", "S11"):
            stood = ours.calibration[ours.index.subjects.index(subject)]
            for camera, true in zip(stood, data.cameras[subject], strict=True):
                assert np.allclose(camera.dist, true.dist, atol=1e-12) and np.allclose(camera.t, true.t)
                assert np.allclose(camera.R, true.R, atol=1e-12)
        assert not (tmp_path / "parts").exists()

    def test_make_samples_that_show_the_joints_where_they_say(self, data: made.Human36M, tmp_path: Path) -> None:
        shots = Human36M(read_labels(prepare(data.folder, tmp_path, boxes="joints")), data.root, "val")
        key = Key("S11", "Directions-2", 64)
        sample = ShotSamples(shots, EXACT, None, 0)[ShotOrder(0, 0, key, 0, 256)]
        assert len(sample.crops) == 3 and right_colours(sample)
        assert ((sample.points > 10) & (sample.points < 245)).all()

    def test_have_a_detectors_boxes(self, data: made.Human36M, tmp_path: Path) -> None:
        lines, boxes = [], []
        for number, ((subject, action, frame), _) in enumerate(data.position.items()):
            for name in made.NAMES:
                lines.append(f"/far/away/processed/{subject}/{action}/imageSequence/{name}/img_{frame + 1:06d}.jpg")
                boxes.append([100.4 + number, 200, 299.4 + number, 320.2, 0.98])
        (tmp_path / "list.txt").write_text("\n".join(lines) + "\n")
        (tmp_path / "boxes.json").write_text(json.dumps(boxes))
        detections = (tmp_path / "boxes.json", tmp_path / "list.txt")
        labels = read_labels(prepare(data.folder, tmp_path / "a", boxes="detections", detections=detections))
        row = labels.index.row(Key("S1", "Directions-1", 0))
        assert row is not None
        left, top, right, bottom = labels.boxes[row, 0].tolist()
        assert (left, right) == (100, 300) and bottom - top == 200 and (top, bottom) == (161, 361)
        (tmp_path / "list.txt").write_text("\n".join(lines[:-1]))
        (tmp_path / "boxes.json").write_text(json.dumps(boxes[:-1]))
        with pytest.raises(ConfigError, match="has no box of 1 pictures, the first is S11/Directions-2/60457274"):
            prepare(data.folder, tmp_path / "b", boxes="detections", detections=detections)
        (tmp_path / "boxes.json").write_text(json.dumps(boxes))
        with pytest.raises(ConfigError, match="holds 44 boxes, list.txt names 43 pictures"):
            prepare(data.folder, tmp_path / "c", boxes="detections", detections=detections)


class TestBrokenOff:
    def test_goes_on_where_it_stood(self, data: made.Human36M, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = prepare(data.folder, tmp_path / "whole", boxes="joints")
        real = prepare_human36m._labels_of
        made_now: list[str] = []

        def counted(take: prepare_human36m.Take, *rest: object) -> dict[str, np.ndarray]:
            if len(made_now) == 2:
                raise KeyboardInterrupt
            made_now.append(take.name)
            return real(take, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(prepare_human36m, "_labels_of", counted)
        with pytest.raises(KeyboardInterrupt):
            prepare(data.folder, tmp_path / "half", boxes="joints")
        assert not (tmp_path / "half" / "labels.npz").exists()
        assert len(list((tmp_path / "half" / "parts").iterdir())) == 2
        made_now.append("so that it goes on")
        done = prepare(data.folder, tmp_path / "half", boxes="joints")
        assert len(made_now) == len(data.takes) + 1 and len(set(made_now)) == len(made_now)
        with np.load(whole) as a, np.load(done) as b:
            assert all(np.array_equal(a[name], b[name]) for name in a.files)
        # And once it is there nothing is done again.
        prepare(data.folder, tmp_path / "half", boxes="joints")
        assert len(made_now) == len(data.takes) + 1

    def test_does_not_mix_options(self, data: made.Human36M, tmp_path: Path) -> None:
        prepare(data.folder, tmp_path, boxes="joints")
        with pytest.raises(ConfigError, match="was begun with boxes joints, this is masks"):
            prepare(data.folder, tmp_path)


class TestErrors:
    @pytest.fixture
    def copy(self, data: made.Human36M, tmp_path: Path) -> made.Human36M:
        """The layout without most pictures."""
        copy = made.Human36M(tmp_path / "copy", pictures=False)
        for key in copy.position:
            for name in made.NAMES:
                if (key[0], key[1], name) not in copy.lacks:
                    path = copy.file(key[0], key[1], name, key[2])
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.touch()
        fetched(copy)
        parameters(copy)
        return copy

    def test_name_what_is_missing(self, copy: made.Human36M, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="metadata.xml: no such file.*--boxes joints"):
            prepare(copy.folder, tmp_path / "a")
        (copy.folder / "metadata.xml").write_text(METADATA)
        with pytest.raises(ConfigError, match=r"Directions 1.54138969.mat: no such file"):
            prepare(copy.folder, tmp_path / "a")
        with pytest.raises(ConfigError, match="need --detections"):
            prepare(copy.folder, tmp_path / "b", boxes="detections")
        (copy.root / "S1" / "Directions-1" / "annot.h5").unlink()
        with pytest.raises(ConfigError, match="annot.h5: no such file"):
            prepare(copy.folder, tmp_path / "c", boxes="joints")
        (copy.folder / "camera-parameters.json").unlink()
        with pytest.raises(ConfigError, match="karfly/human36m-camera-parameters"):
            prepare(copy.folder, tmp_path / "d", boxes="joints")
        with pytest.raises(ConfigError, match="holds no take such as S1/Directions-1"):
            prepare(tmp_path / "none", tmp_path / "e", boxes="joints")

    def test_tell_cameras_of_another_data_set(self, copy: made.Human36M, tmp_path: Path) -> None:
        document = json.loads((copy.folder / "camera-parameters.json").read_text())
        document["extrinsics"]["S1"]["58860488"]["t"][0][0] += 30
        (copy.folder / "camera-parameters.json").write_text(json.dumps(document))
        with pytest.raises(ConfigError, match=r"places a joint (2|3)\d mm apart from camera to camera"):
            prepare(copy.folder, tmp_path / "a", boxes="joints")

    def test_tell_a_damaged_file(self, copy: made.Human36M, tmp_path: Path) -> None:
        (copy.root / "S1" / "Directions-1" / "annot.h5").write_bytes(b"\x89HDF\r\n and no more")
        with pytest.raises(ConfigError, match="is no file of h36m-fetch"):
            prepare(copy.folder, tmp_path / "a", boxes="joints")

    def test_a_take_without_pictures_is_one(self, copy: made.Human36M, tmp_path: Path) -> None:
        shutil.rmtree(copy.root / "S1" / "Walking-2" / "imageSequence")
        with pytest.raises(ConfigError, match="Walking-2: has no pictures for its poses"):
            prepare(copy.folder, tmp_path / "a", boxes="joints")


def test_boxes_become_squares_about_their_centres() -> None:
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.integers(0, 300, (200, 2)), rng.integers(310, 700, (200, 2))], axis=-1)
    assert squared(boxes).tolist() == [square_by_hand(*(int(v) for v in box)) for box in boxes]
