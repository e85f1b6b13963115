"""Both subjects move as bodies do: bones keep their lengths, joints their limits, and nothing jumps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from capture.virtual.fly import Fly
from capture.virtual.mannequin import LIMITS, Mannequin
from capture.virtual.scenario import FLY_KINDS, MANNEQUIN_KINDS
from capture.virtual.skeletons import FLY38, HUMAN36M17, LEG_JOINTS, N_LEG, SIDE
from tests.capture.virtual.scenarios import scenario

RATE = 120
SEEDS = (0, 1, 2)


def mannequin(seed: int, kinds: tuple[str, ...] = MANNEQUIN_KINDS, **motion) -> Mannequin:
    return Mannequin(scenario(motion={"kinds": kinds, "speed": [1, 1], **motion}), seed)


def fly(seed: int, kinds: tuple[str, ...] = FLY_KINDS) -> Fly:
    return Fly(scenario("fly", motion={"kinds": kinds, "speed": [1, 1]}), seed)


def joints(subject: Mannequin | Fly, t: np.ndarray) -> np.ndarray:
    return subject.points_mm(t)[:, : len(subject.skeleton.joints)]


def lengths(pose: np.ndarray, edges: list[tuple[int, int]]) -> np.ndarray:
    return np.stack([np.linalg.norm(pose[:, a] - pose[:, b], axis=-1) for a, b in edges], axis=-1)


def leg_bones() -> list[tuple[int, int]]:
    starts = [side * SIDE + leg * N_LEG for side in (0, 1) for leg in range(3)]
    return [pair for start in starts for pair in pairwise(range(start, start + len(LEG_JOINTS)))]


class TestBones:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_mannequins_bones_keep_their_lengths(self, seed: int) -> None:
        found = lengths(joints(mannequin(seed), np.linspace(0, 60, 400)), list(HUMAN36M17.edges))
        assert np.ptp(found, axis=0).max() < 1e-6

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_flys_legs_and_stripes_keep_theirs(self, seed: int) -> None:
        found = lengths(joints(fly(seed), np.linspace(0, 60, 400)), list(FLY38.edges))
        assert np.ptp(found, axis=0).max() < 1e-9

    def test_both_sides_are_equal(self) -> None:
        pose = joints(mannequin(4), np.array([1.0]))
        mirror = dict(HUMAN36M17.left_right) | {right: left for left, right in HUMAN36M17.left_right}
        other = [(mirror.get(a, a), mirror.get(b, b)) for a, b in HUMAN36M17.edges]
        assert np.allclose(lengths(pose, list(HUMAN36M17.edges)), lengths(pose, other))
        pose = joints(fly(4), np.array([1.0]))
        left = leg_bones()[: len(leg_bones()) // 2]
        assert np.allclose(lengths(pose, left), lengths(pose, [(a + SIDE, b + SIDE) for a, b in left]))

    def test_people_have_the_size_of_people_and_flies_that_of_flies(self) -> None:
        pose = joints(mannequin(0, ("waving",)), np.linspace(0, 10, 50))
        assert 1550 < np.median(pose[:, 9, 2]) < 1800
        legs = lengths(joints(fly(0), np.array([0.0])), leg_bones()).reshape(6, 4).sum(axis=1)
        assert (legs > 2.1).all() and (legs < 2.9).all()

    def test_limbs_are_longer_where_the_proportion_says_so(self) -> None:
        def arm(limbs: float) -> float:
            section = {"kind": "mannequin", "limbs": [limbs, limbs], "variation": 0}
            pose = joints(Mannequin(scenario(subject=section), 0), np.array([0.0]))
            return float(lengths(pose, [(13, 14)])[0, 0])

        assert arm(1.1) == pytest.approx(1.1 * arm(1.0))


class TestMotion:
    @pytest.mark.parametrize("kind", MANNEQUIN_KINDS)
    def test_a_mannequin_never_jumps(self, kind: str) -> None:
        # Blended with walking, so that every change of kind is among the moments.
        t = np.arange(0, 25, 1 / RATE)
        speed = np.diff(joints(mannequin(3, (kind, "walking")), t), axis=0) * RATE
        acceleration = np.linalg.norm(np.diff(speed, axis=0), axis=-1) * RATE
        assert np.linalg.norm(speed, axis=-1).max() < 9_000
        assert acceleration.max() < 120_000  # 12 g, at the end of a kick
        assert np.percentile(acceleration, 99) < 40_000

    @pytest.mark.parametrize("kind", FLY_KINDS)
    def test_a_fly_never_jumps(self, kind: str) -> None:
        t = np.arange(0, 15, 1 / 500)
        speed = np.diff(joints(fly(3, (kind, "resting")), t), axis=0) * 500
        steps = np.linalg.norm(np.diff(speed, axis=0), axis=-1)
        assert np.linalg.norm(speed, axis=-1).max() < 60
        assert steps.max() < 6  # mm/s from one 2 ms to the next

    @pytest.mark.parametrize("make", [mannequin, fly])
    def test_it_has_no_end(self, make) -> None:
        pose = joints(make(1), 3600 + np.linspace(0, 20, 200))
        assert np.isfinite(pose).all()
        assert np.ptp(pose, axis=0).max() > (0.3 if make is fly else 300)

    @pytest.mark.parametrize("make", [mannequin, fly])
    def test_a_moment_is_the_same_however_it_is_asked_for(self, make) -> None:
        t = np.array([2.0, 17.0, 0.5, 11.0])
        alone = np.concatenate([joints(make(5), np.array([moment])) for moment in t])
        assert np.allclose(joints(make(5), t), alone, atol=1e-9)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_one_foot_stands_about_on_the_floor(self, seed: int) -> None:
        points = mannequin(seed).points_mm(np.arange(0, 60, 0.1))
        soles = points[:, 17:21, 2].min(axis=1)
        assert soles.min() > 0
        assert soles.max() < 60

    @pytest.mark.parametrize("seed", SEEDS)
    def test_it_stays_in_its_arena(self, seed: int) -> None:
        subject = mannequin(seed, arena_mm=[400, 400])
        pelvis = joints(subject, np.arange(0, 120, 0.25))[:, 6]
        assert np.linalg.norm(pelvis[:, :2], axis=-1).max() < 1.4 * 400

    def test_a_walker_goes_where_it_looks(self) -> None:
        subject = mannequin(2, ("walking",), wildness=[0, 0])
        t = np.arange(5, 30, 0.1)
        pose = joints(subject, t)
        course = np.gradient(pose[:, 6, :2], t, axis=0)
        left = (pose[:, 3] - pose[:, 2])[:, :2]
        ahead = np.stack([left[:, 1], -left[:, 0]], axis=-1)
        along = (course * ahead).sum(axis=-1) / np.linalg.norm(course, axis=-1) / np.linalg.norm(ahead, axis=-1)
        assert np.median(along) > 0.9
        assert np.median(np.linalg.norm(course, axis=-1)) > 500

    def test_every_kind_is_another_motion(self) -> None:
        t = np.arange(0, 20, 0.1)
        means = [joints(mannequin(0, (kind,), wildness=[0, 0]), t) for kind in MANNEQUIN_KINDS]
        means = [pose - pose[:, 6:7] for pose in means]
        for one, first in enumerate(means):
            for second in means[one + 1 :]:
                assert np.linalg.norm(first - second, axis=-1).mean() > 50


class TestLimits:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_no_angle_leaves_its_limits(self, seed: int) -> None:
        angles = mannequin(seed, wildness=[3, 3]).angles(np.arange(0, 60, 0.05))
        for name, values in angles.items():
            kind = name[2:] if name[:2] in ("l_", "r_") else name
            if kind in LIMITS:
                low, high = LIMITS[kind]
                assert low - 0.05 <= values.min() and values.max() <= high + 0.05, name

    @pytest.mark.parametrize("seed", SEEDS)
    def test_knees_bend_backwards_and_elbows_forwards(self, seed: int) -> None:
        # The angle between two bones' directions never passes straight: the bend keeps its side of the body.
        subject = mannequin(seed, wildness=[2, 2])
        angles = subject.angles(np.arange(0, 60, 0.05))
        for name in ("l_knee", "r_knee", "l_elbow", "r_elbow"):
            assert angles[name].min() > 0
        pose = joints(subject, np.arange(0, 60, 0.05))
        for hip, knee, ankle, shoulder, elbow, wrist in ((3, 4, 5, 13, 14, 15), (2, 1, 0, 12, 11, 10)):
            for a, b, c in ((hip, knee, ankle), (shoulder, elbow, wrist)):
                one, two = pose[:, b] - pose[:, a], pose[:, c] - pose[:, b]
                cosine = (one * two).sum(-1) / np.linalg.norm(one, axis=-1) / np.linalg.norm(two, axis=-1)
                assert cosine.min() > np.cos(2.5)
