"""Options that several commands of `rigpose calibrate` take, and how a command ends."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

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


def end(body: Callable[[], int | None]) -> NoReturn:
    """Run a command's body and end with its exit code; errors become one line."""
    from rigpose.program import guarded

    raise typer.Exit(guarded(body))


def size_of(text: str) -> tuple[int, int]:
    """(width, height) of ``--size``.

    Raises:
        ConfigError: It is none.
    """
    from rigpose.errors import ConfigError

    width, x, height = text.partition("x")
    if not (x and width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise ConfigError(f"--size {text}", "is not a picture's width and height", "for example --size 1280x1024")
    return int(width), int(height)
