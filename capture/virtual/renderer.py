"""Draws a body with OpenCV: shaded, tapered limbs, painted back to front.

A limb is four nested outlines of a tapered capsule, from a dark rim to a light streak on the side of
the lamp, so that it looks round; the outermost lies exactly around the limb's axis. All outlines of
a picture are computed at once, and drawn on fixed-point coordinates with soft edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from capture.virtual.body import Body
from capture.virtual.obstacles import Box, Cards, Pole, as_points, visible_faces
from capture.virtual.optics import Optics

_CAP = np.linspace(0, 1, 8)
_ROUND_CAP = np.linspace(0, 1, 28)
_LARGE_PX = 18
_SEGMENTS = 5
_SCALE = np.array([1.0, 0.84, 0.62, 0.34])
_SHIFT = np.array([0.0, 0.05, 0.16, 0.32])
_SHADE = np.array([0.5, 0.74, 0.96, 1.14])
_PATTERNS: dict[str, tuple[tuple[float, float, float, float, float], ...]] = {
    # Along, across, along, across, half width: shares of the limb's length and of its radius.
    "plain": (),
    "rings": ((0.3, -0.72, 0.3, 0.72, 0.16), (0.52, -0.72, 0.52, 0.72, 0.16), (0.74, -0.72, 0.74, 0.72, 0.16)),
    "stripes": ((0.15, 0.45, 0.85, 0.45, 0.14), (0.15, -0.45, 0.85, -0.45, 0.14)),
    "patches": ((0.28, 0.3, 0.33, 0.2, 0.3), (0.62, -0.3, 0.68, -0.2, 0.3)),
}


@dataclass(frozen=True)
class Lamp:
    """Light from one direction and from everywhere.

    Attributes:
        towards: (3,) unit vector to the lamp, world.
        ambient: Brightness without it.
        strength: What it adds to a surface that looks at it.
        tint: (3,) BGR colour of all light, about 1.
    """

    towards: Float[np.ndarray, " 3"]
    ambient: float
    strength: float
    tint: Float[np.ndarray, " 3"]


def _outlines(
    start: Float[np.ndarray, "S 2"],
    end: Float[np.ndarray, "S 2"],
    start_radius: Float[np.ndarray, " S"],
    end_radius: Float[np.ndarray, " S"],
) -> Float[np.ndarray, "S M 2"]:
    """Convex outlines of tapered capsules, px."""
    along = end - start
    length = np.hypot(along[:, 0], along[:, 1])
    # Where one ball covers the other, the capsule is that ball.
    first, second = start_radius >= length + end_radius, end_radius > length + start_radius
    start = np.where(second[:, None], end, start)
    end = np.where(first[:, None], start, end)
    start_radius = np.where(second, end_radius, start_radius)
    end_radius = np.where(first, start_radius, end_radius)
    angle = np.arctan2(along[:, 1], along[:, 0])
    slope = np.where(first | second, 0.0, (start_radius - end_radius) / np.maximum(length, 1e-6))
    open_angle = np.arccos(np.clip(slope, -1, 1))
    cap = _ROUND_CAP if max(start_radius.max(), end_radius.max()) > _LARGE_PX else _CAP
    end_angles = (angle - open_angle)[:, None] + 2 * open_angle[:, None] * cap
    start_angles = (angle + open_angle)[:, None] + 2 * (np.pi - open_angle)[:, None] * cap
    end_cap = np.stack([np.cos(end_angles), np.sin(end_angles)], -1) * end_radius[:, None, None] + end[:, None]
    start_cap = np.stack([np.cos(start_angles), np.sin(start_angles)], -1) * start_radius[:, None, None]
    return np.concatenate([end_cap, start_cap + start[:, None]], axis=1)


class Painter:
    """Draws one body as one camera sees it.

    Args:
        optics: The camera.
        body: The body.
        lamp: The light.
        cloth: A pattern on limbs.
        boxes: Of the world.
        poles: Of the world.
    """

    def __init__(
        self,
        optics: Optics,
        body: Body,
        lamp: Lamp,
        cloth: str = "plain",
        boxes: tuple[Box, ...] = (),
        poles: tuple[Pole, ...] = (),
    ) -> None:
        self._optics = optics
        self._body = body
        self._lamp = lamp
        self._light = optics.camera.R @ lamp.towards
        capsules = body.capsules
        self._pattern = np.array(_PATTERNS[cloth], float).reshape(-1, 5)
        limbs = ("thigh", "shin", "arm")
        self._clothed = np.array([part.name.endswith(limbs) for part in capsules.parts], bool)
        self._start_end = np.concatenate([capsules.start, capsules.end])
        self._poles = self._see_poles(poles)
        self._boxes = [seen for box in boxes if (seen := self._see_box(box)) is not None]
        # What stands still looks the same in every picture of one crop, and pictures of one crop come in a row.
        self._still: tuple[bytes, list[tuple[float, list, int]]] | None = None

    def _see_poles(self, poles: tuple[Pole, ...]) -> list[tuple[np.ndarray, np.ndarray, Pole]]:
        see = self._optics.see
        return [(see(pole.foot_mm[None])[0], see(pole.top_mm[None])[0], pole) for pole in poles]

    def _see_box(self, box: Box) -> tuple[float, list[tuple[np.ndarray, list[float]]]] | None:
        """Its depth, and px and colour of the faces that look at the camera; ``None`` = it cannot be shown."""
        corners = self._optics.see(box.corners_mm)
        px, valid = self._optics.pixels(corners)
        if not valid.all():
            return None
        faces = []
        for face in visible_faces(corners):
            quad = corners[list(face)]
            normal = np.cross(quad[1] - quad[0], quad[2] - quad[0])
            normal = normal / max(float(np.linalg.norm(normal)), 1e-9)
            if np.dot(normal, quad.mean(axis=0)) > 0:
                normal = -normal
            lit = self._lamp.ambient + self._lamp.strength * max(0.0, float(normal @ self._light))
            faces.append((px[list(face)], np.clip(255 * np.array(box.colour) * lit * self._lamp.tint, 0, 255).tolist()))
        return float(corners[:, 2].mean()), faces

    def paint(
        self,
        image: UInt8[np.ndarray, "H W 3"],
        points_mm: Float[np.ndarray, "P 3"],
        to_crop: Float[np.ndarray, "2 3"],
    ) -> None:
        """Draw into a picture.

        Args:
            image: The background, drawn over.
            points_mm: The body's points.
            to_crop: From raw px of the camera to px of this picture.
        """
        for _, layers in sorted(self._layers(points_mm, to_crop), key=lambda item: -item[0]):
            for polygon, colour in layers:
                cv2.fillConvexPoly(image, polygon, colour, cv2.LINE_AA, 4)

    def labels(
        self, size: tuple[int, int], points_mm: Float[np.ndarray, "P 3"], to_crop: Float[np.ndarray, "2 3"]
    ) -> tuple[UInt8[np.ndarray, "H W"], tuple[str, ...]]:
        """Which part each pixel shows: 0 = none, else one more than an index of the names given back."""
        image = np.zeros((size[1], size[0]), np.uint8)
        names = (*(part.name for part in self._body.capsules.parts), *(part.name for part in self._body.hulls))
        for _, layers, label in sorted(self._labelled(points_mm, to_crop), key=lambda item: -item[0]):
            for polygon, _ in layers:
                cv2.fillConvexPoly(image, polygon, [label], cv2.LINE_8, 4)
        return image, names

    def _layers(self, points_mm: np.ndarray, to_crop: np.ndarray) -> list[tuple[float, list]]:
        return [(depth, layers) for depth, layers, _ in self._labelled(points_mm, to_crop)]

    def _labelled(self, points_mm: np.ndarray, to_crop: np.ndarray) -> list[tuple[float, list, int]]:
        seen = self._optics.see(points_mm)
        items = self._capsules(seen, to_crop)
        n = len(self._body.capsules.parts)
        for number, part in enumerate(self._body.hulls):
            corners = seen[list(part.points)]
            layers = self._hull(corners, np.array(part.colour), to_crop)
            items.append((float(corners[:, 2].mean()) - part.lift_mm, layers, n + number + 1))
        return items + self._standing(to_crop)

    def _standing(self, to_crop: np.ndarray) -> list[tuple[float, list, int]]:
        """Poles and boxes."""
        key = to_crop.tobytes()
        if self._still is None or self._still[0] != key:
            items = [self._pole(foot, top, pole, to_crop) for foot, top, pole in self._poles]
            for depth, faces in self._boxes:
                layers = [(as_points(px @ to_crop[:, :2].T + to_crop[:, 2]), colour) for px, colour in faces]
                items.append((depth, layers, 0))
            self._still = key, items
        return self._still[1]

    # ------------------------------------------------------------------ limbs

    def _capsules(self, seen: np.ndarray, to_crop: np.ndarray) -> list[tuple[float, list, int]]:
        c = self._body.capsules
        start, end = seen[c.start], seen[c.end]
        colours = self._shaded(start, end, c.colour)
        outlines, valid, groups = self._project(start, end, c.start_radius_mm, c.end_radius_mm, to_crop)
        depth = ((start[:, 2] + end[:, 2]) / 2 - c.lift_mm).tolist()
        cloth = self._cloth(start, end, to_crop) if len(self._pattern) and self._clothed.any() else {}
        items: list[tuple[float, list, int]] = []
        for number in range(len(c.parts)):
            if not valid[number]:
                continue
            paint = colours[number].tolist()
            layers = [
                (outlines[segment, layer], paint[layer])
                for layer in range(outlines.shape[1])
                for segment in range(number * groups, (number + 1) * groups)
            ]
            if number in cloth:
                layers += [(polygon, paint[0]) for polygon in cloth[number]]
            items.append((depth[number], layers, number + 1))
        return items

    def _project(
        self, start: np.ndarray, end: np.ndarray, r0: np.ndarray, r1: np.ndarray, to_crop: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Outlines (S * segments, layers, M, 2) as fixed-point numbers, which parts can be shown, segments."""
        groups = 1 if self._optics.straight else _SEGMENTS
        share = np.linspace(0, 1, groups + 1)
        chain = start[:, None] + share[:, None] * (end - start)[:, None]
        radius = r0[:, None] + share * (r1 - r0)[:, None]
        px, valid = self._optics.pixels(chain.reshape(-1, 3))
        size = self._optics.radii(chain.reshape(-1, 3), px, radius.ravel())
        px = px @ to_crop[:, :2].T + to_crop[:, 2]
        size = size * np.sqrt(abs(np.linalg.det(to_crop[:, :2])))
        px, size = px.reshape(len(start), groups + 1, 2), size.reshape(len(start), groups + 1)
        p0, p1 = px[:, :-1].reshape(-1, 2), px[:, 1:].reshape(-1, 2)
        # The soft edge that OpenCV adds is about half a pixel wide.
        s0, s1 = np.maximum(size[:, :-1].ravel() - 0.35, 0.3), np.maximum(size[:, 1:].ravel() - 0.35, 0.3)
        side = self._lit_side(p0, p1)
        layers = len(_SCALE)
        scale, shift = _SCALE[None], _SHIFT[None]
        moved = side[:, None] * shift[..., None]
        starts = (p0[:, None] + moved * s0[:, None, None]).reshape(-1, 2)
        ends = (p1[:, None] + moved * s1[:, None, None]).reshape(-1, 2)
        outlines = _outlines(starts, ends, (s0[:, None] * scale).ravel(), (s1[:, None] * scale).ravel())
        shape = (len(p0), layers, *outlines.shape[1:])
        shown = np.asarray(valid.reshape(len(start), -1).all(axis=1))
        return as_points(outlines).reshape(shape), shown, groups

    def _lit_side(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Across each limb, towards the lamp, at most 1 long."""
        along = end - start
        along = along / np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-6)
        light = self._light[:2]
        return light - (along @ light)[:, None] * along

    def _shaded(self, start: np.ndarray, end: np.ndarray, colour: np.ndarray) -> np.ndarray:
        """(S, layers, 3) 0..255."""
        along = end - start
        along = along / np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-6)
        across = self._light - (along @ self._light)[:, None] * along
        lit = 0.3 * np.linalg.norm(across, axis=-1) + 0.7 * np.clip(0.25 - 0.75 * across[:, 2], 0, 1)
        brightness = self._lamp.ambient + self._lamp.strength * lit
        return np.clip(255 * colour[:, None] * brightness[:, None, None] * _SHADE[:, None] * self._lamp.tint, 0, 255)

    def _cloth(self, start: np.ndarray, end: np.ndarray, to_crop: np.ndarray) -> dict[int, np.ndarray]:
        """Patterns on limbs, as one more layer."""
        c = self._body.capsules
        rows = np.flatnonzero(self._clothed)
        both = np.concatenate([start[rows], end[rows]])
        px, _ = self._optics.pixels(both)
        size = self._optics.radii(both, px, np.concatenate([c.start_radius_mm[rows], c.end_radius_mm[rows]]))
        px = px @ to_crop[:, :2].T + to_crop[:, 2]
        size = size * np.sqrt(abs(np.linalg.det(to_crop[:, :2])))
        n = len(rows)
        p0, p1, r = px[:n], px[n:], (size[:n] + size[n:]) / 2
        along = p1 - p0
        across = np.stack([-along[:, 1], along[:, 0]], -1)
        across = across / np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-6) * r[:, None]
        u0, v0, u1, v1, w = (column[None, :, None] for column in self._pattern.T)
        begin = p0[:, None] + u0 * along[:, None] + v0 * across[:, None]
        finish = p0[:, None] + u1 * along[:, None] + v1 * across[:, None]
        width = (w[..., 0] * r[:, None]).ravel()
        polygons = as_points(_outlines(begin.reshape(-1, 2), finish.reshape(-1, 2), width, width))
        polygons = polygons.reshape(n, len(self._pattern), *polygons.shape[1:])
        return {int(row): polygons[number] for number, row in enumerate(rows)}

    # ------------------------------------------------------------------ other things

    def _hull(self, corners: np.ndarray, colour: np.ndarray, to_crop: np.ndarray) -> list:
        px, valid = self._optics.pixels(corners)
        if not valid.all():
            return []
        px = px @ to_crop[:, :2].T + to_crop[:, 2]
        hull = cv2.convexHull(px.astype(np.float32))[:, 0]
        middle = hull.mean(axis=0)
        reach = np.abs(hull - middle).min(axis=0).mean() + 0.25 * np.ptp(hull, axis=0).min()
        lit = 0.35 + 0.5 * np.clip(0.3 - 0.7 * self._light[2], 0, 1)
        base = 255 * colour * (self._lamp.ambient + self._lamp.strength * lit) * self._lamp.tint
        shift = (_SHIFT * 0.6 * reach)[:, None, None] * self._light[:2]
        polygons = as_points(middle + (0.5 + 0.5 * _SCALE)[:, None, None] * (hull - middle) + shift)
        colours = np.clip(base * (0.45 + 0.55 * _SHADE)[:, None], 0, 255).tolist()
        return list(zip(polygons, colours, strict=True))

    def _pole(self, foot: np.ndarray, top: np.ndarray, pole: Pole, to_crop: np.ndarray) -> tuple[float, list, int]:
        radius = np.array([pole.radius_mm])
        outlines, valid, groups = self._project(foot[None], top[None], radius, radius, to_crop)
        paint = self._shaded(foot[None], top[None], np.array([pole.colour]))[0].tolist()
        layers = []
        if valid[0]:
            layers = [
                (outlines[segment, layer], paint[layer])
                for layer in range(outlines.shape[1])
                for segment in range(groups)
            ]
        return float((foot[2] + top[2]) / 2), layers, 0

    def paint_cards(self, image: np.ndarray, cards: Cards, to_crop: np.ndarray) -> None:
        """Draw cards held before the lens."""
        corners = cards.corners_px @ to_crop[:, :2].T + to_crop[:, 2]
        light = self._lamp.ambient + 0.5 * self._lamp.strength
        for quad, colour in zip(corners, cards.colour, strict=True):
            paint = np.clip(255 * colour * light * self._lamp.tint, 0, 255)
            middle = quad.mean(axis=0)
            cv2.fillConvexPoly(image, as_points(quad), (0.75 * paint).tolist(), cv2.LINE_AA, 4)
            inner = middle + 0.9 * (quad - middle)
            cv2.fillConvexPoly(image, as_points(inner), paint.tolist(), cv2.LINE_AA, 4)
