"""What is said of 3D poses is what is in them, and what is drawn lies where it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from calib.rig import write_rig
from capture.labels import Poses3D, read_poses3d, write_poses3d
from nodes.cli import app
from nodes.label_sheet import TILE
from nodes.pose_sheet import write_sheet
from nodes.poses3d import summary
from rigpose.errors import RigposeError
from rigpose.skeleton import Skeleton
from tests.capture.labels.made import coco, write_json
from tests.capture.labels.poses.made import barrels, captured, columns_of, dlc_csv, seen, walk

ARM = Skeleton(name="arm", joints=("hand", "elbow", "shoulder"), edges=((0, 1), (1, 2)))


def poses(n: int = 8, **more: Any) -> Any:
    position = walk(n, 3)
    position[0, 2] = np.nan
    rig = barrels()
    px = seen(rig, position) + np.array([3.0, 4.0])
    return Poses3D(
        ARM, position, rig, px, subject=np.repeat(["ann", "bob"], [5, n - 5]), rate_hz=50.0, source="made", **more
    )


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["labels", *map(str, arguments)])


class TestSummary:
    def test_says_what_is_missing_and_how_far_it_reaches(self) -> None:
        made = poses()
        facts = summary(made)
        assert facts["poses"] == 8 and facts["rate_hz"] == 50
        assert facts["joints"][2] == {"name": "shoulder", "missing_share": 0.125}
        assert facts["missing_share"] == pytest.approx(1 / 24, abs=1e-4)
        np.testing.assert_allclose(facts["extent_mm"]["high"], np.nanmax(made.position_mm, axis=(0, 1)), atol=1e-3)
        assert facts["subjects"][1] == {"name": "bob", "poses": 3, "frames": [5, 7]}
        length = np.linalg.norm(made.position_mm[:, 0] - made.position_mm[:, 1], axis=-1).mean()
        assert facts["bones_mm"][0]["mean"] == pytest.approx(length, abs=1e-3)

    def test_holds_the_cameras_against_what_they_saw(self) -> None:
        facts = summary(poses())
        assert facts["reprojection_px"] == {"median": 5.0, "p95": 5.0, "n": 69}
        assert [camera["seen_share"] for camera in facts["cameras"]] == [0.9583] * 3
        assert facts["rig"]["verdict"] == "good"

    def test_names_cameras_that_are_copies(self) -> None:
        made = poses()
        first, second, third = made.rig.cameras
        copy = made.rig.with_cameras([first, replace(first, name=second.name), third])
        facts = summary(replace(made, rig=copy))
        assert facts["rig"]["verdict"] == "bad" and "identical" in facts["rig"]["findings"][0]

    def test_without_cameras_there_is_nothing_to_say_of_them(self) -> None:
        facts = summary(poses().without_views())
        assert facts["cameras"] == [] and facts["rig"] is None and facts["reprojection_px"] is None


class TestCommand:
    def test_tells_poses_from_labels_by_what_is_in_the_file(self, tmp_path: Path) -> None:
        write_poses3d(poses(), tmp_path / "poses.npz")
        answer = run(tmp_path / "poses.npz")
        said = " ".join(answer.stdout.split())
        for part in (
            *("npz: arm, 3 joints, 2 bones", "8 poses in 3D, 50 Hz, 4.2 % of the joints missing", "shoulder 12.5 %"),
            *("ann: 5 poses, frames 0 to 4", "reprojection: median 5.000 px, p95 5.000 px, 69 points"),
        ):
            assert part in said, said
        assert run(write_json(tmp_path / "train.json", coco())).stdout.startswith("COCO")

    def test_writes_and_prints_json(self, tmp_path: Path) -> None:
        write_poses3d(poses(), tmp_path / "a.npz")
        answer = run(tmp_path / "a.npz", "--json", "--write", tmp_path / "b.npz", "--png", tmp_path / "s.png")
        assert json.loads(answer.stdout)["skeleton"]["name"] == "arm"
        np.testing.assert_array_equal(read_poses3d(tmp_path / "b.npz").position_mm, poses().position_mm)

    def test_a_rig_makes_poses_of_points(self, tmp_path: Path) -> None:
        rig, position = barrels(), walk(6, 3, size_mm=100)
        px = np.concatenate([seen(rig, position), np.ones((6, 3, 3, 1))], axis=-1)
        for v, camera in enumerate(rig.cameras):
            columns = columns_of(ARM.joints, ("x", "y", "likelihood"))
            dlc_csv(tmp_path / "pose" / f"run_{camera.name}.csv", columns, range(6), px[:, v].reshape(6, -1))
        write_rig(rig, tmp_path / "rig.toml")
        answer = run(tmp_path / "pose", "--rig", tmp_path / "rig.toml", "--rate", "30")
        assert "6 poses in 3D, 30 Hz, 0.0 % of the joints missing" in answer.stdout
        assert "median 0.000 px" in answer.stdout

    def test_what_only_a_user_knows_is_asked_for(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", points3d=np.ones((2, 3, 3)))
        answer = run(tmp_path / "a.npz")
        assert answer.exit_code == 2 and "--units mm|cm|m" in answer.stderr and answer.stderr.count("\n") == 1
        assert "extent: x 1000 to 1000" in run(tmp_path / "a.npz", "--units", "m").stdout

    def test_the_size_of_pictures(self, tmp_path: Path) -> None:
        camera = barrels().cameras[0]
        values: Any = {"K": camera.K[None], "dist": camera.dist[None], "rvec": camera.rvec[None], "t": camera.t[None]}
        np.savez(tmp_path / "a.npz", position_mm=np.ones((2, 3, 3)), **values)
        assert "1280x1024" not in run(tmp_path / "a.npz").stdout
        assert "1280x1024" in run(tmp_path / "a.npz", "--size", "1280x1024").stdout

    def test_a_recording_is_picked(self, tmp_path: Path) -> None:
        for session, n in (("1", 3), ("2", 4)):
            captured(tmp_path, session, barrels(n), walk(4, 20), np.arange(4))
        assert "--pick one of e1, e2" in run(tmp_path).stderr
        assert "cam4" in run(tmp_path, "--pick", "e2").stdout

    def test_what_is_of_poses_is_refused_for_labels(self, tmp_path: Path) -> None:
        answer = run(write_json(tmp_path / "train.json", coco()), "--units", "mm")
        assert answer.exit_code == 2 and "--units: is of 3D poses" in answer.stderr


class TestSheet:
    def test_draws_each_pose_along_three_axes_and_as_a_camera_saw_it(self, tmp_path: Path) -> None:
        assert write_sheet(poses(), tmp_path / "a.png", most=3) == 3
        image = cv2.imread(str(tmp_path / "a.png"))
        assert image is not None and image.shape[:2] == (3 * TILE[1], 4 * TILE[0])

    def test_above_is_above(self, tmp_path: Path) -> None:
        position = np.array([[[0.0, 0, 0], [0, 0, 50], [0, 0, 100]]])
        sided = Skeleton(name="post", joints=("low", "left_top", "right_top"), left_right=((1, 2),))
        write_sheet(Poses3D(sided, position), tmp_path / "a.png")
        image = cv2.imread(str(tmp_path / "a.png"))
        assert image is not None and image.shape[:2] == (TILE[1], 3 * TILE[0])
        side = image[20:210, TILE[0] : 2 * TILE[0]].astype(int)
        red, blue = side[..., 2] - side[..., 0], side[..., 0] - side[..., 2]
        rows = [np.flatnonzero((colour > 80).any(axis=1)).mean() for colour in (red, blue)]
        assert rows[0] < rows[1] - 50, "the joint on top is orange, that in the middle blue"

    def test_a_name_that_is_no_picture(self, tmp_path: Path) -> None:
        with pytest.raises(RigposeError, match="cannot be written"):
            write_sheet(poses(), tmp_path / "a.txt")
