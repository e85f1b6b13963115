"""Lifters: 2D keypoints of one camera in, a 3D pose relative to its roots and how sure it is of each joint out.

Three kinds share the way in (`engine.models.gaze`) and the way out:

* ``liftpose``: the network of LiftPose3D. It sees the joints relative to their roots in z-scores, needs all of them,
  and answers with z-scores; its covariances are those of its errors where nothing was trained.
* ``masked``: it is told which joints are seen and how sure they are, does without the others, and answers with a
  covariance for each pose. What is linear in the task goes past the layers.
* ``temporal``: the same for a window of frames, causal.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from calib import lens
from engine.lifter_document import Mode, Out, RootSet, check_roots, root_of
from engine.models import gaze
from engine.models.gaze import Gaze
from engine.models.lift_bodies import CausalBody, ResidualBody, triangle
from rigpose.config import Config

DEVIATIONS = (5e-3, 2e1)
"""Smallest and largest deviation that a network may say, in units of a joint's own in training."""
_WIDEST_SPREAD = 4.0


class LifterSpec(Config):
    """What a lifter is, besides its weights.

    Attributes:
        kind: See the module.
        joints: Number of joints.
        roots: See `engine.lifter_document.LifterDocument.roots`.
        mode: Whether the camera's intrinsics are used.
        out: Whether x and y are the picture's.
        window: Frames; of ``temporal`` a power of three.
        width: Of the layers.
        stages: Residual stages of the two kinds that see one frame.
        dropout: In training.
        by_spread: Whether the joints are seen in units of their spread. Without it a network sees how large the subject
            is in the picture, as LiftPose3D does, and serves only cameras at that distance.
        linear: Whether a linear map goes past the layers; not of ``liftpose``.
    """

    kind: Literal["liftpose", "masked", "temporal"] = "masked"
    joints: int = Field(ge=2)
    roots: tuple[RootSet, ...] = Field(min_length=1)
    mode: Mode = "perspective"
    out: Out = "xyz"
    window: int = Field(1, ge=1)
    width: int = Field(1024, ge=8)
    stages: int = Field(2, ge=0)
    dropout: float = Field(0.25, ge=0, lt=1)
    by_spread: bool = True
    linear: bool = True

    @model_validator(mode="after")
    def _fits_together(self) -> LifterSpec:
        check_roots(self.roots, self.joints)
        if self.kind != "temporal" and self.window != 1:
            raise ValueError(f"window is {self.window}, but kind {self.kind} sees one frame")
        if self.kind == "temporal" and self.window < 3:
            raise ValueError(f"window is {self.window}, but kind temporal needs 3, 9, 27 or 81 frames")
        return self

    @property
    def lifted(self) -> tuple[int, ...]:
        """Joints that are no roots."""
        roots = {entry.root for entry in self.roots}
        return tuple(joint for joint in range(self.joints) if joint not in roots)

    @property
    def needs_all(self) -> bool:
        """Whether every joint must be seen."""
        return self.kind == "liftpose"

    @property
    def out_dim(self) -> int:
        """Coordinates that the network predicts of a joint: 1 only where all x and y are sure to be seen."""
        return 1 if self.out == "depth" and self.needs_all else 3


class Lifted(NamedTuple):
    """Poses in the axes of the virtual camera, of the joints that are no roots.

    Attributes:
        position_mm: (N, L, 3) relative to each joint's root.
        factor_mm: (N, L, 3, 3) lower Cholesky factor of each joint's covariance.
    """

    position_mm: Float[Tensor, "N L 3"]
    factor_mm: Float[Tensor, "N L 3 3"]


class Answer(NamedTuple):
    """The outputs of the file, in the axes of each camera; see `engine.lifter_document`."""

    lifted_mm: Float[Tensor, "B V J 3"]
    covariance_mm2: Float[Tensor, "B V J 6"]


class Lifter(nn.Module):
    """See the module.

    Statistics (means and deviations of what goes in and comes out) are buffers that training sets with
    `training.lifting.statistics`; before that they are 0 and 1.

    Args:
        spec: What it is.
    """

    mean2d: Tensor
    std2d: Tensor
    mean3d: Tensor
    std3d: Tensor
    log_spread: Tensor
    unit_mm: Tensor
    mm_per_unit: Tensor
    constant: Tensor
    sigma_scale: Tensor
    lifted: Tensor
    place: Tensor
    root: Tensor

    def __init__(self, spec: LifterSpec) -> None:
        super().__init__()
        self.spec = spec
        n, lifted = spec.joints, spec.lifted
        roots = root_of(spec.roots, n)
        self.register_buffer("lifted", torch.tensor(lifted), persistent=False)
        self.register_buffer("root", torch.tensor([roots[joint] for joint in lifted]), persistent=False)
        # Where a joint's answer stands among those of the lifted; behind them stands a zero, the roots'.
        place = [lifted.index(joint) if joint in lifted else len(lifted) for joint in range(n)]
        self.register_buffer("place", torch.tensor(place), persistent=False)
        inputs = len(lifted) if spec.needs_all else n
        self.register_buffer("mean2d", torch.zeros(inputs, 2))
        self.register_buffer("std2d", torch.ones(inputs, 2))
        self.register_buffer("mean3d", torch.zeros(len(lifted), 3))
        self.register_buffer("std3d", torch.ones(len(lifted), 3))
        self.register_buffer("log_spread", torch.tensor([0.0, 1.0]))
        self.register_buffer("unit_mm", torch.ones(len(lifted)))
        self.register_buffer("mm_per_unit", torch.ones(()))
        self.register_buffer("constant", torch.eye(3).repeat(len(lifted), 1, 1))
        self.register_buffer("sigma_scale", torch.ones(()))
        outputs = spec.out_dim * len(lifted) + (0 if spec.needs_all else 6 * len(lifted))
        if spec.kind == "temporal":
            self.body: nn.Module = CausalBody(self.features_of_frame, outputs, spec.window, spec.width, spec.dropout)
        else:
            self.body = ResidualBody(self.features_of_frame, outputs, spec.width, spec.stages, spec.dropout)
        self.linear: nn.Linear | None = None
        if spec.linear and not spec.needs_all:
            self.linear = nn.Linear(self.features_of_frame, 3 * len(lifted))
            nn.init.zeros_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)
            # The layers correct what the linear map says, and begin with nothing to correct.
            with torch.no_grad():
                self.body.answer.weight.mul_(0.01)  # type: ignore[union-attr,operator]
                self.body.answer.bias.zero_()  # type: ignore[union-attr,operator]

    @property
    def features_of_frame(self) -> int:
        """Numbers that the network sees of a frame."""
        if self.spec.needs_all:
            return 2 * len(self.spec.lifted)
        return 4 * self.spec.joints + (1 if self.spec.mode == "perspective" else 0)

    def seen_points(self, seen: Gaze) -> Float[Tensor, "N T K 2"]:
        """What `mean2d` and `std2d` are statistics of: joints relative to their roots, or about their mean."""
        points = seen.points
        if not self.spec.by_spread:
            points = points * seen.spread[:, None, None, None]
        if self.spec.needs_all:
            return points[:, :, self.lifted] - points[:, :, self.root]
        return points

    def features(self, seen: Gaze, confidence: Float[Tensor, "N T J"]) -> Float[Tensor, "N T F"]:
        """What the network sees."""
        points = (self.seen_points(seen) - self.mean2d) / self.std2d
        if self.spec.needs_all:
            return points.flatten(2)
        there = seen.seen.to(points.dtype)
        parts = [(points * there[..., None]).flatten(2), there, confidence.clamp(0.0, 1.0) * there]
        if self.spec.mode == "perspective":
            spread = (seen.spread.log() - self.log_spread[0]) / self.log_spread[1]
            spread = spread.clamp(-_WIDEST_SPREAD, _WIDEST_SPREAD)
            parts.append(spread[:, None, None].expand(-1, points.shape[1], 1))
        return torch.cat(parts, dim=-1)

    def scores(self, features: Float[Tensor, "N T F"]) -> tuple[Float[Tensor, "N L d"], Float[Tensor, "N L 6"] | None]:
        """Z-scores of the pose, and six numbers a joint that say how sure they are (none of ``liftpose``)."""
        answer, n = self.body(features), len(self.spec.lifted)
        if self.spec.needs_all:
            return answer.unflatten(-1, (n, self.spec.out_dim)), None
        position, raw = answer[:, : 3 * n].unflatten(-1, (n, 3)), answer[:, 3 * n :].unflatten(-1, (n, 6))
        if self.linear is not None:
            position = position + self.linear(features[:, -1]).unflatten(-1, (n, 3))
        return position, raw

    def lift(self, seen: Gaze, confidence: Float[Tensor, "N T J"]) -> Lifted:
        """The pose in the virtual camera's axes."""
        scores, raw = self.scores(self.features(seen, confidence))
        d = self.spec.out_dim
        position = scores * self.std3d[:, -d:] + self.mean3d[:, -d:]
        if self.spec.out == "depth":
            position = self._with_picture(position, seen)
        if raw is None:
            factor = self.constant.expand(position.shape[0], -1, -1, -1)
        else:
            factor = triangle(raw, DEVIATIONS) * self.unit_mm[:, None, None]
        return Lifted(position, factor * self.sigma_scale)

    def _with_picture(self, position: Float[Tensor, "N L d"], seen: Gaze) -> Float[Tensor, "N L 3"]:
        """X and y from the picture, as a scaled parallel projection has them, wherever joint and root are seen."""
        points = seen.points[:, -1]
        if not self.spec.by_spread:
            points = points * seen.spread[:, None, None]
        across = (points[:, self.lifted] - points[:, self.root]) * self.mm_per_unit
        if position.shape[-1] == 3:
            both = seen.seen[:, -1, self.lifted] & seen.seen[:, -1, self.root]
            across = torch.where(both[..., None], across, position[..., :2])
        return torch.cat([across, position[..., -1:]], dim=-1)

    def look(self, points: Float[Tensor, "N T J 2"], confidence: Float[Tensor, "N T J"]) -> Gaze:
        """See the points of a window (`engine.models.gaze.look`); without a joint that it needs there is no answer."""
        seen = gaze.look(points, confidence, self.spec.mode == "weak")
        if self.spec.needs_all:
            return seen._replace(enough=seen.seen.all(dim=-1).all(dim=-1))
        return seen

    def in_camera(self, lifted: Lifted, seen: Gaze) -> tuple[Float[Tensor, "N J 3"], Float[Tensor, "N J 6"]]:
        """All joints in the camera's axes, and their covariances: xx xy xz yy yz zz, mm2."""
        position = torch.matmul(lifted.position_mm, seen.turn)
        factor = torch.matmul(seen.turn.mT[:, None], lifted.factor_mm)
        covariance = torch.matmul(factor, factor.mT).flatten(-2)
        six = torch.stack([covariance[..., i] for i in (0, 1, 2, 4, 5, 8)], dim=-1)
        answer = torch.cat([position, six], dim=-1)
        answer = torch.nn.functional.pad(answer, (0, 0, 0, 1)).index_select(1, self.place)
        answer = torch.where(seen.enough[:, None, None], answer, torch.nan)
        return answer[..., :3], answer[..., 3:]

    def forward(
        self,
        points2d: Float[Tensor, "B V T J 2"],
        confidence: Float[Tensor, "B V T J"],
        K: Float[Tensor, "V 3 3"],
        dist: Float[Tensor, "V 14"],
        fisheye: Float[Tensor, " V"],
    ) -> Answer:
        """The graph of the lifter's file: one rig for all subjects."""
        if self.spec.mode == "perspective":
            by_view = lens.undistort(points2d.transpose(1, 2), K, dist, fisheye)
            points2d = by_view.transpose(1, 2)
        views = points2d.shape[:2]
        seen = self.look(points2d.flatten(0, 1), confidence.flatten(0, 1))
        position, covariance = self.in_camera(self.lift(seen, confidence.flatten(0, 1)), seen)
        return Answer(position.unflatten(0, views), covariance.unflatten(0, views))
