"""Export the heads: ``python -m engine.export_heads [--check]`` writes ``engine/heads/*.onnx``.

The geometry head runs the very functions of `calib.triangulate` and `calib.lens`, the others those of
`engine.decode`. The files are committed, so that composing a graph needs onnx and not torch; this is
run again when those functions change, and a test compares what it gives with what is committed.

Inputs and outputs of a head bear the names by which `engine.graph` joins them.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from calib.rig import RigArrays
from calib.triangulate import triangulate_with_residuals
from engine import decode
from rigpose.errors import MissingError

if TYPE_CHECKING:
    import torch

HEADS = Path(__file__).parent / "heads"
OPSET = 18
log = logging.getLogger(__name__)


def geometry(
    crop_points: Any,
    crop_confidence: Any,
    crop_to_image: Any,
    view_weight: Any,
    K: Any,
    dist: Any,
    fisheye: Any,
    Rt: Any,
    world: Any,
    min_score: Any,
) -> tuple[Any, Any, Any, Any]:
    """Crop pixels to raw pixels, and those of all views to positions; torch tensors in float32.

    Args:
        crop_points: (B, V, J, 2) px of the crop.
        crop_confidence: (B, V, J) in 0..1.
        crop_to_image: (B, V, 2, 3) from crop px to raw px.
        view_weight: (B, V), 0 = camera absent.
        K: (V, 3, 3), and so on as in `calib.rig.RigArrays`.
        dist: (V, 14).
        fisheye: (V,).
        Rt: (V, 3, 4).
        world: (4,).
        min_score: Confidence below which a point has no say in the position.

    Returns:
        points2d (B, V, J, 2) raw px, NaN for an absent camera; confidence (B, V, J), 0 there;
        points3d (B, J, 3) mm, NaN with fewer than two views; residual_px (B, V, J), NaN where
        there is no point or no position.
    """
    import torch

    present = (view_weight > 0)[:, :, None]
    points = torch.matmul(crop_points, crop_to_image[..., :2].transpose(-1, -2)) + crop_to_image[:, :, None, :, 2]
    points2d = torch.where(present[..., None], points, torch.nan)
    # A comparison with NaN is false: what is not a number has no confidence either.
    confidence = torch.where(present & (crop_confidence > 0), crop_confidence, 0.0)
    weight = torch.where(confidence >= min_score, confidence * view_weight[:, :, None], 0.0)
    points3d, residual = triangulate_with_residuals(points2d, weight, RigArrays(K, dist, fisheye, Rt, world))
    return points2d, confidence, points3d, residual


@dataclass(frozen=True)
class Head:
    """One exported function.

    Attributes:
        function: What it computes.
        inputs: Names and example shapes; a letter is a dimension that may be any size.
        outputs: Names.
    """

    function: Callable[..., Any]
    inputs: dict[str, tuple[int | str, ...]]
    outputs: tuple[str, ...]


_POINTS = ("crop_points", "score")
HEAD_TABLE: dict[str, Head] = {
    "geometry": Head(
        geometry,
        {
            "crop_points": ("B", "V", "J", 2),
            "crop_confidence": ("B", "V", "J"),
            "crop_to_image": ("B", "V", 2, 3),
            "view_weight": ("B", "V"),
            "K": ("V", 3, 3),
            "dist": ("V", 14),
            "fisheye": ("V",),
            "Rt": ("V", 3, 4),
            "world": (4,),
            "min_score": (),
        },
        ("points2d", "confidence", "points3d", "residual_px"),
    ),
    "keypoints": Head(decode.keypoints, {"values": ("N", "J", "C"), "matrix": ("C", 3), "bias": (3,)}, _POINTS),
    "heatmap": Head(decode.heatmap, {"maps": ("N", "J", "h", "w"), "stride": (), "shift": ()}, _POINTS),
    "heatmap_offset": Head(
        decode.heatmap_offset,
        {"maps": ("N", "J", "h", "w"), "offsets": ("N", "2*J", "h", "w"), "stride": (), "shift": (), "offset_px": ()},
        _POINTS,
    ),
    "simcc": Head(decode.simcc, {"x": ("N", "J", "w"), "y": ("N", "J", "h"), "stride": (), "shift": ()}, _POINTS),
}
_EXAMPLE = {"B": 2, "V": 4, "J": 17, "N": 8, "C": 3, "h": 48, "w": 40, "2*J": 34}


def export(name: str) -> onnx.ModelProto:
    """One head as ONNX, in float32 and with the dimensions of its table free.

    Raises:
        MissingError: torch or onnxscript is not installed.
    """
    try:
        import onnxscript  # noqa: F401  (torch.onnx needs it and says so late)
        import torch
    except ImportError as error:
        raise MissingError("exporting heads", f"needs {error.name}", "pip install 'rigpose[train]'") from None
    head = HEAD_TABLE[name]
    generator = torch.Generator().manual_seed(0)
    examples = tuple(
        torch.rand(tuple(_EXAMPLE[d] if isinstance(d, str) else d for d in shape), generator=generator)
        for shape in head.inputs.values()
    )
    free: dict[str, Any] = {letter: torch.export.Dim(letter, min=1, max=4096) for letter in "BVJNChw"}
    free["2*J"] = 2 * free["J"]
    dynamic = tuple(
        {axis: free[d] for axis, d in enumerate(shape) if isinstance(d, str)} for shape in head.inputs.values()
    )
    module = _module(head.function)
    program = torch.onnx.export(
        module,
        examples,
        dynamo=True,
        opset_version=OPSET,
        dynamic_shapes=(dynamic,),  # once more in a tuple: the module takes *tensors
        input_names=list(head.inputs),
        output_names=list(head.outputs),
        external_data=False,
        verbose=False,
    )
    assert program is not None
    proto = _bare(program.model_proto)
    _check_free(proto, head)
    return proto


def _module(function: Callable[..., Any]) -> torch.nn.Module:
    import torch

    class Module(torch.nn.Module):
        def forward(self, *tensors: torch.Tensor) -> Any:
            return function(*tensors)

    return Module().eval()


def _check_free(proto: onnx.ModelProto, head: Head) -> None:
    """Refuse what torch may do without a word: fix a dimension to the example's."""
    for value, shape in zip(proto.graph.input, head.inputs.values(), strict=True):
        for side, wanted in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            if isinstance(wanted, str) and not side.dim_param:
                raise RuntimeError(f"dimension {wanted} of {value.name} was fixed to {side.dim_value}")


def _bare(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same without traces of the machine that it was exported on."""
    for node in proto.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
    del proto.graph.value_info[:]
    proto.graph.ClearField("metadata_props")
    proto.ClearField("metadata_props")
    proto.graph.name = "head"
    return proto


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.export_heads",
        description="Write engine/heads/*.onnx from the functions that they run.",
        epilog="Example: python -m engine.export_heads geometry",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(HEAD_TABLE)}; all by default")
    names = parser.parse_args().names or list(HEAD_TABLE)
    unknown = [name for name in names if name not in HEAD_TABLE]
    if unknown:
        parser.error(f"there is no head {unknown[0]}; there are {', '.join(HEAD_TABLE)}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name in names:
        proto = export(name)
        onnx.save(proto, HEADS / f"{name}.onnx")
        log.info("%s: %d nodes, opset %d", HEADS / f"{name}.onnx", len(proto.graph.node), OPSET)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
