"""`rigpose calibrate timing`: how far apart in time cameras ran, and whether their recordings have one length."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from calib.boards import read_board
from calib.convert import read_any
from calib.motion import point_motion
from calib.quality import verdict_of
from calib.rig import Rig
from calib.timing import Timing, frame_counts
from calib.timing_motion import offsets
from calib.timing_rays import ray_offsets
from nodes.calibrate.film import Film
from nodes.calibrate.film_motion import LONGEST, signals
from nodes.calibrate.pictures import find_film
from nodes.calibrate.solve import named_cameras
from rigpose.errors import ConfigError, ExitCode


def run(
    source: str | None,
    *,
    cameras: Sequence[str] = (),
    timestamps: Path | None = None,
    rig: Path | None = None,
    units: str | None = None,
    board: str | None = None,
    reference: str | None = None,
    max_offset_s: float | None = None,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Estimate the offsets of a recording's cameras and print them.

    Args:
        source: See `find_film`.
        cameras: ``NAME=PATH`` options.
        timestamps: When frames were taken.
        rig: With ``board``: rays of its corners have to meet, which is far sharper than likeness of motion.
        units: Of the rig file.
        board: One that is moved in the recording; its corners are what is watched.
        reference: The camera that others are compared with; default: the first.
        max_offset_s: Offsets further from zero are not looked for; default: two seconds, and what the recordings
            differ in length by.
        json: Print JSON.
        quiet: No progress bar.

    Returns:
        4 where a camera is surely half a frame off or more, else 0.

    Raises:
        ConfigError: The recording cannot be used.
    """
    known = None if rig is None else read_any(rig, None, units).rig
    if known is not None and board is None:
        raise ConfigError("--rig", "tells nothing without points", "add --board, of one that is moved in the recording")
    film = find_film(source, named_cameras(cameras), timestamps, () if known is None else known.names)
    if len(film.reels) < 2:
        raise ConfigError(film.source, "is one camera", "give the recordings of two or more")
    counts = {reel.camera: reel.n for reel in film.reels if reel.is_video}
    findings = list(frame_counts(counts))
    reach = max_offset_s if max_offset_s is not None else _reach(film)
    timing = (
        offsets(signals(film), max_offset_s=reach, reference=reference)
        if board is None
        else _of_board(film, board, known, reach, reference, quiet)
    )
    findings += timing.findings()
    verdict = verdict_of(findings)
    if json:
        told = [{"level": f.level, "cameras": list(f.cameras), "what": f.what, "remedy": f.remedy} for f in findings]
        document = {"source": film.source, "frames": counts, **timing.document(), "findings": told}
        print(json_module.dumps({**document, "verdict": verdict.verdict}, indent=2))
    else:
        print(f"{film.source}: time against {timing.reference}, from {timing.source}")
        for offset in timing.offsets:
            n = counts.get(offset.camera)
            length = "" if n is None else f"; {n} frames"
            line = f"{offset.camera}: the reference" if offset.camera == timing.reference else str(offset)
            print(f"  {line}{length}")
        for finding in verdict.findings:
            if finding.level != "note":
                print(f"  {finding.level}: {finding}")
    return int(ExitCode.BAD_VERDICT if verdict.verdict == "bad" else ExitCode.OK)


def _reach(film: Film) -> float:
    lengths = [reel.n / reel.rate for reel in film.reels if reel.is_video and reel.rate]
    return 2.0 + (max(lengths) - min(lengths) if lengths else 0.0)


def _of_board(film: Film, board: str, rig: Rig | None, reach: float, reference: str | None, quiet: bool) -> Timing:
    from nodes.calibrate.detecting import detect_film

    if film.n_moments > LONGEST:
        # Neighbouring frames are needed, so the middle of the film and not a spread.
        first = (film.n_moments - LONGEST) // 2
        part = slice(first, first + LONGEST)
        film = Film(
            film.source, film.reels, film.index[:, part], film.times_s[:, part], film.numbers[part], film.matched
        )
    views = detect_film(film, read_board(board), quiet=quiet)
    if views.time_s is None or len(views.frames) < 12:
        raise ConfigError(film.source, f"{board} was found at {len(views.frames)} moments with times", "move it longer")
    if rig is not None:
        names = [name for name in rig.names if name in views.names]
        some = views.of(names)
        assert some.time_s is not None
        source = "board corners and the rig"
        return ray_offsets(
            rig.select(names), some.px, some.time_s, max_offset_s=reach, reference=reference, source=source
        )
    moving = []
    for v, name in enumerate(views.names):
        known = np.isfinite(views.time_s[v])
        moving.append(point_motion(name, views.time_s[v, known], views.px[v, known]))
    return offsets(moving, max_offset_s=reach, reference=reference, source="the speed of board corners")
