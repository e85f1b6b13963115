"""Camera files, ours and foreign: one module a format.

The TOML formats read a parsed document (``matches``, ``read``), all others a path (``recognises``,
``read_path``); those that can be written have ``write_path`` and ``HOLDS``, what they have room for.
`calib.convert` is the door for users; `calib.rig.read_rig` uses the same table.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

READERS = ("rigpose_toml", "caliscope", "pose2sim", "anipose")
"""The TOML formats, in the order in which they are asked."""
PATH_READERS = (
    "qualisys",
    "jarvis",
    "easymocap",
    "kalibr",
    "panoptic",
    "human36m",
    "opencap",
    "deepfly3d",
    "bouguet",
    "label3d",
    "colmap",
    "opencv",
)
"""All others, the most particular first: many formats are OpenCV's YAML with other keys."""
FORMATS = {"rigpose": "rigpose_toml"} | {name: name for name in (*READERS[1:], *PATH_READERS)}
"""Module of each format by the name that a user gives."""


def module_of(name: str) -> ModuleType:
    """The module of a format's name; KeyError where there is none."""
    return import_module(f"calib.formats.{FORMATS[name]}")


def reader_of(document: dict) -> ModuleType | None:
    """The module that reads a parsed TOML document, ``None`` if no format is recognised."""
    for name in READERS:
        module = import_module(f"calib.formats.{name}")
        if module.matches(document):
            return module
    return None


def format_at(path: Path) -> str | None:
    """The name of the format of a file or folder that is not TOML; ``None`` if none is recognised."""
    return next((name for name in PATH_READERS if module_of(name).recognises(path)), None)
