"""The lite backbone: a picture in, maps at a quarter of its size out, small enough for two CPU cores.

Inverted residuals (Sandler et al. 2018) down to 1/32, then a way back up of nearest-neighbour steps and
depthwise-separable convolutions with sums from the way down (a feature pyramid, Lin et al. 2017). No
transposed convolution, and ReLU6 throughout: every layer has an int8 form on CPUs. The first stage
has full 3x3 convolutions instead of depthwise pairs (Gupta and Tan 2019): at few channels they cost
no more time and see more.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

from jaxtyping import Float
from torch import Tensor, nn

STRIDE = 4
"""Input px in one cell of the maps."""
DEEPEST = 32
"""A side of the input is a multiple of this."""
FUSED_EXPANSION = 2
"""Of the stage at 1/4, whose full convolutions are the dearest."""


NORM_GROUPS = 8
"""Of group normalisation, where the channels can be parted so."""


def normalisation(channels: int, kind: str) -> nn.Module:
    """A layer of the kind: ``batch`` or ``group``."""
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(gcd(channels, NORM_GROUPS), channels)


class Convolution(nn.Sequential):
    """Convolution, normalisation and, unless linear, ReLU6."""

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        linear: bool = False,
        norm: str = "batch",
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False),
            normalisation(after, norm),
        ]
        super().__init__(*layers, *([] if linear else [nn.ReLU6(inplace=True)]))


class InvertedResidual(nn.Module):
    """Widen, filter, narrow; added to its input where the shapes allow it.

    Args:
        before: Channels in.
        after: Channels out.
        expansion: Channels between, over channels in.
        stride: 1 or 2.
        fused: Widen and filter in one full 3x3 convolution.
        norm: Kind of normalisation.
    """

    def __init__(
        self, before: int, after: int, expansion: int, *, stride: int = 1, fused: bool = False, norm: str = "batch"
    ) -> None:
        super().__init__()
        wide = before * expansion
        filters = (
            [Convolution(before, wide, 3, stride=stride, norm=norm)]
            if fused
            else [
                Convolution(before, wide, norm=norm),
                Convolution(wide, wide, 3, stride=stride, groups=wide, norm=norm),
            ]
        )
        self.branch = nn.Sequential(*filters, Convolution(wide, after, linear=True, norm=norm))
        self.adds = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, h, w) to (N, after, h / stride, w / stride)."""
        return x + self.branch(x) if self.adds else self.branch(x)


class Separable(nn.Sequential):
    """A depthwise 3x3 convolution and a pointwise one."""

    def __init__(self, before: int, after: int, norm: str = "batch") -> None:
        super().__init__(
            Convolution(before, before, 3, groups=before, linear=True, norm=norm),
            Convolution(before, after, norm=norm),
        )


class LiteBackbone(nn.Module):
    """Maps at a quarter of the input's size.

    Args:
        channels: Of the stem and of the stages at 1/4, 1/8, 1/16 and 1/32.
        blocks: Inverted residuals in each of the four stages.
        expansion: Of the inverted residuals from 1/8 on.
        neck: Channels on the way up.
        features: Channels of the maps that come out.
        norm: ``batch``, or ``group``: of each picture alone.
    """

    def __init__(
        self,
        channels: Sequence[int] = (16, 24, 40, 80, 128),
        blocks: Sequence[int] = (2, 3, 3, 2),
        expansion: int = 4,
        neck: int = 64,
        features: int = 64,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        self.stem = Convolution(3, channels[0], 3, stride=2, norm=norm)
        stages, laterals = [], []
        before = channels[0]
        for level, (after, count) in enumerate(zip(channels[1:], blocks, strict=True)):
            layers = []
            for block in range(count):
                stride = 2 if block == 0 else 1
                wider = FUSED_EXPANSION if level == 0 else expansion
                layers.append(InvertedResidual(before, after, wider, stride=stride, fused=level == 0, norm=norm))
                before = after
            stages.append(nn.Sequential(*layers))
            laterals.append(Convolution(after, neck, linear=True, norm=norm))
        self.stages = nn.ModuleList(stages)
        self.laterals = nn.ModuleList(laterals)
        self.up = nn.ModuleList(Separable(neck, neck, norm) for _ in channels[2:])
        self.last = Separable(neck, features, norm)
        self.features = features
        self._start()

    def _start(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for module in self.modules():
            if isinstance(module, InvertedResidual) and module.adds:
                # A block begins as the identity, so that depth costs nothing at first (Goyal et al. 2017).
                nn.init.zeros_(module.branch[-1][1].weight)

    def forward(self, picture: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N features H/4 W/4"]:
        """Maps of a normalised picture whose sides are multiples of 32."""
        x = self.stem(picture)
        levels = []
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            x = stage(x)
            levels.append(lateral(x))
        x = levels.pop()
        for up in reversed(self.up):
            x = up(nn.functional.interpolate(x, scale_factor=2.0, mode="nearest") + levels.pop())
        return self.last(x)
