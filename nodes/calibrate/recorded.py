"""A recorded session as a film: its own videos, or the files that it refers to."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from capture.session import SessionReader
from capture.views import View
from nodes.calibrate.film import Film, Reel
from nodes.calibrate.picture_files import VIDEOS
from rigpose.errors import ConfigError, RigposeError


def film_of_session(path: Path) -> Film:
    """The pictures of a session; frames of one tick belong together, else those nearest in time.

    Raises:
        RigposeError: It holds no pictures, or its files are gone.
    """
    session = SessionReader(path)
    stamps: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for stamp in session.stamps():
        if stamp.get("video_file") is not None and stamp.get("video_frame_index") is not None:
            stamps[str(stamp["camera"])].append(stamp)
    if not stamps:
        raise RigposeError(path, "holds no pictures", "record with the cameras' pictures, not poses alone")
    views = _views(session.info.config)
    reels, positions = [], []
    for camera, some in stamps.items():
        reel, places = _reel(session.path, camera, some, views.get(camera))
        reels.append(reel)
        positions.append(places)
    index, times, numbers, how = _match(list(stamps.values()), positions)
    return Film(str(path), tuple(reels), index, times, numbers, how)


def _views(config: dict[str, Any]) -> dict[str, View]:
    """The part of its source's picture that each camera is."""
    found = {}
    for section in (config.get("cameras") or {}).values():
        for name, view in (section.get("views") or {}).items():
            found[name] = View.model_validate(view)
    return found


def _reel(folder: Path, camera: str, stamps: list[dict[str, Any]], view: View | None) -> tuple[Reel, list[int]]:
    """A camera's reel, and the picture in it of each stamp."""
    files: dict[Path, None] = {}
    for stamp in stamps:
        file = Path(str(stamp["video_file"]))
        files[file if file.is_absolute() else folder / file] = None
    for file in files:
        if not file.is_file():
            raise ConfigError(file, f"the pictures of camera {camera} are gone", "put the file back")
    own = all(file.parent == folder for file in files)
    size = (int(stamps[0]["size"][0]), int(stamps[0]["size"][1]))
    # What the session recorded itself was cut out already, and padded where a side was odd.
    view = View(region=(0, 0, *size)) if own else None if view == View() else view
    if len(files) == 1 and next(iter(files)).suffix.lower() in VIDEOS:
        video = next(iter(files))
        n = max(int(stamp["video_frame_index"]) for stamp in stamps) + 1
        return Reel(camera, (video,), True, size, n, None, view), [int(s["video_frame_index"]) for s in stamps]
    if any(file.suffix.lower() in VIDEOS for file in files):
        raise ConfigError(folder, f"camera {camera} has several videos", "calibrate from one of them, by --camera")
    order = {file: place for place, file in enumerate(files)}
    places = []
    for stamp in stamps:
        file = Path(str(stamp["video_file"]))
        places.append(order[file if file.is_absolute() else folder / file])
    return Reel(camera, tuple(files), False, size, len(files), None, view), places


def _match(
    stamps: list[list[dict[str, Any]]], positions: list[list[int]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    if all(stamp.get("tick") is not None for some in stamps for stamp in some):
        keys = [[int(stamp["tick"]) for stamp in some] for some in stamps]
        how = "the session's ticks"
    else:
        keys = _nearest([[int(stamp["exposed_ns"]) for stamp in some] for some in stamps])
        how = "the session's exposure times"
    every = sorted({key for some in keys for key in some})
    place = {key: f for f, key in enumerate(every)}
    index = np.full((len(stamps), len(every)), -1)
    times = np.full(index.shape, np.nan)
    start = min(int(stamp["exposed_ns"]) for some in stamps for stamp in some)
    for v, some in enumerate(keys):
        for key, position, stamp in zip(some, positions[v], stamps[v], strict=True):
            index[v, place[key]] = position
            times[v, place[key]] = (int(stamp["exposed_ns"]) - start) / 1e9
    return index, times, np.array(every), how


def _nearest(times_ns: list[list[int]]) -> list[list[int]]:
    base = np.sort(np.array(max(times_ns, key=len), dtype=np.int64))
    half = float(np.median(np.diff(base))) / 2 if len(base) > 1 else np.inf
    lone = len(base)
    keys: list[list[int]] = []
    for some in times_ns:
        mine: list[int] = []
        taken: set[int] = set()
        for time in some:
            at = int(np.clip(np.searchsorted(base, time), 1, max(1, len(base) - 1)))
            near = min((k for k in (at - 1, at) if k < len(base)), key=lambda k: abs(int(base[k]) - time))
            if abs(int(base[near]) - time) > half or near in taken:
                near, lone = lone, lone + 1
            taken.add(near)
            mine.append(near)
        keys.append(mine)
    return keys
