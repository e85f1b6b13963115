"""The networks inside a lifter: what each frame's features are made of stands in `engine.models.lifter`.

`ResidualBody` is the network of Martinez et al. 2017 ("A simple yet effective baseline for 3D human pose estimation")
as LiftPose3D uses it (Gosztolai et al. 2021). `CausalBody` is the causal temporal network of Pavllo et al. 2019 ("3D
human pose estimation in video with temporal convolutions"), of which only the newest frame's answer is computed.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rigpose.errors import ConfigError

KERNEL = 3
"""Frames that one temporal convolution looks at; windows are powers of it."""
_MOST_TIED = 4.0
"""How much of an axis's deviation may come from another's, in units of its own."""


class Stage(nn.Module):
    """``y = x + f(x)`` with two layers in f.

    Args:
        width: Of the layers.
        dropout: Share of values that are dropped in training.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layer(width, width, dropout), *layer(width, width, dropout))

    def forward(self, x: Float[Tensor, "N W"]) -> Float[Tensor, "N W"]:
        """One stage."""
        return x + self.layers(x)


def layer(inputs: int, outputs: int, dropout: float) -> tuple[nn.Module, ...]:
    """Linear, batch normalisation, ReLU, dropout."""
    return nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(), nn.Dropout(dropout)


class ResidualBody(nn.Module):
    """A layer, residual stages of two layers each, and a linear answer.

    Args:
        inputs: Features.
        outputs: Numbers in the answer.
        width: Of the layers.
        stages: Residual stages.
        dropout: Share of values that are dropped in training.
    """

    def __init__(self, inputs: int, outputs: int, width: int = 1024, stages: int = 2, dropout: float = 0.5) -> None:
        super().__init__()
        self.first = nn.Sequential(*layer(inputs, width, dropout))
        self.stages = nn.Sequential(*(Stage(width, dropout) for _ in range(stages)))
        self.answer = nn.Linear(width, outputs)
        begin(self)

    def forward(self, features: Float[Tensor, "N 1 F"]) -> Float[Tensor, "N out"]:
        """The answer for one frame."""
        return self.answer(self.stages(self.first(features[:, -1])))


class CausalStage(nn.Module):
    """A residual stage that makes one frame of each three; what is added is the newest of them.

    Args:
        width: Channels.
        dropout: Share of values that are dropped in training.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.wide = nn.Conv1d(width, width, KERNEL, stride=KERNEL, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.point = nn.Conv1d(width, width, 1, bias=False)
        self.point_norm = nn.BatchNorm1d(width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "N W T"]) -> Float[Tensor, "N W t"]:
        """A third of the frames."""
        y = self.drop(self.norm(self.wide(x)).relu())
        y = self.drop(self.point_norm(self.point(y)).relu())
        return x[..., KERNEL - 1 :: KERNEL] + y


class CausalBody(nn.Module):
    """Dilated causal convolutions over a window, as strided ones: the same numbers for the newest frame at less cost.

    Args:
        inputs: Features of a frame.
        outputs: Numbers in the answer.
        window: Frames, a power of three from 3 on.
        width: Channels.
        dropout: Share of values that are dropped in training.

    Raises:
        ConfigError: The window is no power of three.
    """

    def __init__(self, inputs: int, outputs: int, window: int, width: int = 256, dropout: float = 0.1) -> None:
        super().__init__()
        stages, frames = 0, KERNEL
        while frames < window:
            stages, frames = stages + 1, frames * KERNEL
        if frames != window:
            raise ConfigError("window", f"{window} frames are no power of {KERNEL}", "give 3, 9, 27 or 81")
        self.first = nn.Conv1d(inputs, width, KERNEL, stride=KERNEL, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.drop = nn.Dropout(dropout)
        self.stages = nn.Sequential(*(CausalStage(width, dropout) for _ in range(stages)))
        self.answer = nn.Linear(width, outputs)
        begin(self)

    def forward(self, features: Float[Tensor, "N T F"]) -> Float[Tensor, "N out"]:
        """The answer for the newest frame."""
        x = self.drop(self.norm(self.first(features.mT)).relu())
        return self.answer(self.stages(x)[..., -1])


def begin(body: nn.Module) -> None:
    """Random weights as He et al. 2015 draw them; biases stay as torch draws them."""
    for module in body.modules():
        if isinstance(module, nn.Linear | nn.Conv1d):
            nn.init.kaiming_normal_(module.weight)


def parameters(body: nn.Module) -> int:
    """How many numbers it learns."""
    return sum(parameter.numel() for parameter in body.parameters())


def triangle(raw: Float[Tensor, "*n 6"], deviation: tuple[float, float]) -> Float[Tensor, "*n 3 3"]:
    """A lower triangular matrix with a positive diagonal of six free numbers: the Cholesky factor of a covariance.

    It is a diagonal times a matrix with ones on its diagonal whose other entries are bounded, so that the covariance
    stays one in float32 whatever a network says.

    Args:
        raw: Logarithms of the diagonal, then the rest.
        deviation: Between which the diagonal is held, so that no joint is ever surer than can be.
    """
    a, b, c = raw[..., :3].clamp(math.log(deviation[0]), math.log(deviation[1])).exp().unbind(dim=-1)
    ab, ac, bc = (_MOST_TIED * torch.tanh(raw[..., 3:] / _MOST_TIED)).unbind(dim=-1)
    zero = torch.zeros_like(a)
    rows = [torch.stack(row, dim=-1) for row in ((a, zero, zero), (ab * b, b, zero), (ac * c, bc * c, c))]
    return torch.stack(rows, dim=-2)
