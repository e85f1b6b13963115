"""OpenPose: one JSON a picture, in a folder a camera; 25, 18 or 15 points a person as x, y and a score.

A file says neither which skeleton it has nor which picture it belongs to. BODY_25 and BODY_25B are told
apart by where the points lie. The number in a file's name is the frame of the video that is named like
the folder or the file, in this folder, beside it or in ``videos``; a picture named like the file comes first.
(0, 0) stands for a point that was not found.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from capture.labels.documents import How, objects, peek, read_json, triples
from capture.labels.labels import LabelledFrame, Labels, Picture, frame_of
from capture.labels.pictures import IMAGES, VIDEOS
from capture.labels.skeletons import OPENPOSE
from rigpose.errors import ConfigError
from rigpose.skeleton import Skeleton

TITLE = "OpenPose"
_BY_COUNT = {len(skeleton.joints): name for name, skeleton in reversed(OPENPOSE.items())}
_NUMBER = re.compile(r"^(?P<stem>.*?)[\s_.\-]*(?P<number>\d+)(?:_keypoints)?$")
_NOSE, _SHOULDER, _HEEL = 0, 5, 21
_EYE_OR_NECK, _ANKLE_OR_EYE = 1, 15


def recognises(path: Path) -> bool:
    """A JSON file that begins with people, or a folder of such files."""
    if path.is_dir():
        first = next(iter(sorted(path.glob("*.json"))), None)
        return first is not None and recognises(first)
    return path.suffix.lower() == ".json" and '"people"' in peek(path)[:2000] and '"images"' not in peek(path)[:2000]


def folders(path: Path) -> tuple[Path, ...]:
    """Where the pictures of a folder of files may lie; Pose2Sim has ``pose/cam01_json`` beside ``videos``."""
    folder = path if path.is_dir() else path.parent
    return folder, folder.parent, *(above / "videos" for above in folder.parents[:2]), *folder.parents[1:2]


def read(path: Path, how: How) -> Labels:
    """The points of one file, or of all files of a folder.

    Raises:
        ConfigError: A file does not follow the format, or there is no skeleton with so many points.
    """
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise ConfigError(path, "holds no .json", "name the folder of OpenPose's files")
    people = [_people(file) for file in files]
    counts = {len(points) for one in people for points in one}
    if len(counts) > 1:
        raise ConfigError(
            path, f"has people of {', '.join(map(str, sorted(counts)))} points", "keep them in two folders"
        )
    skeleton, notes = _skeleton(path, how, people, counts)
    joints = len(skeleton.joints)
    looked_in = folders(path)
    frames: list[LabelledFrame] = []
    for file, found in zip(files, people, strict=True):
        values = np.stack(found) if found else np.zeros((0, joints, 3))
        missed = (values[..., :2] == 0).all(axis=-1) | (values[..., 2] <= 0)
        points = np.where(missed[..., None], np.nan, values[..., :2] - how.first_px)
        frame = frame_of(_picture(file, looked_in), points, confidence=np.clip(values[..., 2], 0, 1), by_network=True)
        if frame.labelled.any():
            frames.append(frame)
    return Labels(TITLE, (path,), skeleton, tuple(frames), len(files) - len(frames), notes=notes)


def _people(path: Path) -> list[np.ndarray]:
    found = []
    for index, person in objects(read_json(path), "people", path):
        values = triples(person.get("pose_keypoints_2d", []), None, path, f"people.{index}.pose_keypoints_2d")
        if len(values):
            found.append(values)
    return found


def _skeleton(
    path: Path, how: How, people: list[list[np.ndarray]], counts: set[int]
) -> tuple[Skeleton, tuple[str, ...]]:
    count = next(iter(counts), 25)
    if how.skeleton is not None:
        if how.skeleton not in OPENPOSE:
            raise ConfigError(f"--skeleton {how.skeleton}", "is not known", f"known are {', '.join(OPENPOSE)}")
        skeleton = OPENPOSE[how.skeleton]
        if len(skeleton.joints) != count:
            raise ConfigError(
                path, f"has {count} points a person, {how.skeleton} has {len(skeleton.joints)}", "name another skeleton"
            )
        return skeleton, ()
    if count not in _BY_COUNT:
        known = ", ".join(f"{n} ({name})" for n, name in _BY_COUNT.items())
        raise ConfigError(path, f"has {count} points a person", f"skeletons are known of {known}")
    if count != 25:
        return OPENPOSE[_BY_COUNT[count]], ()
    name = "body25b" if _is_25b([points for one in people for points in one]) else "body25"
    other = "body25" if name == "body25b" else "body25b"
    return OPENPOSE[name], (
        f"took {name} for the skeleton, by where the points lie: --skeleton {other} if that is wrong",
    )


def _is_25b(people: list[np.ndarray]) -> bool:
    """Whether most votes say BODY_25B: its point 15 is an ankle and no eye, its point 1 an eye and no neck."""
    votes = []
    for points in people:
        for joint, here, there, ratio in (
            (_ANKLE_OR_EYE, _HEEL, _NOSE, 1.0),
            # An eye is much nearer to the nose than to the shoulder, a neck is not.
            (_EYE_OR_NECK, _NOSE, _SHOULDER, 0.5),
        ):
            if (points[[joint, here, there], 2] > 0).all():
                near, far = (np.linalg.norm(points[joint, :2] - points[other, :2]) for other in (here, there))
                votes.append(near < ratio * far)
    return bool(votes) and float(np.mean(votes)) > 0.5


def _picture(file: Path, looked_in: tuple[Path, ...]) -> Picture:
    stem = file.stem.removesuffix("_keypoints")
    for folder in looked_in:
        for suffix in IMAGES:
            if (image := folder / f"{stem}{suffix}").is_file():
                return Picture(image.as_posix(), image)
    number = _NUMBER.match(file.stem)
    if number is None:
        return Picture(file.parent.joinpath(stem).as_posix())
    names = [file.parent.name.removesuffix("_json"), number["stem"], file.parent.name]
    for name in filter(None, names):
        for folder in looked_in:
            for suffix in VIDEOS:
                if (video := folder / f"{name}{suffix}").is_file():
                    return Picture(video.as_posix(), video, int(number["number"]))
    return Picture(file.parent.joinpath(number["stem"] or file.parent.name).as_posix(), index=int(number["number"]))
