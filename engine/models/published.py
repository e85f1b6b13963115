"""The networks of "Learnable Triangulation of Human Pose" (Iskakov et al. 2019) as they were published.

Their state dicts have the published keys, so that published files load strictly (`engine.models.weights`).
Each has two modes. In **parity** it repeats what the published code does, which the published weights were
trained with: BGR pictures with the statistics of RGB; cells counted from their corner, so that the first
cell stands for px 0 instead of its middle 1.5; confidences divided by their sum, plus 1e-5; a linear
triangulation in mm and crop px; and, where the maps of a volumetric network are looked up, x divided by
their height and y by their width. The **plain** mode does what is right instead, and is for networks that
are trained anew.

The published networks know no lens. In parity the algebraic one and RANSAC undistort the points that they
found, which changes nothing in undistorted pictures; the volumetric one refuses a camera with distortion.
The published crops lie without the half pixel: raw px are crop px times a scale, plus the corner of the box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from calib.rig import RigArrays
from calib.triangulate import residuals, triangulate_with_residuals
from engine.models import parity as seed
from engine.models import ransac
from engine.models.algebraic import Answer, Seen, answered, observed, to_image, triangulate_each
from engine.models.pose_resnet import FEATURES, STRIDE, Maps, PoseResNet, Style
from engine.models.v2v import V2V
from engine.models.volume import Aggregation, Lenses, Projection, Vertical, cuboid, soft_argmax_3d, unproject
from engine.models.weights import load as load
from engine.models.weights import load_backbone as load_backbone
from engine.models.weights import read_weights as read_weights
from rigpose.errors import ConfigError

MEAN_RGB = (0.485, 0.456, 0.406)
STD_RGB = (0.229, 0.224, 0.225)
VOLUME_FEATURES = 32
"""Channels that are brought into the volume."""
_SILENT = -1e9
_LEAST_MASS = 1e-12


class Located(NamedTuple):
    """What a volumetric network says.

    Attributes:
        points3d: (B, J, 3) mm; NaN where there was no base or no view.
        heat: (B, J, S, S, S) how much of each joint is in each voxel.
        grid_mm: (B, S, S, S, 3) where the voxels are.
    """

    points3d: Float[Tensor, "B J 3"]
    heat: Float[Tensor, "B J S S S"]
    grid_mm: Float[Tensor, "B S S S 3"]


class _Published(nn.Module):
    """Pictures to maps, and maps to points."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: PoseResNet, *, multiplier: float, softmax: bool, parity: bool) -> None:
        super().__init__()
        self.parity = parity
        self.multiplier = multiplier
        self.softmax = softmax
        self.register_buffer("mean", torch.tensor(MEAN_RGB).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD_RGB).reshape(3, 1, 1), persistent=False)
        self.backbone = backbone

    @property
    def joints(self) -> int:
        """J."""
        return self.backbone.joints

    def normalised(self, pictures: UInt8[Tensor, "N H W 3"]) -> Float[Tensor, "N 3 H W"]:
        """What the network sees of BGR pictures."""
        if not self.parity:
            pictures = pictures.flip(-1)
        return (pictures.permute(0, 3, 1, 2).to(self.mean.dtype) / 255 - self.mean) / self.std

    def maps(self, pictures: UInt8[Tensor, "N H W 3"], autocast: torch.dtype | None = None) -> Maps:
        """What the backbone says of BGR pictures, in float32.

        Args:
            pictures: Their sides are multiples of 32.
            autocast: Lower precision of the network.
        """
        net_input = self.normalised(pictures)
        with torch.autocast(net_input.device.type, autocast, enabled=autocast is not None):
            maps = self.backbone(net_input)
        return Maps(*(part if part is None else part.to(net_input.dtype) for part in maps))

    def points(self, heatmaps: Float[Tensor, "N J h w"]) -> Float[Tensor, "N J 2"]:
        """Where in the crop, in px, the heatmaps see the joints."""
        height, width = heatmaps.shape[2:]
        flat = heatmaps.flatten(2) * self.multiplier
        heat = flat.softmax(dim=-1) if self.softmax else _by_mass(flat)
        x = torch.arange(width, dtype=heat.dtype, device=heat.device).repeat(height)
        y = torch.arange(height, dtype=heat.dtype, device=heat.device).repeat_interleave(width)
        return self._px(torch.matmul(heat, torch.stack([x, y], dim=-1)))

    def _px(self, cells: Tensor) -> Tensor:
        return cells * STRIDE if self.parity else (cells + 0.5) * STRIDE - 0.5


class PublishedAlgebraic(_Published):
    """Algebraic triangulation; the outputs and inputs are those of `engine.models.algebraic.Algebraic`.

    Args:
        joints: J.
        layers: Of the backbone.
        style: Of the backbone.
        confidences: ``False``: all views count alike, and the network has no head for them.
        multiplier: Of the heatmaps before the softmax.
        softmax: ``False``: positive heat, divided by its sum, instead of the softmax.
        parity: See the module.
    """

    def __init__(
        self,
        joints: int = 17,
        *,
        layers: int = 152,
        style: Style = "simple",
        confidences: bool = True,
        multiplier: float = 100.0,
        softmax: bool = True,
        parity: bool = False,
    ) -> None:
        backbone = PoseResNet(layers, joints, style, alg_confidences=confidences)
        super().__init__(backbone, multiplier=multiplier, softmax=softmax, parity=parity)

    def see(self, pictures: UInt8[Tensor, "N H W 3"], autocast: torch.dtype | None = None) -> Seen:
        """What each picture shows; the confidences are not yet divided by their sum."""
        maps = self.maps(pictures, autocast)
        points = self.points(maps.heatmaps)
        confidence = torch.ones_like(points[..., 0]) if maps.alg_confidence is None else maps.alg_confidence
        return Seen(maps.heatmaps, points, confidence, maps.features)

    def weights(self, confidence: Float[Tensor, "B V J"], view_weight: Float[Tensor, "B V"]) -> Float[Tensor, "B V J"]:
        """How much each view's equations count."""
        if self.parity:
            return seed.share(confidence, view_weight)
        return confidence * view_weight[..., None]

    def triangulate(
        self,
        in_crop: Float[Tensor, "B V J 2"],
        confidence: Float[Tensor, "B V J"],
        crop_to_image: Float[Tensor, "B V 2 3"],
        view_weight: Float[Tensor, "B V"],
        rig: RigArrays,
    ) -> Float[Tensor, "B J 3"]:
        """Where the joints are, in mm.

        Args:
            in_crop: Crop px.
            confidence: Of `see`.
            crop_to_image: From crop px to raw px.
            view_weight: 0 = the camera is absent.
            rig: One rig for all, or one for each sample (an axis B in front of each array).
        """
        weight = self.weights(confidence, view_weight)
        if self.parity:
            flat = _without_lens(in_crop, crop_to_image, view_weight, rig)
            return seed.linear_mm(flat, weight, seed.projections(crop_to_image, rig)).to(in_crop.dtype)
        raw = _present(to_image(in_crop, crop_to_image), view_weight)
        if rig.K.ndim == 4:
            return triangulate_each(raw, weight, rig)
        return triangulate_with_residuals(raw, weight, rig)[0]

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
        rig, views = RigArrays(K, dist, fisheye, Rt, world), crops.shape[:2]
        if not self.parity:
            return answered(self, crops, crop_to_image, view_weight, rig)
        seen = self.see(crops.flatten(0, 1))
        raw, confidence = observed(seen, views, crop_to_image, view_weight)
        position = self.triangulate(seen.points.unflatten(0, views), confidence, crop_to_image, view_weight, rig)
        return Answer(raw, confidence, position, residuals(raw, position, rig))


class PublishedRansac(_Published):
    """The baseline: what most views agree on; nothing in it is learned but the heatmaps.

    In parity a joint is where its heatmap is hottest, to a whole cell, and `ransac.published` places it; else it
    is the soft-argmax, and `ransac.consensus` does.

    Args:
        joints: J.
        layers: Of the backbone.
        style: Of the backbone.
        multiplier: Of the heatmaps before the softmax; only without parity.
        refine: Minimise the reprojection error at the end; only in parity, else always.
        parity: See the module.
    """

    def __init__(
        self,
        joints: int = 17,
        *,
        layers: int = 152,
        style: Style = "simple",
        multiplier: float = 100.0,
        refine: bool = True,
        parity: bool = False,
    ) -> None:
        super().__init__(PoseResNet(layers, joints, style), multiplier=multiplier, softmax=True, parity=parity)
        self.refine = refine

    @torch.no_grad()
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
        """Not a graph: the consensus is numpy. The confidence is 1 of a view that agrees, else 0."""
        views = crops.shape[:2]
        heatmaps = self.maps(crops.flatten(0, 1)).heatmaps
        in_crop = self._px(hottest(heatmaps)) if self.parity else self.points(heatmaps)
        in_crop = in_crop.unflatten(0, views)
        raw = _present(to_image(in_crop, crop_to_image), view_weight)
        rig = RigArrays(K, dist, fisheye, Rt, world)
        if self.parity:
            position, inliers = self._as_published(in_crop, crop_to_image, view_weight, rig)
        else:
            found = ransac.consensus(
                raw.double().cpu().numpy(),
                1 / np.sqrt(np.abs(np.linalg.det(crop_to_image[..., :2].double().cpu().numpy()))),
                RigArrays(*(array.double().cpu().numpy() for array in rig)),
            )
            position, inliers = found.position_mm, found.inliers
        points3d = torch.from_numpy(position).to(raw)
        return Answer(raw, torch.from_numpy(inliers).to(raw), points3d, residuals(raw, points3d, rig))

    def _as_published(
        self, in_crop: Tensor, crop_to_image: Tensor, view_weight: Tensor, rig: RigArrays
    ) -> tuple[np.ndarray, np.ndarray]:
        flat = _without_lens(in_crop, crop_to_image, view_weight, rig).cpu().numpy()
        matrices = seed.projections(crop_to_image, rig).cpu().numpy()
        batch, views, joints = flat.shape[:3]
        position, inliers = np.full((batch, joints, 3), np.nan), np.zeros((batch, views, joints), bool)
        for b in range(batch):
            for j in range(joints):
                here = np.flatnonzero(np.isfinite(flat[b, :, j]).all(axis=-1))
                if len(here) >= 2:
                    answer = ransac.published(flat[b, here, j], matrices[b, here], refine=self.refine)
                    position[b, j], inliers[b, here, j] = answer
        return position, inliers


class PublishedVolumetric(_Published):
    """Volumetric triangulation about a base that is given: the pelvis, as an algebraic network found it.

    Args:
        joints: J.
        root: Joints whose mean is the middle of the cuboid; the pelvis of Human3.6M's.
        layers: Of the backbone.
        style: Of the backbone.
        aggregation: How the views' features are put together in a voxel.
        side_mm: Of the cuboid.
        size: Voxels along a side.
        vertical: The world's vertical axis: z for Human3.6M, y for CMU Panoptic.
        multiplier: Of the volumes before the softmax.
        softmax: ``False``: positive values instead of the softmax; divided by their sum, except in parity.
        panoptic_in_human36m: The network learned in the world of CMU Panoptic and is used in that of Human3.6M.
        v2v: Arguments of the network on volumes; without any it is the published one.
        parity: See the module.
    """

    def __init__(
        self,
        joints: int = 17,
        *,
        root: Sequence[int] = (6,),
        layers: int = 152,
        style: Style = "simple",
        aggregation: Aggregation = "softmax",
        side_mm: float = 2500.0,
        size: int = 64,
        vertical: Vertical = "z",
        multiplier: float = 1.0,
        softmax: bool = True,
        panoptic_in_human36m: bool = False,
        v2v: Mapping[str, Any] | None = None,
        parity: bool = False,
    ) -> None:
        judged = VOLUME_FEATURES if aggregation.startswith("conf") else 0
        backbone = PoseResNet(layers, joints, style, vol_confidences=judged)
        super().__init__(backbone, multiplier=multiplier, softmax=softmax, parity=parity)
        # The heatmaps are not used, yet the published files hold them.
        self.backbone.final_layer.requires_grad_(False)
        self.root = tuple(root)
        self.aggregation = aggregation
        self.side_mm, self.size, self.vertical = side_mm, size, vertical
        self.panoptic_in_human36m = panoptic_in_human36m
        self.process_features = nn.Sequential(nn.Conv2d(FEATURES, VOLUME_FEATURES, 1))
        self.volume_net = V2V(VOLUME_FEATURES, joints, **(v2v or {}))

    def grid(self, base_mm: Float[Tensor, "B 3"], theta: Float[Tensor, " B"] | None) -> Float[Tensor, "B S S S 3"]:
        """Where the voxels are."""
        grid = cuboid(base_mm, self.side_mm, self.size, theta, self.vertical)
        return grid.permute(0, 1, 3, 2, 4).flip(2) if self.panoptic_in_human36m else grid

    def forward(
        self,
        crops: UInt8[Tensor, "B V H W 3"],
        crop_to_image: Float[Tensor, "B V 2 3"],
        view_weight: Float[Tensor, "B V"],
        K: Float[Tensor, "*r V 3 3"],
        dist: Float[Tensor, "*r V 14"],
        fisheye: Float[Tensor, "*r V"],
        Rt: Float[Tensor, "*r V 3 4"],
        world: Float[Tensor, "*r 4"],
        base_mm: Float[Tensor, "B 3"],
        theta: Float[Tensor, " B"] | None = None,
        autocast: torch.dtype | None = None,
    ) -> Located:
        """One rig for all frame sets, or one for each.

        Args:
            crops: BGR.
            crop_to_image: From crop px to raw px.
            view_weight: 0 = the camera is absent.
            K: As in `calib.rig.RigArrays`, and so on.
            dist: In parity, zeros.
            fisheye: In parity, zeros.
            Rt: Likewise.
            world: Likewise.
            base_mm: The cuboid's middle; NaN = not known.
            theta: Turn of each cuboid about the vertical: random in training, else none.
            autocast: Lower precision of the two networks; what lies between stays in float32.

        Raises:
            ConfigError: A camera has a lens that parity does not know.
        """
        rig = RigArrays(K, dist, fisheye, Rt, world)
        maps = self.maps(crops.flatten(0, 1), autocast)
        return self.locate(maps, crop_to_image, view_weight, rig, base_mm, theta, autocast)

    def locate(
        self,
        maps: Maps,
        crop_to_image: Float[Tensor, "B V 2 3"],
        view_weight: Float[Tensor, "B V"],
        rig: RigArrays,
        base_mm: Float[Tensor, "B 3"],
        theta: Float[Tensor, " B"] | None = None,
        autocast: torch.dtype | None = None,
    ) -> Located:
        """From what the backbone says of all pictures, the views of a frame set in a row; see `forward`."""
        present, views = view_weight > 0, view_weight.shape
        known = base_mm.isfinite().all(dim=-1) & present.any(dim=-1)
        base = torch.where(base_mm.isfinite().all(dim=-1, keepdim=True), base_mm, rig.world[..., :3])
        features = self.process_features(maps.features).unflatten(0, views)
        confidence = maps.vol_confidence
        if confidence is not None:
            confidence = torch.where(present[..., None], confidence.unflatten(0, views), 0.0)
        grid = self.grid(base, theta)
        to_map: Lenses | Projection = Lenses(rig, crop_to_image, view_weight, STRIDE)
        if self.parity:
            features, to_map = self._as_published(features, present, crop_to_image, rig)
        volumes = unproject(features, grid, to_map, self.aggregation, confidence, parity=self.parity)
        with torch.autocast(volumes.device.type, autocast, enabled=autocast is not None):
            logits = self.volume_net(volumes)
        points, heat = self._read(logits.to(volumes.dtype), grid)
        return Located(torch.where(known[:, None, None], points, torch.nan), heat, grid)

    def _as_published(
        self, features: Tensor, present: Tensor, crop_to_image: Tensor, rig: RigArrays
    ) -> tuple[Tensor, Projection]:
        lens_there = rig.dist.abs().amax() + rig.fisheye.amax()
        if not torch.compiler.is_exporting() and bool(lens_there > 0):
            raise ConfigError(
                "dist",
                "a published volumetric network looks through undistorted pictures",
                "undistort them, or take parity off",
            )
        cells = torch.tensor([1 / STRIDE, 1 / STRIDE, 1.0], dtype=torch.float64, device=features.device)
        matrices = (seed.projections(crop_to_image, rig) * cells[:, None]).to(features.dtype)
        # The published code knows no absent view. One that shows every voxel the same cell, and in it nothing or
        # less than any other view, has no share in what the others say.
        nowhere = torch.zeros_like(matrices) + torch.tensor([0.0, 0, 0, 1], device=features.device)
        matrices = torch.where(present[..., None, None], matrices, nowhere)
        silence = _SILENT if self.aggregation in ("max", "softmax") else 0.0
        features = torch.where(present[..., None, None, None], features, silence)
        return features, Projection(matrices, swapped=True)

    def _read(self, logits: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
        if self.softmax:
            heat = (logits * self.multiplier).flatten(2).softmax(dim=-1).reshape(logits.shape)
            return soft_argmax_3d(logits, grid, self.multiplier), heat
        heat = torch.relu(logits * self.multiplier).flatten(2)
        heat = heat if self.parity else _by_mass(heat)
        return torch.matmul(heat, grid.flatten(1, 3)), heat.reshape(logits.shape)


def hottest(heatmaps: Float[Tensor, "N J h w"]) -> Float[Tensor, "N J 2"]:
    """Column and row of the hottest cell of each heatmap; the first of several."""
    index = heatmaps.flatten(2).argmax(dim=-1)
    width = heatmaps.shape[3]
    return torch.stack([index % width, index // width], dim=-1).to(heatmaps.dtype)


def _by_mass(values: Tensor) -> Tensor:
    heat = torch.relu(values)
    return heat / heat.sum(dim=-1, keepdim=True).clamp(min=_LEAST_MASS)


def _present(points: Float[Tensor, "B V J 2"], view_weight: Float[Tensor, "B V"]) -> Float[Tensor, "B V J 2"]:
    return torch.where((view_weight > 0)[:, :, None, None], points, torch.nan)


def _without_lens(
    in_crop: Float[Tensor, "B V J 2"],
    crop_to_image: Float[Tensor, "B V 2 3"],
    view_weight: Float[Tensor, "B V"],
    rig: RigArrays,
) -> Float[Tensor, "B V J 2"]:
    """Crop px as they would be in a crop of undistorted pictures, in float64."""
    affine = crop_to_image.double()
    raw = seed.without_lens(to_image(in_crop.double(), affine), rig)
    return _present(to_image(raw, seed.inverse(affine)[..., :2, :]), view_weight)
