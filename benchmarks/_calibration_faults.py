"""Faults that calibration must recognise and name, and good rigs in which it must find none.

Each fault is put into a scene whose truth is known. What is said counts as *named* when the verdict is ``suspect`` or
``bad`` and a finding of that level says what it is and, where one camera is at fault, which one; as *noticed* when only
the verdict tells. With two cameras nothing tells which of them moved or lags: naming either will do.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from benchmarks._calibration_synthetic import CRASHED, lenses_of, scene_of, shape_of, solve, views_of_scene
from benchmarks._rigs import SIZE, BoardScene, board_scene, make_rig, moved
from calib.camera import Camera
from calib.check import check
from calib.quality import Finding
from calib.rig import Rig


@dataclass(frozen=True, slots=True)
class Said:
    """What was said of one scene.

    Attributes:
        verdict: good, suspect, unverified or bad.
        findings: Its reasons.
        culprits: Cameras any of which may be named; empty = the whole rig.
        right: Whether the answer is right in spite of the fault, so that there is nothing to name.
    """

    verdict: str
    findings: tuple[Finding, ...]
    culprits: tuple[str, ...] = ()
    right: bool = False

    @property
    def alarm(self) -> bool:
        """Whether the verdict speaks against the rig."""
        return self.verdict in ("suspect", "bad")

    def names(self, words: str) -> bool:
        """Whether a finding that moves the verdict says so, of a culprit."""
        return any(
            finding.level != "note" and re.search(words, str(finding), re.IGNORECASE) and self._is_about(finding)
            for finding in self.findings
        )

    def _is_about(self, finding: Finding) -> bool:
        if not self.culprits:
            return True
        return any(name in finding.cameras or re.search(rf"\b{name}\b", finding.what) for name in self.culprits)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, or none.

    Attributes:
        name: In words.
        by: What looked at it.
        words: A pattern that a finding must hold to name it; empty = a good rig.
        make: From a seed to what was said.
    """

    name: str
    by: str
    words: str
    make: Callable[[int], Said]

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.words


def _any_camera(seed: int, *, first: int = 0) -> int:
    """The camera that the seed hits."""
    return int(np.random.default_rng([seed, 11]).integers(first, shape_of(seed)[0]))


def _culprits(scene: BoardScene, view: int) -> tuple[str, ...]:
    names = scene.rig.names
    return names if len(names) == 2 else (names[view],)


def _calibrated(scene: BoardScene, seed: int, view: int | None = None, px: np.ndarray | None = None) -> Said:
    # Lenses are given to every second seed.
    outcome = solve(scene, given=seed % 2 == 0, px=px)
    return Said(outcome.verdict, outcome.reasons, () if view is None else _culprits(scene, view))


def _checked(rig: Rig, scene: BoardScene, view: int | None = None) -> Said:
    """The rig file, held against what a board was seen to do."""
    said = check(rig, boards=views_of_scene(scene)).verdict
    return Said(said.verdict, said.findings, () if view is None else _culprits(scene, view))


def good_calibrated(seed: int) -> Said:
    """Nothing is wrong."""
    return _calibrated(scene_of(seed), seed)


def good_checked(seed: int) -> Said:
    """The true rig, and a board."""
    scene = scene_of(seed)
    return _checked(scene.rig, scene)


def _moved_rig(scene: BoardScene, seed: int, how: str) -> tuple[Rig, int]:
    view = _any_camera(seed)
    camera = scene.rig.cameras[view]
    if how == "turned":
        return moved(scene.rig, camera.name, turned_deg=2.0, seed=seed), view
    distance = float(np.linalg.norm(camera.center_mm))
    return moved(scene.rig, camera.name, moved_mm=0.01 * distance, seed=seed), view


def _moved_meanwhile(seed: int, how: str) -> Said:
    """Somebody ran into a camera in the middle of the recording."""
    before = scene_of(seed)
    rig, view = _moved_rig(before, seed, how)
    after = scene_of(seed, rig=rig)
    half = before.px.shape[1] // 2
    px = np.concatenate([before.px[:, :half], after.px[:, half:]], axis=1)
    return _calibrated(before, seed, view, px)


def _moved_since(seed: int, how: str) -> Said:
    """The rig file is of the time before; the board was filmed after."""
    before = scene_of(seed)
    rig, view = _moved_rig(before, seed, how)
    return _checked(before.rig, scene_of(seed, rig=rig), view)


def turned_meanwhile(seed: int) -> Said:
    """By 2 degrees, halfway."""
    return _moved_meanwhile(seed, "turned")


def shifted_meanwhile(seed: int) -> Said:
    """By 1 % of its distance, halfway."""
    return _moved_meanwhile(seed, "shifted")


def turned_since(seed: int) -> Said:
    """By 2 degrees, after the calibration."""
    return _moved_since(seed, "turned")


def shifted_since(seed: int) -> Said:
    """By 1 % of its distance, after the calibration."""
    return _moved_since(seed, "shifted")


def disconnected(seed: int) -> Said:
    """One camera never sees the board at the same moment as another."""
    scene = scene_of(seed)
    view = _any_camera(seed)
    px = scene.px.copy()
    mine = np.arange(px.shape[1]) % 2 == 0
    px[view, ~mine] = np.nan
    others = np.delete(np.arange(len(px)), view)
    px[np.ix_(others, np.flatnonzero(mine))] = np.nan
    return _calibrated(scene, seed, view, px)


def delayed(seed: int) -> Said:
    """One camera shows everything one frame late."""
    view = _any_camera(seed)
    n_cameras, _ = shape_of(seed)
    delays = tuple(1.0 if v == view else 0.0 for v in range(n_cameras))
    scene = scene_of(seed, delay_frames=delays)
    return _calibrated(scene, seed, view)


def _with_swapped_centre(camera: Camera) -> Camera:
    K = camera.K.copy()
    K[0, 2], K[1, 2] = camera.K[1, 2], camera.K[0, 2]
    return replace(camera, K=K)


def swapped_given(seed: int) -> Said:
    """The lens file that was given has cx and cy swapped in one camera."""
    scene = scene_of(seed)
    view = _any_camera(seed)
    cameras = [_with_swapped_centre(c) if v == view else c for v, c in enumerate(scene.rig.cameras)]
    outcome = solve(scene, given=True, cameras=cameras)
    return Said(outcome.verdict, outcome.reasons, (scene.rig.names[view],))


def swapped_file(seed: int) -> Said:
    """The rig file has cx and cy swapped in one camera; nothing else is at hand."""
    rig = make_rig(seed, *shape_of(seed))
    view = _any_camera(seed)
    rig = rig.with_cameras(_with_swapped_centre(c) if v == view else c for v, c in enumerate(rig.cameras))
    said = check(rig).verdict
    return Said(said.verdict, said.findings, (rig.names[view],))


def identical_file(seed: int) -> Said:
    """The rig file holds one camera twice, as that of `mouse4-sleap` does."""
    rig = make_rig(seed, *shape_of(seed))
    view = _any_camera(seed, first=1)
    rig = rig.with_cameras(replace(rig.cameras[0], name=c.name) if v == view else c for v, c in enumerate(rig.cameras))
    said = check(rig).verdict
    return Said(said.verdict, said.findings, (rig.names[view],))


def identical_films(seed: int) -> Said:
    """One camera's film was given twice."""
    scene = scene_of(seed)
    view = _any_camera(seed, first=1)
    # The detector finds the same to the last bit, or nearly so after another encoding.
    noise = np.random.default_rng([seed, 12]).normal(0, 0.02, scene.px[0].shape)
    px = scene.px.copy()
    px[view] = px[0] + noise
    return _calibrated(replace(scene, px=px), seed, view)


def mirrored_file(seed: int) -> Said:
    """One camera of the rig file was placed by the mirrored pose of the board, as solvePnP gives it for one frame."""
    scene = scene_of(seed)
    view = _any_camera(seed)
    camera = scene.rig.cameras[view]
    mirrored = _mirrored_camera(camera, scene, view)
    rig = scene.rig.with_cameras(mirrored if v == view else c for v, c in enumerate(scene.rig.cameras))
    return _checked(rig, scene, view)


def _mirrored_camera(camera: Camera, scene: BoardScene, view: int) -> Camera:
    """Where the camera stands when the view whose mirrored pose is the likeliest is taken for it."""
    seen = np.isfinite(scene.clean_px[..., 0])
    together = (np.delete(seen, view, axis=0).sum(axis=-1) >= 10).any(axis=0)
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for frame in np.flatnonzero(together & (seen[view].sum(axis=-1) >= 10)):
        use = seen[view, frame] & ~scene.outlier[view, frame]
        target, xy = scene.target_mm[use], camera.undistort(scene.px[view, frame, use])
        if len(target) < 8:
            continue
        poses = []
        _, rvecs, tvecs, _ = cv2.solvePnPGeneric(target, xy, np.eye(3), None, flags=cv2.SOLVEPNP_IPPE)
        for rvec, t in zip(rvecs, tvecs, strict=True):
            rvec, t = cv2.solvePnPRefineLM(target, xy, np.eye(3), None, rvec, t)
            off = cv2.projectPoints(target, rvec, t, np.eye(3), None)[0][:, 0] - xy
            poses.append((float((off**2).sum()), cv2.Rodrigues(rvec)[0], t.ravel()))
        if len(poses) < 2:
            continue
        apart = np.degrees(np.linalg.norm(cv2.Rodrigues(poses[0][1] @ poses[1][1].T)[0]))
        ratio = poses[1][0] / poses[0][0]
        if apart > 10 and (best is None or ratio < best[0]):
            board = cv2.Rodrigues(scene.poses[frame, :3])[0]
            R = poses[1][1] @ board.T
            best = ratio, R, poses[1][2] - R @ scene.poses[frame, 3:]
    assert best is not None
    return replace(camera, rvec=cv2.Rodrigues(best[1])[0].ravel(), t=best[2])


def mirrored_views(seed: int) -> Said:
    """Few, small, noisy views of a small board, which look nearly the same mirrored."""
    n_cameras, fisheye = shape_of(seed)
    scene = board_scene(seed, n_cameras, 20, fisheye=fisheye, columns=4, rows=3, sigma_px=1.0)
    outcome = solve(scene, given=True)
    right = outcome.rig is not None and _worst_turn_deg(outcome.rig.cameras, scene.rig.cameras) < 5
    return Said(outcome.verdict, outcome.reasons, (), right)


def _worst_turn_deg(cameras: Sequence[Camera], true: Sequence[Camera]) -> float:
    worst = 0.0
    for a, b in zip(cameras, true, strict=True):
        turn = (a.R @ cameras[0].R.T) @ (b.R @ true[0].R.T).T
        worst = max(worst, float(np.degrees(np.linalg.norm(cv2.Rodrigues(turn)[0]))))
    return worst


_MOVED = r"moved|turned by"
FAULTS: tuple[Fault, ...] = (
    Fault("none", "calibrate", "", good_calibrated),
    Fault("none", "check with a board", "", good_checked),
    Fault("mirrored planar pose", "check with a board", r"mirror", mirrored_file),
    Fault("mirrored planar pose (small noisy board)", "calibrate", r"mirror|ambig|contested|two poses", mirrored_views),
    Fault("camera turned by 2 deg meanwhile", "calibrate", _MOVED, turned_meanwhile),
    Fault("camera moved by 1 % meanwhile", "calibrate", _MOVED, shifted_meanwhile),
    Fault("camera turned by 2 deg since", "check with a board", _MOVED, turned_since),
    Fault("camera moved by 1 % since", "check with a board", _MOVED, shifted_since),
    Fault("disconnected cameras", "calibrate", r"do not hang together|no common|never|film", disconnected),
    Fault("time offset of one frame", "calibrate", r"late|early|offset|behind|ahead|frame", delayed),
    Fault("swapped principal point", "calibrate, lenses given", r"swapped", swapped_given),
    Fault("swapped principal point", "check", r"swapped", swapped_file),
    Fault("two identical cameras", "check", r"identical|same place|copy", identical_file),
    Fault("two identical cameras (one film twice)", "calibrate", r"identical|same|copy|twice", identical_films),
)
"""All of issue 4, item 6, each by whatever a user has at hand when it happens."""


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table.

    Attributes:
        fault: Of what.
        n: Scenes.
        named: How many were named (or, where a right answer is one, solved right).
        noticed: How many more were only noticed.
        verdicts: How often each.
        example: A reason, in words.
        missed: Seeds that were neither.
    """

    fault: Fault
    n: int
    named: int
    noticed: int
    verdicts: dict[str, int]
    example: str
    missed: tuple[int, ...]

    def document(self) -> dict[str, object]:
        """All but the fault, for JSON."""
        return {key: getattr(self, key) for key in ("n", "named", "noticed", "verdicts", "example", "missed")}

    @classmethod
    def of(cls, fault: Fault, document: dict[str, Any]) -> Line:
        """The line of a document."""
        return cls(fault, **(document | {"missed": tuple(document["missed"])}))

    @property
    def alarms(self) -> int:
        """Verdicts against the rig."""
        return self.verdicts.get("suspect", 0) + self.verdicts.get("bad", 0)


def line_of(fault: Fault, seeds: Sequence[int], said: Sequence[Said]) -> Line:
    """Count."""
    if fault.good:
        hit = [False] * len(said)
        missed = tuple(seed for seed, one in zip(seeds, said, strict=True) if one.alarm)
    else:
        hit = [one.right or (one.alarm and one.names(fault.words)) for one in said]
        missed = tuple(seed for seed, one, is_hit in zip(seeds, said, hit, strict=True) if not (is_hit or one.alarm))
    noticed = sum(one.alarm and not is_hit for one, is_hit in zip(said, hit, strict=True))
    verdicts = dict(Counter(one.verdict for one in said))
    return Line(fault, len(said), sum(hit), noticed, verdicts, _example(fault, said), missed)


def _example(fault: Fault, said: Sequence[Said]) -> str:
    for one in said:
        for finding in one.findings:
            if finding.level != "note" and (fault.good or re.search(fault.words, str(finding), re.IGNORECASE)):
                return str(finding)
    return ""


def table_of(lines: Sequence[Line]) -> Any:
    """The table as rich draws it."""
    from rich.table import Table

    table = Table(title="fault against verdict", show_lines=False)
    for title in (
        "fault",
        "looked at by",
        "n",
        "named",
        "noticed",
        "silent",
        "good",
        "unverified",
        "suspect",
        "bad",
        "crashed",
    ):
        table.add_column(title, justify="left" if title in ("fault", "looked at by") else "right")
    for line in lines:
        silent = line.n - line.named - line.noticed
        counts = [str(line.verdicts.get(word, 0)) for word in ("good", "unverified", "suspect", "bad", CRASHED)]
        own = ("", "", "") if line.fault.good else (str(line.named), str(line.noticed), str(silent))
        table.add_row(line.fault.name, line.fault.by, str(line.n), *own, *counts)
    return table


__all__ = ["FAULTS", "SIZE", "Fault", "Line", "Said", "lenses_of", "line_of", "table_of"]
