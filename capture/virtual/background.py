"""What stands behind the subject: a backdrop, shapes on it, and a floor in perspective."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from calib.camera import Camera
from capture.virtual.body import hsv
from capture.virtual.scenario import Scenario, Seed, generator, within

_STREAM = 30
_STEP = 4
_TILE = 256
_FLOOR_REACH = 2.4
"""The floor ends at so many camera distances from the world's origin."""


def _bgr(rng: np.random.Generator, brightness: float, colour: float) -> np.ndarray:
    tint = np.array(hsv(within(rng, (0, 360)), 1.0, 1.0))
    tint -= tint.mean()
    return np.clip(brightness * (1 + colour * tint), 5, 250)


def _clouds(rng: np.random.Generator, size: tuple[int, int], cells: tuple[int, ...]) -> Float[np.ndarray, "H W"]:
    width, height = size
    total = np.zeros((height, width), np.float32)
    for cell in cells:
        grid = rng.uniform(-1, 1, (max(2, height // cell), max(2, width // cell))).astype(np.float32)
        total += cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)
    return total / len(cells)


def _pattern(
    rng: np.random.Generator, kind: str, size: tuple[int, int], *, tile: bool = False
) -> Float[np.ndarray, "H W"]:
    """A texture of about -1..1; as a tile, its lines go on in the next one."""
    width, height = size
    if kind in ("gradient", "plain"):
        corners = rng.uniform(-1, 1, (2, 2)).astype(np.float32)
        return cv2.resize(corners, size, interpolation=cv2.INTER_LINEAR)
    if kind == "noise":
        return 1.6 * _clouds(rng, size, (6, 20, 70))
    angle = within(rng, (-0.5, 0.5))
    x = np.arange(width, dtype=np.float32) - width / 2
    y = np.arange(height, dtype=np.float32)[:, None] - height / 2
    pitch = within(rng, (0.06, 0.16)) * width
    if tile:
        angle, pitch = 0.0, width / (2 * round(width / pitch / 2))
    u = (np.cos(angle) * x + np.sin(angle) * y) / pitch
    v = (np.cos(angle) * y - np.sin(angle) * x) / pitch
    if kind == "checker":
        return (2 * ((np.floor(u) + np.floor(v)) % 2) - 1).astype(np.float32)
    if kind in ("bars", "planks"):
        return np.clip(3 * np.sin(2 * np.pi * u), -1, 1).astype(np.float32)
    row = np.floor(2 * v)
    joint = (np.minimum((u + 0.5 * (row % 2)) % 1, 0.9) > 0.08) & ((2 * v) % 1 > 0.14)
    return (1.2 * joint - 0.8 + 0.25 * np.sin(7 * np.floor(u + 0.5 * (row % 2)) + 3 * row)).astype(np.float32)


def _coloured(pattern: np.ndarray, base: np.ndarray, contrast: float) -> UInt8[np.ndarray, "H W 3"]:
    grey = cv2.convertScaleAbs(pattern, alpha=contrast, beta=128.0)
    table = np.clip(base[None] * (1 + (np.arange(256)[:, None] - 128.0) / 128.0), 0, 255).astype(np.uint8)
    return cv2.LUT(cv2.merge([grey, grey, grey]), table[:, None])


def draw_background(scenario: Scenario, camera: Camera, seed: Seed, view: int) -> UInt8[np.ndarray, "H W 3"]:
    """The picture of a camera without anybody in it."""
    section = scenario.background
    rng = generator(seed, _STREAM + 1 + view)
    width, height = camera.size
    kind = section.kinds[int(rng.integers(len(section.kinds)))]
    brightness = within(rng, section.brightness)
    base = _bgr(rng, brightness, within(rng, section.colour))
    image = _coloured(_pattern(rng, kind, camera.size), base, within(rng, section.contrast))
    for _ in range(int(rng.integers(section.shapes[0], section.shapes[1] + 1))):
        _shape(rng, image, brightness, section.contrast, section.colour)
    # The floor is one and the same for all cameras: its own stream.
    shared = generator(seed, _STREAM)
    floor = section.floor[int(shared.integers(len(section.floor)))]
    if floor != "none":
        _lay_floor(shared, image, camera, scenario, floor)
    light = _clouds(rng, camera.size, (max(width // 3, 8),))
    return cv2.multiply(image, cv2.merge([1 + 0.12 * light] * 3), dtype=cv2.CV_8U)


def _shape(
    rng: np.random.Generator,
    image: np.ndarray,
    brightness: float,
    contrast: tuple[float, float],
    colour: tuple[float, float],
) -> None:
    height, width = image.shape[:2]
    grey = brightness + within(rng, (-2.0, 2.0)) * contrast[1]
    paint = _bgr(rng, grey, colour[1]).tolist()
    x, y = within(rng, (0, width)), within(rng, (0, height))
    a, b, turn = within(rng, (0.03, 0.2)) * width, within(rng, (0.03, 0.25)) * height, within(rng, (0, 180))
    if rng.uniform() < 0.5:
        corners = cv2.boxPoints(((x, y), (2 * a, 2 * b), turn))
        cv2.fillConvexPoly(image, np.rint(corners * 16).astype(np.int32), paint, cv2.LINE_AA, 4)
    else:
        cv2.ellipse(image, (round(x), round(y)), (round(a), round(b)), turn, 0, 360, paint, -1, cv2.LINE_AA)


def _lay_floor(rng: np.random.Generator, image: np.ndarray, camera: Camera, scenario: Scenario, kind: str) -> None:
    section = scenario.background
    tile = _pattern(rng, kind, (_TILE, _TILE), tile=True)
    base = _bgr(rng, within(rng, section.brightness) * 0.85, within(rng, section.colour))
    tile = _coloured(tile, base, within(rng, section.contrast) * 0.8)
    distance = float(np.linalg.norm(camera.center_mm))
    pitch_mm = distance * within(rng, (0.5, 0.9))
    width, height = camera.size
    columns, rows = width // _STEP + 2, height // _STEP + 2
    px = np.stack(np.meshgrid(np.arange(columns) * _STEP, np.arange(rows) * _STEP), axis=-1).astype(np.float64)
    if camera.fisheye:
        rays = cv2.fisheye.undistortPoints(px.reshape(-1, 1, 2), camera.K, camera.dist)
    else:
        rays = cv2.undistortPoints(px.reshape(-1, 1, 2), camera.K, camera.dist if len(camera.dist) else None)
    ways = np.concatenate([rays.reshape(-1, 2), np.ones((len(px.reshape(-1, 2)), 1))], axis=-1) @ camera.R
    # Samples stand at pixel 0, 4, 8 ...: directions are smooth, so they are enlarged by an affine map that
    # keeps them there, and what is not smooth (the horizon) is computed for each pixel.
    enlarge = np.array([[1 / _STEP, 0, 0], [0, 1 / _STEP, 0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    ways = cv2.warpAffine(ways.reshape(rows, columns, 3).astype(np.float32), enlarge, camera.size, flags=flags)
    east, north, up = cv2.split(ways)
    eye = camera.center_mm.astype(np.float32)
    reach = np.float32(_FLOOR_REACH * distance)
    far = eye[2] / np.maximum(-up, np.float32(1e-4))
    x, y = east * far + eye[0], north * far + eye[1]
    inside = (x * x + y * y < reach * reach).view(np.uint8)
    reached = np.flatnonzero(inside.any(axis=1))
    if not len(reached):
        return
    part = slice(reached[0], reached[-1] + 1)
    per_mm = np.float32(_TILE / pitch_mm)
    floor = cv2.remap(tile, x[part] * per_mm, y[part] * per_mm, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    cv2.copyTo(floor, inside[part], image[part])
