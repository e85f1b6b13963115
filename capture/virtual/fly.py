"""A fly of 38 keypoints on a ball: six legs that walk in tripods, or groom."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from capture.virtual.body import Body, Part, hsv, rotation
from capture.virtual.motion import Drift, Hold, Timeline, bump, soft_clip
from capture.virtual.scenario import Scenario, Seed, generator, within
from capture.virtual.skeletons import ANTENNA, FLY38, LEGS, N_LEG, SIDE, STRIPES

_STREAM = 3
_DRIFT_STREAM = 4
_TAU = 2 * np.pi

# Millimetres of Drosophila: coxa, femur, tibia, tarsus of each leg, and where the leg begins.
_SEGMENTS = ((0.36, 0.66, 0.60, 0.68), (0.22, 0.76, 0.68, 0.76), (0.24, 0.78, 0.76, 0.82))
_ROOTS = ((0.36, 0.17, -0.24), (0.10, 0.20, -0.27), (-0.12, 0.19, -0.25))
_BODY_HEIGHT = 0.95
_AZIMUTH = np.radians([38.0, 96.0, 144.0])
"""How far each leg is turned from straight ahead."""
_ELEVATION = np.radians([[-62.0, 34.0, -68.0, -40.0], [-50.0, 38.0, -66.0, -38.0], [-55.0, 36.0, -58.0, -34.0]])
"""Of each segment above the horizon, in the leg's upright plane."""
_STRIPE_X = (-0.50, -0.78, -1.06)
_BALL_RADIUS = 5.0
_BALL_TOP = 0.1
_N_DOF = 3
"""A leg's: azimuth, how far the femur is raised, how far the tibia is stretched."""

# Leg and side of each row: (front, middle, hind) of the left, then of the right.
_TRIPOD = np.array([0.0, np.pi, 0.0, np.pi, 0.0, np.pi])

Legs = Float[np.ndarray, "6 3 T"]


def _legs(t: np.ndarray) -> np.ndarray:
    return np.zeros((6, _N_DOF, len(t)))


def _walking(t: np.ndarray, h: Hold) -> Legs:
    legs = _legs(t)
    phase = _TAU * t * (1.6 + 1.2 * h.numbers[0])
    for row, offset in enumerate(_TRIPOD):
        own = phase + offset
        legs[row, 0] = (0.26 + 0.1 * h.numbers[1]) * np.sin(own)
        legs[row, 1] = 0.34 * bump(own + np.pi / 2, 2.0)
        legs[row, 2] = 0.22 * np.cos(own) * (1 if row % 3 != 2 else -1)
    return legs


def _grooming(t: np.ndarray, h: Hold) -> Legs:
    legs = _legs(t)
    rub = np.sin(_TAU * t * (2.2 + 1.3 * h.numbers[0]))
    up = 0.5 + 0.35 * np.sin(_TAU * t * 0.35 + _TAU * h.numbers[1])
    for row, sign in ((0, 1.0), (3, -1.0)):
        legs[row, 0] = -0.58 + 0.05 * rub * sign
        legs[row, 1] = 0.55 * up + 0.28 + 0.16 * rub * sign
        legs[row, 2] = 0.55 + 0.2 * rub * sign
    return legs


def _hind_grooming(t: np.ndarray, h: Hold) -> Legs:
    legs = _legs(t)
    rub = np.sin(_TAU * t * (1.8 + 1.2 * h.numbers[0]))
    up = 0.5 + 0.4 * np.sin(_TAU * t * 0.3 + _TAU * h.numbers[1])
    for row, sign in ((2, 1.0), (5, -1.0)):
        legs[row, 0] = 0.50 + 0.05 * rub * sign
        legs[row, 1] = 0.18 + 0.35 * up + 0.14 * rub * sign
        legs[row, 2] = 0.45 + 0.2 * rub * sign
    return legs


def _resting(t: np.ndarray, h: Hold) -> Legs:
    legs = _legs(t)
    legs[:, 0] = 0.12 * np.sin(_TAU * (t[None] * 0.2 + h.numbers[:6, None]))
    return legs


def _reaching(t: np.ndarray, h: Hold) -> Legs:
    legs = _legs(t)
    row = int(h.numbers[0] * 6) % 6
    wave = np.sin(_TAU * t * (0.6 + 0.5 * h.numbers[1]))
    legs[row, 0] = -0.15 + 0.35 * wave
    legs[row, 1] = 0.55 + 0.2 * np.cos(_TAU * t * 0.7)
    legs[row, 2] = 0.5 + 0.3 * wave
    return legs


_KINDS: dict[str, Callable[[np.ndarray, Hold], Legs]] = {
    "walking": _walking,
    "grooming": _grooming,
    "hind_grooming": _hind_grooming,
    "resting": _resting,
    "reaching": _reaching,
}

# Points behind the 38 keypoints.
_NAMES = (
    "head",
    "thorax_front",
    "thorax_back",
    "abdomen_1",
    "abdomen_2",
    "abdomen_3",
    "abdomen_4",
    "left_eye",
    "right_eye",
    "ball",
    "left_antenna_root",
    "right_antenna_root",
)
_AT = {name: 2 * SIDE + number for number, name in enumerate(_NAMES)}
_N_POINTS = 2 * SIDE + len(_NAMES)


class Fly:
    """See the module; a ``Subject``.

    Args:
        scenario: Its sections ``subject`` and ``motion``.
        seed: Of the sample.
    """

    skeleton = FLY38

    def __init__(self, scenario: Scenario, seed: Seed) -> None:
        section = scenario.subject
        rng = generator(seed, _STREAM)
        scale, limbs, girth = (within(rng, limits) for limits in (section.scale, section.limbs, section.girth))
        vary = rng.uniform(1 - section.variation, 1 + section.variation, (3, 4))
        self.scale, self._girth = scale, girth * scale
        self.segments_mm = np.array(_SEGMENTS) * vary * scale * limbs
        self.timeline = Timeline(seed, scenario.motion, {})
        drift = generator(seed, _DRIFT_STREAM)
        self._drift = Drift(drift, 6 * _N_DOF, self.timeline.speed, (0.7, 3.0))
        self._sway = Drift(drift, 6, self.timeline.speed, (0.9, 4.0))
        self._antennae = Drift(drift, 4, self.timeline.speed, (0.5, 2.0))
        self._facing = within(drift, (0, _TAU))
        self.body = self._build(rng, section.left_hue_deg, section.right_hue_deg)

    def points_mm(self, t_s: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T P 3"]:
        """All points at moments; the joints come first."""
        n, s = len(t_s), self.scale
        wild = self.timeline.wildness
        legs = 0.07 * wild * self._drift(t_s).reshape(6, _N_DOF, n)
        tempo = t_s * self.timeline.speed
        for where, mix in self.timeline.mixes(t_s):
            for hold, share in ((mix.before, 1 - mix.share), (mix.now, mix.share)):
                legs[:, :, where] += share * _KINDS[hold.kind](tempo[where], hold)
        legs[:, 0] = soft_clip(legs[:, 0], -0.62, 0.58, 0.03)
        legs[:, 1] = soft_clip(legs[:, 1], -0.35, 1.2, 0.03)
        legs[:, 2] = soft_clip(legs[:, 2], -0.6, 1.1, 0.03)
        points = np.zeros((n, _N_POINTS, 3))
        for row in range(6):
            side, leg = divmod(row, 3)
            self._leg(points, 1.0 if side == 0 else -1.0, leg, side * SIDE + leg * N_LEG, legs[row])

        feelers = 0.15 * wild * self._antennae(t_s)
        for side, sign, name in ((0, 1.0, "left"), (1, -1.0, "right")):
            root = np.array([0.86, sign * 0.09, 0.10]) * s
            points[:, _AT[f"{name}_antenna_root"]] = root
            yaw, pitch = 0.45 + feelers[2 * side], -0.25 + feelers[2 * side + 1]
            way = np.stack([np.cos(yaw) * np.cos(pitch), sign * np.sin(yaw) * np.cos(pitch), np.sin(pitch)], -1)
            points[:, side * SIDE + ANTENNA] = root + 0.22 * s * way
            for stripe, x in zip(STRIPES, _STRIPE_X, strict=True):
                # On the abdomen's surface, high on its side.
                radius = self._abdomen_radius(x)
                up = -0.02 - 0.16 * (-x - 0.3)
                points[:, side * SIDE + stripe] = np.array([x * s, 0, up * s]) + radius * np.array(
                    [0, 0.80 * sign, 0.60]
                )
            points[:, _AT[f"{name}_eye"]] = np.array([0.70, sign * 0.20, 0.12]) * s
        for name, at in (
            ("head", (0.68, 0.0, 0.08)),
            ("thorax_front", (0.26, 0.0, 0.0)),
            ("thorax_back", (-0.06, 0.0, 0.03)),
            ("abdomen_1", (-0.40, 0.0, -0.04)),
            ("abdomen_2", (-0.64, 0.0, -0.08)),
            ("abdomen_3", (-0.92, 0.0, -0.12)),
            ("abdomen_4", (-1.14, 0.0, -0.15)),
        ):
            points[:, _AT[name]] = np.array(at) * s

        sway = self._sway(t_s)
        turn = (
            rotation(2, self._facing + 0.06 * wild * sway[0])
            @ rotation(1, 0.05 * wild * sway[1])
            @ rotation(0, 0.04 * wild * sway[2])
        )
        points = points @ turn.transpose(0, 2, 1)
        points += np.array([0, 0, _BODY_HEIGHT * s]) + 0.03 * s * wild * sway[3:6].T[:, None]
        points[:, _AT["ball"]] = (0, 0, (_BALL_TOP - _BALL_RADIUS) * s)
        return points

    def _leg(self, points: np.ndarray, sign: float, leg: int, first: int, dof: np.ndarray) -> None:
        azimuth = _AZIMUTH[leg] + dof[0]
        raised, stretched = dof[1], dof[2]
        base = _ELEVATION[leg]
        elevations = (
            base[0] + 0.35 * raised,
            base[1] + raised,
            base[2] + 0.8 * raised + 0.5 * stretched,
            base[3] + 0.5 * raised + 0.8 * stretched,
        )
        points[:, first] = np.array(_ROOTS[leg]) * (1, sign, 1) * self.scale
        for joint, (length, elevation) in enumerate(zip(self.segments_mm[leg], elevations, strict=True)):
            out = np.cos(elevation)
            way = np.stack([out * np.cos(azimuth), sign * out * np.sin(azimuth), np.sin(elevation)], axis=-1)
            points[:, first + joint + 1] = points[:, first + joint] + length * way

    def _abdomen_radius(self, x: float) -> float:
        share = np.clip((-x - 0.42) / (1.14 - 0.42), 0, 1)
        return float(0.37 + share * (0.24 - 0.37)) * self._girth

    def _build(self, rng: np.random.Generator, left_hue: tuple[float, float], right_hue: tuple[float, float]) -> Body:
        g = self._girth
        dark = hsv(within(rng, (15, 40)), within(rng, (0.25, 0.5)), within(rng, (0.2, 0.34)))
        abdomen = hsv(within(rng, (25, 45)), within(rng, (0.35, 0.6)), within(rng, (0.35, 0.5)))
        eye = hsv(within(rng, (345, 360)), 0.75, within(rng, (0.4, 0.6)))
        ball = hsv(within(rng, (0, 360)), 0.04, within(rng, (0.6, 0.9)))
        n = _AT
        parts = [
            # Always behind the fly: what it would hide of the far legs' tips is less than their thickness.
            Part("ball", (n["ball"],) * 2, (_BALL_RADIUS * self.scale,) * 2, ball, (), hides=False, lift_mm=-1e3),
            Part("head", (n["head"], n["head"]), (0.24 * g, 0.24 * g), dark, ()),
            Part("thorax", (n["thorax_front"], n["thorax_back"]), (0.30 * g, 0.33 * g), dark, ()),
            # In three, so that each lies before or behind its own stripe.
            *(
                Part(
                    f"abdomen_{number}",
                    (n[f"abdomen_{number}"], n[f"abdomen_{number + 1}"]),
                    (self._abdomen_radius(front), self._abdomen_radius(back)),
                    abdomen,
                    (),
                )
                for number, (front, back) in enumerate(((-0.40, -0.64), (-0.64, -0.92), (-0.92, -1.14)), start=1)
            ),
            Part("left_eye", (n["left_eye"],) * 2, (0.13 * g, 0.13 * g), eye, (ANTENNA,)),
            Part("right_eye", (n["right_eye"],) * 2, (0.13 * g,) * 2, eye, (SIDE + ANTENNA,)),
        ]
        for side, name, hues in ((0, "left", left_hue), (1, "right", right_hue)):
            hue = within(rng, hues)
            light = within(rng, (0.7, 0.95))
            for leg, leg_name in enumerate(LEGS):
                own = hue + (leg - 1) * 14
                first = side * SIDE + leg * N_LEG
                thick = (0.085, 0.075, 0.058, 0.042, 0.026)
                for joint, segment in enumerate(("coxa", "femur", "tibia", "tarsus")):
                    value = light * (0.72, 0.85, 1.0, 0.9)[joint]
                    colour = hsv(own, (0.9, 0.85, 0.7, 0.55)[joint], value)
                    # The coxa begins inside the thorax's outline and is drawn over it.
                    parts.append(
                        Part(
                            f"{name}_{leg_name}_{segment}",
                            (first + joint, first + joint + 1),
                            (thick[joint] * g, thick[joint + 1] * g),
                            colour,
                            (first + joint, first + joint + 1),
                            lift_mm=0.06 if joint == 0 else 0.0,
                        )
                    )
            antenna = side * SIDE + ANTENNA
            colour = hsv(hue, 0.7, light)
            parts.append(
                Part(f"{name}_antenna", (n[f"{name}_antenna_root"], antenna), (0.04 * g, 0.032 * g), colour, (antenna,))
            )
            for number, stripe in enumerate(STRIPES):
                at = side * SIDE + stripe
                mark = hsv(hue + 12 * (number - 1), 0.8, light)
                parts.append(Part(f"{name}_stripe_{number + 1}", (at, at), (0.055 * g,) * 2, mark, (at,), lift_mm=0.06))
        return Body(tuple(parts), 2 * SIDE)
