"""The published networks with the inputs and outputs of the contract, so that they run live and become one graph.

In parity they see as the public code does: the same pictures, cells and confidences. What follows is ours: lenses are
taken into account, the triangulation is `calib.triangulate`'s in float32 instead of the published one in millimetres
and float64, and a camera that is absent has no say.

A published volumetric network is told where its cuboid stands. Live it finds the root by the heatmaps of its own
backbone, all views alike; these are not trained together with the volume, so that they say where a subject is and no
more: confidences are 1.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from calib.rig import RigArrays
from calib.triangulate import residuals, triangulate
from engine.models.algebraic import Algebraic, Answer, Seen, answered, observed
from engine.models.published import PublishedAlgebraic, PublishedRansac, PublishedVolumetric
from engine.models.spread import spread_3d
from engine.models.volumetric import Volumetric, VolumetricAnswer
from rigpose.errors import ConfigError

_LEAST_HEAT = 1e-30


class AlgebraicContract(nn.Module):
    """A published algebraic network.

    Args:
        model: Whose weights it shares.
    """

    def __init__(self, model: PublishedAlgebraic) -> None:
        super().__init__()
        self.model = model

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
        return answered(self.model, crops, crop_to_image, view_weight, RigArrays(K, dist, fisheye, Rt, world))


class VolumetricContract(nn.Module):
    """A published volumetric network.

    Args:
        model: Whose weights it shares.
    """

    def __init__(self, model: PublishedVolumetric) -> None:
        super().__init__()
        self.model = model

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
        base_mm: Float[Tensor, "B 3"],
        base_weight: Float[Tensor, " B"],
    ) -> VolumetricAnswer:
        """The graph of the contract, as `engine.models.volumetric.Volumetric`'s."""
        model, rig, views = self.model, RigArrays(K, dist, fisheye, Rt, world), crops.shape[:2]
        maps = model.maps(crops.flatten(0, 1))
        in_crop = model.points(maps.heatmaps)
        seen = Seen(maps.heatmaps, in_crop, torch.ones_like(in_crop[..., 0]))
        points, confidence = observed(seen, views, crop_to_image, view_weight)
        root = torch.tensor(model.root, device=points.device)
        algebraic = triangulate(points.index_select(2, root), confidence.index_select(2, root), rig)
        base = torch.where((base_weight > 0)[:, None], base_mm, algebraic.mean(dim=1))
        located = model.locate(maps, crop_to_image, view_weight, rig, base)
        position = located.points3d
        spread = spread_3d((located.heat + _LEAST_HEAT).log(), located.grid_mm)
        spread = torch.where(position[..., :1].isnan(), torch.nan, spread)
        return VolumetricAnswer(points, confidence, position, residuals(points, position, rig), spread)


def contract(model: nn.Module) -> nn.Module:
    """A model that takes and answers what the contract says; one of ours does by itself.

    Raises:
        ConfigError: It is none that can be one graph.
    """
    if isinstance(model, Algebraic | AlgebraicContract | VolumetricContract):
        return model
    if isinstance(model, PublishedAlgebraic):
        return AlgebraicContract(model).train(model.training)
    if isinstance(model, PublishedVolumetric):
        return VolumetricContract(model).train(model.training)
    if isinstance(model, PublishedRansac):
        raise ConfigError(
            "ransac", "is a consensus in numpy, which no graph holds", "export the algebraic network of its backbone"
        )
    raise ConfigError(type(model).__name__, "is no network that answers with poses", "give an algebraic or volumetric")


def is_volumetric(model: nn.Module) -> bool:
    """Whether a model reads the joints from a cube, whose middle may be given."""
    return isinstance(model, Volumetric | VolumetricContract | PublishedVolumetric)
