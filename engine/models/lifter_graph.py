"""A lifter as one ONNX file that says what it is. Needs onnx and onnxscript."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from engine.lifter_document import INPUTS, METADATA_KEY, OUTPUTS, LifterDocument, parents_of
from engine.models.graphs import OPSET, tidied
from engine.models.lifter import Lifter
from rigpose.errors import ConfigError, MissingError
from rigpose.skeleton import Skeleton

_FREE: tuple[dict[int, str], ...] = ({0: "B", 1: "V"},) * 2 + ({0: "V"},) * 3


def example(spec_joints: int, window: int, batch: int = 2, views: int = 3) -> tuple[torch.Tensor, ...]:
    """Plausible `INPUTS`: all joints seen by pinhole cameras."""
    generator = torch.Generator().manual_seed(0)
    points = 100 + 400 * torch.rand(batch, views, window, spec_joints, 2, generator=generator)
    K = torch.tensor([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]]).repeat(views, 1, 1)
    return points, torch.ones(points.shape[:-1]), K, torch.zeros(views, 14), torch.zeros(views)


def describe(lifter: Lifter, skeleton: Skeleton, **about: Any) -> LifterDocument:
    """The document of a lifter.

    Args:
        lifter: Whose spec and calibration it says.
        skeleton: Its joints.
        about: ``id, domain, licence, source, size_mm, size_spread``.
    """
    spec = lifter.spec
    return LifterDocument.model_validate(
        {
            "schema": 1,
            "skeleton": skeleton,
            "roots": spec.roots,
            "mode": spec.mode,
            "window": spec.window,
            "out": spec.out,
            "needs_all": spec.needs_all,
            "parents": parents_of(skeleton, spec.roots),
            "calibration": {"sigma_scale": float(lifter.sigma_scale)},
            **about,
        }
    )


def as_onnx(lifter: Lifter, document: LifterDocument) -> Any:
    """The ONNX model with its document in the metadata.

    Args:
        lifter: In evaluation mode.
        document: What it says about itself.

    Raises:
        ConfigError: The document is another lifter's.
        MissingError: onnx or onnxscript is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401  (torch.onnx needs it and says so late)
    except ImportError as error:
        raise MissingError("exporting a lifter", f"needs {error.name}", "pip install 'rigpose[train]'") from None
    spec = lifter.spec
    said = (len(document.skeleton.joints), document.window, document.roots, document.mode)
    if said != (spec.joints, spec.window, spec.roots, spec.mode):
        raise ConfigError(document.id, "describes another lifter than the one that is exported", "describe this one")
    dims = {"B": torch.export.Dim("B", min=1, max=4096), "V": torch.export.Dim("V", min=1, max=64)}
    program = torch.onnx.export(
        lifter.eval(),
        example(spec.joints, spec.window),
        dynamo=True,
        opset_version=OPSET,
        dynamic_shapes=tuple({axis: dims[letter] for axis, letter in axes.items()} for axes in _FREE),
        input_names=list(INPUTS),
        output_names=list(OUTPUTS),
        external_data=False,
        optimize=False,
        verbose=False,
    )
    assert program is not None
    proto = tidied(program, lifter.state_dict())
    for value, axes in zip(proto.graph.input, _FREE, strict=True):
        for axis in axes:
            if not value.type.tensor_type.shape.dim[axis].dim_param:
                raise RuntimeError(f"axis {axis} of {value.name} was fixed")
    proto.metadata_props.add(key=METADATA_KEY, value=document.to_json())
    return proto


def write_lifter(lifter: Lifter, document: LifterDocument, path: str | Path) -> None:
    """Write the file whole or not at all; an older one of that name is replaced.

    Raises:
        ConfigError: The document is another lifter's.
        MissingError: onnx or onnxscript is not installed.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(as_onnx(lifter, document).SerializeToString())
    os.replace(partial, path)
