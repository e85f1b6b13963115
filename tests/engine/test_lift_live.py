"""A lifter in the engine, on the virtual rig: one camera suffices, and several fall back on it joint by joint."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from calib.rig import write_rig
from capture.frame import Frame, FrameSet
from capture.session import SessionReader
from capture.virtual.scenario import load_scenario
from capture.virtual.world import World
from engine.assembly import build_pipeline, meta_of
from engine.config import SystemConfig, load_system
from engine.lift import lifter_names
from engine.pipeline import Pipeline
from engine.preflight import judge_rig, load_rig, locate_lifter, locate_model
from rigpose.errors import ConfigError
from rigpose.pose import LIFTED, MEASURED, NONE, NOT_SEEN, PREDICTED, TRIANGULATED, PoseSet, SyncInfo
from tests.engine.running import running, status_of, until

LIFTER = "lift17"
if LIFTER not in lifter_names():
    pytest.skip("the zoo has no lift17", allow_module_level=True)

ROOT = Path(__file__).parents[2]
SCENARIO = ROOT / "training" / "scenarios" / "demo.yaml"
PERIOD_NS = 33_333_333
ONE = "cameras={cam2: {source: {kind: virtual, scenario: '" + str(SCENARIO) + "'}}}"
LIFT = f"engine.lift.model={LIFTER}"
SIX = [0, 1, 2, 1, 3, 4, 2, 4, 5]


@pytest.fixture(scope="module")
def world() -> World:
    return World(load_scenario(SCENARIO))


def config(*assignments: str) -> SystemConfig:
    return load_system(ROOT / "launch.yaml", assignments=["rate=30", *assignments])


def make(*assignments: str) -> Pipeline:
    return build_pipeline(config(*assignments))[0]


def a_set(
    world: World, tick: int, views: tuple[int, ...] = (0, 1, 2, 3), names: tuple[str, ...] | None = None
) -> FrameSet:
    names = names or world.rig.names
    frames: list[Frame | None] = [None] * len(names)
    for view in views:
        image = world.render(view, tick * PERIOD_NS / 1e9)
        place = names.index(world.rig.names[view])
        frames[place] = Frame(
            names[place], tick, image, "BGR8", tick * PERIOD_NS, "schedule", 0, (image.shape[1], image.shape[0]),
            tick=tick, received_ns=1, node_epoch="e",
        )  # fmt: skip
    return FrameSet(names, tuple(frames), SyncInfo("trigger", 0, tick), 2, tick)


def truth(world: World, pose_set: PoseSet) -> np.ndarray:
    assert pose_set.sync.tick is not None
    return world.pose_mm(pose_set.sync.tick * PERIOD_NS / 1e9)


@pytest.fixture(scope="module")
def sets(world: World) -> list[FrameSet]:
    """Four cameras, then cam2 alone, then all again."""
    return [a_set(world, tick, (0, 1, 2, 3) if tick < 5 or tick >= 15 else (1,)) for tick in range(18)]


class TestSeveralCameras:
    def test_a_joint_that_two_views_see_is_as_without_a_lifter_to_the_last_bit(self, world: World) -> None:
        plain, lifting = make(), make(LIFT)
        for tick in range(4):
            frames = a_set(world, tick)
            one, other = plain.process(frames).subjects[0], lifting.process(frames).subjects[0]
            same = one.how == TRIANGULATED
            assert same.mean() > 0.8
            for name in ("position_mm", "covariance_mm2", "confidence", "views", "how", "reason"):
                np.testing.assert_array_equal(getattr(one, name)[same], getattr(other, name)[same])
            np.testing.assert_array_equal(one.residual_px[:, same], other.residual_px[:, same])

    def test_without_a_lifter_nothing_is_lifted_and_one_view_is_no_set(self, sets: list[FrameSet]) -> None:
        answers = [make().process(frames) for frames in (sets[0], sets[6])]
        assert answers[1].status == "incomplete"
        assert set(answers[0].subjects[0].how) <= {NONE, TRIANGULATED} and answers[0].subjects[0].predicted_mm is None

    def test_one_view_goes_on_where_the_others_end(self, world: World, sets: list[FrameSet]) -> None:
        pipeline = make(LIFT)
        answers = [pipeline.process(frames) for frames in sets]
        assert all(answer.status == "ok" for answer in answers)
        assert [answer.subjects[0].state for answer in answers] == ["found"] + ["tracked"] * 17
        inside = []
        for answer in answers[5:15]:
            (subject,) = answer.subjects
            lifted = subject.how == LIFTED
            assert lifted.mean() > 0.7 and not (subject.how == TRIANGULATED).any()
            assert (subject.views[lifted] == 0b0010).all() and (subject.reason[lifted] == MEASURED).all()
            assert np.isfinite(subject.residual_px[1][lifted]).all() and np.isnan(subject.residual_px[0]).all()
            off = (subject.position_mm - truth(world, answer))[lifted]
            spread = subject.covariance_mm2[lifted][:, SIX].reshape(-1, 3, 3)
            inside += np.einsum("na,na->n", off, np.linalg.solve(spread, off[..., None])[..., 0]).tolist()
            assert np.median(np.linalg.norm(off, axis=-1)) < 200
            predicted = subject.how == PREDICTED
            assert np.isnan(subject.position_mm[predicted]).all()
            if predicted.any():
                assert subject.predicted_mm is not None and np.isfinite(subject.predicted_mm[predicted]).all()
                assert (subject.reason[predicted] == NOT_SEEN).all()
        assert np.mean(np.array(inside) < 8.02) > 0.8
        back = answers[-1].subjects[0]
        assert (back.how == TRIANGULATED).mean() > 0.8

    def test_two_cameras_are_needed_to_begin_with_unless_the_method_is_to_lift(self, sets: list[FrameSet]) -> None:
        assert make(LIFT).process(sets[6]).status == "incomplete"
        alone = make(LIFT, "engine.method=lift").process(sets[6])
        assert alone.status == "ok" and alone.subjects[0].state == "found"

    def test_the_meta_says_which_lifter_it_was(self) -> None:
        for assignments, expected in (((), None), ((LIFT,), LIFTER)):
            system = config(*assignments)
            pipeline, verdict = build_pipeline(system)
            said = meta_of(system, pipeline, verdict)["lifter"]
            assert (None if said is None else said["id"]) == expected
            json.dumps(said)


class TestOneCamera:
    def test_a_subject_is_found_followed_and_stands_about_where_it_is(self, world: World) -> None:
        pipeline = make(ONE, LIFT, "engine.method=lift")
        assert pipeline.geometry.rig.names == ("cam2",)
        answers = [pipeline.process(a_set(world, tick, (1,), ("cam2",))) for tick in range(8)]
        assert [answer.subjects[0].state for answer in answers] == ["found"] + ["tracked"] * 7
        for answer in answers:
            subject, true = answer.subjects[0], truth(world, answer)
            assert set(subject.how) <= {LIFTED, PREDICTED, NONE} and (subject.how == LIFTED).mean() > 0.7
            seen = subject.how == LIFTED
            # As large as those that it learned from, within a tenth.
            far = np.linalg.norm(true - world.rig.cameras[1].center_mm, axis=-1)
            off = np.linalg.norm(subject.position_mm - true, axis=-1)
            assert np.median(off[seen]) < 0.15 * np.median(far)
            spread = subject.covariance_mm2[seen][:, SIX].reshape(-1, 3, 3)
            # It knows that, and no better from frame to frame, for what it errs in stays.
            worst = np.sqrt(np.linalg.eigvalsh(spread)[:, -1])
            assert (worst > 0.06 * far[seen]).all() and (off[seen] < 3 * worst).all()
            middle = (subject.position_mm - true)[seen].mean(axis=0)
            assert np.median(np.linalg.norm((subject.position_mm - true)[seen] - middle, axis=-1)) < 120

    def test_the_floor_tells_how_far_away_it_is(self, world: World) -> None:
        pipeline = make(ONE, LIFT, "engine.method=lift", "engine.lift.scale=floor")
        answers = [pipeline.process(a_set(world, tick, (1,), ("cam2",))) for tick in range(3)]
        subject, true = answers[-1].subjects[0], truth(world, answers[-1])
        seen = subject.how == LIFTED
        assert np.median(np.linalg.norm(subject.position_mm - true, axis=-1)[seen]) < 350

    def test_a_known_size_scales_it(self, world: World) -> None:
        small, large = (make(ONE, LIFT, "engine.method=lift", f"engine.lift.scale={size}") for size in (800.0, 1600.0))
        frames = a_set(world, 0, (1,), ("cam2",))
        one, other = (pipeline.process(frames).subjects[0].position_mm for pipeline in (small, large))
        center = world.rig.cameras[1].center_mm
        ratio = np.linalg.norm(other - center, axis=-1) / np.linalg.norm(one - center, axis=-1)
        assert np.nanmedian(ratio) == pytest.approx(2.0, rel=0.05)

    def test_a_subject_that_leaves_is_lost_and_found_again(self, world: World) -> None:
        pipeline = make(ONE, LIFT, "engine.method=lift", "engine.tracker.lost_after=2")
        for tick in range(2):
            pipeline.process(a_set(world, tick, (1,), ("cam2",)))
        empty = a_set(world, 2, (1,), ("cam2",))
        blank = Frame(
            "cam2", 2, np.full((240, 320, 3), 128, np.uint8), "BGR8", 2 * PERIOD_NS, "schedule", 0, (320, 240), tick=2,
            received_ns=1, node_epoch="e",
        )  # fmt: skip
        states = []
        for _ in range(3):
            answer = pipeline.process(FrameSet(empty.cameras, (blank,), empty.sync, 2, 2))
            states.append(answer.subjects[0].state if answer.subjects else "-")
        assert states == ["tracked", "lost", "-"]
        assert pipeline.process(a_set(world, 6, (1,), ("cam2",))).subjects[0].state == "found"


class TestPreflight:
    def test_one_camera_needs_a_lifter(self) -> None:
        system = config(ONE)
        with pytest.raises(ConfigError, match=r"only cam2.*--method lift --lifter"):
            judge_rig(system, load_rig(system))
        system = config(ONE, "engine.method=lift")
        judge_rig(system, load_rig(system))
        with pytest.raises(ConfigError, match=f"engine.lift.model.*missing.*--lifter.*{LIFTER}"):
            build_pipeline(system)

    def test_a_lifter_of_other_joints_is_refused_by_name(self) -> None:
        system = config("engine.model=fly38", LIFT)
        with pytest.raises(ConfigError, match=f"lifter {LIFTER} lifts .*which model fly38 does not see"):
            locate_lifter(system, locate_model(system, "c").document, load_rig(system), "c")

    def test_one_that_learned_from_drawn_subjects_is_refused_on_real_cameras(
        self, tmp_path: Path, world: World
    ) -> None:
        write_rig(world.rig, tmp_path / "rig.toml")
        (tmp_path / "cam2").mkdir()
        document = {
            "version": 1, "rig": {"file": "rig.toml"}, "engine": {"method": "lift", "lift": {"model": LIFTER}},
            "cameras": {"cam2": {"source": {"kind": "webcam", "device": "/dev/video0"}}},
        }  # fmt: skip
        (tmp_path / "rig.yaml").write_text(yaml.safe_dump(document))
        model = locate_model(config("engine.model=mannequin17"), "c").document
        system = load_system(tmp_path / "rig.yaml")
        with pytest.raises(ConfigError, match=f"lifter {LIFTER}.*drawn subjects.*--force"):
            locate_lifter(system, model, load_rig(system), "c")
        forced = load_system(tmp_path / "rig.yaml", assignments=["force=true"])
        assert locate_lifter(forced, model, load_rig(forced), "c") is not None

    def test_without_a_floor_the_floor_tells_nothing(self) -> None:
        system = config(ONE, LIFT, "engine.method=lift", "engine.lift.scale=floor", "rig.world=camera:cam2")
        with pytest.raises(ConfigError, match="engine.lift.scale.*world.*camera:cam2.*size in mm"):
            locate_lifter(system, locate_model(system, "c").document, load_rig(system), "c")

    def test_a_file_that_is_no_lifter_is_one_line(self) -> None:
        system = config("engine.lift.model=mannequin17")
        with pytest.raises(ConfigError, match="neither a file nor a lifter"):
            locate_lifter(system, locate_model(system, "c").document, load_rig(system), "c")


@pytest.mark.process
@pytest.mark.slow
class TestProcesses:
    def test_one_virtual_camera_gives_lifted_poses(self, tmp_path: Path, short_folder: Path) -> None:
        file = _rig_file(tmp_path, cameras=["cam2"])
        command = [sys.executable, "-m", "nodes", "launch", str(file), "--viewer", "none", "--method", "lift"]
        with running([*command, "--lifter", LIFTER, "--seconds", "300"], short_folder) as process:
            status = until(process, short_folder, lambda s: s["summary"]["poses"] > 30)
            assert status["summary"]["joints_lifted_share"] > 0.6
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=60)
            assert process.returncode == 130, error
        sets = [s for s in SessionReader(_recording(tmp_path)).poses() if s.subjects]
        assert len(sets) > 25 and all(s.status == "ok" and s.cameras == ("cam2",) for s in sets)
        how = np.concatenate([s.subjects[0].how for s in sets if s.subjects[0].state != "lost"])
        assert (how == LIFTED).mean() > 0.6 and not (how == TRIANGULATED).any()

    def test_with_all_cameras_but_one_killed_the_rig_goes_on(self, tmp_path: Path, short_folder: Path) -> None:
        file = _rig_file(tmp_path, lift={"model": LIFTER})
        command = [sys.executable, "-m", "nodes", "launch", str(file), "--viewer", "none", "--seconds", "300"]
        with running(command, short_folder) as process:
            until(process, short_folder, lambda s: s["summary"]["poses"] > 10)
            nodes = status_of(short_folder)["nodes"]
            for camera in ("cam1", "cam3", "cam4"):
                os.kill(int(nodes[camera]["pid"]), signal.SIGKILL)
            dead = until(
                process, short_folder, lambda s: all(s["nodes"][c]["deaths"] for c in ("cam1", "cam3", "cam4"))
            )
            until(process, short_folder, lambda s: s["summary"]["poses"] > dead["summary"]["poses"] + 25)
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=60)
            assert process.returncode == 130, error
        sets = list(SessionReader(_recording(tmp_path)).poses())
        alone = [s for s in sets if s.missing == ("cam1", "cam3", "cam4") and s.subjects]
        together = [s for s in sets if not s.missing and s.subjects]
        assert len(alone) >= 20
        how = np.concatenate([s.subjects[0].how for s in alone])
        assert (how == LIFTED).mean() > 0.6 and not (how == TRIANGULATED).any()
        assert np.mean([(s.subjects[0].how == TRIANGULATED).mean() for s in together]) > 0.8


def _rig_file(folder: Path, cameras: list[str] | None = None, **engine: Any) -> Path:
    document = yaml.safe_load((ROOT / "launch.yaml").read_text().replace("${package}", str(ROOT)))
    document |= {"restart": {"backoff_s": 60, "backoff_max_s": 60}, "record": {"to": "recordings"}, "rate": 10}
    document["engine"] |= engine | {"tracker": {"lost_after": 30}}
    if cameras:
        document["cameras"] = {name: document["cameras"][name] for name in cameras}
    (folder / "rig.yaml").write_text(yaml.safe_dump(document))
    return folder / "rig.yaml"


def _recording(folder: Path) -> Path:
    (found,) = (folder / "recordings").iterdir()
    return found
