"""3D poses of a file, for `rigpose labels`: what they hold, and a look at them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from calib.quality import judge
from capture.labels import Poses3D, write_poses3d

_LISTED = 5


def show(
    poses: Poses3D, path: Path, *, png: Path | None = None, write: Path | None = None, as_json: bool = False
) -> int:
    """Say what poses hold, draw some of them, or write them as our own npz.

    Args:
        poses: What was read.
        path: Of which file.
        png: A sheet to draw.
        write: A file of our own to write.
        as_json: Print JSON.

    Raises:
        RigposeError: A file cannot be written.
    """
    if write is not None:
        write_poses3d(poses, write)
    if png is not None:
        from nodes.pose_sheet import write_sheet

        drawn = write_sheet(poses, png)
    facts = summary(poses)
    if as_json:
        print(json.dumps({"schema": 1, "path": str(path), **facts}, indent=2, ensure_ascii=False))
        return 0
    _print(facts)
    if png is not None:
        print(f"{png}: {drawn} poses")
    if write is not None:
        print(f"{write}: all poses, in our own form")
    return 0


def summary(poses: Poses3D) -> dict[str, Any]:
    """What is worth knowing about 3D poses, as plain values."""
    there = poses.there
    known = poses.position_mm[there]
    low, high = known.min(axis=0), known.max(axis=0)
    whole = there.any(axis=1)
    with np.errstate(invalid="ignore"):
        reach = np.where(there[..., None], poses.position_mm, -np.inf).max(axis=1)
        reach = reach - np.where(there[..., None], poses.position_mm, np.inf).min(axis=1)
    sides = np.linalg.norm(reach[whole], axis=-1)
    off = poses.reprojection_px()
    return {
        "format": poses.source,
        "skeleton": poses.skeleton.model_dump(mode="json"),
        "poses": len(poses),
        "rate_hz": poses.rate_hz,
        "subjects": [
            {
                "name": str(one),
                "poses": int((poses.subject == one).sum()),
                "frames": [int(frames.min()), int(frames.max())],
            }
            for one in poses.subjects
            for frames in [poses.frame[poses.subject == one]]
        ],
        "missing_share": round(float(1 - there.mean()), 4),
        "joints": [
            {"name": name, "missing_share": round(float(1 - there[:, joint].mean()), 4)}
            for joint, name in enumerate(poses.skeleton.joints)
        ],
        "extent_mm": {"low": [round(float(v), 3) for v in low], "high": [round(float(v), 3) for v in high]},
        "size_mm": round(float(np.median(sides)), 3),
        "bones_mm": _bones(poses),
        "cameras": _cameras(poses, off),
        "reprojection_px": None if off is None else _spread(off),
        "rig": None if poses.rig is None else _verdict(poses),
        "notes": list(poses.notes),
    }


def _bones(poses: Poses3D) -> list[dict[str, Any]]:
    found = []
    for a, b in poses.skeleton.edges:
        length = np.linalg.norm(poses.position_mm[:, a] - poses.position_mm[:, b], axis=-1)
        length = length[np.isfinite(length)]
        if len(length):
            names = [poses.skeleton.joints[a], poses.skeleton.joints[b]]
            found.append(
                {"joints": names, "mean": round(float(length.mean()), 3), "std": round(float(length.std()), 3)}
            )
    return found


def _spread(off: np.ndarray) -> dict[str, Any] | None:
    known = off[np.isfinite(off)]
    if not len(known):
        return None
    p95 = round(float(np.percentile(known, 95)), 3) if len(known) >= 60 else None
    return {"median": round(float(np.median(known)), 3), "p95": p95, "n": len(known)}


def _cameras(poses: Poses3D, off: np.ndarray | None) -> list[dict[str, Any]]:
    if poses.rig is None:
        return []
    found = []
    for v, camera in enumerate(poses.rig.cameras):
        seen = None if poses.points2d is None else round(float(np.isfinite(poses.points2d[:, v, :, 0]).mean()), 4)
        size = list(camera.size) if min(camera.size) > 0 else None
        spread = None if off is None else _spread(off[:, v])
        found.append({"name": camera.name, "size": size, "seen_share": seen, "reprojection_px": spread})
    return found


def _verdict(poses: Poses3D) -> dict[str, Any]:
    assert poses.rig is not None
    said = judge(poses.rig)
    findings = [str(one) for one in said.findings if one.level != "note" and "has no size" not in one.what]
    verdict = said.verdict if findings or said.verdict == "bad" else "good"
    return {"calibration_id": poses.rig.calibration_id, "verdict": verdict, "findings": findings}


def _print(facts: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    skeleton = facts["skeleton"]
    console.print(
        f"[bold]{escape(facts['format'])}[/]: {escape(skeleton['name'])}, {len(skeleton['joints'])} joints, "
        f"{len(skeleton['edges'])} bones, {len(skeleton['left_right'])} pairs left and right"
    )
    rate = "rate not known" if facts["rate_hz"] is None else f"{facts['rate_hz']:g} Hz"
    missing = f"{100 * facts['missing_share']:.1f} % of the joints missing"
    console.print(f"{facts['poses']} poses in 3D, {rate}, {missing}")
    for one in facts["subjects"][:_LISTED]:
        name = escape(one["name"] or "-")
        console.print(f"{name}: {one['poses']} poses, frames {one['frames'][0]} to {one['frames'][1]}")
    if len(facts["subjects"]) > _LISTED:
        console.print(f"and {len(facts['subjects']) - _LISTED} more subjects")
    pairs = zip("xyz", facts["extent_mm"]["low"], facts["extent_mm"]["high"], strict=True)
    spans = ", ".join(f"{axis} {low:.4g} to {high:.4g}" for axis, low, high in pairs)
    console.print(f"extent: {spans} mm; a pose is {facts['size_mm']:.4g} mm across in the median")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("joint", overflow="fold")
    table.add_column("missing", justify="right")
    for joint in facts["joints"]:
        table.add_row(escape(joint["name"]), f"{100 * joint['missing_share']:.1f} %")
    console.print(table)
    if facts["cameras"]:
        _print_cameras(console, facts)
    for note in facts["notes"]:
        console.print(f"[dim]{escape(note)}[/]")


def _print_cameras(console: Any, facts: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("camera", overflow="fold")
    for title in ("size", "seen", "reprojection", "p95"):
        table.add_column(title, justify="right")
    for camera in facts["cameras"]:
        size = "-" if camera["size"] is None else "x".join(map(str, camera["size"]))
        seen = "-" if camera["seen_share"] is None else f"{100 * camera['seen_share']:.0f} %"
        spread = camera["reprojection_px"]
        median = "-" if spread is None else f"{spread['median']:.2f} px"
        p95 = "-" if spread is None or spread["p95"] is None else f"{spread['p95']:.2f} px"
        table.add_row(escape(camera["name"]), size, seen, median, p95)
    console.print(table)
    spread = facts["reprojection_px"]
    if spread is not None:
        p95 = "" if spread["p95"] is None else f", p95 {spread['p95']:.3f} px"
        console.print(f"reprojection: median {spread['median']:.3f} px{p95}, {spread['n']} points")
    if facts["rig"]["verdict"] != "good":
        for finding in (one for one in facts["rig"]["findings"] if f"cameras: {one}" not in facts["notes"]):
            console.print(f"[yellow]cameras, {facts['rig']['verdict']}[/]: {escape(finding)}")
