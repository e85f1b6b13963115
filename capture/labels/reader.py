"""Labels out of a file or a folder of any format that is known here: found, read, and made into one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np

from capture.labels import coco, deeplabcut, openpose, own, sleap
from capture.labels.cameras import named
from capture.labels.documents import How
from capture.labels.labels import LabelledFrame, Labels
from capture.labels.pictures import Finder
from rigpose.errors import ConfigError
from rigpose.skeleton import Skeleton

FORMATS: tuple[ModuleType, ...] = (own, sleap, deeplabcut, openpose, coco)
KNOWN = ", ".join(module.TITLE for module in FORMATS)
_DEEPEST = 6
_LISTED = 5

Origin = Literal["centre", "corner"]
Predictions = Literal["alone", "always", "never"]


def read_labels(
    path: Path | str,
    *,
    pictures: Path | None = None,
    cameras: Sequence[str] = (),
    skeleton: str | None = None,
    category: str | None = None,
    predictions: Predictions = "alone",
    origin: Origin = "centre",
) -> Labels:
    """Read keypoints that people labelled.

    Args:
        path: A file (``.slp``, ``.json``, ``CollectedData_*.csv``, DeepLabCut's ``config.yaml``), or a folder of them.
        pictures: Folder of the videos or pictures, where they do not lie where the labels say nor beside them.
        cameras: As in `capture.labels.cameras.named`.
        skeleton: Which one OpenPose's points are of: ``body25 | body25b | coco18 | mpi15``; ``None`` = by their number.
        category: Of a COCO file that has several with keypoints; ``single`` = DeepLabCut's body parts that are there
            once beside several animals.
        predictions: Whether points that a network set count in SLEAP's files: where a file holds no others
            (``alone``), ``always``, or ``never``.
        origin: What (0, 0) is in COCO's and OpenPose's files: the ``centre`` of the first pixel, or its ``corner``.

    Raises:
        ConfigError: There are no labels, they do not follow their format, several formats lie in the folder, or
            files disagree about the joints or label one picture twice.
        MissingError: The format needs an extra.
    """
    path = Path(path)
    if pictures is not None and not pictures.is_dir():
        raise ConfigError(pictures, "is no folder", "name the folder of the videos or pictures")
    how = How(skeleton, category, predictions, origin)
    module, files = find_files(path)
    if origin != "centre" and module not in (coco, openpose):
        raise ConfigError("--origin", f"is known of files of {module.TITLE}", "leave it out")
    parts = []
    for file in files:
        part: Labels = module.read(file, how)
        finder = Finder([*([pictures] if pictures else []), *module.folders(file)])
        parts.append(replace(part, frames=tuple(_located(part.frames, finder))))
    _check_once(parts)
    labels = _wanted(path, _merged(parts), predictions)
    frames, note = named(labels.frames, cameras, path)
    return replace(labels, frames=tuple(frames), notes=(*labels.notes, *([note] if note else [])))


def find_files(path: Path) -> tuple[ModuleType, list[Path]]:
    """The format of a file or folder, and the files of labels in it (of OpenPose: folders).

    Raises:
        ConfigError: There are none, or those of several formats.
    """
    if not path.exists():
        raise ConfigError(path, "no such file or folder", "check the path")
    if path.is_file():
        if deeplabcut.recognises(path) and path.name == deeplabcut.CONFIG:
            return deeplabcut, deeplabcut.tables(path.parent)
        for module in FORMATS:
            if module.recognises(path):
                return module, [path]
        raise ConfigError(path, f"is no file of labels that is known here ({KNOWN})", _hint(path))
    found: dict[ModuleType, list[Path]] = {}
    for folder, folders, names in os.walk(path):
        here = Path(folder)
        deep = len(here.relative_to(path).parts) >= _DEEPEST
        folders[:] = [] if deep else sorted(name for name in folders if not name.startswith("."))
        if deeplabcut.is_project(here):
            found.setdefault(deeplabcut, []).extend(deeplabcut.tables(here))
            folders[:] = []
        elif openpose.recognises(here):
            found.setdefault(openpose, []).append(here)
        else:
            for module, file in _of_folder(here, names):
                found.setdefault(module, []).append(file)
    if not found:
        raise ConfigError(path, f"holds no labels that are known here ({KNOWN})", "name the file of labels itself")
    if len(found) > 1:
        what = "; ".join(f"{module.TITLE}: {_listed(files, path)}" for module, files in found.items())
        raise ConfigError(path, f"holds labels of several formats ({what})", "name one of them")
    ((module, files),) = found.items()
    return module, files


def _of_folder(folder: Path, names: Sequence[str]) -> list[tuple[ModuleType, Path]]:
    found = []
    for name in sorted(names):
        file = folder / name
        module = next((one for one in FORMATS if one is not openpose and one.recognises(file)), None)
        if module is deeplabcut and file.suffix.lower() == ".h5" and file.with_suffix(".csv").is_file():
            continue
        if module is not None and not (module is coco and '"keypoints"' not in _all(file)):
            found.append((module, file))
    return found


def _all(file: Path) -> str:
    """COCO has files of boxes and captions beside those of keypoints: only a look through tells."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _hint(path: Path) -> str:
    name = path.name.lower()
    if name.endswith((".analysis.h5", "_analysis.h5")):
        return "that is SLEAP's export of tracks; give the .slp that it is made of"
    if name.endswith((".h5", ".csv")):
        return "of DeepLabCut, CollectedData_SCORER.csv holds labels; others hold a network's answers"
    return "name the file of labels, or the folder that it lies in"


def _listed(files: Sequence[Path], folder: Path) -> str:
    names = [str(file.relative_to(folder)) for file in files]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _located(frames: Sequence[LabelledFrame], finder: Finder) -> list[LabelledFrame]:
    known: dict[str, Path | None] = {}
    done = []
    for frame in frames:
        picture = frame.picture
        if picture.path is None:
            if picture.stated not in known:
                known[picture.stated] = finder.find(picture.stated)
            frame = replace(frame, picture=replace(picture, path=known[picture.stated]))
        done.append(frame)
    return done


def _merged(parts: Sequence[Labels]) -> Labels:
    """Parts of one format as one, with the joints of the first."""
    first = parts[0]
    frames: list[LabelledFrame] = []
    for part in parts:
        frames += _reordered(part, first)
    return Labels(
        first.format,
        tuple(file for part in parts for file in part.files),
        _richest([part.skeleton for part in parts], first.skeleton),
        tuple(frames),
        sum(part.unlabelled for part in parts),
        says_hidden=any(part.says_hidden for part in parts),
        gives_boxes=any(part.gives_boxes for part in parts),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def _reordered(part: Labels, first: Labels) -> Sequence[LabelledFrame]:
    mine, wanted = part.skeleton.joints, first.skeleton.joints
    if mine == wanted:
        return part.frames
    if set(mine) != set(wanted):
        odd = ", ".join(sorted(set(mine) ^ set(wanted)))
        raise ConfigError(
            part.files[0], f"has other joints than {first.files[0]}: {odd}", "keep subjects of different joints apart"
        )
    order = np.array([mine.index(joint) for joint in wanted])
    return [
        replace(
            frame,
            points=frame.points[:, order],
            hidden=frame.hidden[:, order],
            confidence=frame.confidence[:, order],
        )
        for frame in part.frames
    ]


def _richest(skeletons: Sequence[Skeleton], first: Skeleton) -> Skeleton:
    """The skeleton with the most bones among those of the first one's order."""
    return max((one for one in skeletons if one.joints == first.joints), key=lambda one: len(one.edges))


def _check_once(parts: Sequence[Labels]) -> None:
    """A picture that is labelled twice would count twice, or with two answers."""
    seen: dict[tuple[str, int | None, str], Path] = {}
    for part in parts:
        for picture in (frame.picture for frame in part.frames):
            key = (str(picture.path or picture.stated), picture.index, picture.dataset or "")
            if key in seen:
                twice = "twice" if seen[key] == part.files[0] else f"as {seen[key]} does"
                raise ConfigError(part.files[0], f"labels {picture.name} {twice}", "name the file that counts")
            seen[key] = part.files[0]


def _wanted(path: Path, labels: Labels, predictions: Predictions) -> Labels:
    """Without what networks set where people labelled, or where it is not wanted."""
    people = [frame for frame in labels.frames if not frame.by_network.all()]
    network = len(labels.frames) - len(people)
    if predictions == "never" or (predictions == "alone" and people):
        labels = replace(labels, frames=tuple(people), unlabelled=labels.unlabelled + network)
    if not labels.frames:
        what = "holds only points that a network set" if network else "labels nothing in any picture"
        raise ConfigError(path, what, "--predictions alone takes them" if network else "label some pictures first")
    if predictions == "alone" and not people:
        note = "a network set all points; whether somebody looked at them, the files do not say"
        return replace(labels, notes=(note, *labels.notes))
    return labels
