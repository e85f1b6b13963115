"""The backbones that a network of ours can stand on, by name."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from engine.models.backbone import LiteBackbone
from engine.models.pose_resnet import FEATURES, PoseResNet, Style
from rigpose.errors import ConfigError

LITE, POSE_RESNET = "lite", "pose_resnet"
KINDS = (LITE, POSE_RESNET)


class ResNetBackbone(PoseResNet):
    """A pose ResNet without its heatmaps: its parameters have the names that they have in published files.

    Args:
        layers: 18, 34, 50, 101 or 152.
        style: As in `PoseResNet`.
    """

    def __init__(self, layers: int = 50, style: Style = "simple") -> None:
        super().__init__(layers, joints=1, style=style)
        del self.final_layer
        self.features = FEATURES

    def forward(self, picture: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N 256 H/4 W/4"]:  # type: ignore[override]
        """Maps of a normalised picture whose sides are multiples of 32."""
        self._check(picture.shape[2], picture.shape[3])
        x = self.maxpool(self.relu(self.bn1(self.conv1(picture))))
        return self.deconv_layers(self.layer4(self.layer3(self.layer2(self.layer1(x)))))


def backbone(options: Mapping[str, object]) -> nn.Module:
    """A backbone: pictures in, ``features`` maps at a quarter of their size out.

    Args:
        options: ``kind``, one of `KINDS` (without it, lite), and the arguments of `LiteBackbone` or `ResNetBackbone`.

    Raises:
        ConfigError: There is no such kind.
    """
    arguments = dict(options)
    kind = arguments.pop("kind", LITE)
    if kind == LITE:
        return LiteBackbone(**arguments)  # type: ignore[arg-type]
    if kind == POSE_RESNET:
        return ResNetBackbone(**arguments)  # type: ignore[arg-type]
    raise ConfigError("backbone", f"there is no kind {kind}", f"one of {', '.join(KINDS)}")
