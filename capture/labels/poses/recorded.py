"""Recorded sessions of ours: joints that several views agreed on, and what the network saw of them.

What counts is what counts as truth in training (`capture.session.believed.Quality`): measured, of enough views, with a
small residual; nothing that was lifted or predicted. 2D points are there where the session was recorded with them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from calib.rig import Rig
from capture.labels.poses.reading import How, made
from capture.labels.poses3d import Poses3D, concatenate
from capture.session import SessionReader
from capture.session.believed import Quality, believable, exposed_ns, sessions_in, skeleton_name
from rigpose.errors import ConfigError
from rigpose.pose import PoseSet, SubjectPose

TITLE = "rigpose session"


def recognises(path: Path) -> bool:
    """A session's folder, or one of such folders."""
    return next(sessions_in(path), None) is not None


def read(path: Path, how: How, quality: Quality = Quality()) -> Poses3D:  # noqa: B008  # frozen
    """The believable poses of a session, or of all in a folder that have one rig.

    Raises:
        RigposeError: A session cannot be read, has no pose that counts, or another rig or skeleton than the first.
    """
    how.own_cameras(path)
    return concatenate([_session(one, how, quality) for one in sessions_in(path)])


def _session(path: Path, how: How, quality: Quality) -> Poses3D:
    reader = SessionReader(path)
    rig = reader.rig()
    name = skeleton_name(reader, how.pick or "", "--pick one of them")
    # Three views cannot agree where there are two: then both must.
    least = Quality(quality.max_residual_px, min(quality.min_views, len(rig)), quality.min_confidence)
    times, numbers, position, points, confidence = [], [], [], [], []
    all_times, seen = [], 0
    for pose in reader.poses():
        all_times.append(exposed_ns(pose))
        if pose.calibration_id != rig.calibration_id:
            continue
        for one in pose.subjects:
            if one.skeleton != name or one.state == "lost":
                continue
            seen += 1
            good = believable(one, least)
            if good.mean() < quality.min_joints:
                continue
            times.append(all_times[-1])
            numbers.append(one.id)
            position.append(np.where(good[:, None], one.position_mm, np.nan))
            px, sure = _points(pose, one, rig, good)
            points.append(px)
            confidence.append(sure)
    if not times:
        raise ConfigError(
            path, f"none of its {seen} poses of {name} can be believed", "leave it out, or record it again"
        )
    step_ns = float(np.median(np.diff(all_times))) if len(all_times) > 1 else 0.0
    # Sets that were lost leave a gap in the numbers, as they do in time.
    after_ns = np.array(times) - all_times[0]
    frame = np.rint(after_ns / step_ns).astype(np.int64) if step_ns > 0 else np.zeros(len(times), dtype=np.int64)
    who = reader.info.subject or path.name
    ids = np.array(numbers)
    names = [how.subject or who] * len(ids) if len(set(numbers)) == 1 else [f"{who}/{one}" for one in numbers]
    order = np.lexsort((frame, ids))
    keep = order[np.append(True, (np.diff(ids[order]) != 0) | (np.diff(frame[order]) != 0))]
    px, sure = np.array(points)[keep], np.array(confidence)[keep]
    with_points = bool(np.isfinite(px).any())
    return made(
        path,
        skeleton=reader.skeletons()[name],
        position_mm=np.array(position, dtype=np.float64)[keep],
        rig=rig,
        points2d=px if with_points else None,
        confidence=sure if with_points else None,
        subject=np.array(names)[keep],
        frame=frame[keep],
        rate_hz=how.rate(float(np.round(1e9 / step_ns, 3)) if step_ns > 0 else None, path),
        source=TITLE,
        notes=() if with_points else ("no 2D points: it was recorded without send_points2d",),
    )


def _points(
    pose: PoseSet, subject: SubjectPose, rig: Rig, good: np.ndarray
) -> tuple[Float[np.ndarray, "V J 2"], Float[np.ndarray, "V J"]]:
    """What the network saw of joints that count, in the views that they were made from."""
    px, confidence = np.full((len(rig), len(good), 2), np.nan), np.zeros((len(rig), len(good)))
    if subject.points2d is None:
        return px, confidence
    sure = np.ones(subject.points2d.shape[:2]) if subject.confidence2d is None else subject.confidence2d
    for row, camera in enumerate(pose.cameras):
        if camera in rig.names:
            v, used = rig.names.index(camera), good & (subject.views >> np.uint32(row) & 1 > 0)
            px[v, used] = subject.points2d[row, used]
            confidence[v, used] = np.clip(sure[row, used], 0, 1)
    return px, confidence
