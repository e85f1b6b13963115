"""The report of a calibration: one HTML page that needs nothing beside itself, and the same as JSON."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from calib.boards import Board
from calib.camera import Camera
from calib.outcome import Outcome
from calib.rig import Rig, nearest_to_axes
from rigpose import __version__
from rigpose.errors import MissingError, RigposeError
from rigpose.extras import missing

MEANING = {
    "good": "Use it. What was not fitted agrees with it.",
    "suspect": "It can be used, but look at the reasons first.",
    "unverified": "Nothing speaks against it, but nothing that was not fitted speaks for it either.",
    "bad": "Do not use it: poses made with it would be wrong.",
}
MOST_RESIDUALS = 12_000
"""Points that a page draws; more make it slow and show nothing new."""
MOST_BOARDS = 40


@dataclass(frozen=True, slots=True)
class Context:
    """What the report says besides the outcome.

    Attributes:
        title: Heading.
        source: Where the pictures were.
        board: The board, where one was used.
        sizes: Picture sizes by camera.
        matched: How moments were found.
        notes: What else a reader should know.
        made: Further facts by name.
        placed: Whether the cameras have places in the world; lenses alone have none.
        parts: Further sections: ``title``, ``text`` and a ``table`` (head, rows) or a ``plot`` (traces, x, y).
    """

    title: str
    source: str = ""
    board: Board | None = None
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    matched: str = ""
    notes: Sequence[str] = ()
    made: Mapping[str, str] = field(default_factory=dict)
    placed: bool = True
    parts: Sequence[Mapping[str, Any]] = ()


def plotly_script() -> str:
    """The library that draws, as text.

    Raises:
        MissingError: The extra is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise missing("plotly") or MissingError("plotly", "is not installed") from None
    return str(get_plotlyjs())


def write_report(outcome: Outcome, path: Path, context: Context) -> None:
    """Write the page; an older one at that place is replaced.

    Raises:
        MissingError: The extra that draws is not installed.
        RigposeError: The file cannot be written.
    """
    write_page(page_data(outcome, context), path)


def write_page(data: Mapping[str, Any], path: Path) -> None:
    """Write a page that shows data as `page_data` gives it; raises as `write_report`."""
    here = Path(__file__).parent
    text = (here / "page.html").read_text(encoding="utf-8")
    # An end of the script inside of the data would end it.
    values = {
        "TITLE": str(data["title"]).replace("&", "&amp;").replace("<", "&lt;"),
        "PLOTLY": plotly_script(),
        "DATA": json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        "SCRIPT": (here / "page.js").read_text(encoding="utf-8"),
    }
    write_text(path, _filled(text, values))


def _filled(text: str, values: Mapping[str, str]) -> str:
    """The template with its places filled; what is filled in is not looked at again."""
    return re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], text)


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is whole or as it was.

    Raises:
        RigposeError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise RigposeError(path, f"cannot be written: {error.strerror}", "choose another place") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def page_data(outcome: Outcome, context: Context) -> dict[str, Any]:
    """What the page shows, as plain values."""
    document = outcome.document()
    document.pop("board_poses", None)
    sampled = ""
    if outcome.residuals is not None:
        document["residuals"], sampled = _residuals(outcome)
    names = [camera.name for camera in outcome.cameras]
    sizes = _sizes(outcome, context, names)
    made = {
        "pictures": context.source,
        "moments": context.matched,
        "board": outcome.board or (context.board.name if context.board else ""),
        "rig": outcome.rig.calibration_id if outcome.rig is not None else "none could be solved",
        "time": ", ".join(f"{step} {seconds:.2f} s" for step, seconds in outcome.seconds.items()),
        **context.made,
        "made by": f"rigpose {__version__}, OpenCV {cv2.__version__}, {time.strftime('%Y-%m-%d %H:%M %z')}",
    }
    numbers = f"{len(outcome.frames)} moments" if outcome.frames else ""
    subtitle = ", ".join(word for word in (context.source, f"{len(names)} cameras" if names else "", numbers) if word)
    return {
        "title": context.title,
        "subtitle": subtitle,
        "meaning": MEANING.get(outcome.verdict, ""),
        "outcome": document,
        "sizes": sizes,
        "sampled": sampled,
        "placed": context.placed,
        "scene": None
        if outcome.rig is None or not context.placed
        else scene_of(outcome.rig, outcome.board_poses, context.board),
        "moment_words": "moment (its number in the pictures)",
        "made": {key: value for key, value in made.items() if value},
        "notes": list(context.notes),
        "parts": [dict(part) for part in context.parts],
    }


def _sizes(outcome: Outcome, context: Context, names: Sequence[str]) -> list[tuple[int, int]]:
    known = dict(context.sizes)
    if outcome.rig is not None:
        known = {**{camera.name: camera.size for camera in outcome.rig.cameras}, **known}
    return [known.get(name, (1, 1)) for name in names]


def _residuals(outcome: Outcome) -> tuple[dict[str, Any], str]:
    """The residuals' columns, rounded; all rejected ones and a part of the others where there are many."""
    residuals = outcome.residuals
    assert residuals is not None
    which = np.arange(len(residuals.camera))
    sampled = ""
    if len(which) > MOST_RESIDUALS:
        rejected = which[~residuals.used][:MOST_RESIDUALS]
        used = which[residuals.used]
        some = np.random.default_rng(0).choice(used, min(len(used), MOST_RESIDUALS - len(rejected)), replace=False)
        which = np.sort(np.concatenate([rejected, some]))
        sampled = (
            f"Drawn are {len(some)} of {len(used)} used points, chosen at random, and {len(rejected)} rejected ones."
        )
    columns = {
        "camera": residuals.camera[which].tolist(),
        "frame": residuals.frame[which].tolist(),
        "point": residuals.point[which].tolist(),
        "px": np.round(residuals.px[which], 1).tolist(),
        "residual_px": np.round(residuals.residual_px[which], 3).tolist(),
        "used": residuals.used[which].tolist(),
    }
    return columns, sampled


# ---------------------------------------------------------------------- the rig in 3D


def scene_of(rig: Rig, board_poses: np.ndarray | None, board: Board | None) -> dict[str, Any]:
    """What the 3D view draws: pyramids, outlines of the board, and which way is up."""
    world = str(rig.metadata.get("world", ""))
    centers = np.stack([camera.center_mm for camera in rig.cameras])
    outlines = _outlines(board_poses, board)
    depth = 0.14 * _extent(rig, centers, outlines)
    cameras = [
        {"name": camera.name, "center": _rounded(camera.center_mm), "corners": _rounded(_corners(camera, depth))}
        for camera in rig.cameras
    ]
    on_floor = world == "floor"
    up = np.array([0.0, 0.0, 1.0]) if on_floor else mean_up(rig)
    where = f', in the world "{world}"' if world else ""
    where += "; z is up" if on_floor else "; up is the mean of the cameras' up, as the floor is not known yet"
    every = np.concatenate([centers, outlines.reshape(-1, 3)]) if len(outlines) else centers
    return {
        "world": where,
        "up": dict(zip("xyz", np.round(up, 6).tolist(), strict=True)),
        "eye": dict(zip("xyz", np.round(_eye(rig, up, every), 4).tolist(), strict=True)),
        # A little below the middle of the box, whose axes' titles hang out of it.
        "middle": dict(zip("xyz", np.round(-0.12 * up, 4).tolist(), strict=True)),
        "cameras": cameras,
        "boards": _rounded(outlines),
    }


def mean_up(rig: Rig) -> np.ndarray:
    """(3,) the mean direction of the pictures' up in the world; that of the first camera where they cancel."""
    up = -np.stack([camera.R[1] for camera in rig.cameras]).mean(axis=0)
    length = float(np.linalg.norm(up))
    return up / length if length > 0.2 else -rig.cameras[0].R[1]


def _rounded(points: np.ndarray) -> list[Any]:
    return list(np.round(points, 2).tolist())


def _extent(rig: Rig, centers: np.ndarray, outlines: np.ndarray) -> float:
    """The size of the scene, mm."""
    points = np.concatenate([centers, outlines.reshape(-1, 3)]) if len(outlines) else centers
    size = float(np.linalg.norm(np.ptp(points, axis=0)))
    return size if size > 0 else rig.working[1]


def _corners(camera: Camera, depth_mm: float) -> np.ndarray:
    """(4, 3) where the rays of the picture's corners are at a depth; upper left first, clockwise."""
    w, h = camera.size if min(camera.size) > 0 else (2 * camera.K[0, 2], 2 * camera.K[1, 2])
    px = np.array([[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1]], float)
    normalised = camera.undistort(px)
    plain = (px - camera.K[:2, 2]) / camera.K[[0, 1], [0, 1]]
    # Without a ray at the very corner, and for fisheyes that look sideways, the pyramid is that of a pinhole.
    wrong = ~np.isfinite(normalised).all(axis=-1) | (np.abs(normalised).max(axis=-1) > 3)
    normalised = np.where(wrong[:, None], np.clip(plain, -3, 3), normalised)
    seen = np.concatenate([normalised, np.ones((4, 1))], axis=-1) * depth_mm
    return (seen - camera.t) @ camera.R


def _outlines(poses: np.ndarray | None, board: Board | None) -> np.ndarray:
    """(B, 4, 3) mm the board's outline at some moments."""
    if poses is None or board is None:
        return np.zeros((0, 4, 3))
    solved = poses[np.isfinite(poses).all(axis=-1)]
    picks = np.unique(np.linspace(0, len(solved) - 1, min(MOST_BOARDS, len(solved))).round().astype(int))
    flat = np.concatenate([board.outline_mm, np.zeros((4, 1))], axis=-1)
    return np.array([flat @ cv2.Rodrigues(pose[:3])[0].T + pose[3:] for pose in solved[picks]]).reshape(-1, 4, 3)


def _eye(rig: Rig, up: np.ndarray, points: np.ndarray) -> np.ndarray:
    """From where the view looks, in plotly's units: from behind the cameras, and above them."""
    centers = np.stack([camera.center_mm for camera in rig.cameras])
    target = nearest_to_axes(rig.cameras)
    if target is None:
        target = rig.working[0]
    back = centers.mean(axis=0) - target
    # A ring of cameras has no behind: then from between two of them.
    if np.linalg.norm(back) < 0.3 * rig.working[1]:
        back = (centers[0] + centers[min(1, len(centers) - 1)]) / 2 - target
    flat = back - (back @ up) * up
    length = float(np.linalg.norm(flat))
    flat = flat / length if length > 1e-6 else np.cross(up, [1.0, 0.0, 0.0] if abs(up[0]) < 0.9 else [0.0, 1.0, 0.0])
    side = np.cross(up, flat)
    eye = flat + 0.6 * side + 0.75 * up
    return 2.1 * eye / np.linalg.norm(eye)
