"""Commands that find lenses and places of cameras: intrinsics, extrinsics, all, refine.

Bodies import what they need when they run, so that help answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nodes.calibrate.options import (
    Board,
    Cameras,
    Data,
    Fits,
    Given,
    Json,
    KeepViews,
    LookAt,
    Models,
    Moments,
    NoCache,
    NoReport,
    Quiet,
    Report,
    Seconds,
    Source,
    Timestamps,
    UnitsOption,
    Workers,
    WriteBad,
    end,
)


def intrinsics(
    board: Board,
    source: Source = None,
    cameras: Cameras = None,
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The file to write.")] = Path("lenses.toml"),
    models: Models = None,
    look_at: LookAt = 1000,
    report: Report = None,
    no_report: NoReport = False,
    json: Json = False,
    write_bad: WriteBad = False,
    seconds: Seconds = None,
    data: Data = None,
    workers: Workers = None,
    no_cache: NoCache = False,
    keep_views: KeepViews = None,
    quiet: Quiet = False,
) -> None:
    """Find each camera's focal length and distortion.

    Cameras need not see the board at the same time. The file holds lenses only: give it to extrinsics or all.
    """

    def body() -> int:
        from nodes.calibrate import solve

        what = solve.Pictures(source, cameras or [], None, board, look_at, data, seconds, workers, not no_cache, quiet)
        out = solve.Out(to, report, no_report, json, write_bad, keep_views)
        return solve.intrinsics(what, out, models=models or [])

    end(body)


def extrinsics(
    board: Board,
    given: Annotated[
        Path, typer.Option("--given", metavar="RIG", help="A rig file whose intrinsics are known and held.")
    ],
    source: Source = None,
    cameras: Cameras = None,
    timestamps: Timestamps = None,
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The rig file to write.")] = Path("rig.toml"),
    units: UnitsOption = None,
    fits: Fits = None,
    moments: Moments = 150,
    look_at: LookAt = 1000,
    report: Report = None,
    no_report: NoReport = False,
    json: Json = False,
    write_bad: WriteBad = False,
    seconds: Seconds = None,
    data: Data = None,
    workers: Workers = None,
    no_cache: NoCache = False,
    keep_views: KeepViews = None,
    quiet: Quiet = False,
) -> None:
    """Find where cameras with known lenses stand.

    All cameras film the board at the same time; neighbours must see it together.
    """

    def body() -> int:
        from nodes.calibrate import solve

        what = solve.Pictures(
            source, cameras or [], timestamps, board, look_at, data, seconds, workers, not no_cache, quiet
        )
        out = solve.Out(to, report, no_report, json, write_bad, keep_views)
        known = solve.Known(given, units.value if units else None, fits or [])
        return solve.rig(what, out, known=known, models=[], moments=moments, title="Places of the cameras", hold=True)

    end(body)


def all_(
    board: Board,
    source: Source = None,
    cameras: Cameras = None,
    timestamps: Timestamps = None,
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The rig file to write.")] = Path("rig.toml"),
    given: Given = None,
    units: UnitsOption = None,
    fits: Fits = None,
    models: Models = None,
    moments: Moments = 150,
    look_at: LookAt = 1000,
    report: Report = None,
    no_report: NoReport = False,
    json: Json = False,
    write_bad: WriteBad = False,
    seconds: Seconds = None,
    data: Data = None,
    workers: Workers = None,
    no_cache: NoCache = False,
    keep_views: KeepViews = None,
    quiet: Quiet = False,
) -> None:
    """Turn board pictures into a rig file.

    Finds lenses and places, and says in a verdict and a report how far to trust them. Ends with 4 and writes no
    rig file when the verdict is bad.
    """

    def body() -> int:
        from nodes.calibrate import solve

        what = solve.Pictures(
            source, cameras or [], timestamps, board, look_at, data, seconds, workers, not no_cache, quiet
        )
        out = solve.Out(to, report, no_report, json, write_bad, keep_views)
        known = solve.Known(given, units.value if units else None, fits or []) if given else None
        return solve.rig(
            what, out, known=known, models=models or [], moments=moments, title="Calibration of the rig", hold=False
        )

    end(body)


def refine(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A recorded session with poses, the word running, or keypoints (.npz: cameras, px)."
        ),
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The new rig file.")] = Path("rig-refined.toml"),
    rig: Annotated[
        Path | None, typer.Option("--rig", metavar="FILE", help="The rig to refine; default: that of SOURCE.")
    ] = None,
    units: UnitsOption = None,
    confirm: Annotated[
        list[str] | None,
        typer.Option(
            "--confirm",
            metavar="SOURCE",
            help="What is not fitted and may confirm it: another network's session or keypoints, kept board views, "
            "scene points; repeatable.",
        ),
    ] = None,
    min_confidence: Annotated[
        float | None,
        typer.Option("--min-confidence", min=0.0, max=1.0, help="Of keypoints to use; default: the surer half."),
    ] = None,
    seconds: Annotated[float, typer.Option(metavar="S", min=1.0, help="How long to listen to a running rig.")] = 20.0,
    run_dir: Annotated[
        Path | None, typer.Option("--run-dir", metavar="DIR", help="Run directory of the rig; default: the latest.")
    ] = None,
    report: Report = None,
    no_report: NoReport = False,
    json: Json = False,
    write_bad: WriteBad = False,
    quiet: Quiet = False,
) -> None:
    """Solve the places of cameras anew from keypoints.

    The scale stays. What a network is wrong about looks like a camera that moved, so the verdict is unverified until
    something that was not fitted confirms it.
    """

    def body() -> int:
        from nodes.calibrate import solve
        from nodes.calibrate.refine import run

        out = solve.Out(to, report, no_report, json, write_bad)
        return run(
            source, out, rig_file=rig, units=units.value if units else None, confirm_with=confirm or [],
            min_confidence=min_confidence, seconds=seconds, run_dir=run_dir, quiet=quiet,
        )  # fmt: skip

    end(body)
