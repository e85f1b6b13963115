"""A lab's own animal: what judges is not what was labelled, read from the committed scenarios themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from capture.virtual.scenario import Scenario, load_scenario
from capture.virtual.world import World


def scenario(root: Path, name: str) -> Scenario:
    return load_scenario(root / "training" / "scenarios" / f"fly_lab_{name}.yaml")


def elevations_deg(world: World) -> np.ndarray:
    """Of the cameras, above the fly."""
    away = np.stack([camera.center_mm for camera in world.cameras]) - np.array([0, 0, 0.7])
    return np.degrees(np.arcsin(away[:, 2] / np.linalg.norm(away, axis=1)))


class TestTheLabJudge:
    def test_knows_other_motion(self, root: Path) -> None:
        assert not set(scenario(root, "labels").motion.kinds) & set(scenario(root, "judge").motion.kinds)

    def test_looks_from_other_heights(self, root: Path) -> None:
        labelled = elevations_deg(World(scenario(root, "labels"), 0))
        judged = np.concatenate([elevations_deg(World(scenario(root, "judge"), seed)) for seed in range(25)])
        assert labelled.max() < judged.min()

    def test_has_other_seeds(self, root: Path) -> None:
        assert scenario(root, "labels").seed != scenario(root, "judge").seed


class TestTheLabelledRig:
    def test_stays_when_the_fly_is_another(self, root: Path) -> None:
        one, other = (World(scenario(root, "labels"), seed) for seed in (0, 1))
        for mine, theirs in zip(one.cameras, other.cameras, strict=True):
            assert np.array_equal(mine.K, theirs.K)
            assert np.array_equal(mine.center_mm, theirs.center_mm)
        assert not np.allclose(one.pose_mm(1.0), other.pose_mm(1.0))

    def test_sees_the_fly_whole(self, root: Path) -> None:
        world = World(scenario(root, "labels"), 3)
        for camera in world.cameras:
            points = camera.project(world.pose_mm(2.0))
            assert ((points > 0) & (points < np.array(camera.size) - 1)).all()
