"""Every format that can be written gives the same cameras when read, or says in one line what it cannot hold."""

from dataclasses import replace

import numpy as np
import pytest

from calib import formats
from calib.convert import read_any, writable, write_any
from calib.rig import Rig, read_rig
from rigpose.errors import ConfigError
from tests.calib.formats.rigs import BARREL, FISHEYE, RATIONAL, assert_same_cameras, rig_of

FOUR = BARREL[:4]
# What each format is written to, and the lenses that it must hold.
ALL = {
    "rigpose": ("rig.toml", (BARREL, RATIONAL, FISHEYE)),
    "anipose": ("calibration.toml", (BARREL, RATIONAL, FISHEYE)),
    "pose2sim": ("Calib.toml", (FOUR, (), (-0.1, 0.0, 0.0, 0.0))),
    "caliscope": ("camera_array.toml", (BARREL, RATIONAL, FISHEYE)),
    "opencv": ("cameras.yml", (BARREL, RATIONAL, FISHEYE)),
    "qualisys": ("Calib.qca.txt", (BARREL, FOUR, ())),
    "easymocap": ("calibration", (BARREL, FOUR, ())),
    "panoptic": ("calibration_171204.json", (BARREL, FOUR, ())),
    "human36m": ("camera-parameters.json", (BARREL[:2] + (0, 0, 0.01), (), (-0.2,) + (0.0,) * 4)),
    "deepfly3d": ("calib.pkl", (BARREL, FOUR, ())),
    "label3d": ("rig.mat", (BARREL, FOUR, ())),
    "kalibr": ("camchain.yaml", (FOUR, (), FISHEYE)),
    "colmap": ("sparse", (FOUR, RATIONAL, FISHEYE)),
    "jarvis": ("set", (BARREL, FOUR, ())),
}
WITHOUT_SIZE = ("human36m", "deepfly3d", "label3d", "jarvis")
WITHOUT_NAMES = ("deepfly3d",)


def written(tmp_path, name, lenses=None):
    file, own = ALL[name]
    lenses = lenses or own
    fisheye = [i for i, lens in enumerate(lenses) if lens is FISHEYE]
    names = ("cam_0", "cam_1", "cam_2") if name == "caliscope" else ("left", "right_2", "top")
    rig = rig_of(*lenses, fisheye=fisheye, names=names[: len(lenses)])
    return rig, tmp_path / file, write_any(rig, tmp_path / file, name)


def test_the_table_here_is_complete():
    assert set(ALL) == set(writable())
    assert set(formats.FORMATS) - set(ALL) == {"opencap", "bouguet"}, "read only"


@pytest.mark.parametrize("name", ALL)
class TestEveryFormat:
    def test_gives_the_same_cameras(self, name, tmp_path):
        rig, path, _ = written(tmp_path, name)
        size = (1280, 1024) if name in WITHOUT_SIZE else None
        back = read_any(path, units=formats.module_of(name).HOLDS.unit if name != "rigpose" else None, size=size)
        assert back.format == name
        assert_same_cameras(rig.cameras, back.rig.cameras, names=name not in WITHOUT_NAMES)

    def test_is_recognised_without_its_name(self, name, tmp_path):
        _, path, _ = written(tmp_path, name)
        assert read_any(path, units=None if name == "rigpose" else "m").format == name

    def test_is_never_overwritten(self, name, tmp_path):
        rig, path, _ = written(tmp_path, name)
        before = {p: p.read_bytes() for p in ([path] if path.is_file() else path.iterdir())}
        with pytest.raises(ConfigError, match="overwritten"):
            write_any(rig, path, name)
        assert {p: p.read_bytes() for p in before} == before

    def test_the_order_of_the_cameras_stays(self, name, tmp_path):
        rig, path, _ = written(tmp_path, name)
        back = read_any(path, name, "mm").rig
        if name not in WITHOUT_NAMES:
            assert back.names == rig.names

    def test_read_rig_reads_it_too(self, name, tmp_path):
        _, path, _ = written(tmp_path, name)
        assert len(read_rig(path, units=None if name == "rigpose" else "m")) == 3


class TestWhatAFormatCannotHold:
    @pytest.mark.parametrize(
        "name", ["pose2sim", "qualisys", "easymocap", "panoptic", "deepfly3d", "label3d", "jarvis"]
    )
    def test_a_fisheye_is_refused_and_nothing_is_left(self, name, tmp_path):
        with pytest.raises(ConfigError, match="camera left: has a fisheye lens, which .* cannot hold .*rigpose"):
            written(tmp_path, name, (FISHEYE, FISHEYE))
        assert not (tmp_path / ALL[name][0]).is_file()

    @pytest.mark.parametrize(
        "name", ["pose2sim", "qualisys", "easymocap", "panoptic", "deepfly3d", "label3d", "jarvis", "kalibr"]
    )
    def test_eight_coefficients_are_refused(self, name, tmp_path):
        with pytest.raises(ConfigError, match="camera left: its lens has 8 coefficients, .* holds [45]"):
            written(tmp_path, name, (RATIONAL, RATIONAL))

    def test_zeros_at_the_end_of_a_lens_do_not_count(self, tmp_path):
        rig, path, _ = written(tmp_path, "pose2sim", (FOUR + (0,) * 10, FOUR + (0,)))
        assert_same_cameras(rig.cameras, read_any(path, units="m").rig.cameras)

    def test_opencv_tangential_terms_are_not_those_of_human36m(self, tmp_path):
        with pytest.raises(ConfigError, match="left.*Human3.6M's model"):
            written(tmp_path, "human36m", (BARREL, BARREL))

    @pytest.mark.parametrize("name", sorted(set(ALL) - {"rigpose", "label3d"}))
    def test_a_skew_is_refused(self, name, tmp_path):
        rig = rig_of(FOUR, FOUR)
        K = rig.cameras[0].K.copy()
        K[0, 1] = -5.0
        with pytest.raises(ConfigError, match="skew"):
            write_any(Rig((replace(rig.cameras[0], K=K), rig.cameras[1])), tmp_path / ALL[name][0], name)

    @pytest.mark.parametrize("name", ["rigpose", "label3d"])
    def test_a_skew_comes_back_where_there_is_room(self, name, tmp_path):
        rig = rig_of(BARREL, BARREL)
        K = rig.cameras[0].K.copy()
        K[0, 1] = -5.0
        rig = Rig((replace(rig.cameras[0], K=K), rig.cameras[1]))
        write_any(rig, tmp_path / ALL[name][0], name)
        assert_same_cameras(rig.cameras, read_any(tmp_path / ALL[name][0]).rig.cameras, size=False)

    @pytest.mark.parametrize(
        ("name", "unit"), [("anipose", "mm"), ("pose2sim", "m"), ("caliscope", "m"), ("colmap", "mm")]
    )
    def test_a_unit_that_nobody_will_know_is_said(self, name, unit, tmp_path):
        _, path, notes = written(tmp_path, name)
        assert any(f"--units {unit}" in note for note in notes)
        with pytest.raises(ConfigError, match=r"--units mm\|cm\|m"):
            read_any(path)

    @pytest.mark.parametrize("name", WITHOUT_SIZE)
    def test_missing_sizes_are_said_with_the_way_to_give_them(self, name, tmp_path):
        assert any("--size 1280x1024" in note for note in written(tmp_path, name)[2])

    @pytest.mark.parametrize("name", sorted(set(ALL) - {"rigpose"}))
    def test_facts_and_metadata_that_are_dropped_are_named_once(self, name, tmp_path):
        rig = rig_of((-0.2, 0.1, 0, 0), (-0.2, 0.1, 0, 0), names=("cam_0", "cam_1"))
        cameras = (replace(rig.cameras[0], lens="f8", flip="horizontal"), rig.cameras[1])
        notes = write_any(Rig(cameras, {"world": "board", "parent": "x"}), tmp_path / ALL[name][0], name)
        assert sum("flip, lens" in note for note in notes) == 1
        assert sum("parent, world" in note for note in notes) == 1
        assert all("\n" not in note for note in notes)

    def test_a_format_that_is_only_read_says_so(self, tmp_path):
        with pytest.raises(ConfigError, match="opencap.*cannot be written"):
            write_any(rig_of(FOUR, FOUR), tmp_path / "x", "opencap")

    def test_a_name_that_says_no_format_asks_for_one(self, tmp_path):
        with pytest.raises(ConfigError, match="--as one of"):
            write_any(rig_of(FOUR, FOUR), tmp_path / "cameras.yaml")


def test_a_folder_of_files_has_the_order_of_its_names_and_says_so(tmp_path):
    rig = rig_of(FOUR, FOUR, names=("top", "left"))
    notes = write_any(rig, tmp_path / "set", "jarvis")
    assert any("orders cameras by their file names: left, top" in note for note in notes)
    assert read_any(tmp_path / "set").rig.names == ("left", "top")


def test_what_does_not_come_back_is_taken_away_again(tmp_path, monkeypatch):
    """A writer that loses something is caught by the reading that follows."""
    from calib.formats import panoptic

    real = panoptic.write_path

    def wrong(cameras, metadata, path):
        return real(tuple(replace(c, t=c.t + 0.01) for c in cameras), metadata, path)

    monkeypatch.setattr(panoptic, "write_path", wrong)
    with pytest.raises(ConfigError, match="camera cam0 is off by .* px when read again"):
        write_any(rig_of(FOUR, FOUR), tmp_path / "c.json", "panoptic")
    assert not list(tmp_path.iterdir())


def test_opencv_itself_reads_what_we_write(tmp_path):
    """The YAML, the XML, JARVIS's and EasyMocap's files through cv2.FileStorage."""
    import cv2

    rig = rig_of(BARREL, RATIONAL)
    for name in ("a.yml", "a.xml"):
        write_any(rig, tmp_path / name, "opencv")
        store = cv2.FileStorage(str(tmp_path / name), cv2.FILE_STORAGE_READ)
        for i, camera in enumerate(rig.cameras):
            node = store.getNode("cameras").at(i)
            assert node.getNode("name").string() == camera.name
            assert int(node.getNode("image_width").real()) == camera.size[0]
            np.testing.assert_array_equal(node.getNode("camera_matrix").mat(), camera.K)
            np.testing.assert_array_equal(node.getNode("distortion_coefficients").mat().ravel(), camera.dist)
            np.testing.assert_array_equal(node.getNode("tvec").mat().ravel(), camera.t)
    five = rig_of(BARREL, BARREL)
    write_any(five, tmp_path / "easy", "easymocap")
    store = cv2.FileStorage(str(tmp_path / "easy/extri.yml"), cv2.FILE_STORAGE_READ)
    assert [store.getNode("names").at(i).string() for i in range(2)] == ["cam0", "cam1"]
    np.testing.assert_array_equal(store.getNode("R_cam1").mat().ravel(), five.cameras[1].rvec)
    write_any(five, tmp_path / "jarvis", "jarvis")
    store = cv2.FileStorage(str(tmp_path / "jarvis/cam0.yaml"), cv2.FILE_STORAGE_READ)
    np.testing.assert_array_equal(store.getNode("intrinsicMatrix").mat(), five.cameras[0].K.T)


@pytest.mark.parametrize("name", ["npz", "folder of OpenCV files"])
def test_the_other_shapes_of_a_format(name, tmp_path):
    rig = rig_of(BARREL, BARREL, names=("camera_0", "camera_1"))
    path = tmp_path / ("calib.npz" if name == "npz" else "cameras")
    write_any(rig, path, "deepfly3d" if name == "npz" else "opencv")
    assert_same_cameras(rig.cameras, read_any(path, size=(1280, 1024)).rig.cameras)
