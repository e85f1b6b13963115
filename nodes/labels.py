"""`rigpose labels`: what is in a file or folder of labelled keypoints or of 3D poses, and a look at it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from capture.labels import Labels, read_labels, read_poses3d, write_labels
from capture.labels.poses.reader import holds_poses3d
from capture.labels.reader import Origin, Predictions
from rigpose.errors import ConfigError

_LISTED = 5


def labels(
    path: Path,
    *,
    pictures: Path | None = None,
    cameras: str | None = None,
    skeleton: str | None = None,
    category: str | None = None,
    predictions: Predictions = "alone",
    origin: Origin = "centre",
    format: str | None = None,
    pick: str | None = None,
    rig: Path | None = None,
    rig_units: str | None = None,
    units: str | None = None,
    size: tuple[int, int] | None = None,
    rate_hz: float | None = None,
    min_confidence: float | None = None,
    accept_bad_rig: bool = False,
    png: Path | None = None,
    write: Path | None = None,
    as_json: bool = False,
) -> int:
    """Say what labels hold, draw some of them, or write them as our own file.

    Args:
        path: The file or folder.
        pictures: Where its videos or pictures are.
        cameras: Names separated by commas, or a pattern with ``{camera}``.
        skeleton: Of OpenPose's points; of 3D poses without names a file with names, or names.
        category: Of a COCO file with several; ``single`` = DeepLabCut's unique body parts.
        predictions: Whether points that a network set count.
        origin: What (0, 0) is in formats that leave it open.
        format: Of 3D poses.
        pick: Which part of 3D poses that hold several.
        rig: The cameras: 2D points of several are triangulated, 3D poses without cameras get these.
        rig_units: Of a rig file that does not say it.
        units: Of 3D poses that do not say it.
        size: (width, height) px of the pictures, of 3D poses whose cameras have none.
        rate_hz: Of 3D poses that do not say it.
        min_confidence: Of a 2D point to triangulate from.
        accept_bad_rig: Triangulate with a bad rig.
        png: A contact sheet to draw.
        write: A file of our own to write.
        as_json: Print JSON.

    Raises:
        RigposeError: The labels cannot be read, or a file cannot be written.
    """
    names = [name.strip() for name in cameras.split(",")] if cameras else ()
    if format is not None or rig is not None or (path.exists() and holds_poses3d(path)):
        from nodes.poses3d import show

        poses = read_poses3d(
            path,
            format=format,
            units=units,
            rig=rig,
            rig_units=rig_units,
            skeleton=skeleton,
            rate_hz=rate_hz,
            size=size,
            cameras=names,
            pick=category if pick is None else pick,
            predictions=predictions,
            min_confidence=0.5 if min_confidence is None else min_confidence,
            accept_bad_rig=accept_bad_rig,
        )
        return show(poses, path, png=png, write=write, as_json=as_json)
    for option, value in (
        ("--units", units),
        ("--size", size),
        ("--rate", rate_hz),
        ("--min-confidence", min_confidence),
    ):
        if value is not None:
            raise ConfigError(option, f"is of 3D poses, and {path} holds labels", "leave it out, or give --rig as well")
    found = read_labels(
        path,
        pictures=pictures,
        cameras=names,
        skeleton=skeleton,
        category=category,
        predictions=predictions,
        origin=origin,
    )
    if write is not None:
        write_labels(found, write)
    tiles = None
    if png is not None:
        from nodes.label_sheet import write_sheet

        tiles = write_sheet(found, png)
    facts = summary(found)
    if as_json:
        print(json.dumps({"schema": 1, **facts}, indent=2, ensure_ascii=False))
        return 0
    _print(found, facts)
    if png is not None:
        print(f"{png}: {tiles} pictures")
    if write is not None:
        print(f"{write}: all labels, in our own form")
    return 0


def summary(found: Labels) -> dict[str, Any]:
    """What is worth knowing about labels, as plain values."""
    labelled = np.concatenate([frame.labelled for frame in found.frames])
    hidden = np.concatenate([frame.hidden for frame in found.frames])
    boxes = np.concatenate([frame.boxes for frame in found.frames])
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    moments = [len(frames) for frames in found.moments().values()]
    missing = set(found.missing)
    joints = [
        {
            "name": name,
            "labelled": int(labelled[:, joint].sum()),
            "hidden": int(hidden[:, joint].sum()) if found.says_hidden else None,
        }
        for joint, name in enumerate(found.skeleton.joints)
    ]
    cameras = []
    for camera in found.cameras:
        frames = [frame for frame in found.frames if frame.camera == camera]
        lost = sum(frame.picture.stated in missing for frame in frames)
        cameras.append({"name": camera, "pictures": len(frames), "missing": lost})
    return {
        "format": found.format,
        "files": [str(file) for file in found.files],
        "skeleton": found.skeleton.model_dump(mode="json"),
        "pictures": len(found),
        "unlabelled": found.unlabelled,
        "missing": list(found.missing),
        "subjects": len(labelled),
        "most_subjects": max(len(frame.points) for frame in found.frames),
        "by_network": int(sum(frame.by_network.sum() for frame in found.frames)),
        "joints": joints,
        "cameras": cameras,
        "moments": {"all": len(moments), "by_cameras": {str(n): c for n, c in sorted(Counter(moments).items())}},
        "box_px": {
            "from": "file" if found.gives_boxes else "points",
            **{key: round(float(np.percentile(sides, q)), 1) for key, q in (("p5", 5), ("median", 50), ("p95", 95))},
        },
        "splits": _counts([frame.split for frame in found.frames]),
        "labellers": _counts([frame.labeller for frame in found.frames]),
        "notes": list(found.notes),
    }


def _counts(values: Sequence[str | None]) -> dict[str, int]:
    return dict(Counter(value for value in values if value is not None))


def _print(found: Labels, facts: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    skeleton, subjects = found.skeleton, facts["subjects"]
    console.print(
        f"[bold]{escape(facts['format'])}[/]: {escape(skeleton.name)}, {len(skeleton.joints)} joints, "
        f"{len(skeleton.edges)} bones, {len(skeleton.left_right)} pairs left and right"
    )
    most = facts["most_subjects"]
    pictures = f"{facts['pictures']} labelled pictures, {subjects} subjects"
    pictures += f" (up to {most} in one)" if most > 1 else ""
    pictures += f", {facts['unlabelled']} further pictures without labels" if facts["unlabelled"] else ""
    console.print(pictures)
    box = facts["box_px"]
    console.print(
        f"longer side of a box (from the {box['from']}): {box['median']:g} px, p5 {box['p5']:g}, p95 {box['p95']:g}"
    )
    for key in ("splits", "labellers"):
        if facts[key]:
            console.print(f"{key}: " + ", ".join(f"{escape(name)} {n}" for name, n in facts[key].items()))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("joint", overflow="fold")
    for title in ("labelled", "share", *(("hidden",) if found.says_hidden else ())):
        table.add_column(title, justify="right")
    for joint in facts["joints"]:
        share = f"{100 * joint['labelled'] / max(subjects, 1):.0f} %"
        more = (str(joint["hidden"]),) if found.says_hidden else ()
        table.add_row(escape(joint["name"]), str(joint["labelled"]), share, *more)
    console.print(table)
    if len(facts["cameras"]) > 1:
        _print_cameras(console, facts)
    if facts["missing"]:
        lost = sum(camera["missing"] for camera in facts["cameras"])
        names = ", ".join(facts["missing"][:_LISTED])
        rest = f" and {len(facts['missing']) - _LISTED} more" if len(facts["missing"]) > _LISTED else ""
        console.print(f"[yellow]{lost} pictures are missing[/]: {escape(names)}{rest} (--pictures FOLDER says where)")
    for note in facts["notes"]:
        console.print(f"[dim]{escape(note)}[/]")


def _print_cameras(console: Any, facts: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("camera", overflow="fold")
    for title in ("pictures", "missing"):
        table.add_column(title, justify="right")
    for camera in facts["cameras"]:
        table.add_row(escape(camera["name"] or "-"), str(camera["pictures"]), str(camera["missing"]))
    console.print(table)
    spread = ", ".join(
        f"{count} in {n} camera{'s' * (n != '1')}" for n, count in facts["moments"]["by_cameras"].items()
    )
    console.print(f"{facts['moments']['all']} moments: {spread}")
