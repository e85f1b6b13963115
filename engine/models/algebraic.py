"""Algebraic triangulation with learned confidences (Iskakov et al. 2019), as one module and one graph.

Each view gives heatmaps and a few maps more; a soft-argmax turns a heatmap into a point, and what the maps
show around that point, together with the heatmap's shape, into a confidence. The confidences weigh the
views in `calib.triangulate`, which is differentiable, so that they are learned through the 3D error. The
same functions run in training, in the exported graph and in the solvers.

A confidence is also held to what it says: near 1 where the point is nearer to the truth than
`CONFIDENT_SHARE` of the picture's side, near 0 where it is several times further (`training.losses`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from array_api_compat import array_namespace
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from calib.rig import RigArrays
from calib.triangulate import solve_normalised, triangulate_with_residuals
from engine.models import implicit
from engine.models.backbone import STRIDE
from engine.models.backbones import backbone as make_backbone

CONFIDENT_SHARE = 0.025
"""Of the picture's side: the 2D error at which a confidence should be 0.6."""
MEAN = 110.0
STD = 60.0
"""Of the pixels, all channels alike: BGR as it comes needs no exchange of channels."""
FARTHEST = 100.0
"""Units of the rig (its cameras' mean distance) beyond which training knows no point."""
_SHAPES = 3


class Seen(NamedTuple):
    """What the network sees in pictures, each for itself.

    Attributes:
        logits: (N, J, h, w); their softmax says where the joint is.
        points: (N, J, 2) px of the picture, (0, 0) the centre of its first pixel.
        confidence: (N, J) in 0..1.
        features: (N, C, h, w) maps that more can be read from: the backbone's, or what a model makes of them.
    """

    logits: Float[Tensor, "N J h w"]
    points: Float[Tensor, "N J 2"]
    confidence: Float[Tensor, "N J"]
    features: Float[Tensor, "N C h w"] | None = None


class Answer(NamedTuple):
    """The outputs of the contract."""

    points2d: Float[Tensor, "B V J 2"]
    confidence: Float[Tensor, "B V J"]
    points3d: Float[Tensor, "B J 3"]
    residual_px: Float[Tensor, "B V J"]


class Head(nn.Module):
    """From maps to points and confidences; always in float32.

    Args:
        joints: J.
        context: Maps beside the heatmaps that the confidence is read from.
        hidden: Width of the layer between.
    """

    def __init__(self, joints: int, context: int, hidden: int = 32) -> None:
        super().__init__()
        self.joints = joints
        self.log_temperature = nn.Parameter(torch.zeros(joints, 1))
        self.joint_bias = nn.Parameter(torch.zeros(joints, hidden))
        self.read = nn.Linear(context + _SHAPES, hidden)
        self.judge = nn.Linear(hidden, 1)

    def forward(self, maps: Float[Tensor, "N C h w"]) -> Seen:
        """Maps (N, J + context, h, w) to what they say."""
        height, width = maps.shape[2:]
        logits, context = maps[:, : self.joints], maps[:, self.joints :].flatten(2)
        scaled = logits.flatten(2) * self.log_temperature.exp()
        heat = scaled.softmax(dim=-1)
        grid = self._grid(height, width, maps)
        cells = torch.matmul(heat, grid)
        points = cells[..., :2]
        # The variance of where the joint may be, from second moments; the peak; both without units.
        spread = ((cells[..., 2:] - points * points).sum(dim=-1, keepdim=True) + 1e-6).clamp(min=1e-6).sqrt()
        peak = heat.amax(dim=-1, keepdim=True)
        shape = torch.cat([peak, spread * (4.0 / width), (spread + 0.1).log()], dim=-1)
        pooled = torch.matmul(heat, context.transpose(1, 2))
        hidden = torch.relu(self.read(torch.cat([pooled, shape], dim=-1)) + self.joint_bias)
        confidence = torch.sigmoid(self.judge(hidden)[..., 0])
        return Seen(logits, (points + 0.5) * STRIDE - 0.5, confidence)

    @staticmethod
    def _grid(height: int, width: int, like: Tensor) -> Float[Tensor, "cells 4"]:
        x = torch.arange(width, dtype=like.dtype, device=like.device).repeat(height)
        y = torch.arange(height, dtype=like.dtype, device=like.device).repeat_interleave(width)
        return torch.stack([x, y, x * x, y * y], dim=-1)


class Network(nn.Module):
    """What comes before the cut: a normalised picture in, heatmaps and context out, as one tensor.

    Args:
        joints: J.
        context: Maps beside the heatmaps.
        backbone: What `engine.models.backbones.backbone` takes.
    """

    def __init__(self, joints: int, context: int, backbone: Mapping[str, object]) -> None:
        super().__init__()
        self.backbone = make_backbone(backbone)
        self.answer = nn.Conv2d(int(self.backbone.features), joints + context, 1)  # type: ignore[arg-type]
        nn.init.normal_(self.answer.weight, std=0.02)
        nn.init.zeros_(self.answer.bias)  # type: ignore[arg-type]

    def forward(self, net_input: Float[Tensor, "N 3 H W"]) -> tuple[Tensor, Tensor]:
        """Maps at a quarter of the picture's size (N, C, H / 4, W / 4), and the backbone's that they come from."""
        features = self.backbone(net_input)
        return self.answer(features), features


class Algebraic(nn.Module):
    """Pictures of several views in, points, confidences and 3D points out.

    Args:
        joints: J.
        context: Maps that the confidences are read from.
        backbone: What `engine.models.backbones.backbone` takes; without it the lite one.
        confidences: ``False`` weighs all views alike: the same network without what this paper adds.
    """

    def __init__(
        self,
        joints: int,
        *,
        context: int = 32,
        backbone: Mapping[str, object] | None = None,
        confidences: bool = True,
    ) -> None:
        super().__init__()
        self.joints = joints
        self.confidences = confidences
        self.network = Network(joints, context, backbone or {})
        self.head = Head(joints, context)

    def see(self, pictures: UInt8[Tensor, "N H W 3"], autocast: torch.dtype | None = None) -> Seen:
        """What each picture shows.

        Args:
            pictures: BGR.
            autocast: Lower precision of the network; the head stays in float32.
        """
        net_input = normalised(pictures)
        with torch.autocast(net_input.device.type, autocast, enabled=autocast is not None):
            head_in, features = self.network(net_input)
        return self.head(head_in.float())._replace(features=features)

    def weights(self, confidence: Float[Tensor, "B V J"], view_weight: Float[Tensor, "B V"]) -> Float[Tensor, "B V J"]:
        """How much each view's point counts."""
        return (confidence if self.confidences else torch.ones_like(confidence)) * view_weight[:, :, None]

    def forward(
        self,
        crops: UInt8[Tensor, "B V H W 3"],
        crop_to_image: Float[Tensor, "B V 2 3"],
        view_weight: Float[Tensor, "B V"],
        K: Float[Tensor, "V 3 3"],
        dist: Float[Tensor, "V 14"],
        fisheye: Float[Tensor, " V"],
        Rt: Float[Tensor, "V 3 4"],
        world: Float[Tensor, " 4"],
    ) -> Answer:
        """The graph of the contract: one rig for all frame sets."""
        return answered(self, crops, crop_to_image, view_weight, RigArrays(K, dist, fisheye, Rt, world))


def normalised(pictures: UInt8[Tensor, "N H W 3"]) -> Float[Tensor, "N 3 H W"]:
    """What the network sees of BGR pictures."""
    return (pictures.permute(0, 3, 1, 2).to(torch.float32) - MEAN) * (1 / STD)


def to_image(points: Float[Tensor, "*n J 2"], crop_to_image: Float[Tensor, "*n 2 3"]) -> Float[Tensor, "*n J 2"]:
    """Crop px as raw image px."""
    return torch.matmul(points, crop_to_image[..., :2].transpose(-1, -2)) + crop_to_image[..., None, :, 2]


def observed(
    seen: Seen,
    shape: Sequence[int],
    crop_to_image: Float[Tensor, "B V 2 3"],
    view_weight: Float[Tensor, "B V"],
) -> tuple[Float[Tensor, "B V J 2"], Float[Tensor, "B V J"]]:
    """What the views of frame sets show, in raw px: NaN with confidence 0 where a camera is absent.

    Args:
        seen: Of all pictures, the views of a frame set in a row.
        shape: (B, V).
        crop_to_image: From crop px to raw px.
        view_weight: 0 = the camera is absent.
    """
    batch, views = shape
    points = to_image(seen.points.unflatten(0, (batch, views)), crop_to_image)
    present = (view_weight > 0)[:, :, None]
    confidence = torch.where(present, seen.confidence.unflatten(0, (batch, views)), 0.0)
    return torch.where(present[..., None], points, torch.nan), confidence


class Sees(Protocol):
    """A network that finds points in pictures and says how much they count."""

    def see(self, pictures: UInt8[Tensor, "N H W 3"], /) -> Seen:
        """What each picture shows."""

    def weights(
        self, confidence: Float[Tensor, "B V J"], view_weight: Float[Tensor, "B V"], /
    ) -> Float[Tensor, "B V J"]:
        """How much each view's point counts."""


def answered(
    model: Sees,
    crops: UInt8[Tensor, "B V H W 3"],
    crop_to_image: Float[Tensor, "B V 2 3"],
    view_weight: Float[Tensor, "B V"],
    rig: RigArrays,
) -> Answer:
    """The contract's answer of a network whose points are triangulated; one rig for all frame sets."""
    seen = model.see(crops.flatten(0, 1))
    points, confidence = observed(seen, crops.shape[:2], crop_to_image, view_weight)
    position, residual = triangulate_with_residuals(points, model.weights(confidence, view_weight), rig)
    return Answer(points, confidence, position, residual)


def triangulate_each(
    points: Float[Tensor, "B V J 2"], weight: Float[Tensor, "B V J"], rigs: RigArrays
) -> Float[Tensor, "B J 3"]:
    """`calib.triangulate` where each sample has a rig of its own (arrays with a leading axis B), in one batch.

    NaN also where the answer lies further than `FARTHEST` units from the rig: the views' rays are parallel. Gradients
    are finite, and 0 where there is no answer: what has none counts as not seen before anything is computed from it.
    """
    xp, rig = array_namespace(points), (rigs.K.flatten(0, 1), rigs.dist.flatten(0, 1), rigs.fisheye.flatten())
    # The lens functions know one axis of cameras: every sample's cameras stand in it.
    rays = implicit.rays(points.flatten(0, 1), *rig).unflatten(0, points.shape[:2])
    seen = torch.isfinite(rays).all(dim=-1) & (weight > 0)
    with torch.no_grad():
        position = solve_normalised(xp, rays, torch.where(seen, weight, 0.0), rigs)
        near = position.abs().amax(dim=-1, keepdim=True) < FARTHEST
    if torch.is_grad_enabled() and (points.requires_grad or weight.requires_grad):
        seen = seen & near[:, None, :, 0]
        rays = torch.where(seen[..., None], rays, 0.0)
        position = solve_normalised(xp, rays, torch.where(seen, weight, 0.0), rigs, implicit.smallest)
    else:
        position = torch.where(near, position, torch.nan)
    return position * rigs.world[:, None, 3:] + rigs.world[:, None, :3]
