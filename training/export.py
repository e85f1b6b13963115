"""Write a trained network as one ONNX file: ``python -m training.export CHECKPOINT -o FILE.onnx``.

The file holds the whole graph of the contract (crops in; points, confidences and 3D points out; any number of frame
sets and of views) and its model document. Weights keep their names and batch normalisations stay nodes of their own,
which every runtime folds when it loads the file, so that training can begin again with the file alone
(``training.train --init``).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from engine.models.algebraic import Algebraic
from rigpose.config import validate
from rigpose.errors import ConfigError, MissingError
from rigpose.program import run as run_program
from rigpose.skeleton import Skeleton
from training.checkpoint import Checkpoint, read_checkpoint
from training.config import TrainingConfig

OPSET = 18
MAX_BYTES = 6_000_000
WEIGHTS = "rigpose.weights"
"""Metadata key: arguments of the model, by which `training.warm_start` builds it again."""
INPUTS = ("crops", "crop_to_image", "view_weight", "K", "dist", "fisheye", "Rt", "world")
OUTPUTS = ("points2d", "confidence", "points3d", "residual_px")
FREE: tuple[dict[int, str], ...] = ({0: "B", 1: "V"},) * 3 + ({0: "V"},) * 4 + ({},)
"""Axes of the inputs that may be of any size."""
NET_INPUT, HEAD_IN = "net_input", "head_in"
log = logging.getLogger(__name__)


def example(size: int, batch: int = 2, views: int = 3) -> tuple[torch.Tensor, ...]:
    """Inputs of the graph with a plausible rig."""
    generator = torch.Generator().manual_seed(0)
    angle = torch.arange(views) * (2 * torch.pi / views)
    zero, one = torch.zeros(views), torch.ones(views)
    R = torch.stack([angle.cos(), zero, -angle.sin(), zero, one, zero, angle.sin(), zero, angle.cos()], dim=-1).reshape(
        views, 3, 3
    )
    K = torch.tensor([[float(size), 0, size / 2], [0, float(size), size / 2], [0, 0, 1]]).repeat(views, 1, 1)
    return (
        torch.randint(0, 256, (batch, views, size, size, 3), dtype=torch.uint8, generator=generator),
        torch.tensor([[1.0, 0, 0], [0, 1, 0]]).repeat(batch, views, 1, 1),
        torch.ones(batch, views),
        K,
        torch.zeros(views, 14),
        zero,
        torch.cat([R, torch.tensor([0.0, 0, 1]).repeat(views, 1)[..., None]], dim=-1),
        torch.tensor([0.0, 0, 0, 3000.0]),
    )


def document(checkpoint: Checkpoint) -> dict[str, Any]:
    """The model document, as `engine.document` reads it."""
    config = checkpoint.config
    return {
        "schema": 1,
        "id": config.model.name,
        "domain": "synthetic",
        "licence": "Apache-2.0",
        "source": f"rigpose, trained on the virtual rig by training/configs for {checkpoint.step} steps",
        "skeleton": json.loads(checkpoint.skeleton),
        "input": {
            "name": "crops",
            "layout": "NHWC",
            "dtype": "uint8",
            "size": [config.size, config.size],
            "colour": "BGR",
        },
        "output": {"kind": "graph", "min_score": config.min_score},
        "crop": {"aspect": 1.0, "margin": config.data.crop.margin, "padding": "constant"},
    }


def build(checkpoint: Checkpoint) -> Algebraic:
    """The averaged model of a checkpoint, ready to answer."""
    skeleton = Skeleton.model_validate_json(checkpoint.skeleton)
    model = Algebraic(len(skeleton.joints), **checkpoint.config.model.arguments())
    model.load_state_dict(checkpoint.average)
    return model.eval()


def export(checkpoint: Checkpoint) -> Any:
    """The ONNX model of a checkpoint.

    Raises:
        MissingError: onnx or onnxscript is not installed.
        ConfigError: The file would be larger than the zoo takes.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401  (torch.onnx needs it and says so late)
    except ImportError as error:
        raise MissingError("exporting a network", f"needs {error.name}", "pip install 'rigpose[train]'") from None
    model = build(checkpoint)
    examples = example(checkpoint.config.size)
    batch, views = torch.export.Dim("B", min=1, max=256), torch.export.Dim("V", min=1, max=64)
    free = tuple({axis: {"B": batch, "V": views}[letter] for axis, letter in dims.items()} for dims in FREE)
    program = torch.onnx.export(
        model,
        examples,
        dynamo=True,
        opset_version=OPSET,
        dynamic_shapes=free,
        input_names=list(INPUTS),
        output_names=list(OUTPUTS),
        external_data=False,
        optimize=False,
        verbose=False,
    )
    assert program is not None
    proto = tidied(program, model.state_dict())
    about = {"joints": model.joints, **checkpoint.config.model.arguments()}
    for key, value in (("rigpose.model", document(checkpoint)), (WEIGHTS, about)):
        proto.metadata_props.add(key=key, value=json.dumps(value))
    _check_free(proto)
    check_size(proto, checkpoint.config.model.name)
    return proto


def check_size(proto: Any, name: str) -> None:
    """Refuse what the zoo does not take.

    Raises:
        ConfigError: It is larger than `MAX_BYTES`.
    """
    size = proto.ByteSize()
    if size > MAX_BYTES:
        raise ConfigError(name, f"would be {size / 1e6:.1f} MB, the zoo takes 6", "make the backbone smaller")


def tidied(program: Any, weights: Iterable[str]) -> Any:
    """The exported program with what is constant computed, the contract's tensor names, and no trace of this machine.

    Nothing is computed from the weights: they stay what `training.warm_start` reads.
    """
    from onnx_ir.passes import common
    from onnxscript import optimizer

    kept = set(weights)

    def is_free_of_weights(node: Any) -> bool | None:
        # None leaves it to the optimiser's own rules.
        return False if any(value is not None and value.name in kept for value in node.inputs) else None

    model = program.model
    optimizer.fold_constants(model, onnx_shape_inference=False, should_fold=is_free_of_weights)
    for tidy in (
        common.IdentityEliminationPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.ClearMetadataAndDocStringPass(),
    ):
        tidy(model)
    proto = program.model_proto
    del proto.graph.value_info[:]
    proto.ClearField("metadata_props")
    proto.graph.name = "rigpose"
    _rename(proto.graph, _fed_to(proto.graph, "network.backbone.stem.0.weight").input[0], NET_INPUT)
    _rename(proto.graph, _fed_to(proto.graph, "network.answer.weight").output[0], HEAD_IN)
    return proto


def _check_free(proto: Any) -> None:
    """Refuse what torch may do without a word: fix a dimension to the example's."""
    for value, dims in zip(proto.graph.input, FREE, strict=True):
        for axis in dims:
            if not value.type.tensor_type.shape.dim[axis].dim_param:
                raise RuntimeError(f"axis {axis} of {value.name} was fixed")


def _fed_to(graph: Any, weight: str) -> Any:
    return next(node for node in graph.node if weight in node.input)


def _rename(graph: Any, before: str, after: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == before:
                    names[index] = after


def at_size(checkpoint: Checkpoint, size: int) -> Checkpoint:
    """The same run for pictures of another size: its layers are convolutions, which do not know it.

    Raises:
        ConfigError: The size is none that the backbone takes.
    """
    document = checkpoint.config.model_dump(mode="json")
    document["stages"][-1]["size"] = size
    return replace(checkpoint, config=validate(document, TrainingConfig, f"--size {size}"))


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m training.export",
        description="Write a trained network as one ONNX file that the engine runs.",
        epilog="Example: python -m training.export logs/mannequin17/checkpoint.pt -o mannequin17.onnx",
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="checkpoint.pt of a run")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the .onnx file")
    parser.add_argument("--size", type=int, metavar="PX", help="side of the input, by default that of the last stage")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name in ("onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.WARNING)
    checkpoint = read_checkpoint(options.checkpoint)
    if options.size is not None:
        checkpoint = at_size(checkpoint, options.size)
    data = export(checkpoint).SerializeToString(deterministic=True)
    partial = options.output.with_name(options.output.name + ".part")
    partial.write_bytes(data)
    os.replace(partial, options.output)
    log.info("%s: %.2f MB, step %d of %s", options.output, len(data) / 1e6, checkpoint.step, options.checkpoint)
    return 0


if __name__ == "__main__":
    run_program(main)
