"""JSON of other programs: bounded, and errors that say where."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rigpose.errors import ConfigError

MOST_BYTES = 2**30
PEEK = 2**16


@dataclass(frozen=True, slots=True)
class How:
    """What a user says about labels that their file does not.

    Attributes:
        skeleton: Name of OpenPose's skeleton.
        category: Of a COCO file with several; ``single`` = DeepLabCut's unique body parts.
        predictions: Whether points that a network set count: where a file holds no others, always, or never.
        origin: Whether (0, 0) is the ``centre`` of the first pixel or its ``corner``, in formats that leave it open.
    """

    skeleton: str | None = None
    category: str | None = None
    predictions: str = "alone"
    origin: str = "centre"

    @property
    def first_px(self) -> float:
        """What the centre of the first pixel is called, in x and in y, by a format that does not say it."""
        return 0.5 if self.origin == "corner" else 0.0


def peek(path: Path) -> str:
    """The beginning of a file as text; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(PEEK).decode("utf-8", errors="replace")
    except OSError:
        return ""


def read_text(path: Path) -> str:
    """A whole text file.

    Raises:
        ConfigError: It is missing, too large, or no text.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(path, f"is larger than {MOST_BYTES >> 20} MiB", "split it")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(path, "no such file", "check the path") from None
    except UnicodeDecodeError:
        raise ConfigError(path, "is not text in UTF-8", "export the labels again") from None
    except OSError as error:
        raise ConfigError(path, f"cannot be read: {error.strerror}", "give a file that you may read") from None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ConfigError: As `read_text`, or it holds no JSON object.
    """
    try:
        document = json.loads(read_text(path))
    except ValueError as error:
        raise ConfigError(path, f"is not JSON: {error}", "export the labels again") from None
    except RecursionError:
        raise ConfigError(path, "is nested too deep for labels", "export the labels again") from None
    if not isinstance(document, dict):
        raise ConfigError(path, "holds no JSON object", "give the file of labels itself")
    return document


def objects(document: dict[str, Any], key: str, where: object) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a list, with their places in it.

    Raises:
        ConfigError: It is missing, no list, or holds something else.
    """
    found = document.get(key)
    if not isinstance(found, list):
        raise ConfigError(
            where, f"key {key}: is {'missing' if found is None else 'no list'}", "export the labels again"
        )
    for index, item in enumerate(found):
        if not isinstance(item, dict):
            raise ConfigError(where, f"key {key}.{index}: is no object", "export the labels again")
        yield index, item


def triples(values: Any, joints: int | None, where: object, key: str) -> np.ndarray:
    """(J, 3) of a flat list of x, y and a third number.

    Raises:
        ConfigError: It is no list of numbers of that length.
    """
    try:
        flat = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ConfigError(where, f"key {key}: is no list of numbers", "correct that entry") from None
    if flat.ndim != 1 or flat.size % 3 or (joints is not None and flat.size != 3 * joints):
        wanted = "three numbers a joint" if joints is None else f"{3 * joints}, three for each of {joints} joints"
        raise ConfigError(where, f"key {key}: holds {flat.size} numbers and not {wanted}", "correct that entry")
    return flat.reshape(-1, 3)
