"""Networks in a run's config; what they become is in `training.networks`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from rigpose.config import Config, FilePath

PUBLISHED_HALVINGS = 5
"""Of the volumes in the published network on them (`engine.models.v2v.PUBLISHED_WIDTHS`)."""


class BackboneSection(Config):
    """Arguments of `engine.models.backbone.LiteBackbone`, which is what stands here without a ``kind``.

    Attributes:
        norm: ``batch``, or ``group``: of each picture alone, for small batches and for several processes on CPUs.
    """

    kind: Literal["lite"] = "lite"
    channels: tuple[int, int, int, int, int] = (16, 24, 40, 80, 128)
    blocks: tuple[int, int, int, int] = (2, 3, 3, 2)
    expansion: int = Field(4, ge=1)
    neck: int = Field(64, ge=8)
    features: int = Field(64, ge=8)
    norm: Literal["batch", "group"] = "batch"


class ResNetSection(Config):
    """Arguments of `engine.models.backbones.ResNetBackbone`."""

    kind: Literal["pose_resnet"]
    layers: Literal[18, 34, 50, 101, 152] = 50
    style: Literal["simple", "caffe"] = "simple"


def _kind(section: Any) -> str:
    return str(section.get("kind", "lite") if isinstance(section, dict) else getattr(section, "kind", "lite"))


Backbone = Annotated[
    Annotated[BackboneSection, Tag("lite")] | Annotated[ResNetSection, Tag("pose_resnet")],
    Discriminator(_kind, custom_error_type="kind", custom_error_message="its kind is none of lite and pose_resnet"),
]


class V2VSection(Config):
    """Arguments of `engine.models.v2v.V2V`; by default the small network, see `engine.models.v2v.SMALL`."""

    widths: tuple[int, ...] = Field((16, 32, 64, 64), min_length=2)
    squeeze: int = Field(16, ge=0)
    first: int = Field(16, ge=1)
    first_kernel: Literal[1, 3, 5, 7] = 3
    front: int = Field(0, ge=0)
    skips: int = Field(0, ge=0)
    decoders: int = Field(0, ge=0)
    back: int = Field(0, ge=0)


class VolumeSection(Config):
    """The cube of a volumetric model, see `engine.models.volumetric.Volumetric`.

    Attributes:
        side_mm: Of the cube.
        size: Voxels along a side.
        channels: Maps that are brought into it.
        aggregation: How the views' maps become one.
        vertical: The world's vertical axis, about which the cube is turned in training.
        evidence: Whether the heatmaps have a say of their own.
        sharpen: Whether the views' points have the last word, see `engine.models.sharpened`.
        v2v: The network on volumes.
        off_mm: In training the cube's middle is the true root, off by up to this along each axis.
    """

    side_mm: float = Field(2500.0, gt=0)
    size: int = Field(32, ge=8, le=128)
    channels: int = Field(16, ge=1)
    aggregation: Literal["sum", "max", "softmax", "conf", "conf_norm"] = "softmax"
    vertical: Literal["z", "y"] = "z"
    evidence: bool = True
    sharpen: bool = False
    v2v: V2VSection = V2VSection()
    off_mm: float = Field(150.0, ge=0)

    @model_validator(mode="after")
    def _size_can_be_halved(self) -> VolumeSection:
        step = 2 ** (len(self.v2v.widths) - 1)
        if self.size % step:
            raise ValueError(
                f"size must be a multiple of {step}, for v2v.widths halve it {len(self.v2v.widths) - 1} times"
            )
        return self


class ModelSection(Config):
    """A network of ours, which is what stands here without a ``kind``.

    Attributes:
        kind: Ours.
        name: Its id, also the name of the exported file.
        context: Maps that confidences are read from.
        confidences: Whether views are weighed by learned confidences.
        backbone: Its sizes.
        volume: With it the network is volumetric, over the features of the algebraic one.
    """

    kind: Literal["ours"] = "ours"
    name: str = Field(min_length=1)
    context: int = Field(32, ge=1)
    confidences: bool = True
    backbone: Backbone = BackboneSection()
    volume: VolumeSection | None = None

    def arguments(self) -> dict[str, Any]:
        """Of `engine.models.algebraic.Algebraic`, but for the joints; with a volume, of `Volumetric` but for these."""
        answer = {
            "context": self.context,
            "confidences": self.confidences,
            "backbone": self.backbone.model_dump(),
        }
        return answer if self.volume is None else answer | self.volume.model_dump(exclude={"off_mm"})

    @property
    def volumetric(self) -> bool:
        """Whether its 3D points come from a cube of voxels; one view then suffices."""
        return self.volume is not None

    @property
    def off_mm(self) -> float:
        """In training the cube's middle is off the truth by up to this along each axis."""
        return 0.0 if self.volume is None else self.volume.off_mm

    @property
    def needs_base(self) -> bool:
        """Whether somebody must tell it where the cube stands; else it finds the place itself."""
        return False


class _PublishedSection(Config):
    """What the networks of the paper share, see `engine.models.published`.

    Attributes:
        kind: These.
        name: Its id, also the name of the run's folder.
        layers: Of the backbone.
        style: Of the backbone.
        parity: Whether it repeats what the published code does, as published weights need it.
        backbone_weights: File that the backbone begins with: a pose ResNet's, or a classifier's of as many layers.
    """

    kind: Literal["published"]
    name: str = Field(min_length=1)
    layers: Literal[18, 34, 50, 101, 152] = 152
    style: Literal["simple", "caffe"] = "simple"
    parity: bool = False
    backbone_weights: FilePath | None = None

    def arguments(self) -> dict[str, Any]:
        """Of the network's class in `engine.models.published`, but for the joints."""
        return self.model_dump(exclude={"kind", "name", "network", "backbone_weights", "off_mm"})

    @property
    def volumetric(self) -> bool:
        """Whether its 3D points come from a cube of voxels; one view then suffices."""
        return False

    @property
    def needs_base(self) -> bool:
        """Whether somebody must tell it where the cube stands; else it finds the place itself."""
        return self.volumetric


class PublishedAlgebraicSection(_PublishedSection):
    """Algebraic triangulation.

    Attributes:
        network: This one.
        confidences: Whether views are weighed by learned confidences.
        multiplier: Of the heatmaps before the softmax.
        softmax: ``False``: positive heat over its sum, instead of the softmax.
    """

    network: Literal["algebraic"]
    confidences: bool = True
    multiplier: float = Field(100.0, gt=0)
    softmax: bool = True
    off_mm: ClassVar[float] = 0.0


class PublishedRansacSection(_PublishedSection):
    """The baseline, which learns nothing: it can only be evaluated.

    Attributes:
        network: This one.
        multiplier: Of the heatmaps before the softmax; only without parity.
        refine: Whether the reprojection error is minimised at the end; only in parity, else always.
    """

    network: Literal["ransac"]
    multiplier: float = Field(100.0, gt=0)
    refine: bool = True
    confidences: ClassVar[bool] = False
    off_mm: ClassVar[float] = 0.0


class PublishedVolumetricSection(_PublishedSection):
    """Volumetric triangulation.

    Attributes:
        network: This one.
        aggregation: How the views' features become one.
        side_mm: Of the cuboid.
        size: Voxels along a side.
        vertical: The world's vertical axis, about which the cuboid is turned in training.
        multiplier: Of the volumes before the softmax.
        softmax: ``False``: positive values instead of the softmax.
        panoptic_in_human36m: The network learned in the world of CMU Panoptic and is used in that of Human3.6M.
        v2v: The network on volumes; without it the published one.
        off_mm: In training the cuboid's middle is off by up to this along each axis.
    """

    network: Literal["volumetric"]
    aggregation: Literal["sum", "max", "softmax", "conf", "conf_norm"] = "softmax"
    side_mm: float = Field(2500.0, gt=0)
    size: int = Field(64, ge=8, le=128)
    vertical: Literal["z", "y"] = "z"
    multiplier: float = Field(1.0, gt=0)
    softmax: bool = True
    panoptic_in_human36m: bool = False
    v2v: V2VSection | None = None
    off_mm: float = Field(0.0, ge=0)
    confidences: ClassVar[bool] = False

    @property
    def volumetric(self) -> bool:
        """It does."""
        return True

    @model_validator(mode="after")
    def _size_can_be_halved(self) -> PublishedVolumetricSection:
        halvings = PUBLISHED_HALVINGS if self.v2v is None else len(self.v2v.widths) - 1
        if self.size % 2**halvings:
            raise ValueError(f"size must be a multiple of {2**halvings}, for v2v halves it {halvings} times")
        return self


PublishedSection = PublishedAlgebraicSection | PublishedRansacSection | PublishedVolumetricSection


def _model_kind(section: Any) -> str:
    def said(key: str, default: str = "") -> str:
        return str(section.get(key, default) if isinstance(section, dict) else getattr(section, key, default))

    kind = said("kind", "ours")
    return f"[{kind} {said('network')}]" if kind == "published" else f"[{kind}]"


AnyModelSection = Annotated[
    Annotated[ModelSection, Tag("[ours]")]
    | Annotated[PublishedAlgebraicSection, Tag("[published algebraic]")]
    | Annotated[PublishedRansacSection, Tag("[published ransac]")]
    | Annotated[PublishedVolumetricSection, Tag("[published volumetric]")],
    Discriminator(
        _model_kind,
        custom_error_type="kind",
        custom_error_message="its kind is ours, or published with the network algebraic, ransac or volumetric",
    ),
]
"""All kinds of networks: each has ``kind``, ``name``, ``confidences``, ``volumetric``, ``needs_base``, ``off_mm`` and
``arguments``."""
