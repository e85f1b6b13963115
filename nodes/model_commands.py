"""The commands about networks: `rigpose models`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nodes.calibrate.options import end

HELP = "List the networks, look into one, add one, or export one."
EPILOG = "Example: rigpose models list"
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


class NetworkKind(StrEnum):
    """What published weights are of."""

    algebraic = "algebraic"
    volumetric = "volumetric"
    ransac = "ransac"


class Together(StrEnum):
    """How a published volumetric network puts views together."""

    sum = "sum"
    max = "max"
    softmax = "softmax"
    conf = "conf"
    conf_norm = "conf_norm"


@app.command("list", epilog="Example: rigpose models list")
def models_list(
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the networks that --model takes by name."""

    def body() -> int:
        from nodes.models import list_models

        return list_models(json)

    end(body)


@app.command("show", epilog="Example: rigpose models show movenet.onnx")
def models_show(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An ONNX file, a YAML file or a name.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a network says about itself, and whether its file agrees."""

    def body() -> int:
        from nodes.models import show_model

        return show_model(model, json)

    end(body)


@app.command("add", epilog="Example: rigpose models add https://example.org/mouse.onnx --document mouse.yaml")
def models_add(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Web address or path of an ONNX file.")],
    document: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML that describes it, where it does not itself.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="What to call it; default: its file name.")] = None,
    sha256: Annotated[str | None, typer.Option(metavar="HEX", help="What its checksum has to be.")] = None,
) -> None:
    """Keep a network under a name that --model takes."""

    def body() -> int:
        from nodes.models import add_model

        return add_model(source, document, name, sha256)

    end(body)


@app.command("export", epilog="Example: rigpose models export logs/mouse/checkpoint.pt --rig rig.toml -o mouse.onnx")
def models_export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A checkpoint.pt, published weights (.pth), an ONNX, YAML or name.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The .onnx; default: the model's name, here.")
    ] = None,
    rig: Annotated[Path | None, typer.Option(metavar="FILE", help="The rig that it is for.")] = None,
    units: Annotated[str | None, typer.Option(metavar="mm|cm|m", help="Of a rig file that does not say them.")] = None,
    cameras: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=32, help="How many cameras, where no rig is given.")
    ] = None,
    fix_rig: Annotated[
        bool, typer.Option("--fix-rig", help="Put the rig's cameras into the graph, for programs of your own.")
    ] = False,
    kind: Annotated[NetworkKind | None, typer.Option(help="Of published weights; default: as recognised.")] = None,
    layers: Annotated[int | None, typer.Option(metavar="N", help="Of their backbone; default: 152.")] = None,
    joints: Annotated[int | None, typer.Option(metavar="N", help="That they know; default: as in the file.")] = None,
    aggregation: Annotated[
        Together | None, typer.Option(help="How a volumetric one puts views together; default: as published.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(metavar="PX", help="Side of the crops; default: as trained, 384 if published.")
    ] = None,
) -> None:
    """Write a network as one graph that takes crops and cameras and answers with poses.

    It is held against PyTorch before it is written. Weights need the extra train.
    """

    def body() -> int:
        from nodes.model_export import export_model

        return export_model(
            model,
            output,
            rig_file=rig,
            units=units,
            cameras=cameras,
            fix_rig=fix_rig,
            kind=kind.value if kind else None,
            layers=layers,
            joints=joints,
            aggregation=aggregation.value if aggregation else None,
            size=size,
        )

    end(body)
