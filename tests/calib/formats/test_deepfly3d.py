"""DeepFly3D's pickles and npz: rows before columns, unseen joints, and nothing that runs."""

import os
import pickle

import numpy as np
import pytest

from calib.centre import centred, is_off_centre
from calib.convert import for_live_use, read_any, write_any
from calib.formats import pickles
from calib.formats.deepfly3d import seen_px
from calib.quality import judge
from rigpose.errors import ConfigError
from tests.calib.formats.rigs import assert_same_cameras, check_of, rig_of
from tests.calib.scenes import cloud, fly_rig, views


def result(rig, points, pixels=False):
    """df3d_result.pkl of a rig that sees points (F, J, 3); cameras 4 to 6 are mirrored."""
    px = np.stack([views(rig, frame) for frame in points], axis=1)
    shares = px[..., ::-1] / (1.0 if pixels else np.array([480.0, 960.0]))
    points2d = px.copy() if pixels else shares
    for i in range(len(rig)):
        hidden = np.s_[i, :, ::4]
        points2d[hidden] = (0, 1) if i > 3 and not pixels else (0, 0)
    found = {i: {"R": c.R, "tvec": c.t, "intr": c.K, "distort": np.zeros(5)} for i, c in enumerate(rig.cameras)}
    return found | {
        "points2d": points2d,
        "points3d": points + 1,
        "points3d_wo_procrustes": points,
        "camera_ordering": np.arange(7),
    }


class TestPickles:
    @pytest.mark.parametrize("protocol", [0, 2, 4, 5])
    @pytest.mark.parametrize("pixels", [False, True])
    def test_every_protocol_and_both_eras_of_its_points(self, tmp_path, protocol, pixels):
        rig = fly_rig()
        points = cloud(rig, 40, 1.5).reshape(4, 10, 3)
        (tmp_path / "df3d_result.pkl").write_bytes(pickle.dumps(result(rig, points, pixels), protocol=protocol))
        back = read_any(tmp_path / "df3d_result.pkl", "deepfly3d")
        assert_same_cameras(rig.cameras, back.rig.cameras, names=False)
        assert check_of(back).n == 7 * 4 * 7
        assert check_of(back).median_px < 1e-6
        assert (check_of(back).p95_px or 0) < 1e-6, "the mark of an unseen joint was taken for one"

    def test_old_keys_are_numpy_integers(self, tmp_path):
        rig = fly_rig()
        node = {np.int64(i): {"R": c.R, "tvec": c.t, "intr": c.K, "distort": None} for i, c in enumerate(rig.cameras)}
        (tmp_path / "calib.pkl").write_bytes(pickle.dumps(node, protocol=3))
        assert_same_cameras(rig.cameras, read_any(tmp_path / "calib.pkl").rig.cameras, names=False)

    def test_its_2d_step_alone_has_no_cameras(self, tmp_path):
        (tmp_path / "df3d_result.pkl").write_bytes(pickle.dumps({"points2d": np.zeros((7, 2, 38, 2))}))
        with pytest.raises(ConfigError, match="after its 3D step"):
            read_any(tmp_path / "df3d_result.pkl", "deepfly3d")


class Bomb:
    """Leaves a file behind when a pickle runs it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class TestNothingRuns:
    @pytest.mark.parametrize("protocol", [0, 2, 5])
    def test_a_pickle_that_wants_a_function(self, tmp_path, protocol):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps({0: Bomb(tmp_path / "ran")}, protocol=protocol))
        with pytest.raises(ConfigError, match="wants (posix|nt).mkdir"):
            pickles.load(tmp_path / "x.pkl")
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        "value",
        [
            np.zeros(2, dtype=[("a", "f8"), ("b", "O")]),
            np.array([{1, 2}], dtype=object),
            np.array(["2020-01-01"], dtype="datetime64[D]"),
            {1, 2},
            1j,
            np.ma.masked_array([1.0], [True]),
        ],
        ids=["records of objects", "objects", "dates", "set", "complex", "masked"],
    )
    def test_what_is_no_plain_number_is_refused(self, tmp_path, value):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps({0: value}))
        with pytest.raises(ConfigError, match=r"x.pkl: is (a pickle that is not read|no pickle)"):
            pickles.load(tmp_path / "x.pkl")

    def test_records_that_reach_out_of_themselves(self, tmp_path):
        data = pickle.dumps(np.zeros(2, dtype=[("aa", "f8"), ("bb", "i4")]), protocol=2)
        # The offset 8 of bb in a record of 12 bytes.
        assert data.count(b"K\x08\x86") == 1
        (tmp_path / "x.pkl").write_bytes(data.replace(b"K\x08\x86", b"K\x7f\x86"))
        with pytest.raises(ConfigError, match="x.pkl"):
            pickles.load(tmp_path / "x.pkl")

    @pytest.mark.parametrize("protocol", range(6))
    def test_records_and_arrays_of_values_come_back(self, tmp_path, protocol):
        records = np.zeros((2, 3), dtype=[("R", "f4", (3, 3)), ("n", "i2"), ("at", [("x", ">f8")])])
        records["R"] = np.arange(9).reshape(3, 3)
        records["at"]["x"][1] = 2.5
        value = {"r": records, "v": np.array([{"a": np.arange(3)}, None], dtype=object)}
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(value, protocol=protocol))
        back = pickles.load(tmp_path / "x.pkl")
        np.testing.assert_array_equal(back["r"]["R"], records["R"])
        np.testing.assert_array_equal(back["r"]["at"]["x"], records["at"]["x"])
        np.testing.assert_array_equal(back["v"][0]["a"], [0, 1, 2])

    def test_an_array_that_promises_more_than_its_bytes(self, tmp_path):
        data = pickle.dumps(np.arange(6.0), protocol=2)
        # The shape (6,) of an array that holds 48 bytes becomes (120,).
        assert data.count(b"K\x06\x85") == 1
        (tmp_path / "x.pkl").write_bytes(data.replace(b"K\x06\x85", b"K\x78\x85"))
        with pytest.raises(ConfigError, match="do not fill its shape"):
            pickles.load(tmp_path / "x.pkl")

    @pytest.mark.parametrize(
        "data", [b"(lp4000000000\n.", b"]r\xff\xff\xff\x7f.", b"\x80\x05\x96" + b"\xff" * 7 + b"\x00."]
    )
    def test_one_that_would_fill_the_memory(self, tmp_path, data):
        """Its unpickler keeps a table as long as the highest place that a pickle names."""
        (tmp_path / "x.pkl").write_bytes(data)
        with pytest.raises(ConfigError, match="x.pkl"):
            pickles.load(tmp_path / "x.pkl")

    def test_a_value_that_stands_there_often_is_opened_once(self, tmp_path):
        value: list = [1.0]
        for _ in range(15):
            value = [value] * 50
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(value))
        assert len(pickles.load(tmp_path / "x.pkl")) == 50

    def test_any_part_of_a_pickle_is_an_error_or_a_value_but_never_a_traceback(self, tmp_path):
        data = pickle.dumps({0: {"R": np.eye(3), "n": [1, "a", None, 2.5]}}, protocol=2)
        rng = np.random.default_rng(0)
        for _ in range(300):
            broken = bytearray(data[: rng.integers(1, len(data) + 1)])
            broken[rng.integers(0, len(broken))] = rng.integers(0, 256)
            (tmp_path / "x.pkl").write_bytes(broken)
            try:
                pickles.load(tmp_path / "x.pkl")
            except ConfigError as error:
                assert "\n" not in str(error)

    @pytest.mark.parametrize("protocol", range(6))
    @pytest.mark.parametrize("kind", ["<f8", ">f4", "i8", "u1", "?", "<U5", "S3"])
    def test_plain_arrays_come_back(self, tmp_path, protocol, kind):
        array = np.array([[1, 0, 3], [4, 5, 6]]).astype(kind)
        value = {"a": array, "f": np.asfortranarray(array), "s": array[0, 0], "l": [(1, 2.5), "x", None, b"y"]}
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(value, protocol=protocol))
        back = pickles.load(tmp_path / "x.pkl")
        np.testing.assert_array_equal(back["a"], array)
        np.testing.assert_array_equal(back["f"], array)
        assert back["s"] == array[0, 0]
        assert back["l"] == [[1, 2.5], "x", None, b"y"]


def test_unseen_joints_of_mirrored_cameras():
    points = np.array([[[[0.0, 0.0], [0.0, 1.0], [0.5, 0.25]]]])
    np.testing.assert_array_equal(seen_px(points)[0, 0], [[np.nan, np.nan], [np.nan, np.nan], [240, 240]])


class TestCentred:
    def camera(self):
        from dataclasses import replace

        camera = fly_rig().cameras[2]
        K = camera.K.copy()
        K[:2, 2] = 240, 480
        return replace(camera, K=K, dist=np.zeros(5))

    def test_sees_the_same_from_the_same_place(self):
        camera = self.camera()
        nearest, off = centred(camera)
        assert off.max_px < 0.5
        np.testing.assert_allclose(nearest.center_mm, camera.center_mm, atol=1e-6)
        np.testing.assert_allclose(nearest.K[:2, 2], (479.5, 239.5))
        px = np.random.default_rng(0).uniform(0, 1, (200, 2)) * camera.size
        origin, rays = camera.rays(px)
        for distance in (80, 100, 130):
            error = np.linalg.norm(nearest.project(origin + distance * rays) - px, axis=-1)
            assert error.max() <= off.max_px * 1.01

    def test_leaves_a_wide_lens_alone(self):
        camera = rig_of((), ()).cameras[0]
        assert not is_off_centre(camera)
        assert centred(camera)[0] is camera


@pytest.mark.data
class TestTheFly:
    def test_its_3d_reprojects_as_published(self, data_dir):
        back = read_any(data_dir / "fly7-deepfly3d/df3d_reference.npz")
        assert len(back.rig) == 7
        assert check_of(back).median_px <= 2.9
        assert check_of(back).n == 1590
        assert check_of(back).cameras["camera_3"] is None, "the front camera sees no joint"
        assert all(median <= 2.95 for name, median in check_of(back).cameras.items() if median is not None)
        assert any("looks swapped" in note for note in back.notes)

    def test_for_live_use_it_is_good_and_reprojects_as_well(self, data_dir, tmp_path):
        from calib.convert import reproject

        back = read_any(data_dir / "fly7-deepfly3d/df3d_reference.npz")
        assert judge(back.rig).verdict == "bad", "as it stands, its principal points look swapped"
        rig, notes = for_live_use(back.rig)
        assert judge(rig).verdict == "good"
        assert back.views is not None
        assert reproject(rig, back.views).median_px <= 2.9
        assert len(notes) == 1
        write_any(rig, tmp_path / "fly.toml")

    def test_written_as_its_own_pickle_it_comes_back(self, data_dir, tmp_path):
        rig = read_any(data_dir / "fly7-deepfly3d/df3d_reference.npz").rig
        write_any(rig, tmp_path / "calib.pkl")
        assert_same_cameras(rig.cameras, read_any(tmp_path / "calib.pkl").rig.cameras)
