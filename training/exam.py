"""A model sits an exam: frame sets of a scenario, answered as the engine answers them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from calib.rig import Rig, RigArrays
from calib.robust import triangulate_robust
from calib.triangulate import triangulate
from capture.virtual.scenario import Scenario
from capture.virtual.world import World
from engine.config import SolveSection
from engine.document import LocatedModel
from engine.graph import compose
from engine.runtimes.onnx import OnnxRuntime
from rigpose.errors import ConfigError
from training.config import AugmentSection, CropSection, DataSection
from training.samples import cover, draw, to_crop

MOMENTS = 5
"""Frame sets of a world, so far apart that they show other poses."""
_APART_S = 7.3
_EXAM = 2


@dataclass(frozen=True, slots=True)
class Paper:
    """What a model answered to N frame sets.

    Attributes:
        answers: For each method (N, J, 3) mm; NaN where it has no answer.
        truth_mm: (N, J, 3).
        error_share: (N, V, J) error of the 2D points as a share of the crop's side.
        hidden: (N, V, J) whether something is in front of the joint.
        confidence: (N, V, J).
    """

    answers: dict[str, Float[np.ndarray, "N J 3"]]
    truth_mm: Float[np.ndarray, "N J 3"]
    error_share: Float[np.ndarray, "N V J"]
    hidden: Bool[np.ndarray, "N V J"]
    confidence: Float[np.ndarray, "N V J"]


class Exam:
    """A scenario with a number of cameras, and a model ready to answer.

    Args:
        located: The model.
        scenario: What it is judged on.
        n_views: Number of its cameras.
        hide: Share of the joints that are hidden in each view, beside what the scenario hides.
        threads: Of ONNX Runtime.

    Raises:
        ConfigError: The scenario's subject has other joints than the model.
    """

    def __init__(
        self, located: LocatedModel, scenario: Scenario, n_views: int, hide: float = 0.0, threads: int | None = None
    ) -> None:
        document = located.document
        joints = World(scenario).skeleton.joints
        if joints != document.skeleton.joints:
            raise ConfigError(
                f"model {document.id}",
                f"has the joints of {document.skeleton.name}, the scenario {scenario.name} shows others",
                "give a scenario with the model's subject",
            )
        width, height = document.input.size
        if width != height:
            raise ConfigError(f"model {document.id}", f"takes {width} x {height} px", "only square crops are judged")
        self.scenario, self.n_views, self.hide, self.size = scenario, n_views, hide, width
        self._runtime = OnnxRuntime(compose(located, n_views), threads=threads)
        self._solve = SolveSection()
        # A tracker's crops: about the last pose, hardly off.
        crop = CropSection(margin=document.crop.margin, shift=0.03, scale=(0.97, 1.1), wide_share=0)
        self._data = DataSection(scenario="", views=n_views, crop=crop, augment=AugmentSection())  # type: ignore[arg-type]

    def sit(self, seed: int, frames: int) -> Paper:
        """Answer so many frame sets of one seed."""
        answers: list[dict[str, np.ndarray]] = []
        rest: list[tuple[np.ndarray, ...]] = []
        for number in range(frames):
            place, moment = divmod(number, MOMENTS)
            if moment == 0:
                seeds = np.random.SeedSequence([self.scenario.seed, seed, place, _EXAM])
                world = World(self.scenario, seed=int(seeds.generate_state(1)[0]))
            rng = np.random.default_rng([self.scenario.seed, seed, number])
            answer, *others = self._frame(world, 1.0 + moment * _APART_S + rng.uniform(0, 1), rng)
            answers.append(answer)
            rest.append(tuple(others))
        truth, share, hidden, confidence = (np.stack(values) for values in zip(*rest, strict=True))
        stacked = {key: np.stack([answer[key] for answer in answers]) for key in answers[0]}
        return Paper(stacked, truth, share, hidden, confidence)

    def _frame(
        self, world: World, t_s: float, rng: np.random.Generator
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        sample = draw(world, t_s, np.arange(self.n_views), self.size, self._data, rng, augment=False)
        crops, hidden = sample.crops.copy(), sample.hidden.copy()
        if self.hide:
            for view in range(self.n_views):
                hidden[view] |= hide_joints(crops[view], sample.points[view], self.hide, rng)
        out = self._runtime.run(
            {
                "crops": crops[None],
                "crop_to_image": sample.crop_to_image[None],
                "view_weight": np.ones((1, self.n_views), np.float32),
                **{key: getattr(sample, key) for key in RigArrays._fields},
            }
        )
        points = np.asarray(out["points2d"][0], dtype=np.float64)
        confidence = np.asarray(out["confidence"][0], dtype=np.float64)
        arrays = Rig(world.rig.cameras).arrays()
        sigma = (self._solve.sigma_share * self.size * sample.crop_to_image[:, 0, 0])[:, None]
        plain = triangulate(points, np.ones_like(confidence), arrays)
        answers = {"learned": np.asarray(out["points3d"][0], dtype=np.float64), "plain": plain}
        for method, weight in (("robust", np.maximum(confidence, 1e-3)), ("ransac", np.ones_like(confidence))):
            solution = triangulate_robust(points, weight, arrays, sigma_px=sigma, gate=self._solve.gate_sigma)
            # What it gives up is not left out of the figures: all views alike answer for it.
            answers[method] = np.where(solution.ok[:, None], solution.position_mm, plain)
        seen = np.stack([to_crop(p, m) for p, m in zip(points, sample.crop_to_image, strict=True)])
        share = np.linalg.norm(seen - sample.points, axis=-1) / self.size
        return answers, sample.position_mm, share, hidden, confidence


def hide_joints(
    picture: np.ndarray, points: Float[np.ndarray, "J 2"], share: float, rng: np.random.Generator
) -> Bool[np.ndarray, " J"]:
    """Cover joints with patches of one colour, in place, until a share of them is hidden; which ones are."""
    hidden = np.zeros(len(points), dtype=bool)
    size = len(picture)
    inside = np.flatnonzero(((points >= 0) & (points <= size - 1)).all(axis=-1))
    for joint in rng.permutation(inside):
        if hidden.sum() >= share * len(points):
            break
        if not hidden[joint]:
            centre = points[joint] + rng.uniform(-0.02, 0.02, 2) * size
            half = rng.uniform(0.05, 0.1, 2) * size / 2 + 0.02 * size
            hidden |= cover(picture, points, centre, half, rng.integers(0, 256, 3))
    return hidden
