"""From what the panoptic-toolbox downloads to what a training run reads: labels a sequence, pictures of a few cameras.

Scenes are read from ``hdPose3d_stage1_coco19``, a folder or the ``.tar`` as it was downloaded; pictures are those of
``hdImgs`` where they were extracted before, else the frames that the protocol needs are taken from ``hdVideos``.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from calib.formats import text
from rigpose.errors import ConfigError
from training.datasets.arrays import read_arrays, write_arrays
from training.datasets.films import Film, bring, film_of
from training.datasets.panoptic import (
    LABEL_ARRAYS,
    LABELS,
    bodies_in,
    chosen_frames,
    detections_name,
    read_cameras,
)
from training.datasets.preparing import begin
from training.datasets.protocols import PROTOCOLS, Part, ProtocolName, part_of

log = logging.getLogger(__name__)

SCENES = "hdPose3d_stage1_coco19"
_SCENE = re.compile(r"body3DScene_(\d{8})\.json")
_MOST_SCENE_BYTES = 4 * 2**20
_UNTOLD = 1000
"""Bodies that the data set does not tell from others in their scene are numbered from here on."""


def prepare(
    source: Path,
    dest: Path,
    *,
    protocol: ProtocolName = "learnable_triangulation",
    sequences: Sequence[str] = (),
    cameras: Sequence[str] = (),
    every: int = 1,
    detections: Path | None = None,
    jobs: int = 1,
) -> tuple[str, ...]:
    """Prepare sequences; a second call goes on where the first one was broken off, to the picture.

    Args:
        source: The folder of sequences, as the toolbox downloads them.
        dest: Where the prepared ones go.
        protocol: Which sequences, cameras and frames.
        sequences: Only these of the protocol's; empty = all.
        cameras: Others than the protocol's; empty = those.
        every: Keep every so manieth scene: neighbours of a video at 30 Hz hardly differ.
        detections: Folder with ``SEQUENCE/mrcnn-detections/CAMERA.json`` or ``SEQUENCE/CAMERA.json``: for each frame of
            the video left, top, right, bottom and score.
        jobs: Processes that take frames from videos.

    Returns:
        The sequences.

    Raises:
        ConfigError: Something is missing or damaged; one line says what.
    """
    parts = {
        name: part_of(protocol, split, (name,), cameras)
        for split in ("train", "val")
        for name in PROTOCOLS[protocol].parts[split].sequences
        if not sequences or name in sequences
    }
    unknown = [name for name in sequences if name not in parts]
    if unknown:
        raise ConfigError(f"--sequences {unknown[0]}", f"is not in {protocol}", "see the list in the documentation")
    lacking = [name for name in parts if not (source / name).is_dir()]
    if lacking:
        remedy = "download them with the panoptic-toolbox, or name those that you have with --sequences"
        raise ConfigError(source, f"lacks {', '.join(lacking)}", remedy)
    asked = {"cameras": list(cameras), "every": every, "detections": detections and str(detections.resolve())}
    begin(dest, {"data set": "Panoptic", "source": str(source.resolve()), "protocol": protocol, **asked})
    films: list[Film] = []
    for name, part in parts.items():
        _sequence(source / name, dest / name, part, every, detections)
        films += [film_of(source / name, dest / name, camera) for camera in part.cameras]
    bring(((film, _needed(film, parts[film.sequence.name])) for film in films), jobs)
    return tuple(parts)


def _sequence(source: Path, dest: Path, part: Part, every: int, detections: Path | None) -> None:
    """Calibration and labels of a sequence."""
    dest.mkdir(exist_ok=True)
    calibration = dest / f"calibration_{dest.name}.json"
    if not calibration.exists():
        original = source / calibration.name
        known = read_cameras(original)
        lacking = [camera for camera in part.cameras if camera not in known]
        if lacking:
            raise ConfigError(original, f"knows no camera {lacking[0]}", "leave that camera out with --cameras")
        half = calibration.with_suffix(".part")
        shutil.copyfile(original, half)
        os.replace(half, calibration)
    if (dest / LABELS).is_file():
        return
    rows: list[tuple[int, int, int]] = []
    joints: list[np.ndarray] = []
    for ordinal, (frame, data, where) in enumerate(sorted(_scenes(source), key=lambda scene: scene[0])):
        if ordinal % every:
            continue
        numbers: set[int] = set()
        for said, of in bodies_in(data, where):
            number = said if said >= 0 and said not in numbers else _UNTOLD + len(numbers)
            numbers.add(number)
            rows.append((frame, ordinal, number))
            joints.append(of)
    if not rows:
        raise ConfigError(source, "has no scene with a body", "download hdPose3d_stage1_coco19 again")
    frame, ordinals, body = np.array(rows).T
    found = {"frame": frame, "ordinal": ordinals, "body": body, "joints19": np.stack(joints).astype(np.float32)}
    if detections is not None:
        found |= {detections_name(camera): _detected(detections, dest.name, camera) for camera in part.cameras}
    write_arrays(dest / LABELS, **found)
    log.info("%s: %d bodies in %d scenes", dest, len(rows), len(np.unique(frame)))


def _scenes(source: Path) -> Iterator[tuple[int, bytes, str]]:
    """Frame, text and name of each scene, from the folder or else from the archive."""
    folder, archive = source / SCENES, source / f"{SCENES}.tar"
    if folder.is_dir():
        for entry in os.scandir(folder):
            if match := _SCENE.fullmatch(entry.name):
                yield int(match[1]), text.read_bytes(Path(entry.path), _MOST_SCENE_BYTES), entry.path
        return
    if not archive.is_file():
        raise ConfigError(folder, "no such folder, nor its .tar", "download the sequence again")
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                match = _SCENE.fullmatch(member.name.rpartition("/")[2])
                file = tar.extractfile(member) if match and member.isfile() else None
                if match is None or file is None:
                    continue
                if member.size > _MOST_SCENE_BYTES:
                    raise ConfigError(f"{archive}, {member.name}", "is too large for a scene", "download it again")
                yield int(match[1]), file.read(), f"{archive}, {member.name}"
    except (tarfile.TarError, EOFError, OSError):
        raise ConfigError(archive, "is damaged or not whole", "download it again") from None


def _detected(folder: Path, sequence: str, camera: str) -> Float[np.ndarray, "F 5"]:
    paths = [folder / sequence / "mrcnn-detections" / f"{camera}.json", folder / sequence / f"{camera}.json"]
    path = next((path for path in paths if path.is_file()), paths[0])
    try:
        boxes = np.array(text.read_json(path), dtype=np.float64)
    except (TypeError, ValueError):
        boxes = np.zeros(0)
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 5):
        what = "is no list with left, top, right and bottom of each frame"
        raise ConfigError(path, what, "give one detection a frame, zeros where there is none")
    return boxes


def _needed(film: Film, part: Part) -> list[int]:
    """The frames that a split has of a sequence."""
    labels = read_arrays(film.sequence / LABELS, LABEL_ARRAYS, "a prepared Panoptic sequence")
    frames: list[int] = np.unique(labels["frame"][chosen_frames(part, film.sequence.name, labels)]).tolist()
    return frames
