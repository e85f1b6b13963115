"""`rigpose calibrate check`: what is wrong with a rig file, by itself and by what was filmed with it."""

from __future__ import annotations

import json as json_module
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from calib.boards import read_board
from calib.check import Check, Keypoints, check, picture_sizes
from calib.convert import read_any
from calib.evidence import Evidence
from calib.fit import fit_camera
from calib.observations import BoardViews, load_views
from calib.quality import Finding, Verdict
from calib.rig import Rig
from calib.timing import Timing
from calib.timing_motion import offsets
from nodes.calibrate.solve import FITS, named_cameras, per_camera
from rigpose.errors import ConfigError, ExitCode

_IS_NO_CAMERA = re.compile(
    r"rotation|mirrored|quaternion|not finite|positive fx|distortion coefficients|stands there twice|has shape"
)
"""What readers say of numbers that describe no camera: a verdict on the file, not a mistake of the user."""


def run(
    file: Path,
    *,
    boards: str | None = None,
    board: str | None = None,
    keypoints: str | None = None,
    videos: str | None = None,
    cameras: Sequence[str] = (),
    timestamps: Path | None = None,
    format: str | None = None,
    units: str | None = None,
    size: tuple[int, int] | None = None,
    fits: Sequence[str] = (),
    floor: bool | None = None,
    timing: bool = True,
    look_at: int = 400,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Judge a rig file and print what was found.

    Args:
        file: Of any format that rigpose reads.
        boards: Where a board was filmed by this rig: as for `find_film`, or kept views (.npz).
        board: What was printed; needed with pictures.
        keypoints: A recorded session, ``running`` or an .npz with keypoints.
        videos: Recordings of the rig, for sizes, lengths and the time between cameras.
        cameras: ``NAME=PATH`` options, in place of ``boards`` or ``videos``.
        timestamps: Which frames belong together.
        format: Of the file; ``None`` = recognised.
        units: mm, cm or m, where the file does not say it.
        size: Of the pictures, where the file does not say it.
        fits: ``crop``, ``scale`` or ``letterbox``, or ``NAME=HOW``: how pictures of another size belong to the rig.
        floor: Whether the world's z = 0 is the floor; ``None`` = as the file says.
        timing: Estimate the time between cameras from ``videos``.
        look_at: Moments in which the board is looked for.
        json: Print JSON.
        quiet: No progress bar.

    Returns:
        4 where the verdict is bad, else 0.

    Raises:
        ConfigError: The file or what stands beside it cannot be read.
    """
    try:
        rig = read_any(file, format, units, size=size).rig
    except ConfigError as error:
        if not _IS_NO_CAMERA.search(error.what):
            raise
        return _no_rig(file, error, json)
    views = sizes = counts = None
    timings: list[Timing] = []
    notes: list[str] = []
    if boards is not None or (board is not None and cameras and videos is None):
        views, notes = _views(rig, boards, board, cameras if boards is None else (), timestamps, look_at, quiet)
    if videos is not None or (cameras and views is None):
        sizes, counts, timings, notes = _film(rig, videos, cameras if videos is None else (), timestamps, timing)
    filmed = dict(sizes or {})
    if views is not None:
        filmed |= dict(zip(views.names, views.sizes, strict=True))
    rig, unfit = fitted(rig, filmed, fits)
    seen = None
    if keypoints is not None:
        rig, seen = _keypoints(rig, keypoints, filmed)
    found = check(
        rig,
        boards=views,
        keypoints=seen,
        sizes={name: size for name, size in (sizes or {}).items() if name not in unfit},
        counts=counts,
        timings=timings,
        floor=floor,
    )
    if json:
        print(json_module.dumps({"rig": str(file), "notes": notes, **found.document()}, indent=2))
    else:
        _say(file, found, notes)
    return int(ExitCode.BAD_VERDICT if found.verdict.verdict == "bad" else ExitCode.OK)


def _no_rig(file: Path, error: ConfigError, json: bool) -> int:
    """The verdict on a file whose numbers are no cameras."""
    where = error.where.removeprefix(str(file)).lstrip(":, ")
    finding = Finding("bad", (where,) if where else (), error.what, error.remedy or "calibrate again")
    if json:
        one = {"level": "bad", "cameras": list(finding.cameras), "what": finding.what, "remedy": finding.remedy}
        print(json_module.dumps({"rig": str(file), "verdict": "bad", "findings": [one]}, indent=2))
    else:
        print(f"{file}: bad")
        print(f"  bad: {finding}")
    return int(ExitCode.BAD_VERDICT)


def _views(
    rig: Rig,
    source: str | None,
    board: str | None,
    cameras: Sequence[str],
    timestamps: Path | None,
    look_at: int,
    quiet: bool,
) -> tuple[BoardViews, list[str]]:
    if source is not None and source.lower().endswith(".npz"):
        return load_views(source), []
    if board is None:
        raise ConfigError("--boards", "holds pictures, and nobody says of which board", "add --board")
    from nodes.calibrate.detecting import detect_film
    from nodes.calibrate.pictures import find_film

    film = find_film(source, named_cameras(cameras), timestamps, rig.names)
    views = detect_film(film, read_board(board), look_at=look_at, quiet=quiet)
    if not len(views.frames):
        what = f"{board} was found in none of its pictures"
        raise ConfigError(film.source, what, "rigpose calibrate doctor says what was printed")
    return views, list(film.notes)


def _film(
    rig: Rig, source: str | None, cameras: Sequence[str], timestamps: Path | None, timing: bool
) -> tuple[dict[str, tuple[int, int]], dict[str, int] | None, list[Timing], list[str]]:
    from nodes.calibrate.film_motion import signals
    from nodes.calibrate.pictures import find_film

    film = find_film(source, named_cameras(cameras), timestamps, rig.names)
    counts = {reel.camera: reel.n for reel in film.reels} if all(reel.is_video for reel in film.reels) else None
    notes = list(film.notes)
    timings = []
    if timing and len(film.reels) > 1:
        try:
            timings.append(offsets(signals(film)))
        except ConfigError as error:
            notes.append(f"time between cameras: not told ({error})")
    return film.sizes, counts, timings, notes


def fitted(rig: Rig, sizes: dict[str, tuple[int, int]], fits: Sequence[str]) -> tuple[Rig, set[str]]:
    """The rig for pictures of these sizes, where ``--fit`` says how they were made; and whose it says."""
    default, single = per_camera(fits, "--fit", FITS)
    unknown = [name for name in single if name not in rig.names]
    if unknown:
        raise ConfigError(f"--fit {unknown[0]}=...", "names no camera of the rig", f"they are {', '.join(rig.names)}")
    changed, done = [], set()
    for camera in rig.cameras:
        how = single.get(camera.name, default)
        size = sizes.get(camera.name)
        if how is not None and size is not None and min(camera.size) > 0 and size != camera.size:
            camera = fit_camera(camera, size, how)  # type: ignore[arg-type]
            done.add(camera.name)
        changed.append(camera)
    return (rig.with_cameras(changed), done) if done else (rig, done)


def _keypoints(rig: Rig, source: str, filmed: dict[str, tuple[int, int]]) -> tuple[Rig, Keypoints]:
    """The keypoints, and the rig for the pictures that they are in."""
    from nodes.calibrate.keypoints import sightings
    from nodes.calibrate.recorded_rig import RecordedRig

    seen = sightings(source)
    if seen.rig is not None:
        if seen.calibration is not None and not filmed:
            # The recording's config says how its pictures were made from the calibrated ones.
            rig = RecordedRig(seen.rig, seen.calibration).fitted(rig)
        # The pixels belong to the rig of the recording: where that had other sizes, this one is not for them.
        wrong = [
            f
            for f in picture_sizes(rig, {c.name: c.size for c in seen.rig.cameras if min(c.size) > 0})
            if f.level != "note"
        ]
        if wrong:
            raise ConfigError(source, f"camera {wrong[0]}", "give --fit, or a rig for these pictures")
    own = seen.of(rig.names)
    time_s = own.time_s if np.isfinite(own.time_s).all() and (np.diff(own.time_s) > 0).all() else None
    return rig, Keypoints(own.px, own.confidence, time_s)


def _say(file: Path, found: Check, notes: Sequence[str]) -> None:
    verdict: Verdict = found.verdict
    print(f"{file}: {verdict.verdict}")
    for note in notes:
        print(f"  {note}")
    for one in found.evidence:
        _say_evidence(one)
    for timing in found.timing:
        print(f"  time against {timing.reference}, from {timing.source}:")
        for offset in timing.offsets:
            if offset.camera != timing.reference:
                print(f"    {offset}")
    if not verdict.findings:
        print("  nothing is wrong that can be seen")
    for finding in verdict.findings:
        # What cannot be told stands with the times already.
        if not (found.timing and finding.level == "note" and "time offset" in finding.what):
            print(f"  {finding.level}: {finding}")


def _say_evidence(one: Evidence) -> None:
    kind = "board" if one.kind == "board" else "keypoints"
    print(f"  {kind}: {one.points} points that two cameras or more saw")
    told = ", ".join(f"{name} {value:.2f}" for name, value in one.median_px.items() if np.isfinite(value))
    if told:
        print(f"    median residual in px: {told}")
    if one.scale is not None and one.scale_deviation is not None:
        print(f"    its size in this rig: {100 * one.scale:.2f} +- {100 * one.scale_deviation:.2f} % of the true one")
