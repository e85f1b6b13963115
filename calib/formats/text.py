"""Text files that hold cameras: looked at before they are read, parsed into plain values, bounded."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import yaml

from rigpose.errors import ConfigError

MOST_BYTES = 64 * 2**20
PEEK = 65536


def peek(path: Path) -> str:
    """The beginning of a file as text; empty for a folder or what cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(PEEK).decode("utf-8", errors="replace")
    except OSError:
        return ""


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """A whole file.

    Raises:
        ConfigError: It is missing, cannot be read, or is too large for a camera file.
    """
    try:
        if path.stat().st_size > most:
            raise ConfigError(path, "is too large for a camera file", "give the calibration's own file")
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(path, "no such file", "check the path") from None
    except OSError as error:
        raise ConfigError(path, f"cannot be read: {error.strerror}", "give a file that you may read") from None


def read_text(path: Path) -> str:
    """A whole text file.

    Raises:
        ConfigError: As `read_bytes`, or it is not text.
    """
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Old Windows tools write Latin-1; only bytes below 32 tell that it is no text at all.
        if b"\0" in data:
            raise ConfigError(path, "is not text", "give the calibration's text file") from None
        return data.decode("latin-1")


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML document.

    Raises:
        ConfigError: It is missing or is not TOML.
    """
    try:
        return tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path, f"is not TOML: {error}", "mend that line") from None


def read_json(path: Path) -> Any:
    """A JSON document.

    Raises:
        ConfigError: It is missing or is not JSON.
    """
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise ConfigError(path, f"is not JSON: {error}", "mend that line") from None
    except RecursionError:
        raise ConfigError(path, "is nested too deep for a camera file", "give the calibration's own file") from None


def read_yaml(path: Path) -> Any:
    """A YAML document with every scalar as text, OpenCV's dialect included.

    Text, so that a camera named 01 stays 01; OpenCV's ``%YAML:1.0`` line is no YAML and is skipped,
    its matrices come as ``{rows, cols, dt, data}``.

    Raises:
        ConfigError: It is missing or is not YAML.
    """
    lines = read_text(path).splitlines()
    if lines and lines[0].startswith("%YAML"):
        lines[0] = ""
    try:
        return yaml.load("\n".join(lines), Loader=yaml.BaseLoader)  # noqa: S506 (makes only text, lists and maps)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "cannot be parsed"
        raise ConfigError(path, f"is not YAML{place}: {problem}", "mend that line") from None
    except RecursionError:
        raise ConfigError(path, "is nested too deep for a camera file", "give the calibration's own file") from None


def read_xml(path: Path) -> ElementTree.Element:
    """The root of an XML document; one with a document type is refused.

    Raises:
        ConfigError: It is missing, is not XML, or declares entities.
    """
    text = read_text(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ConfigError(path, "declares a document type, which no camera file needs", "remove that line")
    try:
        # As bytes, for a declared encoding would be refused in text.
        return ElementTree.fromstring(text.encode("utf-8") if "encoding" not in text[:100] else _without_header(text))
    except ElementTree.ParseError as error:
        raise ConfigError(path, f"is not XML: {error}", "mend that line") from None


def _without_header(text: str) -> str:
    return text[text.index("?>") + 2 :].lstrip() if text.lstrip().startswith("<?xml") and "?>" in text else text


def float_text(values: Sequence[float] | np.ndarray) -> str:
    """Numbers with all their digits, separated by commas."""
    return ", ".join(repr(float(value)) for value in np.ravel(values))
