"""What the exams have, training lacks: read from the committed files themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from capture.virtual.scenario import RingSection, Scenario, load_scenario
from capture.virtual.world import World

PAIRS = [
    ("mannequin_train", "unseen"),
    ("mannequin_train", "unseen_heavy"),
    ("mannequin_train", "unseen_occluded"),
    ("mannequin_occluded_train", "unseen_occluded"),
    ("mannequin_train", "unseen_fallback"),
    ("mannequin_fallback_train", "unseen_fallback"),
    ("fly_train", "fly_unseen"),
]
ALL = (
    "mannequin_train",
    "mannequin_occluded_train",
    "unseen",
    "unseen_heavy",
    "unseen_occluded",
    "unseen_fallback",
    "mannequin_fallback_train",
    "fly_train",
    "fly_unseen",
    "demo",
)


def scenario(root: Path, name: str) -> Scenario:
    return load_scenario(root / "training" / "scenarios" / f"{name}.yaml")


def ring(scenario: Scenario) -> RingSection:
    assert isinstance(scenario.cameras, RingSection)
    return scenario.cameras


def apart(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[1] < other[0] or other[1] < one[0]


def elevations_deg(world: World) -> list[float]:
    """Of the cameras that were really made, above the middle of the subject's place."""
    away = np.stack([camera.center_mm for camera in world.cameras]) - np.array(ring(world.scenario).target_mm)
    return np.degrees(np.arcsin(away[:, 2] / np.linalg.norm(away, axis=1))).tolist()


@pytest.mark.parametrize(("train", "unseen"), PAIRS)
class TestUnseen:
    def test_its_kinds_of_motion_are_absent_from_training(self, root: Path, train: str, unseen: str) -> None:
        assert not set(scenario(root, train).motion.kinds) & set(scenario(root, unseen).motion.kinds)

    def test_its_band_of_camera_elevations_is_absent(self, root: Path, train: str, unseen: str) -> None:
        one, other = ring(scenario(root, train)), ring(scenario(root, unseen))
        assert apart(one.elevation_deg, other.elevation_deg)

    def test_and_from_the_cameras_that_are_made(self, root: Path, train: str, unseen: str) -> None:
        seen, new = (
            [e for seed in range(25) for e in elevations_deg(World(scenario(root, name), seed))]
            for name in (train, unseen)
        )
        assert max(seen) < min(new)

    def test_its_band_of_body_proportions_is_absent(self, root: Path, train: str, unseen: str) -> None:
        assert apart(scenario(root, train).subject.limbs, scenario(root, unseen).subject.limbs)

    def test_its_light_is_absent(self, root: Path, train: str, unseen: str) -> None:
        one, other = scenario(root, train).light, scenario(root, unseen).light
        assert apart(one.elevation_deg, other.elevation_deg)
        assert apart(one.warmth, other.warmth)

    def test_its_textures_are_absent(self, root: Path, train: str, unseen: str) -> None:
        one, other = scenario(root, train), scenario(root, unseen)
        assert not set(one.background.kinds) & set(other.background.kinds)
        if one.subject.kind == "mannequin":  # a fly wears no cloth and stands on no floor
            assert not set(one.texture) & set(other.texture)
            assert not set(one.background.floor) & set(other.background.floor)

    def test_its_own_seed_is_not_that_of_training(self, root: Path, train: str, unseen: str) -> None:
        assert scenario(root, train).seed != scenario(root, unseen).seed


def test_the_demo_has_only_what_training_has(root: Path) -> None:
    train, demo = scenario(root, "mannequin_train"), scenario(root, "demo")
    assert set(demo.motion.kinds) <= set(train.motion.kinds)
    assert train.subject.limbs[0] <= demo.subject.limbs[0] <= demo.subject.limbs[1] <= train.subject.limbs[1]


def test_heavy_is_unseen_with_other_occluders(root: Path) -> None:
    one, heavy = (scenario(root, name).model_dump() for name in ("unseen", "unseen_heavy"))
    assert {key for key in one if one[key] != heavy[key]} == {"name", "occluders"}


def test_occluded_is_unseen_with_other_occluders_and_another_seed(root: Path) -> None:
    one, occluded = (scenario(root, name).model_dump() for name in ("unseen", "unseen_occluded"))
    assert {key for key in one if one[key] != occluded[key]} == {"name", "seed", "occluders"}


def test_occluded_hides_nearly_half_of_the_joints_and_from_some_all_but_one_view(root: Path) -> None:
    occluded = scenario(root, "unseen_occluded")
    hidden = [World(occluded, seed).truth(0.5 * seed).occluded for seed in range(30)]
    assert 0.4 <= np.mean(hidden) <= 0.55
    seen_twice = np.mean([(~one).sum(axis=0) >= 2 for one in hidden])
    assert 0.65 <= seen_twice <= 0.85


def test_the_fallbacks_exam_is_the_occluded_one_with_another_seed(root: Path) -> None:
    one, other = (scenario(root, name).model_dump() for name in ("unseen_occluded", "unseen_fallback"))
    assert {key for key in one if one[key] != other[key]} == {"name", "seed"}


def test_one_view_alone_sees_a_fifth_of_its_joints_and_none_a_twentieth(root: Path) -> None:
    exam = scenario(root, "unseen_fallback")
    # Seeds that nothing is judged on.
    counts = np.stack([(~World(exam, (990, i)).truth(0.5 * i).occluded).sum(axis=0) for i in range(40)])
    assert 0.15 <= (counts == 1).mean() <= 0.25
    assert 0.025 <= (counts == 0).mean() <= 0.08


def test_the_occluded_training_differs_in_what_stands_in_front_alone(root: Path) -> None:
    one, occluded = (scenario(root, name).model_dump() for name in ("mannequin_train", "mannequin_occluded_train"))
    assert {key for key in one if one[key] != occluded[key]} == {"name", "seed", "occluders"}


def test_heavy_hides_a_third_of_the_joints_in_each_view(root: Path) -> None:
    heavy = scenario(root, "unseen_heavy")
    shares = np.array([World(heavy, seed).truth(0.5 * seed).occluded.mean(axis=1) for seed in range(30)])
    assert shares.min() >= 5 / 17
    assert 1 / 3 <= shares.mean() < 0.6


@pytest.mark.parametrize("name", ALL)
def test_every_scenario_can_be_drawn(root: Path, name: str) -> None:
    world = World(scenario(root, name))
    for view, camera in enumerate(world.cameras):
        image = world.render(view, 0.7)
        assert image.shape == (camera.size[1], camera.size[0], 3)
        assert image.std() > 3


@pytest.mark.parametrize("name", ALL)
def test_the_subject_is_in_the_pictures(root: Path, name: str) -> None:
    shares = []
    for seed in range(12):
        world = World(scenario(root, name), seed)
        points = world.truth(1.1 * seed).points2d
        sizes = np.array([camera.size for camera in world.cameras])[:, None]
        shares.append(((points >= 0) & (points < sizes)).all(axis=-1).mean())
    assert np.mean(shares) > 0.93
