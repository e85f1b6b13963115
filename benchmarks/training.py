"""What geometry costs in a training step: all samples, joints and views at once, beside a loop over them.

The loop does what the public code of "Learnable Triangulation of Human Pose" (Iskakov et al. 2019) does, an SVD for
each sample and joint and a volume for each sample and view (`benchmarks._loops`). Four views of 17 joints, and cubes
of 2.5 m that stick out of the pictures. Same inputs, in turn, float32; backward goes to points, confidences and maps.

Ours stands there twice. As trained: `triangulate_each` and `Lenses`, which go through the lens of each camera, leave
out who does not see a voxel, and never return what is not a number. Same equations: `parity.linear_mm` and
`Projection`, which find to the last digit what the loop finds. Before anything is timed, both must find it, in
float64: the one everywhere, the other where points have no noise and all views see.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks import _loops
from benchmarks._report import Peer, Report, arguments, finish, interleaved, summarise
from benchmarks.triangulation import make_rig
from calib.rig import RigArrays
from engine.models import parity
from engine.models.algebraic import triangulate_each
from engine.models.volume import Lenses, Projection, cuboid, unproject
from rigpose.program import run as run_program

VIEWS, JOINTS, STRIDE = 4, 17, 4
SIDE_MM = 2500.0
SIGMA_PX = 2.0
_SHOWN_PX = 900.0
"""Side of what a crop shows of the raw picture."""
LOOP, TRAINED, SAME = "loop", "as trained", "same equations"


class Size(NamedTuple):
    """How much work it is.

    Attributes:
        batch: Samples.
        crop: Side of the crops in px.
        voxels: Along a side of the cube.
        channels: Of the maps.
    """

    batch: int
    crop: int
    voxels: int
    channels: int

    def __str__(self) -> str:
        return f"batch {self.batch}, {self.channels} channels, {self.voxels}^3 voxels"


# What the virtual rig is trained with, another batch, and what the published network was trained with.
SIZES = (Size(8, 128, 32, 16), Size(32, 128, 32, 16), Size(5, 384, 64, 32))
QUICK = (Size(8, 128, 32, 16),)
# Seconds of each case and way, and the most rounds.
LONG, SHORT = (15.0, 40), (1.0, 10)


@dataclass(frozen=True)
class Scene:
    """The inputs of a step.

    Attributes:
        points: (B, V, J, 2) raw px.
        weight: (B, V, J).
        features: (B, V, C, h, w).
        grid_mm: (B, S, S, S, 3).
        rigs: One for each sample.
        crop_to_image: (B, V, 2, 3).
        to_px: (B, V, 3, 4) from mm to raw px; the lenses have no distortion.
        to_cells: (B, V, 3, 4) from mm to cells of the maps.
    """

    points: Tensor
    weight: Tensor
    features: Tensor
    grid_mm: Tensor
    rigs: RigArrays
    crop_to_image: Tensor
    to_px: Tensor
    to_cells: Tensor

    def to(self, dtype: torch.dtype) -> Scene:
        """The same in another precision, with its own leaves."""
        rigs = RigArrays(*(array.to(dtype) for array in self.rigs))
        rest = {name: getattr(self, name).to(dtype).clone() for name in self.__dataclass_fields__ if name != "rigs"}
        return Scene(rigs=rigs, **rest)


def make_scene(size: Size, sigma_px: float = SIGMA_PX, seed: int = 0) -> Scene:
    """Subjects about the middle of a rig, in float64; not two samples or joints are alike.

    Args:
        size: How much.
        sigma_px: Noise of the points.
        seed: Of everything random.
    """
    rng = np.random.default_rng(seed)
    rig = make_rig(VIEWS)
    rig = rig.with_cameras(replace(camera, dist=np.zeros(0)) for camera in rig.cameras)
    base = rng.uniform(-300, 300, (size.batch, 3)) + (0, 0, 900)
    truth = base[:, None] + rng.uniform(-700, 700, (size.batch, JOINTS, 3))
    points = np.stack([camera.project(truth) for camera in rig.cameras], axis=1)
    points += rng.normal(0, sigma_px, points.shape)
    middle = np.stack([camera.project(base) for camera in rig.cameras], axis=1)
    # Pixel edge on pixel edge: crop px c shows where (c + 0.5) * scale - 0.5 from the corner lies.
    scale = _SHOWN_PX / size.crop
    corner = middle - _SHOWN_PX / 2 + 0.5 * scale
    crop_to_image = np.concatenate(
        [np.broadcast_to(scale * np.eye(2), (*corner.shape[:2], 2, 2)), corner[..., None]], -1
    )
    to_px = np.stack([camera.K @ np.column_stack([camera.R, camera.t]) for camera in rig.cameras])
    side = size.crop // STRIDE
    cell = scale * STRIDE
    to_cell = np.zeros((size.batch, VIEWS, 3, 3))
    to_cell[..., 0, 0] = to_cell[..., 1, 1] = 1 / cell
    to_cell[..., :2, 2] = (0.5 * scale - corner) / cell - 0.5
    to_cell[..., 2, 2] = 1
    grid = cuboid(torch.from_numpy(base), SIDE_MM, size.voxels, torch.from_numpy(rng.uniform(0, 2 * np.pi, size.batch)))
    return Scene(
        torch.from_numpy(points),
        torch.from_numpy(rng.uniform(0.2, 1, points.shape[:-1])),
        torch.from_numpy(rng.normal(size=(size.batch, VIEWS, size.channels, side, side))),
        grid,
        RigArrays(*(torch.from_numpy(np.stack([array] * size.batch)) for array in rig.arrays())),
        torch.from_numpy(crop_to_image),
        torch.from_numpy(np.stack([to_px] * size.batch)),
        torch.from_numpy(to_cell @ to_px),
    )


Work = Callable[[Scene], Tensor]


def _lenses(scene: Scene) -> Lenses:
    return Lenses(scene.rigs, scene.crop_to_image, torch.ones_like(scene.weight[..., 0]), STRIDE)


TRIANGULATION: dict[str, Work] = {
    LOOP: lambda scene: _loops.triangulated(scene.points, scene.weight, scene.to_px),
    TRAINED: lambda scene: triangulate_each(scene.points, scene.weight, scene.rigs),
    SAME: lambda scene: parity.linear_mm(scene.points, scene.weight, scene.to_px).to(scene.points.dtype),
}
UNPROJECTION: dict[str, Work] = {
    LOOP: lambda scene: _loops.unprojected(scene.features, scene.grid_mm, scene.to_cells),
    TRAINED: lambda scene: unproject(scene.features, scene.grid_mm, _lenses(scene)),
    SAME: lambda scene: unproject(scene.features, scene.grid_mm, Projection(scene.to_cells), parity=True),
}


def step(scene: Scene, works: Sequence[Work]) -> list[Tensor]:
    """Gradients of points, weights and maps, as far as the answers follow from them: a fixed sum of each is taken."""
    leaves = [leaf.requires_grad_() for leaf in (scene.points, scene.weight, scene.features)]
    answers = [work(scene) for work in works]
    grads = [torch.full_like(answer, 0.5) for answer in answers]
    found = torch.autograd.grad(answers, leaves, grads, allow_unused=True)
    for leaf in leaves:
        leaf.requires_grad_(False)
    return [grad for grad in found if grad is not None]


@torch.no_grad()
def forward(scene: Scene, works: Sequence[Work]) -> list[Tensor]:
    """The answers alone."""
    return [work(scene) for work in works]


class Off(NamedTuple):
    """How far ours is from the loop, in float64.

    Attributes:
        same_mm: Worst joint, with the same equations.
        same_voxel: Worst voxel, with the same equations.
        same_slope: Worst entry of all gradients, as a share of the largest.
        trained_mm: As trained, worst joint of points without noise.
        trained_voxel: As trained, worst voxel that all views see.
        trained_noisy_mm: As trained, median joint of noisy points: another estimator, with units of its own.
    """

    same_mm: float
    same_voxel: float
    same_slope: float
    trained_mm: float
    trained_voxel: float
    trained_noisy_mm: float


def compare(size: Size) -> Off:
    """Hold ours against the loop."""
    noisy, clean = make_scene(size), make_scene(size, sigma_px=0.0)
    points = {way: work(noisy) for way, work in TRIANGULATION.items()}
    voxels = {way: work(noisy) for way, work in UNPROJECTION.items()}
    slopes = [
        float((mine - loop).abs().max() / loop.abs().max())
        for works in (TRIANGULATION, UNPROJECTION)
        for mine, loop in zip(step(noisy, [works[SAME]]), step(noisy, [works[LOOP]]), strict=True)
    ]
    maps = noisy.features.shape[3:]
    cells = _lenses(noisy).places(noisy.grid_mm.flatten(1, 3), maps[1], maps[0]).cells
    last = torch.tensor([maps[1] - 1, maps[0] - 1])
    by_all = ((cells > 0) & (cells < last)).all(dim=-1).all(dim=1)
    voxel_off = (voxels[TRAINED] - voxels[LOOP]).flatten(2).abs().amax(dim=1)
    off_mm = torch.linalg.vector_norm(points[TRAINED] - points[LOOP], dim=-1)
    return Off(
        float((points[SAME] - points[LOOP]).abs().max()),
        float((voxels[SAME] - voxels[LOOP]).abs().max()),
        max(slopes),
        float((TRIANGULATION[TRAINED](clean) - TRIANGULATION[LOOP](clean)).abs().max()),
        float(voxel_off[by_all].max()),
        float(off_mm.median()),
    )


def check() -> Off:
    """`compare` on a small size.

    Raises:
        AssertionError: Ours is not what the loop says: nothing that follows would be worth a figure.
    """
    off = compare(Size(3, 64, 12, 4))
    assert off.same_mm < 1e-6 and off.same_voxel < 1e-9 and off.same_slope < 1e-6, off
    assert off.trained_mm < 1e-4 and off.trained_voxel < 1e-9, off
    return off


Run = Callable[[Scene, Sequence[Work]], object]
WAYS: dict[str, Run] = {"forward": forward, "forward and backward": step}


def measure(
    report: Report, case: str, scene: Scene, parts: Sequence[dict[str, Work]], limits: tuple[float, int]
) -> None:
    """Add a case's rows: ms of each way forward, and forward and backward, and how much quicker than the loop.

    Args:
        report: Where they go.
        case: Its name.
        scene: The inputs.
        parts: What is done in it.
        limits: Seconds that it may take about, and most rounds.
    """
    for way, run in WAYS.items():

        def call(name: str, run: Run = run) -> Callable[[int], object]:
            return lambda _: run(scene, [works[name] for works in parts])

        calls = {name: call(name) for name in (LOOP, TRAINED, SAME)}
        begun = time.perf_counter()
        for one in calls.values():
            one(0)
        rounds = int(min(limits[1], max(3, limits[0] / (time.perf_counter() - begun))))
        ms = interleaved(calls, rounds)
        value, spread, _ = summarise(ms[LOOP])
        loop = {"loop": Peer(value=value, spread=spread, version=torch.__version__)}
        report.add(case, f"{way}, {TRAINED}", "ms", ms[TRAINED], peers=loop)
        report.add(case, f"{way}, {SAME}", "ms", ms[SAME], peers=loop)
        # Of each round by itself: its calls met the same machine.
        for name in (TRAINED, SAME):
            report.add(case, f"{way}, {name}: quicker", "times", ms[LOOP] / ms[name], better="higher")


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, and write the JSON; 1 where a goal was missed."""
    options = arguments("training", (__doc__ or "").splitlines()[0]).parse_args(argv)
    report = Report.begin("training", options.quick, ["torch"])
    off = check()
    limits = SHORT if options.quick else LONG
    for size in QUICK if options.quick else SIZES:
        scene = make_scene(size).to(torch.float32)
        measure(report, f"triangulation, batch {size.batch}", scene, [TRIANGULATION], limits)
        measure(report, f"unprojection, {size}", scene, [UNPROJECTION], limits)
        measure(report, f"both, {size}", scene, [TRIANGULATION, UNPROJECTION], limits)
        report.notes.append(f"{size}: four views of {JOINTS} joints, maps of {size.crop // STRIDE} cells a side")
    report.notes += [
        f"{torch.get_num_threads()} threads of torch for all",
        f"float64, off the loop: with the same equations at most {off.same_mm:.1g} mm, {off.same_voxel:.1g} in a voxel "
        f"of about 1, and {off.same_slope:.1g} of the largest slope; as trained {off.trained_mm:.1g} mm without noise "
        f"and {off.trained_voxel:.1g} in voxels that all views see",
        f"as trained, points with {SIGMA_PX:.0f} px of noise lie {off.trained_noisy_mm:.2g} mm off the loop's in the "
        "median: least squares in other units",
    ]
    return finish(report, options.json)


if __name__ == "__main__":
    run_program(main)
