"""What becomes of a pose's lost joints: their fields say what they are, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from capture.virtual.skeletons import HUMAN36M17  # noqa: E402
from engine.config import EngineSection, SolveSection  # noqa: E402
from engine.fallback_tuning import FallbackTuning  # noqa: E402
from engine.lift import Lifted, Lifter  # noqa: E402
from engine.lift_solver import LiftSolver, LocatedLifter  # noqa: E402
from engine.solve import Observation, Solver  # noqa: E402
from rigpose.pose import (  # noqa: E402
    LIFTED,
    MEASURED,
    NONE,
    NOT_SEEN,
    ONE_VIEW,
    PREDICTED,
    TRIANGULATED,
    UNCERTAIN,
    SubjectPose,
)
from tests.engine import lifters  # noqa: E402

FIELDS = ("position_mm", "covariance_mm2", "confidence", "views", "how", "reason")
ONE, NO = 4, 9
RIG = lifters.RIG


@pytest.fixture(scope="module")
def located(tmp_path_factory: pytest.TempPathFactory) -> LocatedLifter:
    path = lifters.write(tmp_path_factory.mktemp("lifter"))
    return LocatedLifter(Lifter.load(path), FallbackTuning(lift_scale=20.0))  # its weights are random


def seen(*, hide: bool = True, extra: int = 0) -> Observation:
    """All joints in all views, but one in one view and one in none; ``extra`` further joints at the end."""
    body = lifters.body_mm(joints=17 + extra)
    points = lifters.seen_px(body)
    confidence = np.full(points.shape[:2], 0.9)
    if hide:
        confidence[:, NO] = 0.0
        confidence[[0, 2], ONE] = 0.1
    return Observation(points, confidence, None, None, np.full(3, 1.5))


def solver(located: LocatedLifter, joints: tuple[str, ...] = HUMAN36M17.joints, **solve: object) -> LiftSolver:
    config = EngineSection(solve=SolveSection.model_validate({"max_lifted_sigma_mm": 1e4, **solve}))
    return LiftSolver(RIG.arrays(), config, 0.3, located, joints)


def plain(observation: Observation) -> SubjectPose:
    return Solver(RIG.arrays(), SolveSection(), 0.3).solve(observation)


def test_lost_joints_say_what_they_are_and_nothing_else_changes(located: LocatedLifter) -> None:
    before = plain(seen())
    assert before.how[ONE] == NONE and before.reason[ONE] == ONE_VIEW and before.reason[NO] == NOT_SEEN
    kept = {name: getattr(before, name).copy() for name in FIELDS}
    after = solver(located).follow(before, seen(), 0)
    others = np.setdiff1d(np.arange(17), [ONE, NO])
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(after, name)[others], kept[name][others])
        np.testing.assert_array_equal(getattr(before, name), kept[name])
    assert (after.how[others] == TRIANGULATED).all()
    assert after.how[ONE] == LIFTED and after.reason[ONE] == MEASURED and after.views[ONE] == 0b010
    assert after.confidence[ONE] == pytest.approx(0.9)
    assert after.residual_px[1, ONE] < 3 and np.isnan(after.residual_px[[0, 2], ONE]).all()
    assert after.how[NO] == PREDICTED and after.reason[NO] == NOT_SEEN and after.views[NO] == 0
    assert np.isnan(after.position_mm[NO]).all() and after.predicted_mm is not None
    assert np.isfinite(after.predicted_mm[NO]).all() and np.isnan(after.predicted_mm[others]).all()
    assert np.isfinite(after.covariance_mm2[[ONE, NO]]).all()


def test_a_pose_without_lost_joints_is_given_back_as_it_is(located: LocatedLifter) -> None:
    before = plain(seen(hide=False))
    assert solver(located).follow(before, seen(hide=False), 0) is before


def test_what_is_not_sure_enough_is_not_published(located: LocatedLifter) -> None:
    after = solver(located, max_lifted_sigma_mm=1e-3).follow(plain(seen()), seen(), 0)
    assert after.how[ONE] == NONE and after.reason[ONE] == UNCERTAIN and after.reason[NO] == NOT_SEEN
    assert np.isnan(after.position_mm[ONE]).all() and after.predicted_mm is None
    assert np.isnan(after.covariance_mm2[[ONE, NO]]).all()


def test_joints_are_known_by_name_and_those_of_the_model_alone_stay_lost(located: LocatedLifter) -> None:
    order = np.random.default_rng(0).permutation(18)
    names = (*HUMAN36M17.joints, "tail")
    straight = seen(extra=1)
    straight.confidence[:, 17] = 0.0
    turned = Observation(straight.points[:, order], straight.confidence[:, order], None, None, straight.sigma_px)
    one = solver(located, names).follow(plain(straight), straight, 0)
    other = solver(located, tuple(names[i] for i in order)).follow(plain(turned), turned, 0)
    np.testing.assert_allclose(other.position_mm, one.position_mm[order], atol=0.5)
    np.testing.assert_array_equal(other.how, one.how[order])
    assert one.how[17] == NONE and one.reason[17] == NOT_SEEN


def test_alone_forgets_what_was_before(located: LocatedLifter) -> None:
    lift = solver(located)
    first = lift.alone(plain(seen()), seen())
    lift.follow(plain(seen()), seen(), 10**9)
    again = lift.alone(plain(seen()), seen())
    np.testing.assert_array_equal(first.position_mm, again.position_mm)


def test_an_impossible_covariance_costs_the_lift_and_not_the_engine(
    located: LocatedLifter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lift, before = solver(located), plain(seen())
    answer = located.lifter.lift(seen().points, seen().confidence, RIG.arrays())
    monkeypatch.setattr(located.lifter, "lift", lambda *_: Lifted(answer.lifted_mm, -answer.covariance_mm2))
    assert lift.follow(before, seen(), 0) is before
    assert "nothing is lifted" in caplog.text
