"""Bring a downloaded data set into the form that training reads: ``python -m training.prepare human36m SOURCE DEST``.

A command that was broken off goes on where it stood when it is given again; what it leaves is whole or not there.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import cv2

from calib.rig import read_rig
from rigpose.program import run as run_program
from training.datasets import prepare_human36m, prepare_panoptic, prepare_results
from training.datasets.protocols import PROTOCOLS

log = logging.getLogger(__name__)


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """What the user asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m training.prepare",
        description="Bring a downloaded data set into the form that training reads.",
        epilog="Example: python -m training.prepare human36m data/human36m data/human36m/labels",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="human36m | panoptic | labels | results")

    human = commands.add_parser("human36m", help="labels from what h36m-fetch made of Human3.6M")
    human.add_argument("source", type=Path, help="the folder that holds processed/")
    human.add_argument("dest", type=Path, help="labels.npz is made in it; the pictures stay where they are")
    human.add_argument("--cameras", type=Path, metavar="FILE", help="camera-parameters.json; by default in SOURCE")
    human.add_argument(
        "--boxes", choices=("masks", "joints", "detections"), default="masks", help="where boxes come from"
    )
    human.add_argument("--metadata", type=Path, metavar="FILE", help="metadata.xml; by default in SOURCE")
    human.add_argument(
        "--detections",
        type=Path,
        nargs=2,
        metavar=("JSON", "LIST"),
        help="a detector's boxes, and the pictures that they are of",
    )

    panoptic = commands.add_parser("panoptic", help="labels and pictures from what the panoptic-toolbox downloads")
    panoptic.add_argument("source", type=Path, help="the folder of sequences")
    panoptic.add_argument("dest", type=Path, help="where the prepared sequences go")
    panoptic.add_argument(
        "--protocol", choices=tuple(PROTOCOLS), default="learnable_triangulation", help="sequences, cameras and frames"
    )
    panoptic.add_argument("--sequences", default="", metavar="A,B", help="only these of the protocol's")
    panoptic.add_argument("--cameras", default="", metavar="00_03,00_06", help="others than the protocol's")
    panoptic.add_argument("--every", type=int, default=1, metavar="N", help="keep every Nth scene")
    panoptic.add_argument("--detections", type=Path, metavar="DIR", help="a detector's boxes, a file a camera")
    panoptic.add_argument("--jobs", type=int, default=1, metavar="N", help="processes that take frames from videos")

    own = commands.add_parser("labels", help="pictures and points of a lab's own labels, from any program")
    own.add_argument("source", type=Path, help="what rigpose labels reads: DeepLabCut, SLEAP, COCO, OpenPose or ours")
    own.add_argument("dest", type=Path, help="where pictures and labels.npz go")
    own.add_argument("--rig", type=Path, metavar="FILE", help="the cameras; without them only 2D can be learned")
    own.add_argument("--cameras", default="", metavar="TOP,SIDE", help="as of rigpose labels")
    own.add_argument("--pictures", type=Path, metavar="DIR", help="where videos and pictures are")

    results = commands.add_parser("results", help="give the poses of a results.pkl their subject, action and frame")
    results.add_argument("source", type=Path, help="the pickle of learnable triangulation; nothing in it is run")
    results.add_argument("dest", type=Path, help="an .npz, for precalculated_train or precalculated_val")
    results.add_argument("--labels", type=Path, required=True, metavar="FILE", help="the label file it was made with")
    results.add_argument("--split", choices=("train", "val"), required=True, help="what it is of")
    results.add_argument("--with-damaged", action="store_true", help="it has the shifted takes of S9")
    results.add_argument("--retain-every", type=int, default=1, metavar="N", help="it has every Nth moment only")
    options = parser.parse_args(argv)
    for name in ("every", "jobs", "retain_every"):
        if getattr(options, name, 1) < 1:
            parser.error(f"--{name.replace('_', '-')} must be 1 or more")
    return options


def _listed(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    options = arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cv2.setNumThreads(1)
    source, dest = options.source, options.dest
    if options.command == "human36m":
        labels = prepare_human36m.prepare(
            source,
            dest,
            cameras=options.cameras,
            boxes=options.boxes,
            metadata=options.metadata,
            detections=options.detections and tuple(options.detections),
        )
        root = source / "processed" if (source / "processed").is_dir() else source
        log.info("in a config: data: {kind: human36m, labels: %s, root: %s}", labels, root)
    elif options.command == "panoptic":
        names = prepare_panoptic.prepare(
            source,
            dest,
            protocol=options.protocol,
            sequences=_listed(options.sequences),
            cameras=_listed(options.cameras),
            every=options.every,
            detections=options.detections,
            jobs=options.jobs,
        )
        log.info("%d sequences; in a config: data: {kind: panoptic, root: %s}", len(names), dest)
    elif options.command == "labels":
        # Here, for labels of videos need PyAV, and nothing else does.
        from capture.labels import read_labels
        from training.datasets.gather import gather

        found = read_labels(source, cameras=_listed(options.cameras), pictures=options.pictures)
        count = gather(found, dest, read_rig(options.rig) if options.rig is not None else None)
        log.info("%d labelled subjects; in a config: data: {kind: labels, root: %s}", count, dest)
    else:
        count = prepare_results.prepare(
            source,
            options.labels,
            dest,
            options.split,
            with_damaged=options.with_damaged,
            retain_every=options.retain_every,
        )
        log.info("%s: %d poses", dest, count)
    return 0


if __name__ == "__main__":
    run_program(main)
