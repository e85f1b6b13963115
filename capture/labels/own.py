"""Our own file of labels: one JSON that holds all that a `Labels` does.

``{"rigpose": "labels", "schema": 1, "skeleton": {...}, "frames": [{"picture": PATH, "index": 12, "camera": "top",
"subjects": [{"name": "", "points": [[x, y], null, ...], "hidden": [3]}]}]}``; pictures are relative to the file.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from capture.labels.documents import How, peek, read_json
from capture.labels.labels import LabelledFrame, Labels, Picture, frame_of
from capture.labels.pictures import posix
from rigpose.config import Config, validate
from rigpose.errors import ConfigError
from rigpose.files import write_json
from rigpose.skeleton import Skeleton

TITLE = "rigpose"
SCHEMA = 1

Px = Annotated[float, Field(allow_inf_nan=False)]


class _Subject(Config):
    points: tuple[tuple[Px, Px] | None, ...]
    name: str = ""
    hidden: tuple[Annotated[int, Field(ge=0)], ...] = ()
    confidence: tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = None
    box: tuple[Px, Px, Px, Px] | None = None
    by_network: bool = False


class _Frame(Config):
    picture: str
    subjects: tuple[_Subject, ...] = ()
    index: Annotated[int, Field(ge=0)] | None = None
    dataset: str | None = None
    size: tuple[int, int] | None = None
    offset_px: tuple[int, int] = (0, 0)
    camera: str = ""
    moment: str = ""
    split: Literal["train", "val", "test"] | None = None
    labeller: str | None = None


class _Document(Config):
    rigpose: Literal["labels"]
    version: Literal[1] = Field(alias="schema")
    skeleton: Skeleton
    says_hidden: bool = False
    gives_boxes: bool = False
    frames: tuple[_Frame, ...]


def recognises(path: Path) -> bool:
    """A JSON file that says so at its beginning."""
    return path.suffix.lower() == ".json" and re.search(r'"rigpose"\s*:\s*"labels"', peek(path)[:200]) is not None


def folders(path: Path) -> tuple[Path, ...]:
    """Where its pictures lie."""
    return (path.parent,)


def read(path: Path, how: How) -> Labels:
    """The labels of a file.

    Raises:
        ConfigError: It does not follow the format.
    """
    document = validate(read_json(path), _Document, path)
    joints = len(document.skeleton.joints)
    frames: list[LabelledFrame] = []
    for place, one in enumerate(document.frames):
        frame = _frame(one, joints, f"{path}, key frames.{place}")
        if frame.labelled.any():
            frames.append(frame)
    return Labels(
        TITLE,
        (path,),
        document.skeleton,
        tuple(frames),
        len(document.frames) - len(frames),
        says_hidden=document.says_hidden,
        gives_boxes=document.gives_boxes,
    )


def _frame(one: _Frame, joints: int, where: str) -> LabelledFrame:
    n = len(one.subjects)
    points = np.full((n, joints, 2), np.nan)
    hidden, confidence = np.zeros((n, joints), dtype=bool), np.ones((n, joints))
    boxes = np.full((n, 4), np.nan)
    for row, subject in enumerate(one.subjects):
        for key, values in (("points", subject.points), ("confidence", subject.confidence)):
            if values is not None and len(values) != joints:
                what = f"key subjects.{row}.{key}: has {len(values)} entries for {joints} joints"
                raise ConfigError(where, what, "correct that entry")
        if any(joint >= joints for joint in subject.hidden):
            raise ConfigError(where, f"key subjects.{row}.hidden: there are {joints} joints", "correct that entry")
        points[row] = [(np.nan, np.nan) if point is None else point for point in subject.points]
        hidden[row, list(subject.hidden)] = True
        if subject.confidence is not None:
            confidence[row] = subject.confidence
        if subject.box is not None:
            boxes[row] = subject.box
    picture = Picture(posix(one.picture), None, one.index, one.dataset, one.size, one.offset_px)
    frame = frame_of(
        picture,
        points,
        hidden=hidden,
        confidence=confidence,
        boxes=boxes,
        subjects=[subject.name for subject in one.subjects],
        by_network=np.array([subject.by_network for subject in one.subjects], dtype=bool),
        camera=one.camera,
        split=one.split,
        labeller=one.labeller,
    )
    return replace(frame, moment=one.moment)


def write_labels(labels: Labels, path: Path) -> None:
    """Write labels as our own file; a reader sees a whole one or none.

    Raises:
        ConfigError: The file exists already, or its folder does not.
        OSError: The disk refuses it.
    """
    if path.exists():
        raise ConfigError(path, "exists already", "choose another name, for labels are not overwritten")
    if not path.parent.is_dir():
        raise ConfigError(path.parent, "no such folder", "make it first")
    document: dict[str, Any] = {
        "rigpose": "labels",
        "schema": SCHEMA,
        "skeleton": labels.skeleton.model_dump(mode="json"),
        "says_hidden": labels.says_hidden,
        "gives_boxes": labels.gives_boxes,
        "frames": [_document(frame, path.parent, labels.gives_boxes) for frame in labels.frames],
    }
    write_json(path, document)


def _document(frame: LabelledFrame, folder: Path, with_boxes: bool) -> dict[str, Any]:
    picture = frame.picture
    named = picture.stated if picture.path is None else posix(os.path.relpath(picture.path, folder))
    document: dict[str, Any] = {"picture": named}
    for key in ("index", "dataset", "size", "offset_px"):
        document[key] = getattr(picture, key)
    for key in ("camera", "moment", "split", "labeller"):
        document[key] = getattr(frame, key)
    document["subjects"] = [
        {
            "name": frame.subjects[row],
            "points": [
                point.tolist() if known else None for point, known in zip(points, frame.labelled[row], strict=True)
            ],
            "hidden": np.flatnonzero(frame.hidden[row]).tolist(),
            "confidence": frame.confidence[row].tolist(),
            "box": frame.boxes[row].tolist() if with_boxes else None,
            "by_network": bool(frame.by_network[row]),
        }
        for row, points in enumerate(frame.points)
    ]
    return document
