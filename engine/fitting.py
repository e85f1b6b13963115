"""A document and its network, compared both ways: do they fit, and what would a document have to say.

A mismatch is found when a model is loaded, and named by the key that says something else than the
network, never by a runtime's error about tensors.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import yaml

from rigpose.errors import ConfigError

if TYPE_CHECKING:
    from engine.document import ModelDocument

ONNX_TYPES: dict[str, int] = {
    "uint8": onnx.TensorProto.UINT8,
    "int32": onnx.TensorProto.INT32,
    "float32": onnx.TensorProto.FLOAT,
    "float16": onnx.TensorProto.FLOAT16,
}
_TYPE_NAMES = {value: key for key, value in ONNX_TYPES.items()}

Shape = tuple[int | None, ...]


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_onnx(path: Path) -> onnx.ModelProto:
    """An ONNX file.

    Raises:
        ConfigError: The file is missing or is not ONNX.
    """
    try:
        proto = onnx.load(path)
    except FileNotFoundError:
        raise ConfigError(path, "no such file", "check the path") from None
    except OSError as error:
        raise ConfigError(path, f"cannot be read: {error.strerror}", "give a network that you may read") from None
    except Exception as error:  # protobuf raises its own classes, which differ by version
        raise ConfigError(
            path, f"cannot be read as ONNX: {str(error) or type(error).__name__}", "export it again"
        ) from None
    if not proto.graph.output:
        raise ConfigError(path, "is not an ONNX network: it has no output", "give the .onnx file of a network")
    return proto


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


def check_fits(document: ModelDocument, proto: onnx.ModelProto, path: Path, where: object) -> None:
    """Compare a document with its network.

    Args:
        document: What is said of the network.
        proto: The network.
        path: Its file.
        where: The file that the document stands in.

    Raises:
        ConfigError: One line: which key of which file says something else than the network.
    """
    inputs = network_inputs(proto)
    outputs = {value.name: value for value in proto.graph.output}
    if document.output.kind == "graph":
        return
    spec = document.input
    if spec.name not in inputs:
        raise ConfigError(
            where, f"key input.name: {path.name} has no input {spec.name}", "it has: " + ", ".join(inputs)
        )
    if len(inputs) > 1:
        others = ", ".join(name for name in inputs if name != spec.name)
        raise ConfigError(path, f"wants more than a picture: {others}", "export it with one input")
    dtype, shape = signature(inputs[spec.name])
    if dtype != spec.dtype:
        raise ConfigError(
            where, f"key input.dtype: is {spec.dtype}, but the network takes {dtype}", f"write dtype: {dtype}"
        )
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
            raise ConfigError(
                where, f"key output.name: {path.name} has no output {name}", "it has: " + ", ".join(outputs)
            )
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
        wanted: list[Shape] = [(None, joints, round(width / stride)), (None, joints, round(height / stride))]
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
    quoted, colour = json.dumps(name), "GRAY" if channels == 1 else "RGB"
    joint_names = ", ".join(f"joint_{index}" for index in range(joints))
    return f"""schema: 1
id: {json.dumps(path.stem)}
sha256: {sha256_of(path)}
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
input: {{name: {quoted}, layout: {layout}, dtype: {dtype}, size: [{width}, {height}], colour: {colour},
        scale: 1.0, mean: 0.0, std: 1.0}}
# Outputs of the network: {shapes}. Kind, stride and score below are a guess.
output: {flow}
crop: {{aspect: {width / height:g}, margin: 1.25, padding: constant}}
"""


def _guess_output(outputs: dict[str, Shape], width: int) -> tuple[dict[str, Any], int]:
    names, shapes = list(outputs), list(outputs.values())
    if len(shapes) >= 2 and len(shapes[0]) == len(shapes[1]) == 3 and shapes[0][1] == shapes[1][1]:
        stride = width / (shapes[0][2] or 2 * width)
        return {"kind": "simcc", "name": names[:2], "stride": stride, "score": "raw", "min_score": 0.3}, shapes[0][
            1
        ] or 17
    first = shapes[0]
    if len(first) == 4 and first[-1] not in (2, 3):
        layout = "NHWC" if first[1] == first[2] or (first[3] or 0) < (first[1] or 0) else "NCHW"
        joints, cells = (first[3], first[2]) if layout == "NHWC" else (first[1], first[3])
        guess: dict[str, Any] = {
            "kind": "heatmap",
            "name": names[0],
            "layout": layout,
            "stride": width / (cells or width),
        }
        if len(shapes) >= 2 and joints and 2 * joints in shapes[1]:
            guess |= {"kind": "heatmap_offset", "name": names[:2]}
        return guess | {"score": "raw", "min_score": 0.3}, joints or 17
    keypoints = {"kind": "keypoints", "name": names[0], "order": "xy", "unit": "px", "score": "raw", "min_score": 0.3}
    return keypoints, (first[-2] if len(first) >= 2 else None) or 17
