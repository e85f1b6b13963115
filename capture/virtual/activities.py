"""What a mannequin can do: each kind of motion as angles over time, on top of standing upright."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from capture.virtual.motion import Hold, bump

_TAU = 2 * np.pi

Angles = dict[str, np.ndarray | float]


def _walking(t: np.ndarray, gait: np.ndarray, h: Hold) -> Angles:
    swing, arms = 0.42 + 0.14 * h.numbers[0], 0.35 + 0.3 * h.numbers[1]
    sine = np.sin(gait)
    return {
        "l_hip": swing * sine + 0.1,
        "r_hip": -swing * sine + 0.1,
        "l_knee": 0.12 + 0.95 * bump(gait + 1.9),
        "r_knee": 0.12 + 0.95 * bump(gait + 1.9 + np.pi),
        "l_ankle": 0.15 * np.sin(gait + 2.5),
        "r_ankle": -0.15 * np.sin(gait + 2.5),
        "l_arm": -arms * sine,
        "r_arm": arms * sine,
        "l_elbow": 0.35 - 0.2 * sine,
        "r_elbow": 0.35 + 0.2 * sine,
        "twist": 0.12 * sine,
        "lean": 0.06,
        "roll": 0.04 * np.cos(gait),
    }


def _reaching(t: np.ndarray, gait: np.ndarray, h: Hold) -> Angles:
    both = h.numbers[0] < 0.3
    left = h.numbers[1] < 0.5
    wave = np.sin(_TAU * t / (1.8 + 1.2 * h.numbers[2]) + _TAU * h.numbers[3])
    angles: Angles = {"lean": 0.15 + 0.15 * wave, "tilt": 0.08}
    for side, on in (("l", both or left), ("r", both or not left)):
        angles[f"{side}_arm"] = 1.3 + 0.5 * wave if on else 0.1
        angles[f"{side}_raise"] = 0.25 + 0.25 * h.numbers[4] if on else 0.15
        angles[f"{side}_elbow"] = 0.6 - 0.45 * wave if on else 0.3
    angles["twist"] = 0.25 * (0.0 if both else (-1.0 if left else 1.0)) * (1 + 0.5 * wave)
    return angles


def _turning(t: np.ndarray, gait: np.ndarray, h: Hold) -> Angles:
    wave = np.sin(_TAU * t / (2.2 + 1.6 * h.numbers[0]) + _TAU * h.numbers[1])
    step = np.sin(2 * _TAU * t / (2.2 + 1.6 * h.numbers[0]))
    return {
        "twist": 0.55 * wave,
        "look": 0.5 * wave,
        "turn": 0.9 * wave,
        "l_raise": 0.35 + 0.2 * wave,
        "r_raise": 0.35 - 0.2 * wave,
        "l_elbow": 0.5,
        "r_elbow": 0.5,
        "l_hip": 0.12 + 0.15 * step,
        "r_hip": 0.12 - 0.15 * step,
        "l_knee": 0.25 + 0.2 * step,
        "r_knee": 0.25 - 0.2 * step,
    }


def _squatting(t: np.ndarray, gait: np.ndarray, h: Hold) -> Angles:
    depth = (0.65 + 0.35 * h.numbers[0]) * bump(_TAU * t / (1.8 + 1.2 * h.numbers[1]) + _TAU * h.numbers[2], 1.0)
    angles: Angles = {"lean": 0.3 * depth, "tilt": 0.45 * depth}
    for side in ("l", "r"):
        angles[f"{side}_hip"] = 1.45 * depth
        angles[f"{side}_knee"] = 0.08 + 1.9 * depth
        angles[f"{side}_ankle"] = -0.5 * depth
        angles[f"{side}_spread"] = 0.12 + 0.25 * depth
        angles[f"{side}_arm"] = 1.2 * depth
        angles[f"{side}_elbow"] = 0.3
    return angles


def _waving(t: np.ndarray, gait: np.ndarray, h: Hold) -> Angles:
    side, other = ("l", "r") if h.numbers[0] < 0.5 else ("r", "l")
    wave = np.sin(_TAU * t * (0.9 + 0.5 * h.numbers[1]) + _TAU * h.numbers[2])
    return {
        f"{side}_raise": 1.9 + 0.5 * h.numbers[3],
        f"{side}_elbow": 0.8 + 0.5 * wave,
        f"{side}_arm_turn": 0.4 * wave,
        f"{other}_elbow": 0.3,
        "bend": (0.12 if side == "r" else -0.12) + 0.04 * wave,
    }


def _stepping(t: np.ndarray, gait: np.ndarray, h: Hold) -> Angles:
    phase = _TAU * t * (0.65 + 0.25 * h.numbers[0]) + _TAU * h.numbers[1]
    height = 0.7 + 0.6 * h.numbers[2]
    left, right = bump(phase, 1.5), bump(phase + np.pi, 1.5)
    return {
        "l_hip": height * left,
        "r_hip": height * right,
        "l_knee": 0.08 + 1.35 * height * left,
        "r_knee": 0.08 + 1.35 * height * right,
        "l_arm": 0.8 * (right - left),
        "r_arm": 0.8 * (left - right),
        "l_elbow": 1.0,
        "r_elbow": 1.0,
        "twist": 0.1 * (left - right),
    }


def _crouching(t: np.ndarray, gait: np.ndarray, h: Hold) -> Angles:
    sway = np.sin(_TAU * t / (2.0 + h.numbers[0]) + _TAU * h.numbers[1])
    depth = 0.8 + 0.15 * sway
    angles: Angles = {"lean": 0.55 + 0.12 * sway, "tilt": 0.35, "bend": 0.15 * sway}
    for side, sign in (("l", 1.0), ("r", -1.0)):
        angles[f"{side}_hip"] = (1.45 + 0.12 * sign * sway) * depth
        angles[f"{side}_knee"] = 1.9 * depth
        angles[f"{side}_ankle"] = -0.45
        angles[f"{side}_spread"] = 0.15
        angles[f"{side}_arm"] = 0.75 + 0.3 * sign * sway
        angles[f"{side}_elbow"] = 1.5 - 0.3 * sign * sway
    return angles


def _kicking(t: np.ndarray, gait: np.ndarray, h: Hold) -> Angles:
    side, other = ("l", "r") if h.numbers[0] < 0.5 else ("r", "l")
    phase = _TAU * t * (0.45 + 0.2 * h.numbers[1]) + _TAU * h.numbers[2]
    kick = bump(phase, 1.5)
    return {
        f"{side}_hip": -0.4 + (1.3 + 0.4 * h.numbers[3]) * kick,
        f"{side}_knee": 0.1 + 1.2 * bump(phase + 1.3, 1.5),
        f"{other}_knee": 0.2,
        f"{other}_hip": 0.1,
        f"{side}_arm": 0.5 - 1.0 * kick,
        f"{other}_arm": -0.4 + 1.3 * kick,
        f"{side}_raise": 0.5,
        f"{other}_raise": 0.6,
        f"{other}_elbow": 0.7,
        f"{side}_elbow": 0.5,
        "lean": -0.1 + 0.15 * kick,
    }


def _stretching(t: np.ndarray, gait: np.ndarray, h: Hold) -> Angles:
    wave = np.sin(_TAU * t / (2.4 + 1.4 * h.numbers[0]) + _TAU * h.numbers[1])
    return {
        "bend": 0.35 * wave,
        "lean": -0.12,
        "l_raise": 2.25 + 0.3 * wave,
        "r_raise": 2.25 - 0.3 * wave,
        "l_elbow": 0.25 + 0.15 * wave,
        "r_elbow": 0.25 - 0.15 * wave,
        "l_spread": 0.25,
        "r_spread": 0.25,
        "nod": -0.15,
    }


KINDS: dict[str, Callable[[np.ndarray, np.ndarray, Hold], Angles]] = {
    "walking": _walking,
    "reaching": _reaching,
    "turning": _turning,
    "squatting": _squatting,
    "waving": _waving,
    "stepping": _stepping,
    "crouching": _crouching,
    "kicking": _kicking,
    "stretching": _stretching,
}
"""By name: (time in s at unit speed, phase of the gait, the hold with its style) to angles in radians."""
