"""`rigpose calibrate refine`: extrinsics solved anew from a subject's keypoints, and what else says of them."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from calib.convert import read_any
from calib.observations import BROKEN_NPZ, load_views
from calib.outcome import Outcome
from calib.refine import Confirmation, Refined, confirm, confirmed, refine
from calib.rig import Rig, write_rig
from nodes.calibrate.keypoints import Sightings, sightings
from nodes.calibrate.recorded_rig import RecordedRig
from nodes.calibrate.report import Context
from nodes.calibrate.solve import Out, check_free, command_line, draw
from rigpose.errors import ConfigError, ExitCode

MOST_ROWS = 2000
"""Poses that are used: more tell the same joints of the same subject once again."""


def run(
    source: str,
    out: Out,
    *,
    rig_file: Path | None,
    units: str | None,
    confirm_with: Sequence[str],
    min_confidence: float | None,
    seconds: float,
    run_dir: Path | None,
    quiet: bool = False,
) -> int:
    """Refine a rig.

    Args:
        source: A session, ``running`` or an ``.npz``; see `sightings`.
        out: Where results go.
        rig_file: The rig to refine; by default the one that the source names.
        units: Of that file, where it does not say them.
        confirm_with: Sessions, keypoints or board views that are not fitted.
        min_confidence: Of keypoints to use.
        seconds: How long to listen to a running rig.
        run_dir: Of the running rig.
        quiet: Do not show how much was heard of it so far.

    Returns:
        The exit code: 4 where the verdict is bad.
    """
    check_free(out.to)
    seen = sightings(source, seconds=seconds, run_dir=run_dir, quiet=quiet)
    given = None if rig_file is None else read_any(rig_file, None, units).rig
    before = _rig_of(seen, given)
    return refine_to_file(
        seen,
        before,
        seen.calibration if given is None else given,
        out,
        confirm_with=confirm_with,
        min_confidence=min_confidence,
    )


def refine_to_file(
    seen: Sightings,
    before: Rig,
    given: Rig | None,
    out: Out,
    *,
    confirm_with: Sequence[str] = (),
    min_confidence: float | None = None,
) -> int:
    """Refine a rig from keypoints, write what is to be written, and say it.

    Args:
        seen: The keypoints.
        before: The rig, for the pictures that they are in.
        given: The rig file whose lenses the new file keeps; ``None`` = those of ``before``.
        out: Where results go.
        confirm_with: See `run`.
        min_confidence: See `run`.

    Returns:
        The exit code: 4 where the verdict is bad.
    """
    seen = _thinned(seen.of(before.names))
    refined = refine(before, seen.px, seen.confidence, min_confidence=min_confidence)
    words = [_confirmation(one, before, refined.rig, seen) for one in confirm_with]
    if words:
        refined = confirmed(refined, words)
    final = _as_in(given, refined.rig, seen)
    outcome = Outcome(final, _grade(refined), refined.findings)
    bad = outcome.verdict == "bad"
    written = None
    if not bad or out.write_bad:
        write_rig(final, out.to)
        written = out.to
    context = Context(
        "Refinement from keypoints",
        source=seen.source,
        made={"command": command_line(), "network": seen.network, "parent": before.calibration_id},
        parts=_parts(refined, words),
    )
    report = draw(outcome, out, context)
    if out.json:
        document = _document(refined, words, seen, written, report)
        print(json_module.dumps(document, indent=2, allow_nan=False))
    else:
        _say(refined, words, written, report)
    return int(ExitCode.BAD_VERDICT if bad else ExitCode.OK)


def _rig_of(seen: Sightings, given: Rig | None) -> Rig:
    """The old rig, for the pictures that the keypoints are in."""
    known = None if seen.rig is None else RecordedRig(seen.rig, seen.calibration or seen.rig)
    if known is None and given is None:
        raise ConfigError(seen.source, "does not say which rig its keypoints belong to", "give --rig FILE")
    if known is not None and given is not None and set(given.names) != set(known.pictures.names):
        raise ConfigError(seen.source, _other_names(known.pictures, given), "name them alike")
    return placed(known, given, seen.source)


def _other_names(recorded: Rig, given: Rig) -> str:
    return f"has cameras {', '.join(recorded.names)}, --rig {', '.join(given.names)}"


def placed(known: RecordedRig | None, given: Rig | None, source: str) -> Rig:
    """A recording's cameras, with their pictures' sizes and lenses, where another rig file has them stand.

    Args:
        known: What the recording says; one of both is there.
        given: The other rig file.
        source: Names the recording in errors.
    """
    if known is None or given is None:
        rig = given if known is None else known.pictures
        assert rig is not None
        return rig
    pictures = known.pictures
    if not set(pictures.names) <= set(given.names):
        raise ConfigError(source, _other_names(pictures, given), "name them alike")
    return pictures.with_cameras(
        replace(camera, rvec=given[camera.name].rvec, t=given[camera.name].t) for camera in pictures.cameras
    )


def _as_in(given: Rig | None, refined: Rig, seen: Sightings) -> Rig:
    """The refined places with the lenses of the rig file, whatever was done to the pictures since."""
    parent = refined.metadata.get("parent") if given is None else given.calibration_id
    metadata = {
        **({} if given is None else given.metadata),
        **refined.metadata,
        "parent": parent,
        "refined_from": seen.source,
        "network": seen.network,
    }
    metadata = {key: value for key, value in metadata.items() if value not in (None, "")}
    metadata.pop("calibration_id", None)
    if given is None:
        return Rig(refined.cameras, metadata)
    return Rig(
        tuple(replace(camera, rvec=refined[camera.name].rvec, t=refined[camera.name].t) for camera in given.cameras),
        metadata,
    )


def _thinned(seen: Sightings) -> Sightings:
    rows = seen.px.shape[1]
    if rows <= MOST_ROWS:
        return seen
    picks = np.linspace(0, rows - 1, MOST_ROWS).round().astype(int)
    return replace(seen, px=seen.px[:, picks], confidence=seen.confidence[:, picks], time_s=seen.time_s[picks])


def _confirmation(source: str, before: Rig, after: Rig, fitted: Sightings) -> Confirmation:
    """What a source that was not fitted says."""
    path = Path(source)
    if path.suffix.lower() == ".npz" and _holds_views(path):
        views = load_views(path).of(before.names)
        sizes = {camera.name: camera.size for camera in before.cameras}
        for name, size in zip(views.names, views.sizes, strict=True):
            if size != sizes[name]:
                raise ConfigError(
                    path, f"has pictures of {size[0]}x{size[1]} px of {name}, the rig {sizes[name]}", "film it again"
                )
        return confirm(before, after, views.px, what=f"board views {path.name}")
    other = _thinned(sightings(source).of(before.names))
    if other.network == fitted.network and other.network:
        raise ConfigError(
            source, f"was made by {other.network} too, and a network cannot confirm itself",
            "give another network's keypoints, board views or scene points",
        )  # fmt: skip
    return confirm(before, after, other.px, other.confidence, what=other.network or path.name)


def _holds_views(path: Path) -> bool:
    try:
        with np.load(path, allow_pickle=False) as data:
            return "target_mm" in data.files
    except BROKEN_NPZ:
        return False


def _grade(refined: Refined) -> Any:
    return refined.verdict


def _say(refined: Refined, words: Sequence[Confirmation], written: Path | None, report: Path | None) -> None:
    before, after = refined.before, refined.after
    print(f"verdict: {refined.verdict}")
    for finding in refined.findings:
        print(f"  {finding.level}: {finding}")
    gain = 100 * (1 - after.median_px / before.median_px)
    print(
        f"keypoints: median {before.median_px:.2f} -> {after.median_px:.2f} px ({gain:.0f} % less), {after.n} of them"
    )
    print(f"held out: median {refined.held_out_before:.2f} -> {refined.held_out_after:.2f} px")
    print(f"scale: distances between cameras times {refined.scale_ratio:.4f}")
    for move in refined.moves:
        print(
            f"  {move.camera}: moved {move.moved_mm:.1f} +- {move.moved_deviation_mm:.1f} mm, "
            f"turned {move.turned_deg:.2f} +- {move.turned_deviation_deg:.2f} degrees"
        )
    for word in words:
        print(f"confirmation: {word}")
    if report is not None:
        print(f"report: {report}")
    print(f"rig: {written}" if written else "no rig file was written (--write-bad writes it all the same)")


def _parts(refined: Refined, words: Sequence[Confirmation]) -> list[dict[str, Any]]:
    names = [move.camera for move in refined.moves]
    rows = [
        [name, f"{b:.2f}", f"{a:.2f}", f"{100 * (1 - a / b):.0f} %" if b > 0 else ""]
        for name, b, a in zip(names, refined.before.cameras_px, refined.after.cameras_px, strict=True)
    ]
    b, a = refined.before, refined.after
    rows.append(["all", f"{b.median_px:.2f}", f"{a.median_px:.2f}", f"{100 * (1 - a.median_px / b.median_px):.0f} %"])
    rows.append(["held out", f"{refined.held_out_before:.2f}", f"{refined.held_out_after:.2f}", ""])
    moves = [
        [
            move.camera,
            f"{move.moved_mm:.1f} ± {move.moved_deviation_mm:.1f}",
            f"{move.turned_deg:.2f} ± {move.turned_deviation_deg:.2f}",
        ]
        for move in refined.moves
    ]
    parts: list[dict[str, Any]] = [
        {
            "title": "Residuals of the keypoints",
            "text": "Medians in px, of all views, rejected ones included. A smaller residual alone proves nothing: a "
            "network's bias in one view looks like a camera that was moved.",
            "table": {"head": ["camera", "before", "after", "less by"], "rows": rows},
        },
        {
            "title": "How the cameras changed",
            "text": f"The scale was held: distances between cameras are {refined.scale_ratio:.4f} of the old ones.",
            "table": {"head": ["camera", "moved, mm", "turned, degrees"], "rows": moves},
        },
    ]
    if words:
        told = [
            [
                word.what,
                f"{word.before_px:.2f}",
                f"{word.after_px:.2f}",
                f"{word.low:.2f} – {word.high:.2f}",
                word.verdict,
            ]
            for word in words
        ]
        parts.append(
            {
                "title": "What was not fitted says",
                "text": "Median residual in px with the old rig and the new one; ratio with its 95 % interval.",
                "table": {"head": ["source", "before", "after", "ratio", "verdict"], "rows": told},
            }
        )
    return parts


def _document(
    refined: Refined, words: Sequence[Confirmation], seen: Sightings, written: Path | None, report: Path | None
) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, float):
            return value if np.isfinite(value) else None
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list | tuple) else value

    return plain(
        {
            "verdict": refined.verdict,
            "findings": [asdict(finding) for finding in refined.findings],
            "source": seen.source,
            "network": seen.network,
            "before": asdict(refined.before),
            "after": asdict(refined.after),
            "held_out_before_px": refined.held_out_before,
            "held_out_after_px": refined.held_out_after,
            "scale_ratio": refined.scale_ratio,
            "moves": [asdict(move) for move in refined.moves],
            "confirmations": [asdict(word) for word in words],
            "file": None if written is None else str(written),
            "report": None if report is None else str(report),
        }
    )
