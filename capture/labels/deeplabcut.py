"""DeepLabCut: a table for each video, ``labeled-data/VIDEO/CollectedData_SCORER.csv``, and the project's config.

Each row is a picture, each pair of columns a body part, with a row of individuals in projects of several
animals. Body parts that are there once (``uniquebodyparts``, individual ``single``: corners of the arena, or
a mother among pups) are none of these animals' and are left out, or read alone as category ``single``. The
``.h5`` beside each table holds the same; it needs pandas and a pickle to be read, so the table is. Its points
have the centre of the first pixel at (0, 0), as here.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from capture.labels.documents import How, peek, read_text
from capture.labels.labels import LabelledFrame, Labels, Picture, frame_of
from capture.labels.pictures import posix
from capture.labels.skeletons import skeleton_of
from rigpose.errors import ConfigError

TITLE = "DeepLabCut"
CONFIG = "config.yaml"
_TABLE = "CollectedData_"
_UNIQUE = "single"
_LEVELS = ("scorer", "individuals", "bodyparts", "coords")


@dataclass(frozen=True, slots=True)
class _Project:
    """What config.yaml says.

    Attributes:
        path: The file.
        task: Name of the project.
        scorer: Who labels.
        joints: Body parts in order.
        edges: Pairs of body parts.
        crops: Left, right, top and bottom px of the region that may have been cut out, by the video's stem.
    """

    path: Path
    task: str
    scorer: str
    joints: tuple[str, ...]
    edges: tuple[tuple[str, str], ...]
    crops: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Table:
    """One CSV.

    Attributes:
        path: The file.
        scorer: Who labelled.
        joints: Body parts in order.
        others: Body parts that were left out: those that are there once, or those of the animals.
        subjects: Individuals; one empty name where there is one animal.
        pictures: Names as the table has them.
        points: (pictures, subjects, joints, 2) px.
    """

    path: Path
    scorer: str
    joints: tuple[str, ...]
    others: tuple[str, ...]
    subjects: tuple[str, ...]
    pictures: tuple[str, ...]
    points: np.ndarray


def is_project(folder: Path) -> bool:
    """A folder with the config of a project."""
    head = peek(folder / CONFIG)
    return "video_sets" in head and "bodyparts" in head


def recognises(path: Path) -> bool:
    """A table, its .h5, or a project's config."""
    if path.name == CONFIG:
        return is_project(path.parent)
    return path.name.startswith(_TABLE) and path.suffix.lower() in (".csv", ".h5")


def tables(folder: Path) -> list[Path]:
    """The tables of a project, without those of other scorers than its own where its own are there.

    Raises:
        ConfigError: There are none.
    """
    scorer = _project(folder / CONFIG).scorer
    found = sorted((folder / "labeled-data").glob(f"*/{_TABLE}*"))
    found = [path for path in found if path.suffix.lower() in (".csv", ".h5")]
    own = [path for path in found if path.stem == f"{_TABLE}{scorer}"] or found
    chosen = [path for path in own if path.suffix.lower() == ".csv" or not path.with_suffix(".csv").is_file()]
    if not chosen:
        raise ConfigError(
            folder, f"no folder of labeled-data holds a {_TABLE}*.csv", "label frames in DeepLabCut first"
        )
    return chosen


def folders(path: Path) -> tuple[Path, ...]:
    """Where the pictures of a table may lie."""
    return path.parent, *path.parents[1:3]


def read(path: Path, how: How) -> Labels:
    """The labels of one table.

    Raises:
        ConfigError: It is no such table, or its .csv is missing.
    """
    if path.suffix.lower() == ".h5":
        path = _beside(path)
    table = _table(path, how.category)
    project = next((_project(one / CONFIG) for one in path.parents[1:3] if is_project(one)), None)
    joints = project.joints if project and set(table.joints) <= set(project.joints) else table.joints
    order = [table.joints.index(joint) if joint in table.joints else -1 for joint in joints]
    padded = np.concatenate([table.points, np.full((*table.points.shape[:2], 1, 2), np.nan)], axis=2)[:, :, order]
    bones = [(joints.index(a), joints.index(b)) for a, b in (project.edges if project else ()) if {a, b} <= set(joints)]
    skeleton = skeleton_of(joints, path, name=project.task if project else "", edges=bones)
    offset_px = _offset(table, project)
    frames: list[LabelledFrame] = []
    unlabelled = 0
    for name, points in zip(table.pictures, padded, strict=True):
        picture = Picture(name, offset_px=offset_px)
        frame = frame_of(picture, points, subjects=table.subjects, labeller=table.scorer)
        if frame.labelled.any():
            frames.append(frame)
        else:
            unlabelled += 1
    return Labels(TITLE, (path,), skeleton, tuple(frames), unlabelled, notes=_notes(table, project, offset_px))


def _notes(table: _Table, project: _Project | None, offset_px: tuple[int, int]) -> tuple[str, ...]:
    notes = []
    if table.others:
        choice = "" if table.subjects == (_UNIQUE,) else f": --category {_UNIQUE} reads those alone"
        notes.append(f"other body parts are left out ({', '.join(table.others)}){choice}")
    if project is not None and table.subjects != (_UNIQUE,) and not set(table.joints) <= set(project.joints):
        odd = ", ".join(joint for joint in table.joints if joint not in project.joints)
        notes.append(f"{project.path} does not know {odd}: took the joints of {table.path.name}")
    if any(offset_px):
        notes.append(f"{table.path.parent.name}: its pictures are a region of the video from px {offset_px} on")
    return tuple(notes)


def _beside(path: Path) -> Path:
    table = path.with_suffix(".csv")
    if not table.is_file():
        raise ConfigError(
            path,
            f"has no {table.name} beside it, and a table is what is read",
            f"write it: python -c \"import pandas; pandas.read_hdf('{path.name}').to_csv('{table.name}')\"",
        )
    return table


def _table(path: Path, category: str | None) -> _Table:
    try:
        rows = [row for row in csv.reader(io.StringIO(read_text(path))) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise ConfigError(path, f"is no CSV: {error}", "save it from DeepLabCut again") from None
    header: dict[str, list[str]] = {}
    while len(header) < len(rows) and rows[len(header)][0].strip() in _LEVELS:
        row = rows[len(header)]
        if row[0].strip() in header:
            break
        header[row[0].strip()] = [cell.strip() for cell in row]
    if not {"bodyparts", "coords"} <= set(header):
        raise ConfigError(
            path,
            "does not begin with rows scorer, bodyparts and coords",
            "give CollectedData_SCORER.csv as it was saved",
        )
    coords = header["coords"]
    first = next((i for i, cell in enumerate(coords) if cell in ("x", "y", "likelihood")), len(coords))
    width = len(coords)
    if any(len(cells) != width for cells in header.values()):
        raise ConfigError(path, "the rows of its head differ in length", "save it from DeepLabCut again")
    individuals = header.get("individuals", [""] * width)
    columns: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for index in range(first, width):
        columns[individuals[index], header["bodyparts"][index]][coords[index]] = index
    unique = [key for key in columns if "individuals" in header and key[0] == _UNIQUE]
    if category is not None and (category != _UNIQUE or not unique):
        remedy = f"leave --category out, or give {_UNIQUE}" if unique else "leave --category out"
        raise ConfigError(path, f"has no category {category!r}", remedy)
    animals = unique if category else [key for key in columns if key not in unique]
    others = tuple(dict.fromkeys(part for subject, part in columns if (subject, part) not in animals))
    if not animals:
        raise ConfigError(path, "has no columns of body parts", "save it from DeepLabCut again")
    for (_, part), found in columns.items():
        if not {"x", "y"} <= set(found):
            raise ConfigError(path, f"body part {part} has no columns x and y", "save it from DeepLabCut again")
    subjects = tuple(dict.fromkeys(subject for subject, _ in animals))
    joints = tuple(dict.fromkeys(part for _, part in animals))
    body = rows[len(header) :]
    points = np.full((len(body), len(subjects), len(joints), 2), np.nan)
    for place, cells in enumerate(body):
        line = place + len(header) + 1
        if len(cells) != width:
            where = f"{path}, row {line}"
            raise ConfigError(where, f"has {len(cells)} columns instead of {width}", "save it from DeepLabCut again")
        for subject, part in animals:
            for axis, coord in enumerate("xy"):
                value = _number(cells[columns[subject, part][coord]], path, line, part)
                points[place, subjects.index(subject), joints.index(part), axis] = value
    pictures = tuple(posix("/".join(cell.strip() for cell in cells[:first])) for cells in body)
    scorers = {cell for cell in header.get("scorer", [])[first:] if cell}
    scorer = ", ".join(sorted(scorers)) or path.stem.removeprefix(_TABLE)
    return _Table(path, scorer, joints, others, subjects, pictures, points)


def _number(cell: str, path: Path, row: int, part: str) -> float:
    text = cell.strip().lower()
    if text in ("", "nan", "na", "none"):
        return np.nan
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{path}, row {row}", f"{part} is {cell!r} and no number", "correct that cell") from None


def _project(path: Path) -> _Project:
    try:
        document = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}", "is not YAML", "mend that line") from None
    if not isinstance(document, dict):
        raise ConfigError(path, "holds no keys", "give DeepLabCut's config.yaml")
    parts = document.get("bodyparts")
    if not isinstance(parts, list):  # Projects of several animals write MULTI! there.
        parts = document.get("multianimalbodyparts")
    if not isinstance(parts, list) or not parts:
        raise ConfigError(path, "key bodyparts: names none", "give DeepLabCut's config.yaml")
    return _Project(
        path,
        str(document.get("Task", "")),
        str(document.get("scorer", "")),
        tuple(str(part) for part in parts),
        tuple(_bones(document.get("skeleton"))),
        dict(_crops(document.get("video_sets"))),
    )


def _bones(skeleton: Any) -> Iterable[tuple[str, str]]:
    for chain in skeleton if isinstance(skeleton, list) else []:
        names = [str(name) for name in chain] if isinstance(chain, list) else []
        yield from zip(names, names[1:], strict=False)


def _offset(table: _Table, project: _Project | None) -> tuple[int, int]:
    """Where the pictures begin in the video: a crop of the config counts where they were really cut out to it."""
    left, right, top, bottom = (project.crops if project else {}).get(table.path.parent.name, (0, 0, 0, 0))
    if (left, top) == (0, 0):
        return 0, 0
    for name in table.pictures:
        image = cv2.imread(str(table.path.parent / name.rpartition("/")[2]))
        if image is not None:
            return (left, top) if image.shape[:2] == (bottom - top, right - left) else (0, 0)
    return left, top


def _crops(videos: Any) -> Iterable[tuple[str, tuple[int, int, int, int]]]:
    """``crop: x1, x2, y1, y2`` of each video."""
    for name, video in videos.items() if isinstance(videos, dict) else ():
        crop = str((video or {}).get("crop", "")) if isinstance(video, dict) else ""
        try:
            left, right, top, bottom = (int(value) for value in crop.split(","))
        except ValueError:
            continue
        yield posix(str(name)).rpartition("/")[2].rpartition(".")[0], (left, right, top, bottom)
