"""One sample of a scenario: a rig, a subject that moves, its pictures and the truth about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from calib.camera import Camera
from capture.virtual import obstacles
from capture.virtual.background import draw_background
from capture.virtual.body import Subject
from capture.virtual.fly import Fly
from capture.virtual.mannequin import Mannequin
from capture.virtual.occlusion import hidden_by_body, hidden_by_capsules
from capture.virtual.optics import Optics, make_cameras
from capture.virtual.renderer import Lamp, Painter
from capture.virtual.scenario import Scenario, Seed, generator, within
from rigpose.skeleton import Skeleton

if TYPE_CHECKING:
    from calib.rig import Rig

_LIGHT_STREAM = 10
_PICTURE_STREAM = 11
_NOISE_SEED = 20260101
_NOISE_UNIT = 24
_NOISE_SHIFT = 64
_SUB_PX = 1.2
_MOST_SUBS = 4

Crop = tuple[Float[np.ndarray, "2 3"], tuple[int, int]]
"""The affine map from px of the crop to raw px of the picture, and the crop's (width, height)."""
_WHOLE = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true at a moment.

    Attributes:
        position_mm: (J, 3) world.
        points2d: (V, J, 2) raw px; NaN behind a camera.
        occluded: (V, J) whether something nearer covers the joint, or the joint is not in the picture.
    """

    position_mm: Float[np.ndarray, "J 3"]
    points2d: Float[np.ndarray, "V J 2"]
    occluded: Bool[np.ndarray, "V J"]


@dataclass(frozen=True, slots=True)
class _Look:
    """What one sample's pictures have in common."""

    lamp: Lamp
    cloth: str
    noise: float
    gain: float
    blur_px: float
    exposure_s: float


class World:
    """See the module. All methods are pure functions of scenario, seed and their arguments.

    Args:
        scenario: What is possible.
        seed: Which sample; by default the scenario's own, the world of the live rig.
    """

    def __init__(self, scenario: Scenario, seed: Seed | None = None) -> None:
        self.scenario = scenario
        self.seed: Seed = scenario.seed if seed is None else seed
        self.subject: Subject = (Mannequin if scenario.subject.kind == "mannequin" else Fly)(scenario, self.seed)
        self.cameras: tuple[Camera, ...] = make_cameras(scenario, self.seed)
        self.boxes, self.poles = obstacles.place(scenario, self.seed)
        self._look = _look(scenario, self.seed)
        self._optics = [Optics(camera) for camera in self.cameras]
        self._painters: dict[int, Painter] = {}
        self._grounds: dict[int, np.ndarray] = {}
        self._noises: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        # All cameras of a rig, and truth and picture, ask for the same moment one after the other.
        self._exposed: tuple[float, np.ndarray] | None = None
        self._foreseen: dict[float, np.ndarray] = {}
        self._cards_of: dict[int, tuple[float, obstacles.Cards | None]] = {}

    @property
    def skeleton(self) -> Skeleton:
        """Of the subject."""
        return self.subject.skeleton

    @property
    def exposure_s(self) -> float:
        """How long a picture is exposed."""
        return self._look.exposure_s

    @cached_property
    def rig(self) -> Rig:
        """The calibration of its cameras, which is exact."""
        from calib.rig import Rig  # here, for drawing needs no rig file

        made_by = f"capture.virtual, scenario {self.scenario.name}, seed {self.seed}"
        return Rig(self.cameras, {"world": "floor", "domain": "synthetic", "made_by": made_by})

    def pose_mm(self, t_s: float) -> Float[np.ndarray, "J 3"]:
        """Where the joints are at a moment, world."""
        return self.poses_mm(np.array([t_s]))[0]

    def poses_mm(self, t_s: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T J 3"]:
        """Where the joints are at moments, world."""
        return self.subject.points_mm(np.asarray(t_s, float))[:, : len(self.skeleton.joints)]

    def foresee(self, t_s: Sequence[float]) -> None:
        """Compute at once where everything is at the moments that are asked for next; many cost as much as one."""
        moments = np.stack([self._moments(t) for t in t_s])
        points = self.subject.points_mm(moments.ravel())
        self._foreseen = dict(zip(t_s, points.reshape(*moments.shape, *points.shape[1:]), strict=True))

    def truth(self, t_s: float) -> Truth:
        """What is true at a moment (the middle of a picture's exposure)."""
        points = self._points(t_s)
        points_mm = points[len(points) // 2]
        n = len(self.skeleton.joints)
        joints = points_mm[:n]
        points2d = np.stack([camera.project(joints) for camera in self.cameras])
        occluded = np.stack([self._hidden(view, t_s, points_mm, points2d[view]) for view in range(len(self.cameras))])
        return Truth(joints, points2d, occluded)

    def render(self, view: int, t_s: float, crop: Crop | None = None) -> UInt8[np.ndarray, "H W 3"]:
        """The picture of a camera whose exposure has its middle at a moment, BGR.

        Args:
            view: Index of the camera.
            t_s: The moment.
            crop: Draw only this part, at its own resolution.
        """
        to_image, size = (_WHOLE, self.cameras[view].size) if crop is None else (np.asarray(crop[0], float), crop[1])
        to_crop = _WHOLE if crop is None else cv2.invertAffineTransform(to_image)
        ground = self._ground(view)
        if crop is not None:
            ground = _cut(ground, to_image, size)
        image = self._expose(view, t_s, ground, to_crop)
        look = self._look
        scale = float(np.sqrt(abs(np.linalg.det(to_crop[:, :2]))))
        if look.blur_px * scale > 0.25:
            cv2.GaussianBlur(image, (0, 0), look.blur_px * scale, dst=image)
        if look.gain != 1:
            cv2.convertScaleAbs(image, dst=image, alpha=look.gain)
        if look.noise > 0:
            self._add_noise(image, view, t_s)
        return image

    def labels(self, view: int, t_s: float) -> tuple[UInt8[np.ndarray, "H W"], tuple[str, ...]]:
        """Which part of the body each pixel shows: 0 = none, else one more than an index of the names."""
        points_mm = self.subject.points_mm(np.array([t_s]))[0]
        return self._painter(view).labels(self.cameras[view].size, points_mm, _WHOLE)

    # ------------------------------------------------------------------ pictures

    def _painter(self, view: int) -> Painter:
        if view not in self._painters:
            look = self._look
            self._painters[view] = Painter(
                self._optics[view], self.subject.body, look.lamp, look.cloth, self.boxes, self.poles
            )
        return self._painters[view]

    def _ground(self, view: int) -> np.ndarray:
        if view not in self._grounds:
            self._grounds[view] = draw_background(self.scenario, self.cameras[view], self.seed, view)
        return self._grounds[view]

    def _expose(self, view: int, t_s: float, ground: np.ndarray, to_crop: np.ndarray) -> np.ndarray:
        painter = self._painter(view)
        points = self._points(t_s)
        subs = self._subs(view, points, to_crop) if len(points) > 1 else 1
        image = ground.copy()
        if subs == 1:
            painter.paint(image, points[len(points) // 2], to_crop)
        else:
            total = np.zeros(ground.shape, np.uint16)
            for sub in range(subs):
                share = (sub + 0.5) / subs * 2 - 1
                between = points[1] + share * (points[2] - points[1] if share > 0 else points[1] - points[0])
                one = ground.copy()
                painter.paint(one, between, to_crop)
                cv2.add(total, one, dst=total, dtype=cv2.CV_16U)
            cv2.convertScaleAbs(total, dst=image, alpha=1 / subs)
        if self.scenario.occluders.cards[1]:
            found = self._cards(view, t_s, points[len(points) // 2])
            if found is not None:
                painter.paint_cards(image, found, to_crop)
        return image

    def _points(self, t_s: float) -> np.ndarray:
        """(3, P, 3) at begin, middle and end of an exposure; (1, P, 3) where nothing moves in one."""
        known = self._exposed
        if known is None or known[0] != t_s:
            points = self._foreseen.get(t_s)
            known = self._exposed = t_s, self.subject.points_mm(self._moments(t_s)) if points is None else points
        return known[1]

    def _moments(self, t_s: float) -> np.ndarray:
        half = self._look.exposure_s / 2 if self.scenario.motion_blur else 0.0
        return np.array([t_s - half, t_s, t_s + half]) if half else np.array([t_s])

    def _subs(self, view: int, points: np.ndarray, to_crop: np.ndarray) -> int:
        """How many sub-exposures make the motion look smooth."""
        optics = self._optics[view]
        n = len(self.skeleton.joints)
        px, valid = optics.pixels(optics.see(points[[0, 2], :n].reshape(-1, 3)))
        moved = np.linalg.norm((px[n:] - px[:n]) @ to_crop[:, :2].T, axis=-1)[valid[:n] & valid[n:]]
        return int(np.clip(np.ceil(moved.max(initial=0) / _SUB_PX), 1, _MOST_SUBS))

    def _add_noise(self, image: np.ndarray, view: int, t_s: float) -> None:
        height, width = image.shape[:2]
        if (width, height) not in self._noises:
            shape = (height + _NOISE_SHIFT, width + _NOISE_SHIFT)
            alpha = self._look.noise / _NOISE_UNIT
            brighter, darker = (cv2.convertScaleAbs(noise, alpha=alpha) for noise in _noise(shape))
            self._noises[width, height] = brighter, darker
        brighter, darker = self._noises[width, height]
        mixed = _mix(view, round(t_s * 1e6), self.seed)
        x, y = mixed % _NOISE_SHIFT, mixed // _NOISE_SHIFT % _NOISE_SHIFT
        cv2.add(image, brighter[y : y + height, x : x + width], dst=image)
        cv2.subtract(image, darker[y : y + height, x : x + width], dst=image)

    # ------------------------------------------------------------------ truth

    def _cards(self, view: int, t_s: float, points_mm: np.ndarray) -> obstacles.Cards | None:
        known = self._cards_of.get(view)
        if known is None or known[0] != t_s:
            px = self.cameras[view].project(points_mm[: len(self.skeleton.joints)])
            known = self._cards_of[view] = t_s, obstacles.cards(self.scenario, self.seed, view, t_s, px)
        return known[1]

    def _hidden(self, view: int, t_s: float, points_mm: np.ndarray, px: np.ndarray) -> np.ndarray:
        camera, n = self.cameras[view], len(self.skeleton.joints)
        eye, joints = camera.center_mm, points_mm[:n]
        hidden = hidden_by_body(eye, points_mm, self.subject.body.solids, n)
        for box in self.boxes:
            hidden |= box.hides(eye, joints)
        if self.poles:
            feet, tops = np.stack([p.foot_mm for p in self.poles]), np.stack([p.top_mm for p in self.poles])
            radius = np.array([p.radius_mm for p in self.poles])
            hidden |= hidden_by_capsules(eye, joints, feet, tops, radius, radius).any(axis=-1)
        if self.scenario.occluders.cards[1]:
            found = self._cards(view, t_s, points_mm)
            if found is not None:
                hidden |= found.hidden
        with np.errstate(invalid="ignore"):
            inside = ((px >= -0.5) & (px <= np.array(camera.size) - 0.5)).all(axis=-1)
        return hidden | ~inside


def _look(scenario: Scenario, seed: Seed) -> _Look:
    rng = generator(seed, _LIGHT_STREAM)
    light = scenario.light
    elevation, azimuth = np.radians(within(rng, light.elevation_deg)), np.radians(within(rng, light.azimuth_deg))
    towards = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    warmth = within(rng, light.warmth)
    tint = np.array([1 - warmth, 1.0, 1 + warmth])
    lamp = Lamp(towards, within(rng, light.ambient), within(rng, light.strength), tint)
    rng = generator(seed, _PICTURE_STREAM)
    return _Look(
        lamp=lamp,
        cloth=scenario.texture[int(rng.integers(len(scenario.texture)))],
        noise=within(rng, scenario.noise),
        gain=within(rng, scenario.gain),
        blur_px=within(rng, scenario.blur_px),
        exposure_s=within(rng, scenario.exposure_ms) / 1000,
    )


def _cut(image: np.ndarray, to_image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A crop of the background; reduced crops average what they leave out."""
    scale = float(np.sqrt(abs(np.linalg.det(to_image[:, :2]))))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if scale < 1.5:
        return cv2.warpAffine(image, to_image, size, flags=flags, borderMode=cv2.BORDER_CONSTANT)
    half = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
    dense = (np.vstack([to_image, [0, 0, 1]]) @ half)[:2]
    big = cv2.warpAffine(image, dense, (2 * size[0], 2 * size[1]), flags=flags, borderMode=cv2.BORDER_CONSTANT)
    return cv2.resize(big, size, interpolation=cv2.INTER_AREA)


@cache
def _noise_bank() -> tuple[np.ndarray, np.ndarray]:
    unit = np.random.default_rng(_NOISE_SEED).normal(0, _NOISE_UNIT, (320, 448, 3)).round()
    brighter, darker = np.clip(unit, 0, 255).astype(np.uint8), np.clip(-unit, 0, 255).astype(np.uint8)
    return brighter, darker


def _noise(shape: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Noise of unit ``_NOISE_UNIT`` as what is brighter and what is darker."""
    bank = _noise_bank()
    rows, columns = bank[0].shape[:2]
    tiles = (-(-shape[0] // rows), -(-shape[1] // columns), 1)
    return tuple(np.tile(noise, tiles)[: shape[0], : shape[1]] for noise in bank)


def _mix(*numbers: object) -> int:
    """Numbers as one that looks random (splitmix64)."""
    state = 0
    for number in numbers:
        for value in number if isinstance(number, tuple) else (number,):
            assert isinstance(value, int)
            state = (state + value + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
            state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
            state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
            state ^= state >> 31
    return state
