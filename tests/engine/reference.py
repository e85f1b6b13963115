"""The contract of the graph once more, by hand: per view, in float64, sharing no code with engine or calib."""

from __future__ import annotations

import cv2
import numpy as np
import onnxruntime

from tests.calib.scenes import svd_triangulate

SWAP = {"RGB": lambda p: p[..., ::-1], "BGR": lambda p: p}


def session(data, optimised=True):
    """A plain ONNX Runtime session of one thread."""
    options = onnxruntime.SessionOptions()
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def seen_by_network(crop, spec):
    """One crop (H, W, 3) BGR as the network wants it."""
    if spec.colour == "GRAY":
        pixels = crop.astype(np.float64) @ np.array([0.114, 0.587, 0.299])
        pixels = pixels[..., None]
    else:
        pixels = SWAP[spec.colour](crop).astype(np.float64)
    pixels = (pixels * spec.scale - np.array(spec.mean)) / np.array(spec.std)
    if spec.dtype in ("uint8", "int32"):
        pixels = np.round(pixels)
    if spec.dtype == "uint8":
        pixels = np.clip(pixels, 0, 255)
    if spec.layout == "NCHW":
        pixels = pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels[None].astype(spec.dtype))


def vertex(left, middle, right):
    """The top of the parabola through three values."""
    curvature = left - 2 * middle + right
    return 0.5 * (left - right) / curvature if curvature < 0 else 0.0


def heatmap_peak(heatmap):
    """(column, row) to a fraction of a cell and the value, for one heatmap (h, w)."""
    height, width = heatmap.shape
    row, column = np.unravel_index(np.argmax(heatmap), heatmap.shape)
    padded = np.pad(np.maximum(heatmap.astype(np.float64), 0), 2, mode="edge")
    patch = padded[row : row + 5, column : column + 5]
    found = []
    for sums in (patch.sum(axis=0), patch.sum(axis=1)):
        logs = np.log(np.maximum(sums, max(0.02 * sums[2], 1e-12)))
        reach = 2 if min(sums[0], sums[4]) > 0.25 * sums[2] else 1
        square, slope, _ = np.polyfit(np.arange(-reach, reach + 1), logs[2 - reach : 3 + reach], 2)
        found.append(np.clip(-slope / min(2 * square, -1e-3), -1, 1))
    return np.array([column + found[0], row + found[1]]), heatmap[row, column]


def decoded(outputs, document):
    """Points (J, 2) and confidence (J,) of one picture from the network's own outputs."""
    spec, (width, height) = document.output, document.input.size
    joints = len(document.skeleton.joints)
    outputs = [np.asarray(output, np.float64) for output in outputs]
    if spec.kind == "keypoints":
        values = outputs[0].reshape(joints, -1)
        points = values[:, [1, 0]] if spec.order == "yx" else values[:, :2]
        if spec.unit == "unit":
            points = points * [width, height]
        points = points - (0.5 if spec.counts_from_corner else 0.0)
        scores = values[:, 2] if values.shape[1] > 2 else np.ones(joints)
    elif spec.kind == "simcc":
        points, scores = np.zeros((joints, 2)), np.zeros(joints)
        for j in range(joints):
            peaks = []
            for axis in (0, 1):
                row = outputs[axis].reshape(joints, -1)[j]
                best = int(np.argmax(row))
                peaks.append(row[best])
                inside = 0 < best < len(row) - 1
                points[j, axis] = best + (np.clip(vertex(*row[best - 1 : best + 2]), -0.5, 0.5) if inside else 0)
            scores[j] = min(peaks)
        points = (points + 0.5) * spec.stride - 0.5 if spec.counts_from_corner else points * spec.stride
    else:
        first = outputs[0][0].transpose(2, 0, 1) if document.output_layout == "NHWC" else outputs[0][0]
        points, scores = np.zeros((joints, 2)), np.zeros(joints)
        for j in range(joints):
            if spec.kind == "heatmap":
                seen = 1 / (1 + np.exp(-first[j])) if spec.score == "logit" else first[j]
                cell, _ = heatmap_peak(seen)
                scores[j] = first[j].max()
                points[j] = (cell + 0.5) * spec.stride - 0.5 if spec.counts_from_corner else cell * spec.stride
            else:
                second = outputs[1][0].transpose(2, 0, 1) if document.output_layout == "NHWC" else outputs[1][0]
                row, column = np.unravel_index(np.argmax(first[j]), first[j].shape)
                anchor = np.array([column, row]) * spec.stride + spec.stride / 2
                offset = second[[2 * j, 2 * j + 1], row, column] * spec.offset_px
                points[j] = anchor + offset - (0.5 if spec.counts_from_corner else 0)
                scores[j] = first[j, row, column]
    confidence = 1 / (1 + np.exp(-scores)) if spec.score == "logit" else np.clip(scores, 0, 1)
    return points, confidence


def answer(located, rig, crops, crop_to_image, view_weight=None):
    """What the graph must say for one subject: points2d, confidence, points3d, residual_px.

    Args:
        located: The network; run once a view, as it is.
        rig: A `calib.rig.Rig` of pinhole cameras.
        crops: (V, H, W, 3).
        crop_to_image: (V, 2, 3).
        view_weight: (V,).
    """
    document, run = located.document, session(located.path.read_bytes())
    weight = np.ones(len(crops)) if view_weight is None else np.asarray(view_weight, float)
    points, scores = [], []
    for crop, affine, here in zip(crops, np.asarray(crop_to_image, np.float64), weight, strict=True):
        outputs = run.run(list(document.output.name), {document.input.name: seen_by_network(crop, document.input)})
        in_crop, score = decoded(outputs, document)
        points.append(in_crop @ affine[:, :2].T + affine[:, 2] if here > 0 else np.full(in_crop.shape, np.nan))
        scores.append(score if here > 0 else np.zeros(len(score)))
    points2d, confidence = np.stack(points), np.stack(scores)
    used = np.where(confidence >= document.output.min_score, confidence, 0) * weight[:, None]
    points3d = svd_triangulate(rig, points2d, used)
    residual = np.full(confidence.shape, np.nan)
    for v, camera in enumerate(rig.cameras):
        projected = cv2.projectPoints(np.nan_to_num(points3d), camera.rvec, camera.t, camera.K, camera.dist)[0]
        residual[v] = np.linalg.norm(projected.reshape(-1, 2) - points2d[v], axis=-1)
        behind = (points3d @ camera.R.T + camera.t)[:, 2] <= 0
        residual[v][np.isnan(points3d).any(axis=-1) | behind] = np.nan
    return {"points2d": points2d, "confidence": confidence, "points3d": points3d, "residual_px": residual}


def feeds(rig, crops, crop_to_image, view_weight=None):
    """Inputs of a graph: float32, one subject."""
    arrays = rig.arrays().astype(np.float32)
    weight = np.ones(len(crops)) if view_weight is None else np.asarray(view_weight)
    return {
        "crops": np.asarray(crops)[None],
        "crop_to_image": np.asarray(crop_to_image, np.float32)[None],
        "view_weight": weight.astype(np.float32)[None],
        **arrays._asdict(),
    }
