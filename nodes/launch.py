"""`rigpose launch`: checks what can be known before a run, runs the rig, and tells what came of it."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

from capture.rundir import RunDirectory, new_session_id
from engine.arguments import model_argument, replacing
from engine.config import SystemConfig, load_system
from engine.preflight import check_sizes, complete_rate, judge_rig, load_rig, locate_lifter, locate_model
from engine.runtimes import check_name as check_runtime
from nodes.run import Run
from rigpose.errors import ConfigError, ExitCode
from rigpose.logs import log_to
from rigpose.resources import launch_file

log = logging.getLogger(__name__)


def prepare(config: SystemConfig, where: object) -> SystemConfig:
    """Check everything that can be known before a process starts, and complete the config.

    Raises:
        ConfigError: One line: the file, the key and the remedy.
        VerdictError: The rig file is bad.
    """
    rig = load_rig(config, where)
    config = complete_rate(config, where)
    check_sizes(config, rig, where)
    judge_rig(config, rig)
    located = locate_model(config, where)
    locate_lifter(config, located.document, rig, where)
    check_runtime(config.engine.runtime, f"{where}: key engine.runtime", config.engine.precision)
    return config


def _check_writable(folder: Path, remedy: str) -> None:
    """Refuse before the run what would lose its result behind it.

    Raises:
        ConfigError: Neither the folder nor what it can be made in may be written to.
    """
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if not existing.is_dir():
        raise ConfigError(existing, "is not a folder", remedy)
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(existing, "may not be written to", remedy)


def launch(
    config: Path | None = None,
    *,
    data: Path | None = None,
    model: str | None = None,
    method: str | None = None,
    lifter: str | None = None,
    runtime: str | None = None,
    precision: str | None = None,
    mode: str | None = None,
    rate: float | None = None,
    sets: int | None = None,
    seconds: float | None = None,
    summary: Path | None = None,
    record: bool | None = None,
    record_to: Path | None = None,
    viewer: str = "auto",
    assignments: list[str] | None = None,
    accept_bad_rig: bool = False,
    force: bool = False,
    subject: str | None = None,
    experimenter: str | None = None,
    notes: str | None = None,
    quiet: bool = False,
) -> int:
    """Run a rig; the body of `rigpose launch`.

    Returns:
        The exit code: 0 = ended by itself, 130 = by Ctrl-C, else what failed.

    Raises:
        RigposeError: The input cannot be used; nothing was started.
    """
    from nodes.status import StatusLine, print_summary

    file = config if config is not None else launch_file()
    if config is None and record_to is None:
        # The file is a part of the installation: what it records lies elsewhere.
        record_to = Path("recordings")
    given = {
        "mode": mode, "rate": rate, "sets": sets, "record.enabled": record,
        "record.to": None if record_to is None else str(record_to.resolve()),
        "engine.model": model_argument(model), "engine.method": method,
        "engine.lift.model": model_argument(lifter), "engine.runtime": runtime, "engine.precision": precision,
        "accept_bad_rig": accept_bad_rig or None, "force": force or None,
        "session.subject": subject, "session.experimenter": experimenter, "session.notes": notes,
    }  # fmt: skip
    if sets is not None or seconds is not None:
        given["loop"] = 0
    system = load_system(file, data=data, assignments=[*(assignments or []), *replacing(given)])
    system = prepare(system, file)
    if summary is not None:
        if summary.is_dir():
            raise ConfigError(summary, "is a folder", "--summary takes the file to write")
        _check_writable(summary.absolute().parent, "give --summary a file in a folder that you may write to")
    if system.record.enabled:
        _check_writable(system.record.to, "set record.to (or --record-to) to a folder of yours, or --no-record")
    run_dir = RunDirectory.create(new_session_id(), system.cameras)
    log_to(run_dir.path, "launch", console=False)
    line = StatusLine(run_dir, quiet=quiet)
    try:
        run = Run(system, run_dir, viewer, seconds, line.say)
        with line.watching():
            outcome = asyncio.run(run.run())
        kept = run.summary().recording or {}
        if kept.get("stopped"):
            outcome.errors.append(
                f"{kept['path']}: the recording stopped: {kept['stopped']} (what was recorded stands)"
            )
            outcome.code = outcome.code or int(ExitCode.FAILED)
        final = run.summary()
        try:
            if not quiet:
                print_summary(final)
            for error in outcome.errors:
                print(f"rigpose: error: {error}", file=sys.stderr)
        finally:  # also where the terminal has gone
            if summary is not None:
                final.write(summary)
            final.write(run_dir.path / "summary.json")
            if "path" in kept:
                try:
                    final.write(Path(kept["path"]) / "summary.json")
                except OSError as error:
                    log.warning("%s: its summary could not be written: %s", kept["path"], error)
        if outcome.errors:
            return outcome.code
        return int(ExitCode.INTERRUPTED) if outcome.interrupted else int(ExitCode.OK)
    finally:
        run_dir.remove()


if __name__ == "__main__":
    # The same command as `rigpose launch`.
    import sys

    from nodes.cli import main

    main(["launch", *sys.argv[1:]])
