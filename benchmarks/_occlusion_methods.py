"""The ways from the same crops to 3D that the occlusion exam compares.

Both RANSACs read the heatmaps of the algebraic model. Their limits are those of the publication, in px of its crops of
384 px: px of ours are made as large before they are judged.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from calib import lens
from calib.rig import RigArrays
from capture.virtual.scenario import Scenario
from engine.document import LocatedModel, find_model
from engine.graph import compose
from engine.models import ransac
from rigpose.errors import ConfigError
from training.exam import BASE_ERROR, Candidate, Question, Questions, arrays_of, check_judged, has_confidences
from training.samples import Sample

ROWS = {
    "ransac_seed": "RANSAC of the seed (integer argmax)",
    "ransac": "RANSAC (all pairs, soft-argmax, Huber)",
    "no_confidences": "algebraic without confidences",
    "algebraic": "algebraic",
    "volumetric": "volumetric",
    "one_view": "volumetric, one view",
}
"""Names of the methods, in the table's order."""
FROM = {
    "ransac_seed": "algebraic", "ransac": "algebraic", "no_confidences": "no_confidences", "algebraic": "algebraic",
    "volumetric": "volumetric", "one_view": "volumetric",
}  # fmt: skip
"""The model that each needs."""
ONE_VIEW_OF = 4
"""Cameras of the rig whose views answer alone: each of them, on the crops that the others see together."""
PUBLISHED_SIDE_PX = 384.0
HEAD_IN = "head_in"


@dataclass(frozen=True)
class Setup:
    """What is compared on what.

    Attributes:
        scenario: What is shown.
        models: By the names in `FROM`; the ones that are missing have no rows.
        threads: Of ONNX Runtime.
    """

    scenario: Scenario
    models: Mapping[str, Path]
    threads: int | None = None

    def located(self) -> dict[str, LocatedModel]:
        """The models."""
        return {name: find_model(path) for name, path in self.models.items()}

    def check(self) -> dict[str, LocatedModel]:
        """The models, which are what they stand for and see the same crops.

        Raises:
            ConfigError: They do not, or there is none.
        """
        found = self.located()
        if not found:
            raise ConfigError("benchmarks.occlusion", "has no model to judge", "give --algebraic or --volumetric")
        for name, model in found.items():
            check_judged(model, self.scenario)
            where, remedy = f"model {model.document.id}", f"give another --{name.replace('_', '-')}"
            if (volumetric := compose(model, 2).is_volumetric) != (name == "volumetric"):
                raise ConfigError(where, "is volumetric" if volumetric else "has no volume", remedy)
            if (weighs := has_confidences(model)) != (name != "no_confidences"):
                raise ConfigError(where, f"{'weighs' if weighs else 'does not weigh'} views by confidences", remedy)
        crops = {model.document.id: (model.document.input.size, model.document.crop.margin) for model in found.values()}
        if len(set(crops.values())) > 1:
            told = ", ".join(f"{name} {size[0]} px with margin {margin:g}" for name, (size, margin) in crops.items())
            raise ConfigError("benchmarks.occlusion", f"crops differ: {told}", "export all models at one --size")
        return found


@dataclass
class Answers:
    """Answers to N frame sets of V views.

    Attributes:
        position_mm: By method, (N, J, 3), of one view (N, V, J, 3); NaN where there is none.
        truth_mm: (N, J, 3).
        places: (N,) their worlds.
        hidden: Joints that something is in front of, in all views.
        joints: N times V times J.
        seconds: Spent on drawing, and on each method with its share of the network.
    """

    position_mm: dict[str, list[np.ndarray]] = field(default_factory=dict)
    truth_mm: list[np.ndarray] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    hidden: int = 0
    joints: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def spent(self, what: str, since: float) -> float:
        """Add the time since then, and give now."""
        now = time.perf_counter()
        self.seconds[what] = self.seconds.get(what, 0.0) + now - since
        return now


class Comparison:
    """All methods with one number of views; each frame set is drawn once for all of them.

    Args:
        setup: What is compared.
        n_views: Number of cameras.
    """

    def __init__(self, setup: Setup, n_views: int) -> None:
        located = setup.located()
        document = next(iter(located.values())).document
        self.n_views, self.size = n_views, document.input.size[0]
        self.questions = Questions(
            setup.scenario.with_views(n_views), n_views, self.size, document.crop.margin, base_error=BASE_ERROR
        )
        self._models = {
            name: Candidate(model, n_views, setup.threads, also=(HEAD_IN,) if name == "algebraic" else ())
            for name, model in located.items()
        }
        self._alone: Candidate | None = None
        if n_views == ONE_VIEW_OF and "volumetric" in located:
            self._alone = Candidate(located["volumetric"], 1, setup.threads)

    def answers(self, seed: int, numbers: Iterable[int]) -> Answers:
        """What all methods say to frame sets of a seed."""
        found = Answers()
        for number in numbers:
            begun = time.perf_counter()
            question = self.questions.ask(seed, number)
            found.spent("drawing", begun)
            for name, position in self.answer(question, found).items():
                found.position_mm.setdefault(name, []).append(position)
            sample = question.sample
            found.truth_mm.append(sample.position_mm)
            found.places.append(question.place)
            found.hidden, found.joints = found.hidden + int(sample.hidden.sum()), found.joints + sample.hidden.size
        return found

    def answer(self, question: Question, timed: Answers | None = None) -> dict[str, np.ndarray]:
        """What all methods say to one frame set; of one view (V, J, 3)."""
        clock = timed or Answers()
        sample, answers = question.sample, {}
        now = time.perf_counter()
        if "algebraic" in self._models:
            out = self._models["algebraic"].answer(sample)
            answers["algebraic"] = out["points3d"]
            now = clock.spent("algebraic", now)
            answers["ransac"] = by_consensus(out["points2d"], sample)
            now = clock.spent("ransac", now)
            answers["ransac_seed"] = as_published(hottest(out[HEAD_IN], out["points2d"].shape[1], self.size), sample)
            now = clock.spent("ransac_seed", now)
        for name in ("no_confidences", "volumetric"):
            if name in self._models:
                answers[name] = self._models[name].answer(sample)["points3d"]
                now = clock.spent(name, now)
        if self._alone is not None:
            views = range(self.n_views)
            alone = self._alone
            answers["one_view"] = np.stack(
                [alone.answer(only(sample, view), question.base_mm)["points3d"] for view in views]
            )
            clock.spent("one_view", now)
        return answers


def hottest(maps: Float[np.ndarray, "V C h w"], joints: int, size: int) -> Float[np.ndarray, "V J 2"]:
    """The middle of each heatmap's hottest cell in crop px.

    Args:
        maps: The first J are the heatmaps' logits.
        joints: J.
        size: Side of the crops in px.
    """
    views, _, height, width = maps.shape
    cell = maps[:, :joints].reshape(views, joints, height * width).argmax(axis=-1)
    stride = size / width
    return (np.stack([cell % width, cell // width], axis=-1) + 0.5) * stride - 0.5


def by_consensus(points: Float[np.ndarray, "V J 2"], sample: Sample) -> Float[np.ndarray, "J 3"]:
    """`engine.models.ransac.consensus` of points in raw px."""
    scale = np.sqrt(np.abs(np.linalg.det(sample.crop_to_image[:, :, :2].astype(np.float64))))
    px = PUBLISHED_SIDE_PX / sample.crops.shape[1] / scale
    return ransac.consensus(points[None], px[None], arrays_of(sample)).position_mm[0]


def as_published(points: Float[np.ndarray, "V J 2"], sample: Sample) -> Float[np.ndarray, "J 3"]:
    """`engine.models.ransac.published` of points in crop px, one joint after the other."""
    arrays = arrays_of(sample)
    flat, matrices = undistorted(points, sample.crop_to_image.astype(np.float64), arrays)
    enlarged = PUBLISHED_SIDE_PX / sample.crops.shape[1]
    flat, matrices = flat * enlarged, matrices * np.array([enlarged, enlarged, 1.0])[:, None]
    answer = np.full((points.shape[1], 3), np.nan)
    for joint in range(points.shape[1]):
        seen = np.flatnonzero(np.isfinite(flat[:, joint]).all(axis=-1))
        if len(seen) >= 2:
            answer[joint] = ransac.published(flat[seen, joint], matrices[seen])[0]
    return answer


def undistorted(
    points: Float[np.ndarray, "V J 2"], crop_to_image: Float[np.ndarray, "V 2 3"], arrays: RigArrays
) -> tuple[Float[np.ndarray, "V J 2"], Float[np.ndarray, "V 3 4"]]:
    """Crop px as a camera without distortion would have them, and from mm to these px.

    Args:
        points: Crop px.
        crop_to_image: From crop px to raw px.
        arrays: The cameras, float64.
    """
    raw = points @ crop_to_image[:, :, :2].swapaxes(1, 2) + crop_to_image[:, None, :, 2]
    rays = lens.undistort(raw, arrays.K, arrays.dist, arrays.fisheye)
    last = np.tile(np.array([[[0.0, 0.0, 1.0]]]), (len(points), 1, 1))
    to_crop = np.linalg.inv(np.concatenate([crop_to_image, last], axis=1)) @ arrays.K
    flat = rays @ to_crop[:, :2, :2].swapaxes(1, 2) + to_crop[:, None, :2, 2]
    # In mm: x_camera = unit (R (X - origin) / unit + t).
    R, unit = arrays.Rt[:, :, :3], arrays.world[3]
    t = unit * arrays.Rt[:, :, 3] - R @ arrays.world[:3]
    return flat, to_crop @ np.concatenate([R, t[..., None]], axis=-1)


def only(sample: Sample, view: int) -> Sample:
    """The frame set as one camera sees it."""
    names = ("crops", "crop_to_image", "points", "hidden", "K", "dist", "fisheye", "Rt")
    return replace(sample, **{name: getattr(sample, name)[view : view + 1] for name in names})
