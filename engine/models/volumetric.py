"""Volumetric triangulation (Iskakov et al. 2019) over the features of an algebraic model: one backbone for both.

The algebraic answer says where the subject is, or the caller does (`base_mm`): then a single view suffices. A cube of
voxels stands there; what the views' features say of each voxel is aggregated, a network on volumes (`V2V`) judges, and
a soft-argmax reads the joints from it. Crops are looked up through the true lenses and are never undistorted.

The heatmaps have a say of their own (``evidence``): a view adds to the logit of joint j at a voxel its confidence
times log(1 + k p), with p the heatmap there and k such that a heatmap without a peak says nothing. It is the logarithm
of the likelihood where one look in ten goes anywhere, so that no view alone can rule a place out. The network on
volumes begins as no more than that and learns what is to be changed: what bodies look like, and which view to believe.

With ``sharpen`` the views' points have the last word (`engine.models.sharpened`): a voxel is many pixels wide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from calib import triangulate
from calib.rig import RigArrays
from engine.models.algebraic import Algebraic, Seen, normalised, observed
from engine.models.backbone import STRIDE
from engine.models.sharpened import sharpened
from engine.models.spread import moments_3d
from engine.models.v2v import SMALL, V2V
from engine.models.volume import Aggregation, Lenses, Vertical, cuboid, together, weighed

STRAY = 0.1
"""Share of looks that may go anywhere."""
GAIN = 2.0
"""Of the evidence at first. At 1 the many voxels for which a little speaks would draw the mean to the cube's middle."""
SIGMA_PX = 0.7
"""Of a view's point of confidence 1 at first, in crop px along an axis."""
POWER = 2.0
"""Of the confidence at first: a point that is half as sure is a quarter as exact."""
DOUBT = 1.5
"""A volume's deviations are taken for so many times what they are at first: it has seen what the points come from."""

COMMON = 3.5
"""Variances are so many times what the sharpening says: the views' errors are one network's, and much alike. From the
validation worlds of `training/configs/virtual_volumetric.yaml`."""


class Located(NamedTuple):
    """What the cube says.

    Attributes:
        position_mm: (B, J, 3); NaN without a base, or where no view sees anything of the cube.
        covariance_mm2: (B, J, 6) how sure it is, xx xy xz yy yz zz; NaN where there is no position.
        logits: (B, J, S, S, S), whose softmax says where the joints are.
        grid_mm: (B, S, S, S, 3) centres of the voxels.
    """

    position_mm: Float[Tensor, "B J 3"]
    covariance_mm2: Float[Tensor, "B J 6"]
    logits: Float[Tensor, "B J S S S"]
    grid_mm: Float[Tensor, "B S S S 3"]


class VolumetricAnswer(NamedTuple):
    """The outputs of the contract, and how sure the volume is of each joint: see `Located`."""

    points2d: Float[Tensor, "B V J 2"]
    confidence: Float[Tensor, "B V J"]
    points3d: Float[Tensor, "B J 3"]
    residual_px: Float[Tensor, "B V J"]
    covariance_mm2: Float[Tensor, "B J 6"]


class Volumetric(Algebraic):
    """Pictures of several views in; points, confidences and 3D points from a volume out.

    Its parameters have the names of `Algebraic`'s, so that it can begin with the weights of one.

    Args:
        joints: J.
        root: Joints whose mean is the middle of the cube, where no base is given.
        side_mm: Of the cube; it holds the whole subject, also where the base is some way off.
        size: Voxels along a side.
        channels: Maps that are brought into the volume.
        aggregation: How the views' maps become one; with ``conf`` and ``conf_norm`` each view has a learned
            confidence for each channel.
        vertical: The world's vertical axis, about which the cube is turned in training.
        evidence: Whether the heatmaps have a say of their own.
        sharpen: Whether the views' points have the last word, as far as they are believed.
        v2v: Arguments of `V2V`; without them the small one.
        context: As in `Algebraic`.
        backbone: As in `Algebraic`.
        confidences: As in `Algebraic`.
    """

    def __init__(
        self,
        joints: int,
        *,
        root: Sequence[int] = (0,),
        side_mm: float = 2500.0,
        size: int = 32,
        channels: int = 16,
        aggregation: Aggregation = "softmax",
        vertical: Vertical = "z",
        evidence: bool = True,
        sharpen: bool = False,
        v2v: Mapping[str, Any] | None = None,
        context: int = 32,
        backbone: Mapping[str, object] | None = None,
        confidences: bool = True,
    ) -> None:
        super().__init__(joints, context=context, backbone=backbone, confidences=confidences)
        self.root = tuple(root)
        self.side_mm, self.size, self.vertical = side_mm, size, vertical
        self.aggregation: Aggregation = aggregation
        features = int(self.network.backbone.features)  # type: ignore[arg-type]
        self.channels = channels
        self.trusts = aggregation.startswith("conf")
        # The maps and, where each view is trusted or not, as many from which that is read.
        self.lift = nn.Conv2d(features, channels * (2 if self.trusts else 1), 1)
        self.evidence = evidence
        self.volume = V2V(channels + (joints if evidence else 0), joints, **(SMALL if v2v is None else v2v))
        if evidence:
            self.log_gain = nn.Parameter(torch.full((joints, 1, 1, 1), math.log(GAIN)))
            nn.init.zeros_(self.volume.output_layer.weight)  # type: ignore[arg-type]
        self.sharpen = sharpen
        if sharpen:
            self.log_sigma = nn.Parameter(torch.full((joints,), math.log(SIGMA_PX)))
            self.log_power = nn.Parameter(torch.full((joints,), math.log(POWER)))
            self.log_doubt = nn.Parameter(torch.full((joints,), math.log(DOUBT)))

    def see(self, pictures: UInt8[Tensor, "N H W 3"], autocast: torch.dtype | None = None) -> Seen:
        """What each picture shows; its features are the maps for the volume.

        Args:
            pictures: BGR.
            autocast: Lower precision of the network; the heads stay in float32.
        """
        net_input = normalised(pictures)
        with torch.autocast(net_input.device.type, autocast, enabled=autocast is not None):
            maps, features = self.network(net_input)
            # One tensor between the network and all that is geometry: the cut of the contract.
            head_in = torch.cat([maps, self.lift(features)], dim=1)
        head_in = head_in.float()
        maps, lifted = head_in.split([maps.shape[1], head_in.shape[1] - maps.shape[1]], dim=1)
        return self.head(maps)._replace(features=lifted)

    def locate(
        self,
        seen: Seen,
        crop_to_image: Float[Tensor, "B V 2 3"],
        view_weight: Float[Tensor, "B V"],
        rig: RigArrays,
        base_mm: Float[Tensor, "B 3"],
        theta: Float[Tensor, " B"] | None = None,
        autocast: torch.dtype | None = None,
    ) -> Located:
        """Where the joints are in a cube about the base.

        Args:
            seen: Of all pictures, the views of a frame set in a row.
            crop_to_image: From crop px to raw px.
            view_weight: 0 = the camera is absent.
            rig: One for all, or one for each frame set (an axis B in front of each array).
            base_mm: Middle of the cube; no gradient goes there. NaN = there is none.
            theta: Turn of the cube. Without it, training turns it at random, and nothing else does.
            autocast: Lower precision of the network on volumes.
        """
        assert seen.features is not None
        batch, views = view_weight.shape
        base = base_mm.detach()
        based = torch.isfinite(base).all(dim=-1)
        base = torch.where(based[:, None], base, rig.world.reshape(-1, 4)[:, :3])
        if theta is None and self.training:
            theta = torch.rand(batch, device=base.device, dtype=base.dtype) * (2 * torch.pi)
        grid = cuboid(base, self.side_mm, self.size, theta, self.vertical)
        height, width = seen.features.shape[2:]
        places = Lenses(rig, crop_to_image, view_weight, STRIDE).places(grid.flatten(1, 3), width, height)

        trust = None
        if self.trusts:
            trust = seen.features[:, self.channels :].mean(dim=(2, 3)).sigmoid().unflatten(0, (batch, views))
        maps = weighed(seen.features[:, : self.channels].unflatten(0, (batch, views)), trust, self.aggregation)
        if self.evidence:
            maps = torch.cat([maps, self._evidence(seen).unflatten(0, (batch, views))], dim=2)
        evident = maps.shape[2] - self.channels
        volume, said = together(maps, places, grid.shape[1:4], self.aggregation, trust, summed=evident)
        inputs = torch.cat([volume, said], dim=1) if self.evidence else volume
        inputs = inputs.unflatten(-1, grid.shape[1:4])
        with torch.autocast(inputs.device.type, autocast, enabled=autocast is not None):
            logits = self.volume(inputs)
        logits = logits.float()
        if self.evidence:
            logits = logits + inputs[:, self.channels :] * self.log_gain.exp()
        position, covariance = moments_3d(logits, grid)
        if self.sharpen:
            covariance = covariance * self.log_doubt.exp().square()[:, None]
            points, confidence = observed(seen, view_weight.shape, crop_to_image, view_weight)
            sigma_px, power = self.log_sigma.exp(), self.log_power.exp()
            position, covariance = sharpened(
                position, covariance, points, confidence, crop_to_image, sigma_px, power, width * STRIDE, rig
            )
            covariance = covariance * COMMON
        there = (based & places.seen.flatten(1).any(dim=-1))[:, None, None]
        # What has no position has no covariance.
        position, covariance = torch.where(there, position, torch.nan), torch.where(there, covariance, torch.nan)
        return Located(position, covariance, logits, grid)

    def _evidence(self, seen: Seen) -> Float[Tensor, "N J h w"]:
        heat = (seen.logits.flatten(2) * self.head.log_temperature.exp()).softmax(dim=-1)
        cells = heat.shape[-1]
        said = torch.log1p(heat * (cells * (1 - STRAY) / STRAY))
        if self.confidences:
            said = said * seen.confidence[..., None]
        return said.unflatten(-1, seen.logits.shape[2:])

    def forward(  # type: ignore[override]
        self,
        crops: UInt8[Tensor, "B V H W 3"],
        crop_to_image: Float[Tensor, "B V 2 3"],
        view_weight: Float[Tensor, "B V"],
        K: Float[Tensor, "V 3 3"],
        dist: Float[Tensor, "V 14"],
        fisheye: Float[Tensor, " V"],
        Rt: Float[Tensor, "V 3 4"],
        world: Float[Tensor, " 4"],
        base_mm: Float[Tensor, "B 3"],
        base_weight: Float[Tensor, " B"],
    ) -> VolumetricAnswer:
        """The graph of the contract: one rig for all frame sets.

        ``base_mm`` is the middle of the cube where ``base_weight`` is above 0; elsewhere it is the root of the
        algebraic answer, which needs two views.
        """
        rig = RigArrays(K, dist, fisheye, Rt, world)
        seen = self.see(crops.flatten(0, 1))
        points, confidence = observed(seen, crops.shape[:2], crop_to_image, view_weight)
        weight = self.weights(confidence, view_weight)
        root = torch.tensor(self.root, device=points.device)
        algebraic = triangulate.triangulate(points.index_select(2, root), weight.index_select(2, root), rig)
        base = torch.where((base_weight > 0)[:, None], base_mm, algebraic.mean(dim=1))
        located = self.locate(seen, crop_to_image, view_weight, rig, base)
        residual = triangulate.residuals(points, located.position_mm, rig)
        return VolumetricAnswer(points, confidence, located.position_mm, residual, located.covariance_mm2)
