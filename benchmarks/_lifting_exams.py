"""What lifters are judged by; frozen before any of them was trained on it.

* ``fly``: `fly-walk3d`, laid into the world of `fly7-deepfly3d` by the best rigid motion between the two flies' mean
  legs, seen by that rig's six cameras that see a fly, with 2.5 px of noise. Five blocks of 200 frames judge in turn;
  15 frames, one cycle of the gait, lie between them and what is trained on. The 24 joints that are no coxae count.
* ``mouse``: `mouse6-dannce`, 2 px of noise on its 2D, which is the exact reprojection of its 3D. Five blocks of time
  judge in turn, each by each camera; training sees the five other cameras. Labelled frames are 90 frames apart; those
  within 50 of a judged one are not trained on.
* ``virtual``: bodies and kinds of motion of ``unseen.yaml``, which training never has, each world by its first camera
  alone, which training does not know, with 2 px of noise; once with all joints, once with 30 % of them missing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from benchmarks._report import ROOT
from calib.rig import Rig
from capture.labels.poses.reader import read_poses3d
from capture.labels.poses3d import Poses3D
from capture.virtual.scenario import load_scenario
from capture.virtual.skeletons import LEGS, N_LEG, SIDE
from capture.virtual.world import World
from rigpose.errors import MissingError
from training.lifting.config import SplitSection
from training.lifting.splits import Split, split
from training.metrics.distances import aligned

FOLDS = 5
FLY_NOISE_PX, FLY_GAP = 2.5, 15
MOUSE_NOISE_PX, MOUSE_GAP, MOUSE_SIZE, MOUSE_ROOT = 2.0, 50, (1152, 1024), "SpineM"
VIRTUAL_NOISE_PX, VIRTUAL_MISSING = 2.0, 0.3
VIRTUAL_WORLDS, VIRTUAL_MOMENTS, VIRTUAL_STEP_S = 200, 5, 0.9
VIRTUAL_SCENARIO = ROOT / "training" / "scenarios" / "unseen.yaml"
_SEED = 20_261_130
_LEAST_SEEN = 3


@dataclass(frozen=True)
class Exam:
    """Real poses that several cameras see.

    Attributes:
        poses: All of them, with their rig.
        px: (N, V, J, 2) what judges: the noisy points of every pose by every camera.
        noise_px: Of those.
        folds: The parts of each fold.
        roots: As in `training.lifting.config.NetworkSection.roots`.
    """

    poses: Poses3D
    px: Float[np.ndarray, "N V J 2"]
    noise_px: float
    folds: tuple[Split, ...]
    roots: dict[str, tuple[str, ...]] | str

    @property
    def rig(self) -> Rig:
        """The cameras."""
        assert self.poses.rig is not None
        return self.poses.rig


def data() -> Path:
    """The folder of real recordings.

    Raises:
        MissingError: It is not known.
    """
    folder = os.environ.get("RIGPOSE_DATA")
    if not folder or not Path(folder).is_dir():
        raise MissingError("RIGPOSE_DATA", "names no folder of recordings", "set it to judge on real animals")
    return Path(folder)


@cache
def fly() -> Exam:
    """See the module."""
    walk = read_poses3d(data() / "fly-walk3d" / "fly_walk_3d.npz")
    other = read_poses3d(data() / "fly7-deepfly3d" / "df3d_reference.npz", units="mm")
    assert other.rig is not None
    legs = [side * SIDE + leg * N_LEG + joint for side in (0, 1) for leg in range(len(LEGS)) for joint in range(N_LEG)]
    wanted = np.nanmean(other.position_mm[:, legs], axis=0)
    mean = walk.position_mm.mean(axis=0)
    fitted = aligned(mean[None], wanted[None])[0]
    # The motion of that fit without its scale: the fly keeps its size.
    a, b = mean - mean.mean(axis=0), fitted - fitted.mean(axis=0)
    left, _, right = np.linalg.svd(b.T @ a)
    R = left @ right
    position = (walk.position_mm - mean.mean(axis=0)) @ R.T + wanted.mean(axis=0)
    there = [name for name, sees in zip(other.rig.names, _sees(other), strict=True) if sees]
    poses = Poses3D(walk.skeleton, position, other.rig.select(there), rate_hz=walk.rate_hz, source="fly-walk3d")
    folds = tuple(split(poses, SplitSection(by="time", folds=FOLDS, fold=fold, gap=FLY_GAP)) for fold in range(FOLDS))
    return Exam(poses, _noisy(poses, FLY_NOISE_PX, 1), FLY_NOISE_PX, folds, "legs")


def _sees(poses: Poses3D) -> Float[np.ndarray, " V"]:
    assert poses.points2d is not None
    return np.isfinite(poses.points2d).any(axis=(0, 2, 3))


@cache
def mouse() -> Exam:
    """See the module."""
    poses = read_poses3d(data() / "mouse6-dannce" / "label3d_mouse1.mat", units="mm", size=MOUSE_SIZE)
    folds = tuple(split(poses, SplitSection(by="time", folds=FOLDS, fold=fold, gap=MOUSE_GAP)) for fold in range(FOLDS))
    others = tuple(joint for joint in poses.skeleton.joints if joint != MOUSE_ROOT)
    return Exam(poses, _noisy(poses, MOUSE_NOISE_PX, 2), MOUSE_NOISE_PX, folds, {MOUSE_ROOT: others})


def _noisy(poses: Poses3D, noise_px: float, stream: int) -> Float[np.ndarray, "N V J 2"]:
    assert poses.rig is not None
    true = np.stack([camera.project(poses.position_mm) for camera in poses.rig.cameras], axis=1)
    return true + np.random.default_rng([_SEED, stream]).normal(0, noise_px, true.shape)


@dataclass(frozen=True)
class VirtualExam:
    """Poses of many worlds, each by one camera.

    Attributes:
        worlds: Whose rigs' first cameras see them.
        position_mm: (N, J, 3) world.
        px: (N, J, 2) noisy points.
        gappy: The same with joints missing.
        world: (N,) which one.
    """

    worlds: tuple[World, ...]
    position_mm: Float[np.ndarray, "N J 3"]
    px: Float[np.ndarray, "N J 2"]
    gappy: Float[np.ndarray, "N J 2"]
    world: Int[np.ndarray, " N"]


@cache
def virtual(worlds: int = VIRTUAL_WORLDS) -> VirtualExam:
    """See the module; fewer worlds are the first ones."""
    scenario = load_scenario(VIRTUAL_SCENARIO)
    made = tuple(World(scenario, (scenario.seed, number)) for number in range(worlds))
    times = VIRTUAL_STEP_S * np.arange(VIRTUAL_MOMENTS)
    position, px, gappy = [], [], []
    for number, world in enumerate(made):
        rng = np.random.default_rng([_SEED, 3, number])
        poses = world.poses_mm(times)
        seen = world.cameras[0].project(poses)
        seen = seen + rng.normal(0, VIRTUAL_NOISE_PX, seen.shape)
        gone = rng.uniform(size=seen.shape[:2]) < VIRTUAL_MISSING
        gone[(~gone).sum(axis=1) < _LEAST_SEEN] = False
        position.append(poses)
        px.append(seen)
        gappy.append(np.where(gone[..., None], np.nan, seen))
    return VirtualExam(
        made,
        np.concatenate(position),
        np.concatenate(px),
        np.concatenate(gappy),
        np.repeat(np.arange(worlds), VIRTUAL_MOMENTS),
    )
