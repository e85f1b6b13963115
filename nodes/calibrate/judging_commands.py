"""Commands that judge boards, recordings and rigs, and write no rig unless asked to: doctor, check, timing, drift.

Bodies import what they need when they run, so that help answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nodes.calibrate.options import (
    BOARD_WORDS,
    Cameras,
    Fits,
    Json,
    LookAt,
    Quiet,
    Source,
    Timestamps,
    UnitsOption,
    end,
    size_of,
)


def doctor(
    source: Source = None,
    board: Annotated[
        str | None, typer.Option("--board", metavar="BOARD", help=f"What was printed. {BOARD_WORDS}")
    ] = None,
    cameras: Cameras = None,
    timestamps: Timestamps = None,
    pictures: Annotated[
        int, typer.Option(metavar="N", min=1, help="Pictures of each camera in which boards are tried.")
    ] = 24,
    no_timing: Annotated[bool, typer.Option("--no-timing", help="Do not estimate the time between cameras.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say why a board is not found.

    And whether the cameras ran at the same time, before anything is solved.
    """

    def body() -> int:
        from nodes.calibrate.doctor import run

        return run(source, cameras or [], timestamps, board, pictures, timing=not no_timing, json=json, quiet=quiet)

    end(body)


def check(
    file: Annotated[Path, typer.Argument(metavar="RIG", help="A camera file of any program that rigpose reads.")],
    boards: Annotated[
        str | None,
        typer.Option("--boards", metavar="SOURCE", help="Where this rig filmed a board: as for all, or kept views."),
    ] = None,
    board: Annotated[str | None, typer.Option("--board", metavar="BOARD", help=BOARD_WORDS)] = None,
    keypoints: Annotated[
        str | None,
        typer.Option("--keypoints", metavar="SOURCE", help="A recorded session with poses, running, or an .npz."),
    ] = None,
    videos: Annotated[
        str | None,
        typer.Option("--videos", metavar="SOURCE", help="Recordings of the rig: their sizes, lengths and timing."),
    ] = None,
    cameras: Cameras = None,
    timestamps: Timestamps = None,
    format: Annotated[
        str | None, typer.Option("--from", metavar="FORMAT", help="Of the file; default: recognised.")
    ] = None,
    units: UnitsOption = None,
    size: Annotated[
        str | None, typer.Option("--size", metavar="WxH", help="Of the pictures, where the file does not say it.")
    ] = None,
    fits: Fits = None,
    floor: Annotated[
        bool | None, typer.Option("--floor/--no-floor", help="Whether z is up from the floor; default: as it says.")
    ] = None,
    no_timing: Annotated[bool, typer.Option("--no-timing", help="Do not estimate the time between cameras.")] = False,
    look_at: LookAt = 400,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge any rig file.

    By itself, and by board pictures, keypoints or recordings where they are given. Ends with 4 when it is bad.
    """

    def body() -> int:
        from nodes.calibrate.check import run

        return run(
            file, boards=boards, board=board, keypoints=keypoints, videos=videos, cameras=cameras or [],
            timestamps=timestamps, format=format, units=units.value if units else None,
            size=None if size is None else size_of(size), fits=fits or [], floor=floor, timing=not no_timing,
            look_at=look_at, json=json, quiet=quiet,
        )  # fmt: skip

    end(body)


def timing(
    source: Source = None,
    cameras: Cameras = None,
    timestamps: Timestamps = None,
    rig: Annotated[
        Path | None, typer.Option("--rig", metavar="FILE", help="With --board: rays have to meet, which is sharper.")
    ] = None,
    units: UnitsOption = None,
    board: Annotated[
        str | None, typer.Option("--board", metavar="BOARD", help=f"One that is moved before them. {BOARD_WORDS}")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", metavar="CAMERA", help="Others are held against it; default: the first."),
    ] = None,
    max_offset: Annotated[
        float | None, typer.Option("--max-offset", metavar="S", min=0.01, help="Offsets beyond are not looked for.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Estimate the time between cameras.

    From what moves in their pictures, in ms with its uncertainty. Ends with 4 where one is surely half a frame off.
    """

    def body() -> int:
        from nodes.calibrate.timing import run

        return run(
            source, cameras=cameras or [], timestamps=timestamps, rig=rig, units=units.value if units else None,
            board=board, reference=reference, max_offset_s=max_offset, json=json, quiet=quiet,
        )  # fmt: skip

    end(body)


def drift(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="The word running, or a recorded session with poses.")
    ] = "running",
    rig: Annotated[Path | None, typer.Option("--rig", metavar="FILE", help="The rig; default: that of SOURCE.")] = None,
    units: UnitsOption = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="S", min=1.0, help="How long to watch; default: until Ctrl-C.")
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option("--run-dir", metavar="DIR", help="Run directory of the rig; default: the latest.")
    ] = None,
    window: Annotated[int, typer.Option(metavar="N", min=5, help="Poses that are judged together.")] = 60,
    learn: Annotated[int, typer.Option(metavar="N", min=2, help="Windows to learn from, while nothing moves.")] = 10,
    refine_to: Annotated[
        Path | None,
        typer.Option("--refine-to", metavar="FILE", help="Where a camera moved: refine from what was seen since."),
    ] = None,
    json: Json = False,
) -> None:
    """Watch whether a camera moves.

    From the residuals of the poses of a running rig or a recording: which camera, by how much, since when. Ends with 4
    when one moved.
    """

    def body() -> int:
        from nodes.calibrate import solve
        from nodes.calibrate.drift import run

        out = None if refine_to is None else solve.Out(refine_to, None, False, json, False)
        return run(
            source, rig_file=rig, units=units.value if units else None, seconds=seconds, run_dir=run_dir,
            window=window, learn=learn, refine=out, json=json,
        )  # fmt: skip

    end(body)
