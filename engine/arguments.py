"""The command line that the processes of a rig share: its YAML file, where it runs, what replaces keys of it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from capture.rundir import RunDirectory
from engine.config import SystemConfig, load_system


def run_parser(prog: str, description: str, example: str) -> argparse.ArgumentParser:
    """A parser with what every process takes that belongs to a run."""
    parser = argparse.ArgumentParser(prog=prog, description=description, epilog=f"Example: {example}")
    parser.add_argument("--run-dir", type=Path, help="where the sockets are; by default those of the running rig")
    parser.add_argument("--supervised", action="store_true", help=argparse.SUPPRESS)
    return parser


def rig_parser(prog: str, description: str, example: str) -> argparse.ArgumentParser:
    """A parser with what every process takes that is told its rig."""
    parser = run_parser(prog, description, example)
    parser.add_argument("config", type=Path, help="the rig's YAML file")
    parser.add_argument("--data", type=Path, help="what ${data} in the file stands for")
    parser.add_argument("--set", dest="assignments", action="append", default=[], metavar="a.b=c")
    return parser


def config_of(options: argparse.Namespace, given: Mapping[str, Any] | None = None) -> SystemConfig:
    """The config that a command line names.

    Args:
        options: Of a ``rig_parser``.
        given: Values of further options, by key; see ``replacing``.

    Raises:
        ConfigError: As ``load_system``.
    """
    assignments = [*options.assignments, *replacing(given or {})]
    return load_system(options.config, data=options.data, assignments=assignments)


def run_dir_of(options: argparse.Namespace) -> RunDirectory:
    """The run that a command line names, or the latest.

    Raises:
        RigposeError: There is none.
    """
    return RunDirectory.open(options.run_dir) if options.run_dir else RunDirectory.latest()


def replacing(given: Mapping[str, Any]) -> list[str]:
    """Values by key as ``a.b=c`` assignments; ``None`` = not given."""
    return [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]


def model_argument(model: str | None) -> str | None:
    """A path as an absolute one, for it belongs to where the user stands and not to the file; a zoo name as it is."""
    if model is None:
        return None
    path = Path(model).expanduser()
    return str(path.resolve()) if path.suffix or path.exists() else model
