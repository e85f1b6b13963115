"""A volumetric model in the engine, on the virtual rig: found, followed, and one view goes on where the others end."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

pytest.importorskip("torch")

from calib.rig import Rig  # noqa: E402
from capture.frame import Frame, FrameSet  # noqa: E402
from capture.session import SessionReader  # noqa: E402
from capture.virtual.scenario import load_scenario  # noqa: E402
from capture.virtual.world import World  # noqa: E402
from engine.assembly import build_pipeline  # noqa: E402
from engine.config import SystemConfig, load_system  # noqa: E402
from engine.document import find_model  # noqa: E402
from engine.graph import compose  # noqa: E402
from engine.pipeline import Pipeline  # noqa: E402
from rigpose.errors import ConfigError  # noqa: E402
from rigpose.pose import LIFTED, MEASURED, NONE, PREDICTED, TRIANGULATED, UNCERTAIN, PoseSet, SyncInfo  # noqa: E402
from tests.engine import evidence  # noqa: E402
from tests.engine.running import running, status_of, until  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
SCENARIO = ROOT / "training" / "scenarios" / "demo.yaml"
PERIOD_NS = 33_333_333
WIDE = "engine.solve.max_lifted_sigma_mm=2000"
"""Heatmaps alone say nothing of depth to one view; a trained volume does not need this."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evidence.write(tmp_path_factory.mktemp("volumetric") / "evidence.onnx")


@pytest.fixture(scope="module")
def world() -> World:
    return World(load_scenario(SCENARIO))


def config(model: Path, *assignments: str) -> SystemConfig:
    return load_system(ROOT / "launch.yaml", assignments=["rate=30", f"engine.model={model}", *assignments])


def make(model: Path, *assignments: str) -> Pipeline:
    return build_pipeline(config(model, *assignments))[0]


def a_set(world: World, tick: int, views: tuple[int, ...] = (0, 1, 2, 3)) -> FrameSet:
    names = world.rig.names
    frames: list[Frame | None] = [None] * len(names)
    for view in views:
        image = world.render(view, tick * PERIOD_NS / 1e9)
        size = (image.shape[1], image.shape[0])
        frames[view] = Frame(
            names[view], tick, image, "BGR8", tick * PERIOD_NS, "schedule", 0, size, tick=tick, received_ns=1,
            node_epoch="e",
        )  # fmt: skip
    return FrameSet(names, tuple(frames), SyncInfo("trigger", 0, tick), 2, tick)


def error_mm(world: World, pose_set: PoseSet) -> np.ndarray:
    """(J, 3) of the joints."""
    assert pose_set.sync.tick is not None
    return pose_set.subjects[0].position_mm - world.pose_mm(pose_set.sync.tick * PERIOD_NS / 1e9)


def sigmas(world: World, pose_set: PoseSet) -> np.ndarray:
    """Errors in units of what the pose says of itself (Mahalanobis), of measured joints."""
    subject = pose_set.subjects[0]
    covariance = subject.covariance_mm2[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)[subject.measured]
    error = error_mm(world, pose_set)[subject.measured]
    return np.sqrt(np.einsum("ja,jab,jb->j", error, np.linalg.inv(covariance), error))


def across_mm(rig: Rig, view: int, world: World, pose_set: PoseSet) -> np.ndarray:
    """Errors across the rays of a camera."""
    assert pose_set.sync.tick is not None
    truth = world.pose_mm(pose_set.sync.tick * PERIOD_NS / 1e9)
    rays = truth - rig.cameras[view].center_mm
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    error = error_mm(world, pose_set)
    return np.linalg.norm(error - (error * rays).sum(axis=-1, keepdims=True) * rays, axis=-1)


class TestPipeline:
    def test_a_subject_is_found_by_its_own_root_and_followed(self, model: Path, world: World) -> None:
        pipeline = make(model)
        sets = [pipeline.process(a_set(world, tick)) for tick in range(8)]
        assert [s.subjects[0].state for s in sets] == ["found"] + ["tracked"] * 7
        errors = np.concatenate([np.linalg.norm(error_mm(world, s), axis=-1) for s in sets])
        assert np.isfinite(errors).mean() > 0.95 and np.nanmedian(errors) < 30 and np.nanpercentile(errors, 95) < 60
        assert all((s.subjects[0].how[s.subjects[0].measured] == TRIANGULATED).mean() > 0.9 for s in sets)
        assert np.nanmedian([s.subjects[0].residual_px for s in sets]) < 3
        inside = np.concatenate([sigmas(world, s) for s in sets])
        # Of a Gaussian in three dimensions 99 % lie within 3.4 deviations, and half within 1.5.
        assert (inside < 3.4).mean() > 0.95 and 0.5 < np.median(inside) < 2

    def test_the_position_is_the_graphs_and_not_computed_again(self, model: Path, world: World) -> None:
        pipeline = make(model)
        for tick in range(3):
            pipeline.process(a_set(world, tick))
        answers: list[dict[str, np.ndarray]] = []
        run = pipeline.runtime.run
        pipeline.runtime.run = lambda inputs: answers.append(run(inputs)) or answers[-1]  # type: ignore[method-assign, func-returns-value]
        subject = pipeline.process(a_set(world, 3)).subjects[0]
        assert len(answers) == 1, "one pass of the network answers a set"
        measured = subject.measured
        np.testing.assert_array_equal(subject.position_mm[measured], answers[0]["points3d"][0][measured])
        np.testing.assert_array_equal(subject.covariance_mm2[measured], answers[0]["covariance_mm2"][0][measured])

    def test_one_view_goes_on_marked_and_no_surer_than_it_is(self, model: Path, world: World) -> None:
        pipeline = make(model, WIDE, "engine.tracker.base_s=10", "engine.tracker.lost_after=30")
        for tick in range(4):
            pipeline.process(a_set(world, tick))
        sets = [pipeline.process(a_set(world, tick, (1,))) for tick in range(4, 34)]
        for s in sets:
            (subject,) = s.subjects
            assert s.status == "ok" and len(s.missing) == 3 and subject.state == "tracked"
            seen = subject.measured
            assert seen.mean() > 0.7 and set(subject.how[seen].tolist()) == {LIFTED}
            assert (subject.views[seen] == 0b0010).all()
        # Across the ray it is measured, along it the covariance says that it is not.
        assert np.nanmedian([across_mm(world.rig, 1, world, s) for s in sets]) < 60
        assert (np.concatenate([sigmas(world, s) for s in sets]) < 3.4).mean() > 0.95
        # The cube has not followed what is read from it: the subject is in its place when the others come back.
        back = pipeline.process(a_set(world, 34))
        assert (back.subjects[0].how[back.subjects[0].measured] == TRIANGULATED).mean() > 0.9
        assert np.nanmedian(np.linalg.norm(error_mm(world, back), axis=-1)) < 40

    def test_what_one_view_cannot_know_is_not_published_by_itself(self, model: Path, world: World) -> None:
        pipeline = make(model, "engine.tracker.lost_after=3")
        for tick in range(3):
            pipeline.process(a_set(world, tick))
        first, *_, last = [pipeline.process(a_set(world, tick, (1,))) for tick in range(3, 6)]
        seen = np.isfinite(first.subjects[0].points2d[1]).all(axis=-1)  # type: ignore[index]
        reasons = first.subjects[0].reason[seen]
        assert not first.subjects[0].measured.any() and (reasons == UNCERTAIN).mean() > 0.7
        assert last.subjects[0].state == "lost"
        # Without a track there is no place for the cube, and one view finds no one.
        alone = pipeline.process(a_set(world, 6, (1,)))
        assert alone.status == "incomplete" and not alone.subjects

    def test_a_cube_does_not_stand_for_ever_where_a_subject_was(self, model: Path, world: World) -> None:
        pipeline = make(model, WIDE, "engine.tracker.base_s=0.2", "engine.tracker.lost_after=3")
        for tick in range(3):
            pipeline.process(a_set(world, tick))
        states = []
        for tick in range(3, 16):
            s = pipeline.process(a_set(world, tick, (2,)))
            states.append(s.subjects[0].state if s.subjects else "-")
        assert states[:5] == ["tracked"] * 5 and states[-1] == "-"


class TestGraph:
    def test_it_is_known_as_one_by_what_it_takes(self, model: Path) -> None:
        graph = compose(find_model(model), 4)
        assert graph.is_volumetric and graph.output_names[-1] == "covariance_mm2"
        assert not compose(find_model("mannequin17"), 4).is_volumetric

    def test_one_that_is_not_whole_is_refused(self, model: Path, tmp_path: Path) -> None:
        proto = onnx.load(model)
        del proto.graph.output[-1]
        onnx.save(proto, tmp_path / "mute.onnx")
        with pytest.raises(ConfigError, match="no output covariance_mm2"):
            compose(find_model(tmp_path / "mute.onnx"), 4)


@pytest.mark.process
def test_with_all_cameras_but_one_killed_the_rig_goes_on(tmp_path: Path, short_folder: Path) -> None:
    document = yaml.safe_load((ROOT / "launch.yaml").read_text().replace("${package}", str(ROOT)))
    document |= {"restart": {"backoff_s": 60, "backoff_max_s": 60}, "record": {"to": "recordings"}, "rate": 10}
    document["engine"] = {
        "model": "mannequin17_volumetric",
        "tracker": {"base_s": 60, "lost_after": 100},
        "solve": {"max_lifted_sigma_mm": 2000},
    }
    (tmp_path / "rig.yaml").write_text(yaml.safe_dump(document))
    command = [sys.executable, "-m", "nodes", "launch", str(tmp_path / "rig.yaml"), "--viewer", "none"]
    with running([*command, "--seconds", "300"], short_folder) as process:
        until(process, short_folder, lambda status: status["summary"]["poses"] > 10)
        nodes = status_of(short_folder)["nodes"]
        for camera in ("cam1", "cam3", "cam4"):
            os.kill(int(nodes[camera]["pid"]), signal.SIGKILL)
        killed = until(process, short_folder, lambda s: all(s["nodes"][c]["deaths"] for c in ("cam1", "cam3", "cam4")))
        until(process, short_folder, lambda status: status["summary"]["poses"] > killed["summary"]["poses"] + 25)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
        assert process.returncode == 130, error
    (folder,) = (tmp_path / "recordings").iterdir()
    sets = list(SessionReader(folder).poses())
    alone = [s for s in sets if s.missing == ("cam1", "cam3", "cam4")]
    assert len(alone) >= 20
    hows = np.concatenate([s.subjects[0].how for s in alone if s.subjects])
    assert (hows == LIFTED).mean() > 0.7 and not (hows == TRIANGULATED).any()
    assert set(np.unique(hows)) <= {LIFTED, NONE, PREDICTED}
    together = [s for s in sets if not s.missing and s.subjects]
    assert np.mean([(s.subjects[0].how == TRIANGULATED).mean() for s in together]) > 0.9
    assert all((s.subjects[0].reason[s.subjects[0].measured] == MEASURED).all() for s in alone if s.subjects)
