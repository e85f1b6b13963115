"""What a lifter's training run is: one YAML file, checked before anything starts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from engine.lifter_document import Mode, Out
from rigpose.config import Config, FilePath

Range = tuple[float, float]
Share = float


def _rising(value: Range) -> Range:
    if value[0] > value[1]:
        raise ValueError(f"the range {list(value)} ends before it begins")
    return value


class NetworkSection(Config):
    """The network; see `engine.models.lifter.LifterSpec`.

    Attributes:
        name: Of the run's folder and, as id, of the exported file.
        kind: ``masked`` does without joints that are not seen, ``temporal`` looks at a window of frames,
            ``liftpose`` is the published network.
        mode: Whether the camera's intrinsics are used.
        out: ``depth`` keeps x and y of the picture.
        window: Frames.
        width: Of the layers.
        stages: Residual stages.
        dropout: In training.
        by_spread: See `LifterSpec`; left out, false for ``liftpose`` in mode ``perspective`` and true else.
        linear: Whether a linear map, begun as ridge regression, goes past the layers.
        roots: Roots with the joints that are lifted relative to each, by name; empty = the skeleton's first root with
            all others. ``legs`` = each joint without a parent is the root of its limb.
    """

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    kind: Literal["liftpose", "masked", "temporal"] = "masked"
    mode: Mode = "perspective"
    out: Out = "xyz"
    window: int = Field(1, ge=1)
    width: int = Field(1024, ge=8)
    stages: int = Field(2, ge=0)
    dropout: float = Field(0.1, ge=0, lt=1)
    by_spread: bool | None = None
    linear: bool = True
    roots: dict[str, tuple[str, ...]] | Literal["legs"] = {}

    @property
    def scaled(self) -> bool:
        """``by_spread``, or what holds where it is left out."""
        return (self.kind != "liftpose" or self.mode == "weak") if self.by_spread is None else self.by_spread


class FilesSection(Config):
    """Poses of real subjects, in files that `capture.labels` reads.

    Attributes:
        kind: ``files``.
        files: Files or folders; of one skeleton.
        format: Of all of them; left out, it is told by the content.
        units: mm, cm or m where the files do not say it.
        rig: Cameras of files that have none.
        rig_units: mm, cm or m where the rig's file does not say it.
        skeleton: A file with joint names, or names with commas between, of files that have none.
        rate_hz: Frames a second of files that do not say it.
        size: Pictures' size of files that have cameras without it.
        subject: Who it is, of files with one animal.
        pick: Which part of files that hold several: an animal, a skeleton.
        cameras: Folders or names of the cameras, of 2D points of several.
        predictions: Whether what a network predicted counts beside what people labelled: ``alone`` = where a file has
            nothing else.
        min_confidence: 2D points with less of it are not triangulated from.
        accept_bad_rig: Triangulate with a rig that is judged bad, too.
    """

    kind: Literal["files"] = "files"
    files: tuple[FilePath, ...] = Field(min_length=1)
    format: str | None = None
    units: Literal["mm", "cm", "m"] | None = None
    rig: FilePath | None = None
    rig_units: Literal["mm", "cm", "m"] | None = None
    skeleton: str | None = None
    rate_hz: float | None = Field(None, gt=0)
    size: tuple[int, int] | None = None
    subject: str | None = None
    pick: str | None = None
    cameras: tuple[str, ...] = ()
    predictions: Literal["alone", "always", "never"] = "alone"
    min_confidence: float = Field(0.5, ge=0, le=1)
    accept_bad_rig: bool = False


class VirtualSection(Config):
    """Poses of the virtual rig's subject; nothing is drawn.

    Attributes:
        kind: ``virtual``.
        scenario: Its file.
        bodies: Worlds, each with a body and a motion of its own; they count as animals for the split.
        poses: Of each body.
        rate_hz: Poses a second.
        seed: Of the first world.
    """

    kind: Literal["virtual"]
    scenario: FilePath
    bodies: int = Field(400, ge=1)
    poses: int = Field(60, ge=1)
    rate_hz: float = Field(10.0, gt=0)
    seed: int = Field(0, ge=0)


def _poses_kind(section: Any) -> str:
    kind = section.get("kind", "files") if isinstance(section, dict) else getattr(section, "kind", "files")
    return f"[{kind}]"


AnyPosesSection = Annotated[
    Annotated[FilesSection, Tag("[files]")] | Annotated[VirtualSection, Tag("[virtual]")],
    Discriminator(_poses_kind, custom_error_type="kind", custom_error_message="its kind is none of files and virtual"),
]


class SplitSection(Config):
    """What is trained on, what chooses the best weights, and what judges them once, at the end.

    Attributes:
        by: ``animal``, or ``time``: blocks of time with a gap between the parts. Left out, by animal where there are
            three or more, else by time.
        test: Animals that judge; empty = every fifth, the last one first.
        validation: Animals that choose; empty = likewise of the others.
        folds: Blocks of time.
        fold: Which of them judges; -1 = none does, all is for training and choosing.
        gap: Frames between the parts that belong to none: one cycle of a periodic motion at least.
        validation_share: Of the training part, in blocks of their own.
    """

    by: Literal["animal", "time"] | None = None
    test: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    folds: int = Field(5, ge=2)
    fold: int = Field(0, ge=-1)
    gap: int = Field(0, ge=0)
    validation_share: Share = Field(0.15, gt=0, lt=0.9)

    @model_validator(mode="after")
    def _fold_is_one(self) -> SplitSection:
        if self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} is none of {self.folds}")
        return self


class ViewSection(Config):
    """By which cameras poses are seen in training.

    Attributes:
        kind: ``known`` = the cameras of the poses; ``narrow`` = the same, turned about the subject by up to
            ``turn_deg``; ``unknown`` = cameras anywhere within the ranges below; ``measured`` = the 2D points that
            were recorded, by the cameras of the poses.
        cameras: Names of the cameras that are used, of the first, second and last kind; empty = all.
        turn_deg: Largest yaw (about ``up``), pitch and roll of ``narrow``.
        up: Axis of the world that points upwards, for ``narrow`` and ``unknown``; ``any`` = a camera may be rolled
            and stand anywhere about the subject.
        azimuth_deg: Of ``unknown``.
        elevation_deg: Of ``unknown``.
        roll_deg: Of ``unknown``.
        distance_mm: Of ``unknown``: of the camera from the subject's middle.
        aim: Of ``unknown``: how far beside the subject's middle it looks, as a share of the distance.
        focal_px: Of ``unknown``: what turns noise in px into angles.
        parallel: Of ``unknown``, in mode ``weak``: a scaled parallel projection, as telecentric lenses and far cameras.
    """

    kind: Literal["known", "narrow", "unknown", "measured"] = "known"
    cameras: tuple[str, ...] = ()
    turn_deg: tuple[float, float, float] = (5.0, 2.0, 2.0)
    up: Literal["x", "y", "z", "-x", "-y", "-z", "any"] = "z"
    azimuth_deg: Range = (0.0, 360.0)
    elevation_deg: Range = (-10.0, 60.0)
    roll_deg: Range = (-10.0, 10.0)
    distance_mm: Range = (2500.0, 5000.0)
    aim: float = Field(0.1, ge=0)
    focal_px: float = Field(1000.0, gt=0)
    parallel: bool = False

    _ordered = field_validator("azimuth_deg", "elevation_deg", "roll_deg", "distance_mm")(_rising)

    @model_validator(mode="after")
    def _stands_off(self) -> ViewSection:
        if self.distance_mm[0] <= 0:
            raise ValueError("distance_mm must lie above 0")
        return self


class NoiseSection(Config):
    """Keypoints as a detector gives them: noise that differs between pictures and joints, gaps, coarse pictures.

    Attributes:
        px: Deviation of the keypoints, drawn for each picture between these, even in its logarithm.
        of_extent: The same as a share of the subject's longest side in the picture, instead of ``px`` where given:
            networks that see crops are so wrong.
        between_joints: Deviation of the logarithm of each joint's own factor on that.
        outliers: Share of keypoints that are elsewhere, by several times more.
        coarse_px: Sides of the cells that keypoints are rounded to, drawn for each picture; (0, 0) = not at all.
        confidence_tells: Share of pictures in which the confidences tell how wrong joints are; in the others they
            are 1.
        missing: Share of joints that are not seen, drawn for each picture between these.
        limb: Share of pictures in which a joint is missing together with all that hangs on it.
        edge: Share of pictures that the subject stands half out of: all joints beyond a line are missing.
    """

    px: Range = (2.0, 2.0)
    of_extent: Range | None = None
    between_joints: float = Field(0.0, ge=0)
    outliers: Share = Field(0.0, ge=0, lt=1)
    coarse_px: Range = (0.0, 0.0)
    confidence_tells: Share = Field(0.7, ge=0, le=1)
    missing: Range = (0.0, 0.0)
    limb: Share = Field(0.0, ge=0, le=1)
    edge: Share = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _ranges_can_be(self) -> NoiseSection:
        for key in ("px", "of_extent", "coarse_px", "missing"):
            value = getattr(self, key)
            if value is not None and not 0 <= value[0] <= value[1]:
                raise ValueError(f"{key} {list(value)} is no range from 0 on")
        if self.missing[1] >= 1:
            raise ValueError("missing must stay below 1")
        return self

    @property
    def takes_joints_away(self) -> bool:
        """Whether joints may be missing."""
        return self.missing[1] > 0 or self.limb > 0 or self.edge > 0


class BodySection(Config):
    """Bodies that the data do not have.

    Attributes:
        scale: Factors on the whole body.
        bones: Deviation of each bone's own factor, the same on both sides.
        bend_deg: Deviation of a turn of each bone, with all that hangs on it.
        mirror: Share of poses that are mirrored, left and right exchanged.
        template: Bring all bones to their mean lengths first (bone-length normalisation).
    """

    scale: Range = (1.0, 1.0)
    bones: float = Field(0.0, ge=0, lt=0.5)
    bend_deg: float = Field(0.0, ge=0, le=45)
    mirror: Share = Field(0.0, ge=0, le=1)
    template: bool = False

    _ordered = field_validator("scale")(_rising)


class LearningSection(Config):
    """Adam, and how its rate goes.

    Attributes:
        epochs: Times that each pose is shown.
        batch_size: Poses in a step; of fewer poses each is there several times.
        rate: Learning rate.
        schedule: ``stairs`` = the published one, ``rate * gamma ** (step / decay_steps)`` in steps; ``cosine`` = a
            rise over ``warmup`` of the run, then down to nearly nothing.
        gamma: Of ``stairs``.
        decay_steps: Of ``stairs``.
        warmup: Share of the run, of ``cosine``.
        weight_decay: Of weights with more than one axis.
        clip: Largest norm of the gradient; ``None`` = it is not clipped.
        ema: Decay of the running average of the weights, which is judged and kept; 0 = the last weights are.
        covariance_from: Share of the run from which the likelihood counts; before, the distance alone does.
        covariance: Weight of the likelihood.
        bf16: Whether the layers compute in bfloat16.
        validate_every: Epochs between two looks at the validation part.
    """

    epochs: int = Field(30, ge=1)
    batch_size: int = Field(1024, ge=2)
    rate: float = Field(1e-3, gt=0)
    schedule: Literal["stairs", "cosine"] = "cosine"
    gamma: float = Field(0.96, gt=0, le=1)
    decay_steps: int = Field(100_000, ge=1)
    warmup: Share = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    clip: float | None = Field(1.0, gt=0)
    ema: float = Field(0.99, ge=0, lt=1)
    covariance_from: Share = Field(0.2, ge=0, le=1)
    covariance: float = Field(0.1, ge=0)
    bf16: bool = False
    validate_every: int = Field(1, ge=1)


class LiftConfig(Config):
    """A training run of a lifter.

    Attributes:
        version: Of this file's form.
        seed: Of everything.
        domain: Of the exported document; left out, what the poses are: ``synthetic`` from the virtual rig, else real.
        licence: Of the exported document.
        draws: Views of each pose in validation and test.
    """

    version: Literal[1]
    seed: int = Field(0, ge=0)
    network: NetworkSection
    poses: AnyPosesSection
    split: SplitSection = SplitSection()
    view: ViewSection = ViewSection()
    test_view: ViewSection | None = None
    noise: NoiseSection = NoiseSection()
    test_noise: NoiseSection | None = None
    body: BodySection = BodySection()
    learning: LearningSection = LearningSection()
    domain: Literal["real", "synthetic"] | None = None
    licence: str = "Apache-2.0"
    draws: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _liftpose_sees_all(self) -> LiftConfig:
        for key in ("noise", "test_noise"):
            noise = getattr(self, key)
            if self.network.kind == "liftpose" and noise is not None and noise.takes_joints_away:
                raise ValueError(f"{key}: kind liftpose needs every joint; leave missing, limb and edge at 0")
        if self.view.parallel and self.network.mode != "weak":
            raise ValueError("view.parallel is for network.mode weak: a parallel projection has no rays")
        return self

    @property
    def judged_view(self) -> ViewSection:
        """How the test part is seen; the validation part is seen as in training."""
        return self.test_view or self.view

    @property
    def judged_noise(self) -> NoiseSection:
        """What the keypoints of the test part are like."""
        return self.test_noise or self.noise
