"""Weights for a beginning from files that ``torch.save`` wrote: of published networks, and of backbones."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import nn

from engine.models.published import PublishedAlgebraic, PublishedRansac, PublishedVolumetric
from engine.models.weights import load, load_backbone, read_weights
from rigpose.errors import ConfigError

_BY_JOINT = ("backbone.final_layer", "backbone.alg_confidences.head.4", "volume_net.output_layer")
"""Layers whose outputs are one a joint."""
log = logging.getLogger(__name__)


def published_weights(path: Path, model: nn.Module, *, strict: bool = False) -> dict[str, torch.Tensor]:
    """The state dict for a published network, from a file of the same network: all its tensors, and no others.

    The network may have other joints than the file. Of layers that answer joint by joint the first are then taken where
    the file has more, and where it has fewer the layer stays as the model has it; the log says so.

    Args:
        path: A published file, or a checkpoint of a run of such a network.
        model: What begins; its weights are overwritten.
        strict: Refuse a file of other joints.

    Raises:
        ConfigError: The file cannot be read, is of another network, or the model is none that was published.
    """
    if not isinstance(model, PublishedAlgebraic | PublishedRansac | PublishedVolumetric):
        what = "holds the weights of a published network, and the config's is none of these"
        raise ConfigError(path, what, "set model.kind: published, or give an .onnx that training.export wrote")
    state, own = read_weights(path), model.state_dict()
    for layer in () if strict else _BY_JOINT:
        key = f"{layer}.weight"
        if key not in state or key not in own or state[key].shape[1:] != own[key].shape[1:]:
            continue
        theirs, joints = len(state[key]), len(own[key])
        if theirs == joints:
            continue
        kept = theirs > joints
        for name in (key, f"{layer}.bias"):
            state[name] = state[name][:joints] if kept else own[name]
        told = f"the first {joints} of its {theirs} outputs are kept" if kept else f"begins anew, it had {theirs}"
        log.warning("%s: %s: %s", path.name, layer, told)
    try:
        load(model, state)
    except ConfigError as error:
        raise ConfigError(path, f"is not of this network: {error.what}", error.remedy) from None
    return model.state_dict()


def with_backbone(path: Path, model: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict of a published network whose backbone begins with a file's, see `load_backbone`.

    Args:
        path: Of a pose ResNet, of a classifier, of a published network, or a checkpoint of a run of one.
        model: What begins; its weights are overwritten.

    Raises:
        ConfigError: The file cannot be read, or is of another backbone.
    """
    assert isinstance(model, PublishedAlgebraic | PublishedRansac | PublishedVolumetric)
    try:
        left = load_backbone(model.backbone, read_weights(path))
    except ConfigError as error:
        raise ConfigError(path, error.what, error.remedy) from None
    parts = sorted({key.partition(".")[0] for key in left})
    log.info("the backbone begins with %s%s", path.name, f", but for {', '.join(parts)}" if parts else "")
    return model.state_dict()
