"""Extrinsics from keypoints: what is written, and that nothing confirms itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from benchmarks._rigs import BoardScene, PointScene, board_scene, make_rig, moved, point_scene
from calib.document import rig_document
from calib.observations import BoardViews
from calib.rig import Rig, read_rig, write_rig
from capture.session import SessionInfo, SessionWriter
from nodes.calibrate.keypoints import sightings
from nodes.cli import app
from rigpose import codec
from rigpose.errors import ConfigError, RigposeError
from rigpose.pose import to_message
from tests.capture import poses

TURNED = "cam02"


@pytest.fixture(scope="module")
def truth() -> Rig:
    return make_rig(3, 3)


@pytest.fixture(scope="module")
def scene(truth: Rig) -> PointScene:
    return point_scene(3, 3, 50, 12, rig=truth)


def keypoints(path: Path, scene: PointScene) -> Path:
    np.savez(path, cameras=list(scene.rig.names), px=scene.px, confidence=np.isfinite(scene.px[..., 0]) * 0.9)
    return path


def session(folder: Path, scene: PointScene, rig: Rig, model: str = "net-a") -> Path:
    """A recorded session of the scene, as an engine with this rig would leave it."""
    n_views, n_sets, n_joints = scene.px.shape[:3]
    info = SessionInfo(rig=rig_document(rig))
    with SessionWriter(folder, "walk", info) as writer:
        for k in range(n_sets):
            subject = poses.subject(np.zeros((17, 3)), n_views=n_views)
            points = np.full((n_views, 17, 2), np.nan, np.float32)
            points[:, :n_joints] = scene.px[:, k]
            sure = np.where(np.isfinite(points[..., 0]), np.float32(0.9), np.float32(0))
            subject = replace(subject, points2d=points, confidence2d=sure)
            pose = poses.pose_set(k, (subject,))
            stamps = replace(
                pose.stamps,
                exposed_ns=pose.stamps.exposed_ns[:n_views],
                received_ns=pose.stamps.received_ns[:n_views],
            )
            pose = replace(pose, cameras=rig.names, frames=pose.frames[:n_views], stamps=stamps, model=model)
            writer.add_pose(codec.pack(to_message(pose, codec.header("s", "engine", "e", k))))
    return writer.path


def calibrate(*words: object) -> Result:
    return CliRunner().invoke(app, ["calibrate", "refine", *map(str, words), "--no-report"])


class TestCommand:
    def test_finds_the_camera_that_was_turned_and_names_the_parent(
        self, truth: Rig, scene: PointScene, tmp_path: Path
    ) -> None:
        old = moved(truth, TURNED, turned_deg=1.0)
        write_rig(old, tmp_path / "old.toml")
        result = calibrate(
            keypoints(tmp_path / "k.npz", scene), "--rig", tmp_path / "old.toml", "--to", tmp_path / "new.toml"
        )
        assert result.exit_code == 0, result.output
        assert "verdict: unverified" in result.stdout
        new = read_rig(tmp_path / "new.toml")
        assert new.metadata["parent"] == old.calibration_id and new.metadata["verdict"] == "unverified"
        assert all(np.array_equal(a.K, b.K) for a, b in zip(new.cameras, old.cameras, strict=True))
        assert turn(new, truth) < 0.25 * turn(old, truth)

    def test_another_source_that_was_not_fitted_confirms_it(
        self, truth: Rig, scene: PointScene, tmp_path: Path
    ) -> None:
        write_rig(moved(truth, TURNED, turned_deg=1.0), tmp_path / "old.toml")
        boards: BoardScene = board_scene(3, 3, 30, rig=truth, sigma_px=0.3, outliers=0.0)
        sizes = tuple(camera.size for camera in truth.cameras)
        frames = np.arange(boards.px.shape[1])
        BoardViews(boards.target_mm, truth.names, sizes, frames, boards.px).save(tmp_path / "views.npz")
        other = keypoints(tmp_path / "other.npz", point_scene(8, 3, 40, 12, rig=truth))
        result = calibrate(
            keypoints(tmp_path / "k.npz", scene), "--rig", tmp_path / "old.toml", "--to", tmp_path / "new.toml",
            "--confirm", tmp_path / "views.npz", "--confirm", other, "--json",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        document = json.loads(result.stdout)
        assert document["verdict"] == "good" and document["file"] == str(tmp_path / "new.toml")
        assert [word["verdict"] for word in document["confirmations"]] == ["confirmed", "confirmed"]
        assert document["after"]["median_px"] < document["before"]["median_px"]

    def test_takes_a_session_and_its_rig(self, truth: Rig, scene: PointScene, tmp_path: Path) -> None:
        old = moved(truth, TURNED, turned_deg=1.0)
        path = session(tmp_path, scene, old)
        result = calibrate(path, "--to", tmp_path / "new.toml")
        assert result.exit_code == 0, result.output
        new = read_rig(tmp_path / "new.toml")
        assert new.metadata["parent"] == old.calibration_id and new.metadata["network"] == "net-a"
        assert turn(new, truth) < 0.25 * turn(old, truth)

    def test_a_network_cannot_confirm_itself(self, truth: Rig, scene: PointScene, tmp_path: Path) -> None:
        first = session(tmp_path / "a", scene, truth)
        second = session(tmp_path / "b", point_scene(9, 3, 30, 12, rig=truth), truth)
        result = calibrate(first, "--confirm", second, "--to", tmp_path / "new.toml")
        assert result.exit_code == 2 and "was made by net-a too" in result.stderr
        third = session(tmp_path / "c", point_scene(9, 3, 30, 12, rig=truth), truth, model="net-b")
        assert calibrate(first, "--confirm", third, "--to", tmp_path / "new.toml").exit_code in (0, 4)

    def test_keypoints_without_a_rig_ask_for_one(self, scene: PointScene, tmp_path: Path) -> None:
        result = calibrate(keypoints(tmp_path / "k.npz", scene), "--to", tmp_path / "new.toml")
        assert result.exit_code == 2 and "give --rig FILE" in result.stderr and result.stderr.count("\n") == 1


class TestSightings:
    def test_of_a_session_are_those_of_its_poses(self, truth: Rig, scene: PointScene, tmp_path: Path) -> None:
        seen = sightings(session(tmp_path, scene, truth))
        assert seen.cameras == truth.names and seen.network == "net-a"
        assert np.allclose(seen.px[:, :, :12], scene.px, equal_nan=True, atol=1e-3)
        assert (seen.confidence[:, :, 12:] == 0).all()

    def test_a_camera_that_is_not_there_saw_nothing(self, scene: PointScene, tmp_path: Path) -> None:
        seen = sightings(keypoints(tmp_path / "k.npz", scene)).of(("cam03", "cam09"))
        assert np.array_equal(seen.px[0], scene.px[2], equal_nan=True) and (seen.confidence[1] == 0).all()
        with pytest.raises(ConfigError, match="name them alike"):
            seen.of(("left", "right"))

    @pytest.mark.parametrize(
        ("arrays", "words"),
        [
            ({"px": np.zeros((2, 3, 4, 2))}, "has no cameras"),
            ({"cameras": ["a"], "px": np.zeros((2, 3, 4, 2))}, r"px has shape \[2, 3, 4, 2\]"),
            ({"cameras": ["a"], "px": np.zeros((1, 3, 2))}, r"px has shape \[1, 3, 2\]"),
        ],
    )
    def test_a_file_that_is_wrong_says_what_it_needs(
        self, tmp_path: Path, arrays: dict[str, object], words: str
    ) -> None:
        np.savez(tmp_path / "k.npz", **arrays)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=words):
            sightings(tmp_path / "k.npz")

    def test_a_session_without_keypoints_says_so(self, truth: Rig, tmp_path: Path) -> None:
        with SessionWriter(tmp_path, "empty", SessionInfo(rig=rig_document(truth))) as writer:
            pass
        with pytest.raises(RigposeError, match="holds no 2D keypoints"):
            sightings(writer.path)


def turn(rig: Rig, truth: Rig) -> float:
    """Degrees by which the relative rotation of the turned camera and the first differs from the true one."""

    def relative(one: Rig) -> np.ndarray:
        return one[TURNED].R @ one["cam01"].R.T

    angle = relative(rig) @ relative(truth).T
    return float(np.degrees(np.arccos(np.clip((np.trace(angle) - 1) / 2, -1, 1))))
