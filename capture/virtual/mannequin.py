"""A person-like figure of 17 joints: bones turned about joints, so that every bone keeps its length."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from capture.virtual.activities import KINDS
from capture.virtual.body import Body, Part, hsv, rotation
from capture.virtual.motion import Drift, Timeline, soft_clip
from capture.virtual.scenario import Scenario, Seed, generator, within
from capture.virtual.skeletons import HUMAN36M17

_STREAM = 1
_DRIFT_STREAM = 2

# Millimetres of a grown person of 1.75 m.
_TEMPLATE = {
    "thigh": 440.0,
    "shin": 425.0,
    "foot": 80.0,
    "hip": 118.0,
    "lower_trunk": 235.0,
    "upper_trunk": 255.0,
    "shoulder": 172.0,
    "upper_arm": 290.0,
    "forearm": 255.0,
    "hand": 85.0,
    "neck": 125.0,
    "head": 190.0,
}
_LIMBS = ("thigh", "shin", "upper_arm", "forearm", "hand")

# Degrees of freedom, in radians. Sides: 0 = left, 1 = right.
_DOF = (
    "tilt",
    "roll",
    "twist",
    "lean",
    "bend",
    "nod",
    "look",
    "turn",
    *(f"{side}_{name}" for side in ("l", "r") for name in ("hip", "spread", "hip_turn", "knee", "ankle")),
    *(f"{side}_{name}" for side in ("l", "r") for name in ("arm", "raise", "arm_turn", "elbow")),
)
_INDEX = {name: number for number, name in enumerate(_DOF)}
_NOISE = {
    "tilt": 0.04,
    "roll": 0.04,
    "twist": 0.1,
    "lean": 0.07,
    "bend": 0.07,
    "nod": 0.12,
    "look": 0.25,
    "turn": 0.5,
    "hip": 0.08,
    "spread": 0.05,
    "hip_turn": 0.12,
    "knee": 0.08,
    "ankle": 0.06,
    "arm": 0.25,
    "raise": 0.16,
    "arm_turn": 0.3,
    "elbow": 0.25,
}
LIMITS = {
    "tilt": (-0.4, 0.7),
    "roll": (-0.35, 0.35),
    "twist": (-0.9, 0.9),
    "lean": (-0.35, 1.1),
    "bend": (-0.5, 0.5),
    "nod": (-0.6, 0.7),
    "look": (-1.1, 1.1),
    "hip": (-0.6, 2.0),
    "spread": (-0.1, 0.8),
    "hip_turn": (-0.5, 0.6),
    "knee": (0.03, 2.4),
    "ankle": (-0.7, 0.5),
    "arm": (-0.9, 2.8),
    "raise": (0.08, 2.7),
    "arm_turn": (-1.1, 1.1),
    "elbow": (0.05, 2.4),
}
"""What each angle is kept within, radians: a knee and an elbow bend one way only."""
_KIND_OF = [name[2:] if name[:2] in ("l_", "r_") else name for name in _DOF]
_SPREAD = np.array([[_NOISE[kind]] for kind in _KIND_OF])
_LOW, _HIGH = (np.array([[LIMITS.get(kind, (-1e3, 1e3))[end]] for kind in _KIND_OF]) for end in (0, 1))
_AT_REST = np.array([[0.18 if kind == "raise" else 0.0] for kind in _KIND_OF])
_PACE = {"walking": 1000.0, "turning": 150.0, "reaching": 40.0, "waving": 60.0}
_FLOOR_SOFTNESS_MM = 12.0
_TAU = 2 * np.pi

# Points behind the 17 joints.
_L_TOE, _R_TOE, _L_HEEL, _R_HEEL, _L_HAND, _R_HAND, _HEAD, _FACE, _L_RIB, _R_RIB, _L_FLANK, _R_FLANK = range(17, 29)
_RINGS = 29
_RING = 10
_N_RINGS = 4
_N_POINTS = _RINGS + _RING * _N_RINGS


class Mannequin:
    """See the module; a ``Subject``.

    Args:
        scenario: Its sections ``subject``, ``motion`` and ``texture``.
        seed: Of the sample.
    """

    skeleton = HUMAN36M17

    def __init__(self, scenario: Scenario, seed: Seed) -> None:
        section = scenario.subject
        rng = generator(seed, _STREAM)
        scale, limbs, girth = (within(rng, limits) for limits in (section.scale, section.limbs, section.girth))
        vary = rng.uniform(1 - section.variation, 1 + section.variation, len(_TEMPLATE))
        self.length_mm = {
            name: mm * scale * (limbs if name in _LIMBS else 1.0) * factor
            for (name, mm), factor in zip(_TEMPLATE.items(), vary.tolist(), strict=True)
        }
        self._girth = girth * scale
        self.timeline = Timeline(seed, scenario.motion, _PACE)
        drift = generator(seed, _DRIFT_STREAM)
        self._drift = Drift(drift, len(_DOF), self.timeline.speed)
        self._facing = within(drift, (0, _TAU))
        self._wobble = Drift(drift, 1, self.timeline.speed, (5.0, 11.0))
        self._around = within(drift, (0, _TAU))
        self._clockwise = 1.0 if drift.uniform() < 0.5 else -1.0
        self.body = self._build(rng, section.left_hue_deg, section.right_hue_deg)

    def angles(self, t_s: Float[np.ndarray, " T"]) -> dict[str, np.ndarray]:
        """Every angle at moments, within its limits, radians."""
        line = self.timeline
        gait = _TAU * line.travelled_mm(t_s) / (1.55 * (self.length_mm["thigh"] + self.length_mm["shin"]))
        noise = self._drift(t_s) * line.wildness
        total = np.zeros((len(_DOF), len(t_s)))
        tempo = t_s * line.speed
        for where, mix in line.mixes(t_s):
            for hold, share in ((mix.before, 1 - mix.share), (mix.now, mix.share)):
                for name, value in KINDS[hold.kind](tempo[where], gait[where], hold).items():
                    total[_INDEX[name], where] += share * value
        total = soft_clip(total + _AT_REST + _SPREAD * noise, _LOW, _HIGH)
        return {name: total[row] for name, row in _INDEX.items()}

    def points_mm(self, t_s: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T P 3"]:
        """All points at moments; the joints come first."""
        a, mm, n = self.angles(t_s), self.length_mm, len(t_s)
        girth = self._girth
        path, heading = self._path(t_s)
        points = np.zeros((n, _N_POINTS, 3))

        def put(base: np.ndarray, frame: np.ndarray, x: float, y: float, z: float) -> np.ndarray:
            return base + frame @ np.array([x, y, z])

        pelvis = rotation(2, heading + a["turn"]) @ rotation(1, a["tilt"]) @ rotation(0, a["roll"])
        waist = pelvis @ rotation(2, a["twist"] / 2) @ rotation(0, a["bend"] / 2) @ rotation(1, a["lean"] / 2)
        chest = waist @ rotation(2, a["twist"] / 2) @ rotation(0, a["bend"] / 2) @ rotation(1, a["lean"] / 2)
        head = chest @ rotation(2, a["look"]) @ rotation(1, a["nod"] - 0.4 * a["lean"])
        spine = put(np.zeros(3), waist, 0, 0, mm["lower_trunk"])
        thorax = put(spine, chest, 0, 0, mm["upper_trunk"])
        neck = put(thorax, head, 0.3 * mm["neck"], 0, 0.95 * mm["neck"])
        top = put(neck, head, -0.12 * mm["head"], 0, 0.93 * mm["head"])
        points[:, 7], points[:, 8], points[:, 16], points[:, 9] = spine, thorax, neck, top
        points[:, _HEAD] = put(neck, head, -0.1 * mm["head"], 0, 0.52 * mm["head"])
        points[:, _FACE] = put(neck, head, 0.1 * mm["head"], 0, 0.36 * mm["head"])

        for side, sign, hip, knee, ankle, toe, heel in (
            ("l", 1.0, 3, 4, 5, _L_TOE, _L_HEEL),
            ("r", -1.0, 2, 1, 0, _R_TOE, _R_HEEL),
        ):
            points[:, hip] = put(np.zeros(3), pelvis, 0, sign * mm["hip"], 0)
            thigh = pelvis @ rotation(0, sign * a[f"{side}_spread"]) @ rotation(1, -a[f"{side}_hip"])
            thigh = thigh @ rotation(2, sign * a[f"{side}_hip_turn"])
            points[:, knee] = put(points[:, hip], thigh, 0, 0, -mm["thigh"])
            shin = thigh @ rotation(1, a[f"{side}_knee"])
            points[:, ankle] = put(points[:, knee], shin, 0, 0, -mm["shin"])
            foot = shin @ rotation(1, a[f"{side}_ankle"])
            points[:, toe] = put(points[:, ankle], foot, 1.9 * mm["foot"], 0.2 * sign * mm["foot"], -0.62 * mm["foot"])
            points[:, heel] = put(points[:, ankle], foot, -0.45 * mm["foot"], 0, -0.55 * mm["foot"])
        for side, sign, shoulder, elbow, wrist, hand in (
            ("l", 1.0, 13, 14, 15, _L_HAND),
            ("r", -1.0, 12, 11, 10, _R_HAND),
        ):
            points[:, shoulder] = put(thorax, chest, 0, sign * mm["shoulder"], -0.12 * mm["shoulder"])
            upper = chest @ rotation(0, sign * a[f"{side}_raise"]) @ rotation(1, -a[f"{side}_arm"])
            upper = upper @ rotation(2, -sign * a[f"{side}_arm_turn"])
            points[:, elbow] = put(points[:, shoulder], upper, 0, 0, -mm["upper_arm"])
            fore = upper @ rotation(1, -a[f"{side}_elbow"])
            points[:, wrist] = put(points[:, elbow], fore, 0, 0, -mm["forearm"])
            points[:, hand] = put(points[:, wrist], fore, 0, 0, -mm["hand"])

        # The trunk: rings about pelvis, waist, ribs and shoulders; beside it what hides as it does.
        turn = np.linspace(0, _TAU, _RING, endpoint=False)
        for ring, (base, frame, up, wide, deep) in enumerate(
            (
                (np.zeros((n, 3)), pelvis, -35, mm["hip"] + 52 * girth, 112),
                (spine, waist, -25, 0.78 * mm["hip"] + 38 * girth, 96),
                (thorax, chest, -95, mm["shoulder"] - 8, 112),
                (thorax, chest, 12, 0.72 * mm["shoulder"], 62),
            )
        ):
            local = np.stack([deep * girth * np.cos(turn), wide * np.sin(turn), np.full(_RING, up)], axis=-1)
            points[:, _RINGS + ring * _RING : _RINGS + (ring + 1) * _RING] = base[:, None] + local @ frame.transpose(
                0, 2, 1
            )
        for sign, rib, flank in ((1.0, _L_RIB, _L_FLANK), (-1.0, _R_RIB, _R_FLANK)):
            points[:, rib] = put(thorax, chest, 0, sign * 0.45 * mm["shoulder"], -90)
            points[:, flank] = put(np.zeros(3), pelvis, 0, sign * 0.5 * mm["hip"], 20)

        # The lower foot stands on the floor, whichever it is.
        soles = points[:, (_L_TOE, _R_TOE, _L_HEEL, _R_HEEL), 2] - 30 * girth
        lowest = -_FLOOR_SOFTNESS_MM * np.logaddexp.reduce(-soles / _FLOOR_SOFTNESS_MM, axis=1)
        points[:, :, :2] += path[:, None]
        points[:, :, 2] -= lowest[:, None]
        return points

    def _path(self, t_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the pelvis is, and where the figure goes: around an ellipse that is never quite the same."""
        arena = max(self.timeline.arena_mm, 1.0)
        turn = self._around + self._clockwise * self.timeline.travelled_mm(t_s) / arena
        wobble = 0.12 * self._wobble(t_s)[0]
        radius = arena * (0.85 + wobble)
        path = radius[:, None] * np.stack([np.cos(turn), 0.8 * np.sin(turn)], axis=-1)
        heading = np.arctan2(0.8 * np.cos(turn) * self._clockwise, -np.sin(turn) * self._clockwise)
        # Unwrapped by the turn itself, so that it never jumps.
        heading = (
            turn + self._clockwise * np.pi / 2 + np.angle(np.exp(1j * (heading - turn - self._clockwise * np.pi / 2)))
        )
        return path, heading

    def _build(self, rng: np.random.Generator, left_hue: tuple[float, float], right_hue: tuple[float, float]) -> Body:
        g = self._girth
        skin = hsv(within(rng, (12, 32)), within(rng, (0.25, 0.6)), within(rng, (0.45, 0.95)))
        hair = hsv(within(rng, (10, 40)), within(rng, (0.2, 0.6)), within(rng, (0.1, 0.4)))
        shirt = hsv(within(rng, (80, 160)), within(rng, (0.1, 0.55)), within(rng, (0.45, 0.95)))
        belt = hsv(within(rng, (260, 320)), within(rng, (0.05, 0.35)), within(rng, (0.3, 0.7)))
        parts = []
        for side, hues, hip, knee, ankle, shoulder, elbow, wrist, toe, heel, hand in (
            ("left", left_hue, 3, 4, 5, 13, 14, 15, _L_TOE, _L_HEEL, _L_HAND),
            ("right", right_hue, 2, 1, 0, 12, 11, 10, _R_TOE, _R_HEEL, _R_HAND),
        ):
            hue = within(rng, hues)
            light = within(rng, (0.75, 0.95))
            legs = hsv(hue, within(rng, (0.75, 0.95)), light * 0.82)
            shins = hsv(hue, within(rng, (0.55, 0.75)), light)
            sleeve = hsv(hue, within(rng, (0.7, 0.95)), light)
            forearm = hsv(hue, within(rng, (0.45, 0.6)), light)
            shoe = hsv(hue, 0.8, 0.45)
            parts += [
                Part(f"{side}_thigh", (hip, knee), (78 * g, 52 * g), legs, (hip, knee)),
                Part(f"{side}_shin", (knee, ankle), (53 * g, 36 * g), shins, (knee, ankle)),
                Part(f"{side}_foot", (heel, toe), (34 * g, 28 * g), shoe, (ankle,)),
                Part(f"{side}_upper_arm", (shoulder, elbow), (54 * g, 40 * g), sleeve, (shoulder, elbow), lift_mm=15),
                Part(f"{side}_forearm", (elbow, wrist), (41 * g, 29 * g), forearm, (elbow, wrist), lift_mm=20),
                Part(f"{side}_hand", (wrist, hand), (30 * g, 34 * g), skin, (wrist,), lift_mm=21),
            ]
        lower = tuple(range(_RINGS, _RINGS + 2 * _RING))
        upper = tuple(range(_RINGS + _RING, _RINGS + 4 * _RING))
        trunk = (6, 7, 8)
        parts += [
            Part("belly", lower, (0, 0), belt, (*trunk, 2, 3)),
            Part("chest", upper, (0, 0), shirt, (*trunk, 12, 13)),
            Part("left_trunk", (_L_FLANK, _L_RIB), (92 * g, 92 * g), shirt, (*trunk, 3, 13, 16), drawn=False),
            Part("right_trunk", (_R_FLANK, _R_RIB), (92 * g, 92 * g), shirt, (*trunk, 2, 12, 16), drawn=False),
            Part("neck", (8, 16), (52 * g, 48 * g), skin, (8, 16)),
            Part("head", (_HEAD, _HEAD), (92 * g, 92 * g), hair, (16, 9)),
            Part("face", (_FACE, 16), (74 * g, 52 * g), skin, (16, 9), lift_mm=12),
        ]
        return Body(tuple(parts), len(HUMAN36M17.joints))
