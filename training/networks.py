"""All kinds of networks that are trained: what a config's model becomes, what it learns by and what it answers.

Here and nowhere else is it told which is which; the loop, checkpoints and the export know no kind.
"""

from __future__ import annotations

from torch import nn

from engine.models.algebraic import Algebraic
from engine.models.volumetric import Volumetric
from rigpose.skeleton import Skeleton
from training import predict as ours
from training.config import TrainingConfig
from training.losses import Batch, Mean, Objective, alone
from training.model_sections import AnyModelSection
from training.predict import Prediction


def build(section: AnyModelSection, skeleton: Skeleton) -> nn.Module:
    """The network of a config, with random weights."""
    joints = len(skeleton.joints)
    if section.volume is None:
        return Algebraic(joints, **section.arguments())
    return Volumetric(joints, root=skeleton.root, **section.arguments())


def objective(model: nn.Module, config: TrainingConfig, mean: Mean = alone) -> nn.Module:
    """A network with its losses as one module, which is what DistributedDataParallel wraps.

    Its ``forward(batch, position_share, chances, autocast)`` gives a NamedTuple of scalars: first ``total``, the rest
    is for the report.

    Args:
        model: What `build` made.
        config: The run's.
        mean: Over the processes that share a batch.
    """
    assert isinstance(model, Algebraic)
    return Objective(model, config.loss, mean)


def predict(model: nn.Module, batch: Batch) -> Prediction:
    """A network's answer in float32, in evaluation mode."""
    assert isinstance(model, Algebraic)
    return ours.predict(model, batch)
