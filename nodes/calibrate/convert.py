"""`rigpose calibrate convert`: a rig from one program's camera file into another's, tried on the way."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Any

from calib import convert, formats
from calib.quality import Verdict, judge
from calib.rig import Rig
from rigpose.errors import ExitCode


def run(
    source: Path,
    to: Path | None = None,
    *,
    format: str | None = None,
    to_format: str | None = None,
    units: str | None = None,
    size: tuple[int, int] | None = None,
    upright: bool = False,
    pick: str | None = None,
    exact: bool = False,
    write_bad: bool = False,
    json: bool = False,
) -> int:
    """Read a rig, say what it is and how far it can be trusted, and write it.

    Args:
        source: A camera file or folder.
        to: Where it goes; ``None`` = only look.
        format: Of the source; ``None`` = recognised.
        to_format: Of the target; ``None`` = by its suffix.
        units: mm, cm or m, where the source does not say it.
        size: Of the pictures, where the source does not say it.
        upright: The pictures were turned upright, as the source says.
        pick: Which part of a source that holds several.
        exact: Keep a skew and a principal point far from the middle as they are.
        write_bad: Write although the verdict is bad.
        json: Print one JSON document.

    Returns:
        The exit code: 4 where the rig is bad, whether it was written or not.
    """
    imported = convert.read_any(source, format, units, size=size, upright=upright, pick=pick)
    rig, notes = imported.rig, list(imported.notes)
    check = imported.check
    if not exact:
        rig, more = _for_live_use(rig)
        notes += more
        if more and imported.views is not None:
            check = convert.reproject(rig, imported.views)
    verdict = judge(rig)
    bad = verdict.verdict == "bad"
    written = to is not None and (write_bad or not bad)
    if to is not None and written:
        notes += convert.write_any(rig, to, to_format)
    document = _document(source, imported, check, rig, verdict, notes, to if written else None)
    print(json_module.dumps(document, indent=2) if json else _text(document, to is not None))
    return int(ExitCode.BAD_VERDICT if bad else ExitCode.OK)


def _for_live_use(rig: Rig) -> tuple[Rig, tuple[str, ...]]:
    bare = [camera.name for camera in rig.cameras if camera.skew and min(camera.size) <= 0]
    if bare:
        return rig, (f"the skew of {', '.join(bare)} is kept: replacing it needs --size",)
    return convert.for_live_use(rig)


def _document(
    source: Path,
    imported: convert.Imported,
    check: convert.Reprojection | None,
    rig: Rig,
    verdict: Verdict,
    notes: list[str],
    written: Path | None,
) -> dict[str, Any]:
    return {
        "source": str(source),
        "format": imported.format,
        "calibration_id": rig.calibration_id,
        "cameras": [
            {
                "name": camera.name,
                "size": list(camera.size),
                "focal_px": [float(camera.K[0, 0]), float(camera.K[1, 1])],
                "lens": f"fisheye {len(camera.dist)}" if camera.fisheye else f"pinhole {len(camera.dist)}",
                "center_mm": camera.center_mm.tolist(),
                "reprojection_px": None if check is None else check.cameras.get(camera.name),
            }
            for camera in rig.cameras
        ],
        "check": _check(check),
        "check_as_in_the_file": _check(imported.check),
        "verdict": verdict.verdict,
        "findings": [str(finding) for finding in verdict.findings],
        "notes": notes,
        "written": None if written is None else str(written),
    }


def _check(check: convert.Reprojection | None) -> dict[str, Any] | None:
    if check is None:
        return None
    numbers = {"n": check.n, "behind": check.behind, "median_px": check.median_px, "p95_px": check.p95_px}
    return {"of": check.what, **numbers}


def _text(document: dict[str, Any], wanted: bool) -> str:
    title = getattr(formats.module_of(document["format"]), "TITLE", document["format"])
    lines = [f"{document['source']}: {title}, {len(document['cameras'])} cameras"]
    width = max(len(camera["name"]) for camera in document["cameras"])
    for camera in document["cameras"]:
        size = "x".join(map(str, camera["size"])) if all(camera["size"]) else "no size"
        place = ", ".join(f"{value:.1f}" for value in camera["center_mm"])
        focal = f"f {camera['focal_px'][0]:.1f} px"
        tried = camera["reprojection_px"]
        tail = "" if document["check"] is None else f"  {'sees none' if tried is None else f'{tried:.3g} px'}"
        lines.append(
            f"  {camera['name']:<{width}}  {size:>9}  {focal:>13}  {camera['lens']:<10}  at ({place}) mm{tail}"
        )
    if document["check"] is None:
        lines.append("  not tried: the file holds no points in 3D and in the pictures")
    else:
        before, after = document["check_as_in_the_file"], document["check"]
        lines.append(f"  reprojection of {after['of']}: {_figures(after)}")
        if before != after:
            lines.append(f"  with the cameras as they stand in the file: {_figures(before)}")
    lines += [f"  note: {note}" for note in document["notes"]]
    lines.append(f"  verdict by itself: {document['verdict']}")
    lines += [f"    {finding}" for finding in document["findings"]]
    if document["written"]:
        lines.append(f"  written: {document['written']}")
    elif wanted:
        lines.append("  not written, for it is bad: --write-bad writes it all the same")
    return "\n".join(lines)


def _figures(check: dict[str, Any]) -> str:
    tail = "" if check["p95_px"] is None else f", p95 {check['p95_px']:.3g} px"
    behind = f", {check['behind']} behind their camera" if check["behind"] else ""
    return f"median {check['median_px']:.3g} px{tail} ({check['n']} seen{behind})"
