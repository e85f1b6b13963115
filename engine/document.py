"""The model document: what a network says about itself, and where that is found.

Nothing is guessed from a file name. The document is JSON in the ONNX metadata key
``rigpose.model``, or a YAML beside the file with the same stem, or, for a network that is known by
its bytes, ``engine/zoo/known/<sha256>.yaml``.

Conventions of the document:

* The network sees ``(pixel * scale - mean) / std``, channels in the order of ``input.colour``.
* Points are pixels of the network's input, (0, 0) is the centre of its first pixel. A network
  that counts from the corner of the first pixel says ``half_pixel: true``: cell i of a heatmap or
  bin i of a SimCC row then lies at ``(i + 0.5) * stride - 0.5``, else at ``i * stride``. Left out,
  it is true for ``heatmap`` and for ``keypoints`` in ``unit``, else false.
* ``score`` says what a peak or third channel is: ``prob`` and ``raw`` are clipped to 0..1,
  ``logit`` goes through the logistic function.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import onnx
from pydantic import BeforeValidator, Field, field_validator, model_validator

from engine.fitting import check_fits, read_onnx, sha256_of, template
from rigpose.config import Config, read_yaml, validate
from rigpose.errors import ConfigError
from rigpose.skeleton import Skeleton

METADATA_KEY = "rigpose.model"

Layout = Literal["NHWC", "NCHW"]
DType = Literal["uint8", "int32", "float32", "float16"]
Kind = Literal["keypoints", "heatmap", "heatmap_offset", "simcc", "graph"]

_OUTPUTS: dict[str, int] = {"keypoints": 1, "heatmap": 1, "heatmap_offset": 2, "simcc": 2, "graph": 0}


def _as_tuple(value: object) -> object:
    if isinstance(value, str | int | float):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


class InputSpec(Config):
    """What the network wants to see.

    Attributes:
        name: The ONNX input.
        layout: Order of its axes.
        dtype: Its type; ``uint8`` gets the pixels as they are unless scale, mean or std say more.
        size: (width, height) in px.
        colour: Order of the channels; ``GRAY`` is one channel, weighted as OpenCV does.
        scale: Multiplies a pixel first.
        mean: Is subtracted next; one number or one for each channel.
        std: Divides last; one number or one for each channel.
    """

    name: str
    layout: Layout
    dtype: DType = "float32"
    size: tuple[int, int]
    colour: Literal["RGB", "BGR", "GRAY"] = "RGB"
    scale: float = 1.0
    mean: Annotated[tuple[float, ...], BeforeValidator(_as_tuple)] = (0.0,)
    std: Annotated[tuple[float, ...], BeforeValidator(_as_tuple)] = (1.0,)

    @field_validator("size")
    @classmethod
    def _size_is_a_picture(cls, size: tuple[int, int]) -> tuple[int, int]:
        if not all(8 <= side <= 8192 for side in size):
            raise ValueError(f"{list(size)} is not a [width, height] in pixels")
        return size

    @model_validator(mode="after")
    def _numbers_fit_the_channels(self) -> InputSpec:
        for key in ("mean", "std"):
            if len(getattr(self, key)) not in (1, self.channels):
                raise ValueError(
                    f"{key} has {len(getattr(self, key))} numbers, {self.colour} needs 1 or {self.channels}"
                )
        if 0.0 in self.std:
            raise ValueError("std must not be zero")
        return self

    @property
    def channels(self) -> int:
        """Number of channels that the network sees."""
        return 1 if self.colour == "GRAY" else 3

    @property
    def is_raw(self) -> bool:
        """Whether the network sees the pixel values as they are."""
        return self.scale == 1.0 and not any(self.mean) and all(std == 1.0 for std in self.std)


class OutputSpec(Config):
    """What the network answers.

    Attributes:
        kind: How points are read from it; ``graph`` = the file already is a whole rigpose graph.
        name: The ONNX output; two of them for ``heatmap_offset`` (scores, offsets) and ``simcc`` (x, y).
        layout: Of heatmaps and offsets; left out = as the input.
        min_score: Confidence below which a joint has no say in the 3D point.
        order: Of the coordinates of ``keypoints``.
        unit: Of the coordinates of ``keypoints``: input pixels, or 0..1 of its width and height.
        score: What a peak (or the third channel) is.
        stride: Input pixels from one cell (or SimCC bin: 0.5 for a split ratio of 2) to the next.
        half_pixel: Whether the network counts from the corner of the first pixel.
        offset_px: Input pixels in one unit of ``heatmap_offset`` (DeepLabCut's ``locref_stdev``).
            Its anchors are ``(i + 0.5) * stride``, as DeepLabCut trains them.
    """

    kind: Kind
    name: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = ()
    layout: Layout | None = None
    min_score: float = Field(0.3, ge=0, le=1)
    order: Literal["xy", "yx"] = "xy"
    unit: Literal["px", "unit"] = "px"
    score: Literal["raw", "logit", "prob"] = "raw"
    stride: float | None = Field(None, gt=0)
    half_pixel: bool | None = None
    offset_px: float = 7.2801

    @model_validator(mode="after")
    def _fits_the_kind(self) -> OutputSpec:
        wanted = _OUTPUTS[self.kind]
        if len(self.name) != wanted:
            outputs = "no name" if wanted == 0 else "one name" if wanted == 1 else "a list of two names"
            raise ValueError(f"kind {self.kind} needs {outputs} under key name, not {len(self.name)}")
        if self.kind in ("heatmap", "heatmap_offset", "simcc") and self.stride is None:
            raise ValueError(f"kind {self.kind} needs the key stride")
        return self

    @property
    def counts_from_corner(self) -> bool:
        """``half_pixel``, or what holds for this kind where it is left out."""
        if self.half_pixel is not None:
            return self.half_pixel
        return self.kind == "heatmap" or (self.kind == "keypoints" and self.unit == "unit")


class CropSpec(Config):
    """How a subject is cut out for the network.

    Attributes:
        aspect: Width over height of the crop; left out = that of the input.
        margin: Side of the crop over side of the subject's box.
        padding: What stands outside the picture.
    """

    aspect: float | None = Field(None, gt=0)
    margin: float = Field(1.25, ge=1)
    padding: Literal["constant", "replicate", "reflect"] = "constant"


class ModelDocument(Config):
    """One self-describing network (schema 1).

    Attributes:
        id: A short name that messages and recordings carry.
        sha256: Of the ONNX file's bytes; in a YAML only.
        domain: What it was trained on; ``synthetic`` is refused on real cameras.
        licence: Of the weights.
        source: Where the weights are from.
        skeleton: The joints, in the order of the output.
    """

    schema_: Literal[1] = Field(alias="schema")
    id: str = Field(min_length=1)
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    domain: Literal["real", "synthetic"]
    licence: str = Field(min_length=1)
    source: str = ""
    skeleton: Skeleton
    input: InputSpec
    output: OutputSpec
    crop: CropSpec = CropSpec()

    @model_validator(mode="after")
    def _crops_have_the_inputs_aspect(self) -> ModelDocument:
        own = self.input.size[0] / self.input.size[1]
        if self.crop.aspect is not None and abs(self.crop.aspect / own - 1) > 0.01:
            raise ValueError(f"crop.aspect is {self.crop.aspect:g}, but crops are not squeezed: input.size has {own:g}")
        return self

    @property
    def aspect(self) -> float:
        """Width over height of a crop."""
        return self.crop.aspect or self.input.size[0] / self.input.size[1]

    @property
    def output_layout(self) -> Layout:
        """The layout of heatmaps."""
        return self.output.layout or self.input.layout

    def to_json(self) -> str:
        """The document as it stands in ONNX metadata: without the hash, which a file cannot hold of itself."""
        return self.model_dump_json(by_alias=True, exclude={"sha256"}, exclude_none=True)


@dataclass(frozen=True)
class LocatedModel:
    """A network file together with the document that describes it.

    Attributes:
        path: The ONNX file.
        document: What it says about itself.
        origin: Where that was found: ``metadata``, the YAML beside it, or the file in ``zoo/known``.
        sha256: Of the ONNX file.
    """

    path: Path
    document: ModelDocument
    origin: str
    sha256: str

    @cached_property
    def proto(self) -> onnx.ModelProto:
        """The network, read once."""
        return read_onnx(self.path)


class UndescribedModelError(ConfigError):
    """A network that nothing describes; the message ends with the YAML to fill in."""

    def __init__(self, where: object, what: str, remedy: str = "", template: str = "") -> None:
        self.template = template
        super().__init__(where, what, remedy)

    def __str__(self) -> str:
        return super().__str__() + (f"\n{self.template}" if self.template else "")

    def __reduce__(self) -> tuple[type, tuple[str, ...]]:  # type: ignore[override]
        return type(self), (self.where, self.what, self.remedy, self.template)


def find_model(argument: str | Path) -> LocatedModel:
    """The network that a user names by an ONNX file, a YAML beside one, or a zoo name.

    Raises:
        UndescribedModelError: No document describes the network; the message holds a YAML to fill in.
        ConfigError: A file is missing, a key is wrong, or document and network do not fit.
    """
    from engine import zoo

    path = Path(argument).expanduser()
    if path.suffix.lower() not in (".onnx", ".yaml", ".yml") and not path.is_file():
        if path.suffix or len(path.parts) > 1:
            raise ConfigError(
                path, "no such file", "give an .onnx file, its YAML or a name from: " + ", ".join(zoo.names())
            )
        path = zoo.path(str(argument))
    if path.suffix.lower() in (".yaml", ".yml"):
        document = read_document(path)
        onnx_path = path.with_suffix(".onnx")
        if not onnx_path.is_file():
            raise ConfigError(
                path, f"describes {onnx_path.name}, which is not beside it", "put the network there under that name"
            )
        return _located(onnx_path, document, str(path))
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise ConfigError(path, what, "check the path, or give a name from: " + ", ".join(zoo.names()))
    proto = read_onnx(path)
    for entry in proto.metadata_props:
        if entry.key == METADATA_KEY:
            try:
                content = json.loads(entry.value)
            except ValueError:
                raise ConfigError(path, f"metadata {METADATA_KEY} is not JSON", "export the network again") from None
            return _located(path, _validated(content, f"{path} (metadata {METADATA_KEY})"), "metadata", proto)
    for beside in (path.with_suffix(".yaml"), path.with_suffix(".yml")):
        if beside.is_file():
            return _located(path, read_document(beside), str(beside), proto)
    known = zoo.known(sha256_of(path))
    if known is not None:
        return _located(path, read_document(known), str(known), proto)
    yaml_path = path.with_suffix(".yaml")
    raise UndescribedModelError(
        path, "nothing describes this network", f"write {yaml_path} with this, filled in:", template(path, proto)
    )


def read_document(path: Path) -> ModelDocument:
    """A model document from its YAML.

    Raises:
        ConfigError: Names the file and the key.
    """
    return _validated(read_yaml(path), path)


def check_domain(document: ModelDocument, *, real_cameras: bool, force: bool = False) -> None:
    """Refuse a network that never saw a real picture where the pictures are real.

    Raises:
        ConfigError: The model is ``synthetic``, the cameras are real, and nobody said ``--force``.
    """
    if document.domain == "synthetic" and real_cameras and not force:
        raise ConfigError(
            f"model {document.id}",
            "was made for drawn pictures (domain: synthetic) and the cameras are real",
            "give a model of domain real, or --force to see what it makes of them",
        )


def _validated(content: Any, where: object) -> ModelDocument:
    if not isinstance(content, dict):
        raise ConfigError(where, "holds no mapping of keys to values", "see the model document in the docs")
    return validate(content, ModelDocument, where)


def _located(path: Path, document: ModelDocument, origin: str, proto: onnx.ModelProto | None = None) -> LocatedModel:
    sha256 = sha256_of(path)
    if document.sha256 is not None and document.sha256 != sha256:
        raise ConfigError(
            origin,
            f"key sha256: is {document.sha256[:12]}..., but {path.name} has {sha256[:12]}...",
            "the network was changed or exchanged: get the right file, or describe the new one",
        )
    located = LocatedModel(path, document, origin, sha256)
    if proto is not None:
        located.__dict__["proto"] = proto
    check_fits(document, located.proto, path, origin if origin != "metadata" else str(path))
    return located
