"""Joints that fewer than two views see: where they are put, how sure that is, and when nothing is said of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from jaxtyping import Float

from calib.covariance import covariance
from calib.rig import Rig
from capture.virtual.scenario import load_scenario
from capture.virtual.skeletons import HUMAN36M17
from capture.virtual.world import World
from engine.fallback import Fallback, Fallen, Sight
from engine.fallback_tuning import FallbackTuning
from engine.lift_state import Scale
from engine.lifter_document import LifterDocument, RootSet, one_root, parents_of
from rigpose.resources import launch_file

SIGMA_PX = 1.5
LIFT_MM = 40.0
TUNING = FallbackTuning(
    lift_noise=0.0,
    freedom=0.0,
    view_correlation=0.6,
    scale_sigma=0.0,
    pixel_scale=1.0,
    lifted_scale=1.0,
    predicted_scale=1.0,
    speed_per_s=(0.3,),
)
SIX = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 2, 1, 2, 2])
WRIST, ELBOW = HUMAN36M17.joints.index("left_wrist"), HUMAN36M17.joints.index("left_elbow")


def describe(roots: tuple[RootSet, ...] = one_root(HUMAN36M17)) -> LifterDocument:
    return LifterDocument.model_validate(
        {
            "schema": 1, "id": "truth", "domain": "synthetic", "licence": "none", "skeleton": HUMAN36M17,
            "roots": roots, "size_mm": 1700.0, "parents": parents_of(HUMAN36M17, roots),
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def world() -> World:
    return World(load_scenario(launch_file().parent / "training" / "scenarios" / "unseen.yaml"), seed=(990, 3))


@pytest.fixture(scope="module")
def poses(world: World) -> np.ndarray:
    """(T, J, 3) thirty a second from 1 s on."""
    return world.poses_mm(1 + np.arange(20) / 30)


@pytest.fixture(scope="module")
def rig(world: World) -> Rig:
    return world.rig


def lifts(rig: Rig, truth: np.ndarray, document: LifterDocument, off_mm: np.ndarray | float = 0.0) -> np.ndarray:
    """(V, J, 3) the true pose in each camera's axes, off by ``off_mm`` (V, J, 3) in those of the world."""
    relative = truth - truth[list(document.root_of)]
    turned = np.stack([camera.R for camera in rig.cameras])
    wrong = np.broadcast_to(off_mm, (len(rig), *truth.shape)).copy()
    wrong[:, [entry.root for entry in document.roots]] = 0.0
    return (relative + wrong) @ turned.swapaxes(1, 2)


def see(
    rig: Rig,
    truth: np.ndarray,
    hidden: dict[int, tuple[int, ...]],
    *,
    time_s: float = 0.0,
    rng: np.random.Generator | None = None,
    off_mm: np.ndarray | float = 0.0,
    sigma_mm: float = LIFT_MM,
    document: LifterDocument | None = None,
    blind: tuple[int, ...] = (),
) -> Sight:
    """What is known where joints are hidden: joint -> the only views that see it; ``blind`` views see nothing."""
    document = document or describe()
    points = np.stack([camera.project(truth) for camera in rig.cameras])
    noise = 0.0 if rng is None else rng.normal(0, SIGMA_PX, points.shape)
    points = points + noise
    sees = np.ones(points.shape[:2], bool)
    for joint, views in hidden.items():
        sees[:, joint] = False
        sees[list(views), joint] = True
    sees[list(blind)] = False
    known = sees.sum(axis=0) >= 2
    spread = covariance(truth, np.where(sees, SIGMA_PX, np.inf), rig.arrays())
    position = truth.copy()
    if rng is not None:
        factor = np.linalg.cholesky(np.where(known[:, None, None], spread, np.eye(3)))
        position = position + (factor @ rng.normal(size=(*truth.shape, 1)))[..., 0]
    lifted = lifts(rig, truth, document, off_mm)
    lifted[~sees.any(axis=1)] = np.nan
    own = np.tile(sigma_mm**2 * np.eye(3), (*lifted.shape[:2], 1, 1))
    own[:, [entry.root for entry in document.roots]] = 0.0
    return Sight(
        time_ns=round(time_s * 1e9),
        position_mm=np.where(known[:, None], position, np.nan),
        covariance_mm2=spread,
        points=np.where(sees[..., None], points, np.nan),
        sees=sees,
        contested=np.zeros(len(truth), bool),
        sigma_px=np.full(len(rig), SIGMA_PX),
        lifted_mm=lifted,
        lifted_covariance_mm2=own[..., SIX[0], SIX[1]],
    )  # fmt: skip


def distance2(fallen: Fallen, truth: np.ndarray, joint: int) -> float:
    off = fallen.position_mm[joint] - truth[joint]
    return float(off @ np.linalg.solve(fallen.covariance_mm2[joint], off))


def new(rig: Rig, tuning: FallbackTuning = TUNING, **keys: object) -> Fallback:
    return Fallback(rig.arrays(), describe(), tuning, **keys)  # type: ignore[arg-type]


def error(fallen: Fallen, truth: Float[np.ndarray, "J 3"], joint: int) -> float:
    return float(np.linalg.norm(fallen.position_mm[joint] - truth[joint]))


class TestExact:
    def test_a_lift_without_error_puts_a_joint_where_it_is(self, world: World, rig: Rig) -> None:
        truth = world.pose_mm(1.0)
        fallen = new(rig)(see(rig, truth, {WRIST: (2,), ELBOW: ()}))
        assert error(fallen, truth, WRIST) < 0.01 and error(fallen, truth, ELBOW) < 0.01
        assert fallen.used[:, WRIST].tolist() == [False, False, True, False] and not fallen.used[:, ELBOW].any()

    def test_joints_that_two_views_see_are_not_its_business(self, world: World, rig: Rig) -> None:
        fallen = new(rig)(see(rig, world.pose_mm(1.0), {WRIST: (2,)}))
        others = np.arange(17) != WRIST
        assert np.isnan(fallen.position_mm[others]).all() and np.isnan(fallen.covariance_mm2[others]).all()
        assert not fallen.used[:, others].any() and not fallen.contradicted.any()

    def test_one_camera_alone_places_a_subject_by_its_size(self, world: World, rig: Rig) -> None:
        truth = world.pose_mm(2.0)
        one = rig.select(["cam2"])
        known = new(one, scale=Scale(1.0, 0.01))(see(one, truth, {WRIST: ()}, sigma_mm=4.0))
        # All 17 rays, and what follows from them for the one that is hidden.
        assert np.linalg.norm(known.position_mm - truth, axis=-1).max() < 1.0
        assert known.used[0].sum() == 16 and not known.used[0, WRIST]
        # 1 % of the size is 1 % of the distance.
        far = np.linalg.norm(truth - one.cameras[0].center_mm, axis=-1)
        worst = np.sqrt(np.linalg.eigvalsh(known.covariance_mm2)[:, -1])
        assert (worst > 0.008 * far).all() and (worst < 0.02 * far).all()

    def test_a_subject_twice_as_large_stands_twice_as_far(self, world: World, rig: Rig) -> None:
        truth = world.pose_mm(2.0)
        one = rig.select(["cam1"])
        center = one.cameras[0].center_mm
        found = new(one, scale=Scale(2.0, 1e-3))(see(one, truth, {}))
        np.testing.assert_allclose(found.position_mm - center, 2 * (truth - center), rtol=0.01, atol=5)

    def test_several_roots_are_placed_each_by_itself(self, world: World, rig: Rig) -> None:
        truth = world.pose_mm(1.0)
        hip, other = HUMAN36M17.joints.index("left_hip"), HUMAN36M17.joints.index("pelvis")
        leg = tuple(HUMAN36M17.joints.index(name) for name in ("left_knee", "left_ankle"))
        rest = tuple(joint for joint in range(17) if joint not in (hip, other, *leg))
        document = describe((RootSet(root=other, joints=rest), RootSet(root=hip, joints=leg)))
        fallback = Fallback(rig.arrays(), document, TUNING)
        fallen = fallback(see(rig, truth, {leg[0]: (1,), WRIST: ()}, document=document))
        assert error(fallen, truth, leg[0]) < 0.01 and error(fallen, truth, WRIST) < 0.01


class TestCovariance:
    def test_it_is_that_of_the_errors(self, world: World, rig: Rig) -> None:
        rng = np.random.default_rng(1)
        truth = world.pose_mm(1.0)
        factor = np.linalg.cholesky(TUNING.correlations(describe()) + 1e-9 * np.eye(17))
        common = TUNING.view_correlation
        inside: dict[int, list[float]] = {WRIST: [], ELBOW: []}
        fallback = new(rig)
        for _ in range(300):
            shared, own = rng.normal(size=(1, 17, 3)), rng.normal(size=(4, 17, 3))
            off = LIFT_MM * np.einsum("ij,vjc->vic", factor, np.sqrt(common) * shared + np.sqrt(1 - common) * own)
            fallback.reset()
            fallen = fallback(see(rig, truth, {WRIST: (2,), ELBOW: ()}, rng=rng, off_mm=off))
            for joint, values in inside.items():
                values.append(distance2(fallen, truth, joint))
        for values in inside.values():
            assert np.mean(np.array(values) < 3.53) == pytest.approx(0.683, abs=0.08)
            assert np.mean(np.array(values) < 8.02) == pytest.approx(0.954, abs=0.04)

    def test_it_is_long_along_the_ray_alone(self, world: World, rig: Rig) -> None:
        truth = world.pose_mm(1.0)
        fallen = new(rig)(see(rig, truth, {WRIST: (2,)}, sigma_mm=150.0))
        values, axes = np.linalg.eigh(fallen.covariance_mm2[WRIST])
        ray = truth[WRIST] - rig.cameras[2].center_mm
        assert abs(axes[:, -1] @ ray) / np.linalg.norm(ray) > 0.99
        assert values[-1] > 10 * values[1]

    def test_neighbours_that_were_triangulated_make_it_surer(self, world: World, rig: Rig) -> None:
        truth = world.pose_mm(1.0)
        near = new(rig)(see(rig, truth, {WRIST: ()}))
        shoulder = HUMAN36M17.joints.index("left_shoulder")
        far = new(rig)(see(rig, truth, {WRIST: (), ELBOW: (), shoulder: ()}))
        assert np.trace(near.covariance_mm2[WRIST]) < 0.7 * np.trace(far.covariance_mm2[WRIST])

    @pytest.mark.parametrize(("correlation", "gain"), [(1.0, 1.0), (0.0, 4.0)])
    def test_more_views_say_no_more_than_they_know_apart(
        self, world: World, rig: Rig, correlation: float, gain: float
    ) -> None:
        truth = world.pose_mm(1.0)
        tuning = TUNING.model_copy(update={"view_correlation": correlation, "correlation": tuple(np.eye(17).ravel())})
        sight = see(rig, truth, {WRIST: ()})
        one = replace(sight, lifted_mm=np.where(np.arange(4)[:, None, None] == 0, sight.lifted_mm, np.nan))
        four_views, one_view = new(rig, tuning)(sight), new(rig, tuning)(one)
        ratio = np.trace(one_view.covariance_mm2[WRIST]) / np.trace(four_views.covariance_mm2[WRIST])
        assert ratio == pytest.approx(gain, rel=0.1)


class TestTime:
    def test_a_joint_that_was_seen_until_now_is_better_known_than_the_lift(self, poses: np.ndarray, rig: Rig) -> None:
        steady = LIFT_MM * np.random.default_rng(2).normal(size=(1, 17, 3))
        fallback, fresh = new(rig), new(rig)
        for tick in range(15):
            fallback(see(rig, poses[tick], {}, time_s=tick / 30, off_mm=steady))
        sight = see(rig, poses[15], {WRIST: ()}, time_s=0.5, off_mm=steady)
        followed, alone = fallback(sight), fresh(sight)
        assert error(followed, poses[15], WRIST) < 0.5 * error(alone, poses[15], WRIST)
        assert np.trace(followed.covariance_mm2[WRIST]) < 0.25 * np.trace(alone.covariance_mm2[WRIST])

    def test_what_is_not_seen_gets_less_sure_until_only_the_lift_is_left(self, poses: np.ndarray, rig: Rig) -> None:
        fallback = new(rig)
        off = LIFT_MM * np.random.default_rng(5).normal(size=(30, 1, 17, 3))
        fallback(see(rig, poses[0], {}, off_mm=off[0]))
        traces = []
        for tick in range(1, 30):
            fallen = fallback(see(rig, poses[0], {WRIST: ()}, time_s=0.1 * tick, off_mm=off[tick]))
            traces.append(np.trace(fallen.covariance_mm2[WRIST]))
        assert (np.diff(traces[:3]) > 0).all()
        alone = new(rig)(see(rig, poses[0], {WRIST: ()}))
        assert traces[-1] == pytest.approx(np.trace(alone.covariance_mm2[WRIST]), rel=0.4)

    def test_times_may_be_any(self, world: World, rig: Rig) -> None:
        truth = world.pose_mm(1.0)
        fallback = new(rig)
        for time_s in (0.0, 0.01, 0.01, 0.5, 20.0):
            fallen = fallback(see(rig, truth, {WRIST: (1,)}, time_s=time_s))
            assert error(fallen, truth, WRIST) < 1.0

    def test_a_subject_that_was_lost_is_forgotten(self, poses: np.ndarray, rig: Rig) -> None:
        fallback = new(rig)
        rng = np.random.default_rng(4)
        for tick in range(5):
            off = LIFT_MM * rng.normal(size=(4, 17, 3))
            fallback(see(rig, poses[tick], {}, time_s=tick / 30, off_mm=off))
        fallback.reset()
        sight = see(rig, poses[19], {WRIST: (0,), ELBOW: ()}, time_s=8.0)
        one, other = fallback(sight), new(rig)(sight)
        np.testing.assert_array_equal(one.position_mm, other.position_mm)
        np.testing.assert_array_equal(one.covariance_mm2, other.covariance_mm2)

    def test_without_a_lift_its_own_motion_goes_on(self, poses: np.ndarray, rig: Rig) -> None:
        fallback = new(rig)
        for tick in range(10):
            fallback(see(rig, poses[tick], {}, time_s=tick / 30))
        sight = see(rig, poses[10], {WRIST: (), ELBOW: (1,)}, time_s=10 / 30)
        fallen = fallback(replace(sight, lifted_mm=np.full_like(sight.lifted_mm, np.nan)))
        assert error(fallen, poses[10], WRIST) < 30 and error(fallen, poses[10], ELBOW) < 30


class TestDoubt:
    def test_a_ray_that_contradicts_the_lift_is_not_believed(self, world: World, rig: Rig) -> None:
        truth = world.pose_mm(1.0)
        sight = see(rig, truth, {WRIST: (2,), ELBOW: (1,)})
        points = sight.points.copy()
        points[2, WRIST] -= 30.0
        fallen = new(rig)(replace(sight, points=points))
        assert fallen.contradicted[WRIST] and np.isnan(fallen.position_mm[WRIST]).all()
        # Nor has it moved its neighbour.
        assert not fallen.contradicted[ELBOW] and error(fallen, truth, ELBOW) < 0.01

    def test_of_views_that_contradict_each_other_the_one_that_fits_is_taken(self, world: World, rig: Rig) -> None:
        truth = world.pose_mm(1.0)
        sight = see(rig, truth, {WRIST: (0, 2)})
        points, position = sight.points.copy(), sight.position_mm.copy()
        points[0, WRIST] -= 30.0
        position[WRIST] = np.nan
        contested = np.arange(17) == WRIST
        fallen = new(rig)(replace(sight, points=points, position_mm=position, contested=contested))
        assert fallen.used[:, WRIST].tolist() == [False, False, True, False] and error(fallen, truth, WRIST) < 0.01

    def test_where_nothing_tells_which_is_right_it_is_predicted(self, world: World, rig: Rig) -> None:
        truth = world.pose_mm(1.0)
        sight = see(rig, truth, {WRIST: (0, 2)})
        position = sight.position_mm.copy()
        position[WRIST] = np.nan
        contested = np.arange(17) == WRIST
        fallen = new(rig)(replace(sight, position_mm=position, contested=contested))
        assert not fallen.used[:, WRIST].any() and not fallen.contradicted[WRIST]
        assert np.isfinite(fallen.position_mm[WRIST]).all()

    def test_nothing_seen_is_nothing_said(self, rig: Rig, world: World) -> None:
        sight = see(rig, world.pose_mm(1.0), {}, blind=(0, 1, 2, 3))
        fallen = new(rig)(sight)
        assert np.isnan(fallen.position_mm).all() and not fallen.used.any()

    def test_absent_views_and_nan_everywhere_do_no_harm(self, rig: Rig, poses: np.ndarray) -> None:
        fallback = new(rig)
        for tick, blind in enumerate([(0,), (0, 1, 2), (), (0, 1, 2, 3), (1, 2, 3)]):
            truth = poses[tick]
            sight = see(rig, truth, {WRIST: (0,)}, time_s=tick / 30, blind=blind)
            spread = np.where(np.isfinite(sight.position_mm).all(axis=-1)[:, None, None], sight.covariance_mm2, np.nan)
            fallen = fallback(replace(sight, covariance_mm2=spread))
            answered = np.isfinite(fallen.position_mm).all(axis=-1)
            assert (np.isfinite(fallen.covariance_mm2[answered])).all()
            assert (np.linalg.eigvalsh(fallen.covariance_mm2[answered]) > 0).all()
            if tick:
                off = np.linalg.norm(fallen.position_mm - truth, axis=-1)[answered]
                assert (off < 120).all()
