"""The `rigpose` command: a thin shell around the functions that the ``python -m`` forms call too.

Bodies import what they need when they run, so that ``rigpose --help`` answers at once.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from nodes import label_commands, model_commands
from nodes.calibrate import app as calibrate
from nodes.calibrate.options import end
from rigpose import __version__
from rigpose.errors import ConfigError

app = typer.Typer(
    name="rigpose",
    help="Real-time markerless 3D pose capture with several cameras.",
    epilog="Example: rigpose launch examples/human4.yaml --data recordings --seconds 20",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(model_commands.app, name="models", help=model_commands.HELP, epilog=model_commands.EPILOG)
app.add_typer(calibrate.app, name="calibrate", help=calibrate.HELP, epilog=calibrate.EPILOG)


class Viewer(StrEnum):
    """What shows the poses while a rig runs."""

    auto = "auto"
    none = "none"
    open3d = "open3d"
    web = "web"


RunDir = Annotated[
    Path | None, typer.Option("--run-dir", metavar="DIR", help="Run directory of the rig; default: the latest.")
]


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(16 <= side <= 16384 for side in size):
        raise ConfigError(f"--size {text}", "is not a picture's width and height", "for example --size 1280x960")
    return size


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rigpose {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: rigpose launch examples/human4.yaml --data recordings/human4 --model net.onnx --lossless")
def launch(
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="The rig's YAML file; default: the virtual rig.")
    ] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="What ${data} in the config stands for.")] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="An ONNX file, a YAML file or a name from `models list`.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(metavar="METHOD", help="triangulate, or lift: one camera suffices; default: config.")
    ] = None,
    lifter: Annotated[
        str | None, typer.Option(metavar="LIFTER", help="What stands in for views that do not see: a file or a name.")
    ] = None,
    runtime: Annotated[
        str | None, typer.Option(metavar="NAME", help="What runs the network: auto, onnx, openvino, torch, tensorrt.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the network: fp32, fp16, bf16 or int8; default: fp32.")
    ] = None,
    lossless: Annotated[
        bool | None,
        typer.Option("--lossless/--live", help="Wait for the engine, or let the newest frames win; default: config."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(metavar="HZ", min=0.01, help="Frames per second of each camera.")
    ] = None,
    sets: Annotated[int | None, typer.Option(metavar="N", min=1, help="End after this many frame sets.")] = None,
    seconds: Annotated[float | None, typer.Option(metavar="S", min=0.1, help="End after this time.")] = None,
    summary: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the summary as JSON.")] = None,
    record: Annotated[
        bool | None, typer.Option("--record/--no-record", help="Keep a session on disk; default: config.")
    ] = None,
    record_to: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder that the session goes into.")] = None,
    viewer: Annotated[Viewer, typer.Option(help="What shows the poses: a window, a browser page.")] = Viewer.auto,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Replace a key of the config; repeatable.")
    ] = None,
    accept_bad_rig: Annotated[
        bool, typer.Option("--accept-bad-rig", help="Start although the rig file is judged bad.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Use a network that was trained on drawn pictures on real ones.")
    ] = False,
    subject: Annotated[str | None, typer.Option(metavar="TEXT", help="Who is recorded.")] = None,
    experimenter: Annotated[str | None, typer.Option(metavar="TEXT", help="Who records.")] = None,
    notes: Annotated[str | None, typer.Option(metavar="TEXT", help="Anything worth keeping with the session.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No live table.")] = False,
) -> None:
    """Start a rig and run it to its end or Ctrl-C.

    Cameras, engine, recorder and viewer are processes of their own; one that fails is started again.
    """

    def body() -> int:
        from nodes.launch import launch as start

        return start(
            config,
            data=data,
            model=model,
            method=method,
            lifter=lifter,
            runtime=runtime,
            precision=precision,
            mode=None if lossless is None else "lossless" if lossless else "live",
            rate=rate,
            sets=sets,
            seconds=seconds,
            summary=summary,
            record=record,
            record_to=record_to,
            viewer=viewer.value,
            assignments=assignments or [],
            accept_bad_rig=accept_bad_rig,
            force=force,
            subject=subject,
            experimenter=experimenter,
            notes=notes,
            quiet=quiet,
        )

    end(body)


@app.command(epilog="Example: rigpose status --once --json")
def status(
    run_dir: RunDir = None,
    once: Annotated[bool, typer.Option("--once", help="Print it once and end.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
) -> None:
    """Show how a running rig goes.

    Rates, latency, skipped frames by reason, and each node's state, renewed as it changes.
    """

    def body() -> int:
        from nodes.status import status as show

        return show(run_dir, once, json)

    end(body)


@app.command(epilog="Example: rigpose view recordings/2026-03-01_14-05-00 --png pose.png")
def view(
    source: Annotated[
        Path | None, typer.Argument(metavar="SESSION", help="A recorded session; default: the running rig.")
    ] = None,
    png: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw one picture, without a display.")] = None,
    set_index: Annotated[int | None, typer.Option("--set-index", metavar="N", min=0, help="Which frame set.")] = None,
    time_s: Annotated[
        float | None, typer.Option("--time", metavar="S", min=0.0, help="Which moment, from the start.")
    ] = None,
    size: Annotated[str, typer.Option(metavar="WxH", help="Size of the window or picture in px.")] = "1280x960",
    web: Annotated[bool, typer.Option("--web", help="Show the running rig in a browser.")] = False,
    run_dir: RunDir = None,
) -> None:
    """Show poses in 3D, live or from a recording."""

    def body() -> int:
        if web:
            if source is not None or png is not None:
                raise ConfigError("--web", "shows the running rig alone", "leave --web out to see a session")
            from nodes.web import view_web

            return view_web(run_dir)
        pixels = _size(size)
        if set_index is not None and time_s is not None:
            raise ConfigError("--set-index and --time", "both say which pose to show", "give one of them")
        from nodes.viewer import view as show

        return show(source, png=png, set_index=set_index, time_s=time_s, size=pixels, run_dir=run_dir)

    end(body)


@app.command(epilog="Example: rigpose record --to recordings --seconds 60")
def record(
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="Folder that the session goes into.")] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="S", min=0.1, help="End after this time; default: Ctrl-C or the rig's end.")
    ] = None,
    run_dir: RunDir = None,
) -> None:
    """Record the poses of the running rig from another terminal."""

    def body() -> int:
        from nodes.recorder import record as keep

        return keep(run_dir, to, seconds)

    end(body)


@app.command(epilog="Example: rigpose doctor --json")
def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what this machine has and what is missing.

    Ends with 0 when the core works, with 3 when a part of it is missing.
    """

    def body() -> int:
        from nodes.doctor import doctor as examine

        return examine(json)

    end(body)


@app.command(epilog="Example: rigpose build mannequin17_occluded --for launch.yaml --precision fp16 --check")
def build(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An ONNX file, a YAML file or a name.")],
    runtime: Annotated[str, typer.Option(metavar="NAME", help="What shall run it.")] = "tensorrt",
    precision: Annotated[
        str | None, typer.Option(metavar="NAME", help="fp32, fp16, bf16, int8; default: the runtime's lower one.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--for", metavar="CONFIG", help="The rig: its cameras, and pictures to check with.")
    ] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="What ${data} in the config stands for.")] = None,
    cameras: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=32, help="How many cameras, where no rig is given.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Hold it against ONNX Runtime, and remember it where it is near enough.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Build a plan that is there already.")] = False,
) -> None:
    """Make a network ready for this machine: plans of TensorRT, and networks in eight bits.

    A lower precision is used unnamed only where --check accepted it: at most 0.5 mm p99 from fp32.
    """

    def body() -> int:
        from nodes.build import build as make

        return make(
            model,
            runtime=runtime,
            precision=precision,
            config=config,
            data=data,
            cameras=cameras,
            check=check,
            again=again,
        )

    end(body)


@app.command(epilog="Example: rigpose demo --seconds 15")
def demo(
    seconds: Annotated[float, typer.Option(metavar="S", min=1.0, help="How long it runs.")] = 20.0,
) -> None:
    """Run a whole rig that needs no camera."""

    def body() -> int:
        from nodes.demo import demo as show

        return show(seconds)

    end(body)


for _command, _example in label_commands.COMMANDS:
    app.command(epilog=f"Example: rigpose {_example}")(_command)


def main(arguments: list[str] | None = None) -> Any:
    """The entry point of the ``rigpose`` command."""
    return app(args=arguments, prog_name="rigpose")


if __name__ == "__main__":
    main()
