"""A walking stick figure whose truth is known, as the pose messages that an engine would publish."""

from __future__ import annotations

import numpy as np

from capture.frame import Counters, Frame
from rigpose import codec
from rigpose.pose import LIFTED, MEASURED, NONE, NOT_SEEN, TRIANGULATED, PoseSet, SubjectPose, SyncInfo, to_message
from rigpose.skeleton import Skeleton
from rigpose.stamps import SetStamps

COCO17 = Skeleton(
    name="coco17",
    joints=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
        "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
        "right_ankle",
    ),
    edges=(
        (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12), (11, 13),
        (13, 15), (12, 14), (14, 16),
    ),
    left_right=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    root=(11, 12),
)  # fmt: skip

# A person of 1.7 m who stands at the origin and looks along +y; left is -x.
STANDING_MM = np.array(
    [
        [0, 120, 1560], [-35, 100, 1600], [35, 100, 1600], [-75, 20, 1580], [75, 20, 1580], [-180, 0, 1400],
        [180, 0, 1400], [-260, 20, 1120], [260, 20, 1120], [-280, 110, 870], [280, 110, 870], [-110, 0, 900],
        [110, 0, 900], [-120, 20, 480], [120, 20, 480], [-125, -20, 60], [125, -20, 60],
    ],
    float,
)  # fmt: skip


def stride(phase: float) -> np.ndarray:
    """(17, 3) mm: arms and legs at a phase of a step, left against right."""
    points = STANDING_MM.copy()
    for joints, pivot, sign in (((13, 15), 11, 1), ((14, 16), 12, -1), ((7, 9), 5, -1), ((8, 10), 6, 1)):
        angle = 0.5 * sign * np.sin(phase)
        for joint in joints:
            down = points[pivot, 2] - STANDING_MM[joint, 2]
            points[joint, 1] += down * np.sin(angle)
            points[joint, 2] = points[pivot, 2] - down * np.cos(angle)
    return points


def subject(position_mm: np.ndarray, *, n_views: int = 4, unseen: tuple[int, ...] = (), number: int = 0) -> SubjectPose:
    """A measured subject; ``unseen`` joints are NaN with a reason."""
    n = len(position_mm)
    position = np.array(position_mm, np.float32)
    position[list(unseen)] = np.nan
    how = np.full(n, TRIANGULATED, np.uint8)
    how[list(unseen)] = NONE
    reason = np.full(n, MEASURED, np.uint8)
    reason[list(unseen)] = NOT_SEEN
    return SubjectPose(
        id=number,
        id_confidence=1.0,
        skeleton=COCO17.name,
        state="tracked",
        position_mm=position,
        covariance_mm2=np.zeros((n, 6), np.float32),
        confidence=np.full(n, 0.9, np.float32),
        views=np.full(n, 2**n_views - 1, np.uint32),
        residual_px=np.full((n_views, n), 2.0, np.float32),
        how=how,
        reason=reason,
    )


def lifted(pose: SubjectPose, joints: tuple[int, ...]) -> SubjectPose:
    """The same with some joints got from one view."""
    import dataclasses

    how = pose.how.copy()
    how[list(joints)] = LIFTED
    return dataclasses.replace(pose, how=how)


def pose_set(
    index: int, subjects: tuple[SubjectPose, ...] = (), *, missing: tuple[int, ...] = (), t_ns: int = 0
) -> PoseSet:
    """One set of four cameras."""
    cameras = ("cam0", "cam1", "cam2", "cam3")
    there = [i not in missing for i in range(4)]
    at = t_ns or 10**9 + index * 16_666_667
    return PoseSet(
        set_index=index,
        cameras=cameras,
        frames=tuple(("epoch", index) if ok else None for ok in there),
        sync=SyncInfo("trigger", 0, index),
        lag_frames=0,
        stamps=SetStamps(
            exposed_ns=tuple(at if ok else None for ok in there),
            exposed_from="schedule",
            received_ns=tuple(at + 2_000_000 if ok else None for ok in there),
            grouped_ns=at + 3_000_000,
            inferred_ns=at + 20_000_000,
            solved_ns=at + 21_000_000,
            published_ns=at + 22_000_000,
        ),
        calibration_id="0123456789abcdef",
        model="stick",
        runtime="none",
        precision="fp32",
        graph_hash="",
        subjects=subjects,
    )


def payload(pose: PoseSet, seq: int | None = None, epoch: str = "engine-epoch") -> bytes:
    """The bytes that the engine would publish."""
    seq = pose.set_index if seq is None else seq
    return codec.pack(to_message(pose, codec.header("session", "engine", epoch, seq)))


def picture(camera: str, seq: int, *, size: tuple[int, int] = (64, 48), rate: float = 60.0, **values: object) -> Frame:
    """A frame whose brightness is its number."""
    at = 10**9 + round(seq * 1e9 / rate)
    image = np.full((size[1], size[0], 3), seq % 200 + 30, np.uint8)
    fields: dict = {
        "camera": camera,
        "seq": seq,
        "image": image,
        "pixel_format": "BGR8",
        "exposed_ns": at,
        "exposed_from": "device",
        "host_ns": at + 1_000_000,
        "size": size,
        "tick": seq,
        "received_ns": at + 2_000_000,
        "node_epoch": f"{camera}-epoch",
        "counters": Counters(exposed=seq + 1, seen=seq + 1),
    }
    return Frame(**{**fields, **values})
