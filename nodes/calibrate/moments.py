"""Which pictures of several cameras were taken at one moment."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nodes.calibrate.film import Reel
from rigpose.errors import ConfigError

_COLUMNS = {
    "sync": ("sync_index", "sync", "moment", "tick", "set"),
    "camera": ("cam_id", "camera", "cam", "port", "cam_name", "name"),
    "frame": ("frame_index", "frame", "frame_number", "frame_id"),
    "time": ("frame_time", "time_s", "time", "timestamp"),
}


@dataclass(frozen=True, slots=True)
class Match:
    """What belongs together; the attributes are those of ``Film``."""

    index: np.ndarray
    times_s: np.ndarray
    numbers: np.ndarray
    how: str
    notes: tuple[str, ...] = ()


def match(reels: Sequence[Reel], timestamps: Path | None = None) -> Match:
    """The moments of some reels: by a table, by the numbers of their frames or by those in their file names.

    Raises:
        ConfigError: The table is wrong, or images have no numbers that tell which belong together.
    """
    if timestamps is not None:
        return _by_table(reels, timestamps)
    if len(reels) == 1:
        return Match(np.arange(reels[0].n)[None], _times(reels), np.arange(reels[0].n), "one camera")
    if all(reel.is_video for reel in reels):
        return _by_frame(reels)
    if any(reel.is_video for reel in reels):
        kinds = ", ".join(f"{reel.camera}: {'a video' if reel.is_video else 'images'}" for reel in reels)
        raise ConfigError("pictures", f"some cameras have videos and some images ({kinds})", "give --timestamps FILE")
    return _by_name(reels)


def _times(reels: Sequence[Reel]) -> np.ndarray:
    n = max(reel.n for reel in reels)
    times = np.full((len(reels), n), np.nan)
    for v, reel in enumerate(reels):
        if reel.rate:
            times[v, : reel.n] = np.arange(reel.n) / reel.rate
    return times


def _by_frame(reels: Sequence[Reel]) -> Match:
    counts = [reel.n for reel in reels]
    index = np.full((len(reels), max(counts)), -1)
    for v, n in enumerate(counts):
        index[v, :n] = np.arange(n)
    notes = []
    if len(set(counts)) > 1:
        told = ", ".join(f"{reel.camera} {reel.n}" for reel in reels)
        notes.append(
            f"the videos have different numbers of frames ({told}): where one lost frames in between, "
            "equal numbers are different moments; rigpose calibrate doctor estimates the offset"
        )
    rates = sorted({round(reel.rate, 2) for reel in reels if reel.rate})
    if len(rates) > 1:
        notes.append(f"the videos have different rates ({', '.join(f'{rate:g}' for rate in rates)} frames per second)")
    return Match(index, _times(reels), np.arange(max(counts)), "equal frame numbers", tuple(notes))


def _by_name(reels: Sequence[Reel]) -> Match:
    """By the last number in the file name; by order where those do not tell and the counts are equal."""
    keys = [_numbers(reel) for reel in reels]
    if all(keys):
        common = set.intersection(*(set(key) for key in keys if key))
        every = sorted(set().union(*(key for key in keys if key)))
        if common or len({reel.n for reel in reels}) > 1:
            index = np.array([[key.get(number, -1) for number in every] for key in keys if key])
            lone = sum(1 for number in every if sum(number in key for key in keys if key) < 2)
            notes = (f"{lone} of {len(every)} numbers stand in the file names of one camera only",) if lone else ()
            if not common and lone == len(every):
                raise _unmatched(reels)
            return Match(index, np.full(index.shape, np.nan), np.array(every), "equal numbers in file names", notes)
    if len({reel.n for reel in reels}) > 1:
        raise _unmatched(reels)
    index = np.tile(np.arange(reels[0].n), (len(reels), 1))
    notes = ("no numbers in the file names tell which images were taken together, so the first ones were, and so on",)
    return Match(index, np.full(index.shape, np.nan), index[0], "the order of file names", notes)


def _unmatched(reels: Sequence[Reel]) -> ConfigError:
    told = ", ".join(f"{reel.camera}: {reel.n}, {reel.files[0].name} ..." for reel in reels)
    return ConfigError(
        str(reels[0].files[0].parent),
        f"no numbers in the file names tell which images belong together ({told})",
        "number them alike, or give --timestamps FILE",
    )


def _numbers(reel: Reel) -> dict[int, int] | None:
    """The position of each image by the number in its name; ``None`` where no number differs in all of them."""
    found = [[int(word) for word in re.findall(r"\d+", file.stem)] for file in reel.files]
    shortest = min((len(words) for words in found), default=0)
    for place in range(1, shortest + 1):
        values = [words[-place] for words in found]
        if len(set(values)) == len(values):
            return {value: position for position, value in enumerate(values)}
    return None


# ---------------------------------------------------------------------- a table


def _by_table(reels: Sequence[Reel], path: Path) -> Match:
    rows, has = _read(path)
    by_camera: dict[int, list[dict[str, float]]] = defaultdict(list)
    names = _cameras(path, {str(row["camera"]) for row in rows}, reels)
    for row in rows:
        v = names.get(str(row["camera"]))
        if v is not None:
            by_camera[v].append({key: float(row[key]) for key in has})
    for v, reel in enumerate(reels):
        if not by_camera[v]:
            known = ", ".join(sorted({str(row["camera"]) for row in rows}))
            raise ConfigError(path, f"has no row for camera {reel.camera} (it has {known})", "name the cameras alike")
    frames = {v: _frames(path, reels[v], by_camera[v], "frame" in has) for v in by_camera}
    if "sync" in has:
        keys = {v: [int(row["sync"]) for row in by_camera[v]] for v in by_camera}
        how = f"sync indices in {path.name}"
    else:
        keys = _grid(path, {v: [row["time"] for row in by_camera[v]] for v in by_camera})
        how = f"times in {path.name}"
    every = sorted({key for some in keys.values() for key in some})
    place = {key: f for f, key in enumerate(every)}
    index = np.full((len(reels), len(every)), -1)
    times = np.full(index.shape, np.nan)
    for v, some in keys.items():
        for key, frame, values in zip(some, frames[v], by_camera[v], strict=True):
            index[v, place[key]] = frame
            times[v, place[key]] = values.get("time", np.nan)
    return Match(index, times, np.array(every), how, _spread_note(times))


def _spread_note(times_s: np.ndarray) -> tuple[str, ...]:
    known = np.isfinite(times_s)
    several = known.sum(axis=0) > 1
    if not several.any():
        return ()
    some = times_s[:, several]
    spread_ms = 1e3 * (np.nanmax(some, axis=0) - np.nanmin(some, axis=0))
    return (
        f"within one moment the cameras' times differ by {np.median(spread_ms):.1f} ms in the median, "
        f"{np.percentile(spread_ms, 95):.1f} ms in the worst 5 %",
    )


def _read(path: Path) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = [name.strip().lower() for name in reader.fieldnames or ()]
            columns = {
                key: header.index(name)
                for key, known in _COLUMNS.items()
                if (name := next((name for name in known if name in header), None)) is not None
            }
            if "camera" not in columns or not {"sync", "time"} & columns.keys():
                raise ConfigError(
                    path,
                    f"has the columns {', '.join(header) or 'none'}",
                    "it needs camera, and sync_index or time_s (and frame_index)",
                )
            fields = list(reader.fieldnames or ())
            rows = [{key: (row[fields[at]] or "").strip() for key, at in columns.items()} for row in reader]
    except FileNotFoundError:
        raise ConfigError(path, "no such file", "check --timestamps") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(path, f"cannot be read as a table: {error}", "give a CSV file in UTF-8") from None
    numbers = tuple(key for key in ("sync", "frame", "time") if key in columns)
    for line, row in enumerate(rows, 2):
        for key in numbers:
            try:
                float(row[key])
            except ValueError:
                raise ConfigError(f"{path}, line {line}", f"{row[key]!r} is no number", "mend that line") from None
    if not rows:
        raise ConfigError(path, "has no rows", "give one for each picture")
    return rows, numbers


def _cameras(path: Path, ids: set[str], reels: Sequence[Reel]) -> dict[str, int]:
    """Which reel each name of the table is: the same name, or the only number in it."""
    found: dict[str, int] = {}
    for v, reel in enumerate(reels):
        numbers = {word.lstrip("0") or "0" for word in re.findall(r"\d+", reel.camera)}
        fits = [name for name in ids if name == reel.camera] or [
            name for name in ids if name.isdigit() and (name.lstrip("0") or "0") in numbers
        ]
        if len(fits) == 1 and fits[0] not in found:
            found[fits[0]] = v
    return found


def _frames(path: Path, reel: Reel, rows: list[dict[str, float]], numbered: bool) -> list[int]:
    """The picture of each row; a recorder may have begun to count before its file did."""
    if not numbered:
        order = np.argsort([row.get("sync", row.get("time", 0.0)) for row in rows], kind="stable")
        frames = np.empty(len(rows), int)
        frames[order] = np.arange(len(rows))
    else:
        frames = np.array([int(row["frame"]) for row in rows])
        if len(frames) == reel.n and len(np.unique(frames)) == len(frames):
            frames = np.argsort(np.argsort(frames))
        elif frames.max() >= reel.n and np.ptp(frames) < reel.n:
            frames = frames - frames.min()
    if frames.max() >= reel.n or frames.min() < 0:
        raise ConfigError(
            path,
            f"names frame {frames.max()} of camera {reel.camera}, which has {reel.n} ({reel})",
            "is it the table of these pictures?",
        )
    return [int(frame) for frame in frames]


def _grid(path: Path, times: dict[int, list[float]]) -> dict[int, list[int]]:
    """Moments from times alone: the nearest frame of the first camera, within half of its period."""
    longest = max(times, key=lambda v: len(times[v]))
    base = np.sort(np.array(times[longest]))
    if len(base) < 2 or not (np.diff(base) > 0).all():
        raise ConfigError(path, "has times that do not grow", "give sync_index, or times in seconds")
    half = float(np.median(np.diff(base))) / 2
    keys: dict[int, list[int]] = {}
    lone = len(base)
    for v, some in times.items():
        near = np.abs(np.array(some)[:, None] - base[None]).argmin(axis=1)
        keys[v] = []
        for time, key in zip(some, near, strict=True):
            fits = abs(time - base[key]) <= half and int(key) not in keys[v]
            keys[v].append(int(key) if fits else lone)
            lone += not fits
    return keys
