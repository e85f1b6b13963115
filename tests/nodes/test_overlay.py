"""A recorded pose is drawn where it lies in each picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calib.document import rig_document
from calib.rig import read_rig
from capture.drawn import SKELETON, draw_recording
from capture.session import SessionInfo, SessionWriter
from nodes.overlay import write_overlay
from nodes.scene import SIDE_COLOURS
from rigpose import codec
from rigpose.errors import RigposeError
from rigpose.pose import PoseSet, SubjectPose, SyncInfo, to_message
from rigpose.stamps import SetStamps

CAMERAS = ("cam1", "cam2", "cam3", "cam4")


def pose_set(position: np.ndarray, recording: Path, frame: int) -> PoseSet:
    joints = len(position)
    subject = SubjectPose(
        id=0, id_confidence=1, skeleton=SKELETON.name, state="tracked", position_mm=position,
        covariance_mm2=np.ones((joints, 6)), confidence=np.ones(joints), views=np.full(joints, 15, np.uint32),
        residual_px=np.zeros((4, joints)), how=np.ones(joints, np.uint8), reason=np.zeros(joints, np.uint8),
    )  # fmt: skip
    stamps = SetStamps((1,) * 4, "schedule", (1,) * 4, 2, 3, 4, 5)
    video = tuple((str(recording / f"{name}.mp4"), frame) for name in CAMERAS)
    return PoseSet(
        set_index=0, cameras=CAMERAS, frames=tuple(("e", frame) for _ in CAMERAS), video=video,
        sync=SyncInfo("trigger", 0, frame), lag_frames=0, stamps=stamps, calibration_id="c", model="m",
        runtime="onnx", precision="fp32", graph_hash="g", subjects=(subject,),
    )  # fmt: skip


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("overlay") / "drawn"
    draw_recording(folder, frames=3)
    return folder


def session(folder: Path, recording: Path, *positions: np.ndarray) -> Path:
    rig = read_rig(recording / "rig.toml")
    sources = {name: {"source": {"kind": "video", "file": str(recording / f"{name}.mp4")}} for name in CAMERAS}
    info = SessionInfo(session_id="s", config={"cameras": sources}, rig=rig_document(rig), skeletons=(SKELETON,))
    with SessionWriter(folder, "test", info) as writer:
        for seq, position in enumerate(positions):
            message = to_message(pose_set(position, recording, seq), codec.header("s", "engine", "e", seq))
            writer.add_pose(codec.pack(message), 1)
    return writer.path


def test_each_joint_has_its_sides_colour_at_its_place_in_each_view(tmp_path: Path, recording: Path) -> None:
    truth = np.load(recording / "truth.npz")["position_mm"]
    nothing = np.full_like(truth[0], np.nan)
    folder = session(tmp_path, recording, truth[0], truth[1], nothing)
    assert write_overlay(folder, tmp_path / "pose.png") == 1, "the last set that holds a pose"
    picture = cv2.imread(str(tmp_path / "pose.png"))
    assert picture is not None and picture.shape == (960, 1280, 3)
    hits = []
    for view, camera in enumerate(read_rig(recording / "rig.toml").cameras):
        corner = np.array([view % 2 * 640, view // 2 * 480])
        for px, side in zip(camera.project(truth[1]), SKELETON.sides, strict=True):
            x, y = np.round(px + corner).astype(int)
            expected = np.round(255 * np.array(SIDE_COLOURS[side][::-1]))
            hits.append(np.abs(picture[y, x] - expected).max() < 25)
    assert np.mean(hits) > 0.85, "but for joints that another one covers"


def test_a_session_without_a_pose_is_one_clear_error(tmp_path: Path, recording: Path) -> None:
    folder = session(tmp_path, recording, np.full((len(SKELETON.joints), 3), np.nan))
    with pytest.raises(RigposeError, match="holds no pose"):
        write_overlay(folder, tmp_path / "pose.png")
