"""Models sit an exam: frame sets of a scenario, answered as the engine answers them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from calib.rig import RigArrays
from calib.robust import triangulate_robust
from calib.triangulate import triangulate
from capture.virtual.scenario import Scenario
from capture.virtual.world import World
from engine.config import SolveSection
from engine.document import LocatedModel
from engine.graph import Graph, compose
from engine.runtimes.onnx import OnnxRuntime
from rigpose.errors import ConfigError
from rigpose.skeleton import Skeleton
from training.config import AugmentSection, CropSection, DataSection
from training.metrics.distances import extents_mm
from training.samples import Sample, cover, draw, to_crop

METHODS = ("volumetric", "learned", "robust", "ransac", "plain")
"""The model's volume where it has one; from its 2D points: its confidences, robustly with and without, all alike."""
MOMENTS = 5
"""Frame sets of a world, so far apart that they show other poses."""
BASE_ERROR = 0.02
"""How far a given base is off the true root along each axis (standard deviation), as a share of the extent."""
_APART_S = 7.3
_EXAM, _BASE = 2, 7
_WEIGHTS = "rigpose.weights"

BaseKind = Literal["own", "truth"]


@dataclass(frozen=True, slots=True)
class Question:
    """A frame set with its truth.

    Attributes:
        sample: Crops, cameras and truth.
        place: The world that it is from: moments of one are not independent.
        base_mm: (3,) the true root, off by as much as is said: for models that are told where the subject is.
    """

    sample: Sample
    place: str
    base_mm: Float[np.ndarray, " 3"]


@dataclass(frozen=True, slots=True)
class Paper:
    """What a model answered to N frame sets.

    Attributes:
        answers: For each method (N, J, 3) mm; NaN where it has no answer.
        truth_mm: (N, J, 3).
        error_share: (N, V, J) error of the 2D points as a share of the crop's side.
        hidden: (N, V, J) whether something is in front of the joint.
        confidence: (N, V, J).
        places: (N,) the worlds.
    """

    answers: dict[str, Float[np.ndarray, "N J 3"]]
    truth_mm: Float[np.ndarray, "N J 3"]
    error_share: Float[np.ndarray, "N V J"]
    hidden: Bool[np.ndarray, "N V J"]
    confidence: Float[np.ndarray, "N V J"]
    places: tuple[str, ...]


class Questions:
    """Frame sets of a scenario; each follows from the seed and its number alone.

    Args:
        scenario: What is shown.
        n_views: Number of its cameras.
        size: Side of the crops in px.
        margin: Of the crops, see `training.config.CropSection`.
        hide: Share of the joints that are hidden in each view, beside what the scenario hides.
        base_error: See `BASE_ERROR`.
    """

    def __init__(
        self,
        scenario: Scenario,
        n_views: int,
        size: int,
        margin: float,
        hide: float = 0.0,
        base_error: float = BASE_ERROR,
    ) -> None:
        self.scenario, self.n_views, self.size = scenario, n_views, size
        self.hide, self.base_error = hide, base_error
        # A tracker's crops: about the last pose, hardly off.
        crop = CropSection(margin=margin, shift=0.03, scale=(0.97, 1.1), wide_share=0)
        self._data = DataSection(scenario="", views=n_views, crop=crop, augment=AugmentSection())  # type: ignore[arg-type]
        self._world: tuple[tuple[int, int], World] | None = None

    def ask(self, seed: int, number: int) -> Question:
        """One frame set of one seed."""
        place, moment = divmod(number, MOMENTS)
        world = self._world_of(seed, place)
        rng = np.random.default_rng([self.scenario.seed, seed, number])
        t_s = 1.0 + moment * _APART_S + rng.uniform(0, 1)
        sample = draw(world, t_s, np.arange(self.n_views), self.size, self._data, rng, augment=False)
        if self.hide:
            crops, hidden = sample.crops.copy(), sample.hidden.copy()
            for view in range(self.n_views):
                hidden[view] |= hide_joints(crops[view], sample.points[view], self.hide, rng)
            sample = replace(sample, crops=crops, hidden=hidden)
        root = sample.position_mm[list(world.skeleton.root)].mean(axis=0)
        off = np.random.default_rng([self.scenario.seed, seed, number, _BASE]).normal(size=3)
        base = root + off * self.base_error * extents_mm(sample.position_mm)
        return Question(sample, f"{seed}/{place}", base)

    def _world_of(self, seed: int, place: int) -> World:
        if self._world is None or self._world[0] != (seed, place):
            seeds = np.random.SeedSequence([self.scenario.seed, seed, place, _EXAM])
            self._world = (seed, place), World(self.scenario, seed=int(seeds.generate_state(1)[0]))
        return self._world[1]


class Candidate:
    """A model that is ready to answer.

    Args:
        located: The model.
        n_views: Number of cameras.
        threads: Of ONNX Runtime.
        also: Tensors of its graph that are answered besides, see `with_outputs`.
    """

    def __init__(
        self, located: LocatedModel, n_views: int, threads: int | None = None, also: Sequence[str] = ()
    ) -> None:
        self.id = located.document.id
        self.skeleton: Skeleton = located.document.skeleton
        graph = compose(located, n_views)
        self.volumetric = graph.is_volumetric
        self.confidences = has_confidences(located)
        self._also = tuple(also)
        self._runtime = OnnxRuntime(with_outputs(graph, also), threads=threads)

    def answer(self, sample: Sample, base_mm: Float[np.ndarray, " 3"] | None = None) -> dict[str, np.ndarray]:
        """What the graph says of one frame set, without the axis of frame sets; inner tensors are as they are.

        Args:
            sample: The frame set.
            base_mm: Middle of the cube of a volumetric model; ``None`` = its own algebraic root.
        """
        inputs = {
            "crops": sample.crops[None],
            "crop_to_image": sample.crop_to_image[None],
            "view_weight": np.ones((1, len(sample.crops)), np.float32),
            **{key: getattr(sample, key) for key in RigArrays._fields},
        }
        if self.volumetric:
            base = np.zeros(3) if base_mm is None else base_mm
            inputs["base_mm"] = np.asarray(base, dtype=np.float32)[None]
            inputs["base_weight"] = np.array([float(base_mm is not None)], dtype=np.float32)
        out = self._runtime.run(inputs)
        return {name: values if name in self._also else values[0] for name, values in out.items()}


class Exam:
    """A scenario with a number of cameras, and a model ready to answer.

    Args:
        located: The model.
        scenario: What it is judged on.
        n_views: Number of its cameras.
        hide: Share of the joints that are hidden in each view, beside what the scenario hides.
        threads: Of ONNX Runtime.
        base: What a volumetric model's cube stands about: its own algebraic root, or (as live the last pose) the
            true root, off by ``base_error``.
        base_error: See `BASE_ERROR`.

    Raises:
        ConfigError: The scenario's subject has other joints than the model, its crops are not square, or the model
            cannot answer with so few views.
    """

    def __init__(
        self,
        located: LocatedModel,
        scenario: Scenario,
        n_views: int,
        hide: float = 0.0,
        threads: int | None = None,
        base: BaseKind = "own",
        base_error: float = BASE_ERROR,
    ) -> None:
        check_judged(located, scenario)
        self.candidate = Candidate(located, n_views, threads)
        where = f"model {located.document.id}"
        if base == "truth" and not self.candidate.volumetric:
            raise ConfigError(where, "has no cube, --base truth says nothing to it", "leave --base out")
        if n_views < 2 and not self.candidate.volumetric:
            raise ConfigError(where, "needs two views: it triangulates", "give --views 2 or more")
        if n_views < 2 and base == "own":
            raise ConfigError(where, "finds no root of its own in one view", "give --base truth")
        self.base = base
        document = located.document
        self.questions = Questions(scenario, n_views, document.input.size[0], document.crop.margin, hide, base_error)
        self._solve = SolveSection()

    def sit(self, seed: int, frames: int) -> Paper:
        """Answer so many frame sets of one seed."""
        answers: list[dict[str, np.ndarray]] = []
        rest: list[tuple[np.ndarray, ...]] = []
        places = []
        for number in range(frames):
            question = self.questions.ask(seed, number)
            answer, *others = self._answer(question)
            answers.append(answer)
            rest.append(tuple(others))
            places.append(question.place)
        truth, share, hidden, confidence = (np.stack(values) for values in zip(*rest, strict=True))
        stacked = {key: np.stack([answer[key] for answer in answers]) for key in answers[0]}
        return Paper(stacked, truth, share, hidden, confidence, tuple(places))

    def _answer(
        self, question: Question
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        sample, size = question.sample, self.questions.size
        out = self.candidate.answer(sample, question.base_mm if self.base == "truth" else None)
        points, confidence, own = (np.asarray(out[key], np.float64) for key in ("points2d", "confidence", "points3d"))
        answers = {"volumetric": own} if self.candidate.volumetric else {"learned": own}
        if self.questions.n_views > 1:
            answers |= self._triangulated(sample, points, confidence, size)
        seen = np.stack([to_crop(p, m) for p, m in zip(points, sample.crop_to_image, strict=True)])
        share = np.linalg.norm(seen - sample.points, axis=-1) / size
        return answers, sample.position_mm, share, sample.hidden, confidence

    def _triangulated(
        self, sample: Sample, points: np.ndarray, confidence: np.ndarray, size: int
    ) -> dict[str, np.ndarray]:
        """What other methods make of the model's 2D points."""
        arrays = arrays_of(sample)
        alike = np.ones_like(confidence)
        sigma = (self._solve.sigma_share * size * sample.crop_to_image[:, 0, 0])[:, None]
        answers = {"plain": triangulate(points, alike, arrays)}
        if self.candidate.volumetric:
            answers["learned"] = triangulate(points, confidence if self.candidate.confidences else alike, arrays)
        for method, weight in (("robust", np.maximum(confidence, 1e-3)), ("ransac", alike)):
            solution = triangulate_robust(points, weight, arrays, sigma_px=sigma, gate=self._solve.gate_sigma)
            # What it gives up is not left out of the figures: all views alike answer for it.
            answers[method] = np.where(solution.ok[:, None], solution.position_mm, answers["plain"])
        return answers


def arrays_of(sample: Sample) -> RigArrays:
    """A sample's cameras in float64."""
    return RigArrays(*(np.asarray(getattr(sample, key), np.float64) for key in RigArrays._fields))


def check_judged(located: LocatedModel, scenario: Scenario) -> None:
    """Refuse a model that a scenario cannot judge.

    Raises:
        ConfigError: Its joints are others, or its crops are not square.
    """
    document = located.document
    if World(scenario).skeleton.joints != document.skeleton.joints:
        raise ConfigError(
            f"model {document.id}",
            f"has the joints of {document.skeleton.name}, the scenario {scenario.name} shows others",
            "give a scenario with the model's subject",
        )
    width, height = document.input.size
    if width != height:
        raise ConfigError(f"model {document.id}", f"takes {width} x {height} px", "only square crops are judged")


def with_outputs(graph: Graph, names: Sequence[str]) -> Graph:
    """A graph that answers some of its inner tensors besides, in float32."""
    if not names:
        return graph
    import onnx

    proto = onnx.load_model_from_string(graph.proto_bytes)
    for name in names:
        proto.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    data = proto.SerializeToString(deterministic=True)
    return replace(graph, proto_bytes=data, output_names=(*graph.output_names, *names))


def has_confidences(located: LocatedModel) -> bool:
    """Whether a model of ours weighs its views; those of others do by what they call a score."""
    about: dict[str, Any] = {}
    for entry in located.proto.metadata_props:
        if entry.key == _WEIGHTS:
            about = json.loads(entry.value)
    return bool(about.get("confidences", True))


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
