"""Unprojection and soft-argmax by definition: point by point in float64, with OpenCV's lenses, sharing no code."""

from __future__ import annotations

import cv2
import numpy as np


def grid(base_mm, side_mm, size, theta=0.0, vertical="z"):
    """(S, S, S, 3) mm."""
    axis = {"z": (0.0, 0, 1), "y": (0.0, 1, 0)}[vertical]
    R = cv2.Rodrigues(np.array(axis) * theta)[0]
    step = side_mm / (size - 1)
    places = np.zeros((size, size, size, 3))
    for i in range(size):
        for j in range(size):
            for k in range(size):
                offset = np.array([i, j, k]) * step - side_mm / 2
                places[i, j, k] = R @ offset + base_mm
    return places


def seen_at(camera, point_mm, crop_to_image, stride):
    """Map cell (2,) of a point of the world, or None behind the camera or far from its axis."""
    at = camera.R @ point_mm + camera.t
    if at[2] <= 0 or np.hypot(at[0], at[1]) / at[2] > 4:
        return None
    if camera.fisheye:
        px = cv2.fisheye.projectPoints(at.reshape(1, 1, 3), np.zeros(3), np.zeros(3), camera.K, camera.dist)[0]
    else:
        px = cv2.projectPoints(at.reshape(1, 3), np.zeros(3), np.zeros(3), camera.K, camera.dist)[0]
    crop = np.linalg.solve(crop_to_image[:, :2], px.reshape(2) - crop_to_image[:, 2])
    return (crop + 0.5) / stride - 0.5


def bilinear(picture, cell):
    """(C,) of a map (C, h, w); zero outside of it."""
    channels, height, width = picture.shape
    value = np.zeros(channels)
    x0, y0 = (int(np.floor(c)) for c in cell)
    for x in (x0, x0 + 1):
        for y in (y0, y0 + 1):
            if 0 <= x < width and 0 <= y < height:
                value += (1 - abs(cell[0] - x)) * (1 - abs(cell[1] - y)) * picture[:, y, x]
    return value


def aggregated(values, seen, aggregation, confidence):
    """(C,) of one voxel from what the views say (V, C), where the views that do not see it have no say."""
    said = values[seen]
    if len(said) == 0:
        return np.zeros(values.shape[1])
    if aggregation == "sum":
        return said.sum(axis=0)
    if aggregation == "max":
        return said.max(axis=0)
    if aggregation == "softmax":
        weight = np.exp(said - said.max(axis=0))
        return (weight * said).sum(axis=0) / weight.sum(axis=0)
    weighed = (said * confidence[seen]).sum(axis=0)
    return weighed if aggregation == "conf" else weighed / confidence[seen].sum(axis=0)


def unproject(features, places, cameras, crop_to_image, present, aggregation, confidence=None, stride=4):
    """One sample: features (V, C, h, w), places (S, S, S, 3) mm; (C, S, S, S)."""
    views, channels, height, width = features.shape
    volume = np.zeros((channels, *places.shape[:3]))
    for index in np.ndindex(*places.shape[:3]):
        values, seen = np.zeros((views, channels)), np.zeros(views, dtype=bool)
        for view, camera in enumerate(cameras):
            cell = seen_at(camera, places[index], crop_to_image[view], stride) if present[view] else None
            if cell is None or not (-0.5 <= cell[0] <= width - 0.5 and -0.5 <= cell[1] <= height - 0.5):
                continue
            seen[view] = True
            values[view] = bilinear(features[view], np.clip(cell, 0, [width - 1, height - 1]))
        volume[(slice(None), *index)] = aggregated(values, seen, aggregation, confidence)
    return volume


def unproject_as_published(features, places, matrices, aggregation, confidence=None):
    """The same with projections (V, 3, 4) to map cells and the published networks' two oddities."""
    views, channels, height, width = features.shape
    volume = np.zeros((channels, *places.shape[:3]))
    for index in np.ndindex(*places.shape[:3]):
        values = np.zeros((views, channels))
        for view, matrix in enumerate(matrices):
            x, y, z = matrix @ np.append(places[index], 1)
            if z <= 0:
                continue
            # Brought to -1..1 by the wrong side each, then read with -1 and 1 as the outermost cells' centres.
            u, v = 2 * (x / z / height - 0.5), 2 * (y / z / width - 0.5)
            values[view] = bilinear(features[view], ((u + 1) / 2 * (width - 1), (v + 1) / 2 * (height - 1)))
        weight = confidence
        if aggregation == "conf_norm":
            weight, rule = confidence / confidence.sum(axis=0), "conf"
        else:
            rule = aggregation
        volume[(slice(None), *index)] = aggregated(values, np.ones(views, dtype=bool), rule, weight)
    return volume


def soft_argmax_3d(volumes, places, multiplier=1.0):
    """One sample: volumes (J, S, S, S); (J, 3) mm."""
    answer = []
    for volume in volumes.astype(np.float64) * multiplier:
        heat = np.exp(volume - volume.max())
        answer.append((heat[..., None] * places).sum(axis=(0, 1, 2)) / heat.sum())
    return np.array(answer)


def spread_3d(volumes, places, finest=6.0):
    """One sample, a cube along the axes: (J, 3, 3) mm2, the second moments less what a place between voxels needs."""
    flat, step = places.reshape(-1, 3), places[1, 0, 0, 0] - places[0, 0, 0, 0]
    answer = []
    for volume in volumes.astype(np.float64):
        heat = np.exp(volume.ravel() - volume.max())
        heat /= heat.sum()
        mean = heat @ flat
        plain = ((flat - mean) * heat[:, None]).T @ (flat - mean)
        between = (mean - flat[0]) / step % 1
        kept = np.sqrt(np.clip(1 - between * (1 - between) * step**2 / np.diag(plain), 0, None))
        answer.append(plain * kept * kept[:, None] + (step / finest) ** 2 * np.eye(3))
    return np.array(answer)
