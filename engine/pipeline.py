"""From a frame set to poses: crops, one graph, solve, track. The same code live, offline and timed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from calib.rig import Rig
from capture.buffers import BufferPool
from capture.frame import Frame, FrameSet
from engine import finder as finders
from engine.base import Base
from engine.config import SystemConfig
from engine.crop import Crop, Picture
from engine.document import ModelDocument
from engine.geometry import Geometry
from engine.lift_solver import LiftSolver, LocatedLifter
from engine.observer import Observer
from engine.runtimes import Runtime
from engine.smooth import OneEuro
from engine.solve import Observation, Solver
from engine.solve_volume import VolumeSolver
from engine.tracker import Quality, Track, quality
from rigpose.errors import ConfigError
from rigpose.pose import NONE, SUBJECT_LOST, PoseSet, SubjectPose
from rigpose.stamps import EXPOSED_FROM, SetStamps, now_ns

log = logging.getLogger(__name__)

SUBJECT_ID = 0
_ZOOMS = 2


class Pipeline:
    """Answers one frame set after the other.

    Args:
        rig: The calibration, with the cameras in the order in which sets hold them.
        document: What the model is.
        runtime: Runs the composed graph.
        config: The run's config.
        verdict: What ``calib.quality`` said of the rig; stands in every pose.
        volumetric: Whether the graph reads joints from a cube (`engine.graph.Graph.is_volumetric`).
        lifter: Stands in for views that do not see a joint; ``None`` = nothing does.

    Raises:
        ConfigError: The config names a camera or a box that does not exist.
    """

    def __init__(
        self,
        rig: Rig,
        document: ModelDocument,
        runtime: Runtime,
        config: SystemConfig,
        verdict: str = "good",
        *,
        volumetric: bool = False,
        lifter: LocatedLifter | None = None,
    ) -> None:
        engine = config.engine
        self.geometry = Geometry(rig, config)
        self.document = document
        self.runtime = runtime
        self.verdict = verdict
        self._config = engine
        self._size = document.input.size
        margin = engine.tracker.margin or document.crop.margin
        self._margin = margin
        self._fixed = engine.finder.kind == "fixed"
        self._finder = finders.create(engine.finder, self._size, rig.names, margin)
        self._track = Track(engine.tracker, self._size, margin)
        self._volumetric = volumetric
        self.lifter = lifter
        if lifter is not None and volumetric:
            raise ConfigError(
                "engine.lift.model", f"is {lifter.lifter.document.id}, but model {document.id} lifts by its volume",
                "leave one of both out",
            )  # fmt: skip
        self._solver, self._lift = self._new_solver(), self._new_lift()
        self._base = Base(document.skeleton.root, float(self.geometry.exact.world[3]), engine.tracker.base_s)
        self._smooth = OneEuro(engine.smooth) if engine.smooth else None
        self._observer = Observer(self.geometry, document, runtime, engine, volumetric=volumetric)
        self._set_index = 0
        self._last: tuple[FrameSet, list[Picture | None], SubjectPose] | None = None
        self._verified_ns = 0
        self._verification: _Verification | None = None
        self.on_warning: Callable[[str], None] = log.warning

    @property
    def n_views(self) -> int:
        """Cameras of the rig."""
        return len(self.geometry.rig)

    @property
    def pool(self) -> BufferPool | None:
        """Where its runtime wants pictures to be received into; ``None`` = it does not care."""
        return self._observer.pool

    def _new_solver(self) -> Solver | VolumeSolver:
        kind = VolumeSolver if self._volumetric else Solver
        return kind(self.geometry.exact, self._config.solve, self.document.output.min_score)

    def _new_lift(self) -> LiftSolver | None:
        if self.lifter is None:
            return None
        document = self.document
        return LiftSolver(
            self.geometry.exact, self._config, document.output.min_score, self.lifter, document.skeleton.joints
        )

    def warm_up(self) -> None:
        """Do once what the first set would otherwise wait for."""
        self.runtime.warmup()
        blank = np.zeros((*self._size[::-1], 3), np.uint8)
        frame = Frame("", 0, blank, "BGR8", 0, "arrival", 0, self._size)
        crops: list[Crop | None] = [Crop((10.0, 10.0), 1.0)] * self.n_views
        seen = self._observe([Picture(frame)] * self.n_views, crops, [None] * self.n_views)
        pose = self._solve(seen)
        if self._lift is not None:
            self._lift.alone(pose, seen)

    def process(self, frames: FrameSet) -> PoseSet:
        """The poses in a frame set.

        Returns:
            A pose set in every case; without subjects where none is found, with status ``incomplete``
            where fewer views came than the method needs. ``published_ns`` is still 0.

        Raises:
            ConfigError: A picture does not fit the calibration.
        """
        if self.geometry.fit(frames.frames):
            self._solver, self._lift = self._new_solver(), self._new_lift()
        present = sum(frame is not None for frame in frames.frames)
        subjects: tuple[SubjectPose, ...] = ()
        self._inferred_ns = now_ns()
        self._last = None
        incomplete = present < (self._config.min_views or (1 if self._goes_on_alone(frames) else 2))
        if not incomplete:
            pictures = [None if f is None or f.image is None else Picture(f) for f in frames.frames]
            subject = self._answer(frames, pictures)
            if subject is not None:
                subjects = (self._smoothed(subject, frames),)
                self._last = (frames, pictures, subject)
        return self._pose_set(frames, subjects, "incomplete" if incomplete else "ok")

    def _answer(self, frames: FrameSet, pictures: list[Picture | None]) -> SubjectPose | None:
        if not self._track.active:
            self._finder.watch(pictures)
            # The first look at which the views agree is enough: a live rig waits for this set.
            looks = map(self._found, self._search(frames.frames, pictures))
            found = next((look for look in looks if look is not None), None)
            if found is None:
                return None
            pose, seen = found
            self._begin(pose, frames, seen)
            self._verified_ns = now_ns()
            # The crops of the finder are coarse: look again where the subject is.
            refined, sigma_px = self._look_again(frames, pictures)
            better = quality(refined, sigma_px)
            if self._track.plausible(better):
                pose, seen = refined, better
                self._begin(pose, frames, seen)
            return replace(pose, state="found")
        pose, sigma_px = self._look_again(frames, pictures)
        if self._track.update(pose, frames.tick, quality(pose, sigma_px)):
            if self._track.tick == frames.tick:
                self._base.update(pose, exposed_ns(frames))
            return replace(pose, state="tracked")
        self._base.end()
        if self._lift is not None:
            self._lift.reset()
        if self._smooth:
            self._smooth.reset()
        return _without_positions(pose)

    def _begin(self, pose: SubjectPose, frames: FrameSet, seen: Quality) -> None:
        self._track.begin(pose, frames.tick, seen)
        self._base.begin(pose, exposed_ns(frames))
        if self._lift is not None:
            self._lift.reset()

    def _goes_on_alone(self, frames: FrameSet) -> bool:
        """Whether a single view would do for this set."""
        if self._config.method == "lift":
            return True
        return self._middle(frames) is not None or (self._lift is not None and self._track.active)

    def _middle(self, frames: FrameSet) -> np.ndarray | None:
        """Where the cube of a volumetric graph stands; ``None`` = where it finds the root itself."""
        return self._base.at(exposed_ns(frames)) if self._volumetric and self._track.active else None

    def _track_crops(self, frames: FrameSet, pictures: Sequence[Picture | None]) -> list[Crop | None]:
        if self._fixed:
            return next(iter(self._finder.rounds(pictures)))
        sizes = [None if frame is None else frame.size for frame in frames.frames]
        return self._track.crops(self.geometry.project(self._track.predict(frames.tick)), sizes)

    def _search(self, frames: Sequence[Frame | None], pictures: Sequence[Picture | None]) -> Iterator[Observation]:
        """Look for a subject, one run of the network after the other; each observation is the best so far.

        Each view is taken from the round in which it was most sure. A subject that is small in the
        picture is seen badly at first: each view then looks again where it believes to have seen it,
        before the views are held against each other.
        """
        best: Observation | None = None
        for crops in self._finder.rounds(pictures):
            best = _surer(best, self._search_in(pictures, crops, frames))
            yield best
        assert best is not None, "a finder has at least one round"
        for _ in range(0 if self._fixed else _ZOOMS):
            crops = finders.closer(best.points, best.confidence, self._size, self._margin)
            best = _surer(best, self._search_in(pictures, crops, frames))
            yield best

    def _search_in(
        self, pictures: Sequence[Picture | None], crops: Sequence[Crop | None], frames: Sequence[Frame | None]
    ) -> Observation:
        seen = self._observe(pictures, crops, frames)
        # A cube about something that is not yet known to be a subject says nothing; its keypoints do.
        return seen.points_only() if self._volumetric else seen

    def _found(self, best: Observation) -> tuple[SubjectPose, Quality] | None:
        """The pose in what the search has seen so far, if it is a subject."""
        pose = self._solve(best)
        if self._lift is not None and self._config.method == "lift":
            pose = self._lift.alone(pose, best)
        seen = quality(pose, best.sigma_px)
        return (pose, seen) if self._track.plausible(seen) else None

    def _look_again(self, frames: FrameSet, pictures: Sequence[Picture | None]) -> tuple[SubjectPose, np.ndarray]:
        """Look where the track expects the subject."""
        crops = self._track_crops(frames, pictures)
        seen = self._observe(pictures, crops, frames.frames, self._middle(frames))
        pose = self._solve(seen)
        if self._lift is not None:
            pose = self._lift.follow(pose, seen, exposed_ns(frames))
        return pose, seen.sigma_px

    def _observe(
        self,
        pictures: Sequence[Picture | None],
        crops: Sequence[Crop | None],
        frames: Sequence[Frame | None],
        middle: np.ndarray | None = None,
    ) -> Observation:
        seen = self._observer(pictures, crops, frames, middle)
        self._inferred_ns = now_ns()
        return seen

    def _solve(self, seen: Observation) -> SubjectPose:
        pose = self._solver.solve(seen)
        return replace(pose, id=SUBJECT_ID, skeleton=self.document.skeleton.name)

    def _smoothed(self, pose: SubjectPose, frames: FrameSet) -> SubjectPose:
        if self._smooth is None or pose.state == "lost":
            return pose
        return replace(pose, filtered_mm=self._smooth(pose.position_mm, exposed_ns(frames)))

    def _pose_set(self, frames: FrameSet, subjects: tuple[SubjectPose, ...], status: str) -> PoseSet:
        got = [frame for frame in frames.frames if frame is not None]
        origins = {frame.exposed_from for frame in got} or {"arrival"}
        if not self._config.send_points2d:
            subjects = tuple(replace(subject, points2d=None, confidence2d=None) for subject in subjects)
        pose_set = PoseSet(
            set_index=self._set_index,
            cameras=frames.cameras,
            frames=tuple(None if f is None else (f.node_epoch, f.seq) for f in frames.frames),
            video=tuple(None if f is None else f.video for f in frames.frames),
            sync=frames.sync,
            lag_frames=0,
            stamps=SetStamps(
                exposed_ns=tuple(None if f is None else f.exposed_ns for f in frames.frames),
                exposed_from=max(origins, key=EXPOSED_FROM.index),
                received_ns=tuple(None if f is None else f.received_ns for f in frames.frames),
                grouped_ns=frames.grouped_ns,
                inferred_ns=self._inferred_ns,
                solved_ns=now_ns(),
            ),
            calibration_id=self.geometry.calibration.calibration_id,
            model=self.document.id,
            runtime=self.runtime.name,
            precision=self.runtime.precision,
            graph_hash=self.runtime.graph_hash,
            verdict=self.verdict,
            status="incomplete" if status == "incomplete" else "ok",
            subjects=subjects,
        )
        self._set_index += 1
        return pose_set

    @property
    def verification_due(self) -> bool:
        """Whether the track should be compared with the finder when there is time."""
        if self._verification is not None:
            return True
        seconds = self._config.tracker.verify_s
        return (
            seconds > 0
            and not self._fixed
            and self._track.active
            and self._last is not None
            and now_ns() - self._verified_ns > seconds * 1e9
        )

    def verify(self) -> bool:
        """One step of comparing the track with what the finder sees; whether the track moved over.

        Meant for the time between two sets: a step costs one run of the network, and several steps,
        all on one frame set, make a comparison.
        """
        if self._verification is None:
            if self._last is None or not self._track.active:
                return False
            frames, pictures, own = self._last
            self._verification = _Verification(
                self._search(frames.frames, pictures), own, frames.tick, exposed_ns(frames)
            )
        check = self._verification
        best = next(check.search, None)
        found = None if best is None else self._found(best)
        if best is not None and found is None:
            return False
        self._verification = None
        self._verified_ns = now_ns()
        if found is None or not self._track.active or not self._track.contradicted_by(*found, check.own):
            return False
        self.on_warning("the crops had followed something else; the finder's subject is followed now")
        self._track.begin(found[0], check.tick, found[1])
        self._base.begin(found[0], check.exposed_ns)
        if self._lift is not None:
            self._lift.reset()
        return True


@dataclass(slots=True)
class _Verification:
    """A comparison that is under way: the search, and the track's own pose of the same set."""

    search: Iterator[Observation]
    own: SubjectPose
    tick: int
    exposed_ns: int


def exposed_ns(frames: FrameSet) -> int:
    """When a set was exposed: its earliest frame."""
    return min(frame.exposed_ns for frame in frames.frames if frame is not None)


def _surer(best: Observation | None, other: Observation) -> Observation:
    if best is None:
        return other
    take = other.confidence.mean(axis=1) > best.confidence.mean(axis=1)
    points = np.where(take[:, None, None], other.points, best.points)
    confidence = np.where(take[:, None], other.confidence, best.confidence)
    sigma_px = np.where(take, other.sigma_px, best.sigma_px)
    return Observation(points, confidence, None, None, sigma_px)


def _without_positions(pose: SubjectPose) -> SubjectPose:
    """A lost subject: what was seen in 2D stays, nothing in 3D is claimed."""
    joints = len(pose.position_mm)
    return replace(
        pose,
        state="lost",
        position_mm=np.full((joints, 3), np.nan, np.float32),
        covariance_mm2=np.full((joints, 6), np.nan, np.float32),
        views=np.zeros(joints, np.uint32),
        how=np.full(joints, NONE, np.uint8),
        reason=np.full(joints, SUBJECT_LOST, np.uint8),
    )
