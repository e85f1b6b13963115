"""All kinds of networks that are trained: what a config's model becomes, what it learns by and what it answers.

Here and nowhere else is it told which is which; the loop, checkpoints and the export know no kind.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import nn

from engine.models.algebraic import Algebraic
from engine.models.published import PublishedAlgebraic, PublishedRansac, PublishedVolumetric
from engine.models.volumetric import Volumetric
from rigpose.errors import ConfigError
from rigpose.skeleton import Skeleton
from training import predict as ours
from training.config import CriterionSection, LossSection, TrainingConfig
from training.losses import Batch, Mean, Objective, alone
from training.model_sections import (
    AnyModelSection,
    ModelSection,
    PublishedAlgebraicSection,
    PublishedRansacSection,
    PublishedVolumetricSection,
)
from training.predict import Look, Prediction, projected
from training.pretrained import with_backbone
from training.published import PublishedObjective, predict_published
from training.warm_start import Beginning


def build(section: AnyModelSection, skeleton: Skeleton) -> nn.Module:
    """The network of a config, with random weights."""
    joints, arguments = len(skeleton.joints), section.arguments()
    if isinstance(section, PublishedAlgebraicSection):
        return PublishedAlgebraic(joints, **arguments)
    if isinstance(section, PublishedRansacSection):
        return PublishedRansac(joints, **arguments)
    if isinstance(section, PublishedVolumetricSection):
        return PublishedVolumetric(joints, root=skeleton.root, **arguments)
    if section.volume is None:
        return Algebraic(joints, **arguments)
    return Volumetric(joints, root=skeleton.root, **arguments)


def learns(section: AnyModelSection) -> bool:
    """Whether there is anything in a network that could be trained."""
    return not isinstance(section, PublishedRansacSection)


def begun(model: nn.Module, section: AnyModelSection) -> Beginning | None:
    """What its config has a network begin with; ``None`` = random weights.

    Raises:
        ConfigError: The file cannot be read, or is of another backbone.
    """
    if isinstance(section, ModelSection) or section.backbone_weights is None:
        return None
    file = section.backbone_weights
    return Beginning(with_backbone(file, model), f"the backbone of {file.name}")


def placed(model: nn.Module, device: torch.device) -> nn.Module:
    """A network on a device, its weights for pictures in the order that suits it; those for volumes keep theirs."""
    for module in model.to(device).modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def objective(model: nn.Module, config: TrainingConfig, mean: Mean = alone) -> nn.Module:
    """A network with its losses as one module, which is what DistributedDataParallel wraps.

    Its ``forward(batch, position_share, chances, autocast)`` gives a NamedTuple of scalars: first ``total``, the rest
    is for the report.

    Args:
        model: What `build` made.
        config: The run's.
        mean: Over the processes that share a batch.

    Raises:
        ConfigError: It has nothing that could be learned.
    """
    if isinstance(model, PublishedRansac):
        raise ConfigError(config.model.name, "is a consensus, which learns nothing", "judge it with --eval")
    if isinstance(model, PublishedAlgebraic | PublishedVolumetric):
        return PublishedObjective(model, cast(CriterionSection, config.loss), mean)
    assert isinstance(model, Algebraic)
    return Objective(model, cast(LossSection, config.loss), mean)


def predict(model: nn.Module, batch: Batch) -> Prediction:
    """A network's answer in float32, in evaluation mode.

    A volumetric network lays its cube about the batch's ``base_mm``; where that is NaN it finds the place itself.
    """
    if isinstance(model, PublishedAlgebraic | PublishedRansac | PublishedVolumetric):
        return replace(predict_published(model, batch), keys=batch.keys)
    assert isinstance(model, Algebraic)
    return replace(ours.predict(model, batch), keys=batch.keys)


def look(model: nn.Module, batch: Batch) -> Look:
    """What a network sees in the pictures, to be drawn: where it has no points of its own, those of its 3D answer."""
    if isinstance(model, Algebraic):
        return ours.look(model, batch)
    return Look(projected(predict(model, batch).position_mm, batch), None)
