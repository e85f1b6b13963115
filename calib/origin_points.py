"""The world of a rig from places that a person can name, and its scale from lengths that a person can measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.optimize import least_squares

from calib.quality import FLOOR
from calib.rig import Rig
from calib.triangulate import triangulate
from calib.world import Placed, Scale, Transform, above_floor, chosen_scale, heights_of, moved_world, rigid
from rigpose.errors import ConfigError


@dataclass(frozen=True, eq=False)
class NamedPoint:
    """A place that a person can name.

    Attributes:
        name: ``origin``, ``x``, ``y`` and ``floor...`` have a meaning where the new positions are not known.
        px: Raw px by camera name.
        world_mm: Where it is in the new world; ``None`` = not known.
    """

    name: str
    px: Mapping[str, tuple[float, float]]
    world_mm: tuple[float, float, float] | None = None


def triangulated(rig: Rig, points: Sequence[NamedPoint]) -> tuple[np.ndarray, np.ndarray]:
    """Old-world positions (P, 3) of points, NaN with fewer than two views; and their px (V, P, 2).

    Raises:
        ConfigError: A point is seen by a camera that the rig lacks.
    """
    px = np.full((len(rig), len(points), 2), np.nan)
    for p, point in enumerate(points):
        for camera, at in point.px.items():
            if camera not in rig.names:
                what = f"is named in camera {camera}, which the rig lacks"
                raise ConfigError(f"point {point.name}", what, f"it knows {', '.join(rig.names)}")
            px[rig.names.index(camera), p] = at
    found = triangulate(px, np.isfinite(px[..., 0]).astype(float), rig.arrays())
    return np.asarray(found), px


def from_points(
    rig: Rig,
    points: Sequence[NamedPoint],
    *,
    scale: Scale = "auto",
    transparent_floor: bool = False,
) -> Placed:
    """The world on the floor from named points.

    Where at least three points not in one line have known positions, these define the world. Otherwise ``origin``
    is its origin, ``x`` lies on its x axis, ``y`` on the side of y, and all named ``floor...`` lie on the floor too:
    z then points up from the plane through them, as seen from x towards y.

    Args:
        rig: As calibrated.
        points: Each in two views or more; with known positions one view counts too.
        scale: What to do where known positions and the rig's millimetre differ.
        transparent_floor: Cameras below the floor are meant to be there (not all of them).

    Raises:
        ConfigError: Points are missing, in one line, or not in enough views.
        VerdictError: Cameras come to stand below the floor.
    """
    found, px = triangulated(rig, points)
    known = np.array([p.world_mm is not None for p in points])
    if known.sum() >= 3:
        placed = _by_known(rig, points, found, px, known, scale)
        why = "the positions given are mirrored (x, y, z have to be right-handed, with z up)"
    else:
        placed = _by_axes(rig, points, found, px)
        why = "x and y are exchanged (z is up where x turns to y against the clock, seen from above)"
    if transparent_floor:
        new = replace(placed.rig, metadata={**placed.rig.metadata, "transparent_floor": True})
        placed = replace(placed, rig=new)
    return above_floor(placed, why)


def _by_known(
    rig: Rig, points: Sequence[NamedPoint], found: np.ndarray, px: np.ndarray, known: np.ndarray, scale: Scale
) -> Placed:
    world = np.array([p.world_mm if p.world_mm is not None else (np.nan,) * 3 for p in points], dtype=float)
    solid = known & np.isfinite(found).all(axis=-1)
    if solid.sum() < 3:
        raise ConfigError("points", "fewer than three known ones are seen by two cameras", "name them in more views")
    spread = np.linalg.svd(world[solid] - world[solid].mean(axis=0))[1]
    if spread[1] < 0.02 * spread[0]:
        raise ConfigError("points", "the known ones lie in one line, which fixes no floor", "name one beside it")
    a, b = found[solid] - found[solid].mean(axis=0), world[solid] - world[solid].mean(axis=0)
    wanted = float(np.sqrt((b**2).sum() / (a**2).sum()))
    R, t = rigid(found[solid] * wanted, world[solid])
    off = np.linalg.norm(found[solid] * wanted @ R.T + t - world[solid], axis=-1)
    free = max(3 * int(solid.sum()) - 7, 1)
    deviation = float(np.sqrt((off**2).sum() / free) / max(np.sqrt((b**2).sum()), 1e-9))
    factor = chosen_scale(wanted, deviation, scale, "the distance between known points")
    seen = np.isfinite(px[..., 0]) & known

    def transform_of(x: np.ndarray) -> Transform:
        turned = R @ cv2.Rodrigues(x[:3])[0]
        size = factor * float(np.exp(x[6])) if scale == "set" else factor
        shift = _shift + unit * x[3:6]
        return Transform(turned, -turned.T @ shift / size, size)

    _, _shift = _rigid_shift(found[solid] * factor, world[solid], R)
    unit = float(spread[0])

    def residual(x: np.ndarray) -> np.ndarray:
        transform = transform_of(x)
        parts = []
        for v, camera in enumerate(rig.cameras):
            moved = transform.camera(camera)
            parts.append((moved.project(world[seen[v]]) - px[v][seen[v]]).ravel())
        # The scale is held unless it is to be set.
        return np.append(np.nan_to_num(np.concatenate(parts), nan=1e3), 0.0 if scale == "set" else x[6])

    best = least_squares(residual, np.zeros(7), loss="soft_l1", f_scale=2.0, x_scale=np.full(7, 0.01))
    transform = transform_of(best.x)
    how = f"{int(known.sum())} points of known positions"
    new = moved_world(rig, transform, FLOOR, how)
    away = _away(new, world, px, known)
    notes = _wrong_points(points, away)
    mm = np.linalg.norm(transform.points(found[solid]) - world[solid], axis=-1)
    return Placed(
        new,
        how,
        float(np.nanmedian(away)),
        float(np.median(mm)),
        transform.scale,
        wanted,
        deviation,
        heights_of(new),
        notes,
    )


def _rigid_shift(source: np.ndarray, to: np.ndarray, R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return R, to.mean(axis=0) - R @ source.mean(axis=0)


def _away(rig: Rig, world: np.ndarray, px: np.ndarray, which: np.ndarray) -> np.ndarray:
    """(V, P) px; NaN = not seen or not asked."""
    away = np.stack([np.linalg.norm(c.project(world) - px[v], axis=-1) for v, c in enumerate(rig.cameras)])
    return np.where(which, away, np.nan)


def _wrong_points(points: Sequence[NamedPoint], away: np.ndarray) -> tuple[str, ...]:
    with np.errstate(all="ignore"):
        limit = max(10.0, 5 * float(np.nanmedian(away)))
    notes = []
    for p, point in enumerate(points):
        worst = away[:, p][np.isfinite(away[:, p])]
        if len(worst) and worst.max() > limit:
            notes.append(f"point {point.name} is {worst.max():.0f} px off: is it the same place in every view?")
    return tuple(notes)


def _by_axes(rig: Rig, points: Sequence[NamedPoint], found: np.ndarray, px: np.ndarray) -> Placed:
    names = [p.name for p in points]
    floor = [k for k, name in enumerate(names) if name in ("origin", "x", "y") or name.startswith("floor")]
    for name in ("origin", "x"):
        if name not in names:
            raise ConfigError(
                "points", f"there is no point named {name}", "name origin, x, and y (or floor1, floor2, ...)"
            )
    at = found[floor]
    for k in floor:
        if not np.isfinite(found[k]).all():
            raise ConfigError(f"point {names[k]}", "is not seen by two cameras", "name it in another view")
    if len(floor) < 3:
        raise ConfigError("points", "two points fix no floor", "name y, or floor1, floor2, ...")
    middle = at.mean(axis=0)
    spread, axes = np.linalg.svd(at - middle)[1:]
    if spread[1] < 0.02 * spread[0]:
        raise ConfigError("points", "those on the floor lie in one line, which fixes no floor", "name one beside it")
    up = axes[2]
    origin, x = found[names.index("origin")], found[names.index("x")]
    x_axis = x - origin - up * ((x - origin) @ up)
    length = float(np.linalg.norm(x_axis))
    if length < 1e-6:
        raise ConfigError("point x", "lies on the origin", "name a point along the x axis")
    x_axis /= length
    if "y" in names:
        # z is where x turns to y against the clock.
        if np.cross(x_axis, found[names.index("y")] - origin) @ up < 0:
            up = -up
    elif np.median([(c.center_mm - middle) @ up for c in rig.cameras]) < 0:
        up = -up
    R = np.stack([x_axis, np.cross(up, x_axis), up])
    # The origin is on the plane of all floor points, which is surer than one point.
    start = origin - up * ((origin - middle) @ up)
    transform = Transform(R, start)
    how = f"{len(floor)} named points on the floor"
    new = moved_world(rig, transform, FLOOR, how)
    every = np.isfinite(found).all(axis=-1)
    away = _away(rig, found, px, every)
    off = np.abs(transform.points(at)[:, 2])
    notes = list(_wrong_points(points, away))
    if len(floor) == 3:
        notes.append("three points always lie in a plane: name more on the floor to see how flat it is")
    nan = float("nan")
    return Placed(
        new, how, float(np.nanmedian(away)), float(np.median(off)), 1.0, nan, nan, heights_of(new), tuple(notes)
    )


def from_lengths(
    rig: Rig, points: Sequence[NamedPoint], lengths: Sequence[tuple[str, str, float]], *, scale: Scale = "set"
) -> Placed:
    """The scale from known distances of named points; the world's axes stay.

    Args:
        rig: As calibrated.
        points: Each in two views or more. A camera's name is where that camera stands.
        lengths: (one point, the other, mm).
        scale: ``set`` by default: that is what it is for.

    Raises:
        ConfigError: A point is not known or not in two views, a length is not positive, or lengths contradict
            each other by more than 5 %.
    """
    if not lengths:
        raise ConfigError("length", "none was given", "for example --length a:b:1000")
    found, px = triangulated(rig, points)
    where = {p.name: found[k] for k, p in enumerate(points)}
    where = {camera.name: camera.center_mm for camera in rig.cameras} | where
    ratios = []
    for a, b, mm in lengths:
        for name in (a, b):
            if name not in where:
                raise ConfigError(f"length {a}:{b}", f"there is no point {name}", f"there are {', '.join(where)}")
            if not np.isfinite(where[name]).all():
                raise ConfigError(f"point {name}", "is not seen by two cameras", "name it in another view")
        seen = float(np.linalg.norm(where[a] - where[b]))
        if not (mm > 0 and np.isfinite(mm)) or seen <= 0:
            raise ConfigError(f"length {a}:{b}", f"{mm:g} mm for {seen:g} mm in the rig cannot be", "correct it")
        ratios.append(mm / seen)
    wanted = float(np.exp(np.mean(np.log(ratios))))
    apart = max(ratios) / min(ratios) - 1
    if apart > 0.05:
        told = ", ".join(f"{a}:{b} {r:.3f}" for (a, b, _), r in zip(lengths, ratios, strict=True))
        raise ConfigError(
            "length", f"they contradict each other by {100 * apart:.0f} % (factors {told})", "measure again"
        )
    deviation = float(np.std(np.log(ratios), ddof=1) / np.sqrt(len(ratios))) if len(ratios) > 1 else float("nan")
    factor = chosen_scale(wanted, np.nan_to_num(deviation), scale, "the known length")
    how = "known lengths: " + ", ".join(f"{a} to {b} {mm:g} mm" for a, b, mm in lengths)
    new = moved_world(rig, Transform(np.eye(3), np.zeros(3), factor), None, how)
    away = _away(rig, found, px, np.isfinite(found).all(axis=-1)) if len(points) else np.full((1, 1), np.nan)
    off = [abs(r / wanted - 1) * mm for r, (_, _, mm) in zip(ratios, lengths, strict=True)]
    heights = heights_of(new) if new.metadata.get("world") == FLOOR else {}
    median = float(np.nanmedian(away)) if np.isfinite(away).any() else float("nan")
    return Placed(new, how, median, float(np.median(off)), factor, wanted, deviation, heights)
