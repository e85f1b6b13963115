"""The camera of pictures that were turned by quarters, as portrait rigs do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from calib import lens
from calib.camera import Camera
from calib.rotation import vector_of
from rigpose.errors import ConfigError

_FLIPS = {"horizontal": "vertical", "vertical": "horizontal"}


def turned(camera: Camera, quarters: int) -> Camera:
    """The camera for the same pictures turned clockwise by so many quarters.

    The point (x, y) of a picture H high stands at (H - 1 - y, x) after one quarter. The camera stands
    where it stood and looks the same way; it rolls about its axis.

    Raises:
        ConfigError: The lens has a tilt or the matrix a skew, which a quarter turn does not keep, or
            the picture is a region of a sensor of unknown size.
    """
    for _ in range(quarters % 4):
        camera = _quarter(camera)
    return camera


def upright_turn(camera: Camera, up: np.ndarray) -> tuple[int, float]:
    """Quarters, clockwise, after which the picture's top is nearest to a direction of the world.

    Args:
        camera: Its rotation decides.
        up: (3,) unit direction in the world.

    Returns:
        The quarters, and the share (0..1) of that direction, as far as the picture shows it, that then
        points up: 0.7 = it could as well be the next quarter.
    """
    in_camera = camera.R @ up
    across = in_camera[:2] / max(float(np.linalg.norm(in_camera[:2])), 1e-12)
    # The picture's direction that is brought to its top by 0, 1, 2, 3 clockwise quarters.
    shares = np.array([[0, -1], [-1, 0], [0, 1], [1, 0]]) @ across
    return int(shares.argmax()), float(shares.max())


def _quarter(camera: Camera) -> Camera:
    where = f"camera {camera.name}"
    dist = lens.pad(camera.dist)
    if not camera.fisheye and dist[12:].any():
        raise ConfigError(where, "its tilted sensor cannot be turned by quarters", "turn the pictures and calibrate")
    if camera.skew:
        raise ConfigError(where, "its skew cannot be turned by quarters", "convert it to a rigpose file first")
    if camera.sensor_size is None and camera.roi_offset != (0, 0):
        raise ConfigError(where, "its region cannot be turned without sensor_size", "add sensor_size")
    width, height = camera.size
    K = np.eye(3)
    K[0, 0], K[1, 1] = camera.K[1, 1], camera.K[0, 0]
    K[0, 2], K[1, 2] = height - 1 - camera.K[1, 2], camera.K[0, 2]
    if not camera.fisheye:
        # (p2, p1), (s1, s3) and (s2, s4) are vectors of the picture.
        for along, down in ((3, 2), (8, 10), (9, 11)):
            dist[along], dist[down] = -dist[down], dist[along]
    roll = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    (bx, by), (ox, oy) = camera.binning, camera.roi_offset
    sensor = camera.sensor_size
    return replace(
        camera,
        size=(height, width),
        K=K,
        dist=dist[: len(camera.dist)],
        rvec=vector_of(roll @ camera.R),
        t=roll @ camera.t,
        sensor_size=None if sensor is None else (sensor[1], sensor[0]),
        roi_offset=(0, 0) if sensor is None else (sensor[1] - oy - by * height, ox),
        binning=(by, bx),
        flip=_FLIPS.get(camera.flip, camera.flip),
    )
