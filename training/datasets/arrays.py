"""Arrays in a file: plain .npz, whole or not there, and never a pickle."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from rigpose.errors import ConfigError


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write an .npz under another name and then give it its own.

    Raises:
        ConfigError: The disk refuses it.
    """
    assert not any(array.dtype.hasobject for array in arrays.values())
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(partial, path)
    except OSError as error:
        raise ConfigError(path, f"cannot be written: {error.strerror}", "check the folder and the disk") from None
    finally:
        partial.unlink(missing_ok=True)


def read_arrays(path: Path, names: Iterable[str], what: str) -> dict[str, np.ndarray]:
    """Arrays of an .npz.

    Args:
        path: The file.
        names: Which must be there; others may be.
        what: What it should be, for an error.

    Raises:
        ConfigError: It is missing, or is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise ConfigError(path, "no such file", "check the path") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError):
        raise ConfigError(path, f"is not {what}", "check the path, or prepare it again") from None
    lacking = [name for name in names if name not in found]
    if lacking:
        raise ConfigError(path, f"is not {what}: it has no {lacking[0]}", "check the path, or prepare it again")
    return found


def texts(array: np.ndarray) -> tuple[str, ...]:
    """An array of text."""
    return tuple(str(text) for text in array)
