"""What a training run is: one YAML file, checked before anything starts."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from rigpose.config import Config, FilePath
from training.datasets.sections import DatasetSection
from training.model_sections import AnyModelSection, PublishedRansacSection

_DEEPEST = 32  # as `engine.models.backbone.DEEPEST`; a config is read without torch

VIEWS = 4
"""Cameras in a sample of the virtual rig where the config does not say it."""
Range = tuple[float, float]
Share = float


class Stage(Config):
    """A part of the run at one size of the pictures: small ones first cost a fraction and teach the most.

    Attributes:
        until: Share of the run at which it ends.
        size: Side of the crops in px.
    """

    until: float = Field(gt=0, le=1)
    size: int = Field(multiple_of=_DEEPEST, ge=_DEEPEST, le=1024)


class CropSection(Config):
    """How crops lie about the subject, as a tracker's and a finder's would.

    Attributes:
        margin: Crop side over the longer side of the joints' box.
        shift: Largest shift of the centre, as a share of the crop's side.
        scale: Factors on the size, of most crops.
        wide_share: Share of crops that are as wide as a finder's first look.
        wide_scale: Factors on the size of those.
        turn_deg: Largest turn of a crop in training, either way.
        stretch: In training a crop's width over its height changes by up to this share, either way, along an axis
            of any direction: cameras and bodies that the scenario lacks look like that. The crop's matrix knows.
        mirror: Share of training samples of a data set that are mirrored in all views, left and right exchanged: for
            subjects whose sides look alike, and so not for the virtual rig's, whose colours tell them.
    """

    margin: float = Field(1.3, ge=1)
    shift: float = Field(0.08, ge=0, lt=0.5)
    scale: Range = (0.88, 1.3)
    wide_share: Share = Field(0.12, ge=0, le=1)
    wide_scale: Range = (1.3, 2.4)
    turn_deg: float = Field(0.0, ge=0, le=180)
    stretch: float = Field(0.0, ge=0, lt=0.5)
    mirror: Share = Field(0.0, ge=0, le=1)


class AugmentSection(Config):
    """What is done to a rendered crop.

    Attributes:
        patch_share: Share of pictures in which patches hide something.
        patches: Fewest and most patches in such a picture.
        patch_size: Their sides, as a share of the crop's.
        gain: Factors on the brightness.
        noise: Largest standard deviation of noise that is added, in grey values.
        tint: Largest change of a colour channel against the others, as a share: another lamp or white balance.
        blur: Largest standard deviation of a blur, in px of the crop.
    """

    patch_share: Share = Field(0.35, ge=0, le=1)
    patches: tuple[int, int] = (1, 5)
    patch_size: Range = (0.06, 0.22)
    gain: Range = (0.75, 1.25)
    noise: float = Field(5.0, ge=0)
    tint: float = Field(0.0, ge=0, lt=0.5)
    blur: float = Field(0.0, ge=0)


class DataSection(Config):
    """Where samples come from: a scenario of the virtual rig, or a data set.

    Attributes:
        scenario: The virtual rig's scenario file.
        dataset: Pictures of real cameras, see `training.datasets.sections`.
        views: Cameras in a sample, drawn from the virtual rig's: a number, 4 by default, or the fewest and the most,
            between which another number is drawn for each step. A data set has its own ``views``.
        batch_size: Frame sets in a step, of all processes together.
        batch_size_cuda: The same where there is a GPU.
        workers: Processes that make samples, for each process that trains.
        workers_cuda: The same where there is a GPU.
        shows: Steps in which a world is shown, at other moments and by other cameras, before another comes.
        epoch_size: Samples in an epoch: only a word for the seed and the log, for no sample comes twice.
        crop: How crops lie.
        augment: What is done to them in training; ``None``: nothing, and crops stay upright.
    """

    scenario: FilePath | None = None
    dataset: DatasetSection | None = None
    views: int | tuple[int, int] | None = None
    batch_size: int = Field(8, ge=1)
    batch_size_cuda: int = Field(64, ge=1)
    workers: int = Field(2, ge=0)
    workers_cuda: int = Field(14, ge=0)
    shows: int = Field(8, ge=1)
    epoch_size: int = Field(10_000, ge=1)
    crop: CropSection = CropSection()
    augment: AugmentSection | None = AugmentSection()

    @model_validator(mode="after")
    def _one_source(self) -> DataSection:
        if (self.scenario is None) == (self.dataset is None):
            raise ValueError("give either scenario, for the virtual rig, or dataset with its kind")
        if self.dataset is not None and self.views is not None:
            raise ValueError("views of a data set stand in data.dataset, as the fewest and the most")
        if self.dataset is None and not 1 <= self.view_range[0] <= self.view_range[1]:
            raise ValueError("views are a number from 1 on, or the fewest and the most, the smaller one first")
        return self

    @property
    def view_range(self) -> tuple[int, int]:
        """Fewest and most cameras in a sample of the virtual rig."""
        views = VIEWS if self.views is None else self.views
        return (views, views) if isinstance(views, int) else views

    @property
    def true_base(self) -> bool:
        """Whether the cube of a volumetric network is laid about the true root in training."""
        return self.dataset is None or self.dataset.precalculated_train is None


class LossSection(Config):
    """Weights of the losses of our networks, which is what stands here without a ``kind``; see `training.losses`.

    Attributes:
        kind: Ours.
        heatmap: Cross entropy to a Gaussian about the joint.
        point: Smooth L1 of the 2D points.
        position: Of the 3D points.
        confidence: Binary cross entropy of the confidences.
        hidden: Of a joint that is hidden in a view, relative to one that is seen.
        position_from: Share of the run from which the 3D loss counts.
        position_full: Share of the run from which it counts whole.
        volume: Cross entropy of the voxel that the joint is in; of volumetric networks.
        view_dropout: Share of samples whose 3D loss sees fewer views.
        least_views: How many views it sees at least; a volumetric network can do with one.
    """

    kind: Literal["ours"] = "ours"
    heatmap: float = Field(1.0, ge=0)
    point: float = Field(20.0, ge=0)
    position: float = Field(0.5, ge=0)
    confidence: float = Field(0.2, ge=0)
    hidden: float = Field(0.4, ge=0)
    position_from: Share = Field(0.15, ge=0, le=1)
    position_full: Share = Field(0.3, ge=0, le=1)
    volume: float = Field(0.1, ge=0)
    view_dropout: Share = Field(0.35, ge=0, le=1)
    least_views: int = Field(2, ge=1)


class CriterionSection(Config):
    """What a published network learns by, see `training.criteria`; the 3D error counts from the first step on.

    Attributes:
        kind: Of published networks.
        criterion: Of the 3D points.
        threshold: Squared error above which MSESmooth bends, in the units of ``scale``.
        scale: Of mm: by 0.1 the criterion sees centimetres.
        volumetric_ce_weight: Of the voxels' cross entropy; of volumetric networks.
        view_dropout: Share of samples that are learned from with fewer views.
        least_views: How many views are left at least; a volumetric network can do with one.
    """

    kind: Literal["published"]
    criterion: Literal["MSE", "MSESmooth", "MAE"]
    threshold: float = Field(400.0, gt=0)
    scale: float = Field(0.1, gt=0)
    volumetric_ce_weight: float = Field(0.0, ge=0)
    view_dropout: Share = Field(0.0, ge=0, le=1)
    least_views: int = Field(2, ge=1)
    position_from: ClassVar[float] = 0.0
    position_full: ClassVar[float] = 0.0


def _loss_kind(section: Any) -> str:
    kind = section.get("kind", "ours") if isinstance(section, dict) else getattr(section, "kind", "ours")
    return f"[{kind}]"


AnyLossSection = Annotated[
    Annotated[LossSection, Tag("[ours]")] | Annotated[CriterionSection, Tag("[published]")],
    Discriminator(_loss_kind, custom_error_type="kind", custom_error_message="its kind is none of ours and published"),
]


class OptimiserSection(Config):
    """AdamW with a warm-up, a level and a way down to zero; without weight decay it is Adam.

    Attributes:
        rate: Learning rate of the level.
        rates: The same of parts of the network, by name, where it is another one.
        weight_decay: Of all weights with more than one axis.
        warmup: Share of the run until the level.
        decay_from: Share of the run from which the rate falls.
        clip: Largest norm of the gradient; ``None``: it is not clipped.
        ema: Decay of the running average of the weights, which is what is kept.
        freeze_norm: Leave batch normalisations as they are, statistics and weights: for going on from trained weights
            with small batches.
        freeze: Parts of the network that are left as they are, by name: ``network`` and ``head`` are the algebraic
            part of a volumetric network.
    """

    rate: float = Field(2e-3, gt=0)
    rates: dict[str, Annotated[float, Field(gt=0)]] = {}
    weight_decay: float = Field(0.01, ge=0)
    warmup: Share = Field(0.02, ge=0, le=1)
    decay_from: Share = Field(0.45, ge=0, le=1)
    clip: float | None = Field(5.0, gt=0)
    ema: float = Field(0.998, ge=0, lt=1)
    freeze_norm: bool = False
    freeze: tuple[str, ...] = ()


class ValidationSection(Config):
    """A look at samples that are never trained on: of the training scenario, or of the data set's part for it.

    Attributes:
        seed: Of their worlds, and of where crops lie.
        samples: Frame sets; of a data set so many moments, evenly spaced.
        every_steps: Steps between two looks.
    """

    seed: int = Field(1_000_003, ge=0)
    samples: int = Field(64, ge=1)
    every_steps: int = Field(500, ge=1)


class TrainingConfig(Config):
    """A training run.

    Attributes:
        version: Of this file's form.
        seed: Of everything.
        steps: Length of the run.
        stages: Sizes of the pictures; the last one is the exported network's.
        precision_cpu: Of the network on the CPU.
        precision_cuda: Of the network on a GPU.
        min_score: Confidence below which the exported network's point has no say.
        branch_at: Share of the run at which a checkpoint is kept that another run may go on from: what two runs have
            in common is then trained once.
    """

    version: Literal[1]
    seed: int = Field(0, ge=0)
    steps: int = Field(ge=1)
    stages: tuple[Stage, ...] = Field(min_length=1)
    precision_cpu: Literal["fp32", "bf16"] = "fp32"
    precision_cuda: Literal["fp32", "bf16"] = "bf16"
    min_score: float = Field(0.1, ge=0, le=1)
    branch_at: Share | None = Field(None, gt=0, lt=1)
    model: AnyModelSection
    data: DataSection
    loss: AnyLossSection = LossSection()
    optimiser: OptimiserSection = OptimiserSection()
    validation: ValidationSection = ValidationSection()

    @field_validator("stages")
    @classmethod
    def _stages_follow(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        if any(b.until <= a.until for a, b in pairwise(stages)) or stages[-1].until != 1.0:
            raise ValueError("each stage ends later than the one before, the last one at 1.0")
        return stages

    @model_validator(mode="after")
    def _position_loss_begins_before_it_is_full(self) -> TrainingConfig:
        if self.loss.position_from > self.loss.position_full:
            raise ValueError("loss.position_from must not lie behind loss.position_full")
        return self

    @model_validator(mode="after")
    def _one_view_needs_a_volume(self) -> TrainingConfig:
        if self.loss.least_views < 2 and not self.model.volumetric:
            raise ValueError("loss.least_views must be 2 or more: one view is for volumetric networks")
        return self

    @model_validator(mode="after")
    def _the_loss_is_the_networks(self) -> TrainingConfig:
        published = self.model.kind == "published"
        if published != (self.loss.kind == "published") and not isinstance(self.model, PublishedRansacSection):
            of = "published" if published else "ours"
            raise ValueError(f"loss.kind must be {of}, as the network's")
        if isinstance(self.loss, CriterionSection) and self.loss.volumetric_ce_weight and not self.model.volumetric:
            raise ValueError("loss.volumetric_ce_weight is for volumetric networks")
        return self

    @model_validator(mode="after")
    def _validation_is_held_out(self) -> TrainingConfig:
        if self.validation.seed == self.seed:
            raise ValueError("validation.seed must not be the seed of the training samples")
        return self

    @property
    def size(self) -> int:
        """Side of the exported network's input in px."""
        return self.stages[-1].size

    def size_at(self, progress: float) -> int:
        """Side of the crops at a share of the run."""
        return next((stage.size for stage in self.stages if progress < stage.until), self.size)
