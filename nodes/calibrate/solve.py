"""`rigpose calibrate intrinsics | extrinsics | all`: from pictures to a rig file, a verdict and a report."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calib.boards import Board, read_board
from calib.convert import read_any
from calib.fit import fit_camera
from calib.intrinsics import MODELS, Model
from calib.observations import BoardViews, load_views
from calib.outcome import Outcome
from calib.rig import Rig, write_rig
from rigpose.errors import ConfigError, ExitCode, MissingError, VerdictError

LIVE = (".yaml", ".yml")
FITS = ("crop", "scale", "letterbox")


@dataclass(frozen=True, slots=True)
class Pictures:
    """What a user says about the pictures; see `nodes.calibrate.options`."""

    source: str | None
    cameras: Sequence[str]
    timestamps: Path | None
    board: str
    look_at: int
    data: Path | None = None
    seconds: float | None = None
    workers: int | None = None
    keep: bool = True
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Out:
    """Where results go."""

    to: Path
    report: Path | None
    no_report: bool
    json: bool
    write_bad: bool
    keep_views: Path | None = None

    @property
    def report_path(self) -> Path | None:
        """The report's place."""
        return None if self.no_report else self.report or self.to.with_suffix(".html")


@dataclass(frozen=True, slots=True)
class Known:
    """A rig file that is given."""

    file: Path
    units: str | None = None
    fits: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What was gathered before anything is solved.

    Attributes:
        board: What was looked for.
        views: What was seen of it.
        source: Where.
        matched: How moments were found.
        notes: For the report.
        n_pictures: In how many pictures it was looked for.
    """

    board: Board
    views: BoardViews
    source: str
    matched: str
    notes: tuple[str, ...] = ()
    n_pictures: int = 0


def named_cameras(pairs: Sequence[str]) -> dict[str, Path]:
    """``NAME=PATH`` options as a mapping.

    Raises:
        ConfigError: One has no ``=``, or a name stands there twice.
    """
    named: dict[str, Path] = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not equals or not name or not path:
            raise ConfigError(f"--camera {pair}", "is not of the form NAME=PATH", "as in --camera cam1=cam1.mp4")
        if name in named:
            raise ConfigError(f"--camera {pair}", f"camera {name} stands there twice", "give each its own name")
        named[name] = Path(path).expanduser()
    return named


def per_camera(pairs: Sequence[str], option: str, allowed: Sequence[str]) -> tuple[str | None, dict[str, str]]:
    """Values for all cameras (``value``) and for single ones (``NAME=value``).

    Raises:
        ConfigError: A value is not allowed.
    """
    default, single = None, {}
    for pair in pairs:
        name, equals, value = pair.rpartition("=")
        if value not in allowed:
            raise ConfigError(f"{option} {pair}", f"{value!r} is not known", f"one of {', '.join(allowed)}")
        if equals:
            single[name] = value
        else:
            default = value
    return default, single


def check_free(path: Path) -> None:
    """Refuse early what `write_rig` would refuse after minutes of work.

    Raises:
        ConfigError: The file exists, or its folder does not.
    """
    if path.exists():
        raise ConfigError(path, "exists, and a calibration never overwrites another", "choose another --to")
    if not path.absolute().parent.is_dir():
        raise ConfigError(path.absolute().parent, "no such folder", "make it, or choose another --to")
    if path.suffix.lower() != ".toml":
        raise ConfigError(path, "is no name for a rig file", "one ends in .toml")


def gather(pictures: Pictures, known: Rig | None, *, together: bool) -> Seen:
    """Look for the board in whatever the user named.

    Raises:
        ConfigError: It cannot be used.
        VerdictError: The board was found nowhere.
    """
    board = read_board(pictures.board)
    names = () if known is None else known.names
    named = named_cameras(pictures.cameras)
    suffix = Path(pictures.source).suffix.lower() if pictures.source else ""
    if suffix == ".npz" and pictures.source:
        return _kept(Path(pictures.source), board)
    if suffix in LIVE and pictures.source and not named:
        return _live(Path(pictures.source), board, pictures, together)
    from nodes.calibrate.detecting import detect_film
    from nodes.calibrate.pictures import find_film

    film = find_film(pictures.source, named, pictures.timestamps, names)
    look_at = pictures.look_at
    views = detect_film(
        film, board, look_at=look_at, workers=pictures.workers, keep=pictures.keep, quiet=pictures.quiet or _piped()
    )
    n_pictures = int((film.index[:, film.spread(look_at)] >= 0).sum())
    if not len(views.frames):
        named_text = f"{shlex.quote(film.source)} --board {shlex.quote(board.name)}"
        raise VerdictError(
            film.source,
            f"{board.name} was found in none of {n_pictures} pictures",
            f"rigpose calibrate doctor {named_text} says what was printed",
        )
    return Seen(board, views, film.source, film.matched, film.notes, n_pictures)


def _piped() -> bool:
    return not sys.stderr.isatty()


def _kept(path: Path, board: Board) -> Seen:
    views = load_views(path)
    if views.board and views.board != board.name:
        raise ConfigError(path, f"holds views of {views.board}, not of {board.name}", f"give --board {views.board}")
    return Seen(board, views, str(path), "as they were kept")


def _live(path: Path, board: Board, pictures: Pictures, together: bool) -> Seen:
    from nodes.calibrate.live import film_live
    from nodes.calibrate.live_cameras import load_cameras

    config = load_cameras(path, pictures.data)
    views = film_live(
        config, board, together=together, seconds=pictures.seconds, quiet=pictures.quiet, say=lambda line: _tell(line)
    )
    return Seen(board, views, f"live cameras of {path}", "the rig's ticks")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def given_rig(known: Known, sizes: dict[str, tuple[int, int]] | None = None) -> Rig:
    """The rig file that is given, for pictures of these sizes.

    Raises:
        ConfigError: It cannot be read, or does not fit the pictures.
    """
    rig = read_any(known.file, None, known.units).rig
    if sizes is None:
        return rig
    default, single = per_camera(known.fits, "--fit", FITS)
    missing = [name for name in sizes if name not in rig.names]
    if missing:
        raise ConfigError(
            known.file, f"does not know camera {missing[0]}", f"it knows {', '.join(rig.names)}; name pictures alike"
        )
    cameras = []
    for name, size in sizes.items():
        try:
            cameras.append(fit_camera(rig[name], size, single.get(name, default)))  # type: ignore[arg-type]
        except ConfigError as error:
            remedy = f"--fit {name}=crop|scale|letterbox" if "rig says" in error.what else error.remedy
            raise ConfigError(f"{known.file}: camera {name}", error.what, remedy) from None
    return rig.with_cameras(cameras)


def models_of(names: Sequence[str], options: Sequence[str]) -> dict[str, Model]:
    """The lens model of each camera.

    Raises:
        ConfigError: A model or a camera is not known.
    """
    default, single = per_camera(options, "--model", MODELS)
    unknown = [name for name in single if name not in names]
    if unknown:
        raise ConfigError(f"--model {unknown[0]}=...", "names no camera of these", f"they are {', '.join(names)}")
    return {name: single.get(name, default or MODELS[0]) for name in names}  # type: ignore[misc]


def rig(
    pictures: Pictures, out: Out, *, known: Known | None, models: Sequence[str], moments: int, title: str, hold: bool
) -> int:
    """`rigpose calibrate extrinsics` (``hold``: the given intrinsics are held) and ``all``."""
    from calib.solve_rig import Options, calibrate
    from nodes.calibrate.report import Context

    check_free(out.to)
    per_camera(models, "--model", MODELS)
    given = None if known is None else given_rig(known)
    seen = gather(pictures, given, together=True)
    keep_views(seen.views, out.keep_views)
    views = seen.views
    sizes = dict(zip(views.names, views.sizes, strict=True))
    if known is not None:
        given = given_rig(known, sizes)
    options = Options(models=models_of(views.names, models), moments=moments, intrinsics="hold" if hold else "auto")
    outcome = calibrate(views, given, options)
    made = {"command": command_line()}
    if known is not None and given is not None:
        made["intrinsics from"] = f"{known.file} ({given.calibration_id})"
    context = Context(
        title, source=seen.source, board=seen.board, sizes=sizes, matched=seen.matched, notes=seen.notes, made=made
    )
    return finish(outcome, out, context)


def intrinsics(pictures: Pictures, out: Out, *, models: Sequence[str]) -> int:
    """`rigpose calibrate intrinsics`."""
    from nodes.calibrate.lenses import solve_lenses
    from nodes.calibrate.report import Context

    check_free(out.to)
    per_camera(models, "--model", MODELS)
    seen = gather(pictures, None, together=False)
    keep_views(seen.views, out.keep_views)
    views = seen.views
    outcome = solve_lenses(views, models_of(views.names, models))
    context = Context(
        "Calibration of lenses",
        source=seen.source,
        board=seen.board,
        sizes=dict(zip(views.names, views.sizes, strict=True)),
        matched=seen.matched,
        notes=seen.notes,
        made={"command": command_line()},
        placed=False,
    )
    lines = [
        f"{camera.name}: no lens found"
        if not camera.views
        else f"{camera.name}: f {camera.focal_px[0]:.1f} +- {camera.focal_deviation_px[0]:.1f} px, rms "
        f"{camera.spread.rms_px:.3f} px, {camera.views} views, {100 * camera.covered:.0f} % of the picture covered"
        for camera in outcome.cameras
    ]
    return finish(outcome, out, context, lines=lines)


# ---------------------------------------------------------------------- what comes out


def say(outcome: Outcome, out: Out, written: Path | None, report: Path | None, lines: Sequence[str] = ()) -> None:
    """The outcome in a few lines."""
    print(f"verdict: {outcome.verdict}")
    for reason in outcome.reasons:
        print(f"  {reason.level}: {reason}")
    spread = outcome.spread
    if spread is not None:
        held = outcome.held_out
        beside = f"; held out: {held.spread.rms_px:.3f}" if held is not None and held.blocks else ""
        print(
            f"residuals: rms {spread.rms_px:.3f}, median {spread.median_px:.3f}, p95 {spread.p95_px:.3f} px{beside}; "
            f"{100 * spread.rejected_share:.1f} % of {spread.count + spread.rejected} points rejected"
        )
    if outcome.rigidity is not None:
        rigidity = outcome.rigidity
        print(f"distances on the board: rms error {rigidity.rms_mm:.2f} mm ({100 * rigidity.relative:.2f} %)")
    for tape in outcome.tape:
        print(f"hold a tape measure against this: {tape}")
    for line in lines:
        print(line)
    if report is not None:
        print(f"report: {report}")
    if written is not None:
        print(f"{'rig' if written == out.to else 'file'}: {written}")


def finish(outcome: Outcome, out: Out, context: Any, *, lines: Sequence[str] = ()) -> int:
    """Write what is to be written, say it, and give the exit code."""
    import json

    bad = outcome.verdict == "bad"
    written = None
    if outcome.rig is not None and (not bad or out.write_bad):
        write_rig(outcome.rig, out.to)
        written = out.to
    report = draw(outcome, out, context)
    if out.json:
        document = {
            **outcome.document(),
            "file": None if written is None else str(written),
            "report": None if report is None else str(report),
            "notes": list(context.notes),
        }
        print(json.dumps(document, indent=2, allow_nan=False))
    else:
        say(outcome, out, written, report, lines)
        if bad and written is None:
            print("no rig file was written (--write-bad writes it all the same)" if outcome.rig else "no rig file")
    return int(ExitCode.BAD_VERDICT if bad else ExitCode.OK)


def draw(outcome: Outcome, out: Out, context: Any) -> Path | None:
    """Draw the report where one is wanted; one line where the extra for it lacks."""
    from nodes.calibrate.report import write_report

    path = out.report_path
    if path is None:
        return None
    try:
        write_report(outcome, path, context)
    except MissingError as error:
        if out.report is not None:
            raise
        _tell(f"rigpose: no report is drawn: {error}")
        return None
    return path


def command_line() -> str:
    """How this was started."""
    return shlex.join(["rigpose", *sys.argv[1:]])


def keep_views(views: BoardViews, path: Path | None) -> None:
    """Keep board views where the user wants them."""
    if path is not None:
        views.save(path if path.suffix == ".npz" else path.with_suffix(".npz"))
