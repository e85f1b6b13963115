"""The pose ResNet and the V2V network from their state dicts, in float64 numpy: the keys say which layers there are."""

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


def v2v(weights, x):
    """Volumes (N, C, S, S, S) to volumes (N, J, S, S, S)."""
    front = weights / "front_layers"
    x = _basic(front / "0", x, 3)
    for index in (1, 2, 3):
        x = _residual(front / str(index), x)
    hourglass, skips = weights / "encoder_decoder", []
    levels = sum(f"encoder_res{level}" in hourglass for level in range(1, 9))
    for level in range(1, levels + 1):
        skips.append(_residual(hourglass / f"skip_res{level}", x))
        x = _residual(hourglass / f"encoder_res{level}", pooled_max(x, 2, 2))
    x = _residual(hourglass / "mid_res", x)
    for level in range(levels, 0, -1):
        x = _residual(hourglass / f"decoder_res{level}", x)
        way = hourglass / f"decoder_upsample{level}" / "block"
        x = relu((way / "1").normalise((way / "0").convolve_transposed(x, 2)))
        x = x + skips.pop()
    back = weights / "back_layers"
    x = _residual(back / "0", x)
    x = _basic(back / "2", _basic(back / "1", x, 0), 0)
    return (weights / "output_layer").convolve(x)


def _basic(layer, x, padding):
    block = layer / "block"
    return relu((block / "1").normalise((block / "0").convolve(x, 1, padding)))


def _residual(layer, x):
    branch = layer / "res_branch"
    out = relu((branch / "1").normalise((branch / "0").convolve(x, 1, 1)))
    out = (branch / "4").normalise((branch / "3").convolve(out, 1, 1))
    if "skip_con" in layer:
        way = layer / "skip_con"
        x = (way / "1").normalise((way / "0").convolve(x))
    return relu(out + x)
