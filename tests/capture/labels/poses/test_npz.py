"""Plain npz files and our own."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calib.rig import write_rig
from capture.labels import Poses3D, write_poses3d
from rigpose.errors import ConfigError
from rigpose.skeleton import Skeleton
from tests.calib.formats.rigs import BARREL, FISHEYE, assert_same_cameras, rig_of
from tests.capture.labels.poses.made import barrels, read, seen, walk

ARM = Skeleton(
    name="arm", joints=("shoulder_l", "elbow", "shoulder_r"), edges=((0, 1),), left_right=((0, 2),), root=(1, 2)
)


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


class TestOurOwn:
    @settings(max_examples=25, deadline=None)
    @given(
        n=st.integers(1, 5),
        views=st.integers(0, 3),
        seed=st.integers(0, 2**16),
        rate=st.none() | st.floats(0.1, 1e4),
        texts=st.booleans(),
    )
    def test_comes_back_to_the_last_bit(self, tmp_path_factory, n, views, seed, rate, texts):
        rng = np.random.default_rng(seed)
        position = rng.normal(0, 10.0 ** rng.integers(-3, 4), (n, 3, 3))
        position[rng.random((n, 3)) < 0.3] = np.nan
        rig = rig_of(*[BARREL] * views, FISHEYE, fisheye=(views,)) if views else None
        px = rng.normal(300, 100, (n, views + 1, 3, 2))
        px[rng.random(px.shape[:3]) < 0.3] = np.nan
        subject = rng.integers(0, 2, n)
        poses = Poses3D(
            ARM,
            position,
            rig,
            px if rig else None,
            rng.random(px.shape[:3]) if rig else None,
            np.array([f"rat {one}" for one in subject]) if texts else subject,
            np.cumsum(rng.integers(1, 9, n)),
            rate,
            "made",
        )
        path = tmp_path_factory.mktemp("npz") / "poses.npz"
        write_poses3d(poses, path)
        # A file in which nothing is anywhere is refused when it is read.
        if not poses.there.any():
            with pytest.raises(ConfigError, match="holds no joint"):
                read(path)
            return
        back = read(path)
        assert back.skeleton == ARM and back.rate_hz == rate and back.subjects == poses.subjects
        for name in ("position_mm", "points2d", "confidence", "subject", "frame"):
            np.testing.assert_array_equal(getattr(back, name), getattr(poses, name))
        if rig:
            assert back.rig is not None and back.rig.calibration_id == rig.calibration_id

    def test_nothing_is_overwritten(self, tmp_path):
        poses = Poses3D(ARM, np.ones((2, 3, 3)))
        write_poses3d(poses, tmp_path / "a.npz")
        with pytest.raises(ConfigError, match="not overwritten"):
            write_poses3d(poses, tmp_path / "a.npz")
        with pytest.raises(ConfigError, match="cannot be written"):
            write_poses3d(poses, tmp_path / "no" / "a.npz")


class TestPlain:
    def test_the_key_says_the_unit(self, tmp_path):
        path = saved(tmp_path / "a.npz", points_cm=np.ones((4, 3, 3)), names=["a", "b", "c"], fps=30.0)
        back = read(path)
        np.testing.assert_array_equal(back.position_mm, 10)
        assert back.rate_hz == 30 and back.subjects == ("a",) and back.skeleton.joints == ("a", "b", "c")

    def test_without_a_unit_it_asks(self, tmp_path):
        path = saved(tmp_path / "a.npz", points3d=np.ones((4, 3, 3)))
        with pytest.raises(ConfigError, match="--units mm|cm|m"):
            read(path)
        np.testing.assert_array_equal(read(path, units="m").position_mm, 1000)
        with pytest.raises(ConfigError, match="inch"):
            read(path, units="inch")

    def test_units_that_contradict_the_file_are_refused(self, tmp_path):
        path = saved(tmp_path / "a.npz", position_mm=np.ones((4, 3, 3)))
        with pytest.raises(ConfigError, match="says mm, and --units says m"):
            read(path, units="m")

    def test_cameras_as_arrays(self, tmp_path):
        rig, position = barrels(), walk(5, 3)
        K, dist, rvec, t, R = (
            np.stack([getattr(c, key) for c in rig.cameras]) for key in ("K", "dist", "rvec", "t", "R")
        )
        sizes, names = np.array([c.size for c in rig.cameras]), np.array(rig.names)
        common = {"points_m": position / 1000, "K": K, "dist": dist, "t": t / 1000, "points2d": seen(rig, position)}
        for name, turned in (("rvec", rvec), ("R", R)):
            path = saved(tmp_path / f"{name}.npz", size=sizes, cameras=names, **common, **{name: turned})
            back = read(path)
            assert back.rig is not None
            assert_same_cameras(rig.cameras, back.rig.cameras)
            assert np.nanmax(back.reprojection_px()) < 1e-6

    def test_cameras_in_a_file_beside(self, tmp_path):
        rig, position = barrels(), walk(5, 3)
        write_rig(rig, tmp_path / "rig.toml")
        path = saved(tmp_path / "a.npz", position_mm=position, rig="rig.toml", points2d=seen(rig, position))
        back = read(path)
        assert back.rig is not None and back.rig.calibration_id == rig.calibration_id
        assert np.nanmax(back.reprojection_px()) < 1e-9

    def test_its_own_cameras_are_not_replaced(self, tmp_path):
        rig, position = barrels(), walk(5, 3)
        write_poses3d(Poses3D(ARM, position, rig, seen(rig, position)), tmp_path / "a.npz")
        with pytest.raises(ConfigError, match="--rig: is not for .* its own cameras"):
            read(tmp_path / "a.npz", rig=rig)
        path = saved(tmp_path / "b.npz", position_mm=position, points2d=seen(rig, position))
        assert np.nanmax(read(path, rig=rig).reprojection_px()) < 1e-9

    def test_cameras_that_cannot_be_are_named(self, tmp_path):
        rig, position = barrels(), walk(5, 3)
        copy = rig.with_cameras([rig.cameras[0], replace(rig.cameras[0], name="other")])
        write_poses3d(Poses3D(ARM, position, copy), tmp_path / "a.npz")
        assert any("cameras: " in note and "identical" in note for note in read(tmp_path / "a.npz").notes)

    def test_names_may_come_from_another_file(self, tmp_path):
        saved(tmp_path / "names.npz", points_cm=np.ones((2, 3, 3)), joints=["a", "b", "c"])
        path = saved(tmp_path / "a.npz", position_mm=np.ones((2, 3, 3)))
        assert read(path, skeleton=tmp_path / "names.npz").skeleton.joints == ("a", "b", "c")

    def test_the_legs_of_an_insect_have_their_bones(self, tmp_path):
        names = [f"{leg}_{part}" for leg in ("LF", "RF") for part in ("Coxa", "Femur", "Tibia", "Tarsus", "Claw")]
        back = read(saved(tmp_path / "a.npz", position_mm=np.ones((2, 10, 3)), names=names))
        assert back.skeleton.edges == ((0, 1), (1, 2), (2, 3), (3, 4), (5, 6), (6, 7), (7, 8), (8, 9))
        assert back.skeleton.left_right == tuple((i, i + 5) for i in range(5))

    def test_the_user_names_joints(self, tmp_path):
        path = saved(tmp_path / "a.npz", position_mm=np.ones((2, 3, 3)))
        assert read(path).skeleton.joints == ("joint_0", "joint_1", "joint_2")
        assert read(path, skeleton="hip,knee,toe").skeleton.joints == ("hip", "knee", "toe")
        with pytest.raises(ConfigError, match="has 3 joints, and the skeleton"):
            read(path, skeleton="hip,knee")

    @pytest.mark.parametrize(
        ("arrays", "says"),
        [
            ({"position_mm": np.ones((4, 3, 5))}, "exchange its axes"),
            ({"position_mm": np.ones((4, 5))}, r"shape \[4, 5\]"),
            ({"position_mm": np.array([["a"]])}, "no numbers"),
            ({"position_mm": np.full((4, 3, 3), np.nan)}, "holds no joint"),
            (
                {"position_mm": np.ones((4, 3, 3)), "points_cm": np.ones((4, 3, 3))},
                "several keys: position_mm, points_cm",
            ),
            ({"position_mm": np.ones((4, 3, 3)), "joints": ["a", "b"]}, "has 3 joints"),
            ({"position_mm": np.ones((4, 3, 3)), "joints": ["a", "b", "b"]}, "joint 'b' twice"),
            (
                {"position_mm": np.ones((4, 3, 3)), "joints": list("abc"), "edges": [[0, 7]]},
                "bone between joints 0 and 7",
            ),
            ({"position_mm": np.ones((4, 3, 3)), "joints": list("abc"), "edges": [0, 1]}, "edges is no list of pairs"),
            ({"position_mm": np.ones((4, 3, 3)), "frame": [0, 1, 1, 2]}, "frames of subject"),
            ({"position_mm": np.ones((4, 3, 3)), "frame": [0, 1]}, "4 whole numbers"),
            ({"position_mm": np.ones((4, 3, 3)), "subject": ["a", "b"]}, "4 names"),
            ({"position_mm": np.ones((4, 3, 3)), "rate_hz": -1.0}, "frames a second"),
            ({"position_mm": np.ones((4, 3, 3)), "K": np.ones((2, 3, 3))}, "K and no R, t"),
            ({"position_mm": np.ones((4, 3, 3)), "rig": "no.toml"}, "no such rig file"),
        ],
    )
    def test_each_way_to_be_wrong_is_one_line(self, tmp_path, arrays, says):
        path = saved(tmp_path / "a.npz", **arrays)
        with pytest.raises(ConfigError, match=says) as error:
            read(path)
        assert "\n" not in str(error.value)

    def test_what_is_no_file_of_poses(self, tmp_path):
        path = saved(tmp_path / "a.npz", weights=np.ones(3))
        with pytest.raises(ConfigError, match="no 3D poses that are known"):
            read(path)
        with pytest.raises(ConfigError, match="has no positions, but weights"):
            read(path, format="npz")
        with pytest.raises(ConfigError, match="'c3d' is not known"):
            read(path, format="c3d")
        with pytest.raises(ConfigError, match="no such file"):
            read(tmp_path / "b.npz")

    def test_objects_are_not_read(self, tmp_path):
        path = saved(tmp_path / "a.npz", position_mm=np.array([{"a": 1}], dtype=object))
        with pytest.raises(ConfigError, match="no npz of plain arrays"):
            read(path)


@pytest.mark.data
def test_the_walking_fly(data_dir):
    poses = read(data_dir / "fly-walk3d" / "fly_walk_3d.npz")
    assert poses.position_mm.shape == (1000, 30, 3) and poses.rate_hz == 100 and poses.rig is None
    assert len(poses.skeleton.edges) == 24 and len(poses.skeleton.left_right) == 15
    legs = np.linalg.norm(np.diff(poses.position_mm.reshape(1000, 6, 5, 3), axis=2), axis=-1).sum(axis=-1)
    assert legs.mean() == pytest.approx(2.41, abs=0.01)
