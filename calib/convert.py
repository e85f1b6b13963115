"""Rigs from and to all camera formats: `read_any` and `write_any`.

An import tries its cameras on the points that the file holds, where it holds any; an export is read
again and held against the rig before it counts as written.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from calib import formats
from calib.camera import Camera
from calib.centre import centred
from calib.formats import tables
from calib.formats.found import Found, Reading, Views, sized
from calib.formats.text import read_toml
from calib.rig import Rig, rig_of_document, write_rig
from calib.skew import Deviation, without_skew
from calib.turn import turned
from rigpose.errors import ConfigError, RigposeError

TOLERANCE_PX = 1e-6
"""How far a camera that was written and read again may be off."""
MOST_POINTS = 50_000
"""Of the points in a file, so many are tried (evenly taken)."""


@dataclass(frozen=True, slots=True)
class Reprojection:
    """How near the cameras bring the file's own 3D points to its 2D points.

    Attributes:
        what: The points, for a person.
        n: How many were seen and tried.
        behind: How many more lie behind the camera that saw them.
        median_px: Of the distances.
        p95_px: Of the distances; ``None`` with fewer than 60 points.
        cameras: Median by camera name; ``None`` for one that sees none.
    """

    what: str
    n: int
    behind: int
    median_px: float
    p95_px: float | None
    cameras: dict[str, float | None]

    def __str__(self) -> str:
        tail = "" if self.p95_px is None else f", p95 {self.p95_px:.3g} px"
        return f"reprojection of {self.what}: median {self.median_px:.3g} px{tail} ({self.n} seen)"


@dataclass(frozen=True, slots=True)
class Imported:
    """A rig from a foreign file.

    Attributes:
        rig: In mm, metadata with ``imported_from``.
        format: The format's name.
        notes: One line each on what was decided or left out.
        check: The reprojection of the file's own points, where it holds any.
        views: These points, to try a changed rig on them as well.
    """

    rig: Rig
    format: str
    notes: tuple[str, ...]
    check: Reprojection | None
    views: Views | None = None


def format_of(path: Path) -> str:
    """The name of the format of a file or folder.

    Raises:
        ConfigError: None is recognised.
    """
    if path.suffix.lower() == ".toml":
        reader = formats.reader_of(read_toml(path))
        name = None if reader is None else next(n for n, m in formats.FORMATS.items() if m == reader.__name__[14:])
    elif not path.exists():
        raise ConfigError(path, "no such file or folder", "check the path")
    else:
        name = formats.format_at(path)
    if name is None:
        if path.suffix.lower() == ".cal":
            what = "is a calibration of OptiTrack's Motive, a closed binary format"
            raise ConfigError(path, what, "no program but Motive reads it: film a board and run rigpose calibrate all")
        raise ConfigError(path, "holds no cameras that rigpose can read", f"--from one of {', '.join(formats.FORMATS)}")
    return name


def read_any(
    path: str | Path,
    format: str | None = None,
    units: str | None = None,
    *,
    size: tuple[int, int] | None = None,
    upright: bool = False,
    pick: str | None = None,
) -> Imported:
    """The rig in any file or folder that rigpose knows.

    Args:
        path: A file, or a folder for formats of several files.
        format: Its name, as in `calib.formats.FORMATS`; ``None`` = recognised by its content.
        units: mm, cm or m, where the file does not say it or says it wrongly.
        size: (width, height) in px of the pictures, for formats that do not hold it.
        upright: The pictures were turned upright, as the file says.
        pick: Which part of a file that holds several.

    Raises:
        ConfigError: It cannot be read, is not known, or describes a camera that cannot be.
        MissingError: It is a MATLAB 7.3 file.
    """
    path = Path(path)
    name = format or format_of(path)
    if name not in formats.FORMATS:
        raise ConfigError("--from", f"{name!r} is not known", f"give one of {', '.join(formats.FORMATS)}")
    how = Reading(units=units, size=size, upright=upright, pick=pick)
    module = formats.module_of(name)
    if hasattr(module, "read_path"):
        found: Found = module.read_path(path, how)
        try:
            rig = Rig(found.cameras, dict(found.metadata))
        except ConfigError as error:
            raise ConfigError(path, f"{error.where} {error.what}", error.remedy) from None
    else:
        document = read_toml(path)
        if not module.matches(document):
            raise ConfigError(path, f"is no file of {name}", "leave --format out, or give the right one")
        rig, found = _of_toml(document, module, how, path)
    if name != "rigpose":
        rig = replace(rig, metadata={**rig.metadata, "imported_from": name})
    check = None if found.views is None else reproject(rig, found.views)
    return Imported(rig, name, found.notes, check, found.views)


def _of_toml(document: dict[str, Any], module: Any, how: Reading, path: Path) -> tuple[Rig, Found]:
    rig = rig_of_document(document, module, how.units, path)
    cameras, notes = sized(rig.cameras, how, str(path))
    if hasattr(module, "remarks"):
        notes += module.remarks(cameras)
    quarters = module.quarters(document) if hasattr(module, "quarters") else {}
    if quarters and how.upright:
        cameras = tuple(turned(camera, quarters.get(camera.name, 0)) for camera in cameras)
        notes += (f"pictures of {', '.join(quarters)} turned as rotation_count says",)
    elif quarters:
        notes += (f"rotation_count of {', '.join(quarters)}: read for the video as it is; --upright if it was turned",)
    mm = tables.millimetres_per(document, how.units, str(path), "")
    # Points of the video as it is: a turned camera does not see them there.
    turned_too = bool(quarters) and how.upright
    views = module.views(path, cameras, mm) if hasattr(module, "views") and not turned_too else None
    return rig.with_cameras(cameras), Found(cameras, {}, notes, views)


def reproject(rig: Rig, views: Views) -> Reprojection:
    """Try cameras on points that are known in 3D and in the pictures.

    Raises:
        ConfigError: No point was seen by any camera.
    """
    step = max(1, len(views.points_mm) // MOST_POINTS)
    points, px = views.points_mm[::step], views.px[:, ::step]
    seen = np.isfinite(px).all(axis=-1) & np.isfinite(points).all(axis=-1)
    projected = np.stack([camera.project(points) for camera in rig.cameras])
    off = np.where(seen, np.linalg.norm(projected - px, axis=-1), np.nan)
    tried = off[np.isfinite(off)]
    if not len(tried):
        raise ConfigError("the file's own points", "no camera sees any of them", "is the rotation the inverse?")
    medians = {
        camera.name: float(np.nanmedian(row)) if np.isfinite(row).any() else None
        for camera, row in zip(rig.cameras, off, strict=True)
    }
    p95 = float(np.percentile(tried, 95)) if len(tried) >= 60 else None
    return Reprojection(views.what, len(tried), int(seen.sum()) - len(tried), float(np.median(tried)), p95, medians)


def for_live_use(rig: Rig) -> tuple[Rig, tuple[str, ...]]:
    """The rig with lenses that all of rigpose, OpenCV and most formats know.

    A skew is replaced by the nearest lens without (`calib.skew`), a near-telecentric camera's principal
    point far from the middle by a turn (`calib.centre`); a line for each says how far that is off.
    """
    cameras: list[Camera] = []
    skews: dict[str, Deviation] = {}
    centres: dict[str, Deviation] = {}
    for camera in rig.cameras:
        nearest, off = without_skew(camera)
        if nearest is not camera:
            skews[camera.name] = off
        middle, off = centred(nearest)
        if middle is not nearest:
            centres[camera.name] = off
        cameras.append(middle)
    notes = _replaced("skew", "the nearest lens without", skews)
    notes += _replaced("principal point far from the middle", "the middle and a turn", centres)
    return rig.with_cameras(cameras), notes


def _replaced(what: str, by: str, off: dict[str, Deviation]) -> tuple[str, ...]:
    if not off:
        return ()
    worst = Deviation(max(each.median_px for each in off.values()), max(each.max_px for each in off.values()))
    return (f"{', '.join(off)}: {what} replaced by {by}, which {worst}",)


def format_for(path: Path) -> str:
    """The format that a name to write to asks for.

    Raises:
        ConfigError: Several could be meant.
    """
    name = path.name.lower()
    if name.endswith(".qca.txt"):
        return "qualisys"
    known = {".toml": "rigpose", ".mat": "label3d", ".xml": "opencv", ".pkl": "deepfly3d"}
    if path.suffix.lower() in known:
        return known[path.suffix.lower()]
    raise ConfigError(path, "does not say which format is meant", f"--as one of {', '.join(writable())}")


def writable() -> tuple[str, ...]:
    """Names of the formats that can be written."""
    return tuple(n for n in formats.FORMATS if n == "rigpose" or hasattr(formats.module_of(n), "write_path"))


def write_any(rig: Rig, path: str | Path, format: str | None = None) -> tuple[str, ...]:
    """Write a rig in any format, and read it again.

    Args:
        rig: What to write.
        path: A file that is not there yet, or a folder for formats of several files.
        format: Its name; ``None`` = by the path's suffix.

    Returns:
        One line for each thing that the format has no place for.

    Raises:
        ConfigError: The format cannot hold a lens of the rig, something stands there already, or what
            was written does not give the same cameras (it is removed then).
    """
    path = Path(path)
    name = format or format_for(path)
    if name not in writable():
        raise ConfigError("--as", f"{name!r} cannot be written", f"give one of {', '.join(writable())}")
    if name == "rigpose":
        write_rig(rig, path)
        return ()
    existed = path.exists()
    module = formats.module_of(name)
    notes: tuple[str, ...] = module.write_path(rig.cameras, rig.metadata, path)
    try:
        _held(rig, path, name, module.HOLDS.unit)
    except RigposeError:
        if path.is_dir():
            for file in path.iterdir():
                file.unlink()
            if not existed:
                shutil.rmtree(path)
        else:
            path.unlink()
        raise
    return notes


def _held(rig: Rig, path: Path, name: str, unit: str) -> None:
    """Hold what was written against the rig."""
    back = read_any(path, name, unit).rig.cameras
    if len(back) != len(rig):
        raise ConfigError(path, f"gives {len(back)} cameras when read again, not {len(rig)}", "write another format")
    by_name = {camera.name: camera for camera in back}
    for index, camera in enumerate(rig.cameras):
        again = by_name.get(camera.name, back[index])
        off = difference_px(camera, again)
        if not off <= TOLERANCE_PX:
            raise ConfigError(
                path, f"camera {camera.name} is off by {off:.2g} px when read again", "write another format"
            )


def difference_px(a: Camera, b: Camera) -> float:
    """Largest distance in px at which two cameras see points all over the picture of the first, near and far."""
    width, height = a.size if min(a.size) > 0 else 2 * a.K[:2, 2] + 1
    grid = np.stack(np.meshgrid(np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 9)), axis=-1).reshape(-1, 2)
    origin, rays = a.rays(grid)
    seen = np.isfinite(rays).all(axis=-1)
    reach = max(float(np.linalg.norm(a.t)), 100.0)
    points = origin + rays[seen, None] * reach * np.array([0.5, 1.0, 3.0])[:, None]
    return float(np.max(np.linalg.norm(a.project(points) - b.project(points), axis=-1), initial=0.0))
