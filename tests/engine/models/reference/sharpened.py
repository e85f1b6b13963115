"""A normal distribution and the views' points together, joint by joint, by definition and in float64."""

from __future__ import annotations

import numpy as np


def most_likely(mean, covariance, rig, points, confidence, matrix, sigma, power, size):
    """Places (J, 3) and covariances (J, 3, 3) in mm.

    Args:
        mean: (J, 3) mm.
        covariance: (J, 3, 3) mm2.
        rig: Cameras.
        points: (V, J, 2) raw px.
        confidence: (V, J).
        matrix: (V, 2, 3) from crop px to raw px.
        sigma: (J,) crop px, of confidence 1.
        power: (J,) of the confidence that it is divided by.
        size: Crop px.
    """
    places, spreads = [], []
    for joint in range(len(mean)):
        start, prior = mean[joint], covariance[joint] + (1e-4 * rig.working[1]) ** 2 * np.eye(3)
        normal, pull = np.linalg.inv(prior), np.zeros(3)
        for view, camera in enumerate(rig.cameras):
            if confidence[view, joint] == 0:
                continue
            ray = camera.undistort(points[view, joint])
            K = np.asarray(camera.K)
            shrunk = np.sqrt(abs(np.linalg.det(matrix[view][:, :2])))
            deviation = sigma[joint] / max(confidence[view, joint], 0.02) ** power[joint]
            scale = np.sqrt(K[0, 0] * K[1, 1]) / shrunk / deviation
            x, y, z = camera.R @ start + camera.t
            rows = np.stack([camera.R[0] - ray[0] * camera.R[2], camera.R[1] - ray[1] * camera.R[2]]) * scale / z
            off = (ray - [x / z, y / z]) * scale
            S = np.eye(2) + rows @ prior @ rows.T
            chance = min(max(confidence[view, joint], 1e-4), 0.98)
            inlier = chance * np.exp(-0.5 * off @ np.linalg.solve(S, off)) / (2 * np.pi * np.sqrt(np.linalg.det(S)))
            stray = (1 - chance) / (size / deviation) ** 2
            belief = inlier / (inlier + stray)
            normal = normal + belief * rows.T @ rows
            pull = pull + belief * rows.T @ off
        spreads.append(np.linalg.inv(normal))
        places.append(start + spreads[-1] @ pull)
    return np.array(places), np.array(spreads)
