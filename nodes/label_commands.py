"""The commands about pictures that a lab has labelled, in the order in which help lists them."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nodes.calibrate.options import end, size_of


class Predictions(StrEnum):
    """Whether points of a network count as labels."""

    alone = "alone"
    always = "always"
    never = "never"


class Device(StrEnum):
    """Where a network is trained."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class PixelOrigin(StrEnum):
    """Where a format counts pixels from."""

    centre = "centre"
    corner = "corner"


# What reading labels takes, wherever they are read.
PicturesOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where the videos or pictures are, if not where the labels say.")
]
CategoryOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Which one, of a COCO file with several; of DeepLabCut: single.")
]
PredictionsOption = Annotated[
    Predictions, typer.Option(help="Whether points that a network set count; alone: where there are no others.")
]
OriginOption = Annotated[
    PixelOrigin, typer.Option(help="What (0, 0) is of the first pixel, in COCO's and OpenPose's files.")
]


def labels(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A file of labels, or the folder or project that holds them.")
    ],
    pictures: PicturesOption = None,
    cameras: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Names in those of the files, by commas, or a pattern: 'run*_{camera}'."),
    ] = None,
    skeleton: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="OpenPose's: body25, body25b, coco18 or mpi15; of 3D poses a file or names."),
    ] = None,
    category: CategoryOption = None,
    predictions: PredictionsOption = Predictions.alone,
    origin: OriginOption = PixelOrigin.centre,
    format: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of 3D poses, where their content is not told.")
    ] = None,
    pick: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of 3D poses with several: a recording, a skeleton.")
    ] = None,
    rig: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The cameras: points of several become 3D poses.")
    ] = None,
    rig_units: Annotated[
        str | None, typer.Option(metavar="mm|cm|m", help="Of a rig file that does not say them.")
    ] = None,
    units: Annotated[str | None, typer.Option(metavar="mm|cm|m", help="Of 3D poses that do not say them.")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Of the pictures, where 3D poses have cameras without it.")
    ] = None,
    rate: Annotated[float | None, typer.Option(metavar="HZ", min=0, help="Frames a second of 3D poses.")] = None,
    min_confidence: Annotated[
        float | None, typer.Option(metavar="C", min=0, max=1, help="Of points to triangulate from; default 0.5.")
    ] = None,
    accept_bad_rig: Annotated[
        bool, typer.Option("--accept-bad-rig", help="Triangulate although the cameras look wrong.")
    ] = False,
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw some pictures with their points.")] = None,
    write: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all labels as one file of ours.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what labelled keypoints, or 3D poses, hold.

    Reads DeepLabCut, SLEAP, COCO and OpenPose: counts of each joint, boxes, cameras, pictures that are missing. Of 3D
    poses (npz, DeepFly3D, Label3D, anipose, sessions): missing joints, extent, reprojection.
    """

    def body() -> int:
        from nodes.labels import labels as show

        return show(
            path,
            pictures=pictures,
            cameras=cameras,
            skeleton=skeleton,
            category=category,
            predictions=predictions.value,
            origin=origin.value,
            format=format,
            pick=pick,
            rig=rig,
            rig_units=rig_units,
            units=units,
            size=size_of(size) if size else None,
            rate_hz=rate,
            min_confidence=min_confidence,
            accept_bad_rig=accept_bad_rig,
            png=png,
            write=write,
            as_json=json,
        )

    end(body)


def train(
    labels: Annotated[
        Path, typer.Option(metavar="PATH", help="A file of labels, or the folder or project that holds them.")
    ],
    rig: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The cameras' calibration; without it only 2D is learned.")
    ] = None,
    units: Annotated[str | None, typer.Option(metavar="mm|cm|m", help="Of a rig file that does not say them.")] = None,
    cameras: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Names in those of the files, or a pattern; default: the rig's."),
    ] = None,
    pictures: PicturesOption = None,
    category: CategoryOption = None,
    predictions: PredictionsOption = Predictions.alone,
    origin: OriginOption = PixelOrigin.centre,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="What to call the network; default: as the labels' skeleton.")
    ] = None,
    minutes: Annotated[float, typer.Option(metavar="N", min=0.05, help="How long it trains at most.")] = 15.0,
    init: Annotated[
        str, typer.Option(metavar="MODEL", help="A network to begin with, or none for random weights.")
    ] = "mannequin17",
    mirror: Annotated[
        bool | None,
        typer.Option("--mirror/--no-mirror", help="Mirror pictures; default: where joints are left and right."),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Of the weights, for the model's document.")
    ] = None,
    device: Annotated[Device, typer.Option(help="Where it computes.")] = Device.auto,
    threads: Annotated[int | None, typer.Option(metavar="N", min=1, help="Threads that compute.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="PATH", help="A folder, or an .onnx; default: the name.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set a key of the training's config.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Train a network for an animal of your own.

    About a hundred labelled pictures of DeepLabCut, SLEAP or COCO become an .onnx that launch runs.
    """

    def body() -> int:
        from nodes.train import LICENCE
        from nodes.train import train as learn

        return learn(
            labels,
            rig=rig,
            units=units,
            cameras=cameras,
            pictures=pictures,
            category=category,
            predictions=predictions.value,
            origin=origin.value,
            model=model,
            minutes=minutes,
            init=init,
            mirror=mirror,
            licence=licence or LICENCE,
            device=device.value,
            threads=threads,
            output=output,
            assignments=assignments or [],
            quiet=quiet,
        )

    end(body)


COMMANDS: tuple[tuple[Callable[..., None], str], ...] = (
    (labels, "labels labeled-data/ --cameras top,side --png sheet.png"),
    (train, "train --labels my-project --rig rig.toml --cameras top,side -o mouse"),
)
"""What each does, and an example of it."""
