"""Rigs that a format must bring back, and the files of other programs, written here to their layouts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from calib.rig import Rig
from tests.calib.scenes import cloud, ring

BARREL = (-0.21, 0.07, 0.0013, -0.0007, 0.011)
RATIONAL = (0.31, -0.11, 0.0004, -0.0006, 0.021, 0.52, -0.09, 0.013)
FISHEYE = (0.02, -0.004, 0.001, -0.0003)


def rig_of(*lenses, fisheye=(), names=None, sizes=None):
    """A ring of cameras with one lens each, odd focal lengths and principal points, an odd world."""
    base = ring(len(lenses), origin_mm=(120.0, -310.0, 77.0), radius_mm=2100.0)
    cameras = []
    for i, (camera, lens) in enumerate(zip(base.cameras, lenses, strict=True)):
        K = camera.K.copy()
        K[[0, 1], [0, 1]] += 1 / 3 + i, 2 / 7 - i
        K[:2, 2] += 11.37 - 5 * i, 3.1 * i
        cameras.append(
            replace(
                camera,
                name=names[i] if names else camera.name,
                size=sizes[i] if sizes else camera.size,
                K=K,
                dist=np.array(lens, float),
                fisheye=i in fisheye,
            )
        )
    return Rig(tuple(cameras))


def check_of(imported):
    """What the import found on the file's own points, which must be there."""
    assert imported.check is not None
    return imported.check


def assert_same_cameras(ours, theirs, names=True, size=True, px=1e-7):
    """Equal within rounding, in numbers and in what they see."""
    assert len(ours) == len(theirs)
    points = cloud(Rig(tuple(ours)), 60, 400)
    for a, b in zip(ours, theirs, strict=True):
        if names:
            assert a.name == b.name
        if size:
            assert a.size == b.size
        assert a.fisheye == b.fisheye
        np.testing.assert_allclose(b.K, a.K, rtol=1e-12, atol=1e-9)
        np.testing.assert_allclose(b.center_mm, a.center_mm, atol=1e-7)
        np.testing.assert_allclose(b.R, a.R, atol=1e-12)
        np.testing.assert_allclose(b.project(points), a.project(points), atol=px)
