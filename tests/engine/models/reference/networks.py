"""The pose ResNet from its state dict, in float64 numpy: the keys say which layers there are."""

from __future__ import annotations

from tests.engine.models.reference.layers import pooled_max, relu, sigmoid


def pose_resnet(weights, picture, caffe=False):
    """Pictures (N, 3, H, W) to heatmaps, features and both confidences (``None`` where there is no head)."""
    x = relu((weights / "bn1").normalise((weights / "conv1").convolve(picture, 2, 3)))
    x = pooled_max(x, 3, 2, 1)
    for stage in (1, 2, 3, 4):
        layer, block = weights / f"layer{stage}", 0
        while str(block) in layer:
            stride = 2 if stage > 1 and block == 0 else 1
            x = _block(layer / str(block), x, stride, caffe)
            block += 1
    heads = [
        _confidence(weights / name, x) if name in weights else None for name in ("alg_confidences", "vol_confidences")
    ]
    up = weights / "deconv_layers"
    for index in (0, 3, 6):
        x = relu((up / str(index + 1)).normalise((up / str(index)).convolve_transposed(x, 2, 1)))
    return (weights / "final_layer").convolve(x), x, *heads


def _block(block, x, stride, caffe):
    around = x
    if "downsample" in block:
        way = block / "downsample"
        around = (way / "1").normalise((way / "0").convolve(x, stride))
    if "conv3" in block:
        steps = [("1", stride if caffe else 1, 0), ("2", 1 if caffe else stride, 1), ("3", 1, 0)]
    else:
        steps = [("1", stride, 1), ("2", 1, 1)]
    for number, step, padding in steps:
        x = (block / f"bn{number}").normalise((block / f"conv{number}").convolve(x, step, padding))
        x = x if number == steps[-1][0] else relu(x)
    return relu(x + around)


def _confidence(head, x):
    for index in (0, 4):
        x = (head / "features" / str(index)).convolve(x, 1, 1)
        x = relu(pooled_max((head / "features" / str(index + 1)).normalise(x), 2, 2))
    x = x.mean(axis=(2, 3))
    for index in (0, 2):
        x = relu((head / "head" / str(index)).line(x))
    return sigmoid((head / "head" / "4").line(x))
