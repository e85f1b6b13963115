"""What a format can hold: a lens that it cannot is refused, a fact that it drops is said in one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calib import lens
from calib.camera import Camera
from rigpose.errors import ConfigError

_FACTS = {"serial": "", "sensor_size": None, "roi_offset": (0, 0), "binning": (1, 1), "flip": "none", "lens": ""}
_WIDER = "rigpose, opencv or colmap"


@dataclass(frozen=True, slots=True)
class Holds:
    """What a format has room for.

    Attributes:
        title: The format's name for a person.
        dist: Numbers of pinhole coefficients that it may write, the shortest first.
        fisheye: Whether it says that a lens is a fisheye.
        size: Whether it holds picture sizes.
        names: Whether it holds camera names.
        skew: Whether its matrix may have a skew.
        unit: What its translations are in.
        says_unit: Whether a reader learns the unit from the file or the format.
    """

    title: str
    dist: tuple[int, ...]
    unit: str
    fisheye: bool = False
    size: bool = True
    names: bool = True
    skew: bool = False
    says_unit: bool = True


def coefficients(camera: Camera, holds: Holds) -> np.ndarray:
    """The lens as the shortest list that the format may write and that holds all of it.

    Raises:
        ConfigError: The format cannot hold this lens.
    """
    where = f"camera {camera.name}"
    if camera.skew and not holds.skew:
        remedy = "write it as rigpose or label3d, or convert without --exact"
        raise ConfigError(where, f"has a skew of {camera.K[0, 1]:.3g} px, which {holds.title} cannot hold", remedy)
    if camera.fisheye:
        if not holds.fisheye:
            raise ConfigError(where, f"has a fisheye lens, which {holds.title} cannot hold", f"write it as {_WIDER}")
        return lens.pad(camera.dist)[:4]
    used = int(np.flatnonzero(camera.dist).max(initial=-1)) + 1
    for length in holds.dist:
        if length >= used:
            return lens.pad(camera.dist)[:length]
    most = holds.dist[-1]
    what = f"its lens has {used} coefficients, {holds.title} holds {most}"
    raise ConfigError(where, what, f"write it as {_WIDER}, or calibrate with a shorter model")


def dropped(cameras: Sequence[Camera], metadata: dict[str, Any], holds: Holds) -> tuple[str, ...]:
    """One line for each kind of fact that the format has no place for."""
    notes = []
    if not holds.says_unit:
        notes.append(f"{holds.title} does not say its unit: written in {holds.unit}, read it with --units {holds.unit}")
    if not holds.size and any(min(camera.size) > 0 for camera in cameras):
        sizes = {f"{camera.size[0]}x{camera.size[1]}" for camera in cameras}
        again = f": read it with --size {sizes.pop()}" if len(sizes) == 1 else ""
        notes.append(f"{holds.title} holds no picture sizes{again}")
    if not holds.names:
        notes.append(f"{holds.title} holds no camera names: only their order ({', '.join(c.name for c in cameras)})")
    lost = {key for camera in cameras for key, empty in _FACTS.items() if getattr(camera, key) != empty}
    if lost:
        named = ", ".join(key for key in _FACTS if key in lost)
        notes.append(f"{holds.title} has no place for {named}: dropped")
    known = sorted(set(metadata) - {"units", "format", "schema", "calibration_id"})
    if known:
        notes.append(f"{holds.title} has no place for the rig's metadata ({', '.join(known)}): dropped")
    return tuple(notes)


def write_new(path: Path, text: str | bytes) -> None:
    """Write a file that is not there yet.

    Raises:
        ConfigError: It is there, or cannot be written.
    """
    data = text.encode() if isinstance(text, str) else text
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise ConfigError(path, "exists, and a rig file is never overwritten", "give another name") from None
    except OSError as error:
        raise ConfigError(path, f"cannot be written: {error.strerror}", "check the folder") from None


def new_folder(path: Path) -> None:
    """Make a folder that is not there yet, or take an empty one.

    Raises:
        ConfigError: It holds something, or cannot be made.
    """
    try:
        path.mkdir(exist_ok=True)
        full = any(path.iterdir())
    except OSError as error:
        raise ConfigError(path, f"cannot be made: {error.strerror}", "give a folder that may be written") from None
    if full:
        raise ConfigError(path, "is not empty, and a rig is never overwritten", "give another folder")


def by_file_name(cameras: Sequence[Camera], holds: Holds) -> tuple[str, ...]:
    """A line where a folder with one file a camera changes their order."""
    names = [camera.name for camera in cameras]
    if names == sorted(names):
        return ()
    return (f"{holds.title} orders cameras by their file names: {', '.join(sorted(names))}",)
