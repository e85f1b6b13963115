"""The commands of `rigpose calibrate`, and what they take.

Bodies import what they need when they run, so that help answers at once.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

HELP = "Calibrate the cameras of a rig, and judge, mend and convert calibrations."
EPILOG = "Example: rigpose calibrate all recordings/board --board charuco:7x5:60:45:4X4_250 --to rig.toml"
BOARD_WORDS = "As charuco:7x5:60:45:4X4_250, chessboard:9x6:30, aprilgrid:6x6:40:0.3 (mm), or a board file."


class Units(StrEnum):
    """Of a file that does not say them."""

    mm = "mm"
    cm = "cm"
    m = "m"


Source = Annotated[
    str | None,
    typer.Argument(
        metavar="SOURCE",
        help="A folder with one video or one sub-folder of images for each camera, a recorded session, a pattern such "
        "as boards/{camera}/*.png, a rig's YAML file (its cameras are started), or kept board views (.npz).",
    ),
]
Board = Annotated[str, typer.Option("--board", metavar="BOARD", help=BOARD_WORDS)]
Cameras = Annotated[
    list[str] | None,
    typer.Option(
        "--camera", metavar="NAME=PATH", help="The video or folder of one camera, in place of SOURCE; repeatable."
    ),
]
Timestamps = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A table of camera, sync_index or time_s, and frame_index; default: timestamps.csv beside the pictures, "
        "else equal frame numbers.",
    ),
]
Given = Annotated[
    Path | None, typer.Option("--given", metavar="RIG", help="A rig file whose intrinsics are known and held.")
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="pinhole5 (default), pinhole8 or fisheye; for one camera as cam3=fisheye; repeatable.",
    ),
]
Moments = Annotated[
    int, typer.Option(metavar="N", min=4, help="Moments to calibrate with, chosen for what they cover.")
]
LookAt = Annotated[
    int, typer.Option("--look-at", metavar="N", min=3, help="Moments in which the board is looked for, evenly spread.")
]
Report = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The report, an HTML page; default: beside the rig file.")
]
NoReport = Annotated[bool, typer.Option("--no-report", help="Write no report.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WriteBad = Annotated[bool, typer.Option("--write-bad", help="Write the file although the verdict is bad.")]
Seconds = Annotated[
    float | None,
    typer.Option(metavar="S", min=1.0, help="Of live cameras: film so long; default: until nothing lacks."),
]
Data = Annotated[Path | None, typer.Option(metavar="DIR", help="What ${data} in a rig's YAML file stands for.")]
Workers = Annotated[int | None, typer.Option(metavar="N", min=1, help="Processes that look for the board.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Look for the board anew in all pictures.")]
KeepViews = Annotated[
    Path | None, typer.Option("--keep-views", metavar="FILE", help="Keep what was seen of the board, as .npz.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no live table.")]
UnitsOption = Annotated[Units | None, typer.Option(help="Units of a rig file that does not say them.")]
Fits = Annotated[
    list[str] | None,
    typer.Option(
        "--fit",
        metavar="CAMERA=HOW",
        help="crop, scale or letterbox: how pictures of another size than the given rig's belong to it; repeatable.",
    ),
]


def _end(body: Callable[[], int | None]) -> NoReturn:
    from rigpose.program import guarded

    raise typer.Exit(guarded(body))


@app.command(epilog="Example: rigpose calibrate board charuco:7x5:30:22:4X4_250 --to board.pdf")
def board(
    board: Annotated[str, typer.Argument(metavar="BOARD", help=BOARD_WORDS)],
    to: Annotated[
        list[Path] | None, typer.Option("--to", metavar="FILE", help="PDF or PNG; repeatable; default: board.pdf.")
    ] = None,
    page: Annotated[
        str, typer.Option(metavar="PAGE", help="a4, a3, letter, ..., WIDTHxHEIGHT in mm, or auto = what it fits on.")
    ] = "auto",
    dpi: Annotated[int, typer.Option(min=50, max=2400, help="Of a PNG.")] = 300,
    json: Json = False,
) -> None:
    """Draw a board to print at true scale.

    It is exactly what the detector expects; print it without scaling and measure a square.
    """

    def body() -> int:
        from nodes.calibrate.board import run

        return run(board, to or [Path("board.pdf")], page, dpi, json)

    _end(body)


@app.command(
    epilog="Example: rigpose calibrate intrinsics recordings/lenses --board chessboard:9x6:30 --to lenses.toml"
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

    _end(body)


@app.command(
    epilog="Example: rigpose calibrate extrinsics boards --board charuco:7x5:60:45:4X4_250 --given lenses.toml"
)
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

    _end(body)


@app.command(name="all", epilog=EPILOG)
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

    _end(body)


@app.command(epilog="Example: rigpose calibrate doctor recordings/board --board charuco:7x5:60:45:4X4_250")
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

    _end(body)


@app.command(epilog="Example: rigpose calibrate convert Calib.qca.txt --to rig.toml")
def convert(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A camera file or folder of another program.")],
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="What to write; without it the file is only looked at.")
    ] = None,
    format: Annotated[
        str | None, typer.Option("--from", metavar="FORMAT", help="Of SOURCE; default: recognised.")
    ] = None,
    to_format: Annotated[
        str | None, typer.Option("--as", metavar="FORMAT", help="Of --to; default: by its suffix.")
    ] = None,
    units: UnitsOption = None,
    size: Annotated[
        str | None, typer.Option("--size", metavar="WxH", help="Of the pictures, where SOURCE does not say it.")
    ] = None,
    upright: Annotated[
        bool, typer.Option("--upright", help="The pictures were turned upright, as the source says.")
    ] = False,
    pick: Annotated[
        str | None, typer.Option("--pick", metavar="NAME", help="Which part of a source that holds several.")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Keep a skew and a far principal point, which live poses do not take.")
    ] = False,
    write_bad: WriteBad = False,
    json: Json = False,
) -> None:
    """Read or write camera files of other programs.

    An import is held against what else the source holds, where it holds something to reproject.
    """

    def body() -> int:
        from nodes.calibrate.convert import run

        pixels = None if size is None else _size(size)
        return run(
            source, to, format=format, to_format=to_format, units=units.value if units else None, size=pixels,
            upright=upright, pick=pick, exact=exact, write_bad=write_bad, json=json,
        )  # fmt: skip

    _end(body)


def _size(text: str) -> tuple[int, int]:
    from rigpose.errors import ConfigError

    width, x, height = text.partition("x")
    if not (x and width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise ConfigError(f"--size {text}", "is not a picture's width and height", "for example --size 1280x1024")
    return int(width), int(height)


@app.command(epilog="Example: rigpose calibrate refine recordings/mouse7 --to rig2.toml --confirm views.npz")
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
            min_confidence=min_confidence, seconds=seconds, run_dir=run_dir,
        )  # fmt: skip

    _end(body)


@app.command(epilog="Example: rigpose calibrate check rig.toml --boards recordings/board --board chessboard:9x6:30")
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
            size=None if size is None else _size(size), fits=fits or [], floor=floor, timing=not no_timing,
            look_at=look_at, json=json, quiet=quiet,
        )  # fmt: skip

    _end(body)


class Rescale(StrEnum):
    """What becomes of a rig's scale when its world is set."""

    auto = "auto"
    keep = "keep"
    set = "set"


class Face(StrEnum):
    """Which side of a board is visible from above."""

    up = "up"
    down = "down"


@app.command(epilog="Example: rigpose calibrate origin rig.toml --board charuco:7x5:60:45:4X4_250 --pictures floor")
def origin(
    file: Annotated[Path, typer.Argument(metavar="RIG", help="A rig file.")],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The new rig file.")] = Path("rig-floor.toml"),
    board: Annotated[
        str | None, typer.Option("--board", metavar="BOARD", help=f"One that lies on the floor. {BOARD_WORDS}")
    ] = None,
    pictures: Annotated[
        str | None, typer.Option("--pictures", metavar="SOURCE", help="Of it: as for all, or kept views (.npz).")
    ] = None,
    cameras: Cameras = None,
    moment: Annotated[
        int | None, typer.Option("--moment", metavar="N", help="The frame in which it lies there; default: all.")
    ] = None,
    points: Annotated[
        Path | None,
        typer.Option("--points", metavar="FILE", help="Named points by their px in two cameras or more (YAML)."),
    ] = None,
    lengths: Annotated[
        list[str] | None,
        typer.Option("--length", metavar="A:B:MM", help="A known distance between points or cameras; repeatable."),
    ] = None,
    units: UnitsOption = None,
    fits: Fits = None,
    scale: Annotated[
        Rescale | None,
        typer.Option(
            "--scale",
            help="The rig's own, what is known here, or what both agree on; default: auto, with --length set.",
        ),
    ] = None,
    face: Annotated[Face, typer.Option("--face", help="Which side of the board is seen from above.")] = Face.up,
    middle: Annotated[bool, typer.Option("--middle", help="Put the origin into the middle of the board.")] = False,
    thickness: Annotated[
        float, typer.Option("--thickness", metavar="MM", help="Of the board: the floor lies below it.")
    ] = 0.0,
    transparent_floor: Annotated[
        bool, typer.Option("--transparent-floor", help="Cameras may look up from below the floor.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Set the world on the floor.

    From a board that lies there, from named points, or from known lengths, into a new file that names its parent.
    """

    def body() -> int:
        from nodes.calibrate.origin import run

        return run(
            file, to, board=board, pictures=pictures, cameras=cameras or [], moment=moment, points=points,
            lengths=lengths or [], units=units.value if units else None, fits=fits or [],
            scale=scale.value if scale else None, face=face.value, middle=middle, thickness_mm=thickness,
            transparent_floor=transparent_floor, json=json, quiet=quiet,
        )  # fmt: skip

    _end(body)


@app.command(epilog="Example: rigpose calibrate timing recordings/mouse7")
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

    _end(body)


@app.command(epilog="Example: rigpose calibrate drift running --refine-to rig2.toml")
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

    _end(body)
