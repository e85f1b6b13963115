"""Bars and balls as triangles: the shapes that a scene is made of, as plain arrays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

TUBE_SIDES = 12


@dataclass(frozen=True, slots=True)
class Mesh:
    """Triangles with a colour and a normal at each corner.

    Attributes:
        vertices: (N, 3) mm.
        normals: (N, 3).
        colours: (N, 3) 0..1.
        triangles: (M, 3) indices.
    """

    vertices: Float[np.ndarray, "N 3"]
    normals: Float[np.ndarray, "N 3"]
    colours: Float[np.ndarray, "N 3"]
    triangles: Int[np.ndarray, "M 3"]


def join(meshes: Iterable[Mesh]) -> Mesh:
    """Several meshes as one."""
    parts = list(meshes)
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    return Mesh(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.normals for part in parts]),
        np.concatenate([part.colours for part in parts]),
        np.concatenate([part.triangles + start for part, start in zip(parts, starts, strict=False)]),
    )


@dataclass(frozen=True, slots=True)
class Lines:
    """Segments with a colour each.

    Attributes:
        points: (N, 3) mm.
        segments: (M, 2) indices.
        colours: (M, 3) 0..1.
    """

    points: Float[np.ndarray, "N 3"]
    segments: Int[np.ndarray, "M 2"]
    colours: Float[np.ndarray, "M 3"]


def across(directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors across each direction (N, 3)."""
    helper = np.where(np.abs(directions[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    first = np.cross(directions, helper)
    first /= np.maximum(np.linalg.norm(first, axis=-1, keepdims=True), 1e-12)
    return first, np.cross(directions, first)


def tubes(
    starts: Float[np.ndarray, "B 3"],
    ends: Float[np.ndarray, "B 3"],
    radius: float | Float[np.ndarray, " B"],
    colours: Float[np.ndarray, "B 3"],
    hidden: Float[np.ndarray, " 3"],
) -> Mesh:
    """Round bars from start to end; one with a NaN end shrinks to the point ``hidden``.

    The number and order of vertices depends on B alone, so that a drawn mesh can be moved in place.
    """
    n = len(starts)
    there = np.isfinite(starts).all(axis=-1) & np.isfinite(ends).all(axis=-1)
    starts = np.where(there[:, None], starts, hidden)
    ends = np.where(there[:, None], ends, hidden)
    along = ends - starts
    length = np.linalg.norm(along, axis=-1, keepdims=True)
    along = np.where(length > 0, along / np.maximum(length, 1e-300), [0.0, 0.0, 1.0])
    first, second = across(along)
    angles = np.arange(TUBE_SIDES) * 2 * np.pi / TUBE_SIDES
    ring = np.cos(angles)[None, :, None] * first[:, None] + np.sin(angles)[None, :, None] * second[:, None]
    offset = np.broadcast_to(np.asarray(radius, float), (n,))[:, None, None] * there[:, None, None] * ring
    vertices = np.stack([starts[:, None] + offset, ends[:, None] + offset], axis=1).reshape(-1, 3)
    normals = np.stack([ring, ring], axis=1).reshape(-1, 3)
    i = np.arange(TUBE_SIDES)
    j = (i + 1) % TUBE_SIDES
    one = np.concatenate([np.stack([i, j, j + TUBE_SIDES], 1), np.stack([i, j + TUBE_SIDES, i + TUBE_SIDES], 1)])
    triangles = (np.arange(n)[:, None, None] * 2 * TUBE_SIDES + one).reshape(-1, 3)
    return Mesh(vertices, normals, np.repeat(colours, 2 * TUBE_SIDES, axis=0), triangles.astype(np.int32))


def _unit_sphere(rings: int = 8, sides: int = 12) -> tuple[np.ndarray, np.ndarray]:
    polar = np.linspace(0, np.pi, rings + 1)[:, None]
    around = np.arange(sides)[None] * 2 * np.pi / sides
    points = np.stack(
        [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar) + 0 * around], axis=-1
    ).reshape(-1, 3)
    row, column = np.meshgrid(np.arange(rings), np.arange(sides), indexing="ij")
    a = row * sides + column
    b = row * sides + (column + 1) % sides
    triangles = np.concatenate(
        [np.stack([a, a + sides, b + sides], -1).reshape(-1, 3), np.stack([a, b + sides, b], -1).reshape(-1, 3)]
    )
    return points, triangles.astype(np.int32)


_SPHERE, _SPHERE_TRIANGLES = _unit_sphere()


def spheres(
    centers: Float[np.ndarray, "B 3"],
    radius: float | Float[np.ndarray, " B"],
    colours: Float[np.ndarray, "B 3"],
    hidden: Float[np.ndarray, " 3"],
) -> Mesh:
    """Balls; one at NaN shrinks to the point ``hidden``. Vertices as in ``tubes``."""
    n = len(centers)
    there = np.isfinite(centers).all(axis=-1)
    size = np.broadcast_to(np.asarray(radius, float), (n,)) * there
    vertices = np.where(there[:, None], centers, hidden)[:, None] + size[:, None, None] * _SPHERE
    triangles = np.arange(n)[:, None, None] * len(_SPHERE) + _SPHERE_TRIANGLES
    return Mesh(
        vertices.reshape(-1, 3),
        np.tile(_SPHERE, (n, 1)),
        np.repeat(colours, len(_SPHERE), axis=0),
        triangles.reshape(-1, 3).astype(np.int32),
    )
