"""The commands of `rigpose calibrate`, in the order in which help lists them."""

from __future__ import annotations

from collections.abc import Callable

import typer

from nodes.calibrate import file_commands, judging_commands, solving_commands

HELP = "Calibrate the cameras of a rig, and judge, mend and convert calibrations."
ALL = "all recordings/board --board charuco:7x5:60:45:4X4_250 --to rig.toml"
EPILOG = f"Example: rigpose calibrate {ALL}"

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

COMMANDS: tuple[tuple[Callable[..., None], str], ...] = (
    (file_commands.board, "board charuco:7x5:30:22:4X4_250 --to board.pdf"),
    (solving_commands.intrinsics, "intrinsics recordings/lenses --board chessboard:9x6:30 --to lenses.toml"),
    (solving_commands.extrinsics, "extrinsics boards --board charuco:7x5:60:45:4X4_250 --given lenses.toml"),
    (solving_commands.all_, ALL),
    (judging_commands.doctor, "doctor recordings/board --board charuco:7x5:60:45:4X4_250"),
    (file_commands.convert, "convert Calib.qca.txt --to rig.toml"),
    (solving_commands.refine, "refine recordings/mouse7 --to rig2.toml --confirm views.npz"),
    (judging_commands.check, "check rig.toml --boards recordings/board --board chessboard:9x6:30"),
    (file_commands.origin, "origin rig.toml --board charuco:7x5:60:45:4X4_250 --pictures floor"),
    (judging_commands.timing, "timing recordings/mouse7"),
    (judging_commands.drift, "drift running --refine-to rig2.toml"),
)
"""What each does, and an example of it."""

for _command, _example in COMMANDS:
    app.command(name=_command.__name__.rstrip("_"), epilog=f"Example: rigpose calibrate {_example}")(_command)
