"""COCO keypoints: one JSON with images, annotations and categories, as COCO, CVAT, Label Studio and others write it.

Keypoints are x, y and a flag: 0 not labelled, 1 labelled though hidden, 2 seen; in files without any 2,
1 is seen. COCO counts pixels from
0, so a keypoint on the first pixel's centre is (0, 0), as here; programs in which that is the pixel's corner
write the same file (``origin``). Boxes are x, y, width, height of the
picture's surface, whose corner is half a pixel from that centre.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from capture.labels.documents import How, objects, peek, read_json, triples
from capture.labels.labels import LabelledFrame, Labels, Picture, frame_of
from capture.labels.pictures import posix
from capture.labels.skeletons import skeleton_of
from rigpose.errors import ConfigError
from rigpose.skeleton import Skeleton

TITLE = "COCO"
_CENTRE_TO_CORNER = 0.5
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def recognises(path: Path) -> bool:
    """A JSON file that begins with one of COCO's keys."""
    return path.suffix.lower() == ".json" and bool(
        re.search(r'"(images|annotations|categories)"\s*:\s*\[', head := peek(path))
        and '"rigpose"' not in head[:200]
        or re.search(r'"(info|licenses)"\s*:', head)
    )


def folders(path: Path) -> tuple[Path, ...]:
    """Where the pictures of a file may lie, the likeliest first."""
    here, above = path.parent, path.parent.parent
    guesses = [here, here / "images", above / "images", above]
    # person_keypoints_train2017.json belongs to ../train2017/.
    guesses += [above / word for word in re.findall(r"(?:train|val|test)\d*", path.stem)]
    return tuple(guesses)


def read(path: Path, how: How) -> Labels:
    """The labels of a file.

    Raises:
        ConfigError: It does not follow the format, or has several categories with keypoints.
    """
    document = read_json(path)
    annotations: dict[Any, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    per_category: dict[Any, int] = defaultdict(int)
    for place, one in objects(document, "annotations", path):
        if one.get("keypoints") and not one.get("iscrowd"):
            annotations[one.get("image_id")].append((place, one))
            per_category[one.get("category_id")] += 1
    identity, skeleton = _category(document, path, how, per_category)
    says_hidden = _says_hidden(annotations.values())
    frames, unlabelled, known, boxes = [], 0, set(), False
    for place, image in objects(document, "images", path):
        name = image.get("file_name")
        if not isinstance(name, str) or not name:
            raise ConfigError(path, f"key images.{place}.file_name: is no name", "correct that entry")
        if image.get("id") in known:
            raise ConfigError(path, f"key images.{place}.id: {image.get('id')} stands there twice", "number them anew")
        known.add(image.get("id"))
        mine = [item for item in annotations.get(image.get("id"), ()) if item[1].get("category_id") == identity]
        frame = _frame(path, posix(name), image, mine, skeleton, says_hidden, how.first_px)
        boxes |= any("bbox" in one for _, one in mine)
        if frame.labelled.any():
            frames.append(frame)
        else:
            unlabelled += 1
    lost = [place for image, those in annotations.items() if image not in known for place, _ in those]
    if lost:
        where = f"key annotations.{min(lost)}.image_id"
        raise ConfigError(path, f"{where}: no image has that id", "export the labels again with their images")
    others = sum(per_category.values()) - per_category[identity]
    notes = [f"{others} annotations of other categories are left out"] if others else []
    if not says_hidden:
        notes.append(f"{path.name} has no flag 2, so its 1 is taken for labelled and seen")
    return Labels(
        TITLE,
        (path,),
        skeleton,
        tuple(frames),
        unlabelled,
        says_hidden=says_hidden,
        gives_boxes=boxes,
        notes=tuple(notes),
    )


def _says_hidden(annotations: Iterable[list[tuple[int, dict[str, Any]]]]) -> bool:
    """Whether a flag of 2 stands anywhere: some programs write 1 for all that is labelled."""
    return any(
        2 in one["keypoints"][2::3] for those in annotations for _, one in those if isinstance(one["keypoints"], list)
    )


def _category(document: dict[str, Any], path: Path, how: How, used: dict[Any, int]) -> tuple[Any, Skeleton]:
    """The category whose keypoints are meant: its id and its skeleton."""
    found = {}
    for place, one in objects(document, "categories", path):
        if isinstance(one.get("keypoints"), list) and one["keypoints"]:
            found[str(one.get("name", one.get("id")))] = place, one
    if not found:
        raise ConfigError(
            path, "has no category with keypoints", "give the file of keypoints, not the one of boxes or outlines"
        )
    if how.category is not None:
        if how.category not in found:
            raise ConfigError(path, f"has no keypoints of {how.category!r}", f"it has those of {', '.join(found)}")
        name = how.category
    else:
        labelled = [name for name, (_, one) in found.items() if used.get(one.get("id"))] or list(found)
        if len(labelled) > 1:
            raise ConfigError(path, f"has keypoints of {', '.join(labelled)}", f"choose: --category {labelled[0]}")
        (name,) = labelled
    place, one = found[name]
    where = f"{path}, key categories.{place}"
    bones = one.get("skeleton") or []
    try:
        edges = [(int(a) - 1, int(b) - 1) for a, b in bones]
    except (TypeError, ValueError):
        raise ConfigError(where, "skeleton is no list of pairs of numbers", "correct that entry") from None
    return one.get("id"), skeleton_of([str(joint) for joint in one["keypoints"]], where, name=name, edges=edges)


def _frame(
    path: Path,
    name: str,
    image: dict[str, Any],
    annotations: list[tuple[int, dict[str, Any]]],
    skeleton: Skeleton,
    says_hidden: bool,
    first_px: float,
) -> LabelledFrame:
    n, joints = len(annotations), len(skeleton.joints)
    points = np.full((n, joints, 2), np.nan)
    hidden = np.zeros((n, joints), dtype=bool)
    boxes = np.full((n, 4), np.nan)
    for row, (place, one) in enumerate(annotations):
        values = triples(one["keypoints"], joints, path, f"annotations.{place}.keypoints")
        flag = values[:, 2]
        if not np.isin(flag, (0, 1, 2)).all():
            odd = float(flag[~np.isin(flag, (0, 1, 2))][0])
            key = f"key annotations.{place}.keypoints"
            raise ConfigError(path, f"{key}: the flag {odd:g} is not 0, 1 or 2", "correct that entry")
        points[row] = np.where(flag[:, None] > 0, values[:, :2] - first_px, np.nan)
        hidden[row] = (flag == 1) & says_hidden
        boxes[row] = _box(one, path, f"annotations.{place}.bbox")
    return frame_of(
        Picture(name, size=_size(image)),
        points,
        hidden=hidden,
        boxes=boxes,
        subjects=[str(one.get("track_id", "")) for _, one in annotations],
        split=_split(path, name),
    )


def _box(annotation: dict[str, Any], path: Path, key: str) -> np.ndarray:
    if not annotation.get("bbox"):
        return np.full(4, np.nan)
    try:
        x, y, width, height = (float(value) for value in annotation["bbox"])
    except (TypeError, ValueError):
        raise ConfigError(path, f"key {key}: is not x, y, width and height", "correct that entry") from None
    return (
        np.array([x, y, x + width, y + height]) - _CENTRE_TO_CORNER if width > 0 and height > 0 else np.full(4, np.nan)
    )


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    return (int(width), int(height)) if isinstance(width, int | float) and isinstance(height, int | float) else None


def _split(path: Path, name: str) -> str | None:
    """What the names of the file, its folder and the picture's folder say."""
    for text in (path.stem, path.parent.name, posix(name).rpartition("/")[0]):
        for word in re.findall(r"[a-z]+", text.lower()):
            if word in _SPLITS:
                return _SPLITS[word]
    return None
