"""Rigs and points whose truth is known, and a triangulation that shares no code with rigpose."""

from __future__ import annotations

import cv2
import numpy as np

from calib.camera import Camera
from calib.observations import BoardViews
from calib.rig import Rig


def look_at(name, center_mm, target_mm, focal_px, size=(1280, 1024), dist=(), fisheye=False, up=(0.0, 0.0, 1.0)):
    """A camera at a place that looks at a point."""
    center, target = np.asarray(center_mm, float), np.asarray(target_mm, float)
    forward = (target - center) / np.linalg.norm(target - center)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    K = np.array([[focal_px, 0, (size[0] - 1) / 2], [0, focal_px, (size[1] - 1) / 2], [0, 0, 1.0]])
    return Camera(
        name=name,
        size=size,
        K=K,
        dist=np.array(dist, float),
        rvec=cv2.Rodrigues(rotation)[0].ravel(),
        t=-rotation @ center,
        fisheye=fisheye,
    )


def ring(n, radius_mm=4000.0, focal_px=1400.0, origin_mm=(0.0, 0.0, 0.0), height_mm=700.0, spread=2 * np.pi, **camera):
    """Cameras on an arc that look at its middle, which lies at the origin given."""
    origin = np.asarray(origin_mm, float)
    angles = np.arange(n) * spread / n + 0.3
    return Rig(
        tuple(
            look_at(
                f"cam{i}",
                origin + (radius_mm * np.cos(a), radius_mm * np.sin(a), height_mm * (1 + 0.3 * (i % 3))),
                origin,
                focal_px,
                **camera,
            )
            for i, a in enumerate(angles)
        )
    )


def fly_rig(n=7):
    """A near-telecentric rig around a fly: f = 16,000 px, 100 mm away, 0.006 mm a pixel."""
    return ring(n, radius_mm=100.0, focal_px=16000.0, height_mm=8.0, size=(960, 480))


def narrow_pair(parallel=True):
    """Two cameras 40 cm apart, 4 m from what they look at."""
    cameras = []
    for i, x in enumerate((-200.0, 200.0)):
        target = (x if parallel else 0.0, 4000.0, 0.0)
        cameras.append(look_at(f"cam{i}", (x, 0.0, 0.0), target, 1400.0))
    return Rig(tuple(cameras), {"working_distance_mm": 4000.0})


def cloud(rig, n, extent_mm, seed=0):
    """(n, 3) points around where the rig looks."""
    return rig.working[0] + np.random.default_rng(seed).uniform(-extent_mm, extent_mm, (n, 3))


def views(rig, points_mm):
    """(V, J, 2) raw px of points in every camera, by OpenCV."""
    seen = []
    for camera in rig.cameras:
        if camera.fisheye:
            px = cv2.fisheye.projectPoints(points_mm[:, None], camera.rvec, camera.t, camera.K, camera.dist[:4])[0]
        else:
            px = cv2.projectPoints(points_mm, camera.rvec, camera.t, camera.K, camera.dist)[0]
        seen.append(px.reshape(-1, 2))
    return np.stack(seen)


def film(scene, frames=None):
    """A `benchmarks._rigs.BoardScene` as board views; moments are numbered from 0 unless ``frames`` says how."""
    frames = np.arange(scene.px.shape[1]) if frames is None else frames
    sizes = tuple(camera.size for camera in scene.rig.cameras)
    return BoardViews(scene.target_mm, scene.rig.names, sizes, frames, scene.px)


def svd_triangulate(rig, px, weight=None):
    """(J, 3) mm by float64 SVD of the row-normalised equations, about the cameras' mean: independent."""
    middle = np.mean([camera.center_mm for camera in rig.cameras], axis=0)
    unit = np.mean([np.linalg.norm(camera.center_mm - rig.working[0]) for camera in rig.cameras])
    # The same metric as the closed form (the null vector depends on where the origin lies when there
    # is noise): move to the rig's own point.
    middle = rig.working[0]
    answer = np.full((px.shape[1], 3), np.nan)
    for j in range(px.shape[1]):
        rows = []
        for v, camera in enumerate(rig.cameras):
            w = 1.0 if weight is None else weight[v, j]
            if not np.isfinite(px[v, j]).all() or w == 0:
                continue
            undistorted = undistort_cv(camera, px[v, j])
            R = camera.R
            P = np.column_stack([R, (R @ middle + camera.t) / unit])
            for value, row in zip(undistorted, P[:2], strict=True):
                equation = value * P[2] - row
                rows.append(w * equation / np.linalg.norm(equation))
        if len(rows) >= 4:
            null = np.linalg.svd(np.array(rows))[2][-1]
            answer[j] = null[:3] / null[3] * unit + middle
    return answer


def undistort_cv(camera, px):
    """Undistortion by OpenCV, iterated to the end."""
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 200, 1e-14)
    if camera.fisheye:
        return cv2.fisheye.undistortPoints(px.reshape(1, 1, 2), camera.K, camera.dist[:4], criteria=criteria).ravel()
    dist = camera.dist if len(camera.dist) else None
    return cv2.undistortPoints(px.reshape(1, 1, 2), camera.K, dist, criteria=criteria).ravel()
