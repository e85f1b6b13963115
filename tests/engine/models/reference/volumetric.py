"""Our volumetric model behind its network, one frame set, by definition and in float64."""

from __future__ import annotations

import numpy as np

from tests.calib.scenes import svd_triangulate
from tests.engine.models.reference import layers3d, sharpened
from tests.engine.models.reference import volume as volumes

STRAY = 0.1


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def head(maps, state, stride=4):
    """Maps (C, h, w) of one picture: heatmaps (J, h, w), points (J, 2) crop px, confidences (J,)."""
    joints = len(state["head.log_temperature"])
    height, width = maps.shape[1:]
    ys, xs = np.mgrid[:height, :width]
    heats, points, confidences = [], [], []
    for joint in range(joints):
        scaled = maps[joint] * np.exp(state["head.log_temperature"][joint, 0])
        heat = np.exp(scaled - scaled.max())
        heat /= heat.sum()
        x, y = (heat * xs).sum(), (heat * ys).sum()
        spread = np.sqrt((heat * ((xs - x) ** 2 + (ys - y) ** 2)).sum() + 1e-6)
        pooled = (maps[joints:] * heat).sum(axis=(1, 2))
        shape = [heat.max(), spread * 4 / width, np.log(spread + 0.1)]
        hidden = state["head.read.weight"] @ np.concatenate([pooled, shape]) + state["head.read.bias"]
        hidden = np.maximum(hidden + state["head.joint_bias"][joint], 0)
        confidences.append(sigmoid(state["head.judge.weight"][0] @ hidden + state["head.judge.bias"][0]))
        heats.append(heat)
        points.append((np.array([x, y]) + 0.5) * stride - 0.5)
    return np.array(heats), np.array(points), np.array(confidences)


def answer(maps, lifted, state, rig, crop_to_image, present, options, base_mm=None):
    """What one frame set is answered: points (V, J, 2) raw px, confidences (V, J), position (J, 3) mm.

    Args:
        maps: (V, J + context, h, w) of the network.
        lifted: (V, C, h, w), or (V, 2 C, h, w) where there are confidences for channels.
        state: Parameters.
        rig: Cameras.
        crop_to_image: (V, 2, 3).
        present: (V,).
        options: channels, aggregation, size, side_mm, root, levels, sharpen.
        base_mm: Middle of the cube; without it the algebraic root's.
    """
    heats, points, confidences = (np.array(part) for part in zip(*(head(m, state) for m in maps), strict=True))
    raw = np.stack([p @ A[:, :2].T + A[:, 2] for p, A in zip(points, crop_to_image, strict=True)])
    raw[~present], confidences[~present] = np.nan, 0
    if base_mm is None:
        root = list(options["root"])
        base_mm = svd_triangulate(rig, raw[:, root], confidences[:, root]).mean(axis=0)
    channels = options["channels"]
    evidence = np.log1p(heats * (heats[0, 0].size * (1 - STRAY) / STRAY)) * confidences[:, :, None, None]
    trust = None
    if options["aggregation"].startswith("conf"):
        trust = sigmoid(lifted[:, channels:].mean(axis=(2, 3)))
    grid = volumes.grid(base_mm, options["side_mm"], options["size"])
    where = (grid, rig.cameras, crop_to_image, present)
    volume = volumes.unproject(lifted[:, :channels], *where, options["aggregation"], trust)
    said = volumes.unproject(evidence, *where, "sum")
    logits = layers3d.v2v(np.concatenate([volume, said]), state, options["levels"], "volume.")
    logits = logits + said * np.exp(state["log_gain"])
    position = volumes.soft_argmax_3d(logits, grid)
    if options.get("sharpen"):
        covariance = volumes.spread_3d(logits, grid) * np.exp(2 * state["log_doubt"])[:, None, None]
        sigma, power, size = np.exp(state["log_sigma"]), np.exp(state["log_power"]), 4 * maps.shape[-1]
        seen = np.where(present[:, None], confidences, 0)
        position, _ = sharpened.most_likely(position, covariance, rig, raw, seen, crop_to_image, sigma, power, size)
    return raw, confidences, position
