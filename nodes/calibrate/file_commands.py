"""Commands that make one file from what is known: a board to print, another format, a world on the floor.

Bodies import what they need when they run, so that help answers at once.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nodes.calibrate.options import (
    BOARD_WORDS,
    Cameras,
    Fits,
    Json,
    Quiet,
    UnitsOption,
    WriteBad,
    end,
    size_of,
)


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

    end(body)


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

        pixels = None if size is None else size_of(size)
        return run(
            source, to, format=format, to_format=to_format, units=units.value if units else None, size=pixels,
            upright=upright, pick=pick, exact=exact, write_bad=write_bad, json=json,
        )  # fmt: skip

    end(body)


class Rescale(StrEnum):
    """What becomes of a rig's scale when its world is set."""

    auto = "auto"
    keep = "keep"
    set = "set"


class Face(StrEnum):
    """Which side of a board is visible from above."""

    up = "up"
    down = "down"


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

    end(body)
