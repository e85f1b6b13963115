"""A pose set survives its message; a message that lies about shapes does not become one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rigpose import codec
from rigpose.errors import ProtocolError
from rigpose.pose import PoseSet, SubjectPose, SyncInfo, from_message, to_message
from rigpose.stamps import SetStamps


def subject(joints: int = 3, views: int = 2) -> SubjectPose:
    position = np.arange(3.0 * joints, dtype=np.float32).reshape(joints, 3)
    position[1] = np.nan
    return SubjectPose(
        id=0,
        id_confidence=1.0,
        skeleton="s",
        state="tracked",
        position_mm=position,
        covariance_mm2=np.ones((joints, 6), np.float32),
        confidence=np.ones(joints, np.float32),
        views=np.full(joints, 3, np.uint32),
        residual_px=np.zeros((views, joints), np.float32),
        how=np.ones(joints, np.uint8),
        reason=np.zeros(joints, np.uint8),
    )


def pose_set(**changes: Any) -> PoseSet:
    values: dict[str, Any] = {
        "set_index": 4,
        "cameras": ("a", "b"),
        "frames": (("epoch", 7), None),
        "video": (("a.mp4", 7), None),
        "sync": SyncInfo("trigger", 0, 9),
        "lag_frames": 1,
        "stamps": SetStamps((10**9, None), "schedule", (2 * 10**9, None), 3 * 10**9, 4 * 10**9, 5 * 10**9, 6 * 10**9),
        "calibration_id": "0123456789abcdef",
        "model": "m",
        "runtime": "onnx",
        "precision": "fp32",
        "graph_hash": "f",
        "subjects": (subject(),),
    }
    return PoseSet(**{**values, **changes})


def through_the_wire(pose: PoseSet) -> dict[str, Any]:
    return codec.unpack(codec.pack(to_message(pose, codec.header("session", "engine", "epoch", 1))))


def test_everything_comes_back() -> None:
    sent = pose_set()
    back = from_message(through_the_wire(sent))
    np.testing.assert_array_equal(back.subjects[0].position_mm, sent.subjects[0].position_mm)
    assert back.subjects[0].measured.tolist() == [True, False, True]
    assert back.missing == ("b",) and back.stamps == sent.stamps and back.sync == sent.sync
    assert (back.frames, back.video, back.lag_frames) == (sent.frames, sent.video, sent.lag_frames)


def test_a_set_without_subjects_travels_too() -> None:
    assert from_message(through_the_wire(pose_set(subjects=()))).subjects == ()


@pytest.mark.parametrize("name", ["position_mm", "residual_px", "views"])
def test_an_array_of_another_shape_is_refused(name: str) -> None:
    message = through_the_wire(pose_set())
    message["subjects"][0][name] = np.zeros((5, 5), np.float32)
    with pytest.raises(ProtocolError):
        from_message(message)


@pytest.mark.parametrize("key", ["stamps", "frames", "subjects", "sync", "model"])
def test_a_missing_field_is_named(key: str) -> None:
    message = through_the_wire(pose_set())
    del message[key]
    with pytest.raises(ProtocolError, match=key):
        from_message(message)


def test_stages_count_from_the_newest_view_and_exposure_from_the_oldest() -> None:
    stamps = SetStamps((0, 1_000_000), "device", (5_000_000, 7_000_000), 8_000_000, 10_000_000, 11_000_000, 12_000_000)
    stages = stamps.stages_ms()
    assert stages["received_to_published"] == 5.0
    assert stages["exposed_to_received"] == 7.0
    assert stages["exposed_to_published"] == 12.0
    names = ("received_to_grouped", "grouped_to_inferred", "inferred_to_solved", "solved_to_published")
    assert sum(stages[name] for name in names) == stages["received_to_published"]


def test_no_latency_from_exposure_is_claimed_from_an_arrival_time() -> None:
    stamps = SetStamps((0,), "arrival", (5,), 6, 7, 8, 9)
    assert not any(name.startswith("exposed") for name in stamps.stages_ms())


@pytest.mark.parametrize(
    "change",
    [
        {"frames": [["epoch", 7]]},
        {"cameras": [f"c{i}" for i in range(33)]},
        {"status": "fine"},
        {"subjects": [{}] * 1000},
    ],
    ids=["a view that is not there", "more views than bits", "a status that is none", "a thousand subjects"],
)
def test_a_message_that_contradicts_itself_or_has_no_bounds_is_refused(change: dict[str, Any]) -> None:
    message = to_message(pose_set(), codec.header("s", "engine", "e", 0))
    with pytest.raises(ProtocolError):
        from_message(codec.unpack(codec.pack({**message, **change})))
