"""SLEAP: ``.slp`` projects, and ``.pkg.slp`` packages that hold their pictures, through sleap-io (extra labels).

A frame holds what people set, what a network predicted, or both. Old files count from the corner of the
first pixel, new ones from its centre; sleap-io makes all of them the latter, as here. A point that is not
visible has no place in SLEAP and counts as not labelled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from capture.labels.documents import How
from capture.labels.labels import LabelledFrame, Labels, Picture, frame_of
from capture.labels.pictures import posix
from capture.labels.skeletons import skeleton_of
from rigpose.errors import ConfigError, MissingError
from rigpose.extras import missing
from rigpose.skeleton import Skeleton

TITLE = "SLEAP"
_PACKAGE = ".pkg.slp"


def recognises(path: Path) -> bool:
    """A .slp file."""
    return path.suffix.lower() == ".slp"


def folders(path: Path) -> tuple[Path, ...]:
    """Where the videos of a file may lie."""
    return path.parent, path.parent / "videos", *path.parents[1:3]


def read(path: Path, how: How) -> Labels:
    """The labels of a file; its videos need not be there.

    Raises:
        ConfigError: It is no SLEAP file, or has several skeletons that are labelled.
        MissingError: sleap-io is not installed.
    """
    if not path.is_file():
        raise ConfigError(path, "no such file", "check the path")
    found = _load(path)
    labelled = [frame for frame in found.labeled_frames if frame.instances]
    people = any(_people(frame) for frame in labelled)
    skeletons = list({id(i.skeleton): i.skeleton for frame in labelled for i in frame.instances}.values())
    if not skeletons:
        raise ConfigError(path, "holds no labelled frames", "give a project that has been labelled")
    joints = [node.name for node in skeletons[0].nodes]
    if any([node.name for node in other.nodes] != joints for other in skeletons[1:]):
        raise ConfigError(path, f"labels {len(skeletons)} skeletons", "export each into a file of its own")
    with_network = how.predictions == "always" or not people
    sessions = {id(video): name for video, name in _cameras(found)}
    packages = {id(video): _package(video) for video in found.videos}
    frames: list[LabelledFrame] = []
    for one in found.labeled_frames:
        picture = _picture(one, path, packages.get(id(one.video)))
        frame = _frame(one, picture, len(joints), with_network, sessions.get(id(one.video), ""))
        if frame.labelled.any():
            frames.append(frame)
    return Labels(
        TITLE,
        (path,),
        _skeleton(skeletons[0], joints, path),
        tuple(frames),
        len(found.labeled_frames) - len(frames),
    )


def _load(path: Path) -> Any:
    try:
        import sleap_io
    except ImportError:
        raise missing("sleap_io") or MissingError("sleap_io", "is not installed") from None
    try:
        return sleap_io.load_slp(str(path), open_videos=False)
    except Exception as error:  # A foreign library reads a foreign file: it can be anything.
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(path, f"cannot be read as a SLEAP file: {problem}", "save it from SLEAP again") from None


def open_package(path: Path, dataset: str) -> Any:
    """A package's video: indexed by frame it gives (H, W, 1 or 3) RGB, and it can be closed.

    Raises:
        MissingError: sleap-io is not installed.
    """
    try:
        import sleap_io
    except ImportError:
        raise missing("sleap_io") or MissingError("sleap_io", "is not installed") from None
    return sleap_io.Video.from_filename(str(path), dataset=dataset)


def _people(frame: Any) -> bool:
    return bool(frame.user_instances)


def _cameras(found: Any) -> list[tuple[Any, str]]:
    """Videos of recording sessions with the names of their cameras."""
    named = []
    for session in found.sessions:
        for camera in session.cameras:
            video = session.get_video(camera)
            if video is not None and camera.name:
                named.append((video, str(camera.name)))
    return named


def _package(video: Any) -> str | None:
    """The dataset that a package keeps a video's frames in; ``None`` for a video of its own."""
    dataset = video.backend_metadata.get("dataset")
    return str(dataset) if dataset and str(_name(video)).lower().endswith((".slp", ".h5", ".hdf5")) else None


def _name(video: Any) -> Any:
    return video.filename[0] if isinstance(video.filename, list) and video.filename else video.filename


def _picture(frame: Any, path: Path, dataset: str | None) -> Picture:
    video, index = frame.video, int(frame.frame_idx)
    if dataset is not None:
        source = video.source_video
        stated = posix(str(_name(source))) if source is not None else f"{path.name}/{dataset}"
        inside = str(video.filename).lower().endswith(_PACKAGE) or source is not None
        # A package was perhaps renamed or moved, yet its pictures are in the file that was read.
        return Picture(stated, path if inside else None, index, dataset)
    if isinstance(video.filename, list):
        return Picture(posix(str(video.filename[index])))
    shape = video.backend_metadata.get("shape")
    size = (int(shape[2]), int(shape[1])) if shape is not None and len(shape) == 4 and shape[1] and shape[2] else None
    return Picture(posix(str(video.filename)), index=index, size=size)


def _frame(frame: Any, picture: Picture, joints: int, with_network: bool, camera: str) -> LabelledFrame:
    people = list(frame.user_instances)
    # A prediction that somebody corrected is there twice: as it was, and as that person's.
    corrected = {id(instance.from_predicted) for instance in people if instance.from_predicted is not None}
    network = [one for one in frame.predicted_instances if id(one) not in corrected] if with_network else []
    instances = people + network
    points = np.full((len(instances), joints, 2), np.nan)
    confidence = np.ones((len(instances), joints))
    for row, instance in enumerate(instances):
        points[row] = instance.numpy(invisible_as_nan=True)[:, :2]
        if row >= len(people):
            confidence[row] = np.clip(instance.points["score"], 0, 1)
    return frame_of(
        picture,
        points,
        confidence=confidence,
        subjects=["" if one.track is None else str(one.track.name) for one in instances],
        by_network=np.arange(len(instances)) >= len(people),
        camera=camera,
    )


def _skeleton(skeleton: Any, joints: list[str], path: Path) -> Skeleton:
    edges = [(int(a), int(b)) for a, b in skeleton.edge_inds]
    pairs = []
    for symmetry in skeleton.symmetries:
        a, b = (joints.index(node.name) for node in symmetry.nodes)
        # SLEAP does not say which is the left one; the names may.
        guess = skeleton_of([joints[a], joints[b]], path).left_right
        pairs.append((b, a) if guess == ((1, 0),) else (a, b))
    name = "" if not skeleton.name or skeleton.name.lower().startswith("skeleton") else str(skeleton.name)
    return skeleton_of(joints, path, name=name, edges=edges, left_right=pairs or None)
