"""A network on volumes: encoder and decoder of 3D convolutions (V2V-PoseNet, Moon et al. 2018).

Without arguments it is the network of the published volumetric models (Iskakov et al. 2019), parameter names
included. `SMALL` are arguments for processors without a GPU: less than a hundredth of the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import gcd
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

PUBLISHED_WIDTHS = (32, 64, 128, 128, 128, 128)
NORM_GROUPS = 8
"""Of group normalisation, where the channels can be parted so."""
SMALL: dict[str, Any] = {
    "widths": (24, 32, 64, 64),
    "first": 24,
    "first_kernel": 1,
    "front": 0,
    "skips": 0,
    "decoders": 0,
    "back": 0,
}
"""For volumes of 32 voxels a side: at full size all is pointwise, for there a 3x3x3 convolution costs more than all the
rest."""


def normalisation(channels: int, kind: str) -> nn.Module:
    """A layer of the kind: ``batch`` or ``group``."""
    return nn.BatchNorm3d(channels) if kind == "batch" else nn.GroupNorm(gcd(channels, NORM_GROUPS), channels)


class Convolution3d(nn.Module):
    """Convolution, normalisation, ReLU."""

    def __init__(self, before: int, after: int, kernel: int, norm: str = "batch") -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv3d(before, after, kernel, padding=kernel // 2), normalisation(after, norm), nn.ReLU(inplace=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, S, S, S) to (N, after, S, S, S)."""
        return self.block(x)


class Residual3d(nn.Module):
    """Two convolutions, added to their input; where the channels differ, to a linear map of it."""

    def __init__(self, before: int, after: int, norm: str = "batch") -> None:
        super().__init__()
        self.res_branch = nn.Sequential(
            nn.Conv3d(before, after, 3, padding=1),
            normalisation(after, norm),
            nn.ReLU(inplace=True),
            nn.Conv3d(after, after, 3, padding=1),
            normalisation(after, norm),
        )
        self.skip_con = (
            nn.Sequential()
            if before == after
            else nn.Sequential(nn.Conv3d(before, after, 1), normalisation(after, norm))
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, S, S, S) to (N, after, S, S, S)."""
        return nn.functional.relu(self.res_branch(x) + self.skip_con(x))


class Upsampling3d(nn.Module):
    """To twice the size by a transposed convolution, normalisation, ReLU."""

    def __init__(self, before: int, after: int, norm: str = "batch") -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.ConvTranspose3d(before, after, 2, stride=2), normalisation(after, norm), nn.ReLU(inplace=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, S, S, S) to (N, after, 2 S, 2 S, 2 S)."""
        return self.block(x)


def _residuals(count: int, width: int, norm: str) -> nn.Module:
    """So many blocks: the block itself where it is one, for its parameters' names."""
    blocks = [Residual3d(width, width, norm) for _ in range(count)]
    return blocks[0] if count == 1 else nn.Sequential(*blocks)


class EncoderDecoder(nn.Module):
    """Down by halves and up again, with sums from the way down.

    Args:
        widths: Channels at each size, the largest size first.
        skips: Residual blocks on each way across.
        decoders: Residual blocks before each step up.
        norm: Kind of normalisation.
    """

    def __init__(self, widths: Sequence[int], skips: int, decoders: int, norm: str = "batch") -> None:
        super().__init__()
        self.levels = len(widths) - 1
        for level in range(1, self.levels + 1):
            before, after = widths[level - 1], widths[level]
            self.add_module(f"encoder_res{level}", Residual3d(before, after, norm))
            self.add_module(f"skip_res{level}", _residuals(skips, before, norm))
            self.add_module(f"decoder_res{level}", _residuals(decoders, after, norm))
            self.add_module(f"decoder_upsample{level}", Upsampling3d(after, before, norm))
        self.mid_res = Residual3d(widths[-1], widths[-1], norm)

    def forward(self, x: Tensor) -> Tensor:
        """(N, widths[0], S, S, S) to the same shape."""
        across = []
        for level in range(1, self.levels + 1):
            across.append(self.get_submodule(f"skip_res{level}")(x))
            x = self.get_submodule(f"encoder_res{level}")(nn.functional.max_pool3d(x, 2))
        x = self.mid_res(x)
        for level in range(self.levels, 0, -1):
            x = self.get_submodule(f"decoder_res{level}")(x)
            x = self.get_submodule(f"decoder_upsample{level}")(x) + across.pop()
        return x


class V2V(nn.Module):
    """From volumes of features to volumes of logits, one a joint.

    Args:
        inputs: Channels in.
        joints: Channels out.
        widths: Channels at each size; the side of a volume is a multiple of 2 to the power of their number less one.
        squeeze: Channels that a pointwise convolution leaves before all else; 0: there is none.
        first: Channels of the first convolution.
        first_kernel: Its kernel's side.
        front: Residual blocks at full size before the first step down. Without any, ``first`` is ``widths[0]``.
        skips: Residual blocks on each way across.
        decoders: Residual blocks before each step up.
        back: 1: a residual block and two pointwise convolutions at full size come last; 0: nothing but the output.
        norm: ``batch``, or ``group``: of each volume alone.
    """

    def __init__(
        self,
        inputs: int = 32,
        joints: int = 17,
        *,
        widths: Sequence[int] = PUBLISHED_WIDTHS,
        squeeze: int = 0,
        first: int = 16,
        first_kernel: int = 7,
        front: int = 3,
        skips: int = 1,
        decoders: int = 1,
        back: int = 1,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        if front == 0 and first != widths[0]:
            raise ValueError(f"first {first} must be widths[0] {widths[0]} where front is 0")
        self.squeeze = Convolution3d(inputs, squeeze, 1, norm) if squeeze else nn.Sequential()
        channels = [first, *[widths[0]] * front]
        blocks = [Residual3d(before, after, norm) for before, after in pairwise(channels)]
        self.front_layers = nn.Sequential(Convolution3d(squeeze or inputs, first, first_kernel, norm), *blocks)
        self.encoder_decoder = EncoderDecoder(widths, skips, decoders, norm)
        self.back_layers = nn.Sequential()
        if back:
            last = widths[0]
            self.back_layers = nn.Sequential(
                Residual3d(last, last, norm), Convolution3d(last, last, 1, norm), Convolution3d(last, last, 1, norm)
            )
        self.output_layer = nn.Conv3d(widths[0], joints, 1)
        self.multiple = 2 ** (len(widths) - 1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, volumes: Float[Tensor, "N inputs S S S"]) -> Float[Tensor, "N joints S S S"]:
        """Logits of the joints in each voxel.

        Raises:
            ValueError: A side is no multiple of ``multiple``.
        """
        if any(side % self.multiple for side in volumes.shape[2:]):
            raise ValueError(f"volumes of {list(volumes.shape[2:])} voxels: sides must be multiples of {self.multiple}")
        x = self.encoder_decoder(self.front_layers(self.squeeze(volumes)))
        return self.output_layer(self.back_layers(x))
