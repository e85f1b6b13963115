"""Small lifters for tests, made in seconds."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from calib.camera import Camera
from calib.rig import Rig
from capture.virtual.skeletons import HUMAN36M17
from engine.lifter_document import RootSet, one_root
from engine.models.lifter import Lifter, LifterSpec
from engine.models.lifter_graph import as_onnx, describe
from rigpose.skeleton import Skeleton
from tests import shared

TWO_LEGS = Skeleton(
    name="two_legs",
    joints=("left_coxa", "left_knee", "left_tip", "right_coxa", "right_knee", "right_tip"),
    edges=((0, 1), (1, 2), (3, 4), (4, 5)),
    left_right=((0, 3), (1, 4), (2, 5)),
    root=(0, 3),
)
LEG_ROOTS = (RootSet(root=0, joints=(1, 2)), RootSet(root=3, joints=(4, 5)))


def _camera(
    name: str, K: list[list[float]], dist: list[float], rvec: list[float], t: list[float], fisheye: bool = False
) -> Camera:
    a, b, c, d = (np.array(value, dtype=float) for value in (K, dist, rvec, t))
    return Camera(name, (640, 480), a, b, c, d, fisheye=fisheye)


RIG = Rig(
    (
        _camera("pin", [[620, 0, 322], [0, 615, 238], [0, 0, 1]], [], [0.1, 0.2, 0], [0, 0, 3000]),
        _camera(
            "bent",
            [[500, 0, 318], [0, 502, 243], [0, 0, 1]],
            [-0.28, 0.09, 0.001, -0.002, 0.01],
            [0, -0.7, 0.1],
            [100, 50, 2800],
        ),
        _camera(
            "fish",
            [[300, 0, 320], [0, 300, 240], [0, 0, 1]],
            [0.02, -0.01, 0, 0],
            [0.3, 1.2, 0],
            [-80, 0, 2500],
            fisheye=True,
        ),
    )
)
"""A pinhole camera, one with a bent lens, and a fisheye, all looking at the origin."""


def spec(kind: str = "masked", **keys: object) -> LifterSpec:
    """Of the mannequin, or with ``joints`` and ``roots`` of another subject."""
    window = 9 if kind == "temporal" else 1
    given = {"kind": kind, "joints": 17, "roots": one_root(HUMAN36M17), "window": window, "width": 32, **keys}
    return LifterSpec.model_validate(given)


def lifter(kind: str = "masked", **keys: object) -> Lifter:
    """A lifter whose weights and statistics are random, so that all of it has an effect on the answer."""
    torch.manual_seed(1)
    made = Lifter(spec(kind, **keys))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, value in [*made.named_parameters(), *made.named_buffers()]:
            if name in ("lifted", "root", "place") or not value.is_floating_point():
                continue
            if name in ("std2d", "std3d", "unit_mm", "mm_per_unit") or "var" in name:
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
            elif name == "constant":
                value.copy_(torch.rand(value.shape, generator=generator).tril() + torch.eye(3))
            elif name != "log_spread" and name != "sigma_scale":
                value.add_(0.2 * torch.randn(value.shape, generator=generator))
        made.body.answer.weight.mul_(0.2)
        made.std3d.mul_(100.0)
        made.unit_mm.mul_(100.0)
        made.mm_per_unit.mul_(300.0)
        made.log_spread.copy_(torch.tensor([-1.8, 0.4]))
    return made.eval()


def content(kind: str = "masked", **keys: object) -> bytes:
    """The ONNX file of `lifter`."""
    told = hashlib.sha256(repr(spec(kind, **keys)).encode()).hexdigest()
    return shared.once(f"lifter-{told}.onnx", lambda: _content(kind, **keys))


def _content(kind: str, **keys: object) -> bytes:
    made = lifter(kind, **keys)
    about = {"id": f"test_{kind}", "domain": "synthetic", "licence": "Apache-2.0", "size_mm": 1700.0}
    skeleton = HUMAN36M17 if made.spec.joints == 17 else TWO_LEGS
    return as_onnx(made, describe(made, skeleton, **about)).SerializeToString()


def write(folder: Path, kind: str = "masked", **keys: object) -> Path:
    """The file of a lifter for tests."""
    path = folder / f"test_{kind}.onnx"
    path.write_bytes(content(kind, **keys))
    return path


def body_mm(seed: int = 0, joints: int = 17, size_mm: float = 900.0) -> np.ndarray:
    """(J, 3) a subject about the origin."""
    return np.random.default_rng(seed).uniform(-size_mm / 2, size_mm / 2, (joints, 3))


def seen_px(position_mm: np.ndarray, rig: Rig = RIG) -> np.ndarray:
    """(V, J, 2) where the cameras see it."""
    return np.stack([camera.project(position_mm) for camera in rig.cameras])
