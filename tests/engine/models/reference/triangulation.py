"""Points from maps and positions from points, in float64 numpy: one joint, one view at a time."""

from __future__ import annotations

from itertools import combinations

import cv2
import numpy as np
from scipy.optimize import minimize

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
STRIDE = 4


def normalised(crops, parity):
    """(..., H, W, 3) BGR to (N, 3, H, W): RGB, or, in parity, BGR with the statistics of RGB."""
    pixels = crops.reshape(-1, *crops.shape[-3:]).astype(np.float64)
    pixels = pixels if parity else pixels[..., ::-1]
    return ((pixels / 255 - MEAN) / STD).transpose(0, 3, 1, 2)


def heat_of(logits, softmax=True):
    """Weights that sum to one."""
    if softmax:
        heat = np.exp(logits - logits.max())
    else:
        heat = np.maximum(logits, 0)
    return heat / heat.sum()


def point_of(heatmap, parity, softmax=True):
    """Crop px of one heatmap (h, w)."""
    heat = heat_of(heatmap * 100, softmax)
    rows, columns = np.mgrid[: heatmap.shape[0], : heatmap.shape[1]]
    return px_of(np.array([(heat * columns).sum(), (heat * rows).sum()]), parity)


def px_of(cell, parity):
    """Crop px of a cell."""
    return cell * STRIDE if parity else (cell + 0.5) * STRIDE - 0.5


def to_crop(crop_to_image):
    """The 3x3 matrix of the way back."""
    return np.linalg.inv(np.vstack([crop_to_image, [0, 0, 1]]))


def projection(camera, crop_to_image):
    """(3, 4) from mm to crop px, without the lens."""
    return to_crop(crop_to_image) @ camera.K @ np.column_stack([camera.R, camera.t])


def dlt(points, weights, matrices):
    """One joint by SVD, in the units that the matrices have."""
    rows = [
        w * (value * P[2] - row)
        for point, w, P in zip(points, weights, matrices, strict=True)
        for value, row in zip(point, P[:2], strict=True)
    ]
    vector = np.linalg.svd(np.array(rows))[2][3]
    return vector[:3] / vector[3]


def shares(confidence):
    """(V,) of one joint."""
    return confidence / confidence.sum() + 1e-5


def projected(camera, position_mm):
    """Raw px, lens included."""
    answer = cv2.projectPoints(position_mm.reshape(1, 3), camera.rvec, camera.t, camera.K, camera.dist)[0]
    return answer.ravel()


def consensus(points, px_in_crop, rig, solve, inlier_px=30.0, huber_px=2.0):
    """One joint (V, 2) raw px: the largest set, the best fitting of several, then the least Huber loss by search."""

    def off(position):
        seen = np.array([projected(camera, position) for camera in rig.cameras])
        return np.linalg.norm(seen - points, axis=-1) * px_in_crop

    def alone(views):
        weight = np.zeros((len(points), 1))
        weight[list(views)] = 1
        return solve(rig, points[:, None], weight)[0]

    best: tuple[int, float, tuple[int, ...]] = (0, -np.inf, ())
    for pair in combinations(range(len(points)), 2):
        distance = off(alone(pair))
        inliers = tuple(v for v in range(len(points)) if distance[v] < inlier_px or v in pair)
        best = max(best, (len(inliers), -float(np.mean(distance[list(inliers)])), inliers))
    chosen = list(best[2])

    def loss(position):
        distance = off(position)[chosen]
        return np.where(distance < huber_px, distance**2, 2 * huber_px * distance - huber_px**2).sum()

    start = alone(chosen)
    found = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-14, "maxiter": 4000})
    return found.x, chosen
