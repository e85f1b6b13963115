"""What the fall-back says of each joint that plain triangulation loses, in sequences of the virtual rig."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from capture.frame import Frame, FrameSet
from capture.virtual.scenario import Scenario, load_scenario
from capture.virtual.world import World
from engine import runtimes
from engine.config import EngineSection, SystemConfig
from engine.document import find_model
from engine.graph import compose
from engine.lift_blend import square
from engine.lift_solver import LiftSolver, LocatedLifter
from engine.pipeline import Pipeline
from engine.solve import Observation, Solver
from rigpose.pose import LIFTED, PREDICTED, TRIANGULATED, SubjectPose, SyncInfo
from training.fallback_scenes import BEGIN_S, Scene, world_of

MIN_SCORE = 0.3


@dataclass
class Lost:
    """Lost joints, one after the other.

    Attributes:
        place: World of each.
        joint: Index in the skeleton.
        how: Index into `rigpose.pose.HOW`.
        views: Views that see it.
        off_mm: (3,) its error; NaN = there is no answer.
        spread_mm2: (3, 3) what the answer says of that.
        held_mm: Error of the last triangulated value of the joint; NaN = it never was.
        ms: Of each frame set: what the fall-back took.
        joints: Of all frame sets, lost or not.
        sets: Frame sets.
        without: Those without a subject.
    """

    place: list[int] = field(default_factory=list)
    joint: list[int] = field(default_factory=list)
    how: list[int] = field(default_factory=list)
    views: list[int] = field(default_factory=list)
    off_mm: list[np.ndarray] = field(default_factory=list)
    spread_mm2: list[np.ndarray] = field(default_factory=list)
    held_mm: list[float] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)
    joints: int = 0
    sets: int = 0
    without: int = 0

    def add(self, place: int, pose: SubjectPose, sees: np.ndarray, truth: np.ndarray, held: np.ndarray) -> None:
        """Take in a frame set; ``held`` (J, 3) is brought up to date."""
        self.joints += len(truth)
        lost = pose.how != TRIANGULATED
        for joint in np.flatnonzero(lost).tolist():
            answer = pose.position_mm[joint] if pose.how[joint] == LIFTED else np.full(3, np.nan)
            if pose.how[joint] == PREDICTED and pose.predicted_mm is not None:
                answer = pose.predicted_mm[joint]
            self.place.append(place)
            self.joint.append(joint)
            self.how.append(int(pose.how[joint]))
            self.views.append(int(sees[:, joint].sum()))
            self.off_mm.append(np.asarray(answer, float) - truth[joint])
            self.spread_mm2.append(square(np.asarray(pose.covariance_mm2[joint], float)))
            self.held_mm.append(float(np.linalg.norm(held[joint] - truth[joint])))
        held[~lost] = pose.position_mm[~lost]


def keypoints(scenes: Iterable[Scene], located: LocatedLifter) -> Lost:
    """True projections with a detector's noise, where a view sees."""
    config, found = EngineSection(), Lost()
    for scene in scenes:
        solver = Solver(scene.rig, config.solve, MIN_SCORE)
        lift = LiftSolver(scene.rig, config, MIN_SCORE, located, located.lifter.document.skeleton.joints)
        lift.reset()
        held = np.full(scene.truth_mm.shape[1:], np.nan)
        for tick, time_ns in enumerate(scene.time_ns.tolist()):
            sees = scene.sees[tick]
            seen = Observation(scene.points[tick], sees.astype(float), None, None, scene.sigma_px[tick])
            plain = solver.solve(seen)
            begun = time.thread_time()
            pose = lift.follow(plain, seen, time_ns)
            found.ms.append(1e3 * (time.thread_time() - begun))
            found.add(scene.place, pose, sees, scene.truth_mm[tick], held)
    return found


def drawn(scenario: Path, seed: int, worlds: int, frames: int, model: str, located: LocatedLifter) -> Lost:
    """Drawn pictures through the pipeline, with a network that looks at them."""
    described, found = load_scenario(scenario), Lost()
    config = _config(scenario, described)
    model_of = find_model(model)
    graph = compose(model_of, len(described.camera_names))
    runtime = runtimes.create(graph, "onnx", threads=1)
    for place in range(worlds):
        world = world_of(described, seed, place)
        pipeline = Pipeline(world.rig, model_of.document, runtime, config, lifter=located)
        held = np.full((len(model_of.document.skeleton.joints), 3), np.nan)
        for frames_set, truth in _sets(world, frames):
            answer = pipeline.process(frames_set)
            found.sets += 1
            found.without += not any(subject.state != "lost" for subject in answer.subjects)
            for subject in answer.subjects:
                if subject.state == "lost":
                    continue
                assert subject.points2d is not None and subject.confidence2d is not None
                sees = (subject.confidence2d >= model_of.document.output.min_score) & np.isfinite(subject.points2d).all(
                    axis=-1
                )
                found.add(place, subject, sees, truth, held)
    return found


def _config(scenario: Path, described: Scenario) -> SystemConfig:
    source = {"kind": "virtual", "scenario": str(scenario)}
    cameras = {name: {"source": source} for name in described.camera_names}
    # The check of the track uses pauses between sets, which there are none of here.
    engine = {"tracker": {"verify_s": 0}}
    return SystemConfig.model_validate(
        {"version": 1, "rig": {"scenario": str(scenario)}, "cameras": cameras, "engine": engine}
    )


def _sets(world: World, frames: int) -> Iterator[tuple[FrameSet, np.ndarray]]:
    names = world.rig.names
    times = BEGIN_S + np.arange(frames) / world.scenario.rate
    world.foresee(times.tolist())
    truths = world.poses_mm(times)
    for tick, t_s in enumerate(times.tolist()):
        views = []
        for view, name in enumerate(names):
            image = world.render(view, t_s)
            size = (image.shape[1], image.shape[0])
            views.append(
                Frame(
                    name, tick, image, "BGR8", round(t_s * 1e9), "schedule", 0, size, tick=tick, received_ns=1,
                    node_epoch="e",
                )
            )  # fmt: skip
        yield FrameSet(names, tuple(views), SyncInfo("trigger", 0, tick), 2, tick), truths[tick]
