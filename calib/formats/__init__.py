"""Camera files, ours and foreign: one module a format, each reads a parsed document into cameras.

`calib.rig.read_rig` asks each module's ``matches`` in the order of ``READERS`` and takes the first.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

READERS = ("rigpose_toml", "caliscope", "pose2sim", "anipose")


def reader_of(document: dict) -> ModuleType | None:
    """The module that reads a parsed TOML document, ``None`` if no format is recognised."""
    for name in READERS:
        module = import_module(f"calib.formats.{name}")
        if module.matches(document):
            return module
    return None
