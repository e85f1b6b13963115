"""Volumes: maps of several views brought into one cube of voxels, and points read from it (Iskakov et al. 2019).

A cuboid of voxels stands about the subject. Each voxel is looked up in the maps of each view, where its centre
appears in the picture, and what the views say there is aggregated. `Lenses` finds the place through the true lens of a
raw picture and the crop's matrix, so that no crop is ever undistorted; `Projection` by a 3x4 matrix, for networks
whose pictures were undistorted before.

All shapes are static but for batch and views, there is no loop over either, and nothing is NaN where a camera is
absent, a voxel lies behind a camera or at infinity, or no view sees it: such a voxel is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from calib import lens
from calib.rig import RigArrays
from engine.models import sparse_lookup

Aggregation = Literal["sum", "max", "softmax", "conf", "conf_norm"]
AGGREGATIONS: tuple[Aggregation, ...] = ("sum", "max", "softmax", "conf", "conf_norm")
Vertical = Literal["z", "y"]

_NEAREST = 1e-4
"""Least depth of a voxel that is seen, in units of the projection."""
_WIDEST = 4.0
"""Largest distance from the axis in the normalised plane of a pinhole lens (76 degrees)."""
_WIDEST_RAD = 1.553
_RADII = 80
_FAR = 1e6
"""Units of the rig beyond which points are all alike."""
_OUTSIDE = -2.0
"""A place outside of every map: what is looked up there is 0."""
_NEVER = -1e9
_LEAST_SUM = 1e-6


def cuboid(
    base_mm: Float[Tensor, "B 3"],
    side_mm: float | Float[Tensor, " B"],
    size: int,
    theta: Float[Tensor, " B"] | None = None,
    vertical: Vertical = "z",
) -> Float[Tensor, "B S S S 3"]:
    """Centres of the voxels of a cube, the outermost ones on its faces.

    Args:
        base_mm: Its middle.
        side_mm: Distance of the first voxel from the last along an axis.
        size: S, voxels along an axis.
        theta: Its turn about the vertical through its middle, in radians, counterclockwise seen from the axis' tip;
            ``None`` = along the axes of the world.
        vertical: The world's vertical axis.

    Returns:
        mm in the world; the first voxel axis is the cube's own x, then y, z.
    """
    along = torch.linspace(-0.5, 0.5, size, dtype=base_mm.dtype, device=base_mm.device)
    x = along.reshape(size, 1, 1).expand(size, size, size)
    offset = torch.stack([x, x.transpose(0, 1), x.transpose(0, 2)], dim=-1)
    side = torch.as_tensor(side_mm, dtype=base_mm.dtype, device=base_mm.device).reshape(-1, 1, 1)
    offset = offset.reshape(1, size**3, 3) * side
    if theta is not None:
        offset = torch.matmul(offset, _turn(theta, vertical).transpose(1, 2))
    return (offset + base_mm[:, None, :]).unflatten(1, (size, size, size))


def _turn(theta: Tensor, vertical: Vertical) -> Float[Tensor, "B 3 3"]:
    cos, sin, zero, one = theta.cos(), theta.sin(), torch.zeros_like(theta), torch.ones_like(theta)
    if vertical == "z":
        entries = [cos, -sin, zero, sin, cos, zero, zero, zero, one]
    else:
        entries = [cos, zero, sin, zero, one, zero, -sin, zero, cos]
    return torch.stack(entries, dim=-1).unflatten(-1, (3, 3))


class Places(NamedTuple):
    """Where voxels appear in the maps.

    Attributes:
        cells: Map cells, (0, 0) the centre of the first; finite everywhere.
        seen: Whether the camera is there and has the voxel in its picture.
    """

    cells: Float[Tensor, "B V P 2"]
    seen: Bool[Tensor, "B V P"]


class Lenses(NamedTuple):
    """From the world to the maps of crops of raw pictures.

    Attributes:
        rig: One rig for all (as `RigArrays` says), or one for each sample (an axis B in front of each array).
        crop_to_image: From crop px to raw px.
        view_weight: 0 = the camera is absent; other values do not differ.
        stride: Crop px in a cell.
    """

    rig: RigArrays
    crop_to_image: Float[Tensor, "B V 2 3"]
    view_weight: Float[Tensor, "B V"]
    stride: int = 4

    def places(self, points_mm: Float[Tensor, "B P 3"], width: int, height: int) -> Places:
        """Where points of the world appear in maps of this size."""
        rig = self.rig
        world = rig.world.reshape(-1, 1, 4)
        # Bounded, so that all that follows is finite.
        points = ((points_mm - world[..., :3]) / world[..., 3:]).clamp(-_FAR, _FAR)
        Rt = rig.Rt
        seen_from = torch.matmul(points[:, None], Rt[..., :3].transpose(-1, -2)) + Rt[..., None, :, 3]
        # Plane by plane: runtimes are slow to spread a number over the two of a point.
        depth = seen_from[..., 2]
        in_front = depth > _NEAREST
        depth = torch.where(in_front, depth, 1.0)
        x, y = seen_from[..., 0] / depth, seen_from[..., 1] / depth
        present = (self.view_weight > 0)[..., None]
        seen = in_front & (x * x + y * y < widest(rig)[..., None].square()) & present
        raw = self._distorted(torch.stack([torch.where(seen, x, 0.0), torch.where(seen, y, 0.0)], dim=-1))
        x, y = ((crop + 0.5) / self.stride - 0.5 for crop in self._to_crop(raw))
        seen = seen & (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
        # The outer half of a border cell has that cell's value: nothing fades towards the edge of a picture.
        x = torch.where(seen, x.clamp(0, width - 1), _OUTSIDE)
        y = torch.where(seen, y.clamp(0, height - 1), _OUTSIDE)
        return Places(torch.stack([x, y], dim=-1), seen)

    def _distorted(self, normalised: Tensor) -> Tensor:
        K, dist, fisheye = self.rig.K, self.rig.dist, self.rig.fisheye
        if K.ndim == 3:
            return lens.distort(normalised, K, dist, fisheye)
        # The lens functions know one axis of cameras: every sample's cameras stand in it.
        flat = lens.distort(normalised.flatten(0, 1), K.flatten(0, 1), dist.flatten(0, 1), fisheye.flatten())
        return flat.unflatten(0, normalised.shape[:2])

    def _to_crop(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        a, b, c, d = (self.crop_to_image[..., row, column, None] for row in (0, 1) for column in (0, 1))
        determinant = a * d - b * c
        # An absent camera may bring a matrix of zeros.
        determinant = torch.where(determinant.abs() > 0, determinant, 1.0)
        x, y = raw[..., 0] - self.crop_to_image[..., 0, 2, None], raw[..., 1] - self.crop_to_image[..., 1, 2, None]
        return (d / determinant) * x - (b / determinant) * y, (a / determinant) * y - (c / determinant) * x


class Projection(NamedTuple):
    """From the world to maps by a linear projection.

    Attributes:
        matrices: From homogeneous mm to homogeneous map cells.
        swapped: As the published networks were trained: x is divided by the map's height and y by its width where
            both are brought to -1..1, and the outermost places are the centres of the outermost cells.
    """

    matrices: Float[Tensor, "B V 3 4"]
    swapped: bool = False

    def places(self, points_mm: Float[Tensor, "B P 3"], width: int, height: int) -> Places:
        """Where points of the world appear in maps of this size."""
        M = self.matrices
        homogeneous = torch.matmul(points_mm[:, None], M[..., :3].transpose(-1, -2)) + M[..., None, :, 3]
        depth = homogeneous[..., 2:]
        seen = depth[..., 0] > 0
        cells = homogeneous[..., :2] / torch.where(seen[..., None], depth, 1.0)
        if self.swapped:
            shrink = torch.tensor([(width - 1) / height, (height - 1) / width], dtype=cells.dtype, device=cells.device)
            cells = cells * shrink
        # Beyond the zeros about the map nothing changes, and a place at infinity cannot be looked up.
        x, y = cells[..., 0].clamp(_OUTSIDE, width + 1.0), cells[..., 1].clamp(_OUTSIDE, height + 1.0)
        cells = torch.where(seen[..., None], torch.stack([x, y], dim=-1), _OUTSIDE)
        return Places(cells, seen & (x > -1) & (x < width) & (y > -1) & (y < height))


def widest(rig: RigArrays) -> Float[Tensor, "*lead V"]:
    """How far from the axis, in the normalised plane, each lens still maps outwards.

    Beyond that its polynomial folds back, and what stands far outside of the picture would appear in it.
    """
    K, dist = rig.K, rig.dist.reshape(-1, lens.N_DIST)
    fisheye = rig.fisheye.reshape(-1)[:, None]
    step = torch.arange(1, _RADII + 1, dtype=K.dtype, device=K.device) / _RADII
    # A fisheye lens is a polynomial of the angle.
    radius = step * (_WIDEST_RAD * fisheye + _WIDEST * (1 - fisheye))
    matrix, constant, _ = lens.polynomials(torch, dist, fisheye[:, 0])
    r2, values, scale = lens.evaluate(torch, torch.stack([radius, torch.zeros_like(radius)], dim=-1), matrix, constant)
    slope = (values[..., 2:3] - scale * values[..., 3:4]) / values[..., 1:2]
    outwards = ((scale + slope * r2 > 0) & (scale > 0) & (values[..., 1:2] > 0))[..., 0]
    upto = torch.tensor([[float(i <= j) for j in range(_RADII)] for i in range(_RADII)]).to(K)
    folds = torch.matmul((~outwards).to(K.dtype), upto)
    last = torch.where(folds < 0.5, radius, 0.0).amax(dim=-1)
    flat = torch.where(fisheye[:, 0] > 0.5, torch.tan(last.clamp(max=_WIDEST_RAD)), last)
    return flat.reshape(rig.fisheye.shape)


def unproject(
    features: Float[Tensor, "B V C h w"],
    grid_mm: Float[Tensor, "B S S S 3"],
    to_map: Lenses | Projection,
    aggregation: Aggregation = "softmax",
    confidence: Float[Tensor, "B V C"] | None = None,
    *,
    parity: bool = False,
) -> Float[Tensor, "B C S S S"]:
    """What all views say of each voxel.

    Args:
        features: Maps of each view.
        grid_mm: Centres of the voxels.
        to_map: How the world appears in the maps.
        aggregation: ``sum`` and ``max`` of the views' values; ``softmax``: their mean, each weighed by the softmax of
            the values themselves; ``conf``: their sum weighed by confidences; ``conf_norm``: their mean weighed so.
        confidence: Of each view, for each channel or one for all of them; for the last two.
        parity: As the published networks were trained: a view that does not see a voxel says 0 and takes part.
            Otherwise only views that see a voxel have a say in it.

    Returns:
        0 where no view sees the voxel.

    Raises:
        ValueError: There is no such aggregation, or it lacks the confidences that it needs.
    """
    if aggregation not in AGGREGATIONS:
        raise ValueError(f"aggregation {aggregation}: give one of {', '.join(AGGREGATIONS)}")
    if aggregation.startswith("conf") and confidence is None:
        raise ValueError(f"aggregation {aggregation} needs confidences")
    height, width = features.shape[3:]
    places = to_map.places(grid_mm.flatten(1, 3), width, height)
    maps = weighed(features, confidence, aggregation)
    found, _ = together(maps, places, grid_mm.shape[1:4], aggregation, confidence, parity=parity)
    return found.unflatten(-1, grid_mm.shape[1:4])


def weighed(
    features: Float[Tensor, "B V C h w"], confidence: Float[Tensor, "B V C"] | None, aggregation: Aggregation
) -> Float[Tensor, "B V C h w"]:
    """Maps times confidences where the aggregation takes them: in the maps it costs less than in the voxels."""
    if not aggregation.startswith("conf"):
        return features
    assert confidence is not None
    return features * confidence[..., None, None]


def together(
    features: Float[Tensor, "B V C h w"],
    places: Places,
    sides: Sequence[int],
    aggregation: Aggregation,
    confidence: Float[Tensor, "B V c"] | None = None,
    *,
    parity: bool = False,
    summed: int = 0,
) -> tuple[Float[Tensor, "B c P"], Float[Tensor, "B s P"]]:
    """What all views say of each voxel, see `unproject`; on a CPU it is never held what each of them says.

    Args:
        features: Maps of each view, `weighed`.
        places: Of the voxels in them.
        sides: Voxels along each axis of the volume; their product is P.
        aggregation: Of the maps, but for the last ones.
        confidence: Of each view, for the aggregated maps.
        parity: See `unproject`.
        summed: s, so many of the last maps are summed.

    Returns:
        The aggregated maps, and the summed ones.
    """
    channels = features.shape[2] - summed
    if not sparse_lookup.fits(features, places.cells):
        values = look_up(features, places, sides)
        said = aggregate(values[:, :, :channels], places, aggregation, confidence, parity=parity)
        return said, values[:, :, channels:].sum(dim=1)
    how: sparse_lookup.Together = "sum" if aggregation == "conf" or aggregation == "conf_norm" else aggregation
    seen = torch.ones_like(places.seen) if parity else places.seen
    said, rest = sparse_lookup.together(features, places.cells, seen, how, channels).split([channels, summed], dim=1)
    if aggregation == "conf_norm":
        said = said / _total(places, confidence, parity)
    return said, rest


def look_up(features: Float[Tensor, "B V C h w"], places: Places, sides: Sequence[int]) -> Float[Tensor, "B V C P"]:
    """What each view says of each voxel: 0 where it does not see it.

    Args:
        features: Maps of each view.
        places: Of the voxels in them.
        sides: Voxels along each axis of the volume; their product is P.
    """
    batch, views, channels, height, width = features.shape
    size = torch.tensor([width, height], dtype=features.dtype, device=features.device)
    where = ((places.cells * 2 + 1) / size - 1).reshape(batch * views, sides[0] * sides[1], sides[2], 2)
    found = torch.nn.functional.grid_sample(
        features.flatten(0, 1), where, mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return found.reshape(batch, views, channels, sides[0] * sides[1] * sides[2])


def aggregate(
    values: Float[Tensor, "B V C P"],
    places: Places,
    aggregation: Aggregation,
    confidence: Float[Tensor, "B V C"] | None = None,
    *,
    parity: bool = False,
) -> Float[Tensor, "B C P"]:
    """What the views say together, see `unproject`. For ``conf`` and ``conf_norm`` the values are `weighed` already."""
    if aggregation == "sum" or aggregation == "conf":
        return values.sum(dim=1)
    if aggregation == "conf_norm":
        return values.sum(dim=1) / _total(places, confidence, parity)
    if not parity:
        # What is not seen is far below all that is. Runtimes add faster than they choose.
        score = values + torch.where(places.seen, 0.0, _NEVER)[:, :, None]
    else:
        score = values
    highest = score.amax(dim=1, keepdim=True)
    if aggregation == "max":
        found = highest[:, 0]
        return found if parity else torch.where(places.seen.any(dim=1)[:, None], found, 0.0)
    # By hand, for runtimes are slow with a softmax along an axis in the middle.
    share = torch.exp(score - highest.detach())
    return (share * values).sum(dim=1) / share.sum(dim=1)


def _total(places: Places, confidence: Float[Tensor, "B V C"] | None, parity: bool) -> Float[Tensor, "B C P"]:
    assert confidence is not None
    if parity:
        return confidence.sum(dim=1)[..., None]
    return torch.matmul(confidence.transpose(1, 2), places.seen.to(confidence.dtype)).clamp(min=_LEAST_SUM)


def soft_argmax_3d(
    volumes: Float[Tensor, "B J S S S"], grid_mm: Float[Tensor, "B S S S 3"], multiplier: float = 1.0
) -> Float[Tensor, "B J 3"]:
    """Where the joints are: the mean of the voxels' places, weighed by the softmax of their values.

    Args:
        volumes: Logits.
        grid_mm: Centres of the voxels.
        multiplier: Of the logits.

    Returns:
        mm in the world.
    """
    heat = (volumes.flatten(2) * multiplier).softmax(dim=-1)
    # About the middle of the cube, so that the rounding of float32 is that of its side and not of the world's.
    middle = (grid_mm[:, :1, 0, 0] + grid_mm[:, -1:, -1, -1]) / 2
    return torch.matmul(heat, grid_mm.flatten(1, 3) - middle) + middle
