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

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import onnx
import yaml
from pydantic import BeforeValidator, Field, field_validator, model_validator

from rigpose.config import Config, read_yaml, validate
from rigpose.errors import ConfigError
from rigpose.skeleton import Skeleton

METADATA_KEY = "rigpose.model"

Layout = Literal["NHWC", "NCHW"]
DType = Literal["uint8", "int32", "float32", "float16"]
Kind = Literal["keypoints", "heatmap", "heatmap_offset", "simcc", "graph"]

ONNX_TYPES: dict[str, int] = {
    "uint8": onnx.TensorProto.UINT8,
    "int32": onnx.TensorProto.INT32,
    "float32": onnx.TensorProto.FLOAT,
    "float16": onnx.TensorProto.FLOAT16,
}
_TYPE_NAMES = {value: key for key, value in ONNX_TYPES.items()}
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
                raise ValueError(f"{key} has {len(getattr(self, key))} numbers, {self.colour} needs 1 or {self.channels}")
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

    def __reduce__(self) -> tuple[type, tuple[str, ...]]:
        return type(self), (self.where, self.what, self.remedy, self.template)


def read_onnx(path: Path) -> onnx.ModelProto:
    """An ONNX file.

    Raises:
        ConfigError: The file is missing or is not ONNX.
    """
    try:
        proto = onnx.load(path)
    except FileNotFoundError:
        raise ConfigError(path, "no such file", "check the path") from None
    except Exception as error:  # protobuf raises its own classes, which differ by version
        raise ConfigError(path, f"cannot be read as ONNX: {str(error) or type(error).__name__}", "export it again") from None
    if not proto.graph.output:
        raise ConfigError(path, "is not an ONNX network: it has no output", "give the .onnx file of a network")
    return proto


def find_model(argument: str | Path) -> LocatedModel:
    """The network that a user names by an ONNX file, a YAML beside one, or a zoo name.

    Raises:
        UndescribedModelError: No document describes the network; the message holds a YAML to fill in.
        ConfigError: A file is missing, a key is wrong, or document and network do not fit.
    """
    from engine import zoo

    path = Path(argument).expanduser()
    if path.suffix.lower() not in (".onnx", ".yaml", ".yml") and not path.exists():
        if path.suffix or len(path.parts) > 1:
            raise ConfigError(path, "no such file", "give an .onnx file, its YAML or a name from: " + ", ".join(zoo.names()))
        path = zoo.path(str(argument))
    if path.suffix.lower() in (".yaml", ".yml"):
        document = read_document(path)
        onnx_path = path.with_suffix(".onnx")
        if not onnx_path.is_file():
            raise ConfigError(path, f"describes {onnx_path.name}, which is not beside it", "put the network there under that name")
        return _located(onnx_path, document, str(path))
    if not path.is_file():
        raise ConfigError(path, "no such file", "check the path, or give a name from: " + ", ".join(zoo.names()))
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
    known = zoo.known(_sha256(path))
    if known is not None:
        return _located(path, read_document(known), str(known), proto)
    yaml_path = path.with_suffix(".yaml")
    raise UndescribedModelError(path, "nothing describes this network", f"write {yaml_path} with this, filled in:", template(path, proto))


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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _located(path: Path, document: ModelDocument, origin: str, proto: onnx.ModelProto | None = None) -> LocatedModel:
    sha256 = _sha256(path)
    if document.sha256 is not None and document.sha256 != sha256:
        raise ConfigError(
            origin,
            f"key sha256: is {document.sha256[:12]}..., but {path.name} has {sha256[:12]}...",
            "the network was changed or exchanged: get the right file, or describe the new one",
        )
    located = LocatedModel(path, document, origin, sha256)
    if proto is not None:
        located.__dict__["proto"] = proto
    check_fits(located)
    return located


# What follows compares a document with its network, both ways.

Shape = tuple[int | None, ...]


def signature(value: onnx.ValueInfoProto) -> tuple[str, Shape]:
    """Type name and shape of an ONNX input or output; ``None`` = any size."""
    tensor = value.type.tensor_type
    dims = tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in tensor.shape.dim)
    return _TYPE_NAMES.get(tensor.elem_type, onnx.TensorProto.DataType.Name(tensor.elem_type).lower()), dims


def network_inputs(proto: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """The inputs that a caller feeds (old files list their weights among the inputs as well)."""
    weights = {weight.name for weight in proto.graph.initializer}
    return {value.name: value for value in proto.graph.input if value.name not in weights}


def _shown(shape: Shape) -> str:
    return "[" + ", ".join("?" if side is None else str(side) for side in shape) + "]"


def _agree(found: Shape, wanted: Shape) -> bool:
    pairs = zip(found, wanted, strict=False)
    return len(found) == len(wanted) and all(a is None or b is None or a == b for a, b in pairs)


def check_fits(located: LocatedModel) -> None:
    """Compare a document with its network.

    Raises:
        ConfigError: One line: which key of which file says something else than the network.
    """
    document, proto = located.document, located.proto
    where = located.origin if located.origin != "metadata" else located.path
    inputs = network_inputs(proto)
    outputs = {value.name: value for value in proto.graph.output}
    if document.output.kind == "graph":
        return
    spec = document.input
    if spec.name not in inputs:
        raise ConfigError(where, f"key input.name: {located.path.name} has no input {spec.name}", "it has: " + ", ".join(inputs))
    if len(inputs) > 1:
        others = ", ".join(name for name in inputs if name != spec.name)
        raise ConfigError(located.path, f"wants more than a picture: {others}", "export it with one input")
    dtype, shape = signature(inputs[spec.name])
    if dtype != spec.dtype:
        raise ConfigError(where, f"key input.dtype: is {spec.dtype}, but the network takes {dtype}", f"write dtype: {dtype}")
    width, height = spec.size
    wanted = (None, height, width, spec.channels) if spec.layout == "NHWC" else (None, spec.channels, height, width)
    if not _agree(shape, wanted):
        raise ConfigError(
            where,
            f"keys input.size, layout and colour mean {_shown(wanted)}, but the network takes {_shown(shape)}",
            "correct these keys",
        )
    for name in document.output.name:
        if name not in outputs:
            raise ConfigError(where, f"key output.name: {located.path.name} has no output {name}", "it has: " + ", ".join(outputs))
    _check_outputs(document, [signature(outputs[name])[1] for name in document.output.name], where)


def _check_outputs(document: ModelDocument, shapes: list[Shape], where: object) -> None:
    joints, spec = len(document.skeleton.joints), document.output
    width, height = document.input.size
    stride = spec.stride or 1.0
    if spec.kind == "keypoints":
        shape = shapes[0]
        if len(shape) >= 2 and not (_agree(shape[-2:], (joints, 2)) or _agree(shape[-2:], (joints, 3))):
            raise _unfit(where, joints, spec.name[0], shape, f"[..., {joints}, 2 or 3]")
        return
    if spec.kind == "simcc":
        wanted = [(None, joints, round(width / stride)), (None, joints, round(height / stride))]
    else:
        cells = (round(height / stride), round(width / stride))
        depths = [joints] if spec.kind == "heatmap" else [joints, 2 * joints]
        nhwc = document.output_layout == "NHWC"
        wanted = [(None, *cells, depth) if nhwc else (None, depth, *cells) for depth in depths]
    for name, shape, want in zip(spec.name, shapes, wanted, strict=True):
        if shape and not _agree(shape, want):
            raise _unfit(where, joints, name, shape, _shown(want))


def _unfit(where: object, joints: int, name: str, shape: Shape, wanted: str) -> ConfigError:
    return ConfigError(
        where,
        f"keys skeleton.joints ({joints}) and output mean {wanted}, but the network's output {name} is {_shown(shape)}",
        "correct the joints, layout, stride or kind",
    )


def template(path: Path, proto: onnx.ModelProto) -> str:
    """A model document to fill in, with all that the network itself tells; a guess is marked as one."""
    name, value = next(iter(network_inputs(proto).items()))
    dtype, shape = signature(value)
    layout, (height, width), channels = "NCHW", (256, 256), 3
    if len(shape) == 4:
        layout = "NHWC" if shape[3] in (1, 3) else "NCHW"
        height, width = (side or 256 for side in (shape[1:3] if layout == "NHWC" else shape[2:4]))
        channels = shape[3 if layout == "NHWC" else 1] or 3
    outputs = {item.name: signature(item)[1] for item in proto.graph.output}
    output, joints = _guess_output(outputs, width)
    flow = yaml.safe_dump(output, default_flow_style=True, sort_keys=False, width=1000).strip()
    shapes = "; ".join(f"{key} {_shown(dims)}" for key, dims in outputs.items())
    quoted = json.dumps(name)
    joint_names = ", ".join(f"joint_{index}" for index in range(joints))
    return f"""schema: 1
id: {json.dumps(path.stem)}
sha256: {_sha256(path)}
domain: real                # or synthetic
licence: unknown            # of the weights
source: ""                  # where they are from
skeleton:
  name: my_skeleton
  joints: [{joint_names}]   # in the order of the output
  edges: []                 # pairs of joint numbers, counted from 0
  left_right: []            # pairs (left, right)
  root: 0                   # a joint number, or several
# The network sees (pixel * scale - mean) / std.
input: {{name: {quoted}, layout: {layout}, dtype: {dtype}, size: [{width}, {height}], colour: {"GRAY" if channels == 1 else "RGB"}, scale: 1.0, mean: 0.0, std: 1.0}}
# Outputs of the network: {shapes}. Kind, stride and score below are a guess.
output: {flow}
crop: {{aspect: {width / height:g}, margin: 1.25, padding: constant}}
"""


def _guess_output(outputs: dict[str, Shape], width: int) -> tuple[dict[str, Any], int]:
    names, shapes = list(outputs), list(outputs.values())
    if len(shapes) >= 2 and len(shapes[0]) == len(shapes[1]) == 3 and shapes[0][1] == shapes[1][1]:
        stride = width / (shapes[0][2] or 2 * width)
        return {"kind": "simcc", "name": names[:2], "stride": stride, "score": "raw", "min_score": 0.3}, shapes[0][1] or 17
    first = shapes[0]
    if len(first) == 4 and first[-1] not in (2, 3):
        layout = "NHWC" if first[1] == first[2] or (first[3] or 0) < (first[1] or 0) else "NCHW"
        joints, cells = (first[3], first[2]) if layout == "NHWC" else (first[1], first[3])
        guess: dict[str, Any] = {"kind": "heatmap", "name": names[0], "layout": layout, "stride": width / (cells or width)}
        if len(shapes) >= 2 and joints and 2 * joints in shapes[1]:
            guess |= {"kind": "heatmap_offset", "name": names[:2]}
        return guess | {"score": "raw", "min_score": 0.3}, joints or 17
    keypoints = {"kind": "keypoints", "name": names[0], "order": "xy", "unit": "px", "score": "raw", "min_score": 0.3}
    return keypoints, (first[-2] if len(first) >= 2 else None) or 17
