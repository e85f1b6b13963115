"""`rigpose train`: from the pictures that a lab has labelled to a network that the engine runs."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from calib.rig import Rig, read_rig
from capture.labels import Labels, read_labels
from capture.labels.reader import Origin, Predictions
from engine import zoo
from engine.document import find_model
from rigpose import extras
from rigpose.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from training.own import Plan
    from training.own_run import HeldOut

log = logging.getLogger(__name__)

NONE = "none"
BEGINNING = "mannequin17"
"""A shipped network of another subject: its features are a better beginning than random ones."""
LICENCE = "as its training data allows"
_RARE = 0.2
_WORST = 3


def train(
    labels: Path,
    *,
    rig: Path | None = None,
    units: str | None = None,
    cameras: str | None = None,
    pictures: Path | None = None,
    category: str | None = None,
    predictions: Predictions = "alone",
    origin: Origin = "centre",
    model: str | None = None,
    minutes: float = 15.0,
    init: str = BEGINNING,
    mirror: bool | None = None,
    licence: str = LICENCE,
    device: str = "auto",
    threads: int | None = None,
    output: Path | None = None,
    assignments: Sequence[str] = (),
    quiet: bool = False,
) -> int:
    """Train on a lab's own labels and write the model.

    Args:
        labels: File or folder of labels, as `rigpose labels` reads it.
        rig: The cameras' calibration; without it only 2D is learned.
        units: Of the rig file, where it does not say them.
        cameras: Names separated by commas, or a pattern with ``{camera}``; by default the rig's.
        pictures: Where the labels' videos or pictures are.
        category: As for `rigpose labels`.
        predictions: Whether points that a network set count.
        origin: What (0, 0) is in formats that leave it open.
        model: Name of the network; by default the labels' skeleton.
        minutes: Of training.
        init: A network to begin with, or ``none``.
        mirror: Whether the animal's sides look alike; by default where its joints have sides.
        licence: Of the weights.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: That compute.
        output: A folder, or an .onnx beside which a folder is made; by default a folder with the model's name.
        assignments: Keys of the training's config.
        quiet: No progress.

    Raises:
        RigposeError: The labels cannot be read or do not fit the rig, or an extra is missing.
    """
    begun = time.monotonic()
    for module in ("torch", "onnxscript"):
        _need(module)
    # Threads that wait give their core to the process that makes samples; torch reads this when it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    calibration = None if rig is None else read_rig(rig, units=units)
    found = read_labels(
        labels, pictures=pictures, cameras=_cameras(cameras, calibration), category=category, predictions=predictions,
        origin=origin,
    )  # fmt: skip
    name = _name(model, found)
    folder, file = _places(output, name)
    began = None if init == NONE else find_model(init).path

    import cv2
    import torch

    from training import own, own_run
    from training.memory import keep_freed_memory
    from training.train import device_of

    cv2.setNumThreads(1)
    keep_freed_memory()
    if threads:
        torch.set_num_threads(threads)
    for noisy in ("onnxscript", "onnx_ir", "torch.onnx"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    plan = own.plan(own.gathered(found, folder, calibration), name, mirror=mirror, assignments=assignments)
    _say_what_was_found(found, plan, calibration)
    trainer = own_run.trainer_of(plan, folder, device_of(device), began)
    print(
        f"trains {name} for at most {minutes:g} min, from {trainer.origin};"
        " Ctrl-C ends it and keeps what it has learned"
    )
    with _interrupt() as stopped, _bar(quiet) as tell:
        checkpoint = own_run.train(trainer, minutes, tell, stopped)
    if not checkpoint.step:
        print("ended before the first step: nothing was learned")
        return int(ExitCode.INTERRUPTED)
    taught, held = plan.taught[0], plan.held[0]
    source = f"rigpose train, {taught} labelled pictures of {Path(labels).resolve().name}, from {trainer.origin}"
    own_run.write(checkpoint, file, source=source, licence=licence)
    _say_how_good(own_run.judged(checkpoint, trainer.held_out(), trainer.device), plan, held)
    took = (time.monotonic() - begun) / 60
    print(f"{file}: {file.stat().st_size / 1e6:.1f} MB, {checkpoint.step} steps, {took:.1f} min in all")
    _say_what_next(file, name, plan)
    return 0


def _need(module: str) -> None:
    if not extras.is_there(module) and (error := extras.missing(module)) is not None:
        raise error


def _cameras(said: str | None, rig: Rig | None) -> Sequence[str]:
    """Names to look for in those of files; with one camera there is nothing to tell apart."""
    if said:
        return [name.strip() for name in said.split(",") if name.strip()]
    return rig.names if rig is not None and len(rig) > 1 else ()


def _name(said: str | None, labels: Labels) -> str:
    name = said if said is not None else "".join(c if c.isalnum() or c in "-_" else "_" for c in labels.skeleton.name)
    if not zoo.is_name(name) or name in zoo.shipped():
        what = "is the name of a shipped network" if name in zoo.shipped() else "is no name for a network"
        raise ConfigError(f"--model {name}", what, "give letters, digits, - and _, as in --model mouse")
    return name


def _places(output: Path | None, name: str) -> tuple[Path, Path]:
    """The folder of all that belongs to the run, and the model's file."""
    if output is None:
        output = Path(name)
    if output.suffix.lower() == ".onnx":
        return output.with_suffix(".training"), output
    if output.is_file():
        raise ConfigError(output, "is a file", "give a folder, or a name that ends in .onnx")
    return output, output / f"{name}.onnx"


def _say_what_was_found(labels: Labels, plan: Plan, rig: Rig | None) -> None:
    cameras = f" of {len(plan.cameras)} cameras" if len(plan.cameras) > 1 else ""
    print(f"{labels.format}: {len(labels)} labelled pictures{cameras}, {len(plan.skeleton.joints)} joints,"
          f" the animal is {plan.side_px:.0f} px long (of {plan.picture_px})")  # fmt: skip
    for note in labels.notes:
        print(f"  {note}")
    if labels.missing:
        print(f"  {len(labels.missing)} pictures or videos are missing, the first is {labels.missing[0]}")
    rare = [joint for joint, share in zip(plan.skeleton.joints, plan.joints, strict=True) if share < _RARE]
    if rare:
        more = f" and {len(rare) - _WORST} more" if len(rare) > _WORST else ""
        print(f"  in fewer than a fifth of the pictures: {', '.join(rare[:_WORST])}{more}")
    if rig is None:
        print("  no --rig: the cameras' pictures are learned from one by one, in 2D")
    elif plan.in_3d == 0:
        print("  no joint was labelled in two cameras at one moment: only 2D is learned")
    else:
        print(f"  {plan.in_3d:.0%} of the joints have a place in 3D by the labels of two cameras or more")
    if plan.config.data.crop.mirror:
        print("  half of what is shown is mirrored, left and right exchanged (--no-mirror if its sides look different)")
    taught, held = (f"{pictures} pictures ({moments} moments)" for pictures, moments in (plan.taught, plan.held))
    print(f"  {taught} are learned from, {held} are held out")


def _say_how_good(held: HeldOut, plan: Plan, pictures: int) -> None:
    if not len(held.px):
        print("nothing that was held out is labelled: nothing can be said about how good it is")
        return
    print(f"on {pictures} pictures that were held out: {np.median(held.px):.1f} px off the labels in the median,"
          f" {np.mean(held.px):.1f} in the mean, {np.percentile(held.px, 95):.1f} at p95;"
          f" {np.median(held.share):.1%} of the animal's length")  # fmt: skip
    if len(held.mm):
        print(
            f"  in 3D {np.median(held.mm):.3g} mm off what the labels' triangulation says,"
            f" {np.mean(held.mm):.3g} in the mean"
        )
    order = [joint for joint in np.argsort(-np.nan_to_num(held.joints_px)) if np.isfinite(held.joints_px[joint])]
    worst = ", ".join(f"{plan.skeleton.joints[joint]} {held.joints_px[joint]:.1f}" for joint in order[:_WORST])
    print(f"  furthest off (median px): {worst}")


def _say_what_next(file: Path, name: str, plan: Plan) -> None:
    finder = "".join(f" --set engine.finder.{key}={value}" for key, value in plan.finder.items() if value != "full")
    print("next:")
    print(f"  rigpose models add {file} --name {name}")
    print(f"  rigpose launch RIG.yaml --model {name}{finder}")


@contextmanager
def _interrupt() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C, or a polite kill, was said; a second one ends at once."""
    asked: list[int] = []

    def stop(number: int, _: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[float, str], None]]:
    """A bar on a terminal; elsewhere a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield _lines(quiet)
        return
    columns: tuple[Any, ...] = (TextColumn("training"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.description}", markup=False), console=console) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda done, what: bar.update(task, completed=done, description=what)


def _lines(quiet: bool) -> Callable[[float, str], None]:
    said = [-1]

    def tell(done: float, what: str) -> None:
        if not quiet and int(10 * done) > said[0]:
            said[0] = int(10 * done)
            print(f"  {done:4.0%}  {what}", flush=True)

    return tell
