"""From labels of any program to a folder that training reads: pictures of their own, points, and 3D where there is any.

Videos are opened here and not while a network trains: a training machine needs neither them nor what decodes them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from calib.rig import Rig, write_rig
from calib.robust import triangulate_robust
from capture.labels import LabelledFrame, Labels
from rigpose.errors import ConfigError
from training.datasets.arrays import write_arrays
from training.datasets.labelled import LABELS, RIG, SPLITS, part_of_picture, picture_name
from training.datasets.preparing import Progress, begin

log = logging.getLogger(__name__)

_SIGMA_SHARE = 0.02
"""Of a subject's size in a picture: how exact a person's labels are believed to be."""
_LEAST_SIGMA_PX = 1.0


@dataclass(frozen=True, slots=True)
class _Group:
    """One subject at one moment, as some pictures show it.

    Attributes:
        subject: Name.
        action: The recording.
        frame: Number of the moment.
        moment: Its name, which stays when more is labelled.
        views: (number of the labelled frame, row in it), in the rig's order.
    """

    subject: str
    action: str
    frame: int
    moment: str
    views: tuple[tuple[int, int], ...]


def gather(labels: Labels, dest: Path, rig: Rig | None = None) -> int:
    """Make the folder; a second call goes on where the first one was broken off.

    Args:
        labels: What people labelled.
        dest: The folder.
        rig: The cameras. Without it only 2D can be learned.

    Returns:
        How many subjects at how many moments there are to learn from.

    Raises:
        ConfigError: A camera is not in the rig, pictures are missing or of another size, or nothing is left.
    """
    begin(
        dest,
        {
            "data set": "labels",
            "files": [str(file.resolve()) for file in labels.files],
            "frames": len(labels.frames),
            "rig": None if rig is None else rig.calibration_id,
        },
    )
    if (dest / LABELS).is_file():
        log.info("%s: is there already", dest / LABELS)
        with np.load(dest / LABELS) as found:
            return len(found["frame"])
    cameras = _camera_names(labels, rig)
    sizes = _pictures(labels, dest)
    if rig is not None:
        _check_sizes(labels, rig, cameras, sizes)
        if not (dest / RIG).is_file():
            write_rig(rig, dest / RIG)
    groups = _groups(labels, cameras, set(sizes), rig)
    if not groups:
        raise ConfigError(dest, "there is no labelled picture to learn from", "see rigpose labels")
    write_arrays(dest / LABELS, **_arrays(labels, groups, cameras, sizes, rig))
    return len(groups)


def _camera_names(labels: Labels, rig: Rig | None) -> list[str]:
    """For each frame its camera."""
    if rig is None:
        return [frame.camera or "camera" for frame in labels.frames]
    if len(rig) == 1 and len(labels.cameras) == 1:
        return [rig.names[0]] * len(labels.frames)
    unknown = [name for name in labels.cameras if name not in rig.names]
    if unknown:
        what = f"are of camera {unknown[0] or '(not named)'}, which the rig has not"
        raise ConfigError(labels.files[0], f"labels {what}", f"name them with --cameras {','.join(rig.names)}")
    return [frame.camera for frame in labels.frames]


def _pictures(labels: Labels, dest: Path) -> dict[int, tuple[int, int]]:
    """Write each labelled picture once; number of the frame to (width, height) of those that are there."""
    (dest / "pictures").mkdir(exist_ok=True)
    numbers = {id(frame): number for number, frame in enumerate(labels.frames)}
    there = {entry.name for entry in os.scandir(dest / "pictures")}
    for name in there:
        if name.startswith("."):
            (dest / "pictures" / name).unlink()  # of a run that was killed
    sizes: dict[int, tuple[int, int]] = {}
    wanted: list[LabelledFrame] = []
    for number, frame in enumerate(labels.frames):
        path = dest / picture_name(number)
        image = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.name in there else None
        if image is None:
            wanted.append(frame)
        else:
            sizes[number] = (image.shape[1], image.shape[0])
    progress = Progress(len(labels.frames), "pictures")
    progress.skipped(len(sizes))
    missing: list[str] = []
    for frame, image in labels.images(wanted):
        number = numbers[id(frame)]
        if image is None:
            missing.append(frame.picture.name)
        else:
            _write(dest / picture_name(number), image)
            sizes[number] = (image.shape[1], image.shape[0])
        progress.did(dest / "pictures")
    if missing and not sizes:
        remedy = "say where they are with --pictures"
        raise ConfigError(missing[0], f"no such picture, and none of the other {len(missing) - 1}", remedy)
    if missing:
        log.warning("%d of %d pictures are not there, the first is %s", len(missing), len(labels.frames), missing[0])
    return sizes


def _write(path: Path, image: np.ndarray) -> None:
    half = path.with_name(f".{path.name}")
    try:
        half.write_bytes(cv2.imencode(".png", image)[1].tobytes())
        os.replace(half, path)
    except OSError as error:
        raise ConfigError(path, f"cannot be written: {error.strerror}", "check the disk") from None


def _check_sizes(labels: Labels, rig: Rig, cameras: Sequence[str], sizes: dict[int, tuple[int, int]]) -> None:
    """A picture is what its camera was calibrated for, or is said to be cut out of that."""
    for number, (width, height) in sorted(sizes.items()):
        camera, left_top = rig[cameras[number]], labels.frames[number].picture.offset_px
        inside = left_top[0] + width <= camera.size[0] and left_top[1] + height <= camera.size[1]
        if (width, height) != camera.size and not (inside and left_top != (0, 0)):
            wanted = "x".join(map(str, camera.size))
            what = f"is {width}x{height}, and camera {camera.name} was calibrated for {wanted}"
            raise ConfigError(labels.frames[number].picture.name, what, "give a rig for these pictures")


def _groups(labels: Labels, cameras: Sequence[str], there: set[int], rig: Rig | None) -> list[_Group]:
    numbers = {id(frame): number for number, frame in enumerate(labels.frames)}
    if rig is None:
        # Nothing joins the cameras: each picture is a moment of its own.
        together = [[frame] for frame in labels.frames]
    else:
        order = {name: place for place, name in enumerate(rig.names)}
        together = [
            sorted(found.values(), key=lambda frame: order[cameras[numbers[id(frame)]]])
            for found in labels.moments().values()
        ]
    groups = []
    for number, frames in enumerate(together):
        seen = [frame for frame in frames if numbers[id(frame)] in there]
        for name, views in _subjects(seen, [numbers[id(frame)] for frame in seen]):
            groups.append(_Group(name, _recording(seen[0]), number, _moment(seen[0]), tuple(views)))
    return groups


def _recording(frame: LabelledFrame) -> str:
    """What a moment's picture is from: the video, or the folder."""
    name = frame.moment.rpartition("#")[0] if frame.picture.index is not None else frame.moment.rpartition("/")[0]
    return name or "labels"


def _moment(frame: LabelledFrame) -> str:
    return frame.moment or frame.picture.name


def _subjects(frames: Sequence[LabelledFrame], numbers: Sequence[int]) -> list[tuple[str, list[tuple[int, int]]]]:
    """Who is who from picture to picture of one moment."""
    counts = [len(frame.subjects) for frame in frames]
    if all(count == 1 for count in counts):
        return [(frames[0].subjects[0] or "0", [(number, 0) for number in numbers])] if frames else []
    named = all(all(frame.subjects) and len(set(frame.subjects)) == len(frame.subjects) for frame in frames)
    if named:
        found: dict[str, list[tuple[int, int]]] = {}
        for frame, number in zip(frames, numbers, strict=True):
            for row, name in enumerate(frame.subjects):
                found.setdefault(name, []).append((number, row))
        return list(found.items())
    # Nobody knows which of them is which in another picture: each is learned from by itself.
    return [
        (f"{number}/{row}", [(number, row)])
        for frame, number in zip(frames, numbers, strict=True)
        for row in range(len(frame.subjects))
    ]


def _arrays(
    labels: Labels,
    groups: Sequence[_Group],
    cameras: Sequence[str],
    sizes: dict[int, tuple[int, int]],
    rig: Rig | None,
) -> dict[str, np.ndarray]:
    subjects, actions = (
        list(dict.fromkeys(names)) for names in ([g.subject for g in groups], [g.action for g in groups])
    )
    names = list(rig.names) if rig is not None else list(dict.fromkeys(cameras))
    views = [view for group in groups for view in group.views]
    frames = [labels.frames[number] for number, _ in views]
    rows = [row for _, row in views]
    without = np.full(4, np.nan)
    position = np.full((len(groups), len(labels.skeleton.joints), 3), np.nan)
    if rig is not None:
        for number, group in enumerate(groups):
            position[number] = _triangulated(labels, group, cameras, sizes, rig)
    return {
        "skeleton": np.array(labels.skeleton.model_dump_json()),
        "subjects": np.array(subjects),
        "actions": np.array(actions),
        "cameras": np.array(names),
        "moments": np.array([group.moment for group in groups]),
        "subject": np.array([subjects.index(group.subject) for group in groups]),
        "action": np.array([actions.index(group.action) for group in groups]),
        "frame": np.array([group.frame for group in groups]),
        "split": np.array([SPLITS.index(labels.frames[group.views[0][0]].split or "") for group in groups]),
        "position_mm": position,
        "first": np.cumsum([0, *(len(group.views) for group in groups)]),
        "view_camera": np.array([names.index(cameras[number]) for number, _ in views]),
        "view_picture": np.array([number for number, _ in views]),
        "view_size": np.array([sizes[number] for number, _ in views]),
        "view_offset": np.array([frame.picture.offset_px for frame in frames]),
        "view_points": np.stack([frame.points[row] for frame, row in zip(frames, rows, strict=True)]),
        "view_hidden": np.stack([frame.hidden[row] for frame, row in zip(frames, rows, strict=True)]),
        "view_box": np.stack(
            [frame.boxes[row] if labels.gives_boxes else without for frame, row in zip(frames, rows, strict=True)]
        ),
    }


def _triangulated(
    labels: Labels, group: _Group, cameras: Sequence[str], sizes: dict[int, tuple[int, int]], rig: Rig
) -> Float[np.ndarray, "J 3"]:
    """Where the joints are that several views labelled; NaN elsewhere, and where they contradict each other."""
    joints = len(labels.skeleton.joints)
    if len(group.views) < 2:
        return np.full((joints, 3), np.nan)
    of = []
    points, sigma = np.full((len(group.views), joints, 2), np.nan), np.ones((len(group.views), 1))
    for place, (number, row) in enumerate(group.views):
        frame = labels.frames[number]
        points[place] = frame.points[row]
        known = frame.points[row][frame.labelled[row]]
        sigma[place] = max(_LEAST_SIGMA_PX, _SIGMA_SHARE * float(np.ptp(known, axis=0).max()))
        camera = rig[cameras[number]]
        of.append(part_of_picture(camera, sizes[number], np.array(frame.picture.offset_px)))
    weight = np.isfinite(points).all(axis=-1).astype(np.float64)
    return triangulate_robust(points, weight, rig.with_cameras(of).arrays(), sigma_px=sigma).position_mm
