"""What a recorded session says of its subjects: poses that can be believed, and where each picture of them is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from calib.camera import Camera
from calib.rig import Rig
from capture.session import SessionReader
from capture.session.believed import Quality, believable, exposed_ns, sessions_in, skeleton_name
from capture.views import View
from rigpose.errors import ConfigError
from rigpose.pose import PoseSet, SubjectPose
from rigpose.skeleton import Skeleton
from training.datasets.stills import VIDEOS, Still, pictures_in


@dataclass(frozen=True, slots=True)
class Take:
    """The believable moments of one session.

    Attributes:
        name: Of its folder.
        subject: As the session's document calls it; may be empty.
        skeleton: Of all subjects in it.
        cameras: Of the rig, in its order.
        stills: Files of pictures, and the part of each that is the camera's.
        numbers: (N,) subject's identity.
        sets: (N,) number of the set in the log, from 0.
        times_s: (N,) from the session's first set.
        position_mm: (N, J, 3) NaN where a joint does not count.
        points: (N, V, J, 2) raw px that the network saw; NaN where it saw none or it does not count.
        files: (N, V) index into ``stills``; -1 = the view does not count.
        frames: (N, V) number of the picture in the file.
        duration_s: From the first set to the last.
    """

    name: str
    subject: str
    skeleton: Skeleton
    cameras: tuple[Camera, ...]
    stills: tuple[Still, ...]
    numbers: Int[np.ndarray, " N"]
    sets: Int[np.ndarray, " N"]
    times_s: Float[np.ndarray, " N"]
    position_mm: Float[np.ndarray, "N J 3"]
    points: Float[np.ndarray, "N V J 2"]
    files: Int[np.ndarray, "N V"]
    frames: Int[np.ndarray, "N V"]
    duration_s: float

    def still(self, row: int, view: int) -> Still:
        """The picture of a view that counts."""
        return replace(self.stills[self.files[row, view]], number=int(self.frames[row, view]))


class _Moment(NamedTuple):
    number: int
    set: int
    time_s: float
    position_mm: Float[np.ndarray, "J 3"]
    points: Float[np.ndarray, "V J 2"]
    files: list[int]
    frames: list[int]


def read_take(path: Path, quality: Quality, every_s: float = 0.0, skeleton: str = "") -> Take:
    """Read a session.

    Args:
        path: Its folder.
        quality: What counts.
        every_s: Least time between two moments of a subject.
        skeleton: The subjects that count have it; needed where there are several.

    Raises:
        RigposeError: It is no session, or holds no rig, no pictures or no moment that counts.
    """
    reader = SessionReader(path)
    rig, name = reader.rig(), skeleton_name(reader, skeleton, "name one: data.dataset.skeleton")
    joints = reader.skeletons()[name]
    album = _Album(reader, rig)
    moments: list[_Moment] = []
    last: dict[int, float] = {}
    first_ns, time_s, others, seen = None, 0.0, 0, 0
    for number, pose in enumerate(reader.poses()):
        at_ns = exposed_ns(pose)
        first_ns = at_ns if first_ns is None else first_ns
        time_s = (at_ns - first_ns) / 1e9
        if pose.calibration_id != rig.calibration_id:
            others += 1
            continue
        for subject in pose.subjects:
            if subject.skeleton != name or subject.state == "lost":
                continue
            seen += 1
            good = believable(subject, quality)
            # A little less, for frames do not come to the nanosecond.
            soon = time_s - last.get(subject.id, -np.inf) < 0.99 * every_s
            if soon or good.mean() < quality.min_joints:
                continue
            position = np.where(good[:, None], subject.position_mm, np.nan).astype(np.float64)
            files, frames = album.places(pose, position, quality.inside)
            if max(files) < 0:
                continue
            last[subject.id] = time_s
            points = album.points(pose, subject, good)
            moments.append(_Moment(subject.id, number, time_s, position, points, files, frames))
    if not moments:
        what = f"none of its {seen} poses of {name} can be believed and seen"
        remedy = "record more, or ask for less: max_residual_px, min_views, min_confidence, min_joints"
        if others and not seen:
            what = f"its {others} sets were made with another calibration than its rig"
            remedy = "leave it out"
        raise ConfigError(path, what, remedy)
    of, sets, times_s, position_mm, points_px, files_of, numbers = (np.array(c) for c in zip(*moments, strict=True))
    return Take(
        path.name,
        reader.info.subject,
        joints,
        rig.cameras,
        tuple(album.stills),
        of,
        sets,
        times_s,
        position_mm,
        points_px,
        files_of,
        numbers,
        time_s,
    )


class _Album:
    """Where the pictures of a session are."""

    def __init__(self, reader: SessionReader, rig: Rig) -> None:
        self.stills: list[Still] = []
        self._rig, self._path = rig, reader.path
        self._known: dict[tuple[str, str], int] = {}
        self._places: dict[tuple[str, str, int], tuple[int, int]] = {}
        views = _views(reader)
        for stamp in reader.stamps():
            file, number, camera = stamp.get("video_file"), stamp.get("video_frame_index"), str(stamp["camera"])
            if file is None or number is None or camera not in rig.names:
                continue
            size = int(stamp["size"][0]), int(stamp["size"][1])
            still = self._still(camera, str(file), size, views.get(camera, View()))
            self._places[camera, str(stamp["node_epoch"]), int(stamp["seq"])] = still, int(number)
        if not reader.closed:
            # Of a recording that was killed the log may know more pictures than its videos kept whole.
            kept = [pictures_in(still.file) - (still.file.suffix.lower() in VIDEOS) for still in self.stills]
            self._places = {key: place for key, place in self._places.items() if place[1] < kept[place[0]]}
        if not self._places:
            raise ConfigError(reader.path, "holds no pictures", "record with the cameras' pictures, not poses alone")

    def _still(self, camera: str, file: str, size: tuple[int, int], part: View) -> int:
        wanted = self._rig[camera].size
        if size != wanted:
            said, meant = ("x".join(map(str, sides)) for sides in (size, wanted))
            what = f"camera {camera} recorded {said} px, and its calibration is for {meant}"
            raise ConfigError(self._path, what, "leave that session out")
        key = camera, file
        if key not in self._known:
            path = self._path / file
            # What the session recorded itself was cut out already, and padded where a side was odd.
            part = View(region=(0, 0, *size)) if path.parent == self._path else part
            self._known[key] = len(self.stills)
            self.stills.append(Still(path, 0, part))
        return self._known[key]

    def places(
        self, pose: PoseSet, position_mm: Float[np.ndarray, "J 3"], inside: float
    ) -> tuple[list[int], list[int]]:
        """File and number of the picture of each of the rig's cameras; -1 without one that shows the subject."""
        files, frames = [-1] * len(self._rig), [0] * len(self._rig)
        known = np.isfinite(position_mm).all(axis=-1)
        for camera, frame in zip(pose.cameras, pose.frames, strict=True):
            place = None if frame is None else self._places.get((camera, *frame))
            if place is None or camera not in self._rig.names:
                continue
            seen = self._rig[camera].project(position_mm[known])
            with np.errstate(invalid="ignore"):
                shown = ((seen >= -0.5) & (seen < np.array(self._rig[camera].size) - 0.5)).all(axis=-1)
            if shown.mean() >= inside:
                v = self._rig.names.index(camera)
                files[v], frames[v] = place
        return files, frames

    def points(self, pose: PoseSet, subject: SubjectPose, good: np.ndarray) -> Float[np.ndarray, "V J 2"]:
        """What the network saw of joints that count, where the solver took it."""
        found = np.full((len(self._rig), len(good), 2), np.nan)
        if subject.points2d is not None:
            for row, camera in enumerate(pose.cameras):
                used = good & (subject.views >> np.uint32(row) & 1 > 0)
                if camera in self._rig.names:
                    found[self._rig.names.index(camera), used] = subject.points2d[row, used]
        return found


def _views(reader: SessionReader) -> dict[str, View]:
    """The part of its source's picture that each camera is."""
    found: dict[str, View] = {}
    for section in (reader.info.config.get("cameras") or {}).values():
        for name, view in (section.get("views") or {}).items():
            found[name] = View.model_validate(view)
    return found


__all__ = ["Quality", "Take", "believable", "read_take", "sessions_in"]
