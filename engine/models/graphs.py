"""A model of ours as one ONNX graph with the contract's names, for any number of frame sets and of views.

Weights keep their names and batch normalisations stay nodes of their own, which every runtime folds when it loads the
file, so that training can begin again with the file alone. Needs onnx and onnxscript.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from engine.models.contract import contract, is_volumetric
from rigpose.errors import MissingError

OPSET = 18
INPUTS = ("crops", "crop_to_image", "view_weight", "K", "dist", "fisheye", "Rt", "world")
BASE_INPUTS = ("base_mm", "base_weight")
"""What a volumetric graph takes besides: the middle of its cube, and whether (above 0) that is given."""
OUTPUTS = ("points2d", "confidence", "points3d", "residual_px")
SPREAD = "covariance_mm2"
"""What a volumetric graph says besides: how sure it is of each joint, xx xy xz yy yz zz."""
NET_INPUT, HEAD_IN = "net_input", "head_in"
_MOVES = ("Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
_FREE: tuple[dict[int, str], ...] = ({0: "B", 1: "V"},) * 3 + ({0: "V"},) * 4 + ({},)
_FREE_BASE: tuple[dict[int, str], ...] = ({0: "B"},) * 2


def inputs_of(model: nn.Module) -> tuple[str, ...]:
    """Names of what a model's graph takes."""
    return INPUTS + BASE_INPUTS if is_volumetric(model) else INPUTS


def outputs_of(model: nn.Module) -> tuple[str, ...]:
    """Names of what a model's graph answers."""
    return (*OUTPUTS, SPREAD) if is_volumetric(model) else OUTPUTS


def free_axes(model: nn.Module) -> tuple[dict[int, str], ...]:
    """Axes of the inputs that may be of any size."""
    return _FREE + _FREE_BASE if is_volumetric(model) else _FREE


def example(size: int, batch: int = 2, views: int = 3) -> tuple[torch.Tensor, ...]:
    """`INPUTS` of the graph with a plausible rig."""
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


def example_of(model: nn.Module, size: int, batch: int = 2, views: int = 3) -> tuple[torch.Tensor, ...]:
    """Inputs of a model's graph with a plausible rig."""
    base = (torch.zeros(batch, 3), torch.zeros(batch)) if is_volumetric(model) else ()
    return example(size, batch, views) + base


def as_onnx(model: nn.Module, size: int) -> Any:
    """The ONNX model; it carries no document yet.

    Args:
        model: One of ours or a published one (`engine.models.contract`), in evaluation mode.
        size: Side of the crops in px.

    Raises:
        ConfigError: The model is none that can be one graph.
        MissingError: onnx or onnxscript is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401  (torch.onnx needs it and says so late)
    except ImportError as error:
        raise MissingError("exporting a network", f"needs {error.name}", "pip install 'rigpose[train]'") from None
    model = contract(model)
    dims = {"B": torch.export.Dim("B", min=1, max=256), "V": torch.export.Dim("V", min=1, max=64)}
    free = free_axes(model)
    program = torch.onnx.export(
        model,
        example_of(model, size),
        dynamo=True,
        opset_version=OPSET,
        dynamic_shapes=tuple({axis: dims[letter] for axis, letter in axes.items()} for axes in free),
        input_names=list(inputs_of(model)),
        output_names=list(outputs_of(model)),
        external_data=False,
        optimize=False,
        verbose=False,
    )
    assert program is not None
    proto = tidied(program, model.state_dict())
    _floats_first(proto.graph)
    _name_cuts(proto.graph)
    _check_free(proto, free)
    return proto


def tidied(program: Any, weights: Iterable[str]) -> Any:
    """The exported program with what is constant computed, and no trace of this machine.

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
    return proto


def _floats_first(graph: Any) -> None:
    """Make numbers of the crops' bytes before they are moved: TensorRT moves no bytes, and nothing is slower for it."""
    from onnx import TensorProto, helper

    crops, numbers = INPUTS[0], f"{INPUTS[0]}_float"
    same, moved, kept = {crops: numbers}, {crops}, []
    for node in graph.node:
        if node.input and node.input[0] in moved:
            if node.op_type == "Cast":
                same[node.output[0]] = same.get(node.input[0], node.input[0])
                continue
            if node.op_type in _MOVES:
                moved.update(node.output)
        kept.append(node)
    for node in kept:
        for index, name in enumerate(node.input):
            node.input[index] = same.get(name, name)
    del graph.node[:]
    graph.node.append(helper.make_node("Cast", [crops], [numbers], name=numbers, to=TensorProto.FLOAT))
    graph.node.extend(kept)


def _name_cuts(graph: Any) -> None:
    """Give the tensors before and behind the network the contract's names.

    Of a published network the heatmaps are the cut; its confidences and what its volume is made of pass beside it.
    """
    weights = {weight.name for weight in graph.initializer}
    published = "model.backbone.final_layer.weight" in weights
    trunk = "model.backbone.conv1." if published else "network.backbone."
    first = next(node for node in graph.node if any(name.startswith(trunk) for name in node.input))
    _rename(graph, first.input[0], NET_INPUT)
    behind = _fed_to(graph, "model.backbone.final_layer.weight" if published else "network.answer.weight").output[0]
    if "lift.weight" in weights:
        # The heads' maps and the volume's, side by side.
        lifted = _fed_to(graph, "lift.weight").output[0]
        behind = next(node for node in graph.node if behind in node.input and lifted in node.input).output[0]
    _rename(graph, behind, HEAD_IN)


def _check_free(proto: Any, free: tuple[dict[int, str], ...]) -> None:
    """Refuse what torch may do without a word: fix a dimension to the example's."""
    for value, axes in zip(proto.graph.input, free, strict=True):
        for axis in axes:
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
