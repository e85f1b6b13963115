"""What a network for a lab's own animal is worth on recordings of which nothing was labelled.

It is held against two answers that need no network and are given more than it has: both know the recording itself,
exactly, and where the animal stands. *hold*: the pose of the recording's first moment, as if someone had labelled it
in 3D, held from then on. *mean*: the mean of all true poses of a minute of the recording.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from calib.rig import Rig
from capture.frame import Frame
from capture.virtual.scenario import load_scenario
from capture.virtual.world import World
from engine.config import SolveSection
from engine.crop import Picture, around
from engine.document import LocatedModel
from engine.graph import compose
from engine.runtimes.onnx import OnnxRuntime
from engine.solve import Observation, Solver

SCENARIO = Path(__file__).resolve().parent.parent / "training" / "scenarios" / "fly_lab_judge.yaml"
MOMENTS = 8
"""Of each recording, apart enough to show other postures."""
_APART_S = 7.3
_FIRST_S = 1.0
_MINUTE = np.arange(0.0, 60.0, 0.25)
_TRACKED_S = 1 / 30
"""How old the pose is that a tracker lays its crops about."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Answers to T moments of one recording; each error is a joint's, of the same joints for all who answer.

    Attributes:
        px: By who answers, (T, V, J) px between a view's point and the truth; NaN where the joint is hidden in it.
        reprojected_px: The same of the 3D answer seen by each camera, hidden joints included.
        mm: (T, J) between the 3D answer and the truth.
        published: (T, J) whether the engine would have published the joint's place.
        crop_px: (T, V) side of the crops in raw px.
    """

    px: dict[str, Float[np.ndarray, "T V J"]]
    reprojected_px: dict[str, Float[np.ndarray, "T V J"]]
    mm: dict[str, Float[np.ndarray, "T J"]]
    published: Bool[np.ndarray, "T J"]
    crop_px: Float[np.ndarray, "T V"]


class Judge:
    """Recordings of the judging scenario, and a model that answers as the engine runs it.

    Args:
        located: The model.
        threads: Of ONNX Runtime.
    """

    def __init__(self, located: LocatedModel, threads: int | None = None) -> None:
        self.scenario = load_scenario(SCENARIO)
        self.document = located.document
        self.views = len(self.scenario.camera_names)
        self._runtime = OnnxRuntime(compose(located, self.views), threads=threads)

    def recording(self, number: int, moments: int = MOMENTS) -> Recording:
        """One recording of its own fly, cameras and light."""
        world = World(self.scenario, seed=(self.scenario.seed, number))
        arrays = Rig(world.cameras).arrays()
        solver = Solver(arrays, SolveSection(), self.document.output.min_score)
        first, usual = world.pose_mm(_FIRST_S), world.poses_mm(_MINUTE).mean(axis=0)
        px: dict[str, list[np.ndarray]] = {"ours": [], "hold": [], "mean": []}
        again: dict[str, list[np.ndarray]] = {key: [] for key in px}
        mm: dict[str, list[np.ndarray]] = {key: [] for key in px}
        published, sides = [], []
        for moment in range(1, moments + 1):
            t = _FIRST_S + _APART_S * moment
            truth = world.truth(t)
            seen, crop_px = self._look(world, t)
            pose = solver.solve(seen).position_mm.astype(np.float64)
            known = np.asarray(np.isfinite(pose).all(axis=-1))
            assert seen.position_mm is not None
            # What the engine gives up counts with what the graph said: nobody is spared a joint.
            answers = {"ours": np.where(known[:, None], pose, seen.position_mm), "hold": first, "mean": usual}
            for name, answer in answers.items():
                flat = np.stack([camera.project(answer) for camera in world.cameras])
                points = seen.points if name == "ours" else flat
                error = np.linalg.norm(points - truth.points2d, axis=-1)
                px[name].append(np.where(truth.occluded, np.nan, error))
                again[name].append(np.linalg.norm(flat - truth.points2d, axis=-1))
                mm[name].append(np.linalg.norm(answer - truth.position_mm, axis=-1))
            published.append(known)
            sides.append(crop_px)
        px_of, again_of, mm_of = ({name: np.stack(values) for name, values in of.items()} for of in (px, again, mm))
        return Recording(px_of, again_of, mm_of, np.stack(published), np.stack(sides))

    def _look(self, world: World, t: float) -> tuple[Observation, np.ndarray]:
        """The graph's answer to the pictures of a moment, with the crops of a tracker that is not lost."""
        width, height = self.document.input.size
        crops = np.zeros((1, self.views, height, width, 3), np.uint8)
        matrices = np.zeros((1, self.views, 2, 3), np.float32)
        before = world.pose_mm(t - _TRACKED_S)
        for view, camera in enumerate(world.cameras):
            box = camera.project(before)
            image = world.render(view, t)
            frame = Frame(camera.name, 0, image, "BGR8", 0, "schedule", 0, camera.size)
            crop = around((*box.min(axis=0), *box.max(axis=0)), (width, height), self.document.crop.margin)
            matrices[0, view] = Picture(frame).cut(crop, crops[0, view])
        rig = Rig(world.cameras).arrays().astype(np.float32)
        out = self._runtime.run(
            {
                "crops": crops,
                "crop_to_image": matrices,
                "view_weight": np.ones((1, self.views), np.float32),
                **rig._asdict(),
            }
        )
        side = matrices[0, :, 0, 0].astype(np.float64) * width
        points, confidence, position, residual = (
            np.asarray(out[name][0], dtype=np.float64) for name in ("points2d", "confidence", "points3d", "residual_px")
        )
        sigma = SolveSection().sigma_share * np.maximum(side, 0.5 * width)
        return Observation(points, confidence, position, residual, sigma), side


def pooled(recordings: list[Recording], part: str, name: str) -> Float[np.ndarray, " N"]:
    """(recordings,) the mean error of each recording: what is independent of another is a recording."""
    return np.array([float(np.nanmean(getattr(one, part)[name])) for one in recordings])
