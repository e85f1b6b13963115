"""Pose ResNets: a residual network with three transposed convolutions on top, maps at a quarter of the input.

The network is that of "Simple Baselines for Human Pose Estimation" (Xiao et al. 2018) over "Deep Residual
Learning" (He et al. 2016), with the heads for confidences of "Learnable Triangulation of Human Pose"
(Iskakov et al. 2019). The names of its parts are the keys of published files, so that these load as they
are; `engine.models.published` knows the files.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from rigpose.errors import ConfigError

STRIDE = 4
"""Input px in one cell of the maps."""
DEEPEST = 32
"""A side of the input is a multiple of this."""
FEATURES = 256
"""Maps that the heatmaps are read from."""
DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Blocks in each of the four stages, by the number of layers."""
SMALLEST_JUDGED = 128
"""Px: below this a side has nothing left after the two poolings of a confidence head."""
_WIDTHS = (64, 128, 256, 512)

Style = Literal["simple", "caffe"]


class Maps(NamedTuple):
    """What the network says of pictures.

    Attributes:
        heatmaps: (N, J, h, w), before any softmax.
        features: (N, 256, h, w) from which the heatmaps are one 1x1 convolution away.
        alg_confidence: (N, J) in 0..1, where the network has that head.
        vol_confidence: (N, C) in 0..1, likewise.
    """

    heatmaps: Float[Tensor, "N J h w"]
    features: Float[Tensor, "N 256 h w"]
    alg_confidence: Float[Tensor, "N J"] | None
    vol_confidence: Float[Tensor, "N C"] | None


def _convolution(before: int, after: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)


class _Residual(nn.Module):
    """What both kinds of blocks share: the way around, and the sum."""

    downsample: nn.Module | None

    def _around(self, before: int, after: int, stride: int) -> None:
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(_convolution(before, after, 1, stride), nn.BatchNorm2d(after))

    def _through(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, h, w) to (N, after, h / stride, w / stride)."""
        around = x if self.downsample is None else self.downsample(x)
        return self.relu(self._through(x) + around)


class Basic(_Residual):
    """Two 3x3 convolutions."""

    EXPANSION = 1

    def __init__(self, before: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(before, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _convolution(width, width, 3), nn.BatchNorm2d(width)
        self._around(before, width, stride)

    def _through(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))


class Bottleneck(_Residual):
    """Narrow, filter, widen.

    Args:
        before: Channels in.
        width: Channels between; four times as many come out.
        stride: 1 or 2.
        style: Whether the filter has the stride ("simple") or what narrows ("caffe").
    """

    EXPANSION = 4

    def __init__(self, before: int, width: int, stride: int = 1, style: Style = "simple") -> None:
        super().__init__()
        after = width * self.EXPANSION
        first, second = (stride, 1) if style == "caffe" else (1, stride)
        self.conv1, self.bn1 = _convolution(before, width, 1, first), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _convolution(width, width, 3, second), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _convolution(width, after, 1), nn.BatchNorm2d(after)
        self._around(before, after, stride)

    def _through(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


class ConfidenceHead(nn.Module):
    """How far to trust a view, from the deepest maps of its picture.

    Args:
        before: Channels in.
        count: Numbers out.
    """

    def __init__(self, before: int, count: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for into, out in ((before, 512), (512, 256)):
            layers += [nn.Conv2d(into, out, 3, padding=1), nn.BatchNorm2d(out), nn.MaxPool2d(2), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Linear(256, 512),
            nn.ReLU(inplace=True),
            nn.Linear(512, 256),
            nn.ReLU(inplace=True),
            nn.Linear(256, count),
            nn.Sigmoid(),
        )

    def forward(self, x: Float[Tensor, "N C h w"]) -> Float[Tensor, "N count"]:
        """Numbers in 0..1."""
        return self.head(self.features(x).mean(dim=(2, 3)))


class PoseResNet(nn.Module):
    """Pictures to heatmaps and features at a quarter of their size.

    Args:
        layers: 18, 34, 50, 101 or 152.
        joints: J.
        style: Where the stride of a bottleneck stands; published files are "simple".
        alg_confidences: Whether each view gets a confidence a joint.
        vol_confidences: Numbers that a view gets for volumetric aggregation; 0 for none.

    Raises:
        ConfigError: There is no such network.
    """

    def __init__(
        self,
        layers: int = 152,
        joints: int = 17,
        style: Style = "simple",
        *,
        alg_confidences: bool = False,
        vol_confidences: int = 0,
    ) -> None:
        super().__init__()
        if layers not in DEPTHS:
            raise ConfigError("layers", f"no pose ResNet has {layers}", f"one of {', '.join(map(str, DEPTHS))}")
        if style not in ("simple", "caffe"):
            raise ConfigError("style", f"{style} is none", "simple or caffe")
        if style == "caffe" and layers < 50:
            raise ConfigError("style", f"{layers} layers have no bottleneck for caffe's stride", "50 or more")
        self.joints = joints
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        before, stages = 64, []
        for stage, (width, depth) in enumerate(zip(_WIDTHS, DEPTHS[layers], strict=True)):
            blocks: list[nn.Module] = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                block = Basic(before, width, stride) if layers < 50 else Bottleneck(before, width, stride, style)
                blocks.append(block)
                before = width * block.EXPANSION
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.alg_confidences = ConfidenceHead(before, joints) if alg_confidences else None
        self.vol_confidences = ConfidenceHead(before, vol_confidences) if vol_confidences else None
        up: list[nn.Module] = []
        for into in (before, FEATURES, FEATURES):
            up += [
                nn.ConvTranspose2d(into, FEATURES, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(FEATURES),
                nn.ReLU(inplace=True),
            ]
        self.deconv_layers = nn.Sequential(*up)
        self.final_layer = nn.Conv2d(FEATURES, joints, 1)
        self._start()

    def _start(self) -> None:
        # He et al. 2015 on the way down, small normal weights on the way up (Xiao et al. 2018).
        for name, module in self.named_modules():
            if isinstance(module, nn.ConvTranspose2d) or name == "final_layer":
                nn.init.normal_(module.weight, std=0.001)  # type: ignore[arg-type]
            elif isinstance(module, nn.Conv2d) and module.bias is None:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.final_layer.bias)  # type: ignore[arg-type]

    def _check(self, height: int, width: int) -> None:
        if height % DEEPEST or width % DEEPEST:
            raise ConfigError(
                "picture", f"{width} x {height} px is not what the network divides by {DEEPEST}", "change its size"
            )
        judged = self.alg_confidences is not None or self.vol_confidences is not None
        if judged and min(height, width) < SMALLEST_JUDGED:
            raise ConfigError(
                "picture",
                f"{width} x {height} px leave nothing to a confidence head",
                f"at least {SMALLEST_JUDGED} px a side",
            )

    def forward(self, picture: Float[Tensor, "N 3 H W"]) -> Maps:
        """Maps of normalised pictures.

        Raises:
            ConfigError: A side is no multiple of 32, or too short for a confidence head.
        """
        self._check(picture.shape[2], picture.shape[3])
        x = self.maxpool(self.relu(self.bn1(self.conv1(picture))))
        deepest = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        features = self.deconv_layers(deepest)
        return Maps(
            heatmaps=self.final_layer(features),
            features=features,
            alg_confidence=None if self.alg_confidences is None else self.alg_confidences(deepest),
            vol_confidence=None if self.vol_confidences is None else self.vol_confidences(deepest),
        )
