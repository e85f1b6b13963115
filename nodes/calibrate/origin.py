"""`rigpose calibrate origin`: the world of a rig on the floor, or its scale, in a new file that names its parent."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from calib.boards import read_board
from calib.convert import read_any
from calib.observations import load_views
from calib.origin import from_board
from calib.origin_points import NamedPoint, from_lengths, from_points
from calib.rig import Rig, write_rig
from calib.world import Placed, Scale
from nodes.calibrate.check import fitted
from nodes.calibrate.solve import check_free, named_cameras
from rigpose.errors import ConfigError, ExitCode

_MOST_BYTES = 4 * 1024**2


def run(
    file: Path,
    to: Path,
    *,
    board: str | None = None,
    pictures: str | None = None,
    cameras: Sequence[str] = (),
    moment: int | None = None,
    points: Path | None = None,
    lengths: Sequence[str] = (),
    units: str | None = None,
    fits: Sequence[str] = (),
    scale: Scale | None = None,
    face: Literal["up", "down"] = "up",
    middle: bool = False,
    thickness_mm: float = 0.0,
    transparent_floor: bool = False,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Set the world of a rig and write it.

    Args:
        file: The rig.
        to: The new rig file.
        board: One that lies on the floor; with pictures of it, or kept views.
        pictures: As for `find_film`, or kept views (.npz).
        cameras: ``NAME=PATH`` options in its place.
        moment: The frame in which it lies there; default: all that are given.
        points: A YAML or JSON file of named points; see `read_points`.
        lengths: ``A:B:MM``: the distance between two named points, or cameras.
        units: Of the rig file.
        fits: How pictures of another size belong to the rig.
        scale: keep, set or auto; by default ``set`` for lengths, else ``auto``.
        face: Which way the print faces.
        middle: The origin is in the board's middle, not at its first point.
        thickness_mm: How high the print lies above the floor.
        transparent_floor: Cameras below the floor are meant to be there.
        json: Print JSON.
        quiet: No progress bar.

    Raises:
        ConfigError: Something is missing or does not fit.
        VerdictError: Cameras would stand below the floor.
    """
    check_free(to)
    rig = read_any(file, None, units).rig
    named = read_points(points) if points is not None else []
    if board is not None:
        seen = _seen(rig, board, pictures, cameras, moment, fits, quiet)
        rig, px, target_mm = seen
        at: Literal["corner", "middle"] = "middle" if middle else "corner"
        placed = from_board(
            rig, px, target_mm, thickness_mm=thickness_mm, face=face, at=at, scale=scale or "auto",
            transparent_floor=transparent_floor,
        )  # fmt: skip
        if lengths:
            raise ConfigError("--length", "stands beside --board, and both tell the scale", "give one of them")
    elif named and not lengths:
        placed = from_points(rig, named, scale=scale or "auto", transparent_floor=transparent_floor)
    elif lengths:
        placed = from_lengths(rig, named, [_length(text) for text in lengths], scale=scale or "set")
        if any(point.name == "origin" for point in named):
            onto = from_points(placed.rig, named, scale="keep", transparent_floor=transparent_floor)
            # Two steps, one parent: the file in between was never written.
            metadata = {**onto.rig.metadata, "parent": rig.calibration_id}
            metadata["origin"] = {**metadata["origin"], "scale": placed.scale, "lengths": placed.how}
            placed = Placed(
                Rig(onto.rig.cameras, metadata), f"{onto.how}; {placed.how}", onto.residual_px, onto.residual_mm,
                placed.scale, placed.scale_seen, placed.scale_deviation, onto.heights_mm, onto.notes,
            )  # fmt: skip
    else:
        raise ConfigError("origin", "nothing says where the floor is", "give --board, --points or --length")
    write_rig(placed.rig, to)
    if json:
        print(json_module.dumps(_document(placed, to), indent=2))
    else:
        _say(placed, to)
    return int(ExitCode.OK)


def read_points(path: Path) -> list[NamedPoint]:
    """Named points from a YAML or JSON file.

    Each name maps cameras to px, and ``world_mm`` to a position where it is known::

        origin: {cam1: [512.0, 700.5], cam2: [410.0, 655.0]}
        x:      {cam1: [812.0, 690.0], cam2: [700.0, 660.0]}
        pole:   {cam1: [512.0, 100.0], cam2: [415.0, 90.0], world_mm: [0, 0, 1800]}

    Raises:
        ConfigError: It cannot be read, or a value is no position; names the point.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(path, "is too large for a few named points", "give one that a person wrote")
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(path, "no such file", "check --points") from None
    except OSError as error:
        raise ConfigError(path, f"cannot be read: {error.strerror}", "check --points") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(path, f"is neither YAML nor JSON: {error}", "mend that line") from None
    if isinstance(document, dict) and isinstance(document.get("points"), dict):
        document = document["points"]
    if not isinstance(document, dict) or not document:
        raise ConfigError(path, "names no points", "as in origin: {cam1: [512, 700], cam2: [410, 655]}")
    return [_point(path, str(name), value) for name, value in document.items()]


def _point(path: Path, name: str, value: Any) -> NamedPoint:
    where = f"{path}: point {name}"
    if not isinstance(value, dict):
        raise ConfigError(where, "has no cameras", "as in {cam1: [512, 700], cam2: [410, 655]}")
    world = value.get("world_mm")
    px = {str(camera): _numbers(where, str(camera), at, 2) for camera, at in value.items() if camera != "world_mm"}
    position = None if world is None else _numbers(where, "world_mm", world, 3)
    return NamedPoint(
        name,
        {camera: (at[0], at[1]) for camera, at in px.items()},
        None if position is None else (position[0], position[1], position[2]),
    )


def _numbers(where: str, key: str, value: Any, count: int) -> list[float]:
    try:
        numbers = [float(one) for one in value]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ConfigError(where, f"{key} is not {count} numbers", "px as [x, y], world_mm as [x, y, z]")
    return numbers


def _length(text: str) -> tuple[str, str, float]:
    a, colon, rest = text.partition(":")
    b, colon, mm = rest.rpartition(":")
    try:
        value = float(mm)
    except ValueError:
        value = float("nan")
    if not (a and b and value > 0 and np.isfinite(value)):
        raise ConfigError(f"--length {text}", "is not two names and mm", "as in --length a:b:1000")
    return a, b, value


def _seen(
    rig: Rig,
    board: str,
    pictures: str | None,
    cameras: Sequence[str],
    moment: int | None,
    fits: Sequence[str],
    quiet: bool,
) -> tuple[Rig, np.ndarray, np.ndarray]:
    """The rig for these pictures, px (V, F, N, 2) in its order, and the board's points."""
    wanted = read_board(board)
    if wanted.ambiguous:
        what = f"{wanted.name} looks the same turned by 180 degrees, and with it x and y"
        raise ConfigError("--board", what, "lay a board with an odd and an even side, or a ChArUco board")
    if pictures is not None and pictures.lower().endswith(".npz"):
        views = load_views(pictures)
        if views.board and views.board != wanted.name:
            what = f"holds views of {views.board}, not of {wanted.name}"
            raise ConfigError(pictures, what, f"give --board {views.board}")
    else:
        from nodes.calibrate.detecting import detect_film
        from nodes.calibrate.pictures import find_film

        film = find_film(pictures, named_cameras(cameras), None, rig.names)
        views = detect_film(film, wanted, look_at=200, quiet=quiet)
    if moment is not None:
        if moment not in views.frames:
            what = f"{wanted.name} was not found in frame {moment}"
            raise ConfigError(pictures or "pictures", what, f"it was in {_some(views.frames)}")
        views = views.select(views.frames == moment)
    if not len(views.frames):
        what = f"{wanted.name} was found in no picture"
        raise ConfigError(pictures or "pictures", what, "rigpose calibrate doctor says what was printed")
    rig, _ = fitted(rig, dict(zip(views.names, views.sizes, strict=True)), fits)
    for name, size in zip(views.names, views.sizes, strict=True):
        if name in rig.names and min(rig[name].size) > 0 and rig[name].size != size:
            stated = rig[name].size
            what = f"its pictures are {size[0]}x{size[1]}, the rig is calibrated for {stated[0]}x{stated[1]}"
            raise ConfigError(f"camera {name}", what, f"--fit {name}=crop|scale|letterbox")
    px = np.full((len(rig), *views.px.shape[1:]), np.nan)
    for v, name in enumerate(rig.names):
        if name in views.names:
            px[v] = views.px[views.names.index(name)]
    return rig, px, views.target_mm


def _some(frames: np.ndarray) -> str:
    told = ", ".join(str(f) for f in frames[:8])
    return told + (" ..." if len(frames) > 8 else "")


def _plain(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _document(placed: Placed, to: Path) -> dict[str, Any]:
    return {
        "rig": str(to),
        "calibration_id": placed.rig.calibration_id,
        "parent": placed.rig.metadata["parent"],
        "world": placed.rig.metadata.get("world"),
        "how": placed.how,
        "residual_px": _plain(placed.residual_px),
        "residual_mm": _plain(placed.residual_mm),
        "scale": placed.scale,
        "scale_seen": _plain(placed.scale_seen),
        "scale_deviation": _plain(placed.scale_deviation),
        "heights_mm": {name: _plain(height) for name, height in placed.heights_mm.items()},
        "notes": list(placed.notes),
    }


def _say(placed: Placed, to: Path) -> None:
    print(f"{to}: written, from {placed.how} (parent {placed.rig.metadata['parent']})")
    if np.isfinite(placed.residual_px):
        mm = f", {placed.residual_mm:.1f} mm" if np.isfinite(placed.residual_mm) else ""
        print(f"  residual: {placed.residual_px:.2f} px{mm} in the median")
    if placed.scale != 1:
        print(f"  lengths were multiplied by {placed.scale:.6g}")
    elif np.isfinite(placed.scale_seen):
        spread = f" +- {100 * placed.scale_deviation:.2f}" if np.isfinite(placed.scale_deviation) else ""
        print(f"  the scale was kept; what is known says {100 * (placed.scale_seen - 1):+.2f}{spread} %")
    if placed.heights_mm:
        print("  height above the floor in mm: " + ", ".join(f"{n} {h:.0f}" for n, h in placed.heights_mm.items()))
    for note in placed.notes:
        print(f"  {note}")
