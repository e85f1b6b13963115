"""What hides a joint, and what does not, on cases made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from capture.virtual.body import Body, Part
from capture.virtual.obstacles import Box, cards
from capture.virtual.occlusion import hidden_by_body, hidden_by_capsules
from tests.capture.virtual.scenarios import scenario

EYE = np.array([0.0, 0.0, 0.0])


def hidden(joint: tuple[float, float, float], a=(5.0, -1.0, 0.0), b=(5.0, 1.0, 0.0), r0=0.2, r1=0.2) -> bool:
    ends = (np.array([a]), np.array([b]), np.array([r0]), np.array([r1]))
    return bool(hidden_by_capsules(EYE, np.array([joint]), *ends)[0, 0])


class TestCapsule:
    @pytest.mark.parametrize(
        ("joint", "expected"),
        [
            ((10, 0, 0), True),  # straight behind
            ((4, 0, 0), False),  # before it
            ((10, 0, 0.3), True),  # half of 0.3 at half the distance
            ((10, 0, 0.5), False),  # passes above
            ((10, 2.2, 0), True),  # behind the round end
            ((10, 2.6, 0), False),  # beside the end
            ((-10, 0, 0), False),  # the other way
            ((5.1, 0, 0), True),  # within it, on the far side
            ((4.9, 0, 0), False),  # within it, on the near side
        ],
    )
    def test_hides_what_is_behind(self, joint: tuple, expected: bool) -> None:
        assert hidden(joint) is expected

    def test_a_tapered_one_hides_more_at_its_thick_end(self) -> None:
        assert hidden((10, -1.8, 0.6), r0=0.4, r1=0.05)
        assert not hidden((10, 1.8, 0.6), r0=0.4, r1=0.05)

    def test_looking_along_it(self) -> None:
        assert hidden((10, 0, 0), a=(4, 0, 0), b=(6, 0, 0))
        assert not hidden((10, 0.6, 0), a=(4, 0, 0), b=(6, 0, 0))

    def test_a_ball(self) -> None:
        assert hidden((10, 0, 0), a=(5, 0, 0), b=(5, 0, 0))
        assert not hidden((10, 0.6, 0), a=(5, 0, 0), b=(5, 0, 0))


class TestBody:
    def body(self, **values) -> Body:
        arm = Part("arm", (0, 1), (0.2, 0.2), (1, 1, 1), (0, 1), **values)
        return Body((arm,), 3)

    def points(self) -> np.ndarray:
        return np.array([[5.0, -1, 0], [5.0, 1, 0], [8.0, 0, 0]])

    def test_a_part_hides_others_but_not_its_own_joints(self) -> None:
        assert hidden_by_body(EYE, self.points(), self.body().solids, 3).tolist() == [False, False, True]

    def test_seen_from_behind_nothing_is_hidden(self) -> None:
        eye = np.array([20.0, 0, 0])
        assert not hidden_by_body(eye, self.points(), self.body().solids, 3).any()

    def test_what_is_only_drawn_hides_nothing(self) -> None:
        assert not hidden_by_body(EYE, self.points(), self.body(hides=False).solids, 3).any()


class TestBox:
    box = Box(np.array([5.0, 0, 0]), np.array([0.5, 1.0, 0.5]), 0.0, (1, 1, 1))

    @pytest.mark.parametrize(
        ("point", "expected"), [((10, 0, 0), True), ((4, 0, 0), False), ((10, 1.9, 0), True), ((10, 2.6, 0), False)]
    )
    def test_hides_what_is_behind(self, point: tuple, expected: bool) -> None:
        assert self.box.hides(EYE, np.array([point], float)).tolist() == [expected]

    def test_turned(self) -> None:
        box = Box(self.box.center_mm, self.box.half_mm, np.pi / 2, (1, 1, 1))
        assert box.hides(EYE, np.array([[10, 0.8, 0], [10, 1.9, 0]])).tolist() == [True, False]

    def test_its_corners_are_where_it_hides(self) -> None:
        box = Box(self.box.center_mm, self.box.half_mm, 0.7, (1, 1, 1))
        inner, outer = (box.center_mm + share * (box.corners_mm - box.center_mm) for share in (0.97, 1.6))
        assert box.hides(EYE, 1.5 * inner).all()
        assert not box.hides(EYE, 1.5 * outer).all()


class TestCards:
    section = scenario(occluders={"cards": [2, 3], "cards_cover": [0.4, 0.4]})

    @pytest.mark.parametrize("seed", range(8))
    def test_they_cover_just_the_share(self, seed: int) -> None:
        px = np.random.default_rng(seed).uniform(20, 220, (17, 2))
        found = cards(self.section, seed, 0, 1.0, px)
        assert found is not None
        assert found.hidden.sum() == round(0.4 * 17)

    @pytest.mark.parametrize("seed", range(8))
    def test_and_those_that_they_say(self, seed: int) -> None:
        import cv2

        px = np.random.default_rng(seed).uniform(20, 220, (17, 2))
        found = cards(self.section, seed, 0, 1.0, px)
        assert found is not None
        inside = [
            any(cv2.pointPolygonTest(quad.astype(np.float32), point.tolist(), False) >= 0 for quad in found.corners_px)
            for point in px
        ]
        assert inside == found.hidden.tolist()

    def test_views_have_their_own(self) -> None:
        px = np.random.default_rng(0).uniform(20, 220, (17, 2))
        first, second = (cards(self.section, 0, view, 1.0, px) for view in (0, 1))
        assert first is not None and second is not None
        assert first.hidden.tolist() != second.hidden.tolist()

    def test_a_joint_behind_the_camera_is_no_ones(self) -> None:
        px = np.random.default_rng(0).uniform(20, 220, (17, 2))
        px[3] = np.nan
        found = cards(self.section, 0, 0, 1.0, px)
        assert found is not None and not found.hidden[3] and np.isfinite(found.corners_px).all()

    def test_no_cards_no_answer(self) -> None:
        assert cards(scenario(), 0, 0, 1.0, np.zeros((17, 2))) is None
