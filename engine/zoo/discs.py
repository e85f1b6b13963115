"""Build ``discs.onnx``: ``python -m engine.zoo.discs``, a fixed network that finds coloured discs.

It is not trained: one heatmap a joint, from how well the colour of each spot agrees with the joint's.
A colour is taken as a direction away from grey, relative to its brightness, so that neither shading
nor the lightness of a grey background matters. Two box filters about as wide as a disc turn what
agrees into a dome whose top is the disc's centre; its height, the share of the filter that the disc
fills, is the confidence. It finds what `capture.drawn` draws and serves demos and tests that have no
recording; on real pictures it means nothing (domain ``synthetic``).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from engine.document import METADATA_KEY, ModelDocument
from rigpose.skeleton import Skeleton

FILE = Path(__file__).with_name("discs.onnx")
SIDE = 192
STRIDE = 4
OPSET = 17
_DARK = 32.0  # added to the brightness that colours are relative to, so that noise on black is not a colour
_THRESHOLD = 0.3  # of the joint's own colourfulness
_GAIN = 2.0  # a disc that fills half of the filters is seen for sure
_MIN_SCORE = 0.25


def chroma(colour_bgr: Sequence[float] | np.ndarray) -> np.ndarray:
    """A colour's direction away from grey, relative to its brightness."""
    colour = np.asarray(colour_bgr, dtype=np.float64)
    return (colour - colour.mean()) / (colour.max() + _DARK)


def build(colours_bgr: Sequence[Sequence[float]] | np.ndarray, skeleton: Skeleton) -> onnx.ModelProto:
    """The network for these colours, one a joint.

    Args:
        colours_bgr: (J, 3) in 0..255, no two of about the same hue and none grey.
        skeleton: The joints, in the same order.
    """
    joints = len(skeleton.joints)
    ideal = np.stack([chroma(colour) for colour in colours_bgr])
    length = np.linalg.norm(ideal, axis=1)
    if len(length) != joints or length.min() < 0.15:
        raise ValueError("each joint needs a colour that is not grey")
    direction = ideal / length[:, None]
    cosine = direction @ direction.T - 2 * np.eye(joints)
    half_angle = np.arccos(np.clip(cosine.max(), -1, 1)) / 2
    # What is nearer to another joint's colour than to this one's counts for nothing.
    sharpness = 1 / np.tan(half_angle)
    weights = {
        "direction": direction[:, :, None, None],
        "dark": np.array(_DARK),
        "tiny": np.array(1e-9),
        "sharpness": np.array(sharpness),
        "scale": (1 / (length * (1 - _THRESHOLD)))[:, None, None],
        "threshold": np.array(-_THRESHOLD / (1 - _THRESHOLD)),
        "gain": np.array(_GAIN),
        "zero": np.array(0.0),
        "one": np.array(1.0),
    }
    half = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("AveragePool", ["float"], ["pixels"], **half),
        helper.make_node("ReduceMax", ["pixels"], ["value"], axes=[1], keepdims=1),
        helper.make_node("ReduceMean", ["pixels"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["pixels", "grey"], ["colour"]),
        helper.make_node("Add", ["value", "dark"], ["brightness"]),
        helper.make_node("Div", ["colour", "brightness"], ["chroma"]),
        helper.make_node("Conv", ["chroma", "direction"], ["along"], kernel_shape=[1, 1]),
        helper.make_node("ReduceSumSquare", ["chroma"], ["squared"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["along", "along"], ["along_squared"]),
        helper.make_node("Sub", ["squared", "along_squared"], ["across_squared"]),
        helper.make_node("Max", ["across_squared", "tiny"], ["across_positive"]),
        helper.make_node("Sqrt", ["across_positive"], ["across"]),
        helper.make_node("Mul", ["across", "sharpness"], ["penalty"]),
        helper.make_node("Sub", ["along", "penalty"], ["agreement"]),
        helper.make_node("Mul", ["agreement", "scale"], ["relative"]),
        helper.make_node("Add", ["relative", "threshold"], ["share"]),
        helper.make_node("Clip", ["share", "zero", "one"], ["mask"]),
        helper.make_node("AveragePool", ["mask"], ["cells"], **half),
        helper.make_node(
            "AveragePool", ["cells"], ["box"], kernel_shape=[5, 5], pads=[2, 2, 2, 2], count_include_pad=1
        ),
        helper.make_node("AveragePool", ["box"], ["dome"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
        helper.make_node("Mul", ["dome", "gain"], ["heatmap"]),
    ]
    cells = SIDE // STRIDE
    graph = helper.make_graph(
        nodes,
        "discs",
        [helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("heatmap", onnx.TensorProto.FLOAT, ["N", joints, cells, cells])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(
        graph, producer_name="rigpose", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8
    )
    helper.set_model_props(model, {METADATA_KEY: document(skeleton).to_json()})
    onnx.checker.check_model(model, full_check=True)
    return model


def document(skeleton: Skeleton) -> ModelDocument:
    """What the network says about itself."""
    return ModelDocument.model_validate(
        {
            "schema": 1,
            "id": "discs",
            "domain": "synthetic",
            "licence": "Apache-2.0",
            "source": "python -m engine.zoo.discs (fixed filters, not trained)",
            "skeleton": skeleton,
            "input": {
                "name": "image",
                "layout": "NCHW",
                "dtype": "uint8",
                "size": (SIDE, SIDE),
                "colour": "BGR",
            },
            "output": {
                "kind": "heatmap",
                "name": "heatmap",
                "layout": "NCHW",
                "min_score": _MIN_SCORE,
                "score": "raw",
                "stride": STRIDE,
                "half_pixel": True,
            },
            "crop": {"aspect": 1.0, "margin": 1.4, "padding": "constant"},
        }
    )


def main() -> int:
    """The command."""
    from capture.drawn import COLOURS_BGR, SKELETON

    FILE.write_bytes(build(COLOURS_BGR, SKELETON).SerializeToString(deterministic=True))
    sys.stdout.write(f"{FILE}: {FILE.stat().st_size} bytes, {len(SKELETON.joints)} joints\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
