"""Write a trained network as one ONNX file: ``python -m training.export CHECKPOINT -o FILE.onnx``.

The file holds the whole graph of the contract (crops in; points, confidences and 3D points out; any number of frame
sets and of views) and its model document. How it is written: `engine.models.graphs`; its weights keep their names, so
that training can begin again with the file alone (``training.train --init``).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from engine.models.graphs import as_onnx
from rigpose.config import validate
from rigpose.errors import ConfigError
from rigpose.program import run as run_program
from rigpose.skeleton import Skeleton
from training.checkpoint import Checkpoint, read_checkpoint
from training.config import TrainingConfig
from training.networks import build as network

MAX_BYTES = 6_000_000
WEIGHTS = "rigpose.weights"
"""Metadata key: arguments of the model, by which `training.warm_start` builds it again."""
log = logging.getLogger(__name__)


def document(checkpoint: Checkpoint) -> dict[str, Any]:
    """The model document, as `engine.document` reads it."""
    config = checkpoint.config
    return {
        "schema": 1,
        "id": config.model.name,
        **_origin(checkpoint),
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


def _origin(checkpoint: Checkpoint) -> dict[str, str]:
    dataset, steps = checkpoint.config.data.dataset, checkpoint.step
    if dataset is None:
        source = f"rigpose, trained on the virtual rig by training/configs for {steps} steps"
        return {"domain": "synthetic", "licence": "Apache-2.0", "source": source}
    source = f"rigpose, trained on {dataset.kind} of {dataset.root.name} for {steps} steps"
    return {"domain": "real", "licence": "as its training data allows", "source": source}


def build(checkpoint: Checkpoint) -> nn.Module:
    """The averaged model of a checkpoint, ready to answer."""
    skeleton = Skeleton.model_validate_json(checkpoint.skeleton)
    model = network(checkpoint.config.model, skeleton)
    model.load_state_dict(checkpoint.average)
    return model.eval()


def graph(checkpoint: Checkpoint) -> Any:
    """The ONNX model of a checkpoint.

    Raises:
        MissingError: onnx or onnxscript is not installed.
        ConfigError: The network is none that can be one graph.
    """
    model = build(checkpoint)
    proto = as_onnx(model, checkpoint.config.size)
    joints = len(Skeleton.model_validate_json(checkpoint.skeleton).joints)
    about = {"joints": joints, **checkpoint.config.model.arguments()}
    for key, value in (("rigpose.model", document(checkpoint)), (WEIGHTS, about)):
        proto.metadata_props.add(key=key, value=json.dumps(value))
    return proto


def export(checkpoint: Checkpoint) -> Any:
    """The same for the zoo.

    Raises:
        MissingError: onnx or onnxscript is not installed.
        ConfigError: The file would be larger than the zoo takes.
    """
    proto = graph(checkpoint)
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
