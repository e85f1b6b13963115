"""What a rig file shows by itself: mistakes that need no picture to be seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from calib.camera import Camera
from calib.rig import Rig, nearest_to_axes
from calib.rotation import angle_deg

Level = Literal["note", "suspect", "bad"]

_WORST_FIRST: tuple[Level, ...] = ("bad", "suspect", "note")

FLOOR = "floor"
"""What ``metadata.world`` says once z is up and zero on the floor."""
OUTSIDE_CIRCLE = 0.6
"""Share of a picture that a fisheye's image circle leaves out: 56 % where it just fits into 16:9."""
SAME_PLACE = 1e-4
"""Camera centres nearer than this share of the working distance are one place."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong or odd.

    Attributes:
        level: ``note`` does not change the verdict.
        cameras: Names of those it is about; empty = the whole rig.
        what: In one sentence.
        remedy: What to do.
    """

    level: Level
    cameras: tuple[str, ...]
    what: str
    remedy: str

    def __str__(self) -> str:
        who = f"{', '.join(self.cameras)}: " if self.cameras else ""
        return f"{who}{self.what} ({self.remedy})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `judge` says of a rig: its findings, the worst first."""

    verdict: Literal["good", "suspect", "bad"]
    findings: tuple[Finding, ...]

    def __str__(self) -> str:
        return "; ".join([self.verdict, *map(str, self.findings)])


def judge(rig: Rig) -> Verdict:
    """Look for what cannot be, or can hardly be, in a rig; needs neither pictures nor points."""
    findings = [finding for camera in rig.cameras for finding in _camera(camera)]
    findings += [*_places(rig), *_directions(rig), *_distances(rig), *_metadata(rig)]
    if rig.metadata.get("world") == FLOOR:
        findings += below_floor(rig)
    return verdict_of(findings)


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """The verdict that findings come to, and they, the worst first."""
    findings = tuple(sorted(findings, key=lambda finding: _WORST_FIRST.index(finding.level)))
    worst = findings[0].level if findings else "note"
    return Verdict("good" if worst == "note" else worst, findings)


def below_floor(rig: Rig) -> tuple[Finding, ...]:
    """Cameras under the plane z = 0 of a rig whose world is said to stand on the floor.

    Where the metadata say ``transparent_floor = true``, some may (not all).
    """
    heights = {camera.name: float(camera.center_mm[2]) for camera in rig.cameras}
    below = tuple(name for name, height in heights.items() if height < 0)
    if not below:
        return ()
    lowest = min(heights.values())
    if len(below) == len(rig):
        what = f"all cameras stand below the floor (down to {lowest:.0f} mm): the world is upside down"
        remedy = "was the board upside down, or its pose mirrored? set the origin again: rigpose calibrate origin"
        return (Finding("bad", (), what, remedy),)
    if rig.metadata.get("transparent_floor") is True:
        return ()
    what = f"below the floor (z = {lowest:.0f} mm)" if len(below) == 1 else f"below the floor (down to {lowest:.0f} mm)"
    remedy = "set the origin again; if they look through the floor, write transparent_floor = true under [metadata]"
    return (Finding("bad", below, what, remedy),)


def _camera(camera: Camera) -> Iterator[Finding]:
    name = (camera.name,)
    if min(camera.size) <= 0:
        yield Finding("suspect", name, "has no size, so its pictures cannot be checked", "add size = [width, height]")
        return
    size = np.array(camera.size, float)
    focal = np.array([camera.K[0, 0], camera.K[1, 1]])
    ratio = float(focal.max() / focal.min())
    if ratio > 1.25:
        level: Level = "bad" if ratio > 2 else "suspect"
        yield Finding(
            level, name, f"fx and fy differ by a factor of {ratio:.2f}", "pixels are nearly square: calibrate again"
        )
    view_deg = float(np.degrees(2 * np.arctan(size.max() / 2 / focal.min())))
    if view_deg < 0.3:
        yield Finding(
            "bad",
            name,
            f"its focal length makes a view of {view_deg:.2f} degrees",
            "is it in mm instead of px? calibrate",
        )
    elif view_deg > 130 and not camera.fisheye:
        level = "bad" if view_deg > 160 else "suspect"
        what = (
            f"its focal length of {focal.min():.0f} px makes a view of {view_deg:.0f} degrees without a fisheye model"
        )
        yield Finding(level, name, what, "is it in mm instead of px, or for a smaller picture? calibrate")
    yield from _principal_point(camera, size)
    lost = _share_without_ray(camera)
    if lost > 0 and camera.fisheye:
        level = "suspect" if lost > OUTSIDE_CIRCLE else "note"
        what = (
            f"{100 * lost:.0f} % of the picture has no ray: what a fisheye images ends before, or lies 90 degrees aside"
        )
        yield Finding(level, name, what, "nothing, if the picture is black there; else calibrate with views of it")
    elif lost > 0:
        level = "suspect" if lost > 0.1 else "note"
        what = f"its distortion folds back: {100 * lost:.0f} % of the picture has no ray"
        yield Finding(level, name, what, "calibrate with board views that reach the corners, or as fisheye")


def _principal_point(camera: Camera, size: np.ndarray) -> Iterator[Finding]:
    point = camera.K[:2, 2] + 0.5
    middle = size / 2
    whole = camera.sensor_size is not None
    if whole:
        point = point * camera.binning + camera.roi_offset
        middle = np.array(camera.sensor_size, float) / 2
    off = np.abs(point - middle) / (2 * middle)
    swapped = np.abs(point - middle[::-1]) / (2 * middle[::-1])
    name = (camera.name,)
    at = f"principal point ({camera.K[0, 2]:.0f}, {camera.K[1, 2]:.0f}) in {camera.size[0]}x{camera.size[1]}"
    # Lenses are off by a few percent: one that is far off, and hardly off once x and y are exchanged, was swapped.
    # A tilted sensor's principal point may lie anywhere near: it is not the picture's middle that its axis meets.
    tilted = not camera.fisheye and bool(camera.dist[12:].any())
    if not tilted and off.max() > 0.08 and swapped.max() < min(0.1, 0.55 * off.max()):
        yield Finding("bad", name, f"{at}: x and y are swapped", "swap cx and cy, or width and height")
    elif ((point < 0) | (point > 2 * middle)).any():
        yield Finding("bad", name, f"{at} lies outside", "is K for another picture size or region? calibrate")
    elif off.max() > 0.2:
        remedy = (
            "calibrate again" if whole else "if the picture is a region of the sensor, give sensor_size and roi_offset"
        )
        yield Finding("suspect", name, f"{at} is {100 * off.max():.0f} % of the picture away from its centre", remedy)


def _share_without_ray(camera: Camera) -> float:
    x, y = (np.linspace(0, n - 1, 25) for n in camera.size)
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    return float(np.isnan(camera.undistort(grid)).any(axis=-1).mean())


def _places(rig: Rig) -> Iterator[Finding]:
    """Cameras that stand at one place."""
    reach = max(rig.working[1], 1e-9)
    for a, b in combinations(rig.cameras, 2):
        apart = float(np.linalg.norm(a.center_mm - b.center_mm))
        if apart > SAME_PLACE * reach:
            continue
        pair = (a.name, b.name)
        turn = float(angle_deg(a.R, b.R))
        unplaced = all(not camera.rvec.any() and not camera.t.any() for camera in (a, b))
        if unplaced:
            yield Finding(
                "bad", pair, "have no rotation and no translation: they were never placed", "calibrate the extrinsics"
            )
        elif turn < 0.1 and np.array_equal(a.K, b.K):
            yield Finding(
                "bad", pair, "are identical: one is a copy of the other", "calibrate again; one of them is wrong"
            )
        elif turn < 0.1:
            yield Finding(
                "bad", pair, "stand at the same place and look the same way", "calibrate again; one of them is wrong"
            )
        else:
            yield Finding(
                "suspect", pair, "stand at the same place: together they see no depth", "check that they really do"
            )


def _directions(rig: Rig) -> Iterator[Finding]:
    """Cameras that do not look at what the others look at."""
    if len(rig) < 2:
        yield Finding("note", (), "one camera sees no depth", "positions need a second camera or a lifting model")
        return
    axes = np.stack([camera.axis for camera in rig.cameras])
    centers = np.stack([camera.center_mm for camera in rig.cameras])
    point = nearest_to_axes(rig.cameras)
    if point is None:
        opposed = tuple(c.name for c in rig.cameras if c.axis @ axes[0] < 0)
        if opposed:
            yield Finding(
                "bad", opposed, f"look away from {rig.names[0]}", "is the rotation the inverse? calibrate again"
            )
        elif "working_distance_mm" not in rig.metadata:
            what = "all optical axes are parallel, so the working distance is a guess"
            yield Finding("note", (), what, "write working_distance_mm under [metadata]")
        return
    ahead = ((point - centers) * axes).sum(axis=-1)
    behind = ahead <= 0
    away = tuple(c.name for c, is_behind in zip(rig.cameras, behind, strict=True) if is_behind)
    if away:
        some = "look away from where the rig's optical axes meet"
        yield Finding("bad", away, some, "is the rotation the inverse (camera to world)? calibrate again")
        return
    outside = []
    for camera, in_front in zip(rig.cameras, ahead, strict=True):
        if min(camera.size) <= 0:
            continue
        sideways = float(np.linalg.norm(np.cross(point - camera.center_mm, camera.axis)))
        widest = np.linalg.norm(
            np.maximum(camera.K[:2, 2], np.array(camera.size) - camera.K[:2, 2]) / camera.K[[0, 1], [0, 1]]
        )
        if camera.fisheye:
            widest = np.tan(min(float(widest), 1.5))
        if sideways / in_front > widest:
            outside.append(camera.name)
    if outside:
        what = "do not see the point that all optical axes pass nearest to"
        yield Finding("suspect", tuple(outside), what, "check that they share a view with the others")


def _distances(rig: Rig) -> Iterator[Finding]:
    """Units that cannot be."""
    if len(rig) < 2:
        return
    centers = np.stack([camera.center_mm for camera in rig.cameras])
    largest = float(np.linalg.norm(centers[:, None] - centers[None], axis=-1).max())
    if largest == 0:
        return
    remedy = "read it with --units mm|cm|m as it was calibrated"
    if largest < 1 or largest > 1e6:
        yield Finding("bad", (), f"the units are wrong: the cameras stand {largest:.3g} mm apart", remedy)
    elif largest < 10 or largest > 1e5:
        yield Finding("suspect", (), f"the units look wrong: the cameras stand {largest:.3g} mm apart", remedy)


def _metadata(rig: Rig) -> Iterator[Finding]:
    stated = rig.metadata.get("calibration_id")
    if stated not in (None, rig.calibration_id):
        yield Finding(
            "suspect", (), f"was edited: its calibration_id is {stated}, not {rig.calibration_id}", "calibrate again"
        )
    error = rig.metadata.get("error")
    if isinstance(error, int | float) and error > 3:
        yield Finding("suspect", (), f"the file states a reprojection error of {error:.1f} px", "calibrate again")
