"""The models that rigpose ships, those that a user has added, and documents for networks known by their bytes."""

from __future__ import annotations

import re
from pathlib import Path

import platformdirs

from rigpose.errors import ConfigError

FOLDER = Path(__file__).parent
ORIGIN = "origin.json"
"""Where an added model is from, beside it."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def user_folder() -> Path:
    """Where added models lie: a folder for each, which holds ``NAME.onnx``, its YAML if any, and ``ORIGIN``."""
    return Path(platformdirs.user_data_dir("rigpose", appauthor=False)) / "models"


def shipped() -> tuple[str, ...]:
    """Names of the models that come with this version."""
    return tuple(sorted(file.stem for file in FOLDER.glob("*.onnx")))


def added() -> tuple[str, ...]:
    """Names of the models that the user has added."""
    files = user_folder().glob("*/*.onnx")
    return tuple(sorted(file.stem for file in files if file.stem == file.parent.name and is_name(file.stem)))


def names() -> tuple[str, ...]:
    """Names that ``--model`` takes instead of a file; what is shipped comes first and cannot be replaced."""
    first = shipped()
    return (*first, *(name for name in added() if name not in first))


def is_name(text: str) -> bool:
    """Whether a model may be called so: letters, digits, ``-`` and ``_``, nothing that looks like a path."""
    return _NAME.fullmatch(text) is not None


def path(name: str) -> Path:
    """The ONNX file of a zoo name.

    Raises:
        ConfigError: There is no such name; the remedy lists those that exist.
    """
    if name in shipped():
        return FOLDER / f"{name}.onnx"
    if name in added():
        return user_folder() / name / f"{name}.onnx"
    raise ConfigError(
        f"--model {name}", "is neither a file nor a model of the zoo", f"the zoo has: {', '.join(names())}"
    )


def known(sha256: str) -> Path | None:
    """The document of a network that is known by the sha256 of its file, if there is one."""
    file = FOLDER / "known" / f"{sha256}.yaml"
    return file if file.is_file() else None
